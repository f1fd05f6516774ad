//! What stands behind a consumer: handlers that take their time, and sometimes ask for redelivery.
//!
//! Invariant: every delivery is in the history before its handler begins; how long the handler takes and how it ends is
//! drawn from topic, queue, offset and attempt, whatever else happens in the run.

use std::collections::BTreeMap;

use seedmq::driver::Handle;
use seedmq_core::consumer::ConsumerCommand;

use crate::dice::{Dice, entity};
use crate::history::Queue;
use crate::tape::{Handler, STUCK_MAX};

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub after_ns: u64,
    pub good: bool,
}

/// A delivery whose handler runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// Calls of its messages.
    pub calls: Vec<u64>,
    pub fate: Fate,
    /// Its handler never returns.
    pub stuck: Option<Stuck>,
}

/// A handler that never returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub topic: String,
    /// Broker and number.
    pub queue: (String, u32),
    /// The first of its messages.
    pub offset: u64,
    /// The queue was not taken from its member since.
    pub holds: bool,
}

/// How often each message of a queue was delivered to a client, by offset.
type Tries = BTreeMap<u64, u32>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ConsumerAgent {
    handle: Option<Handle<ConsumerCommand>>,
    next_call: u64,
    running: BTreeMap<u64, Running>,
    /// So many of the next handlers never return.
    to_stick: u32,
    assigned: BTreeMap<String, Vec<(String, u32)>>,
    /// What its application asks for, where that has changed: tags by topic, none for nothing.
    wishes: BTreeMap<String, Option<String>>,
    /// Of each queue that it read, with its topic.
    tries: Vec<(String, Queue, Tries)>,
}

impl ConsumerAgent {
    /// A process of the client runs now.
    pub fn started(&mut self, handle: Handle<ConsumerCommand>) {
        self.handle = Some(handle);
    }
    /// Its process ends in order: the calls whose handlers did not come to an end.
    pub fn unfinished(&self) -> Vec<u64> {
        self.running.values().flat_map(|running| running.calls.iter().copied()).collect()
    }
    /// Its process is gone, and with it everything that was under way.
    pub fn died(&mut self) {
        self.handle = None;
        self.running.clear();
        self.assigned.clear();
    }
    pub fn handle(&self) -> Option<&Handle<ConsumerCommand>> {
        self.handle.as_ref()
    }
    /// Deliveries whose handlers run and will return.
    pub fn in_flight(&self) -> usize {
        self.running.values().filter(|running| running.stuck.is_none()).count()
    }
    /// So many more of the next handlers never return.
    pub fn stick(&mut self, count: u32) {
        self.to_stick = self.to_stick.saturating_add(count);
    }
    /// The next handlers return again.
    pub fn stick_no_more(&mut self) {
        self.to_stick = 0;
    }
    /// Whether the next handler never returns. Never so many at once that there is no room for others.
    pub fn sticks(&mut self) -> bool {
        let sticks = self.to_stick > 0 && self.stuck().count() < STUCK_MAX as usize;
        self.to_stick -= u32::from(sticks);
        sticks
    }
    /// The handlers that never return.
    pub fn stuck(&self) -> impl Iterator<Item = &Stuck> {
        self.running.values().filter_map(|running| running.stuck.as_ref())
    }
    /// The queues of a topic that this member has.
    pub fn assigned(&self, topic: &str) -> Vec<(String, u32)> {
        self.assigned.get(topic).cloned().unwrap_or_default()
    }
    /// The topics of which it has queues.
    pub fn owned_topics(&self) -> Vec<String> {
        self.assigned.iter().filter(|(_, queues)| !queues.is_empty()).map(|(topic, _)| topic.clone()).collect()
    }
    /// An ordered member keeps a queue that it is to give away until its handler there returns.
    pub fn assign(&mut self, topic: &str, queues: Vec<(String, u32)>, is_orderly: bool) {
        let stuck = self.running.values_mut().filter_map(|running| running.stuck.as_mut());
        for stuck in stuck.filter(|stuck| !is_orderly && stuck.topic == topic) {
            stuck.holds &= queues.contains(&stuck.queue);
        }
        self.assigned.insert(topic.to_owned(), queues);
    }
    /// Its application asks for something else of a topic from now on.
    pub fn wish(&mut self, topic: &str, tags: Option<String>) {
        self.wishes.insert(topic.to_owned(), tags);
    }
    /// What its application asks for, with what it asked for at first.
    pub fn wishes(&self, mut first: BTreeMap<String, String>) -> BTreeMap<String, String> {
        for (topic, tags) in &self.wishes {
            match tags {
                Some(tags) => drop(first.insert(topic.clone(), tags.clone())),
                None => drop(first.remove(topic)),
            }
        }
        first
    }
    /// A number for one more delivered message.
    pub fn call(&mut self) -> u64 {
        self.next_call += 1;
        self.next_call
    }
    /// How often a message was delivered to this client before.
    pub fn tries(&mut self, topic: &str, queue: &Queue, offset: u64) -> u32 {
        let known = self.tries.iter().position(|(of, at, _)| at == queue && of == topic);
        let at = known.unwrap_or_else(|| {
            self.tries.push((topic.to_owned(), queue.clone(), Tries::new()));
            self.tries.len() - 1
        });
        let tries = self.tries[at].2.entry(offset).or_default();
        *tries += 1;
        *tries - 1
    }
    pub fn begin(&mut self, delivery: u64, running: Running) {
        self.running.insert(delivery, running);
    }
    /// A handler ends; nothing when its process died before.
    pub fn end(&mut self, delivery: u64) -> Option<Running> {
        self.running.remove(&delivery)
    }
}

/// How the handler of a message fares.
pub(crate) fn fate(seed: u64, handler: &Handler, (topic, queue, offset, attempt): (&str, &Queue, u64, u32)) -> Fate {
    let name = entity(&format!("{topic} {queue}"), &[offset, u64::from(attempt)]);
    let mut dice = Dice::new(seed, name);
    let after_ns = dice.between(handler.min_ms * 1_000_000, handler.max_ms * 1_000_000);
    Fate { after_ns, good: !dice.chance(handler.fail_permille * 1000) }
}

//! Pulls that found nothing and wait for a message (Java `PullRequestHoldService`).
//!
//! Invariant: a held pull is in the table once, listed under its queue and under its connection, and the table never holds
//! more than its limit.

use std::collections::{BTreeMap, BTreeSet};

use super::pull::Pull;
use crate::node::{ConnId, Instant};

/// A pull that waits.
#[derive(Clone, Debug)]
pub struct HeldPull {
    /// What was asked.
    pub pull: Pull,
    /// Since when it waits.
    pub since: Instant,
    /// When it is to be answered whatever has come.
    pub until: Instant,
    /// Queue offset up to which nothing matched: the next look begins here.
    pub checked_to: u64,
    /// The batch of inputs in which it came.
    pub batch: u64,
    /// A planted bug keeps this one asleep although its message has come.
    pub asleep: bool,
}

type HoldId = u64;

/// The table of held pulls.
#[derive(Debug)]
pub struct PullHold {
    held: BTreeMap<HoldId, HeldPull>,
    /// By topic.
    by_queue: BTreeMap<String, BTreeSet<(u32, HoldId)>>,
    by_conn: BTreeSet<(ConnId, HoldId)>,
    next: HoldId,
    max: usize,
}

impl PullHold {
    /// An empty table that holds at most `max` pulls.
    pub fn new(max: usize) -> PullHold {
        PullHold { held: BTreeMap::new(), by_queue: BTreeMap::new(), by_conn: BTreeSet::new(), next: 0, max }
    }
    /// Whether another pull would be too much: it is to be answered at once.
    pub fn is_full(&self) -> bool {
        self.held.len() >= self.max
    }
    /// How many pulls wait.
    pub fn len(&self) -> usize {
        self.held.len()
    }
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
    /// Lets a pull wait. The caller has asked [`PullHold::is_full`] before.
    pub fn hold(&mut self, held: HeldPull) {
        assert!(!self.is_full(), "the table of held pulls is bounded");
        let id = self.next;
        self.next += 1;
        let topic = &held.pull.header.topic;
        if !self.by_queue.contains_key(topic) {
            self.by_queue.insert(topic.clone(), BTreeSet::new());
        }
        let queues = self.by_queue.get_mut(topic).expect("it is there or was just put there");
        queues.insert((held.pull.queue_id, id));
        self.by_conn.insert((held.pull.caller.conn, id));
        let before = self.held.insert(id, held);
        assert!(before.is_none(), "numbers of held pulls are not used twice");
    }
    /// Takes the pulls that wait at a queue, oldest first.
    pub fn take_queue(&mut self, topic: &str, queue_id: u32) -> Vec<HeldPull> {
        let Some(queues) = self.by_queue.get(topic) else { return Vec::new() };
        let ids: Vec<HoldId> = queues.range((queue_id, 0)..=(queue_id, HoldId::MAX)).map(|(_, id)| *id).collect();
        ids.into_iter().map(|id| self.take(id)).collect()
    }
    /// Takes every pull whose time is over.
    pub fn take_due(&mut self, now: Instant) -> Vec<HeldPull> {
        let due: Vec<HoldId> = self.held.iter().filter(|(_, held)| held.until <= now).map(|(id, _)| *id).collect();
        due.into_iter().map(|id| self.take(id)).collect()
    }
    /// Takes every pull: the broker ends.
    pub fn take_all(&mut self) -> Vec<HeldPull> {
        self.take_due(Instant(u64::MAX))
    }
    /// Forgets the pulls of a closed connection.
    pub fn closed(&mut self, conn: ConnId) {
        let ids: Vec<HoldId> = self.by_conn.range((conn, 0)..=(conn, HoldId::MAX)).map(|(_, id)| *id).collect();
        for id in ids {
            self.take(id);
        }
    }
    /// Queues at which pulls wait, each once.
    pub fn queues(&self) -> Vec<(String, u32)> {
        let all = self.by_queue.iter().flat_map(|(topic, queues)| queues.iter().map(move |(queue, _)| (topic, *queue)));
        let mut all: Vec<_> = all.collect();
        all.dedup();
        all.into_iter().map(|(topic, queue)| (topic.clone(), queue)).collect()
    }
    /// Every held pull.
    pub fn iter(&self) -> impl Iterator<Item = &HeldPull> {
        self.held.values()
    }
    /// Panics when the three indexes disagree.
    pub fn invariants(&self) {
        assert!(self.held.len() <= self.max, "the table of held pulls is bounded");
        assert!(self.held.values().all(|held| held.since <= held.until), "a pull is not held backwards");
        let is_at = |topic: &str, queue: u32, id: &HoldId| {
            self.held.get(id).is_some_and(|held| held.pull.queue_id == queue && held.pull.header.topic == topic)
        };
        let mut at_queues = 0;
        for (topic, queues) in &self.by_queue {
            assert!(!queues.is_empty(), "a topic at which none waits is not kept");
            assert!(queues.iter().all(|(queue, id)| is_at(topic, *queue, id)), "an index lists what is held there");
            at_queues += queues.len();
        }
        let is_of =
            |(conn, id): &(ConnId, HoldId)| self.held.get(id).is_some_and(|held| held.pull.caller.conn == *conn);
        assert!(self.by_conn.iter().all(is_of), "an index lists what is held there");
        let listed = (at_queues, self.by_conn.len());
        assert_eq!(listed, (self.held.len(), self.held.len()), "each pull is listed once in each index");
    }

    fn take(&mut self, id: HoldId) -> HeldPull {
        let held = self.held.remove(&id).expect("the indexes list what is held");
        let (topic, queue) = (&held.pull.header.topic, held.pull.queue_id);
        let queues = self.by_queue.get_mut(topic).expect("a held pull is listed under its topic");
        queues.remove(&(queue, id));
        if queues.is_empty() {
            self.by_queue.remove(topic);
        }
        self.by_conn.remove(&(held.pull.caller.conn, id));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::dispatch::Caller;
    use crate::broker::filter::TagFilter;
    use crate::wire::Language;
    use crate::wire::pull::PullMessageHeader;

    fn held(conn: u64, topic: &str, queue_id: u32, until: u64) -> HeldPull {
        let caller =
            Caller { conn: ConnId(conn), opaque: 1, oneway: false, language: Language::Java, version: 513, code: 11 };
        let header = PullMessageHeader { topic: topic.into(), ..PullMessageHeader::default() };
        HeldPull {
            pull: Pull { caller, header, queue_id, filter: TagFilter::All },
            since: Instant(0),
            until: Instant(until),
            checked_to: 0,
            batch: 0,
            asleep: false,
        }
    }

    #[test]
    fn a_pull_is_found_by_queue_by_time_and_by_connection() {
        let mut hold = PullHold::new(10);
        hold.hold(held(1, "T", 0, 5));
        hold.hold(held(1, "T", 1, 9));
        hold.hold(held(2, "T", 0, 7));
        hold.hold(held(2, "U", 0, 9));
        hold.invariants();
        assert_eq!(hold.queues(), [("T".into(), 0), ("T".into(), 1), ("U".into(), 0)]);
        assert_eq!(hold.take_due(Instant(5)).len(), 1);
        assert_eq!(hold.take_queue("T", 0).len(), 1);
        assert_eq!(hold.take_queue("T", 7).len(), 0);
        hold.closed(ConnId(2));
        hold.invariants();
        assert_eq!(hold.len(), 1);
        assert_eq!(hold.take_all().len(), 1);
        assert!(hold.is_empty());
        hold.invariants();
    }

    #[test]
    #[should_panic(expected = "bounded")]
    fn the_table_is_bounded() {
        let mut hold = PullHold::new(1);
        hold.hold(held(1, "T", 0, 5));
        assert!(hold.is_full());
        hold.hold(held(1, "T", 0, 5));
    }
}

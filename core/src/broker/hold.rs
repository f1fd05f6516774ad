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
    by_queue: BTreeMap<String, BTreeMap<u32, BTreeSet<HoldId>>>,
    by_conn: BTreeMap<ConnId, BTreeSet<HoldId>>,
    next: HoldId,
    max: usize,
}

impl PullHold {
    /// An empty table that holds at most `max` pulls.
    pub fn new(max: usize) -> PullHold {
        PullHold { held: BTreeMap::new(), by_queue: BTreeMap::new(), by_conn: BTreeMap::new(), next: 0, max }
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
            self.by_queue.insert(topic.clone(), BTreeMap::new());
        }
        let queues = self.by_queue.get_mut(topic).expect("it is there or was just put there");
        queues.entry(held.pull.queue_id).or_default().insert(id);
        self.by_conn.entry(held.pull.caller.conn).or_default().insert(id);
        let before = self.held.insert(id, held);
        assert!(before.is_none(), "numbers of held pulls are not used twice");
    }
    /// Takes the pulls that wait at a queue, oldest first.
    pub fn take_queue(&mut self, topic: &str, queue_id: u32) -> Vec<HeldPull> {
        let Some(ids) = self.by_queue.get(topic).and_then(|queues| queues.get(&queue_id)) else { return Vec::new() };
        let ids: Vec<HoldId> = ids.iter().copied().collect();
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
        let Some(ids) = self.by_conn.get(&conn).cloned() else { return };
        for id in ids {
            self.take(id);
        }
    }
    /// Queues at which pulls wait, each once.
    pub fn queues(&self) -> Vec<(String, u32)> {
        self.by_queue
            .iter()
            .flat_map(|(topic, queues)| queues.keys().map(move |queue| (topic.clone(), *queue)))
            .collect()
    }
    /// Every held pull.
    pub fn iter(&self) -> impl Iterator<Item = &HeldPull> {
        self.held.values()
    }
    /// Panics when the three indexes disagree.
    pub fn invariants(&self) {
        assert!(self.held.len() <= self.max, "the table of held pulls is bounded");
        assert!(self.held.values().all(|held| held.since <= held.until), "a pull is not held backwards");
        let listed = |ids: &BTreeSet<HoldId>, belongs: &dyn Fn(&HeldPull) -> bool| {
            assert!(ids.iter().all(|id| self.held.get(id).is_some_and(belongs)), "an index lists what is held there");
            ids.len()
        };
        let at_queue = |topic: &str, queue: u32, ids: &BTreeSet<HoldId>| {
            listed(ids, &|held| held.pull.queue_id == queue && held.pull.header.topic == topic)
        };
        let at_topic = |(topic, queues): (&String, &BTreeMap<u32, BTreeSet<HoldId>>)| {
            queues.iter().map(|(queue, ids)| at_queue(topic, *queue, ids)).sum::<usize>()
        };
        let by_queue: usize = self.by_queue.iter().map(at_topic).sum();
        let by_conn: usize =
            self.by_conn.iter().map(|(conn, ids)| listed(ids, &|held| held.pull.caller.conn == *conn)).sum();
        assert_eq!((by_queue, by_conn), (self.held.len(), self.held.len()), "each pull is listed once in each index");
    }

    fn take(&mut self, id: HoldId) -> HeldPull {
        let held = self.held.remove(&id).expect("the indexes list what is held");
        let (topic, queue) = (&held.pull.header.topic, held.pull.queue_id);
        let queues = self.by_queue.get_mut(topic).expect("a held pull is listed under its topic");
        let ids = queues.get_mut(&queue).expect("a held pull is listed under its queue");
        ids.remove(&id);
        if ids.is_empty() {
            queues.remove(&queue);
        }
        if queues.is_empty() {
            self.by_queue.remove(topic);
        }
        let conn = held.pull.caller.conn;
        let ids = self.by_conn.get_mut(&conn).expect("a held pull is listed under its connection");
        ids.remove(&id);
        if ids.is_empty() {
            self.by_conn.remove(&conn);
        }
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

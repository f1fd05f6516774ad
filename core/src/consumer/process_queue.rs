//! The unfinished messages of one queue (Java `ProcessQueue`).
//!
//! Invariant: everything below [`ProcessQueue::commit_offset`] is finished; a message is either ready, out or waiting to be
//! ready again, and only in one of the three.

use std::collections::{BTreeMap, BTreeSet};

use super::request::Message;
use crate::node::Instant;
use crate::planted;

/// Which messages of a queue are where.
#[derive(Clone, Debug)]
pub(super) struct ProcessQueue {
    unfinished: BTreeMap<i64, Message>,
    ready: BTreeSet<i64>,
    later: BTreeSet<(Instant, i64)>,
    out: BTreeSet<i64>,
    bytes: usize,
    /// The first offset that was not pulled yet.
    next: i64,
}

impl ProcessQueue {
    /// A queue that begins at an offset.
    pub(super) fn new(next: i64) -> ProcessQueue {
        ProcessQueue {
            unfinished: BTreeMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            out: BTreeSet::new(),
            bytes: 0,
            next,
        }
    }

    /// Takes what a pull brought; the next one begins at `next`. What was pulled before is passed over.
    pub(super) fn put(&mut self, messages: Vec<Message>, next: i64) {
        for message in messages {
            let offset = message.offset;
            if offset < self.next || self.unfinished.contains_key(&offset) {
                continue;
            }
            self.bytes += message.body.len();
            self.ready.insert(offset);
            self.unfinished.insert(offset, message);
        }
        self.next = self.next.max(next);
        let last = self.unfinished.last_key_value().map_or(self.next, |(offset, _)| offset + 1);
        self.next = self.next.max(last);
    }

    /// The first messages that are ready, at most `max`; they are out now.
    pub(super) fn take(&mut self, max: usize) -> Vec<Message> {
        let mut offsets: Vec<i64> = self.ready.iter().take(max).copied().collect();
        if self.ready.len() > offsets.len() && planted!("handed-out-backwards") {
            offsets = self.ready.iter().rev().take(max).copied().collect();
        }
        for offset in &offsets {
            self.ready.remove(offset);
            self.out.insert(*offset);
        }
        offsets.iter().map(|offset| self.unfinished[offset].clone()).collect()
    }

    /// Messages that were out are consumed.
    pub(super) fn finish(&mut self, offsets: &[i64]) {
        for offset in offsets {
            assert!(self.out.remove(offset), "only what is out can be finished");
            let message = self.unfinished.remove(offset).expect("what is out is unfinished");
            self.bytes -= message.body.len();
            if offset % 16 == 15 && planted!("finished-stays-out") {
                self.out.insert(*offset);
            }
        }
    }

    /// Messages that were out are ready again at `at`, one attempt older.
    pub(super) fn put_back(&mut self, offsets: &[i64], at: Instant) {
        for offset in offsets {
            assert!(self.out.remove(offset), "only what is out can be put back");
            let message = self.unfinished.get_mut(offset).expect("what is out is unfinished");
            message.reconsume_times += 1;
            self.later.insert((at, *offset));
        }
    }

    /// Makes ready again what is due.
    pub(super) fn ripen(&mut self, now: Instant) {
        while let Some(&(at, offset)) = self.later.first() {
            if at > now {
                break;
            }
            self.later.pop_first();
            self.ready.insert(offset);
        }
    }

    /// When [`ProcessQueue::ripen`] has something to do.
    pub(super) fn ripe_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Whether anything is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Where the next pull begins.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// The first offset that is not finished: what may be committed.
    pub(super) fn commit_offset(&self) -> i64 {
        if planted!("commit-past-unconsumed") {
            return self.next;
        }
        let kept = |offset: &&i64| !(planted!("commit-past-running") && self.out.contains(offset));
        self.unfinished.keys().find(kept).copied().unwrap_or(self.next)
    }

    /// How many messages are unfinished.
    pub(super) fn len(&self) -> usize {
        self.unfinished.len()
    }

    /// The first and the last offset of them; zeros when there are none.
    pub(super) fn ends(&self) -> (i64, i64) {
        let ends = self.unfinished.first_key_value().zip(self.unfinished.last_key_value());
        ends.map_or((0, 0), |((first, _), (last, _))| (*first, *last))
    }

    /// How many are out, and the first and the last offset of those; nothing when none is.
    pub(super) fn out(&self) -> Option<(usize, i64, i64)> {
        Some((self.out.len(), *self.out.first()?, *self.out.last()?))
    }

    /// Bytes of their bodies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Distance of the first and the last of them.
    pub(super) fn span(&self) -> i64 {
        let ends = self.unfinished.first_key_value().zip(self.unfinished.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first)
    }

    /// Panics when the parts contradict each other.
    pub(super) fn invariants(&self) {
        let parts = self.ready.len() + self.later.len() + self.out.len();
        assert_eq!(parts, self.unfinished.len(), "a message is ready, out or waiting");
        assert!(self.unfinished.keys().all(|offset| *offset < self.next), "nothing is held that was not pulled");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode::{decode, tests::record};
    use super::*;
    use crate::client::Queue;

    fn message(offset: i64) -> Message {
        let bytes = record("T", offset.unsigned_abs(), b"body", "", 0);
        decode(&bytes, &Queue::new("a", 0), 100).0.remove(0)
    }

    fn offsets(messages: &[Message]) -> Vec<i64> {
        messages.iter().map(|message| message.offset).collect()
    }

    #[test]
    fn the_lowest_unfinished_offset_is_committed() {
        let mut queue = ProcessQueue::new(10);
        assert_eq!(queue.commit_offset(), 10);
        queue.put((10..14).map(message).collect(), 15);
        assert_eq!((queue.commit_offset(), queue.next(), queue.len(), queue.bytes(), queue.span()), (10, 15, 4, 16, 3));
        assert_eq!(offsets(&queue.take(3)), [10, 11, 12]);
        queue.finish(&[11, 12]);
        assert_eq!(queue.commit_offset(), 10);
        queue.finish(&[10]);
        assert_eq!(queue.commit_offset(), 13);
        queue.take(1);
        queue.finish(&[13]);
        assert_eq!((queue.commit_offset(), queue.bytes()), (15, 0), "what was filtered counts as consumed");
    }

    #[test]
    fn what_failed_comes_again_and_holds_the_commit() {
        let mut queue = ProcessQueue::new(0);
        queue.put(vec![message(0), message(1)], 2);
        queue.take(2);
        queue.finish(&[1]);
        queue.put_back(&[0], Instant(50));
        queue.ripen(Instant(49));
        assert!(!queue.has_ready());
        assert_eq!((queue.commit_offset(), queue.ripe_at()), (0, Some(Instant(50))));
        queue.ripen(Instant(50));
        let again = queue.take(2);
        assert_eq!((offsets(&again), again[0].reconsume_times), (vec![0], 1));
        queue.invariants();
    }

    #[test]
    fn what_was_pulled_before_is_passed_over() {
        let mut queue = ProcessQueue::new(5);
        queue.put(vec![message(4), message(5), message(5)], 6);
        queue.put(vec![message(5)], 4);
        assert_eq!((queue.len(), queue.next()), (1, 6));
        queue.put(vec![message(9)], 7);
        assert_eq!(queue.next(), 10, "an answer that contradicts itself is not pulled twice");
    }

    proptest! {
        /// Against the plainest model: a set of finished offsets.
        #[test]
        fn nothing_unfinished_is_ever_below_the_commit(steps in proptest::collection::vec((0_u8..4, 0_usize..8), 1..200)) {
            let mut queue = ProcessQueue::new(0);
            let (mut out, mut finished, mut clock): (Vec<i64>, BTreeSet<i64>, u64) = (Vec::new(), BTreeSet::new(), 0);
            for (what, n) in steps {
                match what {
                    0 => {
                        let from = queue.next();
                        queue.put((from..from + n as i64).map(message).collect(), from + n as i64);
                    }
                    1 => out.extend(offsets(&queue.take(n))),
                    2 if !out.is_empty() => {
                        let offset = out.swap_remove(n % out.len());
                        queue.finish(&[offset]);
                        finished.insert(offset);
                    }
                    3 if !out.is_empty() => {
                        let offset = out.swap_remove(n % out.len());
                        queue.put_back(&[offset], Instant(clock + n as u64));
                    }
                    _ => {
                        clock += n as u64;
                        queue.ripen(Instant(clock));
                    }
                }
                queue.invariants();
                let lowest = (0..queue.next()).find(|offset| !finished.contains(offset)).unwrap_or(queue.next());
                prop_assert_eq!(queue.commit_offset(), lowest);
            }
        }
    }
}

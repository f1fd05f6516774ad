//! Answers to sends that wait for the log: a message is acknowledged when the mark that its flush policy demands has
//! passed its end.
//!
//! Invariant: within each policy the answers are sorted by the end of their message, so that one look at the front tells
//! whether anything can go, and no answer leaves before its mark has passed.

use std::collections::VecDeque;

use crate::node::{ConnId, Instant};
use crate::store::Marks;
use crate::wire::Frame;

/// What an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// [`Marks::written`]: the message survives the death of the process.
    Written,
    /// [`Marks::durable`]: the message survives a power cut.
    Durable,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub struct PendingAck {
    /// End of the message in the log.
    pub end: u64,
    /// When patience ends and the answer becomes FLUSH_DISK_TIMEOUT.
    pub deadline: Instant,
    /// Who asked.
    pub conn: ConnId,
    /// The answer, success.
    pub frame: Frame,
}

/// What an answer is taken to occupy in memory beside its text.
const ACK_BYTES: usize = 256;

/// The waiting answers.
#[derive(Debug)]
pub struct PendingAcks {
    written: VecDeque<PendingAck>,
    durable: VecDeque<PendingAck>,
    bytes: usize,
    bytes_max: usize,
    /// Ends below these marks have been answered.
    released: Marks,
}

impl PendingAcks {
    /// None waiting; room for about `bytes_max` bytes of answers.
    pub fn new(bytes_max: usize) -> PendingAcks {
        PendingAcks {
            written: VecDeque::new(),
            durable: VecDeque::new(),
            bytes: 0,
            bytes_max,
            released: Marks::default(),
        }
    }
    /// Whether another answer would be too much: the sender is to be told that the broker is busy.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }
    /// How many wait.
    pub fn len(&self) -> usize {
        self.written.len() + self.durable.len()
    }
    /// What they are taken to occupy in memory, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many wait for a sync.
    pub fn waiting_for_sync(&self) -> usize {
        self.durable.len()
    }
    /// Lets an answer wait. Answers come in the order of the log.
    pub fn push(&mut self, wait: WaitFor, ack: PendingAck) {
        let queue = match wait {
            WaitFor::Written => &mut self.written,
            WaitFor::Durable => &mut self.durable,
        };
        assert!(queue.back().is_none_or(|last| last.end <= ack.end), "answers are pushed in the order of the log");
        self.bytes += size_of(&ack);
        queue.push_back(ack);
    }
    /// Takes the next answer whose message the marks have passed.
    pub fn pop(&mut self, marks: Marks) -> Option<PendingAck> {
        assert!(marks.durable <= marks.written, "nothing is durable that was not written");
        assert!(marks.written >= self.released.written, "the written mark never goes back");
        assert!(marks.durable >= self.released.durable, "the durable mark never goes back");
        self.released = marks;
        let bound = if crate::planted!("ack-before-fsync") { marks.written } else { marks.durable };
        let ack = pop_below(&mut self.written, marks.written).or_else(|| pop_below(&mut self.durable, bound))?;
        self.bytes = self.bytes.checked_sub(size_of(&ack)).expect("what leaves was counted when it came");
        Some(ack)
    }
    /// Takes the next answer whose sync did not come in time.
    pub fn pop_expired(&mut self, now: Instant) -> Option<PendingAck> {
        self.durable.front().filter(|ack| ack.deadline <= now)?;
        self.pop_durable()
    }
    /// Takes the next answer that waits for a sync, when no sync will come any more.
    pub fn pop_durable(&mut self) -> Option<PendingAck> {
        let ack = self.durable.pop_front()?;
        self.bytes = self.bytes.checked_sub(size_of(&ack)).expect("what leaves was counted when it came");
        Some(ack)
    }
    /// When patience with the oldest sync ends.
    pub fn wake_at(&self) -> Option<Instant> {
        self.durable.front().map(|ack| ack.deadline)
    }
    /// Panics when the order or the byte count is broken.
    pub fn invariants(&self) {
        let sorted = |queue: &VecDeque<PendingAck>| queue.iter().zip(queue.iter().skip(1)).all(|(a, b)| a.end <= b.end);
        assert!(sorted(&self.written) && sorted(&self.durable), "answers are sorted by the end of their message");
        let bytes: usize = self.written.iter().chain(&self.durable).map(size_of).sum();
        assert_eq!(bytes, self.bytes, "the bytes of waiting answers are counted");
    }
}

fn pop_below(queue: &mut VecDeque<PendingAck>, mark: u64) -> Option<PendingAck> {
    queue.front().filter(|ack| ack.end <= mark)?;
    queue.pop_front()
}

fn size_of(ack: &PendingAck) -> usize {
    ACK_BYTES + ack.frame.fields.text_len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;

    fn ack(end: u64, deadline: u64) -> PendingAck {
        PendingAck { end, deadline: Instant(deadline), conn: ConnId(1), frame: Frame::request(0) }
    }

    #[test]
    fn nothing_leaves_before_its_mark() {
        let mut acks = PendingAcks::new(1 << 20);
        acks.push(WaitFor::Durable, ack(100, 5));
        acks.push(WaitFor::Written, ack(200, 5));
        let mut marks = Marks { written: 150, durable: 99, ..Marks::default() };
        assert!(acks.pop(marks).is_none());
        marks.written = 200;
        assert_eq!(acks.pop(marks).unwrap().end, 200);
        assert!(acks.pop(marks).is_none());
        marks.durable = 100;
        assert_eq!(acks.pop(marks).unwrap().end, 100);
        assert!(acks.is_empty());
        acks.invariants();
    }

    #[test]
    fn patience_ends_in_order() {
        let mut acks = PendingAcks::new(1 << 20);
        acks.push(WaitFor::Durable, ack(100, 5));
        acks.push(WaitFor::Durable, ack(200, 7));
        assert_eq!(acks.wake_at(), Some(Instant(5)));
        assert!(acks.pop_expired(Instant(4)).is_none());
        assert_eq!(acks.pop_expired(Instant(6)).unwrap().end, 100);
        assert!(acks.pop_expired(Instant(6)).is_none());
        acks.invariants();
    }

    #[test]
    fn the_table_is_bounded_in_bytes() {
        let mut acks = PendingAcks::new(2 * ACK_BYTES);
        acks.push(WaitFor::Written, ack(1, 0));
        assert!(!acks.is_full());
        acks.push(WaitFor::Written, ack(2, 0));
        assert!(acks.is_full());
        acks.pop(Marks { written: 2, ..Marks::default() });
        assert!(!acks.is_full());
    }

    #[test]
    #[should_panic(expected = "order of the log")]
    fn disorder_is_our_own_fault() {
        let mut acks = PendingAcks::new(1 << 20);
        acks.push(WaitFor::Written, ack(2, 0));
        acks.push(WaitFor::Written, ack(1, 0));
    }
}

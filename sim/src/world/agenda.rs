//! The agenda: everything that will happen, in order of virtual time.
//!
//! Invariant: two entries never compare equal, and their order depends on time, on the object they belong to and on that
//! object's own history, never on the order in which tasks happened to be polled.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::task::Waker;

use super::{HostId, Life};
use crate::net::{ConnSerial, DialSerial, Side};

/// Something that is due at a point of virtual time.
#[derive(Debug)]
pub(crate) enum Due {
    /// A task of one life of a host asked to be woken.
    Wake(HostId, Life, Waker),
    /// The first segment in flight from this side of a connection reaches the other end.
    Arrive(ConnSerial, Side),
    /// The writer at this side learns that the reader made room.
    Room(ConnSerial, Side),
    /// A held-back frame of this side goes on its way.
    Release(ConnSerial, Side),
    /// The reset sent by the peer reaches this side.
    Reset(ConnSerial, Side),
    /// A connection request reaches its target.
    Syn(DialSerial),
    /// The answer to a connection request reaches the one who dialled.
    SynAck(DialSerial),
    /// Something of the world's owner, by its own number (an action of the tape, a deadline).
    Owner(u64),
}

#[derive(Debug)]
struct Entry {
    at: u64,
    entity: u64,
    serial: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.entity, other.serial).cmp(&(self.at, self.entity, self.serial))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    now: u64,
    serial: u64,
    heap: BinaryHeap<Entry>,
}

impl Agenda {
    /// The time of the entry that was taken last, ns.
    pub fn now(&self) -> u64 {
        self.now
    }
    /// Adds an entry. `entity` breaks ties between entries of the same nanosecond; a time in the past means now.
    pub fn add(&mut self, at: u64, entity: u64, due: Due) {
        self.serial += 1;
        self.heap.push(Entry { at: at.max(self.now), entity, serial: self.serial, due });
    }
    /// When the next entry is due, ns.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }
    /// Takes the next entry and moves time to it.
    pub fn take(&mut self) -> Option<(u64, Due)> {
        let entry = self.heap.pop()?;
        assert!(entry.at >= self.now, "virtual time never runs backwards");
        self.now = entry.at;
        Some((entry.entity, entry.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(agenda: &mut Agenda) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| agenda.take().map(|(entity, _)| (agenda.now(), entity))).collect()
    }

    #[test]
    fn order_is_by_time_then_entity_whatever_the_order_of_adding() {
        let mut one = Agenda::default();
        let mut two = Agenda::default();
        let entries = [(5, 2), (5, 1), (3, 9), (7, 0)];
        entries.iter().for_each(|&(at, entity)| one.add(at, entity, Due::Owner(0)));
        entries.iter().rev().for_each(|&(at, entity)| two.add(at, entity, Due::Owner(0)));
        assert_eq!(numbers(&mut one), [(3, 9), (5, 1), (5, 2), (7, 0)]);
        assert_eq!(numbers(&mut two), [(3, 9), (5, 1), (5, 2), (7, 0)]);
    }

    #[test]
    fn the_past_is_now() {
        let mut agenda = Agenda::default();
        agenda.add(10, 0, Due::Owner(0));
        agenda.take();
        agenda.add(4, 0, Due::Owner(1));
        assert_eq!(agenda.next_at(), Some(10));
    }
}

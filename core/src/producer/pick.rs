//! Which queue is next.
//!
//! Invariant: while the list stays, every queue is picked equally often; a queue of the broker to avoid is picked only when
//! there is no other.

use crate::client::Queue;

/// The round robin of one topic (Java `TopicPublishInfo` with `ThreadLocalIndex`).
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin {
    next: u64,
}

impl RoundRobin {
    /// Begins anywhere, so that producers that start together do not all begin with the same queue.
    pub fn new(begin: u64) -> RoundRobin {
        RoundRobin { next: begin }
    }

    /// The next queue that is not at the broker `avoid`, or else the next.
    pub fn pick(&mut self, queues: &[Queue], avoid: Option<&str>) -> Option<Queue> {
        let tries = if avoid.is_some() { queues.len() } else { 0 };
        for _ in 0..tries {
            let queue = self.step(queues)?;
            if Some(&*queue.broker) != avoid {
                return Some(queue.clone());
            }
        }
        self.step(queues).cloned()
    }

    fn step<'a>(&mut self, queues: &'a [Queue]) -> Option<&'a Queue> {
        let count = queues.len() as u64;
        let at = self.next.checked_rem(count)?;
        self.next = self.next.wrapping_add(1);
        queues.get(usize::try_from(at).expect("below a length"))
    }
}

/// Where a hash code leads (Java `SelectMessageQueueByHash`); nothing when there is no queue.
pub fn index_by_hash(hash: i32, count: usize) -> Option<usize> {
    let count = i64::try_from(count).ok().filter(|count| *count > 0)?;
    usize::try_from((i64::from(hash) % count).abs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues() -> Vec<Queue> {
        ["a", "b"].iter().flat_map(|broker| (0..2).map(|id| Queue::new(*broker, id))).collect()
    }

    fn picks(begin: u64, avoid: Option<&str>, count: usize) -> String {
        let (mut robin, queues) = (RoundRobin::new(begin), queues());
        (0..count).map(|_| robin.pick(&queues, avoid).unwrap().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn queues_are_picked_one_after_the_other() {
        assert_eq!(picks(3, None, 6), "b:1 a:0 a:1 b:0 b:1 a:0");
        assert_eq!(picks(u64::MAX, None, 2), "b:1 a:0");
    }

    #[test]
    fn the_broker_that_failed_is_passed_over_if_there_is_another() {
        assert_eq!(picks(0, Some("a"), 4), "b:0 b:1 b:0 b:1");
        let (mut robin, only) = (RoundRobin::new(0), vec![Queue::new("a", 0)]);
        assert_eq!(robin.pick(&only, Some("a")), Some(Queue::new("a", 0)));
        assert_eq!(robin.pick(&[], Some("a")), None);
        assert_eq!(robin.pick(&[], None), None);
    }

    #[test]
    fn the_most_negative_hash_has_a_queue_too() {
        assert_eq!(index_by_hash(i32::MIN, 3), Some(2));
        assert_eq!(index_by_hash(-7, 4), Some(3));
        assert_eq!(index_by_hash(7, 0), None);
    }
}

//! A queue that this consumer reads: where it stands between "assigned" and "given back".
//!
//! Invariant: messages are pulled and delivered only in [`Stage::Pulling`]; an answer that belongs to an earlier life of the
//! queue (another generation) changes nothing.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::process_queue::ProcessQueue;
use crate::client::{Queue, by_text};
use crate::node::Instant;
use crate::wire::route::MASTER_ID;

/// How long a lock counts as held after the broker gave it (Java `ProcessQueue.REBALANCE_LOCK_MAX_LIVE_TIME`); the broker
/// keeps it for 60 s.
pub(super) const LOCK_VALID: Duration = Duration::from_secs(30);
/// How long a broker keeps a lock that is not renewed (Java `RebalanceLockManager.REBALANCE_LOCK_MAX_LIVE_TIME`).
pub(super) const LOCK_LEASE: Duration = Duration::from_secs(60);

/// A queue with its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub topic: Arc<str>,
    pub queue: Queue,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        by_text(&self.topic, &other.topic).then_with(|| self.queue.cmp(&other.queue))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The lock (orderly mode only).
    Locking,
    /// The offset to begin at.
    Seeking,
    /// Nothing: it is read.
    Pulling,
    /// The outcome of the delivery under way; then it is given back (orderly mode only).
    Leaving,
}

/// A request that may be under way for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// None; the next may go out then.
    Idle(Instant),
    UnderWay,
}

/// The state of one owned queue.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub stage: Stage,
    /// Grows with every new life of any queue.
    pub generation: u64,
    pub messages: ProcessQueue,
    /// Whether `messages` begins where the queue was to be begun, so that its offset can be committed.
    pub positioned: bool,
    /// The seek or pull of the present stage.
    pub request: Request,
    /// Which replica to pull from, as the broker suggests.
    pub replica: i64,
    /// When the lock that is held was asked for.
    pub locked_at: Option<Instant>,
    /// Orderly mode: no delivery before.
    pub suspended_until: Instant,
    /// What was last committed, and when.
    pub committed: Option<(i64, Instant)>,
    /// Whether flow control holds it back, so that it is told once.
    pub full: bool,
    /// When this life of it began.
    pub began: Instant,
    /// When it was last pulled, or else began.
    pub pulled_at: Instant,
    /// When something of it was last consumed, or else it began.
    pub consumed_at: Instant,
}

impl Owned {
    pub(super) fn new(stage: Stage, generation: u64, now: Instant) -> Owned {
        Owned {
            stage,
            generation,
            messages: ProcessQueue::new(0),
            positioned: false,
            request: Request::Idle(now),
            replica: MASTER_ID,
            locked_at: None,
            suspended_until: now,
            committed: None,
            full: false,
            began: now,
            pulled_at: now,
            consumed_at: now,
        }
    }

    /// The queue goes on, or begins, at an offset.
    pub(super) fn begin_at(&mut self, offset: i64) {
        self.messages = ProcessQueue::new(offset.max(0));
        self.positioned = true;
    }

    /// Whether the lock counts as held.
    pub(super) fn locked(&self, now: Instant) -> bool {
        self.locked_at.is_some_and(|at| now < at + LOCK_VALID)
    }
}

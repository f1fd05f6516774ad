//! Which client of a group holds which queue, for ordered consumption (Java `RebalanceLockManager`).
//!
//! Invariant: a queue of a group has at most one holder whose lock has not expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::{Caller, Fault, Handled};
use super::{Broker, BrokerEvent};
use crate::node::{Cx, Instant};
use crate::wire::Frame;
use crate::wire::codes::response;
use crate::wire::json::{self, Style};
use crate::wire::lock::{LockBatchBody, LockBatchResponseBody, MessageQueue};

/// How long a lock lasts unless renewed (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_LIVES: Duration = Duration::from_secs(60);
/// Most queues of one lock request.
const QUEUES_OF_ONE_LOCK_MAX: usize = 100_000;

/// A lock on one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLock {
    /// Who holds it.
    pub client: Arc<str>,
    /// When it was last taken or renewed.
    pub renewed: Instant,
}

impl QueueLock {
    fn holds(&self, now: Instant) -> bool {
        now.since(self.renewed) <= LOCK_LIVES
    }
}

/// All locks, by group and queue.
#[derive(Debug, Default)]
pub struct QueueLocks {
    groups: BTreeMap<String, BTreeMap<MessageQueue, QueueLock>>,
}

impl QueueLocks {
    /// Takes or renews what can be had for `client`; returns the queues that it holds now.
    pub fn lock(&mut self, group: &str, client: &str, queues: &[MessageQueue], now: Instant) -> Vec<MessageQueue> {
        if queues.is_empty() {
            return Vec::new();
        }
        let client: Arc<str> = client.into();
        let held = self.groups.entry(group.to_owned()).or_default();
        let mut taken = Vec::with_capacity(queues.len());
        for queue in queues {
            let free = held.get(queue).is_none_or(|lock| lock.client == client || !lock.holds(now));
            if free || crate::planted!("lock-granted-twice") {
                held.insert(queue.clone(), QueueLock { client: Arc::clone(&client), renewed: now });
                taken.push(queue.clone());
            }
        }
        taken
    }
    /// Gives locks of `client` back; those of others stay.
    pub fn unlock(&mut self, group: &str, client: &str, queues: &[MessageQueue]) {
        let Some(held) = self.groups.get_mut(group) else { return };
        for queue in queues {
            if held.get(queue).is_some_and(|lock| &*lock.client == client) {
                held.remove(queue);
            }
        }
        if held.is_empty() {
            self.groups.remove(group);
        }
    }
    /// Whether any client of the group holds a lock: the group consumes in order.
    pub fn any_held(&self, group: &str, now: Instant) -> bool {
        self.groups.get(group).is_some_and(|held| held.values().any(|lock| lock.holds(now)))
    }
    /// Forgets what has expired, so that the table stays as large as what is in use.
    pub fn forget_expired(&mut self, now: Instant) {
        for held in self.groups.values_mut() {
            held.retain(|_, lock| lock.holds(now));
        }
        self.groups.retain(|_, held| !held.is_empty());
    }
    /// Every lock that holds at `now`: group, queue, lock.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (&str, &MessageQueue, &QueueLock)> {
        self.groups
            .iter()
            .flat_map(|(group, held)| held.iter().map(move |(queue, lock)| (group.as_str(), queue, lock)))
            .filter(move |(_, _, lock)| lock.holds(now))
    }
}

impl Broker {
    pub(super) fn on_lock(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let body: LockBatchBody = self.body_of(frame)?;
        if body.mq_set.len() > QUEUES_OF_ONE_LOCK_MAX {
            return Err(Fault::new(response::SYSTEM_ERROR, "too many queues in one lock request"));
        }
        let lock_ok_mq_set = self.locks.lock(&body.consumer_group, &body.client_id, &body.mq_set, cx.now.mono);
        let body = json::to_vec(&LockBatchResponseBody { lock_ok_mq_set }, Style::Fastjson);
        Ok(caller.success().with_body(body).into())
    }

    pub(super) fn on_unlock(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let body: LockBatchBody = self.body_of(frame)?;
        self.locks.unlock(&body.consumer_group, &body.client_id, &body.mq_set);
        Ok(caller.success().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: id }
    }

    fn at(secs: u64) -> Instant {
        Instant(secs * 1_000_000_000)
    }

    #[test]
    fn one_holder_at_a_time() {
        let mut locks = QueueLocks::default();
        assert_eq!(locks.lock("g", "c1", &[queue(0)], at(0)), [queue(0)]);
        assert_eq!(locks.lock("g", "c2", &[queue(0), queue(1)], at(1)), [queue(1)]);
        assert_eq!(locks.lock("other", "c2", &[queue(0)], at(1)), [queue(0)], "groups do not meet");
        locks.unlock("g", "c2", &[queue(0)]);
        assert!(locks.lock("g", "c2", &[queue(0)], at(2)).is_empty(), "another's lock stays");
        locks.unlock("g", "c1", &[queue(0)]);
        assert_eq!(locks.lock("g", "c2", &[queue(0)], at(3)), [queue(0)]);
    }

    #[test]
    fn a_lock_expires_unless_renewed() {
        let mut locks = QueueLocks::default();
        locks.lock("g", "c1", &[queue(0)], at(0));
        locks.lock("g", "c1", &[queue(0)], at(50));
        assert!(locks.lock("g", "c2", &[queue(0)], at(110)).is_empty(), "60 s from the renewal are not over");
        assert!(locks.any_held("g", at(110)));
        assert_eq!(locks.lock("g", "c2", &[queue(0)], at(111)), [queue(0)]);
        locks.forget_expired(at(300));
        assert_eq!(locks.iter(at(300)).count(), 0);
        assert!(locks.groups.is_empty());
    }
}

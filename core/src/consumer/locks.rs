//! Orderly mode: the locks that brokers give on queues.
//!
//! Invariant: a queue that was locked by somebody else meanwhile, or may have been, is begun anew at the committed offset.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::owned::{Key, LOCK_LEASE, Request, Stage};
use super::{Ask, Out, PushConsumer};
use crate::client::{API_TIMEOUT, CallError};
use crate::node::Instant;
use crate::sometimes;
use crate::wire::Frame;
use crate::wire::codes::{request as code, response};
use crate::wire::json::{self, Style};
use crate::wire::lock::{LockBatchBody, LockBatchResponseBody, MessageQueue};
use crate::wire::route::MASTER_ID;

/// How often locks are renewed (Java `ConsumeMessageOrderlyService`, `rocketmq.client.rebalance.lockInterval`).
pub(super) const LOCK_EVERY: Duration = Duration::from_secs(20);
/// How soon a lock that was refused is asked for again. (Java waits for the next rebalance.)
const LOCK_RETRY: Duration = Duration::from_secs(1);

impl PushConsumer {
    /// Renews every lock.
    pub(super) fn lock_all(&mut self, cx: Out<'_, '_>) {
        let keys: Vec<Key> = self.owned.keys().cloned().collect();
        self.lock(&keys, cx);
    }

    /// Asks for locks, one request a broker.
    pub(super) fn lock(&mut self, keys: &[Key], cx: Out<'_, '_>) {
        let now = cx.now.mono;
        let mut by_broker: BTreeMap<Arc<str>, Vec<(Key, u64)>> = BTreeMap::new();
        for key in keys {
            let Some(owned) = self.owned.get_mut(key) else { continue };
            if owned.stage == Stage::Locking {
                if owned.request == Request::UnderWay {
                    continue;
                }
                owned.request = Request::UnderWay;
            }
            by_broker.entry(key.queue.broker.clone()).or_default().push((key.clone(), owned.generation));
        }
        for (broker, keys) in by_broker {
            let Some(addr) = self.client.routes().addr(&broker, MASTER_ID) else {
                self.on_locks(keys, now, Err(CallError::Connect), cx);
                continue;
            };
            let body = self.lock_body(keys.iter().map(|(key, _)| key));
            let frame = Frame::request(code::LOCK_BATCH_MQ).with_body(body);
            self.client.call(&addr, frame, API_TIMEOUT, Ask::Lock { keys, at: now }, cx);
        }
    }

    /// Gives a lock back.
    pub(super) fn unlock(&mut self, key: &Key, cx: Out<'_, '_>) {
        let Some(addr) = self.client.routes().addr(&key.queue.broker, MASTER_ID) else { return };
        let body = self.lock_body(std::iter::once(key));
        self.client.oneway(&addr, Frame::request(code::UNLOCK_BATCH_MQ).with_body(body), cx);
    }

    fn lock_body<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<u8> {
        let body = LockBatchBody {
            client_id: self.client_id.clone(),
            consumer_group: self.config.group.to_string(),
            mq_set: keys.map(wire_queue).collect(),
            only_this_broker: false,
        };
        json::to_vec(&body, Style::Fastjson)
    }

    pub(super) fn on_locks(
        &mut self,
        keys: Vec<(Key, u64)>,
        at: Instant,
        result: Result<Frame, CallError>,
        cx: Out<'_, '_>,
    ) {
        let granted: Option<LockBatchResponseBody> = match result {
            Ok(frame) if frame.code == response::SUCCESS => json::from_slice(&frame.body).ok(),
            _ => None,
        };
        for (key, generation) in keys {
            let current = self.owned.get(&key).is_some_and(|owned| owned.generation == generation);
            if !current {
                continue;
            }
            match &granted {
                Some(body) if body.lock_ok_mq_set.contains(&wire_queue(&key)) => self.locked(&key, at, cx),
                Some(_) => self.lock_refused(&key, cx),
                None => self.lock_unanswered(&key, cx),
            }
            self.refresh(&key, cx);
        }
    }

    fn locked(&mut self, key: &Key, at: Instant, cx: Out<'_, '_>) {
        let owned = self.owned.get_mut(key).expect("the queue was just looked at");
        let lapsed = owned.locked_at.is_some_and(|before| at >= before + LOCK_LEASE);
        owned.locked_at = Some(at);
        if owned.stage == Stage::Locking {
            owned.stage = Stage::Seeking;
            owned.request = Request::Idle(cx.now.mono);
        } else if lapsed && owned.stage != Stage::Leaving {
            sometimes!("lock regained after its lease was over");
            self.begin(key, Stage::Seeking, cx.now.mono);
            self.owned.get_mut(key).expect("the queue was just begun").locked_at = Some(at);
        }
    }

    fn lock_refused(&mut self, key: &Key, cx: Out<'_, '_>) {
        let owned = self.owned.get_mut(key).expect("the queue was just looked at");
        if owned.stage == Stage::Leaving {
            owned.locked_at = None;
            return;
        }
        if owned.locked_at.is_some() {
            sometimes!("lock lost to another member");
        }
        self.begin(key, Stage::Locking, cx.now.mono);
        let owned = self.owned.get_mut(key).expect("the queue was just begun");
        owned.request = Request::Idle(cx.now.mono + LOCK_RETRY);
    }

    fn lock_unanswered(&mut self, key: &Key, cx: Out<'_, '_>) {
        let owned = self.owned.get_mut(key).expect("the queue was just looked at");
        if owned.stage == Stage::Locking {
            owned.request = Request::Idle(cx.now.mono + LOCK_RETRY);
        }
    }
}

fn wire_queue(key: &Key) -> MessageQueue {
    MessageQueue { topic: key.topic.to_string(), broker_name: key.queue.broker.to_string(), queue_id: key.queue.id }
}

//! Handing messages to the owner, and what becomes of them.
//!
//! Invariant: at most `deliveries_max` deliveries are under way; in orderly mode at most one a queue.

use std::ops::Bound;
use std::time::Duration;

use super::owned::Key;
use super::request::{ConsumerEvent, Outcome};
use super::{Life, Out, PushConsumer};
use crate::node::Instant;
use crate::sometimes;

/// A delivery without an outcome.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub key: Key,
    generation: u64,
    pub offsets: Vec<i64>,
    /// When it was handed out.
    pub since: Instant,
}

impl PushConsumer {
    /// Delivers what is ready, queue after queue, as far as the limit allows.
    pub(super) fn deliver(&mut self, cx: Out<'_, '_>) {
        let oldest = self.deliveries.first_key_value().map(|(_, delivery)| delivery.since);
        if oldest.is_some_and(|since| cx.now.mono.since(since) > Duration::from_secs(10)) {
            sometimes!("a handler ran for more than 10 s");
            if crate::planted!("one-handler-stops-all") {
                return;
            }
        }
        while self.life == Life::Running && self.deliveries.len() < self.config.deliveries_max {
            let Some(key) = self.next_ready() else { return };
            self.deliver_from(&key, cx);
        }
    }

    /// The queue with something to deliver that follows the one served last.
    fn next_ready(&self) -> Option<Key> {
        let after = match &self.served {
            Some(key) => self.ready.range((Bound::Excluded(key.clone()), Bound::Unbounded)).next(),
            None => None,
        };
        after.or(self.ready.first()).cloned()
    }

    fn deliver_from(&mut self, key: &Key, cx: Out<'_, '_>) {
        let owned = self.owned.get_mut(key).expect("a queue that is ready is owned");
        if self.config.orderly && !owned.locked(cx.now.mono) {
            sometimes!("lock ran out before a delivery");
            self.ready.remove(key);
            return;
        }
        let messages = owned.messages.take(self.config.delivery_messages.max(1));
        assert!(!messages.is_empty(), "a queue that is ready has messages");
        let delivery = self.next_delivery;
        self.next_delivery += 1;
        let offsets = messages.iter().map(|message| message.offset).collect();
        let (generation, since) = (owned.generation, cx.now.mono);
        self.deliveries.insert(delivery, Delivery { key: key.clone(), generation, offsets, since });
        *self.busy.entry(key.clone()).or_insert(0) += 1;
        self.served = Some(key.clone());
        self.set_ready(key, cx.now.mono);
        let (topic, queue) = (key.topic.clone(), key.queue.clone());
        cx.out.event(ConsumerEvent::Deliver { delivery, topic, queue, messages });
    }

    /// Takes the outcome of a delivery. That of a queue which was given back or begun anew meanwhile counts for nothing: the
    /// messages are delivered again, here or elsewhere.
    pub(super) fn consumed(&mut self, delivery: u64, outcome: Outcome, cx: Out<'_, '_>) {
        let Some(Delivery { key, generation, offsets, since }) = self.deliveries.remove(&delivery) else {
            let text = format!("delivery {delivery} has no outcome to take: it is unknown, or had one");
            cx.out.event(ConsumerEvent::Notice(text));
            return;
        };
        let count = self.busy.get_mut(&key).expect("a delivery makes its queue busy");
        *count -= 1;
        if *count == 0 {
            self.busy.remove(&key);
        }
        let now = cx.now.mono;
        if let Some(stats) = self.stats.get_mut(&key.topic) {
            stats.consumed(now.since(since), offsets.len(), outcome == Outcome::Success);
        }
        match self.owned.get_mut(&key).filter(|owned| owned.generation == generation) {
            None => sometimes!("outcome of a delivery whose queue was given back"),
            Some(owned) => match outcome {
                Outcome::Success => {
                    owned.consumed_at = now;
                    owned.messages.finish(&offsets);
                }
                Outcome::Later if self.config.orderly => {
                    owned.messages.put_back(&offsets, now);
                    owned.suspended_until = now + self.config.suspend;
                }
                Outcome::Later => {
                    owned.messages.put_back(&offsets, now + self.config.later);
                    self.say_local(cx);
                }
            },
        }
        self.refresh(&key, cx);
    }

    fn say_local(&mut self, cx: Out<'_, '_>) {
        if std::mem::replace(&mut self.said_local, true) {
            return;
        }
        let seconds = self.config.later.as_secs();
        let text = format!(
            "messages that could not be consumed stay with this consumer and are delivered again after {seconds} s: \
             sending them back to the broker is not offered yet"
        );
        cx.out.event(ConsumerEvent::Notice(text));
    }

    /// Whether a queue waits for an outcome before it is given back.
    #[cfg(test)]
    pub(super) fn is_leaving(&self, key: &Key) -> bool {
        self.owned.get(key).is_some_and(|owned| owned.stage == super::owned::Stage::Leaving)
    }
}

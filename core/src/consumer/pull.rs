//! Pulling: one request a queue is always under way, unless too much of the queue is unfinished.
//!
//! Invariant: the position on a queue moves only as an answer to a pull that began there says.

use std::sync::Arc;
use std::time::Duration;

use super::decode::decode;
use super::owned::{Key, Owned, Request};
use super::request::ConsumerEvent;
use super::{Ask, ConsumerConfig, Out, PushConsumer};
use crate::client::CallError;
use crate::node::Addr;
use crate::sometimes;
use crate::wire::codes::{request as code, response};
use crate::wire::pull::{FLAG_COMMIT, FLAG_SUSPEND, PullMessageHeader, PullMessageResponseHeader};
use crate::wire::route::MASTER_ID;
use crate::wire::{Frame, Header as _};

/// How soon a pull is tried again that failed (Java `pullTimeDelayMillsWhenException`).
const RETRY: Duration = Duration::from_secs(1);
/// How soon when the broker is busy (Java `PULL_TIME_DELAY_MILLS_WHEN_BROKER_FLOW_CONTROL`).
const RETRY_BUSY: Duration = Duration::from_millis(20);

impl PushConsumer {
    /// Sends the next pull of a queue, unless flow control holds it back.
    pub(super) fn pull(&mut self, key: &Key, cx: Out<'_, '_>) {
        let now = cx.now.mono;
        let owned = self.owned.get_mut(key).expect("only owned queues are pulled");
        if self.config.orderly && !owned.locked(now) {
            owned.request = Request::Idle(now + RETRY);
            return;
        }
        let full = is_full(&self.config, owned);
        if full && !owned.full {
            sometimes!("flow control stopped a pull");
        }
        owned.full = full;
        if full {
            return;
        }
        let Some((replica, addr)) = self.client.routes().addr_near(&key.queue.broker, owned.replica) else {
            owned.request = Request::Idle(now + RETRY);
            return;
        };
        (owned.request, owned.pulled_at) = (Request::UnderWay, now);
        let ask = Ask::Pull { key: key.clone(), generation: owned.generation, addr: addr.clone() };
        let frame = self.pull_frame(key, replica);
        self.client.call(&addr, frame, self.config.pull_timeout, ask, cx);
    }

    fn pull_frame(&self, key: &Key, replica: i64) -> Frame {
        let owned = &self.owned[key];
        let commit_offset = owned.messages.commit_offset();
        let few = crate::buggify!("pull a single message");
        let commits = commit_offset > 0 && replica == MASTER_ID;
        let header = PullMessageHeader {
            consumer_group: (*self.config.group).to_owned(),
            topic: (*key.topic).to_owned(),
            queue_id: key.queue.id,
            queue_offset: owned.messages.next(),
            max_msg_nums: if few { 1 } else { self.config.pull_messages },
            sys_flag: FLAG_SUSPEND | if commits { FLAG_COMMIT } else { 0 },
            commit_offset: if commits { commit_offset } else { 0 },
            suspend_timeout_millis: i64::try_from(self.config.pull_hold.as_millis()).unwrap_or(i64::MAX),
            sub_version: self.subscriptions.get(&key.topic).map_or(0, |subscription| subscription.version),
            expression_type: Some("TAG".into()),
            max_msg_bytes: Some(self.config.pull_bytes),
            broker_name: Some((*key.queue.broker).to_owned()),
            ..PullMessageHeader::default()
        };
        Frame::request(code::PULL_MESSAGE).with_header(&header)
    }

    pub(super) fn on_pull(
        &mut self,
        key: &Key,
        generation: u64,
        addr: &Addr,
        result: Result<Frame, CallError>,
        cx: Out<'_, '_>,
    ) {
        let now = cx.now.mono;
        let Some(owned) = self.owned.get_mut(key).filter(|owned| owned.generation == generation) else {
            sometimes!("answer to a pull of a queue that was given back");
            return;
        };
        owned.request = Request::Idle(now);
        match result {
            Ok(frame) => self.on_pulled(key, addr, &frame, cx),
            Err(_) if crate::planted!("pull-not-repeated") => owned.request = Request::UnderWay,
            Err(_) => owned.request = Request::Idle(now + RETRY),
        }
        self.refresh(key, cx);
    }

    fn on_pulled(&mut self, key: &Key, addr: &Addr, frame: &Frame, cx: Out<'_, '_>) {
        let now = cx.now.mono;
        let owned = self.owned.get_mut(key).expect("the queue was just looked at");
        let header = PullMessageResponseHeader::read(&frame.fields);
        match (frame.code, header) {
            (response::SUCCESS, Ok(header)) => {
                owned.replica = header.suggest_which_broker_id;
                self.take_messages(key, frame, header.next_begin_offset, cx);
            }
            (response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY, Ok(header)) => {
                owned.replica = header.suggest_which_broker_id;
                owned.messages.put(Vec::new(), header.next_begin_offset);
            }
            (response::PULL_OFFSET_MOVED, Ok(header)) => {
                let is_reset = frame.remark.as_deref() == Some("OFFSET_RESET");
                self.correct(key, header.next_begin_offset, is_reset, cx);
            }
            (response::FLOW_CONTROL, _) => owned.request = Request::Idle(now + RETRY_BUSY),
            (code, _) => {
                owned.request = Request::Idle(now + RETRY);
                self.on_pull_refused(addr, code, cx);
            }
        }
    }

    /// A broker that does not know this consumer, or its subscription, is told at once.
    fn on_pull_refused(&mut self, addr: &Addr, code: i32, cx: Out<'_, '_>) {
        let unknown = [
            response::SUBSCRIPTION_NOT_EXIST,
            response::SUBSCRIPTION_NOT_LATEST,
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
        ];
        if unknown.contains(&code) {
            sometimes!("broker did not know the subscription of a pull");
            self.client.heartbeat(addr, cx);
        }
    }

    fn take_messages(&mut self, key: &Key, frame: &Frame, next: i64, cx: Out<'_, '_>) {
        let (mut messages, complaints) = decode(&frame.body, &key.queue, self.config.body_max);
        for complaint in complaints {
            let (topic, queue) = (key.topic.clone(), key.queue.clone());
            cx.out.event(ConsumerEvent::Malformed { topic, queue, offset: complaint.offset, why: complaint.why });
        }
        if let Some(subscription) = self.subscriptions.get(&key.topic)
            && !crate::planted!("no-second-look-at-tags")
        {
            let pulled = messages.len();
            messages.retain(|message| subscription.wants(message.tag()));
            if messages.len() < pulled {
                sometimes!("broker handed out what this member does not want");
            }
        }
        let owned = self.owned.get_mut(key).expect("the queue was just looked at");
        if let Some(stats) = self.stats.get_mut(&key.topic) {
            stats.pulled(cx.now.mono.since(owned.pulled_at), messages.len());
        }
        owned.messages.put(messages, next);
    }

    /// The position is out of the broker's range, or an administrator has moved it: what was pulled is forgotten, and the
    /// queue goes on where the broker says; when that is back and not what an administrator asked for, not past a message that is not
    /// finished (Java loses it). Deliveries under way are of the life before; their outcome counts for nothing.
    fn correct(&mut self, key: &Key, to: i64, is_reset: bool, cx: Out<'_, '_>) {
        sometimes!("offset corrected by the broker");
        let before = self.owned[key].clone();
        let is_back = !is_reset && to < before.messages.next() && !crate::planted!("unfinished-forgotten");
        let to = if is_back { to.min(before.messages.commit_offset()) } else { to };
        self.begin(key, before.stage, cx.now.mono);
        let owned = self.owned.get_mut(key).expect("the queue was just begun");
        owned.locked_at = before.locked_at;
        owned.suspended_until = before.suspended_until;
        owned.begin_at(to);
        let (topic, queue): (Arc<str>, _) = (key.topic.clone(), key.queue.clone());
        cx.out.event(ConsumerEvent::Corrected { topic, queue, from: before.messages.next(), to });
        self.commit_now(key, to.max(0), cx);
    }
}

/// Java `DefaultMQPushConsumerImpl.pullMessage`: the thresholds of one queue.
fn is_full(config: &ConsumerConfig, owned: &Owned) -> bool {
    if crate::planted!("full-queue-pulled-on") {
        return false;
    }
    owned.messages.len() > config.queue_messages_max
        || owned.messages.bytes() > config.queue_bytes_max
        || (!config.orderly && owned.messages.span() > config.queue_span_max)
}

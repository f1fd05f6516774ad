//! How a member is, when an operator asks (GET_CONSUMER_RUNNING_INFO; Java `DefaultMQPushConsumerImpl.consumerRunningInfo`).
//!
//! Invariant: an answer is made from the state of this moment, and making it changes nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::owned::{Owned, Stage};
use super::{FromWhere, Out, PushConsumer, Subscription};
use crate::meter::{Meter, SAMPLE_EVERY};
use crate::node::{ConnId, Instant, Now};
use crate::wire::admin::{ConsumeStatus, ConsumerRunningInfo, GetConsumerRunningInfoHeader, ProcessQueueInfo};
use crate::wire::codes::response;
use crate::wire::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel};
use crate::wire::json::{self, Style};
use crate::wire::lock::MessageQueue;
use crate::wire::{Frame, Header as _, OUR_VERSION_NAME};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Time between two samples of what is counted for an hour (Java `StatsItemSet.samplingInMinutes`).
const SAMPLE_HOUR_EVERY: Duration = Duration::from_secs(600);

/// The rates of one topic (Java `ConsumerStatsManager`).
#[derive(Clone, Debug)]
pub(super) struct TopicStats {
    /// How long pulls took that found something, ms.
    pull_ms: Meter,
    /// Messages that pulls brought.
    pulled: Meter,
    /// How long deliveries were with the owner, ms.
    consume_ms: Meter,
    consumed: Meter,
    failed: Meter,
    /// The same as `failed`, sampled more rarely.
    failed_hour: Meter,
    sample_hour_at: Instant,
}

impl TopicStats {
    pub(super) fn new(now: Instant) -> TopicStats {
        let mut meter = Meter::default();
        meter.sample(now);
        let [pull_ms, pulled, consume_ms, consumed, failed, failed_hour] = std::array::from_fn(|_| meter.clone());
        let sample_hour_at = now + SAMPLE_HOUR_EVERY;
        TopicStats { pull_ms, pulled, consume_ms, consumed, failed, failed_hour, sample_hour_at }
    }

    /// A pull brought messages.
    pub(super) fn pulled(&mut self, took: Duration, messages: usize) {
        self.pull_ms.add(millis(took));
        self.pulled.add(messages as u64);
    }

    /// A delivery has its outcome.
    pub(super) fn consumed(&mut self, took: Duration, messages: usize, well: bool) {
        self.consume_ms.add(millis(took));
        if well {
            self.consumed.add(messages as u64);
        } else {
            self.failed.add(messages as u64);
            self.failed_hour.add(messages as u64);
        }
    }

    fn sample(&mut self, now: Instant) {
        let TopicStats { pull_ms, pulled, consume_ms, consumed, failed, .. } = self;
        [pull_ms, pulled, consume_ms, consumed, failed].into_iter().for_each(|meter| meter.sample(now));
        if now >= self.sample_hour_at {
            self.sample_hour_at = now + SAMPLE_HOUR_EVERY;
            self.failed_hour.sample(now);
        }
    }

    pub(super) fn status(&self, now: Instant) -> ConsumeStatus {
        ConsumeStatus {
            pull_rt: self.pull_ms.until(now, MINUTE).average,
            pull_tps: self.pulled.until(now, MINUTE).per_second,
            consume_rt: self.consume_ms.until(now, MINUTE).average,
            consume_ok_tps: self.consumed.until(now, MINUTE).per_second,
            consume_failed_tps: self.failed.until(now, MINUTE).per_second,
            consume_failed_msgs: signed(self.failed_hour.until(now, HOUR).sum),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A moment of the past on the wall clock, ms since 1970.
fn wall_of(at: Instant, now: Now) -> i64 {
    signed(now.wall_ms.saturating_sub(millis(now.mono.since(at))))
}

impl PushConsumer {
    /// Takes samples when it is time; called whenever the consumer wakes, which it does each 5 s at least.
    pub(super) fn sample(&mut self, now: Instant) {
        if now >= self.sample_at {
            self.sample_at = now + SAMPLE_EVERY;
            self.stats.values_mut().for_each(|stats| stats.sample(now));
        }
    }

    pub(super) fn on_running_info(&self, conn: ConnId, frame: &Frame, cx: Out<'_, '_>) {
        let fault = |text: String| Frame::response(frame, response::SYSTEM_ERROR).with_remark(text);
        let answer = match GetConsumerRunningInfoHeader::read(&frame.fields) {
            Err(error) => fault(error.to_string()),
            Ok(header) if *header.consumer_group != *self.config.group => {
                fault(format!("The Consumer Group <{}> not exist in this consumer", header.consumer_group))
            }
            Ok(header) => {
                let info = self.running_info(header.jstack_enable, cx.now);
                Frame::response(frame, response::SUCCESS).with_body(json::to_vec(&info, Style::Fastjson))
            }
        };
        if !frame.is_oneway() {
            cx.out.send(conn, answer);
        }
    }

    /// What it is told, reads, holds and does. Where Java would give the stacks of its threads (`stacks`), the deliveries that
    /// its owner has: there is no thread here that could hang.
    fn running_info(&self, stacks: bool, now: Now) -> ConsumerRunningInfo {
        let topics = self.subscriptions.keys();
        let status = topics.filter_map(|topic| Some((topic.to_string(), self.stats.get(topic)?.status(now.mono))));
        let queues = self.owned.iter().map(|(key, owned)| {
            let queue = MessageQueue {
                broker_name: key.queue.broker.to_string(),
                queue_id: key.queue.id,
                topic: key.topic.to_string(),
            };
            (queue, self.queue_info(owned, now))
        });
        ConsumerRunningInfo {
            jstack: stacks.then(|| self.deliveries_as_text(now.mono)),
            mq_pop_table: BTreeMap::new(),
            mq_table: queues.collect(),
            properties: self.properties(),
            status_table: status.collect(),
            subscription_set: self.subscriptions.values().map(Subscription::data).collect(),
            user_consumer_info: BTreeMap::new(),
        }
    }

    fn queue_info(&self, owned: &Owned, now: Now) -> ProcessQueueInfo {
        let messages = &owned.messages;
        let (first, last) = messages.ends();
        let out = messages.out().filter(|_| self.config.orderly);
        let (out_count, out_first, out_last) = out.unwrap_or_default();
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        ProcessQueueInfo {
            // Java's word for an offset that is not known yet.
            commit_offset: if owned.positioned { messages.commit_offset() } else { -1 },
            cached_msg_count: count(messages.len()),
            cached_msg_min_offset: first,
            cached_msg_max_offset: last,
            cached_msg_size_in_mib: count(messages.bytes() >> 20),
            transaction_msg_count: count(out_count),
            transaction_msg_min_offset: out_first,
            transaction_msg_max_offset: out_last,
            locked: owned.locked(now.mono),
            try_unlock_times: 0,
            last_lock_timestamp: wall_of(owned.locked_at.unwrap_or(owned.began), now),
            droped: owned.stage == Stage::Leaving,
            last_pull_timestamp: wall_of(owned.pulled_at, now),
            last_consume_timestamp: wall_of(owned.consumed_at, now),
        }
    }

    /// Settings by Java's names (`MixAll.object2Properties` of the consumer), and the texts that tools look for.
    fn properties(&self) -> BTreeMap<String, String> {
        let config = &self.config;
        let from = match config.from {
            FromWhere::Last => ConsumeFromWhere::LastOffset,
            FromWhere::First => ConsumeFromWhere::FirstOffset,
            FromWhere::Timestamp(_) => ConsumeFromWhere::Timestamp,
        };
        let servers: Vec<&str> = self.client.name_servers().iter().map(|addr| &**addr).collect();
        let threads = config.deliveries_max.to_string();
        let pairs = [
            ("PROP_CLIENT_VERSION", OUR_VERSION_NAME.to_owned()),
            ("PROP_CONSUMEORDERLY", config.orderly.to_string()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
            ("PROP_CONSUME_TYPE", ConsumeType::Passively.name().to_owned()),
            ("PROP_NAMESERVER_ADDR", servers.join(";")),
            ("PROP_THREADPOOL_CORE_SIZE", threads.clone()),
            ("consumeConcurrentlyMaxSpan", config.queue_span_max.to_string()),
            ("consumeFromWhere", from.name().to_owned()),
            ("consumeMessageBatchMaxSize", config.delivery_messages.to_string()),
            ("consumeThreadMax", threads),
            ("consumerGroup", config.group.to_string()),
            ("messageModel", MessageModel::Clustering.name().to_owned()),
            ("pullBatchSize", config.pull_messages.to_string()),
            ("pullThresholdForQueue", config.queue_messages_max.to_string()),
            ("pullThresholdSizeForQueue", (config.queue_bytes_max >> 20).to_string()),
            ("suspendCurrentQueueTimeMillis", config.suspend.as_millis().to_string()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn deliveries_as_text(&self, now: Instant) -> String {
        let mut text = format!("{} deliveries without an outcome\n", self.deliveries.len());
        for delivery in self.deliveries.values() {
            let (key, offsets) = (&delivery.key, &delivery.offsets);
            let (first, last) = (offsets.first().unwrap_or(&0), offsets.last().unwrap_or(&0));
            let ms = millis(now.since(delivery.since));
            writeln!(text, "{} {} offsets {first} to {last}: for {ms} ms", key.topic, key.queue)
                .expect("a text takes what is written to it");
        }
        text
    }
}

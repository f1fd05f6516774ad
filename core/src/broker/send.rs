//! SEND_MESSAGE, SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE (Java `SendMessageProcessor`).
//!
//! Invariant: what is refused was not stored, and what was stored is acknowledged only once the mark that its flush policy
//! demands has passed its end.

use std::time::Duration;

use bytes::Bytes;

use super::dispatch::{Answer, Caller, Fault, Handled};
use super::pending::{PendingAck, WaitFor};
use super::properties::{Facts, Outgoing};
use super::topics::{self, PERM_READ, PERM_WRITE, TOPICS_MAX, Topic};
use super::{Broker, BrokerEvent, names};
use crate::message::{Draft, batch, ids};
use crate::node::Cx;
use crate::sometimes;
use crate::store::{Flush, Placed, PutError};
use crate::wire::Frame;
use crate::wire::codes::{request, response};
use crate::wire::send::SendMessageHeader;
use crate::wire::topic::TopicConfig;

/// Bit of a topic's system flag: messages of a unit (Java `TopicSysFlag`).
const TOPIC_UNIT: i32 = 1;
/// Bit of a topic's system flag: subscribed to across units.
const TOPIC_UNIT_SUB: i32 = 2;
/// The page that Java's error texts point at.
const FAQ: &str = "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
/// Bytes of requests that may wait for a new topic to reach the disk.
pub(super) const DEFERRED_BYTES_MAX: usize = 64 << 20;
/// What a waiting request is taken to occupy beside its body.
const DEFERRED_BYTES: usize = 512;

/// A request that waits until its topic is in the file: a message must not outlive the topic it belongs to.
#[derive(Debug)]
pub struct Deferred {
    caller: Caller,
    frame: Frame,
}

impl Broker {
    pub(super) fn on_send(&mut self, caller: &Caller, frame: Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        if cx.now.wall_ms < self.config.accept_sends_from_ms {
            let text = format!("broker unable to service, until {}", self.config.accept_sends_from_ms);
            return Err(Fault::new(response::SYSTEM_ERROR, text));
        }
        if let Some(why) = self.positions_unkept() {
            sometimes!("send refused while positions are not on the disk");
            return Err(Fault::new(response::SERVICE_NOT_AVAILABLE, why));
        }
        if self.pending.is_full() {
            sometimes!("too many answers wait for the disk");
            let text = "[REJECTREQUEST]system busy, start flow control for a while";
            return Err(Fault::new(response::SYSTEM_BUSY, text));
        }
        let header = match frame.code {
            request::SEND_MESSAGE => SendMessageHeader::read_v1(&frame.fields)?,
            _ => SendMessageHeader::read_v2(&frame.fields)?,
        };
        if frame.body.is_empty() {
            return Err(Fault::new(response::SYSTEM_ERROR, "the message has no body"));
        }
        let facts = Facts::read(header.properties)?;
        let batch = frame.code == request::SEND_BATCH_MESSAGE || header.batch;
        self.check_send(&header, &facts, batch)?;
        self.make_topic(&header, cx)?;
        let topic = self.topics.get(header.topic).expect("it was there or was just made");
        if let Some(file) = self.unsaved(topic.since) {
            return match file.stuck() {
                // Nobody waits for the next try: it comes later than senders give up.
                Some(why) => Err(unsaved(&format!("{} cannot be written: {why}", file.path()))),
                None => self.defer(caller, frame),
            };
        }
        let (name, queue_id) = (topic.name.clone(), self.choose_queue(caller, &header, topic, cx)?);
        let draft = self.draft(caller, &header, name, queue_id, &frame.body);
        if batch {
            self.put_batch(caller, &facts, draft, cx)
        } else {
            self.put_single(caller, &header, &facts, draft, cx)
        }
    }

    /// The file that a topic which was made with this version of the topics still waits for: the topics themselves and, if one was deleted
    /// before, what says so. A topic of the same name would otherwise take over its messages after a crash.
    fn unsaved(&self, since: u64) -> Option<&super::persist::ConfigFile> {
        let (files, last) = (&self.files, &self.last_removal);
        let after = since > last.topics && last.topics > 0;
        let waits = [
            (&files.topics, since),
            (&files.removed, if after { last.removed } else { 0 }),
            (&files.offsets, if after { last.offsets } else { 0 }),
        ];
        waits.into_iter().find(|(file, version)| file.done() < *version).map(|(file, _)| file)
    }

    /// What can be refused before anything changes, in Java's order.
    fn check_send(&self, header: &SendMessageHeader<'_>, facts: &Facts<'_>, batch: bool) -> Result<(), Fault> {
        let ordered = || self.topics.get(header.topic).is_some_and(|topic| topic.config.order);
        if self.config.permission & PERM_WRITE == 0 && ordered() {
            let text = format!("the broker[{}] sending message is forbidden", self.config.ip);
            return Err(Fault::new(response::NO_PERMISSION, text));
        }
        names::check_topic(header.topic).map_err(|why| Fault::new(response::INVALID_PARAMETER, why))?;
        if names::is_send_forbidden(header.topic) {
            let text = format!("Sending message to topic[{}] is forbidden.", header.topic);
            return Err(Fault::new(response::NO_PERMISSION, text));
        }
        if batch && header.topic.starts_with(names::RETRY_PREFIX) {
            let text = format!("batch request does not support retry group {}", header.topic);
            return Err(Fault::new(response::MESSAGE_ILLEGAL, text));
        }
        let missing = [
            (facts.delay > 0, "delayed messages (property DELAY)"),
            (facts.timer, "timer messages (properties TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS)"),
            (facts.prepared, "transactional messages (property TRAN_MSG)"),
        ];
        match missing.iter().find(|(asked, _)| *asked) {
            Some((_, feature)) => {
                let text = format!("this broker does not have {feature} yet; the message was not stored");
                Err(Fault::new(response::MESSAGE_ILLEGAL, text))
            }
            None => Ok(()),
        }
    }

    /// Creates the topic if it is unknown and may be created.
    fn make_topic(&mut self, header: &SendMessageHeader<'_>, cx: &mut Cx<'_, BrokerEvent>) -> Result<(), Fault> {
        if let Some(group) = header.topic.strip_prefix(names::RETRY_PREFIX)
            && self.find_or_create_group(group, cx.now).is_none()
        {
            let text = format!("subscription group not exist, {group} {FAQ}");
            return Err(Fault::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, text));
        }
        if self.topics.get(header.topic).is_some() {
            return Ok(());
        }
        let auto = self.config.auto_create_topic;
        let made = self.topics.inherited(header.topic, header.default_topic, header.default_topic_queue_nums, auto);
        let config = match made {
            Some(mut config) => {
                config.topic_sys_flag = if header.unit_mode { TOPIC_UNIT } else { 0 };
                config
            }
            None if header.topic.starts_with(names::RETRY_PREFIX) => {
                let mut config = TopicConfig::new(header.topic, 1, PERM_READ | PERM_WRITE);
                config.topic_sys_flag = if header.unit_mode { TOPIC_UNIT_SUB } else { 0 };
                config
            }
            None => {
                let text = format!("topic[{}] not exist, apply first please!\n{FAQ}", header.topic);
                return Err(Fault::new(response::TOPIC_NOT_EXIST, text));
            }
        };
        if self.topics.len() >= TOPICS_MAX {
            return Err(Fault::new(response::SYSTEM_ERROR, format!("there are {TOPICS_MAX} topics already")));
        }
        self.topics.set(config, cx.now.wall_ms);
        Ok(())
    }

    fn choose_queue(
        &self,
        caller: &Caller,
        header: &SendMessageHeader<'_>,
        topic: &Topic,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Result<i32, Fault> {
        let config = &topic.config;
        if header.queue_id >= config.read_queue_nums.max(config.write_queue_nums) {
            let text = format!(
                "request queueId[{}] is illegal, {} Producer: {}",
                header.queue_id,
                topics::describe(config),
                self.peer_text(caller.conn)
            );
            return Err(Fault::new(response::INVALID_PARAMETER, text));
        }
        if header.queue_id >= 0 {
            return Ok(header.queue_id);
        }
        let queues = u64::try_from(config.write_queue_nums.max(1)).expect("at least one");
        Ok(i32::try_from(cx.rng.below(queues)).expect("a queue number is below the queue count"))
    }

    fn draft(
        &self,
        caller: &Caller,
        header: &SendMessageHeader<'_>,
        topic: Bytes,
        queue_id: i32,
        body: &Bytes,
    ) -> Draft {
        Draft {
            topic,
            queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag,
            born_ms: header.born_timestamp,
            born_host: self.peer_of(caller.conn),
            store_host: self.store_host,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_offset: 0,
            body: body.clone(),
            properties: Bytes::new(),
        }
    }

    fn put_single(
        &mut self,
        caller: &Caller,
        header: &SendMessageHeader<'_>,
        facts: &Facts<'_>,
        mut draft: Draft,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let made;
        let unique = match facts.unique_key {
            Some(key) => key,
            None => {
                made = self.unique_ids.next(cx.now.wall_ms);
                made.as_str()
            }
        };
        let outgoing = Outgoing {
            region: &self.config.region,
            trace_on: self.config.trace_on,
            cluster: &self.config.cluster,
            unique_key: facts.unique_key.is_none().then_some(unique),
        };
        draft.properties = outgoing.write(header.properties, facts);
        self.check_sizes(draft.body.len(), draft.properties.len())?;
        let placed = self.store.put(cx.now, &draft).map_err(|error| self.put_fault(error))?;
        self.count_put(header.topic, 1, draft.body.len());
        if placed.queue_offset % 16 == 15 && crate::planted!("stored-but-refused") {
            return Err(Fault::new(response::MESSAGE_ILLEGAL, "stored all the same"));
        }
        let mut frame = caller.success();
        frame.fields = crate::wire::Fields::with_capacity(224);
        frame.fields.push_str("msgId", &ids::offset_msg_id(self.store_host, placed.physical));
        self.push_placed(&mut frame, draft.queue_id, &placed, Some(unique));
        self.acknowledge(caller, frame, &placed, facts.wait, cx)
    }

    fn put_batch(&mut self, caller: &Caller, facts: &Facts<'_>, outer: Draft, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let broken = |why: String| Fault::new(response::SYSTEM_ERROR, format!("broken batch: {why}"));
        let messages = batch::decode(&outer.body).map_err(|why| broken(why.to_string()))?;
        if messages.is_empty() {
            return Err(broken("it holds no message".into()));
        }
        if outer.body.len() > self.config.store.body_bytes_max {
            return Err(self.illegal());
        }
        let mut drafts = Vec::with_capacity(messages.len());
        for message in messages {
            self.check_sizes(message.body.len(), message.properties.len())?;
            let (flag, body, properties) = (message.flag, message.body, message.properties);
            drafts.push(Draft { flag, body, properties, ..outer.clone() });
        }
        let placed = self.store.put_batch(cx.now, &drafts).map_err(|error| self.put_fault(error))?;
        assert_eq!(placed.len(), drafts.len(), "a batch is stored as a whole");
        let topic = std::str::from_utf8(&outer.topic).expect("topic names are ASCII");
        self.count_put(topic, placed.len() as u64, outer.body.len());
        let all: Vec<String> =
            placed.iter().map(|placed| ids::offset_msg_id(self.store_host, placed.physical)).collect();
        let mut frame = caller.success();
        frame.fields.push_str("msgId", &all.join(","));
        let last = placed.last().expect("a batch holds at least one message");
        self.push_placed(&mut frame, outer.queue_id, &placed[0], facts.unique_key);
        self.acknowledge(caller, frame, last, facts.wait, cx)
    }

    fn push_placed(&self, frame: &mut Frame, queue_id: i32, first: &Placed, unique: Option<&str>) {
        frame.fields.push_int("queueId", queue_id);
        let offset = i64::try_from(first.queue_offset).expect("queue offsets are far below 2^63");
        frame.fields.push_int("queueOffset", offset);
        if let Some(unique) = unique {
            frame.fields.push_str("transactionId", unique);
        }
        self.push_region(frame);
    }

    /// The two fields that every answer to a send carries.
    pub(super) fn push_region(&self, frame: &mut Frame) {
        frame.fields.push_str("MSG_REGION", &self.config.region);
        frame.fields.push_str("TRACE_ON", if self.config.trace_on { "true" } else { "false" });
    }

    /// Lets the answer wait for its mark.
    fn acknowledge(
        &mut self,
        caller: &Caller,
        frame: Frame,
        placed: &Placed,
        wait: bool,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        if caller.oneway {
            return Ok(Answer::Later);
        }
        let wait_for = if self.config.store.flush == Flush::Sync && wait { WaitFor::Durable } else { WaitFor::Written };
        let deadline = cx.now.mono + Duration::from_millis(self.config.sync_flush_timeout_ms);
        self.pending.push(wait_for, PendingAck { end: placed.end, deadline, conn: caller.conn, frame });
        Ok(Answer::Later)
    }

    fn check_sizes(&self, body: usize, properties: usize) -> Result<(), Fault> {
        let max = self.config.store.body_bytes_max;
        if body > max || properties > crate::broker::properties::PROPERTIES_MAX { Err(self.illegal()) } else { Ok(()) }
    }

    fn illegal(&self) -> Fault {
        let max = self.config.store.body_bytes_max;
        let text = format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit {max}B, \
             msg properties length limit 32KB."
        );
        Fault::new(response::MESSAGE_ILLEGAL, text)
    }

    fn put_fault(&mut self, error: PutError) -> Fault {
        self.stats.put_failed += 1;
        match error {
            PutError::Illegal(why) => Fault::new(response::MESSAGE_ILLEGAL, why),
            PutError::Unavailable(why) => {
                Fault::new(response::SERVICE_NOT_AVAILABLE, format!("service not available now: {why}"))
            }
            PutError::Busy => {
                sometimes!("send refused while the next log file is allocated");
                Fault::new(response::SYSTEM_BUSY, "[PC_SYNCHRONIZED]broker busy, start flow control for a while")
            }
        }
    }

    fn count_put(&mut self, topic: &str, messages: u64, bytes: usize) {
        self.stats.put.add_many(messages, messages);
        self.stats.put_bytes.add_many(bytes as u64, messages);
        self.topics.counters().count(topic, messages, bytes);
    }

    fn defer(&mut self, caller: &Caller, frame: Frame) -> Handled {
        let bytes = frame.body.len() + DEFERRED_BYTES;
        if self.deferred_bytes + bytes > DEFERRED_BYTES_MAX {
            let text = "[REJECTREQUEST]system busy, start flow control for a while";
            return Err(Fault::new(response::SYSTEM_BUSY, text));
        }
        self.deferred_bytes += bytes;
        self.deferred.push(Deferred { caller: *caller, frame });
        Ok(Answer::Later)
    }

    /// The topics file was replaced, or could not be: what waited for it goes on or is refused.
    pub(super) fn go_on_with_deferred(&mut self, failed: Option<String>, cx: &mut Cx<'_, BrokerEvent>) {
        self.deferred_bytes = 0;
        for Deferred { caller, frame } in std::mem::take(&mut self.deferred) {
            if !self.conns.contains_key(&caller.conn) && !caller.oneway {
                sometimes!("deferred send outlived its connection");
                continue;
            }
            match &failed {
                None => self.on_request(caller.conn, frame, cx),
                Some(why) => self.finish(&caller, Err(unsaved(why)), cx),
            }
        }
    }
}

/// A topic is not there before it is on the disk.
fn unsaved(why: &str) -> Fault {
    Fault::new(response::SERVICE_NOT_AVAILABLE, format!("the new topic could not be saved: {why}"))
}

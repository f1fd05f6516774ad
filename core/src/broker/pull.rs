//! PULL_MESSAGE and LITE_PULL_MESSAGE (Java `PullMessageProcessor`, `DefaultPullMessageResultHandler`).
//!
//! Invariant: a pull is answered, held or waiting for the disk, never two of them; a held pull is looked at again for every
//! message that arrives in its queue.

use std::time::Duration;

use super::dispatch::{Answer, Caller, Fault, Handled, Waiting, not_supported};
use super::filter::{FilterError, TagFilter};
use super::hold::HeldPull;
use super::topics::PERM_READ;
use super::{Broker, BrokerEvent, groups, names};
use crate::node::{Cx, DiskError};
use crate::store::{Arrival, Get, GetStatus, Got};
use crate::wire::codes::response;
use crate::wire::group::SubscriptionGroupConfig;
use crate::wire::pull::{FLAG_COMMIT, FLAG_SUBSCRIPTION, FLAG_SUSPEND, PullMessageHeader};
use crate::wire::{Frame, Header};
use crate::{planted, sometimes};

/// A pull is not held longer than this, whatever it asks for.
const HELD_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// The page that Java's error texts point at.
const FAQ: &str = "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A pull that has passed the checks.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Who asked.
    pub caller: Caller,
    /// What was asked.
    pub header: PullMessageHeader,
    /// The queue, within what the topic has.
    pub queue_id: u32,
    /// What of it is wanted.
    pub filter: TagFilter,
}

/// Whether a pull that finds nothing may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspend {
    Allowed,
    /// It has waited already.
    Over,
}

impl Broker {
    pub(super) fn on_pull(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        if self.is_fast_port(caller.conn) {
            return Err(not_supported(caller.code));
        }
        let header = PullMessageHeader::read(&frame.fields)?;
        let queue_id = self.check_pull(caller, &header, cx)?;
        let filter = self.filter_of(&header)?;
        let pull = Pull { caller: *caller, header, queue_id, filter };
        let (group, topic, queue) = (&pull.header.consumer_group, &pull.header.topic, pull.header.queue_id);
        if pull.header.sys_flag & FLAG_COMMIT != 0 {
            self.commit(caller, group, topic, queue, pull.header.commit_offset);
        }
        self.offsets.pulled_to(group, topic, queue, pull.header.queue_offset);
        if let Some(offset) = self.offsets.take_reset(group, topic, queue) {
            return Ok(self.answer_moved(&pull, offset, "OFFSET_RESET").into());
        }
        if let Some(to) = self.before_the_cut(&pull)? {
            return Ok(self.answer_moved(&pull, to, "OFFSET_FROM_BEFORE_RECOVERY").into());
        }
        let from = pull.header.queue_offset;
        self.run_pull(pull, from, Suspend::Allowed, cx)
    }

    /// Where a reader goes on whose position is from before a power cut (see [`super::fence`]): at what its group has committed, which
    /// was cut back to what was recovered. What it holds beyond was never seen by it, or is gone.
    fn before_the_cut(&self, pull: &Pull) -> Result<Option<i64>, Fault> {
        let PullMessageHeader { consumer_group: group, topic, queue_id, queue_offset, .. } = &pull.header;
        let Some(recovered) = self.stale(&pull.caller, group, topic, *queue_id, *queue_offset) else { return Ok(None) };
        // Tools look at positions that a person gave them.
        if names::is_system_group(group) {
            return Ok(None);
        }
        sometimes!("position from before a power cut");
        if planted!("stale-position-trusted") {
            return Ok(None);
        }
        // A member that is back over a new connection says first who it is.
        if pull.header.sys_flag & FLAG_SUBSCRIPTION == 0 && self.reader(pull.caller.conn, group).client_id.is_none() {
            return Err(missing("group info"));
        }
        let committed = self.offsets.committed(group, topic, *queue_id);
        Ok(Some(committed.unwrap_or(i64::try_from(recovered).expect("queue offsets are far below 2^63"))))
    }

    /// The checks in Java's order. Returns the queue.
    fn check_pull(
        &mut self,
        caller: &Caller,
        header: &PullMessageHeader,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Result<u32, Fault> {
        let fault = |code, text: String| Err(Fault::new(code, text));
        if self.config.permission & PERM_READ == 0 {
            let text = format!("the broker[{}] pulling message is forbidden", self.config.ip);
            return fault(response::NO_PERMISSION, text);
        }
        let group = &header.consumer_group;
        let Some(config) = self.find_or_create_group(group, cx.now) else {
            let text = format!("subscription group [{group}] does not exist, \n{FAQ}");
            return fault(response::SUBSCRIPTION_GROUP_NOT_EXIST, text);
        };
        if !config.consume_enable {
            return fault(response::NO_PERMISSION, format!("subscription group no permission, {group}"));
        }
        let Some(topic) = self.topics.get(&header.topic) else {
            let text = format!("topic[{}] not exist, apply first please! \n{FAQ}", header.topic);
            return fault(response::TOPIC_NOT_EXIST, text);
        };
        if topic.config.perm & PERM_READ == 0 {
            return fault(response::NO_PERMISSION, format!("the topic[{}] pulling message is forbidden", header.topic));
        }
        if self.groups.is_forbidden(group, &header.topic) {
            let text = format!("the consumer group[{group}] is forbidden for topic[{}]", header.topic);
            return fault(response::NO_PERMISSION, text);
        }
        match u32::try_from(header.queue_id) {
            Ok(queue) if header.queue_id < topic.config.read_queue_nums => Ok(queue),
            _ => fault(
                response::INVALID_PARAMETER,
                format!(
                    "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[/{}]",
                    header.queue_id,
                    header.topic,
                    topic.config.read_queue_nums,
                    self.peer_text(caller.conn),
                ),
            ),
        }
    }

    /// The filter: from the pull itself, or from what the group's heartbeats said.
    fn filter_of(&self, header: &PullMessageHeader) -> Result<TagFilter, Fault> {
        let refused = |error| match error {
            FilterError::Parse => {
                Fault::new(response::SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed")
            }
            FilterError::Sql => {
                Fault::new(response::SYSTEM_ERROR, "The broker does not support consumer to filter message by SQL92")
            }
        };
        if header.sys_flag & FLAG_SUBSCRIPTION != 0 {
            let filter = TagFilter::parse(header.expression_type.as_deref(), header.subscription.as_deref());
            return filter.map_err(refused);
        }
        let group = self.clients.consumers(&header.consumer_group).ok_or_else(|| missing("group info"))?;
        let config = self.groups.get(&header.consumer_group).map(|group| &group.config);
        if group.is_broadcasting() && config.is_some_and(|config| !config.consume_broadcast_enable) {
            let text = format!("the consumer group[{}] can not consume by broadcast way", header.consumer_group);
            return Err(Fault::new(response::NO_PERMISSION, text));
        }
        let subscription = group.subscriptions.get(&header.topic).ok_or_else(|| missing("subscription"))?;
        if subscription.sub_version < header.sub_version {
            sometimes!("a pull knows a newer subscription than the broker");
            return Err(Fault::new(response::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest"));
        }
        TagFilter::parse(Some(&subscription.expression_type), Some(&subscription.sub_string)).map_err(refused)
    }

    /// Looks into the queue from `from` on.
    fn run_pull(&mut self, pull: Pull, from: i64, suspend: Suspend, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let got = self.get_for(&pull, from, cx);
        if let GetStatus::Cold(ticket) = got.status {
            return self.wait_for_disk(Waiting::Pull(pull), ticket);
        }
        if let GetStatus::Failed(error) = &got.status {
            sometimes!("read error answered");
            if planted!("read-error-skips") {
                let got = Got { next_offset: got.next_offset + 1, ..got };
                return Ok(self.answer_pull(&pull, response::PULL_RETRY_IMMEDIATELY, got).into());
            }
            return Err(cannot_be_read(error));
        }
        let code = code_of(&got.status, pull.header.queue_offset);
        let may_wait = suspend == Suspend::Allowed && pull.header.sys_flag & FLAG_SUSPEND != 0;
        if code == response::PULL_NOT_FOUND && may_wait && !pull.caller.oneway {
            if !self.hold.is_full() {
                self.hold_pull(pull, cx);
                return Ok(Answer::Later);
            }
            sometimes!("table of held pulls full");
            // After "nothing found" a client asks again at once, for as long as there is no room; when the broker is busy it waits 3 s.
            if !planted!("full-hold-answers-at-once") {
                let max = self.config.held_pulls_max;
                let text = format!(
                    "[heldPullsMax={max}]broker busy, as many pulls wait for messages as may; raise heldPullsMax"
                );
                return Err(Fault::new(response::SYSTEM_BUSY, text));
            }
        }
        Ok(self.answer_pull(&pull, code, got).into())
    }

    fn get_for(&mut self, pull: &Pull, from: i64, cx: &mut Cx<'_, BrokerEvent>) -> Got {
        // Java hands out one message to who asks for none.
        let asked = u32::try_from(pull.header.max_msg_nums).unwrap_or(0).max(1);
        let max = if crate::buggify!("small pull batch") { 1 } else { asked };
        let Ok(offset) = u64::try_from(from) else { return self.before_the_queue(pull) };
        let get = Get {
            topic: &pull.header.topic,
            queue_id: pull.queue_id,
            offset,
            max,
            max_bytes: usize::MAX,
            tags: pull.filter.hashes(),
        };
        self.store.get(&get, cx.disk, &mut self.asks)
    }

    /// A negative offset is too small for any queue.
    fn before_the_queue(&self, pull: &Pull) -> Got {
        let range = self.store.queue_range(&pull.header.topic, pull.queue_id);
        let status = if range.end == 0 { GetStatus::NoMessageInQueue } else { GetStatus::OffsetTooSmall };
        Got {
            status,
            records: Vec::new(),
            count: 0,
            next_offset: range.start,
            min_offset: range.start,
            max_offset: range.end,
        }
    }

    fn hold_pull(&mut self, pull: Pull, cx: &mut Cx<'_, BrokerEvent>) {
        let asked = u64::try_from(pull.header.suspend_timeout_millis).unwrap_or(0);
        let ms = if self.config.long_polling { asked } else { self.config.short_polling_ms };
        let until = cx.now.mono + Duration::from_millis(ms).min(HELD_AT_MOST);
        let checked_to = u64::try_from(pull.header.queue_offset).unwrap_or(0);
        self.hold.hold(HeldPull { pull, since: cx.now.mono, until, checked_to, batch: self.batch, asleep: false });
    }

    /// The records that a pull waited for are in memory.
    pub(super) fn pull_again(&mut self, pull: Pull, cx: &mut Cx<'_, BrokerEvent>) {
        sometimes!("pull answered after a cold read");
        let (caller, from) = (pull.caller, pull.header.queue_offset);
        let handled = self.run_pull(pull, from, Suspend::Allowed, cx);
        self.finish(&caller, handled, cx);
    }

    /// Messages became readable in a queue.
    pub(super) fn on_arrival(&mut self, arrival: &Arrival, cx: &mut Cx<'_, BrokerEvent>) {
        if !self.hold.is_empty() {
            self.look_again(&arrival.topic, arrival.queue_id, cx);
        }
    }

    /// Every few seconds: answers what has waited long enough, and looks at every queue with a held pull once more.
    pub(super) fn check_held(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        for held in self.hold.take_due(cx.now.mono) {
            self.answer_held_at_last(held, cx);
        }
        for (topic, queue_id) in self.hold.queues() {
            self.look_again(&topic, queue_id, cx);
        }
    }

    /// Answers every held pull as if its time were over.
    pub(super) fn release_held(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        for held in self.hold.take_all() {
            self.answer_held_at_last(held, cx);
        }
    }

    fn look_again(&mut self, topic: &str, queue_id: u32, cx: &mut Cx<'_, BrokerEvent>) {
        let end = self.store.queue_range(topic, queue_id).end;
        for mut held in self.hold.take_queue(topic, queue_id) {
            if planted!("hold-not-rechecked") && held.batch == self.batch && held.checked_to < end {
                held.asleep = true;
            }
            if held.asleep || held.checked_to >= end {
                self.hold.hold(held);
                continue;
            }
            let from = i64::try_from(held.checked_to).expect("queue offsets are far below 2^63");
            let got = self.get_for(&held.pull, from, cx);
            match got.status {
                GetStatus::NoMatchedMessage => {
                    held.checked_to = got.next_offset.max(held.checked_to);
                    self.hold.hold(held);
                }
                GetStatus::OffsetOverflowOne | GetStatus::OffsetFoundNull => self.hold.hold(held),
                GetStatus::Failed(error) => self.finish(&held.pull.caller, Err(cannot_be_read(&error)), cx),
                GetStatus::Cold(ticket) => {
                    let caller = held.pull.caller;
                    let handled = self.wait_for_disk(Waiting::Pull(held.pull), ticket);
                    self.finish(&caller, handled, cx);
                }
                _ => {
                    sometimes!("held pull woken by an arrival");
                    let code = code_of(&got.status, from);
                    let frame = self.answer_pull(&held.pull, code, got);
                    self.finish(&held.pull.caller, Ok(frame.into()), cx);
                }
            }
        }
    }

    fn answer_held_at_last(&mut self, held: HeldPull, cx: &mut Cx<'_, BrokerEvent>) {
        let (caller, from) = (held.pull.caller, held.pull.header.queue_offset);
        let handled = self.run_pull(held.pull, from, Suspend::Over, cx);
        self.finish(&caller, handled, cx);
    }

    fn answer_pull(&mut self, pull: &Pull, code: i32, got: Got) -> Frame {
        let remark = status_name(&got.status);
        let (next, body) = match code {
            response::SUCCESS => (got.next_offset, got.records),
            response::PULL_OFFSET_MOVED
                if matches!(got.status, GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue) =>
            {
                (0, Vec::new())
            }
            _ => (got.next_offset, Vec::new()),
        };
        self.count_pull(pull, &body, got.count);
        let mut frame = self.pull_frame(pull, code, next, got.min_offset, got.max_offset).with_remark(remark);
        frame.rest = body;
        frame
    }

    fn answer_moved(&mut self, pull: &Pull, offset: i64, why: &str) -> Frame {
        let range = self.store.queue_range(&pull.header.topic, pull.queue_id);
        let next = u64::try_from(offset).unwrap_or(0);
        let code = response::PULL_OFFSET_MOVED;
        self.pull_frame(pull, code, next, range.start, range.end).with_remark(why)
    }

    fn pull_frame(&mut self, pull: &Pull, code: i32, next: u64, min: u64, max: u64) -> Frame {
        self.note_told(&pull.caller, &pull.header.consumer_group, &pull.header.topic, pull.queue_id, next);
        let mut frame = pull.caller.answer(code);
        let fields = &mut frame.fields;
        *fields = crate::wire::Fields::with_capacity(192);
        fields.push_str("suggestWhichBrokerId", "0");
        fields.push_int("nextBeginOffset", next);
        fields.push_int("minOffset", min);
        fields.push_int("maxOffset", max);
        let topic_flag = self.topics.get(&pull.header.topic).map_or(0, |topic| topic.config.topic_sys_flag);
        let group_flag = self.groups.get(&pull.header.consumer_group).map_or(0, |group| group.config.group_sys_flag);
        fields.push_int("topicSysFlag", topic_flag);
        fields.push_int("groupSysFlag", group_flag);
        frame
    }

    fn count_pull(&mut self, pull: &Pull, body: &[bytes::Bytes], count: u32) {
        if count == 0 {
            self.stats.get_missed.add(1);
            return;
        }
        assert!(!body.is_empty(), "what was counted is in the body");
        self.stats.get_found.add(1);
        self.stats.transferred.add_many(u64::from(count), 1);
        if let Some(group) = self.groups.get_mut(&pull.header.consumer_group) {
            group.gets.add_many(u64::from(count), 1);
        }
    }

    /// The settings of a group; a valid group that is unknown is created when that is allowed.
    pub(super) fn find_or_create_group(
        &mut self,
        name: &str,
        now: crate::node::Now,
    ) -> Option<&SubscriptionGroupConfig> {
        if self.groups.get(name).is_none() {
            let may = self.config.auto_create_group || names::is_system_group(name);
            if !may || names::check_group(name).is_err() || self.groups.len() >= groups::GROUPS_MAX {
                return None;
            }
            self.groups.set(groups::plain(name), now.wall_ms);
        }
        self.groups.get(name).map(|group| &group.config)
    }
}

/// The broker does not know enough about a consumer yet.
fn missing(what: &str) -> Fault {
    Fault::new(response::SUBSCRIPTION_NOT_EXIST, format!("the consumer's {what} not exist\n{FAQ}"))
}

/// Response code for what the store found.
fn cannot_be_read(error: &DiskError) -> Fault {
    Fault::new(response::SYSTEM_ERROR, format!("the queue cannot be read: {error}"))
}

fn code_of(status: &GetStatus, asked: i64) -> i32 {
    match status {
        GetStatus::Found => response::SUCCESS,
        GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving => response::PULL_RETRY_IMMEDIATELY,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if asked != 0 => response::PULL_OFFSET_MOVED,
        GetStatus::NoMatchedLogicQueue
        | GetStatus::NoMessageInQueue
        | GetStatus::OffsetOverflowOne
        | GetStatus::OffsetFoundNull => response::PULL_NOT_FOUND,
        GetStatus::OffsetOverflowBadly | GetStatus::OffsetTooSmall => response::PULL_OFFSET_MOVED,
        GetStatus::Cold(_) | GetStatus::Failed(_) => response::SYSTEM_ERROR,
    }
}

/// Java's name of a status, which travels as remark.
fn status_name(status: &GetStatus) -> &'static str {
    match status {
        GetStatus::Found => "FOUND",
        GetStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        GetStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        // A Java broker makes the queue of a topic when it is pulled from, so that it is only empty.
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        GetStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        GetStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        GetStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        GetStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
        GetStatus::Cold(_) => "COLD",
        GetStatus::Failed(_) => "FAILED",
    }
}

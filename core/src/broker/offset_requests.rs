//! Requests about offsets: what a group has consumed (14, 15), and what a queue holds (29 to 32).
//!
//! Invariant: a group that never committed is sent to 0 only if the queue still has its first message in memory; otherwise
//! it is told that nothing was found and follows its own `ConsumeFromWhere`, as with a Java broker.

use super::dispatch::{Caller, Fault, Handled};
use super::offsets::Commit;
use super::{Broker, BrokerEvent};
use crate::node::Cx;
use crate::sometimes;
use crate::wire::codes::response;
use crate::wire::offset::{
    GetEarliestMsgStoretimeHeader, GetMaxOffsetHeader, GetMinOffsetHeader, QueryConsumerOffsetHeader,
    SearchOffsetHeader, UpdateConsumerOffsetHeader,
};
use crate::wire::{Frame, Header};

impl Broker {
    pub(super) fn on_query_offset(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let header = QueryConsumerOffsetHeader::read(&frame.fields)?;
        let (group, topic, queue) = (&header.consumer_group, &header.topic, header.queue_id);
        if let Some(offset) = self.offsets.committed(group, topic, queue) {
            if let (Ok(queue), Ok(offset)) = (u32::try_from(queue), u64::try_from(offset)) {
                self.note_told(caller, group, topic, queue, offset);
            }
            return Ok(self.answer_offset(caller, offset).into());
        }
        if header.set_zero_if_not_found == Some(false) {
            return Err(Fault::new(
                response::QUERY_NOT_FOUND,
                "Not found, do not set to zero, maybe this group boot first",
            ));
        }
        let not_found =
            || Fault::new(response::QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
        let queue = u32::try_from(queue).map_err(|_| not_found())?;
        let young = self.store.queue_range(topic, queue).start == 0 && self.store.head_in_memory(topic, queue, cx.disk);
        if young { Ok(self.answer_offset(caller, 0).into()) } else { Err(not_found()) }
    }

    pub(super) fn on_update_offset(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = UpdateConsumerOffsetHeader::read(&frame.fields)?;
        let (group, topic) = (&header.consumer_group, &header.topic);
        if self.groups.get(group).is_none() {
            return Err(Fault::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group {group} not exist!")));
        }
        let Some(config) = self.topics.get(topic).map(|topic| &topic.config) else {
            return Err(Fault::new(response::TOPIC_NOT_EXIST, format!("Topic {topic} not exist!")));
        };
        // Java stores any queue and any offset; a queue that the topic cannot have would only bloat the table.
        if header.queue_id < 0 || header.queue_id > super::topics::QUEUES_MAX {
            let text = format!("queueId[{}] of topic {} is illegal", header.queue_id, config.topic_name);
            return Err(Fault::new(response::INVALID_PARAMETER, text));
        }
        match self.commit(caller, group, topic, header.queue_id, header.commit_offset) {
            Commit::Stored => Ok(caller.success().into()),
            Commit::ResetPending => Ok(caller.success().with_remark("Offset has been previously reset").into()),
            Commit::Stale => Ok(caller.success().with_remark("Offset is from before the store was recovered").into()),
        }
    }

    /// Keeps how far a group has consumed a queue, unless the position is from before a power cut.
    pub(super) fn commit(&mut self, caller: &Caller, group: &str, topic: &str, queue: i32, offset: i64) -> Commit {
        if self.stale(caller, group, topic, queue, offset).is_some() {
            sometimes!("commit from before a power cut ignored");
            return Commit::Stale;
        }
        self.offsets.commit(group, topic, queue, offset)
    }

    /// Where a queue ended when the store was recovered, if a position on it may be from before that (see [`super::fence`]).
    pub(super) fn stale(&self, caller: &Caller, group: &str, topic: &str, queue: i32, offset: i64) -> Option<u64> {
        if !self.fence.is_up() {
            return None;
        }
        let (number, position) = (u32::try_from(queue).ok()?, u64::try_from(offset).ok()?);
        let end = self.fence.stale(&self.reader(caller.conn, group), group, topic, number, position)?;
        // What the group has committed since, it has consumed, whoever did.
        let consumed = self.offsets.committed(group, topic, queue).is_some_and(|committed| offset <= committed);
        (!consumed).then_some(end)
    }

    /// Remembers that a caller was told a position; without a group when the answer concerns none.
    pub(super) fn note_told(&mut self, caller: &Caller, group: &str, topic: &str, queue: u32, position: u64) {
        if self.fence.is_up() {
            let reader = self.reader(caller.conn, group);
            self.fence.tell(&reader, group, topic, queue, position);
        }
    }

    pub(super) fn on_search_offset(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let header = SearchOffsetHeader::read(&frame.fields)?;
        let Ok(queue) = u32::try_from(header.queue_id) else { return Ok(self.answer_offset(caller, 0).into()) };
        let upper = header.boundary_type.as_deref().is_some_and(|text| text.eq_ignore_ascii_case("upper"));
        let offset =
            self.store.offset_by_time(&header.topic, queue, header.timestamp, upper, cx.disk, &mut self.asks)?;
        self.note_told(caller, "", &header.topic, queue, offset);
        Ok(self.answer_offset(caller, signed(offset)).into())
    }

    pub(super) fn on_max_offset(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = GetMaxOffsetHeader::read(&frame.fields)?;
        let range = self.range_of(&header.topic, header.queue_id);
        if let Ok(queue) = u32::try_from(header.queue_id) {
            self.note_told(caller, "", &header.topic, queue, range.end);
        }
        Ok(self.answer_offset(caller, signed(range.end)).into())
    }

    pub(super) fn on_min_offset(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = GetMinOffsetHeader::read(&frame.fields)?;
        let range = self.range_of(&header.topic, header.queue_id);
        Ok(self.answer_offset(caller, signed(range.start)).into())
    }

    pub(super) fn on_earliest_time(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let header = GetEarliestMsgStoretimeHeader::read(&frame.fields)?;
        let time = match u32::try_from(header.queue_id) {
            Ok(queue) => {
                let first = self.store.queue_range(&header.topic, queue).start;
                self.store.store_time(&header.topic, queue, first, cx.disk, &mut self.asks)?.unwrap_or(-1)
            }
            Err(_) => -1,
        };
        let mut answer = caller.success();
        answer.fields.push("timestamp", time);
        Ok(answer.into())
    }

    /// The range of a queue; empty when there is none of that number.
    pub(super) fn range_of(&self, topic: &str, queue_id: i32) -> std::ops::Range<u64> {
        u32::try_from(queue_id).map_or(0..0, |queue| self.store.queue_range(topic, queue))
    }

    fn answer_offset(&self, caller: &Caller, offset: i64) -> Frame {
        let mut answer = caller.success();
        answer.fields.push("offset", offset);
        answer
    }
}

/// A queue offset as it travels.
pub(super) fn signed(offset: u64) -> i64 {
    i64::try_from(offset).expect("queue offsets are far below 2^63")
}

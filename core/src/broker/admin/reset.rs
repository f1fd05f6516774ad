//! INVOKE_BROKER_TO_RESET_OFFSET, on the server's side (Java `useServerSideResetOffset`).
//!
//! Invariant: after the answer no commit of the group's consumers can undo the reset: it stands until each queue's next pull
//! was sent to the new offset.

use std::collections::BTreeMap;

use crate::broker::dispatch::{Caller, Fault, Handled};
use crate::broker::offset_requests::signed;
use crate::broker::{Broker, BrokerEvent};
use crate::node::Cx;
use crate::wire::admin::{ResetOffsetBody, ResetOffsetHeader};
use crate::wire::codes::response;
use crate::wire::json::{self, Style};
use crate::wire::lock::MessageQueue;
use crate::wire::{Frame, Header};

impl Broker {
    pub(in crate::broker) fn on_reset_offset(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = ResetOffsetHeader::read(&frame.fields)?;
        let Some(queues) = self.topics.get(&header.topic).map(|topic| topic.config.read_queue_nums) else {
            let text = format!("Topic {} does not exist", header.topic);
            return Err(Fault::new(response::TOPIC_NOT_EXIST, text));
        };
        if self.groups.get(&header.group).is_none() {
            let text = format!("Group {} does not exist", header.group);
            return Err(Fault::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, text));
        }
        let one = header.queue_id.filter(|queue| *queue >= 0);
        if one.is_some_and(|queue| queue >= queues) {
            let text = format!("Queue {} does not exist in topic {}", one.unwrap_or(-1), header.topic);
            return Err(Fault::new(response::INVALID_PARAMETER, text));
        }
        let chosen: Vec<i32> = one.map_or_else(|| (0..queues).collect(), |queue| vec![queue]);
        let mut offset_table: BTreeMap<MessageQueue, i64> = BTreeMap::new();
        for queue_id in chosen {
            let offset = self.reset_target(&header, queue_id, cx)?;
            offset_table.insert(self.message_queue(&header.topic, queue_id), offset);
        }
        for (queue, offset) in &offset_table {
            self.offsets.reset(&header.group, &header.topic, queue.queue_id, *offset);
        }
        self.files.offsets.want(self.offsets.version());
        let body = json::to_vec(&ResetOffsetBody { offset_table }, Style::Fastjson);
        Ok(caller.success().with_body(body).into())
    }

    /// Where a queue goes: to the given offset, to the end (a negative time), or to the first message of that time. Without
    /// force a consumer is never moved forward.
    fn reset_target(
        &mut self,
        header: &ResetOffsetHeader,
        queue_id: i32,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Result<i64, Fault> {
        let range = self.range_of(&header.topic, queue_id);
        let queue = u32::try_from(queue_id).expect("the caller chose a queue of the topic");
        let target = match (header.queue_id.filter(|queue| *queue >= 0), header.offset.filter(|offset| *offset >= 0)) {
            (Some(_), Some(offset)) => {
                if !(signed(range.start)..=signed(range.end)).contains(&offset) {
                    let text =
                        format!("Target offset {offset} not in consume queue range [{}-{}]", range.start, range.end);
                    return Err(Fault::new(response::SYSTEM_ERROR, text));
                }
                return Ok(offset);
            }
            _ if header.timestamp < 0 => signed(range.end),
            _ => {
                let (topic, ms) = (&header.topic, header.timestamp);
                signed(self.store.offset_by_time(topic, queue, ms, false, cx.disk, &mut self.asks)?)
            }
        };
        let committed = self.offsets.committed(&header.group, &header.topic, queue_id);
        let keep = committed.filter(|committed| !header.is_force && *committed < target);
        Ok(keep.unwrap_or(target))
    }
}

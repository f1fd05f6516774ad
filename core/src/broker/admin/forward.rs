//! Requests that a tool sends to a client through its broker (307, 309).
//!
//! Invariant: every request that is passed on ends once: with the client's answer, when the client's connection closes, or
//! when time is up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::dispatch::{Answer, Caller, Fault, Handled};
use crate::broker::{Broker, BrokerEvent};
use crate::message::ids;
use crate::node::{ConnId, Cx, Instant};
use crate::wire::admin::{ConsumeMessageDirectlyHeader, GetConsumerRunningInfoHeader};
use crate::wire::codes::response;
use crate::wire::{Frame, Header};

/// Patience with a client (Java `Broker2Client.callClient`).
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may be on their way at once.
const FORWARDED_MAX: usize = 1000;

/// The requests that are on their way to clients, by our opaque number.
#[derive(Debug, Default)]
pub struct Forwarded(BTreeMap<i32, Passed>);

#[derive(Clone, Copy, Debug)]
struct Passed {
    /// Who asked.
    caller: Caller,
    /// Whom it was passed to.
    to: ConnId,
    until: Instant,
}

impl Forwarded {
    /// When patience with the first of them ends.
    pub fn wake_at(&self) -> Option<Instant> {
        self.0.values().map(|passed| passed.until).min()
    }
}

impl Broker {
    pub(in crate::broker) fn on_consumer_running_info(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = GetConsumerRunningInfoHeader::read(&frame.fields)?;
        self.pass_on(caller, &header.consumer_group, &header.client_id, frame.clone(), cx)
    }

    pub(in crate::broker) fn on_consume_directly(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = ConsumeMessageDirectlyHeader::read(&frame.fields)?;
        let client = header.client_id.as_deref().unwrap_or("");
        self.client_of(&header.consumer_group, client)?;
        let id = header.msg_id.as_deref().unwrap_or("");
        let missing = || Fault::new(response::SYSTEM_ERROR, format!("there is no message {id} here"));
        let (_, position) = ids::parse_offset_msg_id(id).ok_or_else(missing)?;
        let position = i64::try_from(position).map_err(|_| missing())?;
        let mut passed = frame.clone();
        passed.body = self.record_at(position, cx)?.ok_or_else(missing)?;
        self.pass_on(caller, &header.consumer_group, client, passed, cx)
    }

    fn client_of(&self, group: &str, client: &str) -> Result<ConnId, Fault> {
        let conn = self.clients.consumers(group).and_then(|group| group.conn_of(client));
        conn.ok_or_else(|| Fault::new(response::SYSTEM_ERROR, format!("The Consumer <{group}> <{client}> not online")))
    }

    fn pass_on(
        &mut self,
        caller: &Caller,
        group: &str,
        client: &str,
        mut frame: Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let to = self.client_of(group, client)?;
        if self.forwarded.0.len() >= FORWARDED_MAX {
            return Err(Fault::new(response::SYSTEM_BUSY, "too many requests are on their way to clients"));
        }
        frame.opaque = self.next_opaque();
        frame.flag = 0;
        let passed = Passed { caller: *caller, to, until: cx.now.mono + PATIENCE };
        let before = self.forwarded.0.insert(frame.opaque, passed);
        assert!(before.is_none(), "numbers come again after two thousand million requests");
        cx.out.send(to, frame);
        Ok(Answer::Later)
    }

    /// A client answered, or so it says.
    pub(in crate::broker) fn on_forward_answered(&mut self, conn: ConnId, frame: Frame, cx: &mut Cx<'_, BrokerEvent>) {
        if self.forwarded.0.get(&frame.opaque).is_none_or(|passed| passed.to != conn) {
            return;
        }
        let passed = self.forwarded.0.remove(&frame.opaque).expect("it was just looked at");
        let mut answer = passed.caller.answer(frame.code).with_body(frame.body);
        answer.remark = frame.remark;
        answer.fields = frame.fields;
        self.finish(&passed.caller, Ok(answer.into()), cx);
    }

    pub(in crate::broker) fn forwarded_closed(&mut self, conn: ConnId, cx: &mut Cx<'_, BrokerEvent>) {
        self.end_forwarded(|passed| passed.to == conn, cx);
    }

    pub(in crate::broker) fn expire_forwarded(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        self.end_forwarded(|passed| passed.until <= now, cx);
    }

    fn end_forwarded(&mut self, ends: impl Fn(&Passed) -> bool, cx: &mut Cx<'_, BrokerEvent>) {
        let over: Vec<i32> = self.forwarded.0.iter().filter(|(_, p)| ends(p)).map(|(opaque, _)| *opaque).collect();
        for opaque in over {
            let passed = self.forwarded.0.remove(&opaque).expect("it was just listed");
            let fault = Fault::new(response::CONSUME_MSG_TIMEOUT, "the consumer did not answer");
            self.finish(&passed.caller, Err(fault), cx);
        }
    }
}

//! Where a queue is begun, and what is committed.
//!
//! Invariant: a queue is begun at the offset that its broker keeps for the group; only where there is none, where the
//! configuration says.

use std::time::Duration;

use super::owned::{Key, Request, Stage};
use super::request::ConsumerEvent;
use super::{Ask, FromWhere, Out, PushConsumer};
use crate::client::{API_TIMEOUT, CallError};
use crate::node::Addr;
use crate::sometimes;
use crate::wire::codes::{request as code, response};
use crate::wire::offset::{
    GetMaxOffsetHeader, OffsetResponseHeader, QueryConsumerOffsetHeader, SearchOffsetHeader, UpdateConsumerOffsetHeader,
};
use crate::wire::route::MASTER_ID;
use crate::wire::{Frame, Header as _};

/// How often offsets are committed (Java `ClientConfig.persistConsumerOffsetInterval`).
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How often an offset that has not changed is committed again: a one-way request may be lost. (Java repeats it every time.)
const COMMIT_AGAIN: Duration = Duration::from_secs(30);
/// How soon a broker is asked again that did not say where a queue begins.
const SEEK_RETRY: Duration = Duration::from_secs(1);

/// What a broker is asked about the beginning of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// The offset that it keeps for the group.
    Committed,
    /// The end of the queue.
    Max,
    /// The first offset stored at or after a time.
    Time(i64),
}

impl PushConsumer {
    /// Asks where a queue begins.
    pub(super) fn seek(&mut self, key: &Key, seek: Seek, cx: Out<'_, '_>) {
        let Some(owned) = self.owned.get_mut(key) else { return };
        let Some((_, addr)) = self.client.routes().addr_near(&key.queue.broker, MASTER_ID) else {
            owned.request = Request::Idle(cx.now.mono + SEEK_RETRY);
            return;
        };
        owned.request = Request::UnderWay;
        let ask = Ask::Seek { key: key.clone(), generation: owned.generation, seek };
        let frame = self.seek_frame(key, seek);
        self.client.call(&addr, frame, API_TIMEOUT, ask, cx);
    }

    fn seek_frame(&self, key: &Key, seek: Seek) -> Frame {
        let (topic, queue_id) = (key.topic.to_string(), key.queue.id);
        let broker_name = Some(key.queue.broker.to_string());
        match seek {
            Seek::Committed => Frame::request(code::QUERY_CONSUMER_OFFSET).with_header(&QueryConsumerOffsetHeader {
                consumer_group: self.config.group.to_string(),
                topic,
                queue_id,
                set_zero_if_not_found: None,
                broker_name,
            }),
            Seek::Max => Frame::request(code::GET_MAX_OFFSET).with_header(&GetMaxOffsetHeader {
                topic,
                queue_id,
                committed: Some(true),
                broker_name,
            }),
            Seek::Time(timestamp) => {
                Frame::request(code::SEARCH_OFFSET_BY_TIMESTAMP).with_header(&SearchOffsetHeader {
                    topic,
                    queue_id,
                    timestamp,
                    boundary_type: Some("LOWER".into()),
                    broker_name,
                })
            }
        }
    }

    pub(super) fn on_seek(
        &mut self,
        key: &Key,
        generation: u64,
        seek: Seek,
        result: Result<Frame, CallError>,
        cx: Out<'_, '_>,
    ) {
        let now = cx.now.mono;
        let Some(owned) = self.owned.get_mut(key).filter(|owned| owned.generation == generation) else { return };
        owned.request = Request::Idle(now);
        if owned.stage != Stage::Seeking {
            return self.refresh(key, cx);
        }
        match result {
            Ok(frame) if frame.code == response::SUCCESS => match OffsetResponseHeader::read(&frame.fields) {
                Ok(header) => {
                    let known = seek == Seek::Committed;
                    owned.committed = known.then_some((header.offset, now));
                    self.begin_at(key, header.offset);
                }
                Err(_) => owned.request = Request::Idle(now + SEEK_RETRY),
            },
            Ok(frame) if frame.code == response::QUERY_NOT_FOUND && seek == Seek::Committed => {
                sometimes!("group read a queue for the first time");
                match self.first_seek(key) {
                    Some(seek) => return self.seek(key, seek, cx),
                    None => self.begin_at(key, 0),
                }
            }
            _ => owned.request = Request::Idle(now + SEEK_RETRY),
        }
        self.refresh(key, cx);
    }

    /// How to find the beginning of a queue that the group never read; nothing for offset 0 (Java
    /// `RebalancePushImpl.computePullFromWhereWithException`).
    fn first_seek(&self, key: &Key) -> Option<Seek> {
        let retry = key.topic == self.retry_topic;
        match self.config.from {
            FromWhere::Last if retry => None,
            FromWhere::Last => Some(Seek::Max),
            FromWhere::First => None,
            FromWhere::Timestamp(_) if retry => Some(Seek::Max),
            FromWhere::Timestamp(ms) => Some(Seek::Time(i64::try_from(ms).unwrap_or(i64::MAX))),
        }
    }

    fn begin_at(&mut self, key: &Key, offset: i64) {
        let owned = self.owned.get_mut(key).expect("the queue was just looked at");
        owned.stage = Stage::Pulling;
        owned.begin_at(offset);
    }

    /// Commits every queue whose offset has moved.
    pub(super) fn commit_all(&mut self, cx: Out<'_, '_>) {
        for key in self.owned.keys().cloned().collect::<Vec<_>>() {
            self.commit(&key, cx);
        }
    }

    /// Commits a queue if its offset has moved, or was not said for a while.
    pub(super) fn commit(&mut self, key: &Key, cx: Out<'_, '_>) {
        let Some(owned) = self.owned.get(key).filter(|owned| owned.positioned) else { return };
        let (mut offset, now) = (owned.messages.commit_offset(), cx.now.mono);
        if owned.committed.is_some_and(|(said, _)| said > 1 && offset > said) && crate::planted!("commit-goes-back") {
            offset = owned.committed.map_or(0, |(said, _)| said - 1);
        }
        let fresh = |(said, at)| said == offset && now < at + COMMIT_AGAIN;
        if !owned.committed.is_some_and(fresh) {
            self.commit_now(key, offset, cx);
        }
    }

    pub(super) fn commit_now(&mut self, key: &Key, offset: i64, cx: Out<'_, '_>) {
        let Some(addr) = self.offset_addr(key) else { return };
        let header = UpdateConsumerOffsetHeader {
            consumer_group: self.config.group.to_string(),
            topic: key.topic.to_string(),
            queue_id: key.queue.id,
            commit_offset: offset,
            broker_name: Some(key.queue.broker.to_string()),
        };
        self.client.oneway(&addr, Frame::request(code::UPDATE_CONSUMER_OFFSET).with_header(&header), cx);
        if let Some(owned) = self.owned.get_mut(key) {
            owned.committed = Some((offset, cx.now.mono));
        }
        let (topic, queue) = (key.topic.clone(), key.queue.clone());
        cx.out.event(ConsumerEvent::Committed { topic, queue, offset });
    }

    fn offset_addr(&self, key: &Key) -> Option<Addr> {
        self.client.routes().addr_near(&key.queue.broker, MASTER_ID).map(|(_, addr)| addr)
    }
}

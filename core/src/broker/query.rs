//! VIEW_MESSAGE_BY_ID and QUERY_MESSAGE (Java `QueryMessageProcessor`).
//!
//! Invariant: a record is returned only if it carries the key or tag that was asked for; what the hash of another one led to
//! is left out.

use bytes::Bytes;

use super::dispatch::{Caller, Fault, Handled};
use super::{Broker, BrokerEvent};
use crate::message::{properties, record::Record};
use crate::node::Cx;
use crate::store::{Hit, Label};
use crate::wire::codes::response;
use crate::wire::query::{QueryMessageHeader, TAG_INDEX, ViewMessageHeader};
use crate::wire::{Frame, Header};

/// Messages of one query by unique key (Java `defaultQueryMaxNum`).
const UNIQUE_QUERY_MAX: usize = 32;

impl Broker {
    pub(super) fn on_view_message(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let header = ViewMessageHeader::read(&frame.fields)?;
        let record = self.record_at(header.offset, cx)?;
        let missing =
            || Fault::new(response::SYSTEM_ERROR, format!("can not find message by the offset, {}", header.offset));
        Ok(caller.success().with_body(record.ok_or_else(missing)?).into())
    }

    /// The record at a position of the log.
    pub(super) fn record_at(&mut self, offset: i64, cx: &mut Cx<'_, BrokerEvent>) -> Result<Option<Bytes>, Fault> {
        let Ok(position) = u64::try_from(offset) else { return Ok(None) };
        Ok(self.store.by_position(position, cx.disk, &mut self.asks)?.map(|hit| hit.record))
    }

    pub(super) fn on_query_message(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let header = QueryMessageHeader::read(&frame.fields)?;
        let by_unique_key = header.unique_key_query == Some(true);
        let asked = if by_unique_key { UNIQUE_QUERY_MAX } else { usize::try_from(header.max_num).unwrap_or(0) };
        let max = asked.min(self.config.query_max);
        let label = match header.index_type.as_deref() {
            Some(TAG_INDEX) if !by_unique_key => Label::Tag(&header.key),
            _ => Label::Key(&header.key),
        };
        let times = header.begin_timestamp..header.end_timestamp.saturating_add(1);
        let hits = if max == 0 {
            Vec::new()
        } else {
            self.store.by_label(&header.topic, label, max, times, cx.disk, &mut self.asks)?
        };
        let skipped = usize::from(crate::planted!("query-misses-one"));
        let carrying = hits.iter().filter(|hit| carries(&hit.record, &header.topic, label));
        let found: Vec<&Hit> = carrying.skip(skipped).take(max).collect();
        let newest = found.first().and_then(|hit| Record::parse(&hit.record).ok()).map_or(0, |record| record.store_ms);
        let position = if found.is_empty() { 0 } else { self.store.marks().written };
        let (code, remark) = match found.is_empty() {
            false => (response::SUCCESS, None),
            true => (response::QUERY_NOT_FOUND, Some("can not find message, maybe time range not correct".to_owned())),
        };
        let mut answer = caller.answer(code);
        answer.remark = remark;
        answer.fields.push("indexLastUpdateTimestamp", newest);
        answer.fields.push("indexLastUpdatePhyoffset", position);
        answer.rest = found.into_iter().map(|hit| hit.record.clone()).collect();
        Ok(answer.into())
    }
}

/// Whether a record belongs to the topic and carries the key, as unique key or among its keys, or the tag.
fn carries(record: &Bytes, topic: &str, label: Label<'_>) -> bool {
    let Ok(record) = Record::parse(record) else { return false };
    let Ok(text) = std::str::from_utf8(record.properties) else { return false };
    let is_it = |(name, value): (&str, &str)| match (label, name) {
        (Label::Key(key), "UNIQ_KEY") => value == key,
        (Label::Key(key), "KEYS") => value.split(' ').any(|one| one == key),
        (Label::Tag(tag), "TAGS") => value == tag,
        _ => false,
    };
    record.topic == topic && properties::iter(text).any(is_it)
}

//! From what the user wrote to what goes over the wire, once for all attempts.
//!
//! Invariant: what is prepared carries its unique ids, so that every attempt sends the same bytes.

use bytes::Bytes;

use super::ProducerConfig;
use super::request::{OutMessage, SendError, SendErrorKind, Stored};
use crate::client::names::check_topic_for_sending;
use crate::message::batch::{self, BatchMessage};
use crate::message::compress::{Compression, compress};
use crate::message::ids::UniqueIds;
use crate::message::names::RETRY_PREFIX;
use crate::message::properties::{self, names};
use crate::message::record::PROPERTIES_MAX;
use crate::wire::codes::response;

/// Response code that the Java client gives its own refusals (`MQClientException` without a code).
pub(super) const CODE_NONE: i32 = -1;
/// Properties that make a message late; a batch cannot hold them (Java `MessageBatch.generateFromList`).
const DELAYS: [&str; 4] = [names::DELAY, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS, names::TIMER_DELIVER_MS];

/// A message or batch, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub body: Bytes,
    pub properties: String,
    pub flag: i32,
    pub sys_flag: i32,
    pub batch: bool,
    /// What the receipt names: the unique ids with commas between.
    pub msg_id: String,
}

/// Checks and prepares the messages of one request.
pub(super) fn prepare(
    config: &ProducerConfig,
    topic: &str,
    messages: &[OutMessage],
    ids: &mut UniqueIds,
    wall_ms: u64,
) -> Result<Prepared, SendError> {
    check_topic_for_sending(topic).map_err(|error| invalid(CODE_NONE, error.to_string()))?;
    for message in messages {
        check(config, message)?;
    }
    match messages {
        [] => Err(invalid(CODE_NONE, "the message is null")),
        [message] => single(config, message, ids, wall_ms),
        _ => several(config, topic, messages, ids, wall_ms),
    }
}

fn single(
    config: &ProducerConfig,
    message: &OutMessage,
    ids: &mut UniqueIds,
    wall_ms: u64,
) -> Result<Prepared, SendError> {
    let (properties, msg_id) = with_id(message, ids, wall_ms)?;
    let squeezed = config.compress_from.is_some_and(|from| message.body.len() >= from);
    let (body, sys_flag) = if squeezed {
        let how = Compression::Zlib;
        (compress(&message.body, how, config.compress_level), how.flag())
    } else {
        (message.body.clone(), 0)
    };
    Ok(Prepared { body, properties, flag: message.flag, sys_flag, batch: false, msg_id })
}

fn several(
    config: &ProducerConfig,
    topic: &str,
    messages: &[OutMessage],
    ids: &mut UniqueIds,
    wall_ms: u64,
) -> Result<Prepared, SendError> {
    if topic.starts_with(RETRY_PREFIX) {
        return Err(invalid(CODE_NONE, "Retry Group is not supported for batching"));
    }
    let late = |message: &OutMessage| message.properties.iter().any(|(name, _)| DELAYS.contains(&name.as_str()));
    if messages.iter().any(late) {
        return Err(invalid(CODE_NONE, "TimeDelayLevel is not supported for batching"));
    }
    let mut parts = Vec::with_capacity(messages.len());
    let mut msg_ids = Vec::with_capacity(messages.len());
    for message in messages {
        let (properties, msg_id) = with_id(message, ids, wall_ms)?;
        parts.push(BatchMessage { flag: message.flag, body: message.body.clone(), properties: properties.into() });
        msg_ids.push(msg_id);
    }
    let body = batch::encode(&parts);
    if body.len() > config.message_max {
        return Err(too_large(config));
    }
    let (properties, _) = with_id(&OutMessage::default(), ids, wall_ms)?;
    Ok(Prepared { body, properties, flag: 0, sys_flag: 0, batch: true, msg_id: msg_ids.join(",") })
}

/// Java `Validators.checkMessage`; the length is checked before compression there too.
fn check(config: &ProducerConfig, message: &OutMessage) -> Result<(), SendError> {
    if message.body.is_empty() {
        return Err(invalid(response::MESSAGE_ILLEGAL, "the message body length is zero"));
    }
    if message.body.len() > config.message_max {
        return Err(too_large(config));
    }
    let clean = |(name, value): &&(String, String)| properties::is_clean(name) && properties::is_clean(value);
    match message.properties.iter().find(|pair| !clean(pair)) {
        Some((name, _)) => {
            let text = format!("the property {name:?} holds a separator (\\u0001 or \\u0002)");
            Err(invalid(response::MESSAGE_ILLEGAL, text))
        }
        None => Ok(()),
    }
}

fn too_large(config: &ProducerConfig) -> SendError {
    let text = format!("the message body size over max value, MAX: {}", config.message_max);
    invalid(response::MESSAGE_ILLEGAL, text)
}

/// The properties as text, `UNIQ_KEY` and `WAIT` added unless they are there, and the unique id.
fn with_id(message: &OutMessage, ids: &mut UniqueIds, wall_ms: u64) -> Result<(String, String), SendError> {
    let mut text = String::with_capacity(128);
    let find = |key: &str| message.properties.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value);
    for (name, value) in &message.properties {
        properties::append(&mut text, name, value);
    }
    let id = match find(names::UNIQ_KEY) {
        Some(id) => id.clone(),
        None => {
            let id = ids.next(wall_ms);
            properties::append(&mut text, names::UNIQ_KEY, &id);
            id
        }
    };
    if find(names::WAIT).is_none() {
        properties::append(&mut text, names::WAIT, "true");
    }
    if text.len() > PROPERTIES_MAX {
        let text = format!("the properties take {} bytes, MAX: {PROPERTIES_MAX}", text.len());
        return Err(invalid(response::MESSAGE_ILLEGAL, text));
    }
    Ok((text, id))
}

pub(super) fn invalid(code: i32, text: impl Into<String>) -> SendError {
    SendError { kind: SendErrorKind::Invalid, stored: Stored::No, code, text: text.into(), attempts: 0 }
}

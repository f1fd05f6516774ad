//! From the body of a pull to messages.
//!
//! Invariant: any bytes give messages and complaints, never a panic; a record that is broken inside costs only itself as
//! long as its length can be trusted.

use std::sync::Arc;

use bytes::Bytes;

use super::request::Message;
use crate::client::Queue;
use crate::message::compress::{FLAG_COMPRESSED, unpacked};
use crate::message::ids::offset_msg_id;
use crate::message::properties::{self, names};
use crate::message::record::{Record, RecordError};

/// A record that gave no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub offset: Option<i64>,
    pub why: String,
}

/// Reads all records of a pull from `queue`; bodies unpack to at most `body_max` bytes.
pub(super) fn decode(body: &Bytes, queue: &Queue, body_max: usize) -> (Vec<Message>, Vec<Complaint>) {
    let (mut messages, mut complaints) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < body.len() {
        match Record::parse(&body[at..]) {
            Ok(record) => {
                match message(body, &record, queue, body_max) {
                    Ok(message) => messages.push(message),
                    Err(why) => complaints.push(Complaint { offset: Some(record.queue_offset), why }),
                }
                at += record.total;
            }
            Err(error) => {
                complaints.push(Complaint { offset: None, why: error.to_string() });
                match skippable(&error, &body[at..]) {
                    Some(len) => at += len,
                    None => break,
                }
            }
        }
    }
    (messages, complaints)
}

/// The length of a record whose inside is broken but whose outside looks right.
fn skippable(error: &RecordError, rest: &[u8]) -> Option<usize> {
    let len = match error {
        RecordError::Length | RecordError::Topic => u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize,
        RecordError::Blank(len) => *len,
        RecordError::Short(_) | RecordError::Magic => return None,
    };
    (8..=rest.len()).contains(&len).then_some(len)
}

fn message(pulled: &Bytes, record: &Record<'_>, queue: &Queue, body_max: usize) -> Result<Message, String> {
    if !record.body_is_sound() {
        return Err("the checksum of the body is wrong".into());
    }
    let body =
        unpacked(&pulled.slice_ref(record.body), record.sys_flag, body_max).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(record.properties).into_owned();
    let position = record.physical.cast_unsigned();
    let offset_id = offset_msg_id(record.store_host, position);
    let unique = properties::get(&text, names::UNIQ_KEY).map(ToOwned::to_owned);
    let origin = if record.topic.starts_with(crate::message::names::RETRY_PREFIX) {
        properties::get(&text, names::RETRY_TOPIC)
    } else {
        None
    };
    Ok(Message {
        topic: Arc::from(origin.unwrap_or(record.topic)),
        queue: queue.clone(),
        offset: record.queue_offset,
        msg_id: unique.unwrap_or_else(|| offset_id.clone()),
        offset_msg_id: offset_id,
        born_ms: record.born_ms,
        born_host: record.born_host,
        store_ms: record.store_ms,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        flag: record.flag,
        sys_flag: record.sys_flag & !FLAG_COMPRESSED,
        properties: text,
        body,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::message::Draft;
    use crate::message::compress::{Compression, compress};
    use crate::message::record::encode;

    /// A record as a broker stores it.
    pub(in super::super) fn record(topic: &str, offset: u64, body: &[u8], properties: &str, sys_flag: i32) -> Bytes {
        let host = std::net::SocketAddr::from(([10, 0, 0, 1], 10911));
        let draft = Draft {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            queue_id: 0,
            flag: 3,
            sys_flag,
            born_ms: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: Bytes::copy_from_slice(body),
            properties: Bytes::copy_from_slice(properties.as_bytes()),
        };
        let mut out = BytesMut::new();
        encode(&draft, offset, 1000 + offset, 2, &mut out);
        out.freeze()
    }

    fn queue() -> Queue {
        Queue::new("a", 0)
    }

    fn joined(parts: &[Bytes]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn records_become_messages() {
        let packed = compress(&[7; 5000], Compression::Zlib, 5);
        let pulled = joined(&[
            record("T", 4, b"plain", "UNIQ_KEY\u{1}U1\u{2}TAGS\u{1}x\u{2}", 0),
            record("%RETRY%G", 5, &packed, "RETRY_TOPIC\u{1}Old\u{2}", Compression::Zlib.flag()),
        ]);
        let (messages, complaints) = decode(&pulled, &queue(), 5000);
        assert_eq!(complaints, []);
        let [first, second] = &messages[..] else { panic!("two messages") };
        assert_eq!((&*first.topic, first.offset, first.msg_id.as_str(), first.tag()), ("T", 4, "U1", Some("x")));
        assert_eq!(&first.body[..], b"plain");
        assert_eq!((&*second.topic, second.body.len(), second.sys_flag), ("Old", 5000, 0x300));
        assert_eq!(second.msg_id, second.offset_msg_id);
        assert_eq!(second.offset_msg_id, "0A00000100002A9F00000000000003ED");
    }

    #[test]
    fn a_broken_record_costs_only_itself() {
        let whole = record("T", 2, b"whole", "", 0);
        let mut flipped = BytesMut::from(&record("T", 1, b"flipped", "", 0)[..]);
        let body_at = flipped.windows(7).position(|part| part == b"flipped").unwrap();
        flipped[body_at] ^= 1;
        let mut torn = BytesMut::from(&record("T", 1, b"torn", "", 0)[..]);
        let len_at = torn.windows(4).position(|part| part == b"torn").unwrap() - 1;
        torn[len_at] = 200;
        let bomb = record("T", 1, &compress(&vec![0; 100_000], Compression::Zlib, 9), "", 1);
        for bad in [flipped.freeze(), torn.freeze(), bomb] {
            let (messages, complaints) = decode(&joined(&[bad, whole.clone()]), &queue(), 50_000);
            assert_eq!((messages.len(), complaints.len()), (1, 1), "{complaints:?}");
            assert_eq!(messages[0].offset, 2);
        }
        let (messages, complaints) = decode(&joined(&[whole.slice(..50), whole]), &queue(), 50_000);
        assert_eq!((messages.len(), complaints.len()), (0, 2), "nothing tells where the next one begins");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0_usize..120) {
            decode(&bytes.clone().into(), &queue(), 1000);
            let mut bent = record("T", 1, &[1; 20], "A\u{1}b\u{2}", 1).to_vec();
            for (at, byte) in bytes.iter().take(3).enumerate() {
                let position = (cut + at * 37) % bent.len();
                bent[position] = *byte;
            }
            decode(&bent.into(), &queue(), 1000);
        }
    }
}

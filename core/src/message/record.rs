//! The record of the commit log: the same bytes on disk, in pull answers and in query answers.
//!
//! Invariant: what [`encode`] writes, [`Record::parse`] reads back field by field; parsing any bytes gives a record or a
//! [`RecordError`], never a panic, and never looks beyond the length that the record itself names.
//!
//! ```text
//! total 4 | magic 4 | body crc 4 | queue 4 | flag 4 | queue offset 8 | physical 8 | sys flag 4 | born ms 8 | born host 8 or 20
//! | store ms 8 | store host 8 or 20 | reconsume times 4 | prepared offset 8 | 4 + body | 1 (V2: 2) + topic | 2 + properties
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;

use super::Draft;

/// Magic of a record whose topic length is one byte; Java `MessageVersion.MESSAGE_VERSION_V1`.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length is two bytes; Java `MESSAGE_VERSION_V2`.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the filler at the end of a log file; Java `CommitLog.BLANK_MAGIC_CODE`.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// `MessageSysFlag.BORNHOST_V6_FLAG`.
pub const FLAG_BORN_V6: i32 = 0x10;
/// `MessageSysFlag.STOREHOSTADDRESS_V6_FLAG`.
pub const FLAG_STORE_V6: i32 = 0x20;
/// Shortest record: IPv4 hosts, no body, no topic, no properties.
pub const RECORD_MIN: usize = 91;
/// Longest properties text, Java `Short.MAX_VALUE`.
pub const PROPERTIES_MAX: usize = 32_767;
/// Bytes of the `__CRC32#` property that an encoder may append.
pub const CRC_PROPERTY: usize = 20;

/// Bytes from the start of a record to its sys flag, which tells where the rest is.
const SYS_FLAG_AT: usize = 36;
const TRANSACTION_MASK: i32 = 0xC;
const TRANSACTION_PREPARED: i32 = 0x4;
const TRANSACTION_ROLLBACK: i32 = 0xC;
const TOPIC_V1_MAX: usize = 127;
const HEAD_MAX: usize = 112;

/// A record, borrowed from the bytes that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Bytes of the whole record.
    pub total: usize,
    /// Whether the topic length takes two bytes.
    pub v2: bool,
    /// As stored; see [`Record::body_is_sound`].
    pub body_crc: u32,
    /// Queue.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Number within the queue.
    pub queue_offset: i64,
    /// Position in the log.
    pub physical: i64,
    /// `MessageSysFlag` bits.
    pub sys_flag: i32,
    /// When the client made it, ms since 1970.
    pub born_ms: i64,
    /// Where the client was.
    pub born_host: SocketAddr,
    /// When the broker stored it, ms since 1970.
    pub store_ms: i64,
    /// Where the broker was reached.
    pub store_host: SocketAddr,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this one commits.
    pub prepared_offset: i64,
    /// As stored, compressed or not.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// `name \x01 value \x02` pairs; UTF-8 unless a client sent something else.
    pub properties: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There are fewer bytes than the record (or its length field) needs.
    #[error("the record needs {0} bytes")]
    Short(usize),
    /// The filler at the end of a log file; this many bytes to the end.
    #[error("filler of {0} bytes")]
    Blank(usize),
    /// Neither record nor filler begins here.
    #[error("no record begins here")]
    Magic,
    /// The lengths inside contradict each other.
    #[error("the lengths inside the record contradict each other")]
    Length,
    /// The topic is not UTF-8.
    #[error("the topic is not UTF-8")]
    Topic,
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

fn be64(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from(be32(bytes, at)?) << 32 | i64::from(be32(bytes, at + 4)?))
}

fn signed(value: u32) -> i32 {
    i32::from_be_bytes(value.to_be_bytes())
}

/// A cursor whose failures mean that the record's own lengths are wrong.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.checked_add(len).ok_or(RecordError::Length)?;
        let slice = self.bytes.get(self.at..end).ok_or(RecordError::Length)?;
        self.at = end;
        Ok(slice)
    }
    fn u32(&mut self) -> Result<u32, RecordError> {
        let value = be32(self.bytes, self.at).ok_or(RecordError::Length)?;
        self.at += 4;
        Ok(value)
    }
    fn i64(&mut self) -> Result<i64, RecordError> {
        let value = be64(self.bytes, self.at).ok_or(RecordError::Length)?;
        self.at += 8;
        Ok(value)
    }
    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip: IpAddr = if v6 {
            let mut octets = [0; 16];
            octets.copy_from_slice(self.take(16)?);
            Ipv6Addr::from(octets).into()
        } else {
            Ipv4Addr::from(self.u32()?).into()
        };
        let port = u16::try_from(self.u32()? & 0xFFFF).expect("masked to 16 bits");
        Ok(SocketAddr::new(ip, port))
    }
}

impl<'a> Record<'a> {
    /// Reads the record that `bytes` begins with; more may follow. The body's checksum is not verified.
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let total = be32(bytes, 0).ok_or(RecordError::Short(8))? as usize;
        let magic = be32(bytes, 4).ok_or(RecordError::Short(8))?;
        let v2 = match magic {
            MAGIC_V1 => false,
            MAGIC_V2 => true,
            MAGIC_BLANK => return Err(RecordError::Blank(total)),
            _ => return Err(RecordError::Magic),
        };
        if !(RECORD_MIN..=i32::MAX as usize).contains(&total) {
            return Err(RecordError::Length);
        }
        let bytes = bytes.get(..total).ok_or(RecordError::Short(total))?;
        Record::fields(bytes, v2)
    }

    fn fields(bytes: &'a [u8], v2: bool) -> Result<Record<'a>, RecordError> {
        let mut from = Cursor { bytes, at: 8 };
        let body_crc = from.u32()?;
        let (queue_id, flag) = (signed(from.u32()?), signed(from.u32()?));
        let (queue_offset, physical) = (from.i64()?, from.i64()?);
        let sys_flag = signed(from.u32()?);
        let (born_ms, born_host) = (from.i64()?, from.host(sys_flag & FLAG_BORN_V6 != 0)?);
        let (store_ms, store_host) = (from.i64()?, from.host(sys_flag & FLAG_STORE_V6 != 0)?);
        let (reconsume_times, prepared_offset) = (signed(from.u32()?), from.i64()?);
        let body_len = from.u32()? as usize;
        let body = from.take(body_len)?;
        let topic_len = if v2 { be16(from.take(2)?) } else { usize::from(from.take(1)?[0]) };
        let topic = from.take(topic_len)?;
        let properties_len = be16(from.take(2)?);
        let properties = from.take(properties_len)?;
        if from.at != bytes.len() {
            return Err(RecordError::Length);
        }
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::Topic)?;
        Ok(Record {
            total: bytes.len(),
            v2,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical,
            sys_flag,
            born_ms,
            born_host,
            store_ms,
            store_host,
            reconsume_times,
            prepared_offset,
            body,
            topic,
            properties,
        })
    }

    /// Whether the body is the one that was stored.
    pub fn body_is_sound(&self) -> bool {
        body_crc(self.body) == self.body_crc
    }

    /// Whether the record takes a place in its queue: everything but prepared and rolled-back halves does.
    pub fn is_queued(&self) -> bool {
        is_queued(self.sys_flag)
    }
}

fn be16(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The checksum that a record keeps of its body; Java `UtilAll.crc32`.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// Whether a message with this sys flag takes a place in its queue (Java dispatches NOT_TYPE and COMMIT only).
pub fn is_queued(sys_flag: i32) -> bool {
    !matches!(sys_flag & TRANSACTION_MASK, TRANSACTION_PREPARED | TRANSACTION_ROLLBACK)
}

/// Whether the message is a rolled-back half, which is not indexed.
pub fn is_rolled_back(sys_flag: i32) -> bool {
    sys_flag & TRANSACTION_MASK == TRANSACTION_ROLLBACK
}

/// Store time of a record of which at least the first 80 bytes are given; Java `CommitLog.pickupStoreTimestamp`.
pub fn store_ms(head: &[u8]) -> Option<i64> {
    let v6 = signed(be32(head, SYS_FLAG_AT)?) & FLAG_BORN_V6 != 0;
    be64(head, if v6 { 68 } else { 56 })
}

/// The whole records in `bytes`, in order; ends at the first thing that is not one.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let record = Record::parse(rest).ok()?;
        rest = &rest[record.total..];
        Some(record)
    })
}

/// Bytes that `draft` takes in the log, without the `__CRC32#` property.
pub fn encoded_len(draft: &Draft) -> usize {
    let hosts = if draft.born_host.is_ipv6() { 12 } else { 0 } + if draft.store_host.is_ipv6() { 12 } else { 0 };
    let topic = draft.topic.len() + usize::from(draft.topic.len() > TOPIC_V1_MAX);
    RECORD_MIN + hosts + draft.body.len() + topic + draft.properties.len()
}

/// A record's fixed part on its way out; the longest is 112 bytes.
struct Head {
    bytes: [u8; HEAD_MAX],
    len: usize,
}

impl Head {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }
    fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
        self.put(u32::from(host.port()).to_be_bytes());
    }
}

/// Appends the record of `draft` to `to`. The caller has checked the lengths (topic ≤ 255, properties ≤
/// [`PROPERTIES_MAX`]); a prepared or rolled-back half is stored with queue offset 0, as in Java.
pub fn encode(draft: &Draft, queue_offset: u64, physical: u64, store_ms: u64, to: &mut BytesMut) {
    put(draft, encoded_len(draft), draft.properties.len(), [queue_offset, physical, store_ms], to);
    to.extend_from_slice(&draft.properties);
}

/// Bytes that [`encode_with_crc`] writes.
pub fn encoded_len_with_crc(draft: &Draft) -> usize {
    encoded_len(draft) + CRC_PROPERTY + usize::from(lacks_end(&draft.properties))
}

fn lacks_end(properties: &[u8]) -> bool {
    properties.last().is_some_and(|&last| last != 2)
}

/// As [`encode`], with the `__CRC32#` property that covers the record before it (`enabledAppendPropCRC`).
pub fn encode_with_crc(draft: &Draft, queue_offset: u64, physical: u64, store_ms: u64, to: &mut BytesMut) {
    let start = to.len();
    let added = CRC_PROPERTY + usize::from(lacks_end(&draft.properties));
    let len = encoded_len(draft) + added;
    put(draft, len, draft.properties.len() + added, [queue_offset, physical, store_ms], to);
    to.extend_from_slice(&draft.properties);
    if lacks_end(&draft.properties) {
        to.extend_from_slice(&[2]);
    }
    let mut crc = body_crc(&to[start..]);
    let mut property = *b"__CRC32#\x010000000000\x02";
    for digit in &mut property[9..19] {
        *digit = b'0' + u8::try_from(crc % 10).expect("one decimal digit");
        crc /= 10;
    }
    to.extend_from_slice(&property);
    debug_assert_eq!(to.len() - start, len);
}

fn put(draft: &Draft, total: usize, properties: usize, stamps: [u64; 3], to: &mut BytesMut) {
    assert!(properties <= PROPERTIES_MAX && draft.topic.len() <= 255, "lengths are checked before a record is encoded");
    let [queue_offset, physical, store_ms] = stamps;
    let v2 = draft.topic.len() > TOPIC_V1_MAX;
    let mut sys_flag = draft.sys_flag & !(FLAG_BORN_V6 | FLAG_STORE_V6);
    sys_flag |= if draft.born_host.is_ipv6() { FLAG_BORN_V6 } else { 0 };
    sys_flag |= if draft.store_host.is_ipv6() { FLAG_STORE_V6 } else { 0 };
    let mut head = Head { bytes: [0; HEAD_MAX], len: 0 };
    head.put(u32::try_from(total).expect("a record is far below 4 GiB").to_be_bytes());
    head.put(if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
    head.put(body_crc(&draft.body).to_be_bytes());
    head.put(draft.queue_id.to_be_bytes());
    head.put(draft.flag.to_be_bytes());
    head.put(if is_queued(sys_flag) { queue_offset } else { 0 }.to_be_bytes());
    head.put(physical.to_be_bytes());
    head.put(sys_flag.to_be_bytes());
    head.put(draft.born_ms.to_be_bytes());
    head.host(draft.born_host);
    head.put(store_ms.to_be_bytes());
    head.host(draft.store_host);
    head.put(draft.reconsume_times.to_be_bytes());
    head.put(draft.prepared_offset.to_be_bytes());
    head.put(u32::try_from(draft.body.len()).expect("a body is far below 4 GiB").to_be_bytes());
    to.reserve(total);
    to.extend_from_slice(&head.bytes[..head.len]);
    to.extend_from_slice(&draft.body);
    let topic_len = u16::try_from(draft.topic.len()).expect("checked above").to_be_bytes();
    to.extend_from_slice(if v2 { &topic_len } else { &topic_len[1..] });
    to.extend_from_slice(&draft.topic);
    to.extend_from_slice(&u16::try_from(properties).expect("checked above").to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn draft(topic: usize, body: Vec<u8>, properties: &str, v6: bool) -> Draft {
        let host: SocketAddr = if v6 { "[fd00::2]:10911" } else { "127.0.0.2:10911" }.parse().unwrap();
        Draft {
            topic: "t".repeat(topic).into_bytes().into(),
            queue_id: 3,
            flag: -1,
            sys_flag: 0,
            born_ms: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 2,
            prepared_offset: 7,
            body: body.into(),
            properties: Bytes::copy_from_slice(properties.as_bytes()),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(topic in 1usize..255, body: Vec<u8>, properties in "[a-z\u{1}\u{2}]{0,80}", v6: bool, crc: bool) {
            let draft = draft(topic, body, &properties, v6);
            let mut bytes = BytesMut::new();
            if crc { encode_with_crc(&draft, 9, 1 << 40, 5, &mut bytes) } else { encode(&draft, 9, 1 << 40, 5, &mut bytes) }
            let len = if crc { encoded_len_with_crc(&draft) } else { encoded_len(&draft) };
            prop_assert_eq!(bytes.len(), len);
            let record = Record::parse(&bytes).unwrap();
            prop_assert!(record.body_is_sound() && record.is_queued());
            prop_assert_eq!((record.queue_offset, record.physical, record.store_ms), (9, 1 << 40, 5));
            prop_assert_eq!(store_ms(&bytes), Some(5));
            prop_assert_eq!(record.topic.as_bytes(), &draft.topic[..]);
            prop_assert_eq!(record.body, &draft.body[..]);
            prop_assert!(record.properties.starts_with(&draft.properties));
            prop_assert_eq!(record.born_host, draft.born_host);
            prop_assert!(matches!(Record::parse(&bytes[..len - 1]), Err(RecordError::Short(_))));
        }

        #[test]
        fn any_bytes_parse_or_fail(mut bytes: Vec<u8>, magic: bool) {
            if magic && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&[0, 0, 0, 100, 0xDA, 0xA3, 0x20, 0xA7]);
                bytes.resize(100, 0);
            }
            if let Ok(record) = Record::parse(&bytes) {
                prop_assert!(record.total <= bytes.len());
            }
        }
    }
}

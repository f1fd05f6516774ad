//! Reads a store as it lies on a disk: the commit log and the consume queues, in the formats of the Java store.
//!
//! Invariant: nothing here is shared with the code under test: the layout is spelled out once more.
//!
//! ```text
//! record: total 4 | magic 4 | body crc 4 | queue 4 | flag 4 | queue offset 8 | physical 8 | sys flag 4 | born 8
//!         | born host 8 or 20 | store 8 | store host 8 or 20 | reconsumed 4 | prepared 8 | body length 4 | body
//!         | topic length 1 or 2 | topic | properties length 2 | properties
//! blank:  total 4 | magic 4 | anything
//! entry:  physical 8 | size 4 | tags code 8
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

/// The files of a store, by path from its root.
pub trait Files {
    /// Every path.
    fn paths(&self) -> Vec<String>;
    /// The content of a file; nothing when it is not there.
    fn content(&self, path: &str) -> Option<Content>;
}

/// The content of a file. Files of a store are made at their full length, and most of them is zeros for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes of the file.
    pub len: u64,
    /// The first of them; the others are zeros.
    pub written: Bytes,
}

impl Content {
    /// All of it.
    pub fn whole(self) -> Bytes {
        if self.written.len() as u64 == self.len {
            return self.written;
        }
        let mut whole = self.written.to_vec();
        whole.resize(usize::try_from(self.len).expect("a file fits into memory"), 0);
        whole.into()
    }
}

impl Files for BTreeMap<String, Bytes> {
    fn paths(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
    fn content(&self, path: &str) -> Option<Content> {
        self.get(path).map(|bytes| Content { len: bytes.len() as u64, written: bytes.clone() })
    }
}

const MAGIC_V1: u32 = 0xDAA3_20A7;
const MAGIC_V2: u32 = 0xDAA3_20AB;
const MAGIC_BLANK: u32 = 0xCBD4_3194;
const BORN_HOST_V6: u32 = 1 << 4;
const STORE_HOST_V6: u32 = 1 << 5;
const ROLLED_BACK: u32 = 3 << 2;
const FILLER_SIZE: u32 = 0x7FFF_FFFF;

/// What the log says about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Position in the log.
    pub physical: u64,
    /// Bytes.
    pub size: u32,
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue: u32,
    /// Number within the queue.
    pub queue_offset: u64,
    /// Time of storing, ms since 1970.
    pub store_ms: u64,
    /// Where in the record its body begins.
    pub body_at: u32,
    /// Bytes of the body.
    pub body_len: u32,
    sys_flag: u32,
    properties: Box<str>,
}

impl LogRecord {
    /// Hash of the tag as the queue entry holds it; 0 without a tag.
    pub fn tags_code(&self) -> i64 {
        Labels::read(&self.properties).tag.map_or(0, |tag| i64::from(java_hash(0, tag)))
    }
    /// Hashes under which the index has it: of its unique key, of each of its keys, and of its tag.
    pub fn keys(&self) -> Vec<u32> {
        Labels::read(&self.properties).key_hashes(java_hash(java_hash(0, &self.topic), "#"), self.sys_flag)
    }
}

/// A log as far as it is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Where it begins.
    pub begin: u64,
    /// Where the first thing stands that is no record.
    pub end: u64,
    /// Its messages, in order.
    pub records: Vec<LogRecord>,
    /// Why it ends there, if not for want of bytes.
    pub torn: Option<String>,
}

/// One entry of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Position of the record.
    pub physical: u64,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of its tag.
    pub tags_code: i64,
}

impl QueueEntry {
    /// From its twenty bytes.
    pub fn read(unit: &[u8]) -> Option<QueueEntry> {
        let mut cursor = Cursor { bytes: unit, at: 0 };
        let (physical, size, tags) = (cursor.u64()?, cursor.u32()?, cursor.u64()?);
        Some(QueueEntry { physical, size, tags_code: tags.cast_signed() })
    }
    /// Whether it stands for a message: neither filler nor never written.
    pub fn is_message(&self) -> bool {
        self.size != 0 && self.size != FILLER_SIZE
    }
}

pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(part)
    }
    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// What stands at a position of a log file.
enum Found {
    Message(LogRecord),
    Blank,
    /// Zeros, or the end of the file.
    Nothing,
    Broken(String),
}

/// Java's hash of a text that begins with one whose hash is known.
fn java_hash(begin: i32, text: &str) -> i32 {
    let more = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if text.is_ascii() {
        return text.bytes().fold(begin, |hash, byte| more(hash, byte.into()));
    }
    text.encode_utf16().fold(begin, more)
}

/// The properties that queue and index are made from, as far as they are not empty; of two of one name the last.
#[derive(Default)]
struct Labels<'a> {
    tag: Option<&'a str>,
    keys: Option<&'a str>,
    unique: Option<&'a str>,
}

impl<'a> Labels<'a> {
    fn read(properties: &'a str) -> Labels<'a> {
        let mut labels = Labels::default();
        for pair in properties.as_bytes().split(|byte| *byte == 2) {
            let Some(middle) = memchr::memchr(1, pair).filter(|middle| middle + 1 < pair.len()) else { continue };
            let place = match &pair[..middle] {
                b"TAGS" => &mut labels.tag,
                b"KEYS" => &mut labels.keys,
                b"UNIQ_KEY" => &mut labels.unique,
                _ => continue,
            };
            *place = std::str::from_utf8(&pair[middle + 1..]).ok();
        }
        labels
    }
    /// Hashes of the unique key, of each key and of the tag. Halves that were rolled back are not indexed.
    fn key_hashes(&self, topic: i32, sys_flag: u32) -> Vec<u32> {
        if sys_flag & ROLLED_BACK == ROLLED_BACK {
            return Vec::new();
        }
        let keys = self.keys.into_iter().flat_map(|keys| keys.split(' ')).filter(|key| !key.is_empty());
        let tag = self.tag.map(|tag| key_hash(java_hash(topic, "T#"), tag));
        self.unique.into_iter().chain(keys).map(|key| key_hash(topic, key)).chain(tag).collect()
    }
}

/// The hash of `topic#key`, given that of `topic#`.
fn key_hash(topic: i32, key: &str) -> u32 {
    java_hash(topic, key).checked_abs().unwrap_or(0).unsigned_abs()
}

fn parse(bytes: &[u8], position: u64) -> Found {
    let mut head = Cursor { bytes, at: 0 };
    let (Some(total), Some(magic)) = (head.u32(), head.u32()) else { return Found::Nothing };
    match magic {
        0 if total == 0 => Found::Nothing,
        MAGIC_BLANK => Found::Blank,
        MAGIC_V1 | MAGIC_V2 => {
            let Some(whole) = bytes.get(..total as usize) else {
                return Found::Broken(format!("a record of {total} bytes at {position} does not fit"));
            };
            message(whole, magic, position)
                .unwrap_or_else(|| Found::Broken(format!("the record at {position} is cut short")))
        }
        _ => Found::Broken(format!("no record begins at {position}")),
    }
}

fn message(bytes: &[u8], magic: u32, position: u64) -> Option<Found> {
    let mut cursor = Cursor { bytes, at: 8 };
    let crc = cursor.u32()?;
    let queue = cursor.u32()?;
    let _flag = cursor.u32()?;
    let (queue_offset, physical) = (cursor.u64()?, cursor.u64()?);
    let sys_flag = cursor.u32()?;
    let _born = cursor.u64()?;
    cursor.take(if sys_flag & BORN_HOST_V6 == 0 { 8 } else { 20 })?;
    let store_ms = cursor.u64()?;
    cursor.take(if sys_flag & STORE_HOST_V6 == 0 { 8 } else { 20 })?;
    let (_reconsumed, _prepared) = (cursor.u32()?, cursor.u64()?);
    let body_len = cursor.u32()?;
    let body_at = cursor.at as u32;
    let body = cursor.take(body_len as usize)?;
    let topic_len = if magic == MAGIC_V1 { usize::from(cursor.u8()?) } else { usize::from(cursor.u16()?) };
    let topic = String::from_utf8(cursor.take(topic_len)?.to_vec()).ok()?;
    let properties_len = usize::from(cursor.u16()?);
    let properties = std::str::from_utf8(cursor.take(properties_len)?).ok()?;
    if cursor.at != bytes.len() {
        return Some(Found::Broken(format!("the lengths inside the record at {position} contradict each other")));
    }
    // Java keeps 31 bits of the checksum.
    if !body.is_empty() && crc32fast::hash(body) & 0x7FFF_FFFF != crc {
        return Some(Found::Broken(format!("the body of the record at {position} does not match its checksum")));
    }
    if physical != position {
        return Some(Found::Broken(format!("the record at {position} says that it stands at {physical}")));
    }
    let (size, properties) = (bytes.len() as u32, properties.into());
    Some(Found::Message(LogRecord {
        physical,
        size,
        topic,
        queue,
        queue_offset,
        store_ms,
        body_at,
        body_len,
        sys_flag,
        properties,
    }))
}

fn scan(files: Vec<(u64, Content)>, damaged: &[Range<u64>]) -> Log {
    let mut log = Log { begin: files.first().map_or(0, |(begin, _)| *begin), ..Log::default() };
    log.end = log.begin;
    for (begin, Content { len, written }) in files {
        if begin != log.end {
            return log;
        }
        let mut at = 0;
        loop {
            match parse(written.get(at..).unwrap_or_default(), begin + at as u64) {
                Found::Message(record) => {
                    at += record.size as usize;
                    log.records.push(record);
                    log.end = begin + at as u64;
                }
                Found::Blank => {
                    log.end = begin + len;
                    break;
                }
                Found::Nothing if at as u64 == len => break,
                Found::Nothing => match behind(&written, len, begin, at, damaged) {
                    Some(next) => {
                        at = next;
                        log.end = begin + at as u64;
                    }
                    None => return log,
                },
                Found::Broken(why) => {
                    let here = begin + at as u64;
                    if let Some(range) = damaged.iter().find(|range| range.contains(&here)) {
                        at = usize::try_from((range.end - begin).min(len)).expect("a file fits into memory");
                        log.end = begin + at as u64;
                        continue;
                    }
                    log.torn = Some(why);
                    return log;
                }
            }
        }
    }
    log
}

/// Where in its file the log goes on behind zeros, if damaged records stood there. Where nothing follows, the log ends with what is whole.
fn behind(written: &Bytes, len: u64, begin: u64, at: usize, damaged: &[Range<u64>]) -> Option<usize> {
    let mut next = at as u64;
    while let Some(range) = damaged.iter().find(|range| range.contains(&(begin + next))) {
        next = (range.end - begin).min(len);
    }
    let there = written.get(usize::try_from(next).expect("a file fits into memory")..).unwrap_or_default();
    let goes_on = matches!(parse(there, begin + next), Found::Message(_) | Found::Blank);
    (next > at as u64 && (goes_on || next == len)).then_some(next as usize)
}

/// Whether a whole record that stands at this position is here.
pub fn is_record(bytes: &[u8], position: u64) -> bool {
    matches!(parse(bytes, position), Found::Message(_))
}

/// The log of a store; records that a fault of the tape damaged are left out.
pub fn read_log(store: &impl Files, damaged: &[Range<u64>]) -> Log {
    let begin = |path: &str| path.strip_prefix("commitlog/").and_then(|name| name.parse::<u64>().ok());
    let mut files: Vec<(u64, String)> =
        store.paths().into_iter().filter_map(|path| Some((begin(&path)?, path))).collect();
    files.sort();
    scan(files.into_iter().map_while(|(begin, path)| Some((begin, store.content(&path)?))).collect(), damaged)
}

/// Of which run of the machine the broker's own snapshot is, and up to where it calls the log durable. One whose checksum does not
/// hold says nothing. `magic 4 | crc 4 | length 8 | kind 4 | number 8 | boot 4 + text | log begin 8 | through 8 | durable 8 | …`
pub fn snapshot(store: &impl Files) -> Option<(String, u64)> {
    let bytes = store.content("seedmq.snapshot")?.whole();
    let mut cursor = Cursor { bytes: &bytes, at: 4 };
    let (crc, len) = (cursor.u32()?, usize::try_from(cursor.u64()?).ok()?);
    if bytes.get(..4)? != b"SMQ1" || crc32fast::hash(bytes.get(8..len)?) != crc {
        return None;
    }
    let (_kind, _number, boot_len) = (cursor.u32()?, cursor.u64()?, cursor.u32()?);
    let boot = String::from_utf8(cursor.take(boot_len as usize)?.to_vec()).ok()?;
    let (_begin, _through) = (cursor.u64()?, cursor.u64()?);
    Some((boot, cursor.u64()?))
}

/// The topic and number of the queue that a file belongs to, and the number of the file's first entry.
pub fn queue_of(path: &str) -> Option<(&str, u32, u64)> {
    let mut parts = path.strip_prefix("consumequeue/")?.split('/');
    let (topic, queue, begin) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse::<u64>().ok()?);
    Some((topic, queue, begin / 20))
}

/// The consume queues of a store: entries by topic, queue and number.
pub fn read_queues(store: &impl Files) -> BTreeMap<(String, u32), BTreeMap<u64, QueueEntry>> {
    let mut queues: BTreeMap<(String, u32), BTreeMap<u64, QueueEntry>> = BTreeMap::new();
    for path in store.paths() {
        let Some((topic, queue, _)) = queue_of(&path) else { continue };
        queues.entry((topic.to_owned(), queue)).or_default().extend(queue_file(store, &path));
    }
    queues
}

/// The messages of a file of a consume queue, with their numbers.
pub fn queue_file(store: &impl Files, path: &str) -> Vec<(u64, QueueEntry)> {
    let Some(((_, _, first), content)) = queue_of(path).zip(store.content(path)) else { return Vec::new() };
    let entries = (first..).zip(content.written.chunks_exact(20));
    entries.filter_map(|(nth, unit)| Some((nth, QueueEntry::read(unit)?))).filter(|(_, e)| e.is_message()).collect()
}

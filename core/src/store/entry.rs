//! What the log tells the queues and the index about a record: its place in its queue, its tag code, its key hashes.
//!
//! Invariant: the same record gives the same entry when it is put, when it is recovered and when it is rebuilt, and the
//! entry that Java would make of it.

use memchr::memchr;
use smallvec::SmallVec;

use crate::message::record;

/// Bytes of an entry in a queue file; Java `ConsumeQueue.CQ_STORE_UNIT_SIZE`.
pub const ENTRY: u64 = 20;
/// Size in the filler entries that Java writes before the first entry of a queue that does not begin at 0.
const FILLER_SIZE: u32 = 0x7FFF_FFFF;
/// Topic of the messages that wait for a delay level; its entries hold the time of delivery instead of a tag hash.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Delay of each level in ms, from level 1; Java `MessageStoreConfig.messageDelayLevel`.
const DELAY_LEVELS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000, 540_000,
    600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// One entry of a consume queue: `physical 8 | size 4 | tags code 8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position of the record in the log.
    pub physical: u64,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of the tag, sign-extended; the time of delivery for delayed messages.
    pub tags_code: i64,
}

impl Entry {
    /// What stands before the first entry of a queue file that begins in the middle.
    pub const FILLER: Entry = Entry { physical: 0, size: FILLER_SIZE, tags_code: 0 };

    /// As it stands in the file.
    pub fn to_bytes(self) -> [u8; ENTRY as usize] {
        let mut bytes = [0; ENTRY as usize];
        bytes[..8].copy_from_slice(&self.physical.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// From the twenty bytes in a file.
    pub fn from_bytes(bytes: &[u8]) -> Entry {
        assert_eq!(bytes.len(), ENTRY as usize, "an entry has twenty bytes");
        let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Entry {
            physical: word(0),
            size: u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
            tags_code: i64::from_be_bytes(bytes[12..20].try_into().expect("eight bytes")),
        }
    }

    /// Whether it stands for a message: neither filler nor never written (Java: offset ≥ 0 and size > 0).
    pub fn is_message(&self) -> bool {
        self.size > 0 && self.size != FILLER_SIZE && self.physical <= i64::MAX as u64
    }

    /// Whether it is the filler before the first message.
    pub fn is_filler(&self) -> bool {
        *self == Entry::FILLER
    }

    /// Position behind the record.
    pub fn end(&self) -> u64 {
        self.physical.saturating_add(u64::from(self.size))
    }
}

/// What the properties of a message mean to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// See [`Entry::tags_code`].
    pub tags_code: i64,
    /// Index hashes of the unique key, of each key and of the tag, in the order in which Java indexes them.
    pub keys: SmallVec<[u32; 4]>,
}

/// What [`labels`] needs to know of a topic, computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSeed {
    hash: i32,
    schedule: bool,
}

impl TopicSeed {
    /// For a topic.
    pub fn of(topic: &str) -> TopicSeed {
        TopicSeed { hash: java_hash(java_hash(0, topic.as_bytes()), b"#"), schedule: topic == SCHEDULE_TOPIC }
    }

    /// The hash under which a key of this topic is indexed.
    pub fn key(&self, key: &[u8]) -> u32 {
        index_hash(java_hash(self.hash, key))
    }

    /// The hash under which a tag of this topic is indexed: as the key `T#tag` would be (Java 5.5, `IndexService.buildIndex`).
    pub fn tag(&self, tag: &[u8]) -> u32 {
        index_hash(java_hash(java_hash(self.hash, b"T#"), tag))
    }
}

/// Java `IndexFile.indexKeyHashMethod`: the absolute value, and 0 for the number that has none.
fn index_hash(hash: i32) -> u32 {
    hash.checked_abs().unwrap_or(0).unsigned_abs()
}

/// Reads tag and keys out of the properties (`name \x01 value \x02`; a later pair of the same name wins, as in Java).
pub fn labels(topic: &TopicSeed, sys_flag: i32, store_ms: u64, properties: &[u8]) -> Labels {
    let (mut tags, mut keys, mut unique, mut delay) = (&b""[..], &b""[..], &b""[..], &b""[..]);
    let mut rest = properties;
    while !rest.is_empty() {
        let end = memchr(2, rest).unwrap_or(rest.len());
        let pair = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or(&[]);
        let Some(at) = memchr(1, pair).filter(|at| *at > 0 && at + 1 < pair.len()) else { continue };
        let value = &pair[at + 1..];
        match &pair[..at] {
            b"TAGS" => tags = value,
            b"KEYS" => keys = value,
            b"UNIQ_KEY" => unique = value,
            b"DELAY" => delay = value,
            _ => {}
        }
    }
    let mut found = Labels { tags_code: i64::from(java_hash(0, tags)), keys: SmallVec::new() };
    if topic.schedule {
        found.tags_code = delivery_ms(delay, store_ms).unwrap_or(found.tags_code);
    }
    if record::is_rolled_back(sys_flag) {
        return found;
    }
    if !unique.is_empty() {
        found.keys.push(topic.key(unique));
    }
    found.keys.extend(keys.split(|b| *b == b' ').filter(|key| !key.is_empty()).map(|key| topic.key(key)));
    if !tags.is_empty() && !crate::planted!("tag-not-indexed") {
        found.keys.push(topic.tag(tags));
    }
    found
}

/// When a delayed message is due; Java `ScheduleMessageService.computeDeliverTimestamp`.
fn delivery_ms(level: &[u8], store_ms: u64) -> Option<i64> {
    let level: usize = std::str::from_utf8(level).ok()?.parse().ok()?;
    let last = DELAY_LEVELS.len();
    (level > 0).then(|| i64::try_from(store_ms).unwrap_or(i64::MAX).saturating_add(DELAY_LEVELS[level.min(last) - 1]))
}

/// Java `String.hashCode` of UTF-8 text that goes on after text whose hash is `before`. Four bytes a round: the chain of
/// multiplications is what the time goes into.
pub fn java_hash(before: i32, text: &[u8]) -> i32 {
    if !text.is_ascii() {
        let text = String::from_utf8_lossy(text);
        return text.encode_utf16().fold(before, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    }
    let (rounds, rest) = text.as_chunks::<4>();
    let hash = rounds.iter().fold(before, |hash, [a, b, c, d]| {
        let round = i32::from(*a) * 29_791 + i32::from(*b) * 961 + i32::from(*c) * 31 + i32::from(*d);
        hash.wrapping_mul(923_521).wrapping_add(round)
    });
    rest.iter().fold(hash, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every twenty bytes are an entry, and no other twenty are the same one.
        #[test]
        fn entries_and_their_bytes_are_one_to_one(bytes: [[u8; 10]; 2]) {
            let bytes = bytes.concat();
            let entry = Entry::from_bytes(&bytes);
            prop_assert_eq!(&entry.to_bytes()[..], &bytes[..]);
            prop_assert!(entry.end() >= entry.physical && !(entry.is_message() && entry.is_filler()));
        }

        #[test]
        fn any_properties_have_labels(properties in proptest::collection::vec(prop_oneof![any::<u8>(), 1..3_u8, Just(b'T')], 0..80), sys_flag: i32, ms: u64) {
            let mut properties = properties;
            properties.extend_from_slice(b"\x02KEYS\x01a b\x02UNIQ_KEY\x01u\x02TAGS\x01t\x02");
            for topic in ["T", SCHEDULE_TOPIC] {
                let labels = labels(&TopicSeed::of(topic), sys_flag, ms, &properties);
                let expected = if record::is_rolled_back(sys_flag) { 0 } else { 4 };
                prop_assert_eq!(labels.keys.len(), expected, "the last pairs win");
            }
        }
    }

    #[test]
    fn hashes_are_those_of_java() {
        for (text, hash) in
            [("", 0), ("TagA", 2_598_919), ("TagB", 2_598_920), ("TagC", 2_598_921), ("polygenelubricants", i32::MIN)]
        {
            assert_eq!(java_hash(0, text.as_bytes()), hash, "{text}");
        }
        assert_eq!(java_hash(0, "é😀".as_bytes()), (233 * 31 + 0xD83D) * 31 + 0xDE00);
        let whole = "Topic#some key, longer than a round";
        assert_eq!(java_hash(java_hash(0, b"Topic#so"), &whole.as_bytes()[8..]), java_hash(0, whole.as_bytes()));
    }

    #[test]
    fn labels_are_read_as_java_reads_them() {
        let topic = TopicSeed::of("T");
        let found = labels(&topic, 0, 5, b"TAGS\x01x\x02KEYS\x01a  b\x02junk\x02=\x02UNIQ_KEY\x01u\x02TAGS\x01TagA");
        assert_eq!(found.tags_code, 2_598_919);
        assert_eq!(found.keys[..], [topic.key(b"u"), topic.key(b"a"), topic.key(b"b"), topic.tag(b"TagA")]);
        assert_eq!(topic.tag(b"TagA"), java_hash(0, b"T#T#TagA").unsigned_abs());
        assert_eq!(topic.key(b"a"), java_hash(0, b"T#a").unsigned_abs());
        assert!(
            labels(&topic, 0xC, 5, b"KEYS\x01a\x02TAGS\x01t\x02").keys.is_empty(),
            "rolled-back halves are not indexed"
        );
        let delayed = TopicSeed::of(SCHEDULE_TOPIC);
        for (level, due) in [("1", 1_005), ("18", 7_200_005), ("99", 7_200_005), ("0", 0), ("x", 0)] {
            assert_eq!(labels(&delayed, 0, 5, format!("DELAY\x01{level}\x02").as_bytes()).tags_code, due, "{level}");
        }
    }

    #[test]
    fn entries_go_through_bytes_unchanged() {
        let entry = Entry { physical: 1 << 40, size: 77, tags_code: -3 };
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
        assert!(entry.is_message() && !entry.is_filler() && !Entry::FILLER.is_message());
        assert!(!Entry::from_bytes(&[0; 20]).is_message());
    }
}

//! How far the projections of the log are on disk: the Java checkpoint, and a snapshot of our own that Java ignores.
//!
//! Invariant: a snapshot is believed only if its checksum holds; what it says was true when it was made, so that a stale one
//! costs time, never messages. Both files can be removed: the log holds everything.

use std::ops::Range;
use std::sync::Arc;

use super::index::Head;
use super::queues::Queues;

/// Bytes of the checkpoint file; Java `MappedFile.OS_PAGE_SIZE`.
pub const CHECKPOINT_BYTES: u64 = 4096;

/// The longs of the checkpoint file that matter here. The fourth and fifth (flushed offset of the master, confirmed offset)
/// belong to replication and are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Store time of the last record that is durable in the log.
    pub log_ms: i64,
    /// Store time of the last record whose queue entry is durable.
    pub queues_ms: i64,
    /// Store time of the last record whose index entries are durable.
    pub index_ms: i64,
    /// Flushed offset of the master, kept for replication.
    pub master_flushed: i64,
    /// Confirmed offset, kept for replication.
    pub confirmed: i64,
    /// Position through which queue entries are durable.
    pub queues_physical: i64,
}

impl Checkpoint {
    /// The first 48 bytes of the file.
    pub fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        let fields =
            [self.log_ms, self.queues_ms, self.index_ms, self.master_flushed, self.confirmed, self.queues_physical];
        for (at, field) in fields.iter().enumerate() {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// From the file; `None` when it is too short or was never written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Checkpoint> {
        let field =
            |n: usize| bytes.get(n * 8..n * 8 + 8).map(|b| i64::from_be_bytes(b.try_into().expect("eight bytes")));
        let found = Checkpoint {
            log_ms: field(0)?,
            queues_ms: field(1)?,
            index_ms: field(2)?,
            master_flushed: field(3)?,
            confirmed: field(4)?,
            queues_physical: field(5)?,
        };
        (found.log_ms > 0 || found.queues_ms > 0).then_some(found)
    }

    /// Records up to this store time are in the log and in the queues; Java `StoreCheckpoint.getMinTimestamp`.
    pub fn safe_ms(&self) -> i64 {
        (self.log_ms.min(self.queues_ms) - 3000).max(0)
    }
}

/// What a snapshot may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything it names is in the page cache: good while the operating system runs on.
    Written = 1,
    /// Everything it names is durable.
    Durable = 2,
    /// As [`Kind::Durable`], and the log ends here: written at a clean stop.
    Clean = 3,
}

/// A queue in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Its number within its topic.
    pub id: u32,
    /// First and last entry.
    pub range: Range<u64>,
    /// First entry of its first file.
    pub files_from: Option<u64>,
}

/// The state of queues and index at one position of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What it may be used for.
    pub kind: Kind,
    /// Later ones have higher numbers.
    pub number: u64,
    /// See `StoreConfig::boot`.
    pub boot: String,
    /// Where the log began.
    pub log_begin: u64,
    /// Every record below this position has its entries in the files of queues and index.
    pub through: u64,
    /// The log was durable up to here.
    pub durable: u64,
    /// Store time of the last record below `through`.
    pub store_ms: i64,
    /// The index file that took entries, and its head.
    pub index: Option<(u64, Head)>,
    /// Queues by topic.
    pub topics: Vec<(Arc<str>, Vec<QueueState>)>,
    /// Topics that were removed, and the position below which their records are not to be brought back.
    pub removed: Vec<(Arc<str>, u64)>,
}

const MAGIC: [u8; 4] = *b"SMQ1";
const NO_FILE: u64 = u64::MAX;

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).expect("names are short"));
        self.0.extend_from_slice(text.as_bytes());
    }
    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("counts fit into 32 bits"));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }
    fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        std::str::from_utf8(self.take(len)?).ok()
    }
}

impl Snapshot {
    /// The state of these queues now.
    pub fn topics_of(queues: &Queues) -> Vec<(Arc<str>, Vec<QueueState>)> {
        let mut topics: Vec<(Arc<str>, Vec<QueueState>)> = Vec::with_capacity(queues.count().0);
        for queue in queues.iter() {
            if topics.last().is_none_or(|(topic, _)| *topic != queue.topic) {
                topics.push((queue.topic.clone(), Vec::new()));
            }
            // Files are made when entries are first written: a snapshot speaks of the time after that.
            let files_from = queue.files_from.or((queue.end > queue.written).then_some(queue.written));
            let files_from = files_from.map(|from| from / queues.file_entries() * queues.file_entries());
            let state = QueueState { id: queue.id, range: queue.min..queue.end, files_from };
            topics.last_mut().expect("just pushed").1.push(state);
        }
        topics
    }

    /// As a file: `magic 4 | crc 4 | length 8 | …`; the checksum covers what follows it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer(Vec::with_capacity(256 + self.topics.len() * 64));
        to.0.extend_from_slice(&MAGIC);
        to.u32(0);
        to.u64(0);
        to.u32(self.kind as u32);
        to.u64(self.number);
        to.text(&self.boot);
        to.u64(self.log_begin);
        to.u64(self.through);
        to.u64(self.durable);
        to.u64(self.store_ms.cast_unsigned());
        to.u32(u32::from(self.index.is_some()));
        let (number, head) = self.index.unwrap_or_default();
        to.u64(number);
        to.u64(head.begin_ms.cast_unsigned());
        to.u64(head.end_ms.cast_unsigned());
        to.u64(head.begin_physical);
        to.u64(head.end_physical);
        to.u32(head.used_slots);
        to.u32(head.count);
        to.count(self.topics.len());
        for (topic, queues) in &self.topics {
            to.text(topic);
            to.count(queues.len());
            for queue in queues {
                to.u32(queue.id);
                to.u64(queue.range.start);
                to.u64(queue.range.end);
                to.u64(queue.files_from.unwrap_or(NO_FILE));
            }
        }
        to.count(self.removed.len());
        for (topic, through) in &self.removed {
            to.text(topic);
            to.u64(*through);
        }
        let len = to.0.len() as u64;
        to.0[8..16].copy_from_slice(&len.to_be_bytes());
        let crc = crc32fast::hash(&to.0[8..]);
        to.0[4..8].copy_from_slice(&crc.to_be_bytes());
        to.0
    }

    /// Length of the snapshot that these bytes begin with.
    pub fn len_of(bytes: &[u8]) -> Option<u64> {
        let mut from = Reader(bytes);
        (from.take(4)? == MAGIC).then_some(())?;
        from.u32()?;
        from.u64()
    }

    /// From a file, which may be longer; `None` unless it is whole and sound.
    pub fn from_bytes(bytes: &[u8]) -> Option<Snapshot> {
        let len = usize::try_from(Snapshot::len_of(bytes)?).ok()?;
        let bytes = bytes.get(..len)?;
        let crc = u32::from_be_bytes(bytes.get(4..8)?.try_into().expect("four bytes"));
        (crc32fast::hash(bytes.get(8..)?) == crc).then_some(())?;
        let mut from = Reader(&bytes[16..]);
        let kind = match from.u32()? {
            1 => Kind::Written,
            2 => Kind::Durable,
            3 => Kind::Clean,
            _ => return None,
        };
        let (number, boot) = (from.u64()?, from.text()?.to_owned());
        let (log_begin, through, durable) = (from.u64()?, from.u64()?, from.u64()?);
        let store_ms = from.u64()?.cast_signed();
        let has_index = from.u32()? != 0;
        let index = (
            from.u64()?,
            Head {
                begin_ms: from.u64()?.cast_signed(),
                end_ms: from.u64()?.cast_signed(),
                begin_physical: from.u64()?,
                end_physical: from.u64()?,
                used_slots: from.u32()?,
                count: from.u32()?,
            },
        );
        let topics = (0..from.u32()?).map(|_| topic(&mut from)).collect::<Option<_>>()?;
        let removed = (0..from.u32()?).map(|_| Some((from.text()?.into(), from.u64()?))).collect::<Option<_>>()?;
        let index = has_index.then_some(index);
        Some(Snapshot { kind, number, boot, log_begin, through, durable, store_ms, index, topics, removed })
    }
}

fn topic(from: &mut Reader<'_>) -> Option<(Arc<str>, Vec<QueueState>)> {
    let name = from.text()?.into();
    let queue = |from: &mut Reader<'_>| {
        let (id, start, end, files_from) = (from.u32()?, from.u64()?, from.u64()?, from.u64()?);
        (start <= end).then(|| QueueState {
            id,
            range: start..end,
            files_from: Some(files_from).filter(|n| *n != NO_FILE),
        })
    };
    Some((name, (0..from.u32()?).map(|_| queue(from)).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            kind: Kind::Durable,
            number: 7,
            boot: "b".into(),
            log_begin: 1,
            through: 2,
            durable: 3,
            store_ms: -1,
            index: Some((20_261_122_235_628_099, Head { count: 4, ..Head::default() })),
            topics: vec![
                ("T".into(), vec![QueueState { id: 3, range: 5..9, files_from: Some(0) }]),
                ("é".into(), vec![QueueState { id: 0, range: 0..0, files_from: None }]),
            ],
            removed: vec![("gone".into(), 12)],
        }
    }

    #[test]
    fn a_snapshot_goes_through_bytes_and_any_damage_is_seen() {
        let mut bytes = snapshot().to_bytes();
        bytes.extend_from_slice(b"left over from a longer one");
        assert_eq!(Snapshot::from_bytes(&bytes), Some(snapshot()));
        let len = snapshot().to_bytes().len();
        for at in 0..len {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Snapshot::from_bytes(&damaged), None, "byte {at}");
            assert_eq!(Snapshot::from_bytes(&bytes[..at]), None, "cut at {at}");
        }
    }

    fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        let kind = prop_oneof![Just(Kind::Written), Just(Kind::Durable), Just(Kind::Clean)];
        let head = any::<(i64, i64, u64, u64, u32, u32)>().prop_map(|(begin_ms, end_ms, begin, end, used, count)| {
            Head { begin_ms, end_ms, begin_physical: begin, end_physical: end, used_slots: used, count }
        });
        let index = proptest::option::of((any::<u64>(), head));
        let state = (any::<u32>(), any::<[u64; 2]>(), proptest::option::of(0..NO_FILE)).prop_map(
            |(id, [one, other], files_from)| QueueState { id, range: one.min(other)..one.max(other), files_from },
        );
        let name = || "\\PC{0,9}".prop_map(Arc::<str>::from);
        let topics = proptest::collection::vec((name(), proptest::collection::vec(state, 0..4)), 0..4);
        let removed = proptest::collection::vec((name(), any::<u64>()), 0..4);
        (kind, any::<(u64, u64, u64, u64, i64)>(), "\\PC{0,9}", index, topics, removed).prop_map(
            |(kind, (number, log_begin, through, durable, store_ms), boot, index, topics, removed)| Snapshot {
                kind,
                number,
                boot,
                log_begin,
                through,
                durable,
                store_ms,
                index,
                topics,
                removed,
            },
        )
    }

    proptest! {
        #[test]
        fn any_snapshot_goes_through_bytes(snapshot in any_snapshot()) {
            let bytes = snapshot.to_bytes();
            prop_assert_eq!(Snapshot::len_of(&bytes), Some(bytes.len() as u64));
            prop_assert_eq!(Snapshot::from_bytes(&bytes), Some(snapshot));
        }

        /// The checksum is right, the counts lie: a count costs nothing before its entries are there.
        #[test]
        fn any_content_reads_or_does_not(snapshot in any_snapshot(), at: proptest::sample::Index, byte: u8, cut: proptest::sample::Index) {
            let mut bytes = snapshot.to_bytes();
            let at = 16 + at.index(bytes.len() - 16);
            bytes[at] = byte;
            bytes.truncate(16 + cut.index(bytes.len() - 15));
            let len = bytes.len() as u64;
            bytes[8..16].copy_from_slice(&len.to_be_bytes());
            let crc = crc32fast::hash(&bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_be_bytes());
            if let Some(read) = Snapshot::from_bytes(&bytes) {
                prop_assert!(read.topics.len() <= bytes.len() && read.removed.len() <= bytes.len());
            }
        }

        #[test]
        fn any_bytes_are_a_checkpoint_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Snapshot::from_bytes(&bytes);
            match Checkpoint::from_bytes(&bytes) {
                Some(checkpoint) => {
                    prop_assert_eq!(&checkpoint.to_bytes()[..], &bytes[..48]);
                    prop_assert!(checkpoint.safe_ms() >= 0);
                }
                None => prop_assert!(bytes.len() < 48 || (bytes[0] | bytes[8]) & 0x80 != 0 || bytes[..16] == [0; 16]),
            }
        }
    }

    #[test]
    fn a_checkpoint_goes_through_bytes() {
        let checkpoint =
            Checkpoint { log_ms: 9000, queues_ms: 8000, index_ms: 7, queues_physical: 6, ..Checkpoint::default() };
        assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes()), Some(checkpoint));
        assert_eq!(checkpoint.safe_ms(), 5000);
        assert_eq!(Checkpoint::from_bytes(&[0; 4096]), None);
    }
}

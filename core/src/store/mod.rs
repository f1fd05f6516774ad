//! The store of a broker: one commit log for all topics, a consume queue per topic and queue, an index by key, in the byte
//! formats of the Java store.
//!
//! Invariant: what a caller was told to be durable is below [`Marks::durable`], and that mark only moves over bytes whose
//! sync has completed; queue files and index are projections of the log and can be rebuilt from it.
//!
//! The store is a part of the broker's machine, not a machine: it takes the disk and returns values. Slow work is pushed
//! to a list of [`DiskAsk`]s that the owner turns into outputs, and comes back through [`Store::on_disk`].

use std::ops::Range;

use bytes::Bytes;

use crate::message::Draft;
use crate::node::{Disk, DiskAsk, DiskDone, DiskError, Instant, Now};

/// When a message counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Once it is in the page cache: a power cut may lose the tail (Java `ASYNC_FLUSH`).
    #[default]
    Async,
    /// Once it is durable (Java `SYNC_FLUSH`).
    Sync,
}

/// Settings of a store; Java `MessageStoreConfig`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `flushDiskType`.
    pub flush: Flush,
    /// Bytes of a log file, `mappedFileSizeCommitLog`.
    pub log_file_bytes: u64,
    /// Entries of a queue file (20 bytes each), `mappedFileSizeConsumeQueue` / 20.
    pub queue_file_entries: u64,
    /// Hash slots of an index file, `maxHashSlotNum`.
    pub index_slots: u32,
    /// Entries of an index file, `maxIndexNum`.
    pub index_entries: u32,
    /// Largest body, `maxMessageSize`.
    pub body_bytes_max: usize,
    /// How long an asynchronous store waits before it asks for a sync, `flushIntervalCommitLog`, ms.
    pub flush_ms: u64,
    /// How long queue files may lag behind the log, `flushIntervalConsumeQueue`, ms.
    pub queue_flush_ms: u64,
    /// Age at which a log file may go, `fileReservedTime`, hours.
    pub reserved_hours: u64,
    /// Hours of the day (UTC unless the owner shifts them) at which old files go, `deleteWhen`.
    pub delete_at_hours: Vec<u8>,
    /// Disk use from which old files go whatever the hour, percent, `diskMaxUsedSpaceRatio`.
    pub disk_clean_percent: u8,
    /// Disk use from which files go whatever their age, percent.
    pub disk_force_percent: u8,
    /// Disk use from which writes are refused, percent.
    pub disk_refuse_percent: u8,
    /// Bytes of log that count as being in memory, for the size of a pull (`accessMessageInMemoryMaxRatio` of the RAM).
    pub memory_bytes: u64,
    /// `messageIndexEnable`.
    pub index: bool,
    /// `enabledAppendPropCRC`.
    pub append_prop_crc: bool,
    /// What tells one run of the operating system from the next (on Linux `/proc/sys/kernel/random/boot_id`). While it stays
    /// the same, everything that a killed process wrote is still there, and a restart need not distrust it. Empty: unknown.
    pub boot: String,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            flush: Flush::Async,
            log_file_bytes: 1 << 30,
            queue_file_entries: 300_000,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            body_bytes_max: 4 << 20,
            flush_ms: 500,
            queue_flush_ms: 1000,
            reserved_hours: 72,
            delete_at_hours: vec![4],
            disk_clean_percent: 75,
            disk_force_percent: 85,
            disk_refuse_percent: 90,
            memory_bytes: 4 << 30,
            index: true,
            append_prop_crc: false,
            boot: String::new(),
        }
    }
}

/// Where a message was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number in the queue.
    pub queue_offset: u64,
    /// Its position in the log.
    pub physical: u64,
    /// The position behind it: durable once [`Marks::durable`] reaches this, readable once [`Marks::written`] does.
    pub end: u64,
    /// The store time that was stamped, ms since 1970.
    pub store_ms: u64,
}

/// Why a message was not put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Body, properties, topic or record over a limit → MESSAGE_ILLEGAL (13).
    #[error("{0}")]
    Illegal(String),
    /// The store takes no writes: recovering, disk full, or a sync failed → SERVICE_NOT_AVAILABLE (14).
    #[error("{0}")]
    Unavailable(String),
    /// The next log file is not there yet → SYSTEM_BUSY (2).
    #[error("the next log file is still being allocated")]
    Busy,
}

/// Positions in the log; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// First byte that is still kept.
    pub begin: u64,
    /// End of what was put.
    pub appended: u64,
    /// End of what is in the page cache. With [`Flush::Async`] it is readable, with [`Flush::Sync`] once it is durable (as in
    /// Java: no consumer sees what a power cut can take back).
    pub written: u64,
    /// End of what survives a power cut.
    pub durable: u64,
}

/// What a queue reader asks for.
#[derive(Clone, Debug)]
pub struct Get<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: u32,
    /// First queue offset.
    pub offset: u64,
    /// Most messages.
    pub max: u32,
    /// Most bytes; the first message comes whatever its size.
    pub max_bytes: usize,
    /// Tag hashes to keep (`(int) tagsCode`); `None` keeps all.
    pub tags: Option<&'a [i32]>,
}

/// What a queue reader gets; the names are Java's `GetMessageStatus`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum GetStatus {
    Found,
    NoMatchedMessage,
    MessageWasRemoving,
    NoMatchedLogicQueue,
    NoMessageInQueue,
    OffsetOverflowOne,
    OffsetOverflowBadly,
    OffsetTooSmall,
    OffsetFoundNull,
    /// The records are on disk: the store has asked for them; ask again after the completion that
    /// [`Store::on_disk`] reports for this ticket.
    Cold(u64),
    /// The disk failed to read.
    Failed(DiskError),
}

/// Why a question has no answer now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are on disk: the store has asked for them; ask the same again after [`StoreNews::Warm`] with this ticket.
    #[error("the bytes are being read from disk")]
    Cold(u64),
    /// The disk failed to read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Answer to a [`Get`].
#[derive(Clone, Debug)]
pub struct Got {
    /// What happened.
    pub status: GetStatus,
    /// Whole records, in order, not copied: adjacent ones share a slice.
    pub records: Vec<Bytes>,
    /// How many records.
    pub count: u32,
    /// Where to go on.
    pub next_offset: u64,
    /// First offset of the queue.
    pub min_offset: u64,
    /// End of the queue.
    pub max_offset: u64,
}

/// A message became readable in a queue: wakes held pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Topic.
    pub topic: std::sync::Arc<str>,
    /// Queue.
    pub queue_id: u32,
    /// End of the queue now.
    pub max_offset: u64,
    /// Tag hash of the message; `None` when several came at once (then whoever waits looks again).
    pub tags_code: Option<i64>,
}

/// What came out of a completion or a step of recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreNews {
    /// Recovery went on: bytes scanned so far and in all.
    Recovering {
        /// Done.
        done: u64,
        /// In all, as far as known.
        total: u64,
    },
    /// Recovery is over; puts and gets are taken from here on. The texts name what was cut or left alone.
    Ready(Vec<String>),
    /// The store cannot be opened: which file, why, and the cure. Nothing was deleted.
    Refused(String),
    /// [`Marks::durable`] grew.
    Durable,
    /// The records of this ticket are in memory.
    Warm(u64),
    /// A sync or write failed: no more writes are taken, and nothing beyond [`Marks::durable`] is ever acknowledged.
    Poisoned(String),
    /// Something the operator should read.
    Notice(String),
}

/// A message found by key, id or position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Position in the log.
    pub physical: u64,
    /// The whole record.
    pub record: Bytes,
}

#[allow(dead_code, unused_variables, clippy::todo, missing_docs)]
mod sketch {
    use super::*;
    /// The store. (Signatures that broker and store agree on; the owner of this folder replaces this sketch.)
    pub struct Store;
    impl Store {
        pub fn new(config: StoreConfig) -> Store {
            todo!()
        }
        /// Begins recovery: reads directories, checkpoint and abort mark, and creates the abort mark.
        pub fn start(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Vec<StoreNews> {
            todo!()
        }
        /// One bounded piece of background work (about 1 MiB of recovery scan, a slice of queue flushes, retention); call when
        /// `wake_at` has come. `wake_at() == Some(now)` while recovery has more to do.
        pub fn wake(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Vec<StoreNews> {
            todo!()
        }
        pub fn wake_at(&self) -> Option<Instant> {
            todo!()
        }
        pub fn on_disk(
            &mut self,
            now: Now,
            done: DiskDone,
            disk: &mut dyn Disk,
            asks: &mut Vec<DiskAsk>,
        ) -> Vec<StoreNews> {
            todo!()
        }
        /// Takes a message into the tail of the log (memory) and assigns its offsets.
        pub fn put(&mut self, now: Now, message: &Draft) -> Result<Placed, PutError> {
            todo!()
        }
        /// Takes a batch, all or nothing, consecutive in queue and file.
        pub fn put_batch(&mut self, now: Now, messages: &[Draft]) -> Result<Vec<Placed>, PutError> {
            todo!()
        }
        /// End of a batch of inputs: writes the tail into the page cache, dispatches it to queues and index, asks for a sync
        /// (at most one in flight) when the flush policy says so; tells which queues grew.
        pub fn settle(
            &mut self,
            now: Now,
            disk: &mut dyn Disk,
            asks: &mut Vec<DiskAsk>,
            arrivals: &mut Vec<Arrival>,
        ) -> Vec<StoreNews> {
            todo!()
        }
        pub fn marks(&self) -> Marks {
            todo!()
        }
        /// None while writes are taken, else why not.
        pub fn refuses_writes(&self) -> Option<&str> {
            todo!()
        }
        pub fn get(&mut self, get: &Get<'_>, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Got {
            todo!()
        }
        /// `min..max` of a queue; `0..0` when it does not exist.
        pub fn queue_range(&self, topic: &str, queue_id: u32) -> Range<u64> {
            todo!()
        }
        /// Every queue with its range.
        pub fn queues(&self) -> Box<dyn Iterator<Item = (&str, u32, Range<u64>)> + '_> {
            todo!()
        }
        /// Whether the first entry of a queue points at a record that is still in memory (see QUERY_CONSUMER_OFFSET).
        pub fn head_in_memory(&mut self, topic: &str, queue_id: u32, disk: &mut dyn Disk) -> bool {
            todo!()
        }
        /// First offset whose store time is at or after `ms` (`upper`: last at or before), Java's corner cases included.
        pub fn offset_by_time(
            &mut self,
            topic: &str,
            queue_id: u32,
            ms: i64,
            upper: bool,
            disk: &mut dyn Disk,
            asks: &mut Vec<DiskAsk>,
        ) -> Result<u64, Fault> {
            todo!()
        }
        /// Store time of the message at a queue offset.
        pub fn store_time(
            &mut self,
            topic: &str,
            queue_id: u32,
            offset: u64,
            disk: &mut dyn Disk,
            asks: &mut Vec<DiskAsk>,
        ) -> Result<Option<i64>, Fault> {
            todo!()
        }
        /// The record that begins at a position of the log.
        pub fn by_position(
            &mut self,
            physical: u64,
            disk: &mut dyn Disk,
            asks: &mut Vec<DiskAsk>,
        ) -> Result<Option<Hit>, Fault> {
            todo!()
        }
        /// Newest first; the caller filters hash collisions out.
        pub fn by_key(
            &mut self,
            topic: &str,
            key: &str,
            max: usize,
            times_ms: Range<i64>,
            disk: &mut dyn Disk,
            asks: &mut Vec<DiskAsk>,
        ) -> Result<Vec<Hit>, Fault> {
            todo!()
        }
        /// Forgets the queues of a topic (their files go; the log keeps the records until retention takes them).
        pub fn delete_topic(&mut self, topic: &str, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
            todo!()
        }
        /// Begins a clean stop: everything written, synced, checkpointed, abort mark removed. `stopped()` tells when done.
        pub fn stop(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
            todo!()
        }
        pub fn stopped(&self) -> bool {
            todo!()
        }
        /// Replaces settings that may change while running.
        pub fn reconfigure(&mut self, config: StoreConfig) {
            todo!()
        }
        pub fn invariants(&self) {
            todo!()
        }
    }
}
pub use sketch::Store;

//! The store of a broker: one commit log for all topics, a consume queue per topic and queue, an index by key, in the byte
//! formats of the Java store.
//!
//! Invariant: what a caller was told to be durable is below [`Marks::durable`], and that mark only moves over bytes whose
//! sync has completed; queue files and index are projections of the log and can be rebuilt from it.
//!
//! The store is a part of the broker's machine, not a machine: it takes the disk and returns values. Slow work is pushed
//! to a list of [`DiskAsk`]s that the owner turns into outputs, and comes back through [`Store::on_disk`].

mod append;
mod checkpoint;
mod config;
mod damage;
mod entry;
mod flush;
mod index;
mod log;
pub mod memdisk;
mod names;
mod queue;
mod queues;
mod read;
mod recovery;
mod retention;
mod warm;
mod zeros;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::node::{Disk, DiskAsk, DiskDone, DiskError, FileId, Instant, Now, Open};

pub use config::{Flush, StoreConfig};

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

/// What the index finds messages by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label<'a> {
    /// Their unique key, or one of their keys.
    Key(&'a str),
    /// Their tag; Java indexes it since 5.5.
    Tag(&'a str),
}

/// A message found by key, id or position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Position in the log.
    pub physical: u64,
    /// The whole record.
    pub record: Bytes,
}

/// Where in its life a store is.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Not started.
    New,
    /// Recovery is under way.
    Recovering,
    /// Puts and gets are taken.
    Open,
    /// A clean stop is under way.
    Stopping,
    /// A stop is over.
    Stopped,
    /// It cannot be opened.
    Refused,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    phase: Phase,
    log: log::CommitLog,
    queues: queues::Queues,
    index: index::Index,
    warm: warm::Warm,
    recovery: Option<Box<recovery::Recovery>>,
    flusher: flush::Flusher,
    retention: retention::Retention,
    /// Records that are appended and not dispatched.
    dispatches: VecDeque<append::Dispatch>,
    /// End of the last record that is dispatched, and its store time.
    dispatched: u64,
    dispatched_ms: i64,
    /// Topics that were removed, and the position up to which their records are not to be brought back.
    removed: Vec<(Arc<str>, u64)>,
    /// Whether the life before had a clean end.
    ended_well: bool,
    /// Why no write is ever taken again.
    poisoned: Option<String>,
    /// Why no write is taken until there is space.
    full: Option<String>,
    /// Whether a notice was given that writes are refused for want of space, and none since.
    waits_for_space: bool,
    /// When the space is looked at again.
    retry_at: Option<Instant>,
    /// News that wait to be handed out.
    news: Vec<StoreNews>,
    /// Entries on their way into an answer; kept for its room.
    entries: Vec<entry::Entry>,
    /// Damage that readers met.
    damage: damage::Damage,
    /// Whether recovery gave up records, so that queues may end earlier than before.
    gave_up: bool,
    /// Whether there was no log when it was opened.
    began_empty: bool,
    /// When the index is tried again whose slots could not be read.
    index_retry: Option<Instant>,
    /// How often something was settled.
    settles: u64,
    /// The time that was seen last.
    seen: Now,
}

impl Store {
    /// A store that is not started.
    pub fn new(config: StoreConfig) -> Store {
        Store {
            log: log::CommitLog::new(config.log_file_bytes),
            queues: queues::Queues::new(config.queue_file_entries),
            index: index::Index::new(config.index_slots, config.index_entries),
            warm: warm::Warm::default(),
            recovery: None,
            flusher: flush::Flusher::default(),
            retention: retention::Retention::default(),
            dispatches: VecDeque::new(),
            dispatched: 0,
            dispatched_ms: 0,
            removed: Vec::new(),
            ended_well: true,
            poisoned: None,
            full: None,
            waits_for_space: false,
            retry_at: None,
            news: Vec::new(),
            entries: Vec::new(),
            damage: damage::Damage::default(),
            gave_up: false,
            began_empty: false,
            index_retry: None,
            settles: 0,
            seen: Now::default(),
            phase: Phase::New,
            config,
        }
    }

    /// Begins recovery: reads directories, checkpoint and abort mark, and creates the abort mark.
    pub fn start(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Vec<StoreNews> {
        assert!(self.phase == Phase::New, "a store is started once");
        self.see(now);
        self.phase = Phase::Recovering;
        self.recovery = Some(Box::default());
        self.recover_some(now, disk, asks);
        std::mem::take(&mut self.news)
    }

    /// One bounded piece of background work (about 1 MiB of recovery scan, a slice of queue flushes, retention); call when
    /// `wake_at` has come.
    pub fn wake(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Vec<StoreNews> {
        self.see(now);
        match self.phase {
            Phase::Recovering => self.recover_some(now, disk, asks),
            Phase::Open | Phase::Stopping if self.poisoned.is_none() => {
                self.retry_when_full(now, disk, asks);
                self.apply_index(now, disk, asks);
                self.flush_some(now, disk, asks);
                self.retain_some(now, disk, asks);
            }
            _ => {}
        }
        std::mem::take(&mut self.news)
    }

    /// When [`Store::wake`] has something to do, if ever.
    pub fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Recovering => self.recovery_wakes(),
            Phase::Open | Phase::Stopping if self.poisoned.is_none() => {
                let retention = self.retention.wakes_at().filter(|_| self.phase == Phase::Open);
                Instant::first(&[self.flusher_wakes(), self.retry_at, self.index_retry, retention])
            }
            _ => None,
        }
    }

    /// Takes the completion of a [`DiskAsk`] of this store.
    pub fn on_disk(
        &mut self,
        now: Now,
        done: DiskDone,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Vec<StoreNews> {
        self.see(now);
        match done {
            DiskDone::Fetched { fetch, result } => {
                self.news.extend(self.warm.fetched(fetch, result).map(StoreNews::Warm))
            }
            DiskDone::Synced { file, through, result } => self.on_synced(file, through, result, disk, asks),
            DiskDone::Allocated { path, result } => self.on_allocated(now, &path, result, asks),
            DiskDone::Replaced { path, result } => self.on_replaced(&path, result),
            DiskDone::Removed { path, result } => {
                self.on_removed(&path, result);
                self.retention_removed(&path, asks);
            }
        }
        match self.phase {
            Phase::Recovering => self.recover_some(now, disk, asks),
            Phase::Open | Phase::Stopping if self.poisoned.is_none() => {
                self.apply_index(now, disk, asks);
                self.round_some(disk, asks);
                self.round_end(asks);
            }
            _ => {}
        }
        std::mem::take(&mut self.news)
    }

    fn on_synced(
        &mut self,
        file: FileId,
        through: u64,
        result: Result<(), DiskError>,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) {
        if result.as_ref().is_err_and(|why| *why != DiskError::Missing) {
            self.mark_failed_sync(disk);
        }
        if self.phase == Phase::Recovering {
            return self.recovery_synced(file, result);
        }
        if !self.log.is_syncing(file, through) {
            return self.round_synced(file, result);
        }
        match result {
            Ok(()) => {
                if self.log.synced() {
                    self.news.push(StoreNews::Durable);
                }
                let goes_on = self.config.flush == Flush::Sync || self.flusher.wants_durable(self.log.marks().durable);
                if goes_on && self.poisoned.is_none() {
                    asks.extend(self.log.sync());
                }
            }
            Err(why) => self.poison(&format!("syncing the commit log failed: {why}")),
        }
    }

    fn on_allocated(&mut self, now: Now, path: &str, result: Result<FileId, DiskError>, asks: &mut Vec<DiskAsk>) {
        if !self.log.is_allocating(path) {
            return;
        }
        if let Ok(file) = result {
            // Name and length are durable before anything is.
            asks.push(DiskAsk::Sync { file, through: 0 });
        }
        match self.log.allocated(result) {
            Ok(()) => self.there_is_space(),
            Err(DiskError::Full) => {
                self.disk_is_full(&format!("making {path} of {} bytes", self.config.log_file_bytes), now);
            }
            Err(why) => self.wait_for_space(format!("making {path} failed, and is tried again: {why}"), now),
        }
    }

    fn on_removed(&mut self, path: &str, result: Result<(), DiskError>) {
        self.queues.removed(path);
        if let Some(recovery) = &mut self.recovery {
            recovery.removed(path);
        }
        let failed = result.err().filter(|why| *why != DiskError::Missing);
        if let Some(why) = &failed {
            self.news.push(StoreNews::Notice(format!("removing {path} failed: {why}")));
        }
        self.round_removed(path, failed);
    }

    /// After a failed sync the operating system takes what it covered for clean, although it is not on the disk: whoever reads it
    /// next must write it again. The abort mark says so; it stays, because such a life has no clean end.
    fn mark_failed_sync(&self, disk: &mut dyn Disk) {
        let marked =
            disk.open(names::ABORT, Open::Create { len: 0 }).and_then(|file| disk.write(file, 0, names::FAILED_SYNC));
        if marked.is_ok() {
            crate::sometimes!("failed sync noted for the next life");
        }
    }

    /// From here on no write is taken, and nothing beyond the durable mark is ever acknowledged.
    fn poison(&mut self, why: &str) {
        if self.poisoned.is_none() {
            crate::sometimes!("store poisoned");
            self.poisoned = Some(why.to_owned());
            self.news.push(StoreNews::Poisoned(why.to_owned()));
        }
    }

    /// No write is taken until there is space again.
    fn disk_is_full(&mut self, doing: &str, now: Now) {
        crate::sometimes!("store refuses writes on a full disk");
        self.wait_for_space(
            format!("the disk is full ({doing}): free some space, writes then resume by themselves"),
            now,
        );
    }

    /// Refuses writes and tries again in a second. A wait is told once, however many tries it takes.
    fn wait_for_space(&mut self, why: String, now: Now) {
        if !self.waits_for_space {
            self.waits_for_space = true;
            self.news.push(StoreNews::Notice(why.clone()));
        }
        if !crate::planted!("no-room-forgotten") {
            self.full.get_or_insert(why);
        }
        self.retry_at = Some(now.mono + Duration::from_secs(1));
    }

    /// What a full disk stopped went well.
    fn there_is_space(&mut self) {
        let all_is_well = self.full.is_none() && !self.log.waits_for_file();
        if all_is_well && std::mem::take(&mut self.waits_for_space) {
            crate::sometimes!("store resumes after a full disk");
            self.news.push(StoreNews::Notice("the disk has space again: writes are taken".into()));
        }
    }

    /// Tries again what a full disk stopped.
    fn retry_when_full(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        if self.retry_at.is_none_or(|at| at > now.mono) {
            return;
        }
        self.retry_at = None;
        let usage = disk.usage();
        if usage.free < self.config.log_file_bytes.min(usage.total / 100) && !self.log.has_room() {
            self.retry_at = Some(now.mono + Duration::from_secs(1));
            return;
        }
        self.full = None;
        asks.extend(self.log.allocate());
    }

    /// Positions in the log.
    pub fn marks(&self) -> Marks {
        self.log.marks()
    }

    /// None while writes are taken, else why not.
    pub fn refuses_writes(&self) -> Option<&str> {
        match self.phase {
            Phase::New | Phase::Recovering => Some("the store is recovering"),
            Phase::Stopping | Phase::Stopped => Some("the store is closed"),
            Phase::Refused => Some("the store could not be opened"),
            Phase::Open => {
                self.poisoned.as_deref().or(self.full.as_deref()).or_else(|| self.retention.refuses_writes())
            }
        }
    }

    /// Whether the life before this one ended with a clean stop, or there was none.
    pub fn ended_well(&self) -> bool {
        self.ended_well
    }

    /// Whether recovery cut or skipped something that was in the log: positions that an earlier life handed out may be given out
    /// again.
    pub fn gave_up_records(&self) -> bool {
        self.gave_up
    }

    /// Whether there was no log when the store was opened, and an operator says that there had been one.
    pub fn lost_all(&self) -> bool {
        self.began_empty && self.config.was_lost
    }

    /// Begins a clean stop: everything written, synced, checkpointed, abort mark removed. `stopped()` tells when done.
    pub fn stop(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        self.see(now);
        match self.phase {
            Phase::Open if self.poisoned.is_none() => {
                self.phase = Phase::Stopping;
                if let Err(why) = self.log.write(disk, &mut self.warm) {
                    return self.poison(&format!("writing the commit log failed: {why}"));
                }
                self.flush_some(now, disk, asks);
            }
            Phase::Stopping | Phase::Refused => {}
            // Unfinished or broken: the abort mark stays, and the next start recovers.
            _ => self.phase = Phase::Stopped,
        }
    }

    /// Whether a stop is over, well or not.
    pub fn stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped | Phase::Refused)
            || (self.phase == Phase::Stopping && self.poisoned.is_some())
    }

    /// Replaces settings that may change while running; sizes of files may not.
    pub fn reconfigure(&mut self, config: StoreConfig) {
        let StoreConfig { log_file_bytes, queue_file_entries, index_slots, index_entries, .. } = self.config;
        let boot = std::mem::take(&mut self.config.boot);
        self.config = StoreConfig { log_file_bytes, queue_file_entries, index_slots, index_entries, boot, ..config };
    }

    /// A batch has this time.
    fn see(&mut self, now: Now) {
        self.seen = now;
        self.warm.tick(now.mono);
    }

    /// Panics when the state contradicts itself.
    pub fn invariants(&self) {
        self.log.invariants();
        self.queues.invariants();
        self.index.invariants();
        self.warm.invariants();
        let marks = self.log.marks();
        if matches!(self.phase, Phase::Open | Phase::Stopping) {
            assert!(self.dispatched <= marks.written, "only what is written is dispatched");
        }
        for pair in self.dispatches.iter().zip(self.dispatches.iter().skip(1)) {
            assert!(pair.0.physical < pair.1.physical, "waiting records are in the order of the log");
        }
        for waiting in self.dispatches.iter().filter(|waiting| waiting.queued) {
            let queue = waiting.slot.and_then(|slot| self.queues.get(slot));
            assert!(
                queue.is_none_or(|queue| waiting.queue_offset < queue.next),
                "assigned offsets are below the next one"
            );
        }
    }
}

#[cfg(test)]
mod tests;

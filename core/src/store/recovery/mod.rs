//! Recovery: a state of the store, in bounded steps, each of which can be the last one before the next crash.
//!
//! Invariant: nothing is changed on disk before the directory is understood; what is cut is named; recovering twice gives the
//! same store. The order: look at names and lengths, choose what to believe, open queues and index, scan the log from there,
//! look behind its end, repair, sync, open.

mod look;
mod plan;
mod repair;
mod scan;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Kind, QueueState, Snapshot};
use super::log::LogFile;
use super::{Fault, Phase, Store, StoreNews, names};
use crate::node::{Disk, DiskAsk, DiskError, FileId, Instant, Now, Open};

/// Bytes looked at in one step.
const STEP: usize = 1 << 20;
/// Queues looked at in one step.
const QUEUES_A_STEP: usize = 64;
/// Notes of one kind that are told; more are counted.
const NOTES_MAX: usize = 20;

/// Why a step did not end.
#[derive(Debug)]
enum Halt {
    /// Cold bytes: the same step again when they are there.
    Cold(u64),
    /// The store cannot be opened.
    Refused(String),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        match fault {
            Fault::Cold(ticket) => Halt::Cold(ticket),
            Fault::Disk(why) => Halt::from(why),
        }
    }
}

impl From<DiskError> for Halt {
    fn from(why: DiskError) -> Halt {
        Halt::Refused(format!(
            "the disk failed during recovery: {why}. Nothing was deleted; cure the disk and start again"
        ))
    }
}

/// Where recovery is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Names and lengths.
    #[default]
    Look,
    /// The last log file is short: is it empty?
    Short(u64),
    /// Checkpoint and snapshots.
    Plan,
    /// The queues on disk, from this place of the list on.
    Queues(usize),
    /// Heads of the index files.
    Index,
    /// Slots of the index file that takes entries, from this entry on.
    Slots(u32),
    /// The log, from this position on.
    Scan(u64),
    /// What stands behind a position where no record begins; how far it was looked at.
    Tail(Box<tail::Tail>),
    /// What is cut is copied aside, from this position on.
    Rescue(Box<tail::Tail>, u64),
    /// What is cut is overwritten with zeros, from this position on.
    Zero(Box<tail::Tail>, u64),
    /// Files of queues behind their end, from this slot on.
    Scrub(u32),
    /// First offsets of queues, from this slot on.
    Min(u32),
    /// Everything is asked for: files to be synced, removed and allocated.
    Close,
    /// The answers are waited for.
    Finish,
}

/// What is believed, chosen once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// Our own snapshot of a clean stop: nothing is scanned.
    Clean,
    /// Our own snapshot: scanned from its position on.
    Snapshot,
    /// A clean stop of another broker: queues are read, the log is scanned behind them.
    Foreign,
    /// Queues are believed up to a time that the checkpoint names.
    #[default]
    Checkpoint,
    /// Nothing but the log.
    Nothing,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    stage: Stage,
    trust: Trust,
    waits: Option<u64>,
    idle: bool,
    had_abort: bool,
    /// A sync failed in the life before: what is in memory may not be on the disk, and counts as if it were.
    failed_sync: bool,
    files: Vec<LogFile>,
    /// Topics and queue numbers that have a folder.
    folders: Vec<(Arc<str>, u32)>,
    /// Numbers of the index files.
    index_files: Vec<u64>,
    snapshot: Option<Snapshot>,
    /// The newest snapshot whose claims survive a power cut, when `snapshot` is a later one.
    base: Option<Snapshot>,
    /// Up to where a snapshot called the log durable whose queues are not believed.
    log_durable: Option<u64>,
    checkpoint: Checkpoint,
    /// Whether the operating system ran on since the snapshot.
    same_boot: bool,
    /// Records from here on are given to the queues, to the index.
    queues_from: u64,
    index_from: u64,
    /// End of the last record that a believed queue entry points at.
    entries_end: u64,
    /// Queues as they were before a rebuild.
    before: Vec<(Arc<str>, QueueState)>,
    /// Where the log ends, once known.
    end: Option<u64>,
    last_ms: i64,
    /// Bytes in the middle of the log that are no records.
    damages: Vec<Range<u64>>,
    /// Whether something that was in the log is not kept.
    gave_up: bool,
    /// Whether something was cut or queue files may hold more than they should.
    scrub: bool,
    /// A topic was removed after the snapshot that is believed.
    has_removed: bool,
    scanned_from: Option<u64>,
    /// Log files behind the end, which go.
    cut: Vec<LogFile>,
    repaired: BTreeSet<FileId>,
    syncs: BTreeSet<FileId>,
    removes: BTreeSet<String>,
    notes: Vec<String>,
    odd_records: usize,
}

impl Recovery {
    /// A file is gone.
    pub(super) fn removed(&mut self, path: &str) {
        self.removes.remove(path);
    }

    fn remove(&mut self, path: String, asks: &mut Vec<DiskAsk>) {
        if self.removes.insert(path.clone()) {
            asks.push(DiskAsk::Remove { path: path.into() });
        }
    }

    /// A file was repaired: it is synced before the store opens.
    fn sync(&mut self, file: FileId) {
        self.repaired.insert(file);
    }

    fn files_begin(&self) -> u64 {
        self.files.first().map_or(0, |file| file.begin)
    }

    /// Says something odd about a record, but not a thousand times.
    fn note_record(&mut self, text: impl FnOnce() -> String) {
        self.odd_records += 1;
        if self.odd_records <= NOTES_MAX {
            self.notes.push(text());
        }
    }
}

impl Store {
    /// When recovery goes on by itself.
    pub(super) fn recovery_wakes(&self) -> Option<Instant> {
        let recovery = self.recovery.as_ref()?;
        let waits = recovery.idle || recovery.waits.is_some_and(|ticket| self.warm.is_coming(ticket));
        (!waits).then_some(self.seen.mono)
    }

    /// A sync that recovery asked for has ended.
    pub(super) fn recovery_synced(&mut self, file: FileId, result: Result<(), DiskError>) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.syncs.remove(&file);
        if let Err(why) = result {
            self.refuse(format!("syncing a file during recovery failed: {why}. Nothing was deleted; cure the disk"));
        }
    }

    fn refuse(&mut self, why: String) {
        self.phase = Phase::Refused;
        self.recovery = None;
        self.news.push(StoreNews::Refused(why));
    }

    /// One step.
    pub(super) fn recover_some(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        let Some(mut recovery) = self.recovery.take() else { return };
        if recovery.waits.is_some_and(|ticket| self.warm.is_coming(ticket)) {
            self.recovery = Some(recovery);
            return;
        }
        (recovery.waits, recovery.idle) = (None, false);
        let end = recovery.files.last().map_or(0, |file| file.begin + self.config.log_file_bytes);
        match self.recovery_step(&mut recovery, now, disk, asks) {
            Ok(()) if recovery.stage == Stage::Finish && self.recovery_is_over(&recovery) => {
                if recovery.failed_sync {
                    self.forget_failed_sync(disk);
                }
                self.recovered(*recovery, now);
                return;
            }
            Ok(()) => recovery.idle |= recovery.stage == Stage::Finish,
            Err(Halt::Cold(ticket)) => recovery.waits = Some(ticket),
            Err(Halt::Refused(why)) => {
                if !recovery.had_abort && recovery.stage != Stage::Look {
                    // The store was closed well, and nothing was done to it.
                    asks.push(DiskAsk::Remove { path: names::ABORT.into() });
                }
                return self.refuse(why);
            }
        }
        if let (Stage::Scan(at), Some(from)) = (&recovery.stage, recovery.scanned_from) {
            let (done, total) = (at - from, end.saturating_sub(from));
            self.news.push(StoreNews::Recovering { done, total });
        }
        self.recovery = Some(recovery);
    }

    fn recovery_step(
        &mut self,
        recovery: &mut Recovery,
        now: Now,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Halt> {
        let next = match recovery.stage.clone() {
            Stage::Look => self.look(recovery, disk)?,
            Stage::Short(at) => self.look_at_short_file(recovery, at, disk, asks)?,
            Stage::Plan => self.plan(recovery, disk, asks)?,
            Stage::Queues(from) => self.open_queues(recovery, from, disk, asks)?,
            Stage::Index => self.open_index(recovery, disk, asks)?,
            Stage::Slots(from) => self.rebuild_slots(recovery, from, disk, asks)?,
            Stage::Scan(at) => self.scan(recovery, at, now, disk, asks)?,
            Stage::Tail(tail) => self.look_behind(recovery, *tail, disk, asks)?,
            Stage::Rescue(tail, at) => self.rescue(recovery, tail, at, disk, asks)?,
            Stage::Zero(tail, at) => self.zero(recovery, tail, at, disk)?,
            Stage::Scrub(from) => self.scrub(recovery, from, disk, asks)?,
            Stage::Min(from) => self.correct_mins(recovery, from, disk, asks)?,
            Stage::Close => self.close_recovery(recovery, asks),
            Stage::Finish => self.finish_recovery(recovery, asks),
        };
        recovery.stage = next;
        Ok(())
    }

    /// Everything was written again and synced.
    fn forget_failed_sync(&self, disk: &mut dyn Disk) {
        if let Ok(file) = disk.open(names::ABORT, Open::Existing) {
            // A mark that stays costs the next start some writes.
            let _ = disk.truncate(file, 0);
        }
    }

    fn recovery_is_over(&self, recovery: &Recovery) -> bool {
        let has_file = self.log.has_room() || self.full.is_some();
        recovery.syncs.is_empty() && recovery.removes.is_empty() && recovery.cut.is_empty() && has_file
    }

    /// Opens the store with what was found.
    fn recovered(&mut self, mut recovery: Recovery, now: Now) {
        let marks = self.log.marks();
        assert_eq!(Some(marks.written), recovery.end, "the log is open where the records end");
        assert!(recovery.removes.is_empty() && recovery.syncs.is_empty(), "what was repaired is durable");
        if recovery.had_abort {
            crate::sometimes!("recovered after an unclean stop");
        }
        self.phase = Phase::Open;
        self.ended_well = !recovery.had_abort;
        self.gave_up = recovery.gave_up;
        self.began_empty = recovery.files.is_empty();
        if self.lost_all() {
            crate::sometimes!("store begins anew after its disk was lost");
            recovery.notes.push(
                "the disk of this broker was lost, as storeWasLost says: positions of before are not believed".into(),
            );
        }
        (self.dispatched, self.dispatched_ms) = (marks.written, recovery.last_ms);
        let base = recovery.snapshot.as_ref().map_or(0, |snapshot| snapshot.number);
        let believed = matches!(recovery.trust, Trust::Clean | Trust::Snapshot);
        let written = recovery.snapshot.as_ref().filter(|_| believed);
        // What only the page cache holds is not durable yet: retention must not rely on it.
        let durable = match written {
            Some(snapshot) if snapshot.kind == Kind::Written && !crate::planted!("cache-taken-for-disk") => {
                crate::sometimes!("recovery goes by what the page cache holds");
                recovery.base.as_ref()
            }
            snapshot => snapshot,
        };
        let through = |snapshot: Option<&Snapshot>| snapshot.map_or(0, |snapshot| snapshot.through);
        self.flusher.open(base + 2, through(written), through(durable), recovery.checkpoint, now);
        if let Some(snapshot) = recovery.snapshot.take() {
            if snapshot.kind == Kind::Written {
                self.distrust(&snapshot, recovery.base.as_ref());
            }
            for (topic, through) in snapshot.removed {
                match self.removed.iter_mut().find(|(known, _)| *known == topic) {
                    Some((_, known)) => *known = through.max(*known),
                    None => self.removed.push((topic, through)),
                }
            }
        }
        // What is appended from here on is of the time after the removal.
        self.removed.iter_mut().for_each(|(_, through)| *through = marks.written.min(*through));
        self.retention.open(now);
        if recovery.trust != Trust::Clean && marks.written > 0 {
            self.snapshot_soon(now);
        }
        if recovery.odd_records > NOTES_MAX {
            recovery.notes.push(format!("{} records were odd in all", recovery.odd_records));
        }
        recovery.notes.extend(self.left_alone());
        self.news.push(StoreNews::Ready(recovery.notes));
    }

    /// What a snapshot names beyond the newest durable one is in the page cache and perhaps not on disk: it is synced before
    /// this life claims anything durable.
    fn distrust(&mut self, snapshot: &Snapshot, base: Option<&Snapshot>) {
        let topics = base.map_or(&[][..], |base| &base.topics);
        let known: BTreeMap<&str, &[QueueState]> =
            topics.iter().map(|(topic, queues)| (&**topic, &queues[..])).collect();
        for (topic, queues) in &snapshot.topics {
            let was_removed = snapshot.removed.iter().any(|(removed, _)| removed == topic);
            let known = known.get(&**topic).copied().filter(|_| !was_removed).unwrap_or_default();
            for queue in queues {
                let same = known.binary_search_by_key(&queue.id, |known| known.id);
                let synced = same.map_or(0, |at| known[at].range.end);
                let from = synced.max(queue.files_from.unwrap_or(0));
                if let Some(slot) = self.queues.find(topic, queue.id) {
                    self.queues.distrust(slot, from..queue.range.end.max(from));
                }
            }
        }
        self.index.distrust(base.and_then(|base| base.index).map_or(0, |(number, _)| number));
    }

    /// Messages of a Java broker that wait for something that is not built yet.
    fn left_alone(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (topic, what) in [
            (super::entry::SCHEDULE_TOPIC, "delayed messages"),
            ("rmq_sys_wheel_timer", "timer messages"),
            ("RMQ_SYS_TRANS_HALF_TOPIC", "half messages of transactions"),
        ] {
            let slots = self.queues.slots_of(topic);
            let count: u64 =
                slots.iter().filter_map(|slot| self.queues.get(*slot)).map(|queue| queue.end - queue.min).sum();
            if count > 0 {
                notes.push(format!(
                    "{topic} holds {count} {what}: they are kept untouched, those that are pending stay pending"
                ));
            }
        }
        notes
    }
}

//! Bringing the projections to disk: queues in slices, then a snapshot, from time to time made durable, and the clean stop.
//!
//! Invariant: a snapshot is written only when every entry that it names is in its file; a durable one, and the Java
//! checkpoint, only when these files and the log below it are synced; the abort mark goes last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::checkpoint::{CHECKPOINT_BYTES, Checkpoint, Kind, Snapshot};
use super::{Flush, Phase, Store, StoreNews, names};
use crate::node::{Disk, DiskAsk, DiskError, FileId, Instant, Now, Open};

/// Queues written in one step.
const QUEUES_A_STEP: usize = 64;
/// Ticks of `queue_flush_ms` after which what was written is made durable.
const DURABLE_TICKS: u32 = 10;
/// Queue and index files synced at once, while running and at a stop.
const SYNCS: [usize; 2] = [1, 32];

/// What is on its way to disk.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    /// When an asynchronous store syncs the log.
    log_at: Option<Instant>,
    /// When the next cycle of queue writes begins.
    cycle_at: Option<Instant>,
    /// The state that the cycle under way brings to disk.
    cycle: Option<Snapshot>,
    ticks: u32,
    round: Option<Round>,
    /// Number of the newest snapshot.
    number: u64,
    /// The log is wanted durable up to here.
    sync_target: u64,
    /// Positions of the newest snapshots.
    written: u64,
    durable: u64,
    checkpoint: Checkpoint,
    /// The last cycle, of a clean stop, has begun.
    closing: bool,
}

/// What is being made durable.
#[derive(Debug)]
struct Round {
    snapshot: Snapshot,
    files: Vec<FileId>,
    syncing: BTreeSet<FileId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Queue and index files are synced.
    Files,
    /// The log is to be durable below the snapshot.
    Log,
    /// The snapshot is being replaced.
    Snapshot,
    /// The checkpoint is to be written.
    Checkpoint,
    /// The checkpoint is synced.
    CheckpointSync(FileId),
    /// The abort mark is being removed.
    Abort,
}

impl Flusher {
    /// Goes on from what recovery found.
    pub fn open(&mut self, number: u64, written: u64, durable: u64, checkpoint: Checkpoint, now: Now) {
        *self = Flusher { number, written, durable, checkpoint, cycle_at: Some(now.mono), ..Flusher::default() };
    }

    /// Queue entries of the log below this are on disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }
    /// Whether somebody waits for the log to be durable beyond this.
    pub fn wants_durable(&self, durable: u64) -> bool {
        durable < self.sync_target
    }
}

impl Store {
    /// When queues, index or log are to be written next.
    pub(super) fn flusher_wakes(&self) -> Option<Instant> {
        let flusher = &self.flusher;
        if self.full.is_some() {
            return flusher.log_at;
        }
        if flusher.cycle.is_some() || (self.phase == Phase::Stopping && self.can_close()) {
            return Some(self.seen.mono);
        }
        let is_held_up = self.phase != Phase::Open || self.index.pending() > 0 || self.queues.has_removals();
        let has_work = !is_held_up && (self.dispatched > flusher.durable || self.queues.has_fresh());
        Instant::first(&[flusher.log_at, flusher.cycle_at.filter(|_| has_work)])
    }

    /// A snapshot is wanted soon, because something changed that the log does not tell.
    pub(super) fn snapshot_soon(&mut self, now: Now) {
        self.flusher.cycle_at = Some(now.mono);
        self.flusher.durable = self.flusher.durable.min(self.dispatched.saturating_sub(1));
        self.flusher.ticks = DURABLE_TICKS;
    }

    /// One slice of what is due.
    pub(super) fn flush_some(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        self.flush_log(now, asks);
        if self.full.is_some() {
            if self.phase == Phase::Stopping {
                self.round_failed("the disk is full: this stop is not a clean one, the next start recovers");
            }
            return;
        }
        let due = self.flusher.cycle_at.is_none_or(|at| at <= now.mono);
        let is_held_up = self.index.pending() > 0 || self.queues.has_removals();
        let idle = self.flusher.cycle.is_none() && !is_held_up;
        let may_close = self.phase == Phase::Stopping && self.can_close();
        if idle && (may_close || (due && self.phase == Phase::Open)) {
            self.begin_cycle(now, may_close);
        }
        if self.flusher.cycle.is_some() {
            let most = if crate::buggify!("small slice of queue writes") { 1 } else { QUEUES_A_STEP };
            match self.queues.write_some(most, disk, &mut self.warm) {
                Ok(true) => {
                    self.end_cycle(now, disk);
                    self.there_is_space();
                }
                Ok(false) => {}
                Err(why) => self.projection_failed(&why, now),
            }
        }
        self.round_some(disk, asks);
    }

    /// The asynchronous flush, and at a stop the last one.
    fn flush_log(&mut self, now: Now, asks: &mut Vec<DiskAsk>) {
        let marks = self.log.marks();
        if self.phase == Phase::Stopping || self.flusher.log_at.is_some_and(|at| at <= now.mono) {
            self.flusher.log_at = None;
            self.flusher.sync_target = marks.written;
            asks.extend(self.log.sync());
        }
    }

    /// Called at the end of every settle: an asynchronous store syncs what was written, in a while.
    pub(super) fn flush_log_later(&mut self, now: Now) {
        let marks = self.log.marks();
        if self.phase == Phase::Open
            && self.config.flush == Flush::Async
            && marks.durable < marks.written
            && self.flusher.log_at.is_none()
        {
            self.flusher.log_at = Some(now.mono + Duration::from_millis(self.config.flush_ms));
        }
    }

    /// Whether a clean stop may write its last snapshot.
    fn can_close(&self) -> bool {
        let marks = self.log.marks();
        let is_whole = marks.durable == marks.appended && self.dispatches.is_empty() && self.index.pending() == 0;
        let is_free = is_whole && !self.queues.has_removals();
        is_free && !self.flusher.closing && self.flusher.round.is_none() && self.flusher.cycle.is_none()
    }

    fn begin_cycle(&mut self, now: Now, closing: bool) {
        let interval = Duration::from_millis(self.config.queue_flush_ms);
        self.flusher.cycle_at = Some(now.mono + interval);
        if !closing && crate::buggify!("late queue flush") {
            return;
        }
        self.flusher.ticks += 1;
        let is_durable_due = self.flusher.ticks >= DURABLE_TICKS && self.dispatched > self.flusher.durable;
        if !closing && self.dispatched == self.flusher.written && !self.queues.has_fresh() && !is_durable_due {
            return;
        }
        let marks = self.log.marks();
        self.flusher.number += 1;
        self.flusher.closing = closing;
        self.removed.retain(|(_, through)| *through > marks.begin);
        let through = if closing { marks.appended } else { self.dispatched };
        self.flusher.cycle = Some(Snapshot {
            kind: if closing { Kind::Clean } else { Kind::Written },
            number: self.flusher.number,
            boot: self.config.boot.clone(),
            log_begin: marks.begin,
            through,
            durable: marks.durable,
            store_ms: self.dispatched_ms,
            index: self.index.state(),
            topics: Snapshot::topics_of(&self.queues),
            removed: self.removed.clone(),
        });
        self.queues.begin_cycle();
    }

    /// Every queue of the cycle is written.
    fn end_cycle(&mut self, now: Now, disk: &mut dyn Disk) {
        let Some(snapshot) = self.flusher.cycle.take() else { return };
        if let Err(why) = self.write_snapshot(&snapshot, disk) {
            self.flusher.closing = false;
            return self.projection_failed(&why, now);
        }
        self.flusher.written = self.flusher.written.max(snapshot.through);
        let closing = snapshot.kind == Kind::Clean;
        if self.flusher.round.is_some() || (self.flusher.ticks < DURABLE_TICKS && !closing) {
            return;
        }
        self.flusher.ticks = 0;
        if let Err(why) = self.index.write_all(disk, &mut self.warm) {
            self.flusher.closing = false;
            return self.projection_failed(&why, now);
        }
        let mut files = self.queues.take_touched(disk);
        files.extend(self.index.take_touched());
        let kind = if closing { Kind::Clean } else { Kind::Durable };
        let snapshot = Snapshot { kind, ..snapshot };
        self.flusher.round = Some(Round { snapshot, files, syncing: BTreeSet::new(), stage: Stage::Files });
    }

    /// The snapshot that is good while the operating system runs on.
    fn write_snapshot(&mut self, snapshot: &Snapshot, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.index.write_entries(disk, &mut self.warm)?;
        if self.config.boot.is_empty() || snapshot.kind == Kind::Clean {
            return Ok(());
        }
        let side = usize::from(snapshot.number % 2 == 1);
        let file = disk.open(names::SNAPSHOTS_WARM[side], Open::Create { len: 0 })?;
        let bytes = snapshot.to_bytes();
        disk.write(file, 0, &bytes)?;
        self.warm.wrote(file, 0, bytes.len());
        Ok(())
    }

    /// Takes the round under way as far as it goes without waiting.
    pub(super) fn round_some(&mut self, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        let most = SYNCS[usize::from(self.phase == Phase::Stopping)];
        let Some(round) = &mut self.flusher.round else { return };
        if round.stage == Stage::Files {
            while round.syncing.len() < most {
                let Some(file) = round.files.pop() else { break };
                if round.syncing.insert(file) {
                    asks.push(DiskAsk::Sync { file, through: 0 });
                }
            }
            if !round.syncing.is_empty() {
                return;
            }
            round.stage = Stage::Log;
        }
        if round.stage == Stage::Log {
            if self.log.marks().durable < round.snapshot.through {
                self.flusher.sync_target = self.flusher.sync_target.max(round.snapshot.through);
                asks.extend(self.log.sync());
                return;
            }
            round.snapshot.durable = self.log.marks().durable;
            round.stage = Stage::Snapshot;
            let bytes = round.snapshot.to_bytes().into();
            asks.push(DiskAsk::Replace { path: names::SNAPSHOT.into(), bytes });
        }
        if round.stage == Stage::Checkpoint {
            self.write_checkpoint(disk, asks);
        }
    }

    /// The Java checkpoint: everything up to the store time of the snapshot is durable everywhere.
    fn write_checkpoint(&mut self, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        let round = self.flusher.round.as_mut().expect("the caller has seen it");
        let (ms, through) = (round.snapshot.store_ms, round.snapshot.through);
        let checkpoint = &mut self.flusher.checkpoint;
        (checkpoint.log_ms, checkpoint.queues_ms, checkpoint.index_ms) = (ms, ms, ms);
        checkpoint.queues_physical = i64::try_from(through).expect("positions fit into 63 bits");
        let written = disk.open(names::CHECKPOINT, Open::Create { len: CHECKPOINT_BYTES }).and_then(|file| {
            disk.write(file, 0, &checkpoint.to_bytes())?;
            Ok(file)
        });
        match written {
            Ok(file) => {
                round.stage = Stage::CheckpointSync(file);
                asks.push(DiskAsk::Sync { file, through: 0 });
            }
            Err(why) => self.round_failed(&format!("writing the checkpoint failed: {why}")),
        }
        self.round_end(asks);
    }

    /// A sync that is not one of the log has ended.
    pub(super) fn round_synced(&mut self, file: FileId, result: Result<(), DiskError>) {
        let Some(round) = &mut self.flusher.round else { return };
        match result {
            Ok(()) => {}
            // It was removed meanwhile, by retention or with its topic.
            Err(DiskError::Missing) => {}
            Err(why) => {
                return self.poison(&format!("syncing a consume queue, the index or the checkpoint failed: {why}"));
            }
        }
        if round.stage == Stage::CheckpointSync(file) {
            self.flusher.durable = round.snapshot.through;
            round.stage = Stage::Abort;
        } else {
            round.syncing.remove(&file);
        }
    }

    /// After the checkpoint: the round is over, or the abort mark goes.
    pub(super) fn round_end(&mut self, asks: &mut Vec<DiskAsk>) {
        let Some(round) = self.flusher.round.as_ref().filter(|round| round.stage == Stage::Abort) else { return };
        let kind = round.snapshot.kind;
        self.flusher.round = None;
        if kind == Kind::Clean {
            assert!(self.phase == Phase::Stopping, "a clean snapshot is the last one");
            asks.push(DiskAsk::Remove { path: names::ABORT.into() });
        }
    }

    /// The snapshot has been replaced, or not.
    pub(super) fn on_replaced(&mut self, path: &str, result: Result<(), DiskError>) {
        if path != names::SNAPSHOT {
            return;
        }
        let Some(round) = self.flusher.round.as_mut().filter(|round| round.stage == Stage::Snapshot) else { return };
        match result {
            Ok(()) => round.stage = Stage::Checkpoint,
            Err(why) => self.round_failed(&format!("writing {} failed: {why}", names::SNAPSHOT)),
        }
    }

    /// Nothing is lost: the next start reads more of the log.
    fn round_failed(&mut self, why: &str) {
        self.flusher.round = None;
        self.news.push(StoreNews::Notice(why.to_owned()));
        if self.phase == Phase::Stopping {
            self.phase = Phase::Stopped;
        }
    }

    /// A file is gone; with the abort mark a clean stop is over.
    pub(super) fn round_removed(&mut self, path: &str, failed: Option<DiskError>) {
        if self.phase == Phase::Stopping && self.flusher.closing && path == names::ABORT {
            assert!(
                failed.is_some() || self.log.marks().durable == self.log.marks().appended,
                "a clean stop keeps all"
            );
            self.phase = Phase::Stopped;
        }
    }
}

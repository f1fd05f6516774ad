//! What to believe: snapshot, checkpoint, queue files, index files; and from where the log has to be scanned.
//!
//! Invariant: entries are believed only below a position for which somebody has promised that they are on disk: our snapshot,
//! a clean stop, or the times of the Java checkpoint.

use std::sync::Arc;

use crate::store::zeros::is_blank;
use bytes::Bytes;

use super::{Halt, QUEUES_A_STEP, Recovery, Stage, Trust};
use crate::message::record::{self, Record, RecordError};
use crate::node::{Disk, DiskAsk, DiskError, Open};
use crate::store::checkpoint::{CHECKPOINT_BYTES, Checkpoint, Kind, Snapshot};
use crate::store::entry::{ENTRY, Entry};
use crate::store::index::{HEAD, Head, Sealed};
use crate::store::queues::Queues;
use crate::store::{Fault, Store, names};

/// Enough of a record to see that it is one and when it was stored.
const RECORD_HEAD: usize = 112;

impl Store {
    /// Reads checkpoint and snapshots and chooses.
    pub(super) fn plan(
        &mut self,
        recovery: &mut Recovery,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let checkpoint = self.small_file(names::CHECKPOINT, CHECKPOINT_BYTES, disk, asks)?;
        recovery.checkpoint = checkpoint.and_then(|bytes| Checkpoint::from_bytes(&bytes)).unwrap_or_default();
        let abort = self.small_file(names::ABORT, names::FAILED_SYNC.len() as u64, disk, asks)?;
        recovery.failed_sync = recovery.had_abort && abort.is_some_and(|bytes| &*bytes == names::FAILED_SYNC);
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for path in [names::SNAPSHOT, names::SNAPSHOTS_WARM[0], names::SNAPSHOTS_WARM[1]] {
            let head = self.small_file(path, 16, disk, asks)?;
            let Some(head) = head.filter(|head| !is_blank(head)) else { continue };
            let Some(len) = Snapshot::len_of(&head).filter(|len| *len < 1 << 30) else {
                damaged.push(path);
                continue;
            };
            let whole = self.small_file(path, len, disk, asks)?;
            match whole.and_then(|bytes| Snapshot::from_bytes(&bytes)) {
                Some(snapshot) => found.push(snapshot),
                None => damaged.push(path),
            }
        }
        for path in damaged {
            crate::sometimes!("damaged snapshot found in recovery");
            recovery.notes.push(format!("{path} is torn or damaged: more of the log is read instead"));
        }
        // A log that our own snapshots speak of is one of ours, whatever its first bytes have become.
        if found.is_empty() {
            self.check_first_record(recovery, disk, asks)?;
        }
        let is_clean = !recovery.had_abort;
        let boot = self.config.boot.clone();
        let ends = recovery.files.last().map_or(0, |file| file.begin + self.config.log_file_bytes);
        let begin = recovery.files_begin();
        found.retain(|snapshot| (begin..=ends).contains(&snapshot.through) && snapshot.log_begin <= begin);
        let clean =
            found.iter().filter(|snapshot| is_clean && snapshot.kind == Kind::Clean).max_by_key(|found| found.number);
        if let Some(clean) = clean.cloned()
            && self.ends_at(clean.through, recovery, disk, asks)?
        {
            return Ok(self.believe(recovery, Trust::Clean, clean));
        }
        // Another broker was here since and stopped well: its queues are whole, our snapshot is of the past.
        if is_clean && !recovery.folders.is_empty() {
            recovery.trust = Trust::Foreign;
            return Ok(Stage::Queues(0));
        }
        let is_warm = !boot.is_empty() && !recovery.failed_sync;
        let is_ours = |snapshot: &&Snapshot| snapshot.kind != Kind::Written || (is_warm && snapshot.boot == boot);
        if let Some(best) = found.iter().filter(is_ours).max_by_key(|found| (found.through, found.number)).cloned() {
            recovery.same_boot = !boot.is_empty() && best.boot == boot;
            let durable = found.iter().filter(|found| found.kind != Kind::Written);
            recovery.base = durable.max_by_key(|found| found.through).cloned();
            return Ok(self.believe(recovery, Trust::Snapshot, best));
        }
        recovery.queues_from = self.safe_position(recovery, disk, asks)?;
        // Queue files alone do not tell on which side of a removal they are.
        if recovery.folders.is_empty() || recovery.queues_from == begin || !self.removed.is_empty() {
            return Ok(self.believe_nothing(recovery));
        }
        (recovery.trust, recovery.scrub) = (Trust::Checkpoint, true);
        Ok(Stage::Queues(0))
    }

    /// Everything is rebuilt from the log.
    fn believe_nothing(&self, recovery: &mut Recovery) -> Stage {
        (recovery.trust, recovery.scrub) = (Trust::Nothing, true);
        recovery.queues_from = recovery.files_begin();
        Stage::Index
    }

    /// Takes queues from a snapshot.
    fn believe(&mut self, recovery: &mut Recovery, trust: Trust, snapshot: Snapshot) -> Stage {
        // Whether the snapshot is older than the removal of a topic.
        let was_removed = |topic: &Arc<str>| {
            let is_news = |(removed, through): &&(Arc<str>, u64)| removed == topic && *through >= snapshot.through;
            self.removed.iter().filter(is_news).any(|removal| !snapshot.removed.contains(removal))
        };
        let gone: Vec<Arc<str>> = snapshot.topics.iter().map(|(topic, _)| topic.clone()).filter(was_removed).collect();
        let mut snapshot = snapshot;
        if !gone.is_empty() && !crate::planted!("removed-topic-comes-back") {
            crate::sometimes!("topic removed after the snapshot that recovery goes by");
            snapshot.topics.retain(|(topic, _)| !gone.contains(topic));
            recovery.has_removed = true;
        }
        if !folders_are_there(&snapshot, recovery) {
            let note = format!("folders of queues are missing below {}: all queues are rebuilt", names::QUEUES);
            recovery.notes.push(note);
            // What it says of the log is as true as before: damage below that is no torn end.
            if !crate::planted!("durable-forgotten") {
                crate::sometimes!("queues are rebuilt below what a snapshot called durable");
                recovery.log_durable = Some(snapshot.durable);
            }
            return self.believe_nothing(recovery);
        }
        for (topic, queues) in &snapshot.topics {
            for queue in queues {
                self.queues.add(topic, queue.id, queue.range.clone(), queue.files_from);
            }
        }
        recovery.trust = trust;
        (recovery.queues_from, recovery.index_from) = (snapshot.through, snapshot.through);
        recovery.last_ms = snapshot.store_ms;
        recovery.scrub = recovery.has_removed || (trust == Trust::Snapshot && !recovery.same_boot);
        recovery.snapshot = Some(snapshot);
        Stage::Index
    }

    /// A store that holds something else than records at its begin is of a foreign format.
    fn check_first_record(
        &mut self,
        recovery: &Recovery,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Halt> {
        let Some(first) = recovery.files.first() else { return Ok(()) };
        let bytes = self.warm.read(first.file, 0, RECORD_HEAD, disk, asks)?;
        let is_empty = bytes.iter().take(8).all(|byte| *byte == 0);
        let is_known = !matches!(Record::parse(&bytes), Err(RecordError::Magic));
        if is_empty || is_known {
            return Ok(());
        }
        Err(Halt::Refused(format!(
            "{} does not begin with a message of a RocketMQ commit log (a DLedger log, another format, or damage): \
             point storePathRootDir to another folder, or restore the file",
            names::log_file(first.begin)
        )))
    }

    /// Whether nothing was appended at a position since.
    fn ends_at(
        &mut self,
        at: u64,
        recovery: &Recovery,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<bool, Halt> {
        let bytes = self.config.log_file_bytes;
        for file in recovery.files.iter().filter(|file| file.begin + bytes > at) {
            let from = at.max(file.begin) - file.begin;
            let len = usize::try_from((bytes - from).min(8)).expect("at most eight");
            let read = self.warm.read(file.file, from, len, disk, asks)?;
            if !is_blank(&read) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Up to where the times of the Java checkpoint promise that queue entries are on disk: the begin of the newest file
    /// whose first record is that old.
    fn safe_position(
        &mut self,
        recovery: &Recovery,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<u64, Halt> {
        let safe_ms = recovery.checkpoint.safe_ms();
        for file in recovery.files.iter().rev() {
            let head = self.warm.read(file.file, 0, RECORD_HEAD, disk, asks)?;
            let is_record = matches!(Record::parse(&head), Ok(_) | Err(RecordError::Short(_)));
            if is_record
                && head.len() == RECORD_HEAD
                && record::store_ms(&head).is_some_and(|ms| ms > 0 && ms <= safe_ms)
            {
                return Ok(file.begin);
            }
        }
        Ok(recovery.files_begin())
    }

    /// Up to `len` bytes from the begin of a file; `None` when it does not exist.
    fn small_file(
        &mut self,
        path: &str,
        len: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Bytes>, Halt> {
        let file = match disk.open(path, Open::Existing) {
            Err(DiskError::Missing) => return Ok(None),
            other => other?,
        };
        let len = usize::try_from(len).expect("small files fit into memory");
        Ok(Some(self.warm.read(file, 0, len, disk, asks)?))
    }

    /// Finds begin and end of the queues that have folders, some in each step.
    pub(super) fn open_queues(
        &mut self,
        recovery: &mut Recovery,
        from: usize,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let to = recovery.folders.len().min(from + QUEUES_A_STEP);
        for n in from..to {
            recovery.stage = Stage::Queues(n);
            let (topic, id) = recovery.folders[n].clone();
            self.open_queue(recovery, &topic, id, disk, asks)?;
        }
        if to < recovery.folders.len() {
            return Ok(Stage::Queues(to));
        }
        if recovery.trust == Trust::Foreign {
            recovery.queues_from = recovery.entries_end.max(recovery.files_begin());
            let ends = recovery.files.last().map_or(0, |file| file.begin + self.config.log_file_bytes);
            if recovery.queues_from > ends {
                recovery
                    .notes
                    .push(format!("entries below {} point behind the log: all queues are rebuilt", names::QUEUES));
                self.queues = Queues::new(self.config.queue_file_entries);
                return Ok(self.believe_nothing(recovery));
            }
        }
        Ok(Stage::Index)
    }

    fn open_queue(
        &mut self,
        recovery: &mut Recovery,
        topic: &str,
        id: u32,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Halt> {
        let Some((first, last)) = self.queue_files(topic, id, disk)? else { return Ok(()) };
        let slot = match self.queues.find(topic, id) {
            Some(slot) => slot,
            None => self.queues.add(topic, id, first..last, Some(first)).0,
        };
        let limit = if recovery.trust == Trust::Foreign { u64::MAX } else { recovery.queues_from };
        let is_behind = |entry: &Entry| !entry.is_filler() && (!entry.is_message() || entry.physical >= limit);
        let end = self.border(slot, first..last, is_behind, disk, asks)?;
        let min = self.border(slot, first..end, Entry::is_message, disk, asks)?;
        if min == end {
            // Nothing but filler or nothing at all: a queue that will begin where the log says.
            self.queues.reset(slot, 0..0, Some(first));
            return Ok(());
        }
        if let Some(entry) = self.queues.entry(slot, end - 1, &mut self.warm, disk, asks)? {
            recovery.entries_end = recovery.entries_end.max(entry.end());
        }
        self.queues.reset(slot, min..end, Some(first));
        Ok(())
    }

    /// First offset in a range whose entry, which may be none, satisfies `is_right`.
    fn border(
        &mut self,
        slot: u32,
        range: std::ops::Range<u64>,
        is_right: impl Fn(&Entry) -> bool,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<u64, Fault> {
        let (mut low, mut high) = (range.start, range.end);
        let mut found = Vec::with_capacity(1);
        while low < high {
            let middle = low + (high - low) / 2;
            found.clear();
            self.queues.read(slot, middle..middle + 1, &mut found, &mut self.warm, disk, asks)?;
            let none = Entry { physical: 0, size: 0, tags_code: 0 };
            if is_right(found.first().unwrap_or(&none)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// First and last entry that the files of a queue have room for.
    fn queue_files(&self, topic: &str, id: u32, disk: &mut dyn Disk) -> Result<Option<(u64, u64)>, Halt> {
        let expected = self.config.queue_file_entries * ENTRY;
        let mut range: Option<(u64, u64)> = None;
        for entry in disk.list(&names::queue_folder(topic, id))? {
            let path = format!("{}/{}", names::queue_folder(topic, id), entry.name);
            let Some(begin) = names::file_begin(&entry.name) else {
                return Err(Halt::Refused(format!(
                    "{path} is not a file of a consume queue: move it out of the folder"
                )));
            };
            let fits = (entry.len == expected || entry.len == 0) && begin % expected == 0;
            let follows = range.is_none_or(|(_, end)| end * ENTRY == begin);
            if !fits || !follows {
                let len = entry.len;
                return Err(Halt::Refused(format!(
                    "{path} has {len} bytes or does not follow the file before it, the queue files of this broker have \
                     {expected}: set mappedFileSizeConsumeQueue to what the store was made with, or move the folder {} \
                     away: it is then rebuilt from the log",
                    names::QUEUES
                )));
            }
            let first = range.map_or(begin / ENTRY, |(first, _)| first);
            range = Some((first, (begin + expected) / ENTRY));
        }
        Ok(range)
    }

    /// Reads the heads of the index files and decides which are kept.
    pub(super) fn open_index(
        &mut self,
        recovery: &mut Recovery,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let begin = recovery.files_begin();
        if !self.config.index {
            recovery.index_from = u64::MAX;
            return Ok(self.scan_from(recovery));
        }
        let mut kept = Vec::new();
        let snapshot = recovery.snapshot.as_ref().map(|snapshot| snapshot.index);
        let mut gone = Vec::new();
        for number in recovery.index_files.iter().copied() {
            let file = disk.open(&names::index_file(number), Open::Existing)?;
            let bytes = self.warm.read(file, 0, HEAD as usize, disk, asks)?;
            let head = if bytes.len() == HEAD as usize { Head::from_bytes(&bytes) } else { Head::default() };
            let head = match snapshot {
                Some(Some((active, head))) if active == number => Some(head),
                Some(state) => (state.is_some_and(|(active, _)| number < active) && head.count > 1).then_some(head),
                None if recovery.trust == Trust::Foreign => (head.count > 1).then_some(head),
                None if recovery.trust == Trust::Nothing => None,
                None => (head.count > 1 && head.end_ms <= recovery.checkpoint.index_ms).then_some(head),
            };
            match head {
                Some(head) if gone.is_empty() && self.index.fits(&head) => kept.push(Sealed { number, file, head }),
                _ => {
                    self.warm.forget(file);
                    gone.push(number);
                }
            }
        }
        gone.into_iter().for_each(|number| recovery.remove(names::index_file(number), asks));
        // With a snapshot the files are whole up to its position, unless the active one is missing.
        let is_whole = match snapshot {
            Some(Some((active, _))) => kept.last().is_some_and(|last| last.number == active),
            Some(None) => true,
            None => false,
        };
        if !is_whole {
            let last = kept.last().map(|last| last.head.end_physical);
            recovery.index_from = match (recovery.trust, last) {
                (_, None) => begin,
                (Trust::Foreign, Some(_)) => recovery.queues_from,
                (_, Some(end)) => end.max(begin),
            };
        }
        let is_clean = matches!(recovery.trust, Trust::Clean | Trust::Foreign);
        self.index.open(kept, !is_clean);
        if !is_whole {
            self.index.know_last(&mut self.warm, disk, asks)?;
        }
        if is_clean {
            return Ok(self.scan_from(recovery));
        }
        self.index.forget_slots();
        Ok(Stage::Slots(1))
    }

    /// Rebuilds the slots of the index file that takes entries.
    pub(super) fn rebuild_slots(
        &mut self,
        recovery: &mut Recovery,
        from: u32,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let next = self.index.rebuild_some(from, &mut self.warm, disk, asks)?;
        Ok(next.map_or_else(|| self.scan_from(recovery), Stage::Slots))
    }

    /// Where the scan begins, or where it would if there is nothing to scan.
    fn scan_from(&mut self, recovery: &mut Recovery) -> Stage {
        let mut at = recovery.queues_from.min(recovery.index_from).max(recovery.files_begin());
        if recovery.trust == Trust::Foreign {
            // As Java does: the file that the last entry points into is read from its begin.
            at = recovery.files.iter().rev().map(|file| file.begin).find(|begin| *begin <= at).unwrap_or(at);
        }
        if recovery.files.is_empty() || (recovery.trust == Trust::Clean && at >= recovery.queues_from) {
            recovery.end = Some(recovery.queues_from);
            return Stage::Scrub(0);
        }
        recovery.scanned_from = Some(at);
        Stage::Scan(at)
    }
}

/// Whether the folders of all queues that a snapshot names are there: somebody may have removed them to have them rebuilt.
fn folders_are_there(snapshot: &Snapshot, recovery: &Recovery) -> bool {
    let mut folders: Vec<(&str, u32)> = recovery.folders.iter().map(|(topic, id)| (&**topic, *id)).collect();
    folders.sort_unstable();
    snapshot.topics.iter().all(|(topic, queues)| {
        let mut with_files = queues.iter().filter(|queue| queue.files_from.is_some());
        with_files.all(|queue| folders.binary_search(&(topic, queue.id)).is_ok())
    })
}

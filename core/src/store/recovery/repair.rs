//! After the scan: queue files lose what stands behind their end, first offsets are corrected, and all that recovery relied on
//! becomes durable.
//!
//! Invariant: when the store opens, no entry points behind the end of the log, and everything below that end is durable.

use super::{Halt, QUEUES_A_STEP, Recovery, Stage, Trust};
use crate::node::{Disk, DiskAsk, Open};
use crate::store::entry::ENTRY;
use crate::store::zeros::is_blank;
use crate::store::{Store, names};

/// Bytes behind the end of a queue that are looked at together.
const CHUNK: usize = 16 * 1024;
/// Zeros behind which nothing is looked for any more.
const ZEROS_MAX: usize = 128 * 1024;

impl Store {
    /// Looks behind the end of some queues.
    pub(super) fn scrub(
        &mut self,
        recovery: &mut Recovery,
        from: u32,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        if from == 0 {
            self.restore_known(recovery);
        }
        if !recovery.scrub {
            return Ok(Stage::Min(0));
        }
        if from == 0 {
            self.remove_unknown(recovery, disk, asks)?;
        }
        let to = self.queues.slots().min(from + QUEUES_A_STEP as u32);
        for slot in from..to {
            // A cold read comes back to this one, the first one too.
            recovery.stage = Stage::Scrub(slot);
            if slot == 0 && crate::planted!("first-queue-not-scrubbed") {
                continue;
            }
            self.scrub_queue(recovery, slot, disk, asks)?;
        }
        Ok(if to < self.queues.slots() { Stage::Scrub(to) } else { Stage::Min(0) })
    }

    /// Files of queues that began after the snapshot and of which no record is left: their entries would stand behind the end of the
    /// queue that begins anew.
    fn remove_unknown(
        &self,
        recovery: &mut Recovery,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Halt> {
        let is_whole = recovery.trust == Trust::Nothing && recovery.files_begin() == 0;
        if recovery.trust != Trust::Snapshot && !is_whole {
            return Ok(());
        }
        let unknown = recovery.folders.iter().filter(|(topic, id)| self.queues.find(topic, *id).is_none());
        for (topic, id) in unknown.cloned().collect::<Vec<_>>() {
            for entry in disk.list(&names::queue_folder(&topic, id))? {
                if let Some(begin) = names::file_begin(&entry.name) {
                    crate::sometimes!("queue removed of which no record is left");
                    recovery.remove(names::queue_file(&topic, id, begin), asks);
                }
            }
        }
        Ok(())
    }

    /// Queues of which the log holds no record any more keep their numbers after a rebuild.
    fn restore_known(&mut self, recovery: &mut Recovery) {
        for (topic, state) in std::mem::take(&mut recovery.before) {
            if self.queues.find(&topic, state.id).is_none() && recovery.files_begin() > 0 {
                self.queues.add(&topic, state.id, state.range, state.files_from);
            }
        }
    }

    fn scrub_queue(
        &mut self,
        recovery: &mut Recovery,
        slot: u32,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Halt> {
        let file_entries = self.queues.file_entries();
        let Some(queue) = self.queues.get(slot) else { return Ok(()) };
        let (topic, id, end, first) = (queue.topic.clone(), queue.id, queue.end, queue.files_from);
        let first = first.unwrap_or(queue.written / file_entries * file_entries);
        for entry in disk.list(&names::queue_folder(&topic, id))? {
            let Some(begin) = names::file_begin(&entry.name).map(|begin| begin / ENTRY) else { continue };
            let path = names::queue_file(&topic, id, begin * ENTRY);
            let is_old = begin + file_entries <= first;
            let is_behind = begin >= end && begin > first;
            if is_old || is_behind {
                recovery.remove(path, asks);
            } else if begin + file_entries > end {
                let file = disk.open(&path, Open::Existing)?;
                let (mut at, limit) = (end.saturating_sub(begin) * ENTRY, file_entries * ENTRY);
                let mut zeros = 0;
                while at < limit && zeros < ZEROS_MAX {
                    let len = CHUNK.min((limit - at) as usize);
                    let bytes = self.warm.read(file, at, len, disk, asks)?;
                    if bytes.is_empty() {
                        break;
                    }
                    zeros += bytes.len();
                    if !is_blank(&bytes) {
                        crate::sometimes!("entries behind the end of a queue removed");
                        disk.write(file, at, &vec![0; bytes.len()])?;
                        self.warm.wrote(file, at, bytes.len());
                        recovery.sync(file);
                        zeros = 0;
                    }
                    at += bytes.len() as u64;
                }
            }
        }
        Ok(())
    }

    /// Corrects the first offsets of some queues, when the log begins later than they knew.
    pub(super) fn correct_mins(
        &mut self,
        recovery: &mut Recovery,
        from: u32,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let begin = recovery.files_begin();
        let is_known = recovery.snapshot.as_ref().is_some_and(|snapshot| snapshot.log_begin == begin);
        if begin == 0 || is_known {
            return Ok(Stage::Close);
        }
        let to = self.queues.slots().min(from + QUEUES_A_STEP as u32);
        for slot in from..to {
            recovery.stage = Stage::Min(slot);
            self.queues.correct_min(slot, begin, &mut self.warm, disk, asks)?;
        }
        Ok(if to < self.queues.slots() { Stage::Min(to) } else { Stage::Close })
    }

    /// Opens the log and asks for what has to be durable, gone or there before the store opens.
    pub(super) fn close_recovery(&mut self, recovery: &mut Recovery, asks: &mut Vec<DiskAsk>) -> Stage {
        let end = recovery.end.expect("the scan is over");
        for file in &recovery.cut {
            self.warm.forget(file.file);
            recovery.repaired.remove(&file.file);
        }
        self.log.open(recovery.files.clone(), end);
        let bytes = self.log.file_bytes();
        if let Some(from) = recovery.scanned_from {
            let from = from.min(recovery.snapshot.as_ref().map_or(from, |snapshot| snapshot.durable));
            let scanned = recovery.files.iter().filter(|file| file.begin + bytes > from && file.begin < end);
            let scanned: Vec<_> = scanned.map(|file| file.file).collect();
            recovery.repaired.extend(scanned);
        }
        recovery.syncs = std::mem::take(&mut recovery.repaired);
        asks.extend(recovery.syncs.iter().map(|file| DiskAsk::Sync { file: *file, through: 0 }));
        self.finish_recovery(recovery, asks)
    }

    /// Files that were cut go one by one, the last first: a power cut in between must not leave a gap. The file for the next record is
    /// asked for when nothing of its name is being removed.
    pub(super) fn finish_recovery(&mut self, recovery: &mut Recovery, asks: &mut Vec<DiskAsk>) -> Stage {
        while (recovery.removes.is_empty() || crate::planted!("cut-files-go-together"))
            && let Some(last) = recovery.cut.pop()
        {
            crate::sometimes!("log files behind the end removed");
            recovery.remove(names::log_file(last.begin), asks);
        }
        if recovery.removes.is_empty() && !self.log.has_room() && self.full.is_none() {
            asks.extend(self.log.allocate());
        }
        Stage::Finish
    }
}

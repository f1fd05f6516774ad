//! The first look: names and lengths of everything, before anything is changed.
//!
//! Invariant: a directory that is not understood is refused by the name of the file, with the cure, and left as it is.

use crate::store::zeros::is_blank;
use std::sync::Arc;

use super::{Halt, Recovery, STEP, Stage};
use crate::node::{Disk, DiskAsk, Entry, Open};
use crate::store::log::LogFile;
use crate::store::{Store, names};

impl Store {
    /// Reads the directories and checks names and lengths.
    pub(super) fn look(&mut self, recovery: &mut Recovery, disk: &mut dyn Disk) -> Result<Stage, Halt> {
        recovery.had_abort = disk.list("")?.iter().any(|entry| entry.name == names::ABORT);
        let logs = disk.list(names::LOG)?;
        let last_len = self.check_logs(&logs)?;
        for topic in disk.list(names::QUEUES)?.into_iter().filter(|entry| entry.dir) {
            let name: Arc<str> = topic.name.into();
            for queue in disk.list(&format!("{}/{name}", names::QUEUES))? {
                match queue.name.parse() {
                    Ok(id) if queue.dir => recovery.folders.push((name.clone(), id)),
                    _ => {
                        let odd = format!("{}/{name}/{}", names::QUEUES, queue.name);
                        recovery.notes.push(format!("{odd} is not the folder of a queue and was left alone"));
                    }
                }
            }
        }
        self.check_index(recovery, disk)?;
        if logs.is_empty() {
            self.refuse_queues_without_log(recovery, disk)?;
        }
        for entry in &logs {
            let begin = names::file_begin(&entry.name).expect("checked above");
            let file = disk.open(&names::log_file(begin), Open::Existing)?;
            recovery.files.push(LogFile { begin, file });
        }
        let end = recovery.files.last().map_or(0, |file| file.begin + self.config.log_file_bytes);
        self.log.open(recovery.files.clone(), end);
        // An empty file is what a power cut leaves of a new one.
        for (file, entry) in recovery.files.iter().zip(&logs) {
            if entry.len == 0 && file.begin + self.config.log_file_bytes < end {
                disk.write(file.file, self.config.log_file_bytes - 1, &[0])?;
            }
        }
        let is_short = !logs.is_empty() && last_len < self.config.log_file_bytes;
        if is_short {
            return Ok(Stage::Short(0));
        }
        self.mark_in_use(recovery, disk)
    }

    /// Writes the abort mark, from which the next start sees that this life had no clean end.
    fn mark_in_use(&self, recovery: &mut Recovery, disk: &mut dyn Disk) -> Result<Stage, Halt> {
        let abort = disk.open(names::ABORT, Open::Create { len: 0 })?;
        recovery.sync(abort);
        Ok(Stage::Plan)
    }

    /// Checks names and lengths of the log files; gives the length of the last one.
    fn check_logs(&self, logs: &[Entry]) -> Result<u64, Halt> {
        let expected = self.config.log_file_bytes;
        let mut next = None;
        for (n, entry) in logs.iter().enumerate() {
            let path = format!("{}/{}", names::LOG, entry.name);
            let Some(begin) = names::file_begin(&entry.name).filter(|_| !entry.dir) else {
                return Err(Halt::Refused(format!("{path} is not a file of a commit log: move it out of the folder")));
            };
            let is_last = n + 1 == logs.len();
            let is_odd = entry.len > expected || (entry.len < expected && !is_last);
            if is_odd && entry.len > 0 {
                let len = entry.len;
                return Err(Halt::Refused(format!(
                    "{path} has {len} bytes, the log files of this broker have {expected}: set \
                     mappedFileSizeCommitLog={len} if the store was made with that, or restore the file"
                )));
            }
            if let Some(expected_begin) = next.filter(|next| *next != begin) {
                let missing = names::log_file(expected_begin);
                return Err(Halt::Refused(format!(
                    "{missing} is missing, {path} comes after it: restore it, or move the files before it away to \
                     give up what they hold"
                )));
            }
            next = Some(begin + expected);
        }
        Ok(logs.last().map_or(0, |entry| entry.len))
    }

    fn check_index(&self, recovery: &mut Recovery, disk: &mut dyn Disk) -> Result<(), Halt> {
        if !self.config.index {
            return Ok(());
        }
        let expected = self.index.file_bytes();
        for entry in disk.list(names::INDEX)? {
            let Some(number) = names::parse_index(&entry.name).filter(|_| !entry.dir) else {
                recovery.notes.push(format!("{}/{} is not an index file and was left alone", names::INDEX, entry.name));
                continue;
            };
            if entry.len != expected && entry.len != 0 {
                return Err(Halt::Refused(format!(
                    "{}/{} has {} bytes, the index files of this broker have {expected}: set maxHashSlotNum and \
                     maxIndexNum to what the store was made with, or move the folder {} away: it is then rebuilt",
                    names::INDEX,
                    entry.name,
                    entry.len,
                    names::INDEX
                )));
            }
            recovery.index_files.push(number);
        }
        Ok(())
    }

    /// Java starts empty then, and throws the queues away; here somebody has to say so.
    fn refuse_queues_without_log(&self, recovery: &Recovery, disk: &mut dyn Disk) -> Result<(), Halt> {
        for (topic, id) in &recovery.folders {
            if let Some(entry) = disk.list(&names::queue_folder(topic, *id))?.first() {
                return Err(Halt::Refused(format!(
                    "{}/{} points into a commit log, but {} holds no file: restore {}, or remove {} and {} to start empty",
                    names::queue_folder(topic, *id),
                    entry.name,
                    names::LOG,
                    names::LOG,
                    names::QUEUES,
                    names::INDEX
                )));
            }
        }
        Ok(())
    }

    /// A last log file that is too short is the rest of an interrupted allocation if it holds nothing but zeros.
    pub(super) fn look_at_short_file(
        &mut self,
        recovery: &mut Recovery,
        at: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let last = *recovery.files.last().expect("a short file is a file");
        let bytes = self.warm.read(last.file, at, STEP, disk, asks)?;
        if !is_blank(&bytes) {
            let (path, expected) = (names::log_file(last.begin), self.config.log_file_bytes);
            let len = disk.len(last.file)?;
            return Err(Halt::Refused(format!(
                "{path} has {len} bytes, the log files of this broker have {expected}: set mappedFileSizeCommitLog={len} \
                 if the store was made with that, or restore the file"
            )));
        }
        if bytes.len() == STEP {
            return Ok(Stage::Short(at + STEP as u64));
        }
        crate::sometimes!("allocation of a log file completed by recovery");
        disk.write(last.file, self.config.log_file_bytes - 1, &[0])?;
        self.warm.forget(last.file);
        self.mark_in_use(recovery, disk)
    }
}

//! What stands behind the place where the records end: nothing, the remains of a torn write, or damage with sound records
//! behind it.
//!
//! Invariant: sound records are given up only when the damage before them may be a torn write of a power cut (then what is
//! behind it was never durable), never silently, and never without a copy aside.

use crate::store::zeros::{is_blank, written_len};
use bytes::Bytes;
use memchr::memmem;

use super::{Halt, Recovery, STEP, Stage};
use crate::message::record::{Record, RecordError};
use crate::node::{Disk, DiskAsk, Open};
use crate::store::{Store, names};

/// Zeros behind which nothing is looked for any more in the same file.
const ZEROS_MAX: u64 = 16 << 20;
/// The part of the magic that both versions of a record share.
const MAGIC: [u8; 3] = [0xDA, 0xA3, 0x20];
/// Enough of a record to see its length and age.
const HEAD: usize = 112;

/// How far it was looked, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Where no record begins.
    pub from: u64,
    /// How far it was looked.
    pub at: u64,
    /// Behind the last byte that is not zero.
    pub content_end: u64,
    /// First sound record behind.
    pub sound: Option<u64>,
    /// Whether that record is surely older than the last sync.
    pub sound_is_old: bool,
}

impl Tail {
    pub(super) fn begin(from: u64) -> Tail {
        Tail { from, at: from, content_end: from, sound: None, sound_is_old: false }
    }
}

impl Store {
    /// Looks at about a mebibyte behind the end.
    pub(super) fn look_behind(
        &mut self,
        recovery: &mut Recovery,
        mut tail: Tail,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let Some(file) = self.log.file_at(tail.at) else { return Ok(self.judge(recovery, tail)) };
        let end = file.begin + self.log.file_bytes();
        let len = usize::try_from(end - tail.at).expect("a file fits into an address space").min(STEP);
        let bytes = self.log.read(tail.at, len, &mut self.warm, disk, asks)?.unwrap_or_default();
        let written = written_len(&bytes) as u64;
        if written > 0 {
            tail.content_end = tail.at + written;
            if let Some(sound) = self.find_sound(&tail, &bytes, end, disk, asks)? {
                let head = self.log.read(sound, HEAD.min((end - sound) as usize), &mut self.warm, disk, asks)?;
                tail.sound_is_old = head.is_some_and(|head| recovery.head_is_old(&head));
                tail.sound = Some(sound);
                return Ok(self.judge(recovery, tail));
            }
        }
        let is_long_empty = tail.at + bytes.len() as u64 - tail.content_end >= ZEROS_MAX;
        // A record may begin in the last bytes of this slice: the next one begins a little before its end.
        tail.at = if bytes.len() < len || is_long_empty || tail.at + len as u64 == end {
            end
        } else {
            tail.at + (len - HEAD) as u64
        };
        Ok(Stage::Tail(Box::new(tail)))
    }

    /// The first record behind the end that is sound and says that it stands where it stands.
    fn find_sound(
        &mut self,
        tail: &Tail,
        bytes: &Bytes,
        end: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<u64>, Halt> {
        for magic in memmem::find_iter(bytes, &MAGIC) {
            let Some(at) = (tail.at + magic as u64).checked_sub(4).filter(|at| *at > tail.from) else { continue };
            let left = usize::try_from(end - at).expect("a file fits into an address space");
            let Some(head) = self.log.read(at, HEAD.min(left), &mut self.warm, disk, asks)? else { continue };
            let len = match Record::parse(&head) {
                Ok(record) => record.total,
                Err(RecordError::Short(len)) if len <= left => len,
                _ => continue,
            };
            if !says_where_it_stands(&head, at) {
                continue;
            }
            let Some(whole) = self.log.read(at, len, &mut self.warm, disk, asks)? else { continue };
            if Record::parse(&whole).is_ok_and(|record| record.body_is_sound()) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Decides: goes on behind damage, or cuts.
    fn judge(&mut self, recovery: &mut Recovery, tail: Tail) -> Stage {
        let from = tail.from;
        let Some(sound) = tail.sound else {
            if tail.content_end > from {
                recovery.gave_up = true;
                crate::sometimes!("recovery cut a torn tail");
                let len = tail.content_end - from;
                recovery.notes.push(format!(
                    "the commit log was torn at {from} ({}): {len} bytes behind it hold no whole message and are cut",
                    self.place_of(from)
                ));
                return Stage::Zero(Box::new(tail), from);
            }
            recovery.end = Some(from);
            return self.cut_files(recovery, from);
        };
        recovery.gave_up = true;
        let durable_to = recovery.durable_to();
        let hides_torn = from < durable_to && durable_to < sound && !crate::planted!("torn-end-taken-for-damage");
        let was_durable = (from < durable_to && !hides_torn) || recovery.same_boot || tail.sound_is_old;
        if was_durable && !crate::planted!("rot-truncates-log") {
            crate::sometimes!("recovery went on behind damage in the log");
            recovery.notes.push(format!(
                "the commit log is damaged at {from} ({}): {} bytes up to {sound} are skipped, the messages behind them are \
                 kept",
                self.place_of(from),
                sound - from
            ));
            recovery.damages.push(from..sound);
            return Stage::Scan(sound);
        }
        crate::sometimes!("recovery cut sound records behind a torn one");
        let why = if hides_torn {
            crate::sometimes!("damage in the log reached into a torn end");
            format!("was damaged at {from} and torn behind {durable_to}, up to where it was durable")
        } else {
            format!("was torn at {from}")
        };
        recovery.notes.push(format!(
            "the commit log {why} ({}): sound messages stand again from {sound} on, which were not known to be durable; all from {from} on is \
             cut, and kept aside in seedmq.cut/{from:020}",
            self.place_of(from)
        ));
        Stage::Rescue(Box::new(tail), from)
    }

    /// File and byte of a position.
    pub(in crate::store) fn place_of(&self, at: u64) -> String {
        self.log
            .file_at(at)
            .map_or_else(String::new, |file| format!("{} byte {}", names::log_file(file.begin), at - file.begin))
    }

    /// Copies what is going to be cut.
    pub(super) fn rescue(
        &mut self,
        recovery: &mut Recovery,
        mut tail: Box<Tail>,
        at: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        let Some(file) = self.log.file_at(at) else {
            let from = tail.from;
            return Ok(Stage::Zero(tail, from));
        };
        let end = file.begin + self.log.file_bytes();
        let len = usize::try_from(end - at).expect("a file fits into an address space").min(STEP);
        let bytes = self.log.read(at, len, &mut self.warm, disk, asks)?.unwrap_or_default();
        if !is_blank(&bytes) {
            let aside = disk.open(&format!("seedmq.cut/{:020}", tail.from), Open::Create { len: 0 })?;
            disk.write(aside, at - tail.from, &bytes)?;
            recovery.sync(aside);
            if self.log.file_at(tail.from) == Some(file) {
                tail.content_end = end;
            }
        }
        Ok(Stage::Rescue(tail, at + len as u64))
    }

    /// Overwrites what is cut, so that it never looks like records again.
    pub(super) fn zero(
        &mut self,
        recovery: &mut Recovery,
        tail: Box<Tail>,
        at: u64,
        disk: &mut dyn Disk,
    ) -> Result<Stage, Halt> {
        let Some(file) = self.log.file_at(tail.from) else {
            recovery.end = Some(tail.from);
            return Ok(self.cut_files(recovery, tail.from));
        };
        let end = (file.begin + self.log.file_bytes()).min(tail.content_end);
        if at >= end {
            recovery.end = Some(tail.from);
            recovery.scrub = true;
            recovery.sync(file.file);
            return Ok(self.cut_files(recovery, tail.from));
        }
        let len = usize::try_from(end - at).expect("a file fits into an address space").min(STEP);
        disk.write(file.file, at - file.begin, &vec![0; len])?;
        self.warm.wrote(file.file, at - file.begin, len);
        Ok(Stage::Zero(tail, at + len as u64))
    }

    /// Files that begin behind the end go, so that the log goes on in fresh ones.
    fn cut_files(&mut self, recovery: &mut Recovery, end: u64) -> Stage {
        let is_kept = |begin: u64| begin < end || recovery.files.first().is_some_and(|first| first.begin == begin);
        recovery.cut = recovery.files.iter().filter(|file| !is_kept(file.begin)).copied().collect();
        let kept = recovery.files.len() - recovery.cut.len();
        recovery.files.truncate(kept);
        Stage::Scrub(0)
    }
}

fn says_where_it_stands(head: &[u8], at: u64) -> bool {
    head.get(28..36).is_some_and(|bytes| bytes == at.to_be_bytes())
}

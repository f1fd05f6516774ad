//! The commit log: files of one length, end to end, and a tail in memory that one write brings into the page cache.
//!
//! Invariant: `begin ≤ durable ≤ written ≤ appended`; each mark only grows; a record, or a batch, never crosses a file; what
//! is in the tail is exactly `written..appended`, but for the unwritten rest behind a filler.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::names;
use super::warm::Warm;
use super::{Fault, Marks, PutError};
use crate::message::record::MAGIC_BLANK;
use crate::node::{Addr, Disk, DiskAsk, DiskError, FileId};

/// Room that stays behind the last record of a file for the filler's length and magic; Java
/// `CommitLog.END_FILE_MIN_BLANK_LENGTH`.
const FILLER: u64 = 8;
/// Most bytes that wait in memory for the next write.
const TAIL_MAX: usize = 64 << 20;
/// A tail buffer that grew beyond this is not kept.
const TAIL_KEPT: usize = 8 << 20;
/// Files up to this size are asked for as soon as the one before is begun, larger ones when it is half full.
const SMALL_FILE: u64 = 64 << 20;

/// One file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Position of its first byte.
    pub begin: u64,
    /// The file.
    pub file: FileId,
}

/// Bytes that are not written yet, all within one file.
#[derive(Debug)]
struct Piece {
    at: u64,
    bytes: BytesMut,
}

/// The log.
#[derive(Debug)]
pub struct CommitLog {
    file_bytes: u64,
    files: VecDeque<LogFile>,
    marks: Marks,
    /// The last piece takes new records; earlier ones end with a filler.
    tail: Vec<Piece>,
    tail_bytes: usize,
    /// End of the sync that is under way, and its file.
    syncing: Option<(FileId, u64)>,
    /// Begin of the file that was asked for.
    allocating: Option<u64>,
}

impl CommitLog {
    /// A log without files.
    pub fn new(file_bytes: u64) -> CommitLog {
        assert!(file_bytes > FILLER, "a log file has room for a record");
        let marks = Marks::default();
        let tail = Vec::new();
        CommitLog { file_bytes, files: VecDeque::new(), marks, tail, tail_bytes: 0, syncing: None, allocating: None }
    }

    /// Takes over what recovery found: files end to end, records up to `end`, all of it durable.
    pub fn open(&mut self, files: Vec<LogFile>, end: u64) {
        assert!(self.tail.is_empty() && self.syncing.is_none(), "a log is opened before it is used");
        for pair in files.windows(2) {
            assert_eq!(pair[0].begin + self.file_bytes, pair[1].begin, "log files follow each other");
        }
        let begin = files.first().map_or(end, |file| file.begin);
        assert!(begin <= end, "a log does not end before it begins");
        self.files = files.into();
        self.marks = Marks { begin, appended: end, written: end, durable: end };
    }

    /// Positions.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Bytes of a file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The files, oldest first; the last ones may be empty yet.
    pub fn files(&self) -> &VecDeque<LogFile> {
        &self.files
    }

    /// The file that holds a position.
    pub fn file_at(&self, position: u64) -> Option<LogFile> {
        let first = self.files.front()?.begin;
        let n = position.checked_sub(first)? / self.file_bytes;
        self.files.get(usize::try_from(n).ok()?).copied()
    }

    /// Begin of the file that the next record goes to, or would go to.
    fn next_file(&self) -> u64 {
        self.files.back().map_or(self.marks.appended, |file| file.begin + self.file_bytes)
    }

    /// Makes room for `len` bytes in one file, with a filler behind the records of the old file if they do not fit, and
    /// tells the position. Call [`CommitLog::buffer`] and then [`CommitLog::appended`].
    pub fn reserve(&mut self, len: usize) -> Result<u64, PutError> {
        let need = len as u64 + FILLER;
        if need > self.file_bytes {
            let most = self.file_bytes - FILLER;
            return Err(PutError::Illegal(format!(
                "the message takes {len} bytes in the log, a log file has room for {most}"
            )));
        }
        if self.tail_bytes + len > TAIL_MAX {
            return Err(PutError::Busy);
        }
        let Some(file) = self.file_at(self.marks.appended) else { return Err(PutError::Busy) };
        let left = file.begin + self.file_bytes - self.marks.appended;
        if need <= left {
            self.open_piece();
            return Ok(self.marks.appended);
        }
        self.file_at(file.begin + self.file_bytes).ok_or(PutError::Busy)?;
        self.fill(left);
        self.open_piece();
        Ok(self.marks.appended)
    }

    fn open_piece(&mut self) {
        let at = self.marks.appended;
        let goes_on = self.tail.last().is_some_and(|piece| piece.at + piece.bytes.len() as u64 == at);
        let same_file = self.tail.last().is_some_and(|piece| self.file_at(piece.at) == self.file_at(at));
        if !(goes_on && same_file) {
            self.tail.push(Piece { at, bytes: BytesMut::new() });
        }
    }

    /// Writes the filler over the rest of the current file; the log goes on in the next one.
    fn fill(&mut self, left: u64) {
        assert!(left >= FILLER, "there is always room for the filler");
        crate::sometimes!("log file filled up and rolled");
        self.open_piece();
        let piece = self.tail.last_mut().expect("just opened");
        let length = u32::try_from(left).expect("the rest of a file is shorter than a record");
        piece.bytes.extend_from_slice(&length.to_be_bytes());
        piece.bytes.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
        self.tail_bytes += FILLER as usize;
        self.marks.appended += left;
    }

    /// Where the record that room was reserved for is to be encoded.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail.last_mut().expect("room was reserved").bytes
    }

    /// Ends an append of `len` bytes.
    pub fn appended(&mut self, len: usize) {
        self.tail_bytes += len;
        self.marks.appended += len as u64;
        let piece = self.tail.last().expect("a record was just encoded");
        assert_eq!(
            piece.at + piece.bytes.len() as u64,
            self.marks.appended,
            "the tail is as long as what was appended"
        );
    }

    /// Brings the tail into the page cache.
    pub fn write(&mut self, disk: &mut dyn Disk, warm: &mut Warm) -> Result<(), DiskError> {
        for n in 0..self.tail.len() {
            let (at, len) = (self.tail[n].at, self.tail[n].bytes.len());
            if len == 0 {
                continue;
            }
            let file = self.file_at(at).expect("a piece lies in a file of the log");
            assert!(at + len as u64 <= file.begin + self.file_bytes, "a piece never crosses a file");
            disk.write(file.file, at - file.begin, &self.tail[n].bytes)?;
            warm.wrote(file.file, at - file.begin, len);
        }
        self.tail.truncate(1);
        if let Some(piece) = self.tail.first_mut() {
            piece.at = self.marks.appended;
            piece.bytes.clear();
            if piece.bytes.capacity() > TAIL_KEPT {
                piece.bytes = BytesMut::new();
            }
        }
        self.tail_bytes = 0;
        self.marks.written = self.marks.appended;
        Ok(())
    }

    /// A sync of what is written and not durable, unless one is under way: at most one file at a time, oldest first. What
    /// is written meanwhile is covered by the next one.
    pub fn sync(&mut self) -> Option<DiskAsk> {
        if self.syncing.is_some() || self.marks.durable == self.marks.written {
            return None;
        }
        let file = self.file_at(self.marks.durable).expect("what is not durable lies in a file of the log");
        let through = self.marks.written.min(file.begin + self.file_bytes);
        assert!(through > self.marks.durable, "a sync covers something");
        self.syncing = Some((file.file, through));
        if crate::planted!("ack-before-fsync") {
            self.marks.durable = through;
        }
        Some(DiskAsk::Sync { file: file.file, through })
    }

    /// Whether a completed sync is the one that was asked for here.
    pub fn is_syncing(&self, file: FileId, through: u64) -> bool {
        self.syncing == Some((file, through))
    }

    /// The sync under way has ended well. Tells whether the durable mark grew.
    pub fn synced(&mut self) -> bool {
        let (_, through) = self.syncing.take().expect("a sync was under way");
        assert!(through <= self.marks.written, "only what is written becomes durable");
        let grew = through > self.marks.durable;
        self.marks.durable = self.marks.durable.max(through);
        grew
    }

    /// The next file, if it is time to ask for it.
    pub fn allocate(&mut self) -> Option<DiskAsk> {
        if self.allocating.is_some() {
            return None;
        }
        let begin = self.next_file();
        let lead = if self.file_bytes <= SMALL_FILE { self.file_bytes } else { self.file_bytes / 2 };
        if begin > self.marks.appended + lead.saturating_sub(1) {
            return None;
        }
        self.allocating = Some(begin);
        let path: Addr = names::log_file(begin).into();
        Some(DiskAsk::Allocate { path, len: self.file_bytes })
    }

    /// Whether a file was asked for and is not there yet.
    pub fn waits_for_file(&self) -> bool {
        self.allocating.is_some()
    }

    /// Whether this path is the file that was asked for.
    pub fn is_allocating(&self, path: &str) -> bool {
        self.allocating.is_some_and(|begin| names::log_file(begin) == path)
    }

    /// The file that was asked for is there, or not.
    pub fn allocated(&mut self, result: Result<FileId, DiskError>) -> Result<(), DiskError> {
        let begin = self.allocating.take().expect("a file was asked for");
        let file = result?;
        assert_eq!(begin, self.next_file(), "files are added at the end");
        self.files.push_back(LogFile { begin, file });
        Ok(())
    }

    /// Whether the current file is there, so that a record can be put.
    pub fn has_room(&self) -> bool {
        self.file_at(self.marks.appended).is_some()
    }

    /// Reads bytes that are written; `None` outside of what is kept. Never crosses a file.
    pub fn read(
        &self,
        at: u64,
        len: usize,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Bytes>, Fault> {
        if at < self.marks.begin || at + len as u64 > self.marks.written {
            return Ok(None);
        }
        let Some(file) = self.file_at(at) else { return Ok(None) };
        if at + len as u64 > file.begin + self.file_bytes {
            return Ok(None);
        }
        let bytes = warm.read(file.file, at - file.begin, len, disk, asks)?;
        Ok((bytes.len() == len).then_some(bytes))
    }

    /// Gives up the oldest file, unless it is still written to or not durable yet.
    pub fn drop_oldest(&mut self) -> Option<LogFile> {
        let end = self.files.front()?.begin + self.file_bytes;
        if end > self.marks.durable || self.files.len() < 2 {
            return None;
        }
        let file = self.files.pop_front();
        self.marks.begin = end;
        file
    }

    /// Panics when the state contradicts itself.
    pub fn invariants(&self) {
        let Marks { begin, appended, written, durable } = self.marks;
        assert!(begin <= durable && durable <= written && written <= appended, "marks are in order: {:?}", self.marks);
        assert!(self.tail_bytes <= TAIL_MAX + FILLER as usize, "the tail is bounded");
        assert_eq!(written == appended, self.tail_bytes == 0, "the tail is what is not written");
        if let Some(first) = self.files.front() {
            assert_eq!(first.begin, begin, "the log begins with its first file");
        }
        if let Some((_, through)) = self.syncing {
            assert!(through <= written, "a sync covers what is written");
        }
    }
}

//! Cold bytes on their way into memory: what a read found cold is asked for and kept for a while, so that asking again
//! succeeds.
//!
//! Invariant: bytes that are handed out from here were read after the last write to their place.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Fault;
use crate::node::{Disk, DiskAsk, DiskError, FetchId, FileId, Instant, Read};

/// Bytes of a piece; what is fetched is rounded to it.
const PIECE: u64 = 64 * 1024;
/// Most pieces kept (16 MiB).
const PIECES_MAX: usize = 256;
/// Who waited for a read hears within that time that it failed; whoever comes later has the disk asked again.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Piece {
    Asked(u64),
    Here(Bytes),
    /// Since then.
    Failed(DiskError, Instant),
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    file: FileId,
    at: u64,
    len: u64,
    /// A write came while the bytes were being read: they are thrown away.
    stale: bool,
}

/// Pieces of files that were cold.
#[derive(Debug, Default)]
pub struct Warm {
    pieces: BTreeMap<(FileId, u64), Piece>,
    order: VecDeque<(FileId, u64)>,
    asked: BTreeMap<u64, Asked>,
    next_fetch: u64,
    /// The time of the last batch.
    now: Instant,
}

impl Warm {
    /// Reads `len` bytes (fewer at the end of the file), from memory if they are there; asks for them if not.
    pub fn read(
        &mut self,
        file: FileId,
        at: u64,
        len: usize,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Bytes, Fault> {
        match disk.read(file, at, len)? {
            Read::Hot(bytes) => {
                assert!(bytes.len() <= len, "a disk returns no more than it was asked for");
                Ok(bytes)
            }
            Read::Cold => self.cold(file, at, len as u64, asks),
        }
    }

    fn cold(&mut self, file: FileId, at: u64, len: u64, asks: &mut Vec<DiskAsk>) -> Result<Bytes, Fault> {
        assert!(len > 0, "nothing is never cold");
        let (first, last) = (at / PIECE, (at + len - 1) / PIECE);
        for n in first..=last {
            match self.pieces.get(&(file, n)) {
                Some(Piece::Here(_)) => {}
                Some(Piece::Asked(ticket)) => return Err(Fault::Cold(*ticket)),
                Some(Piece::Failed(_, at))
                    if self.now.since(*at) > FAILURE_KEPT && !crate::planted!("old-read-error-told") =>
                {
                    crate::sometimes!("disk asked again after an old failure");
                    self.pieces.remove(&(file, n));
                    return Err(Fault::Cold(self.ask(file, n, last, asks)));
                }
                Some(Piece::Failed(why, _)) => {
                    // The other pieces of that read are tried anew as well.
                    let why = why.clone();
                    self.pieces.retain(|(of, _), piece| *of != file || !matches!(piece, Piece::Failed(..)));
                    return Err(Fault::Disk(why));
                }
                None => return Err(Fault::Cold(self.ask(file, n, last, asks))),
            }
        }
        crate::sometimes!("cold read answered");
        Ok(self.assemble(file, at, len))
    }

    /// Asks for the pieces `first..=last`, as far as they are missing without a gap.
    fn ask(&mut self, file: FileId, first: u64, last: u64, asks: &mut Vec<DiskAsk>) -> u64 {
        let end = (first..=last).find(|n| self.pieces.contains_key(&(file, *n))).unwrap_or(last + 1);
        self.next_fetch += 1;
        let ticket = self.next_fetch;
        for n in first..end {
            self.pieces.insert((file, n), Piece::Asked(ticket));
        }
        let (at, len) = (first * PIECE, (end - first) * PIECE);
        self.asked.insert(ticket, Asked { file, at, len, stale: false });
        let len = u32::try_from(len).expect("reads are far below 4 GiB");
        asks.push(DiskAsk::Fetch { fetch: FetchId(ticket), file, at, len });
        ticket
    }

    fn assemble(&self, file: FileId, at: u64, len: u64) -> Bytes {
        let piece = |n: u64| match &self.pieces[&(file, n)] {
            Piece::Here(bytes) => bytes.clone(),
            _ => unreachable!("the caller has seen that every piece is here"),
        };
        let (first, last) = (at / PIECE, (at + len - 1) / PIECE);
        let cut = |bytes: &Bytes, from: u64, to: u64| {
            let end = (bytes.len() as u64).min(to);
            if from >= end { Bytes::new() } else { bytes.slice(from as usize..end as usize) }
        };
        if first == last {
            return cut(&piece(first), at % PIECE, at % PIECE + len);
        }
        let mut whole = BytesMut::with_capacity(len as usize);
        for n in first..=last {
            let from = at.saturating_sub(n * PIECE);
            let bytes = piece(n);
            whole.extend_from_slice(&cut(&bytes, from, at + len - n * PIECE));
            if (bytes.len() as u64) < PIECE {
                break;
            }
        }
        whole.freeze()
    }

    /// A batch has this time.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
    }

    /// The completion of a fetch; the ticket that waited for it, if it is one of ours.
    pub fn fetched(&mut self, fetch: FetchId, result: Result<Bytes, DiskError>) -> Option<u64> {
        let asked = self.asked.remove(&fetch.0)?;
        for n in asked.at / PIECE..(asked.at + asked.len) / PIECE {
            let key = (asked.file, n);
            if !matches!(self.pieces.get(&key), Some(Piece::Asked(ticket)) if *ticket == fetch.0) {
                continue;
            }
            if asked.stale {
                self.pieces.remove(&key);
                continue;
            }
            let piece = match &result {
                Ok(bytes) => {
                    let from = usize::try_from(n * PIECE - asked.at).expect("within a read").min(bytes.len());
                    let to = (from + PIECE as usize).min(bytes.len());
                    Piece::Here(bytes.slice(from..to))
                }
                Err(why) => Piece::Failed(why.clone(), self.now),
            };
            self.pieces.insert(key, piece);
            self.order.push_back(key);
        }
        self.evict();
        Some(fetch.0)
    }

    fn evict(&mut self) {
        while self.order.len() > PIECES_MAX {
            let Some(key) = self.order.pop_front() else { break };
            if !matches!(self.pieces.get(&key), Some(Piece::Asked(_))) {
                self.pieces.remove(&key);
            }
        }
    }

    /// Bytes of a file were written: what was read of them before is not true any more.
    pub fn wrote(&mut self, file: FileId, at: u64, len: usize) {
        if self.pieces.is_empty() {
            return;
        }
        let end = at + len as u64;
        for asked in self.asked.values_mut() {
            asked.stale |= asked.file == file && asked.at < end && at < asked.at + asked.len;
        }
        for n in at / PIECE..=end.saturating_sub(1) / PIECE {
            if !matches!(self.pieces.get(&(file, n)), None | Some(Piece::Asked(_))) {
                self.pieces.remove(&(file, n));
                self.order.retain(|key| *key != (file, n));
            }
        }
    }

    /// A file is gone.
    pub fn forget(&mut self, file: FileId) {
        self.wrote(file, 0, 0);
        for asked in self.asked.values_mut() {
            asked.stale |= asked.file == file;
        }
        self.pieces.retain(|(of, _), piece| *of != file || matches!(piece, Piece::Asked(_)));
        self.order.retain(|(of, _)| *of != file);
    }

    /// Whether the completion of this ticket is still to come.
    pub fn is_coming(&self, ticket: u64) -> bool {
        self.asked.contains_key(&ticket)
    }

    /// Panics when the state contradicts itself.
    pub fn invariants(&self) {
        assert!(self.order.len() <= PIECES_MAX, "the cold cache is bounded");
        for piece in self.pieces.values() {
            if let Piece::Asked(ticket) = piece {
                assert!(self.asked.contains_key(ticket), "every piece that is asked for has its fetch");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_to_who_waited_and_to_nobody_later() {
        let (mut warm, mut asks) = (Warm::default(), Vec::new());
        let read = |warm: &mut Warm, asks: &mut Vec<DiskAsk>| warm.cold(FileId(1), 0, 8, asks);
        let Err(Fault::Cold(ticket)) = read(&mut warm, &mut asks) else { panic!("nothing is there yet") };
        warm.tick(Instant(5_000_000_000));
        let fail = |warm: &mut Warm, ticket| warm.fetched(FetchId(ticket), Err(DiskError::Io("bad".into())));
        assert_eq!(fail(&mut warm, ticket), Some(ticket));
        assert!(matches!(read(&mut warm, &mut asks), Err(Fault::Disk(_))), "who waited is told");
        let Err(Fault::Cold(ticket)) = read(&mut warm, &mut asks) else { panic!("the disk is asked anew") };
        fail(&mut warm, ticket);
        warm.tick(Instant(7_000_000_000));
        assert!(matches!(read(&mut warm, &mut asks), Err(Fault::Cold(_))), "the disk may be well by now");
        assert_eq!(asks.len(), 3);
    }
}

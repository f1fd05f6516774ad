//! The oracle `projection` for the index: each key and the tag of each record of the log is found under its hash, once, and nothing else is.
//!
//! Invariant: it judges what an orderly stop left. Of a broker that was killed nothing is demanded: head, slots and entries reach the disk
//! one by one, and recovery builds them again; it is judged when it stops the next time.
//!
//! ```text
//! begin ms 8 | end ms 8 | begin physical 8 | end physical 8 | used slots 4 | count 4 (from 1) | slots 4 × n
//! | entries: hash 4, physical 8, seconds after begin 4, number of the one before in the same slot 4
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Licence;
use super::reader::{Cursor, Files, Log, LogRecord};

const HEAD: usize = 40;
const ENTRY: usize = 20;

/// One entry of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Hash of topic and key, or tag.
    pub hash: u32,
    /// Position of the record.
    pub physical: u64,
    /// Seconds after the first record of the file.
    pub seconds: u32,
    /// The entry before it in the same slot; 0 for none.
    pub previous: u32,
}

/// An index file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Where it is.
    pub path: String,
    /// Store time of its first record, of its last.
    pub times_ms: (u64, u64),
    /// Position of its first record, of its last.
    pub physical: (u64, u64),
    /// Slots that hold something, by its head.
    pub used: u32,
    /// The number of the next entry, by its head.
    pub count: u32,
    /// The number of the newest entry of each slot; 0 for none.
    pub slots: Vec<u32>,
    /// Its entries; the first has the number 1.
    pub entries: Vec<IndexEntry>,
}

impl IndexFile {
    /// The entries that a look-up comes by.
    fn reachable(&self) -> Vec<IndexEntry> {
        let mut found = Vec::new();
        for (slot, newest) in (0..).zip(&self.slots) {
            let (mut number, mut before) = (*newest, u32::MAX);
            while let Some(entry) = self.entry(number).filter(|_| number < before) {
                if entry.hash % self.slots.len() as u32 == slot {
                    found.push(entry);
                }
                (before, number) = (number, entry.previous);
            }
        }
        found
    }
    fn entry(&self, number: u32) -> Option<IndexEntry> {
        self.entries.get((number as usize).checked_sub(1)?).copied()
    }
}

/// The index files of a store, oldest first. A file does not say how many slots it has.
pub fn read_index(store: &impl Files, slots: u32) -> Vec<IndexFile> {
    let mut paths: Vec<String> = store.paths().into_iter().filter(|path| path.starts_with("index/")).collect();
    paths.sort();
    let read = |path: String| read_file(&path, &store.content(&path)?.whole(), slots as usize);
    paths.into_iter().filter_map(read).collect()
}

fn read_file(path: &str, bytes: &Bytes, slots: usize) -> Option<IndexFile> {
    let mut head = Cursor { bytes, at: 0 };
    let times_ms = (head.u64()?, head.u64()?);
    let physical = (head.u64()?, head.u64()?);
    let (used, count) = (head.u32()?, head.u32()?.max(1));
    let entries = bytes.get(HEAD + 4 * slots..)?.chunks_exact(ENTRY).take(count as usize).skip(1);
    let slots = bytes.get(HEAD..HEAD + 4 * slots)?.as_chunks::<4>().0.iter().map(|slot| u32::from_be_bytes(*slot));
    let entry = |bytes: &[u8]| {
        let mut cell = Cursor { bytes, at: 0 };
        let (hash, physical) = (cell.u32()?, cell.u64()?);
        Some(IndexEntry { hash, physical, seconds: cell.u32()?, previous: cell.u32()? })
    };
    let entries = entries.filter_map(entry).collect();
    Some(IndexFile { path: path.to_owned(), times_ms, physical, used, count, slots: slots.collect(), entries })
}

/// What is wrong with the index of a store that was stopped in order.
pub(super) fn judge_index(store: &impl Files, slots: u32, log: &Log, licence: &Licence) -> Vec<String> {
    let files = read_index(store, slots);
    let records: BTreeMap<u64, &LogRecord> = log.records.iter().map(|record| (record.physical, record)).collect();
    let mut wrong: Vec<String> = files.iter().flat_map(|file| contradictions(file, &records)).collect();
    // Position and hash, once for each time that the log says so, or that it is found.
    let mut said: Vec<(u64, u32)> = Vec::with_capacity(2 * log.records.len());
    for record in &log.records {
        said.extend(record.keys().into_iter().map(|hash| (record.physical, hash)));
    }
    let mut found: Vec<(u64, u32)> = Vec::with_capacity(said.len());
    for entry in files.iter().flat_map(IndexFile::reachable) {
        // Where a damaged end was cut, whole records may stand again.
        let is_whole = records.contains_key(&entry.physical);
        let damaged = !is_whole && licence.ranges.iter().any(|range| range.contains(&entry.physical));
        if entry.physical >= log.begin && !damaged {
            found.push((entry.physical, entry.hash));
        }
    }
    said.sort_unstable();
    found.sort_unstable();
    if said == found {
        return wrong;
    }
    let count = |all: Vec<(u64, u32)>, by: i64, counts: &mut BTreeMap<(u64, u32), i64>| {
        all.into_iter().for_each(|place| *counts.entry(place).or_default() += by);
    };
    let mut missing = BTreeMap::new();
    count(said, 1, &mut missing);
    count(found, -1, &mut missing);
    for ((physical, hash), count) in missing {
        let record = || records.get(&physical).map_or("no record".to_owned(), |r| format!("a record of {}", r.topic));
        match count {
            0 => {}
            1.. if records.get(&physical).is_some_and(|r| licence.deleted.contains(&r.topic)) => {}
            1.. => wrong.push(format!("{} at {physical} is not found under hash {hash}", record())),
            _ => {
                wrong.push(format!("hash {hash} leads to {physical} {} times too often, {} is there", -count, record()))
            }
        }
    }
    wrong
}

/// What a file says that the log or the file itself denies.
fn contradictions(file: &IndexFile, records: &BTreeMap<u64, &LogRecord>) -> Vec<String> {
    let mut wrong = Vec::new();
    let IndexFile { path, times_ms: (begin, _), physical, used, count, slots, entries } = file;
    if entries.len() + 1 != *count as usize {
        wrong.push(format!("{path} says that its next entry is {count}, but has room for {}", entries.len()));
    }
    if let (Some(first), Some(last)) = (entries.first(), entries.last())
        && *physical != (first.physical, last.physical)
    {
        let ends = (first.physical, last.physical);
        wrong.push(format!("{path} says that it holds {physical:?}, its entries hold {ends:?}"));
    }
    let filled = slots.iter().filter(|slot| **slot != 0).count();
    if filled != *used as usize {
        wrong.push(format!("{path} says that {used} slots are used, but {filled} are"));
    }
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].physical > pair[1].physical) {
        wrong.push(format!("{path} leads to {} before {}", pair[0].physical, pair[1].physical));
    }
    // A look-up may name a range of time.
    let due = |entry: &IndexEntry| Some(records.get(&entry.physical)?.store_ms.saturating_sub(*begin) / 1000);
    if let Some(entry) = entries.iter().find(|entry| due(entry).is_some_and(|due| due != u64::from(entry.seconds))) {
        wrong.push(format!("{path} says that {} is of second {}, not {:?}", entry.physical, entry.seconds, due(entry)));
    }
    wrong
}

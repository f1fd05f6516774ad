//! Misdirected writes: which sector may turn out to have gone to the place of which other, and what that costs.
//!
//! Invariant: whatever either sector held is described: entries of queues by what they say now, messages by their records, what reached
//! the log behind its end by its bytes. What damages a message only where no checksum covers it is not chosen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::atlas::{Held, Life, log_files, paths, pick};
use super::image::Image;
use super::page::{PAGE, SECTOR};
use crate::dice::Dice;
use crate::tape::StoreFile;
use crate::whitebox::{self, Log, LogRecord, QueueEntry};

/// Pairs of sectors that are looked at before it is given up.
const TRIES: usize = 60;
/// Sectors at the end of the log that are chosen more often: a recovery reads them again.
const NEWEST: usize = 4;
/// Bytes of a queue entry.
const ENTRY: usize = 20;

/// A sector of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sector {
    /// The file.
    pub path: String,
    /// Its first byte.
    pub at: u64,
}

/// A write that went astray.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Astray {
    /// Where it should have gone.
    pub from: Sector,
    /// Where it went.
    pub to: Sector,
    /// What either held.
    pub held: Vec<Held>,
}

/// The files of a store and what two sectors would make of them.
struct Choice<'a> {
    image: &'a Image,
    /// Sectors that the last write of their page changed.
    written: Vec<Sector>,
    /// Sectors of pages that are on the disk as they are in memory.
    clean: Vec<Sector>,
}

impl<'a> Choice<'a> {
    fn among(image: &'a Image, paths: &[String]) -> Choice<'a> {
        let sectors = |path: &String, begins: Vec<u64>| {
            let path = path.clone();
            begins.into_iter().map(move |at| Sector { path: path.clone(), at })
        };
        let written = paths.iter().flat_map(|path| sectors(path, image.rewritten(path))).collect();
        let clean = paths.iter().flat_map(|path| {
            let pages = image.clean_pages(path).into_iter();
            let len = image.content(path).map_or(0, |bytes| bytes.len() as u64);
            let begins = pages.flat_map(|page| (page..page + PAGE as u64).step_by(SECTOR)).filter(|at| *at < len);
            sectors(path, begins.collect())
        });
        Choice { image, written, clean: clean.collect() }
    }
    /// Content of the files of two sectors before and after.
    fn changed(&self, from: &Sector, to: &Sector) -> Option<BTreeMap<String, (Bytes, Bytes)>> {
        let mut after = self.image.clone_of(&[&from.path, &to.path]);
        after.misdirect((&from.path, from.at), (&to.path, to.at));
        let both = |path: &String| Some((path.clone(), (self.image.content(path)?, after.content(path)?)));
        [&from.path, &to.path].into_iter().map(both).collect()
    }
}

/// A write that may have gone astray, by the draw; nothing when there is none.
pub(super) fn find(
    image: &Image,
    life: Life<'_>,
    file: StoreFile,
    filtered: &BTreeSet<String>,
    dice: &mut Dice,
) -> Option<Astray> {
    match file {
        StoreFile::Index => free(image, &paths(image, "index/"), dice),
        StoreFile::Checkpoint => {
            let prefixes = ["checkpoint", "seedmq.snapshot"];
            let all = prefixes.into_iter().flat_map(|prefix| paths(image, prefix));
            free(image, &all.filter(|path| !path.ends_with(".bak")).collect::<Vec<_>>(), dice)
        }
        StoreFile::Queue => queue(image, filtered, dice),
        StoreFile::Log => log(image, life, dice),
    }
}

/// Where everything is built again. Times in place of those of the checkpoint would be believed: no checksum covers them.
fn free(image: &Image, paths: &[String], dice: &mut Dice) -> Option<Astray> {
    let choice = Choice::among(image, paths);
    for _ in 0..TRIES {
        let (from, to) = (pick(&choice.written, dice)?, pick(&choice.clean, dice)?);
        if from != to && (to.path != "checkpoint" || to.at > 0) {
            return Some(Astray { from: from.clone(), to: to.clone(), held: vec![Held::Rebuildable] });
        }
    }
    None
}

fn queue(image: &Image, filtered: &BTreeSet<String>, dice: &mut Dice) -> Option<Astray> {
    let choice = Choice::among(image, &paths(image, "consumequeue/"));
    for _ in 0..TRIES {
        let (from, to) = (pick(&choice.written, dice)?, pick(&choice.clean, dice)?);
        let held = (from != to).then(|| choice.changed(from, to)).flatten();
        let held = held.and_then(|files| files.iter().map(|(path, both)| entries(path, both, filtered)).collect());
        let held: Vec<Held> = held.into_iter().flat_map(|held: Vec<Vec<Held>>| held.into_iter().flatten()).collect();
        if !held.is_empty() {
            return Some(Astray { from: from.clone(), to: to.clone(), held });
        }
    }
    None
}

/// Entries of a queue file that say something else; nothing when it may not be, because a reader would believe a wrong tag.
fn entries(path: &str, (before, after): &(Bytes, Bytes), filtered: &BTreeSet<String>) -> Option<Vec<Held>> {
    let (topic, queue, first) = whitebox::queue_of(path)?;
    let mut held = Vec::new();
    for (n, (was, is)) in (first..).zip(before.chunks_exact(ENTRY).zip(after.chunks_exact(ENTRY))) {
        let (was, is) = (QueueEntry::read(was)?, QueueEntry::read(is)?);
        if was == is || !(was.is_message() || is.is_message()) {
            continue;
        }
        if filtered.contains(topic) && was.is_message() && is.is_message() && was.tags_code != is.tags_code {
            return None;
        }
        held.push(Held::Entry((topic.to_owned(), queue, n), is));
    }
    Some(held)
}

fn log(image: &Image, life: Life<'_>, dice: &mut Dice) -> Option<Astray> {
    let shown = life.shown(image)?;
    let files = log_files(image);
    let log = whitebox::read_log(image, &[]);
    let choice = Choice::among(image, &files.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>());
    let behind = behind(image, &files, log.end);
    let newest = choice.written.len().saturating_sub(NEWEST);
    for _ in 0..TRIES {
        let from = if dice.chance(500_000) { newest } else { 0 };
        let from = pick(&choice.written[from..], dice)?;
        let to = match dice.below(3) {
            0 => pick(&behind, dice).cloned(),
            1 => pick(&alike(&files, &log, from, &choice.clean), dice).cloned(),
            _ => pick(&choice.clean, dice).cloned(),
        };
        let Some(to) = to.filter(|to| to != from) else { continue };
        let Some(held) = choice.changed(from, &to).and_then(|changed| messages(image, &files, &log, shown, &changed))
        else {
            continue;
        };
        return Some(Astray { from: from.clone(), to, held });
    }
    None
}

/// Sectors in which the log ends, or that lie behind its end.
fn behind(image: &Image, files: &[(u64, String)], end: u64) -> Vec<Sector> {
    let Some((begin, path)) = files.iter().rev().find(|(begin, _)| *begin <= end) else { return Vec::new() };
    let first = (end - begin) / SECTOR as u64 * SECTOR as u64;
    let all = (first..).step_by(SECTOR).take(NEWEST).map(|at| Sector { path: path.clone(), at });
    all.filter(|sector| image.may_be_hit(path, sector.at)).collect()
}

/// Sectors in which a record begins at the same byte as one does in this: there it looks like a record in its place.
fn alike(files: &[(u64, String)], log: &Log, from: &Sector, clean: &[Sector]) -> Vec<Sector> {
    let begin_of = |path: &str| files.iter().find(|(_, of)| of == path).map_or(0, |(begin, _)| *begin);
    let begins = |sector: &Sector| {
        let at = begin_of(&sector.path) + sector.at;
        let first = log.records.partition_point(|record| record.physical < at);
        let inside = log.records[first..].iter().map(move |record| record.physical - at);
        inside.take_while(|at| *at < SECTOR as u64).collect::<BTreeSet<u64>>()
    };
    let here = begins(from);
    let is_alike = |sector: &&Sector| *sector != from && begins(sector).iter().any(|at| here.contains(at));
    clean.iter().filter(is_alike).cloned().collect()
}

/// What is lost of the log, and what reached it behind its end; nothing when it may not be.
fn messages(
    image: &Image,
    files: &[(u64, String)],
    log: &Log,
    shown: u64,
    changed: &BTreeMap<String, (Bytes, Bytes)>,
) -> Option<Vec<Held>> {
    let mut held = Vec::new();
    for (path, (before, after)) in changed {
        let (begin, _) = files.iter().find(|(_, of)| of == path)?;
        let mut bytes = (0..before.len()).filter(|at| before[*at] != after[*at]).peekable();
        while let Some(at) = bytes.next() {
            let here = begin + at as u64;
            if here >= log.end {
                let sector = at / SECTOR * SECTOR;
                let end = after.len().min(sector + SECTOR);
                held.push(Held::Stray(begin + sector as u64, after.slice(sector..end)));
                while bytes.next_if(|at| *at < end).is_some() {}
                continue;
            }
            let record = record_at(log, here)?;
            let end = (record.physical - begin) as usize + record.size as usize;
            let is_clean = image.is_clean(path, record.physical - begin, u64::from(record.size));
            let mut is_seen = is_covered(record, here);
            while let Some(at) = bytes.next_if(|at| *at < end) {
                is_seen |= is_covered(record, begin + at as u64);
            }
            let now = &after[(record.physical - begin) as usize..];
            let may_be = record.physical + u64::from(record.size) <= shown && is_clean && is_seen;
            if !may_be || whitebox::is_record(now, record.physical) {
                return None;
            }
            held.push(Held::Message(record.clone()));
        }
    }
    (!held.is_empty()).then_some(held)
}

/// The record that a byte of the log is part of.
fn record_at(log: &Log, at: u64) -> Option<&LogRecord> {
    let next = log.records.partition_point(|record| record.physical <= at);
    log.records[..next].last().filter(|record| at < record.physical + u64::from(record.size))
}

/// Whether a reader cannot but see that a byte of a record is wrong: length, magic and checksum, length of the body and the body.
fn is_covered(record: &LogRecord, at: u64) -> bool {
    let at = at - record.physical;
    let body = u64::from(record.body_at) - 4..u64::from(record.body_at + record.body_len);
    at < 12 || body.contains(&at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_with_what_they_say_and_wrong_tags_are_not_chosen() {
        let entry = |physical: u64, tag: u64| {
            let mut unit = physical.to_be_bytes().to_vec();
            unit.extend_from_slice(&100u32.to_be_bytes());
            unit.extend_from_slice(&tag.to_be_bytes());
            unit
        };
        let before: Bytes = [entry(0, 1), entry(100, 2), entry(200, 3), vec![0; 20]].concat().into();
        let zeros: Bytes = [entry(0, 1), vec![0; 20], entry(200, 3), entry(900, 9)].concat().into();
        let other: Bytes = [entry(0, 1), entry(700, 8), entry(200, 3), vec![0; 20]].concat().into();
        let (path, none) = ("consumequeue/T/1/00000000000000000040", BTreeSet::new());
        let tagged = BTreeSet::from(["T".to_owned()]);
        let place = |n: u64| ("T".to_owned(), 1, n);
        let read = |unit: &[u8]| QueueEntry::read(unit).unwrap();
        let lost = vec![Held::Entry(place(3), read(&[0; 20])), Held::Entry(place(5), read(&entry(900, 9)))];
        assert_eq!(entries(path, &(before.clone(), zeros.clone()), &none), Some(lost.clone()));
        assert_eq!(
            entries(path, &(before.clone(), zeros), &tagged),
            Some(lost),
            "an entry without a message has no tag"
        );
        let wrong = vec![Held::Entry(place(3), read(&entry(700, 8)))];
        assert_eq!(entries(path, &(before.clone(), other.clone()), &none), Some(wrong));
        assert_eq!(entries(path, &(before, other), &tagged), None);
    }
}

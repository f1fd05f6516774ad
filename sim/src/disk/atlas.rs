//! The atlas: which damage to a disk a cluster must survive, and what it may cost.
//!
//! With one copy of each message, whatever can be built again from the log must cost nothing, and the log itself may lose the
//! damaged messages and no others. So the queues, the index and the checkpoint of a broker may rot or take a write that was meant for
//! another place, the log once in the whole cluster, or one disk may be replaced; never the log and what leans on it on one broker.
//! What no checksum of the Java formats covers is left out: topic, queue and properties of a record, and the tag in the entry of a
//! queue that somebody filters.
//!
//! Invariant: what is forbidden here does not happen and is not counted; what happens is described exactly, so that the oracles
//! excuse it and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::astray::{self, Astray};
use super::image::Image;
use crate::dice::Dice;
use crate::tape::StoreFile;
use crate::whitebox::{self, Licence, LogRecord, QueueEntry};
use crate::world::HostId;

/// Messages at the end of the log that are hit more often: a recovery reads them again.
const NEWEST: usize = 8;

/// One bit of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: String,
    /// The byte.
    pub at: u64,
    /// The bit.
    pub bit: u8,
}

/// What a damaged place held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Something that is built again, and that nobody compares.
    Rebuildable,
    /// The entry of a queue, and what it says now.
    Entry((String, u32, u64), QueueEntry),
    /// A message.
    Message(LogRecord),
    /// Nothing: it lies behind the end of the log, at this position, and holds this now.
    Stray(u64, Bytes),
}

/// The run of the operating system of a broker's machine.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// As the broker is told it.
    pub boot: &'a str,
    /// Whether the broker is down.
    pub is_down: bool,
}

impl Life<'_> {
    /// Up to where in the log the broker can tell damage from a torn end: below what its snapshot calls durable, or anywhere while
    /// the machine has run on since.
    pub(super) fn shown(self, image: &Image) -> Option<u64> {
        let (of_boot, durable) = whitebox::snapshot(&image.platter())?;
        Some(if of_boot == self.boot { u64::MAX } else { durable })
    }
}

/// What was damaged so far.
#[derive(Clone, Debug, Default)]
pub struct Atlas {
    damaged: BTreeMap<HostId, Vec<Held>>,
    /// Brokers whose index was damaged.
    index: BTreeSet<HostId>,
    /// Brokers whose disk was replaced.
    new: BTreeSet<HostId>,
    /// Whether messages were lost for good.
    lost: bool,
    /// Topics that an administrator deleted.
    deleted: BTreeSet<String>,
}

impl Atlas {
    /// Whether such files of a broker may be damaged.
    fn may_damage(&self, host: HostId, file: StoreFile) -> bool {
        match file {
            StoreFile::Index => true,
            StoreFile::Checkpoint | StoreFile::Queue => !self.damaged.contains_key(&host),
            StoreFile::Log => !self.damaged.contains_key(&host) && !self.lost,
        }
    }
    /// A place that may rot, by the draw; nothing when there is none.
    pub fn rot(
        &self,
        host: HostId,
        image: &Image,
        life: Life<'_>,
        file: StoreFile,
        filtered: &BTreeSet<String>,
        dice: &mut Dice,
    ) -> Option<(Place, Held)> {
        match file {
            _ if !self.may_damage(host, file) => None,
            StoreFile::Index => index(image, dice),
            StoreFile::Checkpoint => checkpoint(image, dice),
            StoreFile::Queue => queue(image, filtered, dice),
            StoreFile::Log => log(image, life, dice),
        }
    }
    /// A write that may have gone to another place, by the draw; nothing when there is none.
    pub fn misdirect(
        &self,
        host: HostId,
        image: &Image,
        life: Life<'_>,
        file: StoreFile,
        filtered: &BTreeSet<String>,
        dice: &mut Dice,
    ) -> Option<Astray> {
        self.may_damage(host, file).then(|| astray::find(image, life, file, filtered, dice)).flatten()
    }
    /// It happened.
    pub fn hit(&mut self, host: HostId, file: StoreFile, held: &[Held]) {
        if file == StoreFile::Index {
            self.index.insert(host);
        } else {
            self.damaged.entry(host).or_default().extend_from_slice(held);
        }
        self.lost |= file == StoreFile::Log;
    }
    /// An administrator deleted a topic: what the log still holds of it has no place in any queue.
    pub fn topic_deleted(&mut self, topic: &str) {
        self.deleted.insert(topic.to_owned());
    }
    /// Whether a broker may lose its disk.
    pub fn may_replace(&self) -> bool {
        !self.lost
    }
    /// It did: with what was on it, its damage is gone.
    pub fn replaced(&mut self, host: HostId) {
        self.lost = true;
        self.damaged.remove(&host);
        self.index.remove(&host);
        self.new.insert(host);
    }
    /// Whether the disk of a host is not its first.
    pub fn is_new(&self, host: HostId) -> bool {
        self.new.contains(&host)
    }
    /// Whether the power of a host may be cut: only when its disk will show that damage in the log is no torn end.
    pub fn may_cut(&self, host: HostId, image: &Image) -> bool {
        let messages = self.damaged.get(&host).into_iter().flatten().filter_map(|held| match held {
            Held::Message(record) => Some(record.physical + u64::from(record.size)),
            _ => None,
        });
        let durable = whitebox::snapshot(&image.platter()).map_or(0, |(_, durable)| durable);
        messages.into_iter().all(|end| end <= durable)
    }
    /// What white-box oracles excuse at a host.
    pub fn licence(&self, host: HostId) -> Licence {
        let (index, deleted) = (self.index.contains(&host), self.deleted.clone());
        let mut licence = Licence { index, deleted, ..Licence::default() };
        for held in self.damaged.get(&host).into_iter().flatten() {
            match held {
                Held::Rebuildable => {}
                Held::Entry(place, entry) => drop(licence.entries.insert(place.clone(), *entry)),
                Held::Message(record) => {
                    licence.ranges.push(record.physical..record.physical + u64::from(record.size));
                    licence.offsets.insert((record.topic.clone(), record.queue, record.queue_offset));
                }
                Held::Stray(at, bytes) => licence.strays.push((*at, bytes.clone())),
            }
        }
        licence
    }
}

pub(super) fn pick<'a, T>(all: &'a [T], dice: &mut Dice) -> Option<&'a T> {
    if all.is_empty() { None } else { all.get(dice.below(all.len() as u64) as usize) }
}

fn bit(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(8)).expect("below eight")
}

fn index(image: &Image, dice: &mut Dice) -> Option<(Place, Held)> {
    let path = pick(&paths(image, "index/"), dice)?.clone();
    let page = *pick(&image.clean_pages(&path), dice)?;
    let at = page + dice.below(super::PAGE as u64);
    Some((Place { path, at, bit: bit(dice) }, Held::Rebuildable))
}

fn checkpoint(image: &Image, dice: &mut Dice) -> Option<(Place, Held)> {
    let all: Vec<String> = ["checkpoint", "seedmq.snapshot"]
        .into_iter()
        .flat_map(|prefix| paths(image, prefix))
        .filter(|path| !path.ends_with(".bak"))
        .collect();
    let path = pick(&all, dice)?.clone();
    let len = image.content(&path)?.len() as u64;
    let at = dice.below(if path == "checkpoint" { 48 } else { len.max(1) });
    let is_clean = at < len && image.is_clean(&path, at, 1);
    is_clean.then(|| (Place { path, at, bit: bit(dice) }, Held::Rebuildable))
}

fn queue(image: &Image, filtered: &BTreeSet<String>, dice: &mut Dice) -> Option<(Place, Held)> {
    let path = pick(&paths(image, "consumequeue/"), dice)?.clone();
    let (topic, queue, first) = whitebox::queue_of(&path)?;
    let bytes = image.content(&path)?;
    let entries: Vec<u64> = (0u64..)
        .zip(bytes.chunks_exact(20))
        .filter(|(n, unit)| {
            let is_message = QueueEntry::read(unit).is_some_and(|entry| entry.is_message());
            is_message && image.is_clean(&path, n * 20, 20)
        })
        .map(|(n, _)| n)
        .collect();
    let n = *pick(&entries, dice)?;
    let byte = dice.below(if filtered.contains(topic) { 12 } else { 20 });
    let bit = bit(dice);
    let mut unit = bytes[n as usize * 20..n as usize * 20 + 20].to_vec();
    unit[byte as usize] ^= 1 << bit;
    let entry = QueueEntry::read(&unit)?;
    let place = (topic.to_owned(), queue, first + n);
    Some((Place { path, at: n * 20 + byte, bit }, Held::Entry(place, entry)))
}

fn log(image: &Image, life: Life<'_>, dice: &mut Dice) -> Option<(Place, Held)> {
    let shown = life.shown(image)?;
    let begins = log_files(image);
    let file_of = |record: &LogRecord| begins.iter().rev().find(|(begin, _)| *begin <= record.physical);
    let records: Vec<LogRecord> = whitebox::read_log(image, &[]).records;
    let records: Vec<LogRecord> = records
        .into_iter()
        .filter(|record| record.physical + u64::from(record.size) <= shown)
        .filter(|record| {
            file_of(record)
                .is_some_and(|(begin, path)| image.is_clean(path, record.physical - begin, u64::from(record.size)))
        })
        .collect();
    let newest = records.len().saturating_sub(NEWEST);
    let from = if dice.chance(if life.is_down { 900_000 } else { 500_000 }) { newest } else { 0 };
    let record = pick(&records[from..], dice)?.clone();
    let (begin, path) = file_of(&record)?.clone();
    let at = record.physical - begin;
    let (body_at, body) = (u64::from(record.body_at), u64::from(record.body_len));
    let byte = if body > 0 && dice.chance(500_000) {
        body_at + dice.below(body)
    } else {
        // Length, magic, checksum, position, length of the body.
        let covered: Vec<u64> = (0..12).chain(28..36).chain(body_at - 4..body_at).collect();
        *pick(&covered, dice)?
    };
    Some((Place { path, at: at + byte, bit: bit(dice) }, Held::Message(record)))
}

pub(super) fn paths(image: &Image, prefix: &str) -> Vec<String> {
    image.paths().filter(|path| path.starts_with(prefix)).map(str::to_owned).collect()
}

pub(super) fn log_files(image: &Image) -> Vec<(u64, String)> {
    let begin = |path: &String| path.strip_prefix("commitlog/").and_then(|name| name.parse().ok());
    paths(image, "commitlog/").into_iter().filter_map(|path| Some((begin(&path)?, path))).collect()
}

//! The index: from the hash of a topic and key, or tag, to positions in the log, in files of hash slots and entries.
//!
//! Invariant: an entry number that stands in a slot is below the count of its file, and the chain from there goes down; the
//! file on disk holds every entry below what its snapshot names, and its slots can be rebuilt from its entries.
//!
//! ```text
//! begin ms 8 | end ms 8 | begin physical 8 | end physical 8 | used slots 4 | count 4 (from 1) | slots 4 × n
//! | entries: hash 4, physical 8, seconds after begin 4, number of the one before in the same slot 4
//! ```

use std::collections::VecDeque;
use std::ops::Range;

use super::Fault;
use super::names;
use super::warm::Warm;
use crate::node::{Disk, DiskAsk, DiskError, FileId, Open};

/// Bytes of the head of an index file; Java `IndexHeader.INDEX_HEADER_SIZE`.
pub const HEAD: u64 = 40;
const SLOT: u64 = 4;
const ENTRY: u64 = 20;
/// Slots that are read and written together.
const PAGE: u32 = 1024;
/// Bytes of new entries that are written at once.
const TAIL_MAX: usize = 64 * 1024;
/// Entries that wait for a cold page; more are not taken from the log until it comes.
pub const PENDING_MAX: usize = 1 << 20;

/// The head of an index file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Store time of the first entry.
    pub begin_ms: i64,
    /// Store time of the last entry.
    pub end_ms: i64,
    /// Position of the first entry.
    pub begin_physical: u64,
    /// Position of the last entry.
    pub end_physical: u64,
    /// Slots that hold something.
    pub used_slots: u32,
    /// Number of the next entry; the first is 1.
    pub count: u32,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD as usize] {
        let mut bytes = [0; HEAD as usize];
        bytes[..8].copy_from_slice(&self.begin_ms.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.end_ms.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.begin_physical.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.end_physical.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.used_slots.to_be_bytes());
        bytes[36..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// From the first forty bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Head {
        let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Head {
            begin_ms: word(0).cast_signed(),
            end_ms: word(8).cast_signed(),
            begin_physical: word(16),
            end_physical: word(24),
            used_slots: be32(bytes, 32),
            count: be32(bytes, 36).max(1),
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// What the log says about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// See [`super::entry::TopicSeed::key`] and [`super::entry::TopicSeed::tag`].
    pub hash: u32,
    /// Position of the record.
    pub physical: u64,
    /// Its store time.
    pub store_ms: i64,
}

/// How far keys were brought into files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All of them, or up to a page that is being read.
    AsFarAsPossible,
    /// A page of slots could not be read: the keys wait.
    Unreadable(DiskError),
}

/// An entry as it stands in the file.
#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    physical: u64,
    seconds: u32,
    previous: u32,
}

impl Cell {
    fn to_bytes(self) -> [u8; ENTRY as usize] {
        let mut bytes = [0; ENTRY as usize];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.physical.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }
    fn from_bytes(bytes: &[u8]) -> Cell {
        let physical = u64::from_be_bytes(bytes[4..12].try_into().expect("eight bytes"));
        Cell { hash: be32(bytes, 0), physical, seconds: be32(bytes, 12), previous: be32(bytes, 16) }
    }
}

/// A file that takes no more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The number in its name.
    pub number: u64,
    /// The file.
    pub file: FileId,
    /// Its head.
    pub head: Head,
}

/// Slots of one page, in memory.
#[derive(Debug)]
struct Page {
    slots: Box<[u32; PAGE as usize]>,
    dirty: bool,
}

/// The file that takes entries.
#[derive(Debug)]
pub struct Active {
    number: u64,
    file: FileId,
    head: Head,
    /// Slots by page; a page that is not in memory is on disk, or empty when the file was made in this life.
    pages: Vec<Option<Page>>,
    blank: bool,
    /// Entries below this number are in the file; the rest is in the tail.
    written: u32,
    tail: Vec<u8>,
    head_dirty: bool,
}

/// All index files of a store.
#[derive(Debug)]
pub struct Index {
    slots: u32,
    entries: u32,
    sealed: VecDeque<Sealed>,
    active: Option<Active>,
    /// Keys that were not applied yet, because a page of slots is cold.
    pending: VecDeque<Key>,
    /// The page that is being read for them.
    waiting: Option<u64>,
    /// Files written since the last durable round began.
    touched: Vec<FileId>,
    /// Keys of the record at the end of a file that was kept although later ones were not: they are in it already.
    known: (u64, u32),
}

impl Index {
    /// No files; this many slots and entries in each.
    pub fn new(slots: u32, entries: u32) -> Index {
        assert!(slots > 0 && entries > 1, "an index file has room for an entry");
        Index {
            slots,
            entries,
            sealed: VecDeque::new(),
            active: None,
            pending: VecDeque::new(),
            waiting: None,
            touched: Vec::new(),
            known: (u64::MAX, 0),
        }
    }

    /// Bytes of a file.
    pub fn file_bytes(&self) -> u64 {
        HEAD + u64::from(self.slots) * SLOT + u64::from(self.entries) * ENTRY
    }

    /// Whether a head names no more entries than a file has room for.
    pub fn fits(&self, head: &Head) -> bool {
        head.count <= self.entries
    }

    fn slot_at(slot: u32) -> u64 {
        HEAD + u64::from(slot) * SLOT
    }

    fn entry_at(&self, number: u32) -> u64 {
        HEAD + u64::from(self.slots) * SLOT + u64::from(number) * ENTRY
    }

    /// Takes over the files that recovery found, oldest first. The last one is gone on with if it has room, or if its slots
    /// may have to be rebuilt.
    pub fn open(&mut self, files: Vec<Sealed>, may_rebuild: bool) {
        self.sealed = files.into();
        let goes_on = |last: &Sealed| may_rebuild || last.head.count < self.entries;
        let Some(last) = self.sealed.back().copied().filter(goes_on) else { return };
        self.sealed.pop_back();
        self.active = Some(self.activate(last, false));
    }

    fn activate(&self, file: Sealed, blank: bool) -> Active {
        let pages = (0..self.slots.div_ceil(PAGE)).map(|_| None).collect();
        let Sealed { number, file, head } = file;
        Active { number, file, head, pages, blank, written: head.count, tail: Vec::new(), head_dirty: blank }
    }

    /// The slots of the active file are not to be believed: begins to rebuild them; see [`Index::rebuild_some`].
    pub fn forget_slots(&mut self) {
        if let Some(active) = &mut self.active {
            active.blank = true;
            active.head.used_slots = 0;
            active.head_dirty = true;
            let len = active.pages.len();
            let empty = || Page { slots: Box::new([0; PAGE as usize]), dirty: true };
            active.pages = (0..len).map(|_| Some(empty())).collect();
        }
    }

    /// Puts the entries from number `from` on into the slots again, about a mebibyte of them. Gives the number to go on
    /// from, `None` when done.
    pub fn rebuild_some(
        &mut self,
        from: u32,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<u32>, Fault> {
        let Some(active) = &mut self.active else { return Ok(None) };
        let to = active.head.count.min(from.saturating_add(50_000));
        if from >= to {
            return Ok(None);
        }
        let at = HEAD + u64::from(self.slots) * SLOT + u64::from(from) * ENTRY;
        let bytes = warm.read(active.file, at, ((to - from) as usize) * ENTRY as usize, disk, asks)?;
        for (number, bytes) in (from..to).zip(bytes.chunks_exact(ENTRY as usize)) {
            let slot = Cell::from_bytes(bytes).hash % self.slots;
            let page = active.pages[(slot / PAGE) as usize].as_mut().expect("every page was emptied");
            let place = &mut page.slots[(slot % PAGE) as usize];
            active.head.used_slots += u32::from(*place == 0);
            *place = number;
        }
        Ok(Some(to))
    }

    /// Takes the keys of a record; [`Index::apply`] brings them into a file.
    pub fn add(&mut self, key: Key) {
        if key.physical < self.end_physical() {
            return;
        }
        if key.physical == self.known.0 && self.known.1 > 0 {
            self.known.1 -= 1;
            return;
        }
        self.pending.push_back(key);
    }

    /// Position of the last record that is in a file.
    pub fn end_physical(&self) -> u64 {
        let last = self.active.as_ref().map(|active| active.head.end_physical);
        last.or_else(|| self.sealed.back().map(|file| file.head.end_physical)).unwrap_or(0)
    }

    /// Whether keys wait for a page of slots.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether what the index waits for has come.
    pub fn is_ready(&self, warm: &Warm) -> bool {
        self.waiting.is_none_or(|ticket| !warm.is_coming(ticket))
    }

    /// Brings keys into the active file (in memory), until a cold page stops it; a full file is written and sealed.
    pub fn apply(
        &mut self,
        wall_ms: u64,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Applied, DiskError> {
        if !self.is_ready(warm) {
            return Ok(Applied::AsFarAsPossible);
        }
        self.waiting = None;
        while let Some(key) = self.pending.front().copied() {
            if self.active.as_ref().is_none_or(|active| active.head.count >= self.entries) {
                self.roll(wall_ms, warm, disk)?;
            }
            match self.apply_one(key, warm, disk, asks) {
                Ok(()) => self.pending.pop_front(),
                Err(Fault::Cold(ticket)) => {
                    self.waiting = Some(ticket);
                    return Ok(Applied::AsFarAsPossible);
                }
                Err(Fault::Disk(why)) => return Ok(Applied::Unreadable(why)),
            };
        }
        if self.active.as_ref().is_some_and(|active| active.tail.len() >= TAIL_MAX) {
            self.write_entries(disk, warm)?;
        }
        Ok(Applied::AsFarAsPossible)
    }

    fn apply_one(
        &mut self,
        key: Key,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Fault> {
        let active = self.active.as_mut().expect("the caller has seen to an active file");
        let slot = key.hash % self.slots;
        let page = &mut active.pages[(slot / PAGE) as usize];
        if page.is_none() {
            *page = Some(load_page(active.file, slot / PAGE, self.slots, active.blank, warm, disk, asks)?);
        }
        let page = page.as_mut().expect("just loaded");
        let place = &mut page.slots[(slot % PAGE) as usize];
        let number = active.head.count;
        let previous = if *place < number && !crate::planted!("index-chain-cut") { *place } else { 0 };
        let head = &mut active.head;
        if number == 1 {
            (head.begin_ms, head.begin_physical) = (key.store_ms, key.physical);
        }
        let seconds = (key.store_ms - head.begin_ms).max(0) / 1000;
        let seconds = u32::try_from(seconds.min(i64::from(i32::MAX))).expect("clamped");
        let cell = Cell { hash: key.hash, physical: key.physical, seconds, previous };
        active.tail.extend_from_slice(&cell.to_bytes());
        head.used_slots += u32::from(previous == 0);
        head.count += 1;
        (head.end_ms, head.end_physical) = (key.store_ms, key.physical);
        *place = number;
        page.dirty = true;
        active.head_dirty = true;
        Ok(())
    }

    /// Seals the active file and makes a new one, named by the time.
    fn roll(&mut self, wall_ms: u64, warm: &mut Warm, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.write_all(disk, warm)?;
        if let Some(full) = self.active.take() {
            crate::sometimes!("index file full, next one made");
            self.sealed.push_back(Sealed { number: full.number, file: full.file, head: full.head });
        }
        let newest = self.sealed.back().map_or(0, |file| file.number);
        let number = names::index_number(wall_ms).max(newest + 1);
        let path = names::index_file(number);
        let file = disk.open(&path, Open::Create { len: self.file_bytes() })?;
        let end = self.sealed.back().map(|file| file.head).unwrap_or_default();
        let (begin_ms, begin_physical) = (end.end_ms, end.end_physical);
        let head =
            Head { begin_ms, begin_physical, end_ms: begin_ms, end_physical: begin_physical, used_slots: 0, count: 1 };
        self.active = Some(self.activate(Sealed { number, file, head }, true));
        Ok(())
    }

    /// Writes the new entries of the active file.
    pub fn write_entries(&mut self, disk: &mut dyn Disk, warm: &mut Warm) -> Result<(), DiskError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.tail.is_empty() {
            return Ok(());
        }
        let at = HEAD + u64::from(self.slots) * SLOT + u64::from(active.written) * ENTRY;
        disk.write(active.file, at, &active.tail)?;
        warm.wrote(active.file, at, active.tail.len());
        active.tail.clear();
        active.tail.shrink_to(2 * TAIL_MAX);
        active.written = active.head.count;
        if self.touched.last() != Some(&active.file) {
            self.touched.push(active.file);
        }
        Ok(())
    }

    /// Writes entries, slots (neighbouring pages at once) and head of the active file.
    pub fn write_all(&mut self, disk: &mut dyn Disk, warm: &mut Warm) -> Result<(), DiskError> {
        self.write_entries(disk, warm)?;
        let Some(active) = &mut self.active else { return Ok(()) };
        let mut run: (u64, Vec<u8>) = (0, Vec::new());
        for n in 0..=active.pages.len() {
            let first = u32::try_from(n).expect("pages are counted in 32 bits") * PAGE;
            let page = active.pages.get_mut(n).and_then(Option::as_mut).filter(|page| page.dirty);
            let Some(page) = page else {
                if !run.1.is_empty() {
                    disk.write(active.file, run.0, &run.1)?;
                    warm.wrote(active.file, run.0, run.1.len());
                    run.1.clear();
                }
                continue;
            };
            if run.1.is_empty() {
                run.0 = Index::slot_at(first);
            }
            let used = PAGE.min(self.slots - first) as usize;
            page.slots[..used].iter().for_each(|slot| run.1.extend_from_slice(&slot.to_be_bytes()));
            page.dirty = false;
        }
        if active.head_dirty {
            disk.write(active.file, 0, &active.head.to_bytes())?;
            warm.wrote(active.file, 0, HEAD as usize);
            active.head_dirty = false;
            self.touched.push(active.file);
        }
        Ok(())
    }

    /// Files written since this was asked last.
    pub fn take_touched(&mut self) -> Vec<FileId> {
        std::mem::take(&mut self.touched)
    }

    /// An earlier life wrote files from this number on and perhaps did not sync them.
    pub fn distrust(&mut self, from: u64) {
        let active = self.active.iter().map(|active| (active.number, active.file));
        let all = self.sealed.iter().map(|file| (file.number, file.file)).chain(active);
        let distrusted: Vec<FileId> = all.filter(|(number, _)| *number >= from).map(|(_, file)| file).collect();
        self.touched.extend(distrusted);
    }

    /// What a snapshot remembers: number and head of the active file.
    pub fn state(&self) -> Option<(u64, Head)> {
        self.active.as_ref().map(|active| (active.number, active.head))
    }

    /// Positions of records with this key hash and a store time in `times_ms` (to the second), newest first.
    pub fn find(
        &mut self,
        hash: u32,
        max: usize,
        times_ms: &Range<i64>,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Vec<u64>, Fault> {
        let in_time = |key: &&Key| times_ms.contains(&key.store_ms) && key.hash == hash;
        let mut found: Vec<u64> = self.pending.iter().rev().filter(in_time).map(|key| key.physical).take(max).collect();
        let active =
            self.active.as_ref().map(|active| Sealed { number: active.number, file: active.file, head: active.head });
        for file in active.into_iter().chain(self.sealed.iter().rev().copied()) {
            if found.len() >= max {
                break;
            }
            let head = file.head;
            if head.count > 1 && head.begin_ms < times_ms.end && head.end_ms >= times_ms.start {
                self.walk(&file, hash, max, times_ms, &mut found, warm, disk, asks)?;
            }
            if head.begin_ms < times_ms.start {
                break;
            }
        }
        Ok(found)
    }

    #[allow(clippy::too_many_arguments, reason = "the three last belong together and are passed on everywhere")]
    fn walk(
        &self,
        file: &Sealed,
        hash: u32,
        max: usize,
        times_ms: &Range<i64>,
        found: &mut Vec<u64>,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Fault> {
        let mut number = self.slot(file, hash % self.slots, warm, disk, asks)?;
        while found.len() < max && number > 0 && number < file.head.count {
            let cell = self.cell(file, number, warm, disk, asks)?;
            let ms = file.head.begin_ms.saturating_add(i64::from(cell.seconds) * 1000);
            // Only seconds are known: a record is in time when its second touches the range.
            let in_time = ms < times_ms.end && ms.saturating_add(999) >= times_ms.start;
            if cell.hash == hash && in_time {
                found.push(cell.physical);
            }
            if cell.previous >= number || ms.saturating_add(999) < times_ms.start {
                break;
            }
            number = cell.previous;
        }
        Ok(())
    }

    fn slot(
        &self,
        file: &Sealed,
        slot: u32,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<u32, Fault> {
        if let Some(active) = self.active.as_ref().filter(|active| active.number == file.number) {
            match &active.pages[(slot / PAGE) as usize] {
                Some(page) => return Ok(page.slots[(slot % PAGE) as usize]),
                None if active.blank => return Ok(0),
                None => {}
            }
        }
        let bytes = warm.read(file.file, Index::slot_at(slot), SLOT as usize, disk, asks)?;
        Ok(if bytes.len() == SLOT as usize { be32(&bytes, 0) } else { 0 })
    }

    fn cell(
        &self,
        file: &Sealed,
        number: u32,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Cell, Fault> {
        if let Some(active) = self.active.as_ref().filter(|active| active.number == file.number)
            && number >= active.written
        {
            let at = (number - active.written) as usize * ENTRY as usize;
            return Ok(Cell::from_bytes(&active.tail[at..at + ENTRY as usize]));
        }
        let bytes = warm.read(file.file, self.entry_at(number), ENTRY as usize, disk, asks)?;
        let none = Cell { hash: 0, physical: 0, seconds: 0, previous: 0 };
        Ok(if bytes.len() == ENTRY as usize { Cell::from_bytes(&bytes) } else { none })
    }

    /// How many of the last entries of the newest file belong to the record at its end, so that a new scan from there adds
    /// none of them twice.
    pub fn know_last(&mut self, warm: &mut Warm, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Result<(), Fault> {
        let last =
            self.active.as_ref().map(|active| Sealed { number: active.number, file: active.file, head: active.head });
        let Some(last) = last.or_else(|| self.sealed.back().copied()) else { return Ok(()) };
        let mut known = 0;
        while known + 1 < last.head.count {
            let cell = self.cell(&last, last.head.count - 1 - known, warm, disk, asks)?;
            if cell.physical != last.head.end_physical {
                break;
            }
            known += 1;
        }
        self.known = (last.head.end_physical, known);
        Ok(())
    }

    /// Gives up the files whose every entry points below the begin of the log; the paths to remove.
    pub fn expire(&mut self, log_begin: u64) -> Vec<(FileId, String)> {
        let mut gone = Vec::new();
        while let Some(file) = self.sealed.front().copied().filter(|file| file.head.end_physical < log_begin) {
            self.sealed.pop_front();
            gone.push((file.file, names::index_file(file.number)));
        }
        gone
    }

    /// Panics when the state contradicts itself.
    pub fn invariants(&self) {
        assert!(self.pending.len() <= 2 * PENDING_MAX, "waiting keys are bounded");
        if let Some(active) = &self.active {
            assert!(active.head.count <= self.entries, "a file holds no more than it has room for");
            assert_eq!(
                active.tail.len() as u64,
                u64::from(active.head.count - active.written) * ENTRY,
                "the tail is what is not written"
            );
            assert!(self.sealed.iter().all(|file| file.number < active.number), "the active file is the newest");
        }
        assert!(self.sealed.iter().is_sorted_by_key(|file| file.number), "files are in order");
    }
}

fn load_page(
    file: FileId,
    page: u32,
    slots: u32,
    blank: bool,
    warm: &mut Warm,
    disk: &mut dyn Disk,
    asks: &mut Vec<DiskAsk>,
) -> Result<Page, Fault> {
    let mut loaded = Page { slots: Box::new([0; PAGE as usize]), dirty: false };
    if !blank {
        let first = page * PAGE;
        let len = PAGE.min(slots - first) as usize * SLOT as usize;
        let bytes = warm.read(file, Index::slot_at(first), len, disk, asks)?;
        loaded.slots.iter_mut().zip(bytes.chunks_exact(SLOT as usize)).for_each(|(slot, bytes)| *slot = be32(bytes, 0));
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heads_and_cells_go_through_bytes(numbers: [u64; 5], words: [u32; 6]) {
            let head = Head {
                begin_ms: numbers[0].cast_signed(),
                end_ms: numbers[1].cast_signed(),
                begin_physical: numbers[2],
                end_physical: numbers[3],
                used_slots: words[0],
                count: words[1].max(1),
            };
            prop_assert_eq!(Head::from_bytes(&head.to_bytes()), head);
            let cell = Cell { hash: words[2], physical: numbers[4], seconds: words[3], previous: words[4] };
            let bytes = cell.to_bytes();
            prop_assert_eq!(Cell::from_bytes(&bytes).to_bytes(), bytes);
            let back = Cell::from_bytes(&bytes);
            prop_assert_eq!((back.hash, back.physical, back.seconds, back.previous), (words[2], numbers[4], words[3], words[4]));
        }

        /// What a torn write left is a head too; only that numbers begin with 1 is taken for granted.
        #[test]
        fn any_forty_bytes_are_a_head(halves: [[u8; 20]; 2]) {
            let bytes = halves.concat();
            let again = Head::from_bytes(&bytes).to_bytes();
            let blank = bytes[36..] == [0; 4];
            prop_assert!(again[..36] == bytes[..36] && (blank && again[36..] == [0, 0, 0, 1] || again[36..] == bytes[36..]));
        }
    }
}

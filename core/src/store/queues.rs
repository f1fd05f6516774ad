//! All consume queues: found by topic and number, written in slices, read from memory or file.
//!
//! Invariant: a queue that has unwritten entries is on exactly one of the two lists (`fresh`, `cycle`); when a cycle is over,
//! every entry that was dispatched before it began is in a file.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::Fault;
use super::damage::NEIGHBOURS;
use super::entry::{ENTRY, Entry, TopicSeed};
use super::names;
use super::queue::Queue;
use super::warm::Warm;
use crate::node::{Disk, DiskAsk, DiskError, FileId, Open};

/// A map whose order and hashes are the same in every process.
type Fixed = BuildHasherDefault<DefaultHasher>;
/// Entries kept in memory for the readers at the tail, over all queues (24 bytes each).
const WINDOWS: usize = 512 * 1024;
/// Most and fewest entries kept for one queue.
const WINDOW: Range<usize> = 8..1024;
/// Unwritten entries at which a queue is written at once, and over all queues when it is written earlier.
const SLICE: u64 = 1024;
const SLICE_CROWDED: u64 = 128;
const CROWDED: u64 = 256 * 1024;
/// Queue files that the disk may keep open.
const OPEN_MAX: usize = 1024;

/// A topic and its queues.
#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    seed: TopicSeed,
    /// Queue numbers and slots, sorted.
    queues: Vec<(u32, u32)>,
}

impl Topic {
    fn slot(&self, id: u32) -> Option<u32> {
        match self.queues.get(id as usize) {
            Some((same, slot)) if *same == id => Some(*slot),
            _ => self.queues.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| self.queues[at].1),
        }
    }
}

/// The queues of a store.
#[derive(Debug)]
pub struct Queues {
    file_entries: u64,
    topics: IndexMap<Arc<str>, Topic, Fixed>,
    queues: Vec<Option<Queue>>,
    free: Vec<u32>,
    /// Queues that got entries since the cycle began.
    fresh: Vec<u32>,
    /// Queues that the cycle has still to write.
    cycle: VecDeque<u32>,
    /// Unwritten entries, and entries in windows, over all queues.
    dirty: u64,
    windowed: usize,
    /// Files written since the last durable round began.
    touched: IndexSet<FileId, Fixed>,
    /// Entries that an earlier life wrote and perhaps did not sync.
    unsynced: Vec<(u32, Range<u64>)>,
    open: VecDeque<FileId>,
    is_open: BTreeSet<FileId>,
    /// Files that are being removed: not made anew before they are gone.
    removing: BTreeSet<Arc<str>>,
    scratch: Vec<u8>,
}

impl Queues {
    /// No queues; files of this many entries.
    pub fn new(file_entries: u64) -> Queues {
        assert!(file_entries > 0, "a queue file has room for an entry");
        Queues {
            file_entries,
            topics: IndexMap::default(),
            queues: Vec::new(),
            free: Vec::new(),
            fresh: Vec::new(),
            cycle: VecDeque::new(),
            dirty: 0,
            windowed: 0,
            touched: IndexSet::default(),
            unsynced: Vec::new(),
            open: VecDeque::new(),
            is_open: BTreeSet::new(),
            removing: BTreeSet::new(),
            scratch: Vec::new(),
        }
    }

    /// Entries of a queue file.
    pub fn file_entries(&self) -> u64 {
        self.file_entries
    }

    /// How many slots there are; some may be empty.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.queues.len()).expect("queues are far below 4 billion")
    }

    /// The queue in a slot.
    pub fn get(&self, slot: u32) -> Option<&Queue> {
        self.queues.get(slot as usize)?.as_ref()
    }

    /// The queue in a slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Queue> {
        self.queues.get_mut(slot as usize)?.as_mut()
    }

    /// The slot of a queue.
    pub fn find(&self, topic: &str, id: u32) -> Option<u32> {
        self.topics.get(topic)?.slot(id)
    }

    /// The slot of a queue, which is made when it is new, and what [`super::entry::labels`] needs to know of its topic.
    pub fn place(&mut self, topic: &str, id: u32) -> (u32, TopicSeed) {
        if let Some(known) = self.topics.get(topic)
            && let Some(slot) = known.slot(id)
        {
            return (slot, known.seed);
        }
        self.add(topic, id, 0..0, None)
    }

    /// Adds a queue.
    pub fn add(&mut self, topic: &str, id: u32, range: Range<u64>, files_from: Option<u64>) -> (u32, TopicSeed) {
        if !self.topics.contains_key(topic) {
            let name: Arc<str> = topic.into();
            let new = Topic { name: name.clone(), seed: TopicSeed::of(topic), queues: Vec::new() };
            self.topics.insert(name, new);
        }
        let known = self.topics.get_mut(topic).expect("just added");
        let queue = Queue::new(known.name.clone(), id, range, files_from);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.queues[slot as usize] = Some(queue);
                slot
            }
            None => {
                self.queues.push(Some(queue));
                u32::try_from(self.queues.len() - 1).expect("queues are far below 4 billion")
            }
        };
        let at = known.queues.binary_search_by_key(&id, |(id, _)| *id).expect_err("a queue is added once");
        known.queues.insert(at, (id, slot));
        (slot, known.seed)
    }

    /// Says what recovery found: the queue holds this range, all of it in files.
    pub fn reset(&mut self, slot: u32, range: Range<u64>, files_from: Option<u64>) {
        let queue = self.queues[slot as usize].as_mut().expect("recovery knows its queues");
        assert!(queue.dirty() == 0 && queue.window_from() == queue.end, "only a queue that is all in files is reset");
        *queue = Queue::new(queue.topic.clone(), queue.id, range, files_from);
    }

    /// Adds the entry behind the last one of a queue. Tells whether the queue should be written now.
    pub fn push(&mut self, slot: u32, entry: Entry) -> bool {
        let Some(queue) = self.queues[slot as usize].as_mut() else { return false };
        queue.push(entry);
        self.dirty += 1;
        self.windowed += 1;
        if !queue.listed {
            queue.listed = true;
            self.fresh.push(slot);
        }
        queue.dirty() >= if self.dirty > CROWDED { SLICE_CROWDED } else { SLICE }
    }

    /// Writes the unwritten entries of a queue, unless the file is still being removed.
    pub fn write(&mut self, slot: u32, disk: &mut dyn Disk, warm: &mut Warm) -> Result<(), DiskError> {
        while let Some(queue) = self.get(slot).filter(|queue| queue.dirty() > 0) {
            let begin = queue.written / self.file_entries * self.file_entries;
            let (from, to) = (queue.written, queue.end.min(begin + self.file_entries));
            let is_first = queue.files_from.is_none();
            if self.is_removing(queue, begin) {
                return Ok(());
            }
            let file = self.file(slot, begin, true, disk)?;
            self.scratch.clear();
            let filler = if is_first { from - begin } else { 0 };
            (0..filler).for_each(|_| self.scratch.extend_from_slice(&Entry::FILLER.to_bytes()));
            let queue = self.queues[slot as usize].as_mut().expect("seen above");
            queue.in_window(from..to).for_each(|entry| self.scratch.extend_from_slice(&entry.to_bytes()));
            let at = (from - filler - begin) * ENTRY;
            disk.write(file, at, &self.scratch)?;
            warm.wrote(file, at, self.scratch.len());
            queue.files_from.get_or_insert(begin);
            queue.written = to;
            self.dirty -= to - from;
            self.touched.insert(file);
        }
        self.scratch.shrink_to(64 * 1024);
        self.trim(slot);
        Ok(())
    }

    fn is_removing(&self, queue: &Queue, begin: u64) -> bool {
        !self.removing.is_empty()
            && self.removing.contains(names::queue_file(&queue.topic, queue.id, begin * ENTRY).as_str())
    }

    /// Whether files are being removed: no cycle begins then, because it could not write every queue.
    pub fn has_removals(&self) -> bool {
        !self.removing.is_empty()
    }

    /// The removal of a file has ended.
    pub fn removed(&mut self, path: &str) {
        self.removing.remove(path);
    }

    fn trim(&mut self, slot: u32) {
        let keep = (WINDOWS / self.count().1.max(1)).clamp(WINDOW.start, WINDOW.end);
        if let Some(queue) = self.queues[slot as usize].as_mut() {
            self.windowed -= queue.trim(keep);
        }
    }

    /// The file whose first entry has the number `begin`.
    fn file(&mut self, slot: u32, begin: u64, create: bool, disk: &mut dyn Disk) -> Result<FileId, DiskError> {
        let queue = self.queues[slot as usize].as_mut().expect("files are asked of queues that are there");
        let file = match queue.file {
            Some((of, file)) if of == begin => file,
            _ => {
                let path = names::queue_file(&queue.topic, queue.id, begin * ENTRY);
                let len = self.file_entries * ENTRY;
                disk.open(&path, if create { Open::Create { len } } else { Open::Existing })?
            }
        };
        queue.file = Some((begin, file));
        if self.is_open.insert(file) {
            self.open.push_back(file);
            if self.open.len() > OPEN_MAX {
                let oldest = self.open.pop_front().expect("more than the most");
                self.is_open.remove(&oldest);
                disk.close(oldest);
            }
        }
        Ok(file)
    }

    /// Appends the entries `from..to` to `into`, as far as they are there: a missing file ends the list.
    pub fn read(
        &mut self,
        slot: u32,
        range: Range<u64>,
        into: &mut Vec<Entry>,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Fault> {
        let Some(queue) = self.get(slot) else { return Ok(()) };
        let (mut from, to, window_from) = (range.start, range.end.min(queue.end), queue.window_from());
        while from < to.min(window_from) {
            let begin = from / self.file_entries * self.file_entries;
            let until = to.min(window_from).min(begin + self.file_entries);
            let file = match self.file(slot, begin, false, disk) {
                Err(DiskError::Missing) => return Ok(()),
                other => other?,
            };
            let len = usize::try_from((until - from) * ENTRY).expect("a read fits into memory");
            let bytes = warm.read(file, (from - begin) * ENTRY, len, disk, asks)?;
            into.extend(bytes.chunks_exact(ENTRY as usize).map(Entry::from_bytes));
            if bytes.len() < len {
                return Ok(());
            }
            from = until;
        }
        if from < to {
            into.extend(self.get(slot).expect("seen above").in_window(from..to));
        }
        Ok(())
    }

    /// Puts an entry of a file right.
    pub fn rewrite(
        &mut self,
        slot: u32,
        offset: u64,
        entry: Entry,
        disk: &mut dyn Disk,
        warm: &mut Warm,
    ) -> Result<(), DiskError> {
        let begin = offset / self.file_entries * self.file_entries;
        let file = self.file(slot, begin, false, disk)?;
        let at = (offset - begin) * ENTRY;
        disk.write(file, at, &entry.to_bytes())?;
        warm.wrote(file, at, ENTRY as usize);
        self.touched.insert(file);
        Ok(())
    }

    /// One entry.
    pub fn entry(
        &mut self,
        slot: u32,
        offset: u64,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Entry>, Fault> {
        let mut found = Vec::with_capacity(1);
        self.read(slot, offset..offset + 1, &mut found, warm, disk, asks)?;
        Ok(found.first().copied().filter(Entry::is_message))
    }

    /// First offset in `range` whose entry satisfies `is_right`; entries that stand for no message are left of it. Right of
    /// the first one that satisfies it, all do.
    pub fn partition(
        &mut self,
        slot: u32,
        range: Range<u64>,
        mut is_right: impl FnMut(&Entry, &mut Warm, &mut dyn Disk, &mut Vec<DiskAsk>) -> Result<bool, Fault>,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<u64, Fault> {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let right = match self.entry(slot, middle, warm, disk, asks)? {
                Some(entry) => is_right(&entry, warm, disk, asks)?,
                None => false,
            };
            if right {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Moves the first offset of a queue behind what the log has given up, and asks for the removal of files that are
    /// wholly below it, but for the last one: it remembers where the queue ends.
    pub fn correct_min(
        &mut self,
        slot: u32,
        log_begin: u64,
        warm: &mut Warm,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), Fault> {
        let Some(queue) = self.get(slot) else { return Ok(()) };
        let range = queue.min..queue.end;
        if let Some(first) = self.entry(slot, range.start, warm, disk, asks)?
            && first.physical >= log_begin
        {
            return Ok(());
        }
        let is_kept = |entry: &Entry| entry.physical >= log_begin;
        let mut min = self.partition(slot, range.clone(), |entry, _, _, _| Ok(is_kept(entry)), warm, disk, asks)?;
        // A damaged entry may have led the search too far: what stands before it is looked at, too.
        let mut at = min;
        while at > range.start && at + NEIGHBOURS > min {
            at -= 1;
            if self.entry(slot, at, warm, disk, asks)?.is_some_and(|entry| is_kept(&entry)) {
                min = at;
            }
        }
        let file_entries = self.file_entries;
        let queue = self.get_mut(slot).expect("seen above");
        queue.min = min;
        while let Some(begin) = queue.files_from.filter(|begin| begin + file_entries <= min) {
            if begin + file_entries >= queue.written {
                break;
            }
            crate::sometimes!("queue file removed by retention");
            let path = names::queue_file(&queue.topic, queue.id, begin * ENTRY);
            if !crate::planted!("queue-file-left") {
                asks.push(DiskAsk::Remove { path: path.into() });
            }
            queue.file = queue.file.filter(|(of, _)| *of != begin);
            queue.files_from = Some(begin + file_entries);
        }
        Ok(())
    }

    /// Every queue: its topic, its slot. In order of topics as they came.
    pub fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.topics.values().flat_map(|topic| topic.queues.iter().filter_map(|(_, slot)| self.get(*slot)))
    }

    /// How many topics and queues there are.
    pub fn count(&self) -> (usize, usize) {
        (self.topics.len(), self.queues.len() - self.free.len())
    }

    /// Slots of a topic.
    pub fn slots_of(&self, topic: &str) -> Vec<u32> {
        self.topics.get(topic).map_or_else(Vec::new, |topic| topic.queues.iter().map(|(_, slot)| *slot).collect())
    }

    /// Forgets a topic and gives the paths of its files.
    pub fn remove(&mut self, topic: &str) -> Vec<Arc<str>> {
        let mut paths: Vec<Arc<str>> = Vec::new();
        let Some(gone) = self.topics.shift_remove(topic) else { return paths };
        for (_, slot) in gone.queues {
            let queue = self.queues[slot as usize].take().expect("a topic lists queues that are there");
            self.dirty -= queue.dirty();
            self.windowed -= usize::try_from(queue.end - queue.window_from()).expect("a window fits into memory");
            let mut begin = queue.files_from.unwrap_or(queue.written);
            while begin < queue.written {
                paths.push(names::queue_file(topic, queue.id, begin * ENTRY).into());
                begin += self.file_entries;
            }
            self.fresh.retain(|listed| *listed != slot);
            self.cycle.retain(|listed| *listed != slot);
            self.free.push(slot);
        }
        self.removing.extend(paths.iter().cloned());
        paths
    }

    /// Begins to write every queue that has unwritten entries.
    pub fn begin_cycle(&mut self) {
        assert!(
            self.cycle.is_empty() && self.removing.is_empty(),
            "one cycle at a time, and every queue can be written"
        );
        self.cycle.extend(self.fresh.drain(..));
    }

    /// Whether entries came since the cycle began.
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Writes up to `most` queues of the cycle. Tells whether the cycle is over.
    pub fn write_some(&mut self, most: usize, disk: &mut dyn Disk, warm: &mut Warm) -> Result<bool, DiskError> {
        for _ in 0..most {
            let Some(slot) = self.cycle.front().copied() else { break };
            self.write(slot, disk, warm)?;
            self.cycle.pop_front();
            let queue = self.queues[slot as usize].as_mut().expect("removed queues are not listed");
            queue.listed = queue.dirty() > 0;
            if queue.listed {
                self.fresh.push(slot);
            }
        }
        Ok(self.cycle.is_empty())
    }

    /// Whether nothing is left of the cycle.
    pub fn cycle_is_over(&self) -> bool {
        self.cycle.is_empty()
    }

    /// An earlier life wrote these entries of a queue and perhaps did not sync them.
    pub fn distrust(&mut self, slot: u32, range: Range<u64>) {
        if !range.is_empty() {
            self.unsynced.push((slot, range));
        }
    }

    /// Files written since this was asked last, and those that an earlier life left unsynced.
    pub fn take_touched(&mut self, disk: &mut dyn Disk) -> Vec<FileId> {
        for (slot, range) in std::mem::take(&mut self.unsynced) {
            let mut begin = range.start / self.file_entries * self.file_entries;
            while begin < range.end && self.get(slot).is_some() {
                // What is not there any more needs no sync.
                if let Ok(file) = self.file(slot, begin, false, disk) {
                    self.touched.insert(file);
                }
                begin += self.file_entries;
            }
        }
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    /// A file is gone: there is nothing to sync.
    pub fn untouch(&mut self, file: FileId) {
        self.touched.shift_remove(&file);
    }

    /// Unwritten entries over all queues.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Panics when the state contradicts itself.
    pub fn invariants(&self) {
        let queues = || self.queues.iter().flatten();
        queues().for_each(Queue::invariants);
        assert_eq!(self.dirty, queues().map(Queue::dirty).sum::<u64>(), "unwritten entries are counted");
        let windowed = queues().map(|queue| queue.end - queue.window_from()).sum::<u64>();
        assert_eq!(self.windowed as u64, windowed, "entries in windows are counted");
        let listed = self.fresh.len() + self.cycle.len();
        assert_eq!(listed, queues().filter(|queue| queue.listed).count(), "a listed queue is on one list");
        assert!(self.open.len() <= OPEN_MAX && self.open.len() == self.is_open.len(), "open files are bounded");
        for topic in self.topics.values() {
            assert!(topic.queues.is_sorted(), "the queues of a topic are sorted");
        }
    }
}

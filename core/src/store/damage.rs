//! Damage that a reader meets: a record, or the queue entry that leads to it, is no longer what was written.
//!
//! Invariant: a record is handed out only if its checksum, topic, queue and number are those that were asked for. An
//! entry is a projection and is put right from the log; a record that is lost costs itself alone, and is named once.

use std::collections::BTreeSet;

use memchr::memmem;

use super::entry::{Entry, TopicSeed, labels};
use super::{Fault, Store, StoreNews};
use crate::message::record::{Record, RecordError};
use crate::node::{Disk, DiskAsk};

/// Bytes of the log that are searched for the record of one damaged entry.
const SEARCH: u64 = 8 << 20;
/// Bytes read at once in such a search.
const SLICE: u64 = 64 * 1024;
/// Neighbours of a damaged entry that are looked at one by one on each side: more than the entries of two sectors, which a disk damages
/// together. Then the distance doubles.
pub(super) const NEIGHBOURS: u64 = 64;
/// Lost messages that are remembered; one that is forgotten is searched for, and named, again.
const LOST_MAX: usize = 4096;
/// The part of the magic that both versions of a record share.
const MAGIC: [u8; 3] = [0xDA, 0xA3, 0x20];
/// Property of a record that other queues lead to as well (Java `PROPERTY_INNER_MULTI_DISPATCH`).
const MULTI_DISPATCH: &[u8] = b"INNER_MULTI_DISPATCH\x01";

/// What is known of damage in this life.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Slots and offsets whose messages are lost.
    lost: BTreeSet<(u32, u64)>,
    /// Messages that were found to be lost.
    pub found: u64,
    /// Entries that were put right.
    pub mended: u64,
}

impl Damage {
    /// Slots may be given to other queues.
    pub fn forget(&mut self) {
        self.lost.clear();
    }
}

/// The place in a queue that a record must be for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub topic: &'a str,
    pub queue_id: u32,
    pub offset: u64,
}

impl Wanted<'_> {
    /// Whether these bytes, read at a position, are the whole and sound record for this place. One that only says a wrong position of
    /// itself is handed out, as Java does.
    pub fn is(&self, bytes: &[u8], physical: u64) -> bool {
        let is_it = |record: &Record<'_>| {
            let is_it = self.is_record(record, physical) || self.is_mine(record);
            if !is_it {
                crate::sometimes!("entry led to the record of another place");
            }
            is_it || crate::planted!("entry-of-another-believed")
        };
        Record::parse(bytes).is_ok_and(|record| record.total == bytes.len() && record.body_is_sound() && is_it(&record))
    }

    /// Whether a record that was searched for is the one: a body may hold what looks like a record, but not its position.
    fn is_record(&self, record: &Record<'_>, physical: u64) -> bool {
        let is_here = record.physical.cast_unsigned() == physical && record.body_is_sound();
        is_here && (self.is_mine(record) || memmem::find(record.properties, MULTI_DISPATCH).is_some())
    }

    fn is_mine(&self, record: &Record<'_>) -> bool {
        record.topic == self.topic
            && record.queue_id.cast_unsigned() == self.queue_id
            && record.queue_offset.cast_unsigned() == self.offset
    }
}

impl Store {
    /// Messages that were found damaged, and queue entries that were put right, in this life.
    pub fn damage(&self) -> (u64, u64) {
        (self.damage.found, self.damage.mended)
    }

    /// An entry leads to no record that may be handed out: puts the entry right if the log holds the message elsewhere. Tells
    /// whether it did; if not, the message is lost.
    pub(super) fn mend(
        &mut self,
        slot: u32,
        offset: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<bool, Fault> {
        if self.damage.lost.contains(&(slot, offset)) {
            return Ok(false);
        }
        let Some(queue) = self.queues.get(slot) else { return Ok(false) };
        let (topic, queue_id, in_memory) = (queue.topic.clone(), queue.id, offset >= queue.window_from());
        let wanted = Wanted { topic: &topic, queue_id, offset };
        let entry = self.entry_at(slot, offset, disk, asks)?;
        if !in_memory && let Some(right) = self.search(slot, entry, wanted, disk, asks)? {
            crate::sometimes!("queue entry put right from the log");
            if entry.is_none_or(|entry| !entry.is_message()) {
                crate::sometimes!("missing queue entry put right from the log");
            }
            self.queues.rewrite(slot, offset, right, disk, &mut self.warm)?;
            self.damage.mended += 1;
            let text = format!("the entry {offset} of {topic}/{queue_id} was damaged and is put right from the log");
            self.news.push(StoreNews::Notice(text));
            return Ok(true);
        }
        crate::sometimes!("damaged message found by a reader");
        if self.damage.lost.len() >= LOST_MAX {
            self.damage.lost.clear();
        }
        self.damage.lost.insert((slot, offset));
        self.damage.found += 1;
        let place = entry.map_or_else(String::new, |entry| self.place_of(entry.physical));
        let text = format!("the message {offset} of {topic}/{queue_id} is damaged ({place}): readers are led past it");
        self.news.push(StoreNews::Notice(text));
        Ok(false)
    }

    /// Whether an entry points below the begin of the log because its message was removed. If it is damaged, one before it leads to its
    /// record.
    pub(super) fn is_removed(
        &mut self,
        slot: u32,
        offset: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<bool, Fault> {
        let begin = self.log.marks().begin;
        let entry = self.entry_at(slot, offset, disk, asks)?;
        if begin == 0 || !entry.is_some_and(|entry| entry.is_message() && entry.physical < begin) {
            return Ok(false);
        }
        // Retention removes from the begin: nothing before it is still there.
        let min = self.queues.get(slot).map_or(0, |queue| queue.min);
        for before in (min.max(offset.saturating_sub(NEIGHBOURS))..offset).rev() {
            if self.sound_entry(slot, before, disk, asks)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An entry that leads to the record of its place.
    fn sound_entry(
        &mut self,
        slot: u32,
        offset: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Entry>, Fault> {
        let entry = self.entry_at(slot, offset, disk, asks)?;
        let Some(entry) = entry.filter(|entry| self.is_plausible(entry)) else { return Ok(None) };
        if crate::planted!("neighbours-believed") {
            return Ok(Some(entry));
        }
        let Some(hit) = self.by_position(entry.physical, disk, asks)? else { return Ok(None) };
        let Some(queue) = self.queues.get(slot) else { return Ok(None) };
        let place = Wanted { topic: &queue.topic, queue_id: queue.id, offset };
        Ok(right_entry(&hit.record, hit.physical, place).filter(|right| right.end() == entry.end()))
    }

    fn entry_at(
        &mut self,
        slot: u32,
        offset: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Entry>, Fault> {
        let mut found = Vec::with_capacity(1);
        self.queues.read(slot, offset..offset + 1, &mut found, &mut self.warm, disk, asks)?;
        Ok(found.first().copied())
    }

    fn is_plausible(&self, entry: &Entry) -> bool {
        let marks = self.log.marks();
        entry.is_message() && entry.physical >= marks.begin && entry.end() <= marks.written
    }

    /// The entry for the record that is wanted: at the position that the damaged one names, or between its neighbours.
    fn search(
        &mut self,
        slot: u32,
        entry: Option<Entry>,
        wanted: Wanted<'_>,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Entry>, Fault> {
        let marks = self.log.marks();
        if let Some(entry) = entry
            && let Some(hit) = self.by_position(entry.physical, disk, asks)?
            && let Some(right) = right_entry(&hit.record, hit.physical, wanted)
        {
            return Ok((right != entry).then_some(right));
        }
        let (mut from, mut to) = (marks.begin, marks.written);
        let range = self.queues.get(slot).map_or(0..0, |queue| queue.min..queue.end);
        for before in distances().map_while(|far| wanted.offset.checked_sub(far)).take_while(|at| *at >= range.start) {
            if let Some(entry) = self.sound_entry(slot, before, disk, asks)? {
                from = entry.end();
                break;
            }
        }
        for behind in distances().map(|far| wanted.offset + far).take_while(|at| *at < range.end) {
            if let Some(entry) = self.sound_entry(slot, behind, disk, asks)? {
                to = entry.physical;
                break;
            }
        }
        self.search_log(from, to.min(from.saturating_add(SEARCH)), wanted, disk, asks)
    }

    fn search_log(
        &mut self,
        from: u64,
        to: u64,
        wanted: Wanted<'_>,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Entry>, Fault> {
        let mut at = from;
        while at < to {
            let Some(file) = self.log.file_at(at) else { break };
            let end = (file.begin + self.log.file_bytes()).min(self.log.marks().written);
            let left = usize::try_from(end.saturating_sub(at)).expect("a file fits into an address space");
            let slice_len = left.min(SLICE as usize);
            let Some(mut slice) = self.log.read(at, slice_len, &mut self.warm, disk, asks)? else { break };
            if let Err(RecordError::Short(need)) = Record::parse(&slice)
                && need > slice.len()
                && need <= left
                && let Some(whole) = self.log.read(at, need, &mut self.warm, disk, asks)?
            {
                slice = whole;
            }
            match Record::parse(&slice) {
                Ok(record) if wanted.is_record(&record, at) => {
                    return Ok(right_entry(&slice[..record.total], at, wanted));
                }
                Ok(record) if record.body_is_sound() => at += record.total as u64,
                Err(RecordError::Blank(_)) => at = file.begin + self.log.file_bytes(),
                _ => {
                    // The next thing that looks like a record.
                    let next = memmem::find(slice.get(5..).unwrap_or_default(), &MAGIC).map(|found| found + 1);
                    at += next.unwrap_or_else(|| slice.len().saturating_sub(6).max(8)) as u64;
                }
            }
        }
        Ok(None)
    }
}

/// How far from a damaged entry its neighbours are looked for.
fn distances() -> impl Iterator<Item = u64> {
    (1..=NEIGHBOURS).chain((1..=20).map(|n| NEIGHBOURS << n))
}

/// The entry that leads to this record, if it is the one that is wanted.
fn right_entry(bytes: &[u8], physical: u64, wanted: Wanted<'_>) -> Option<Entry> {
    let record = Record::parse(bytes).ok().filter(|record| wanted.is_record(record, physical))?;
    let ms = u64::try_from(record.store_ms).unwrap_or(0);
    let labels = labels(&TopicSeed::of(wanted.topic), record.sys_flag, ms, record.properties);
    let size = u32::try_from(record.total).expect("lengths have 32 bits");
    Some(Entry { physical, size, tags_code: labels.tags_code })
}

//! Reading: by queue offset, by time, by key, by position.
//!
//! Invariant: a record is handed out only if the bytes at its position are a record of the length that the entry names, and
//! it is readable; the answers of [`Store::get`] are those of Java `DefaultMessageStore.getMessage`.

use std::ops::Range;

use bytes::Bytes;

use super::damage::Wanted;
use super::entry::{Entry, TopicSeed};
use super::{Fault, Get, GetStatus, Got, Hit, Label, Store};
use crate::message::record::{self, MAGIC_V1, MAGIC_V2};
use crate::node::{Disk, DiskAsk};

/// Entries looked at for one answer; Java `maxFilterMessageSize` 16,000 / 20.
const SCAN: u64 = 800;
/// Most bytes of an answer whatever is asked for; Java `MAX_PULL_MSG_SIZE`.
const BYTES_MAX: usize = 128 << 20;
/// Bytes of a record that hold its store time.
const HEAD: usize = 80;
/// Bytes read for one record whose length is not known: most are shorter.
const GUESS: usize = 4096;

/// Records that follow each other in the log, read at once.
struct Run {
    begin: u64,
    end: u64,
    /// Lengths, and the offsets in the queue.
    sizes: Vec<(u32, u64)>,
}

/// What was chosen for an answer.
#[derive(Default)]
struct Choice {
    runs: Vec<Run>,
    count: u32,
    bytes: usize,
    next_offset: u64,
    lost: bool,
    /// Offsets whose entries lead nowhere, or to what is not their record.
    odd: Vec<u64>,
}

impl Store {
    /// `min..max` of a queue; `0..0` when it does not exist.
    pub fn queue_range(&self, topic: &str, queue_id: u32) -> Range<u64> {
        let queue = self.queues.find(topic, queue_id).and_then(|slot| self.queues.get(slot));
        queue.map_or(0..0, |queue| queue.min..queue.end)
    }

    /// Every queue with its range.
    pub fn queues(&self) -> Box<dyn Iterator<Item = (&str, u32, Range<u64>)> + '_> {
        Box::new(self.queues.iter().map(|queue| (&*queue.topic, queue.id, queue.min..queue.end)))
    }

    /// Reads records of a queue.
    pub fn get(&mut self, get: &Get<'_>, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Got {
        let range = self.queue_range(get.topic, get.queue_id);
        let got = |status, next_offset| Got {
            status,
            records: Vec::new(),
            count: 0,
            next_offset,
            min_offset: range.start,
            max_offset: range.end,
        };
        let Some(slot) = self.queues.find(get.topic, get.queue_id) else {
            return got(GetStatus::NoMatchedLogicQueue, 0);
        };
        if range.end == 0 {
            return got(GetStatus::NoMessageInQueue, 0);
        }
        if get.offset < range.start {
            return got(GetStatus::OffsetTooSmall, range.start);
        }
        if get.offset == range.end {
            return got(GetStatus::OffsetOverflowOne, get.offset);
        }
        if get.offset > range.end {
            return got(GetStatus::OffsetOverflowBadly, range.end);
        }
        loop {
            let answer = self.fill(get, slot, range.end, disk, asks).and_then(|(status, choice, records)| {
                Ok((self.mend_some(slot, &choice.odd, disk, asks)?, status, choice, records))
            });
            return match answer {
                Ok((true, ..)) => continue,
                Ok((false, status, choice, records)) => {
                    Got { records, count: choice.count, ..got(status, choice.next_offset) }
                }
                Err(Fault::Cold(ticket)) => got(GetStatus::Cold(ticket), get.offset),
                Err(Fault::Disk(why)) => got(GetStatus::Failed(why), get.offset),
            };
        }
    }

    /// Puts entries right that led nowhere. Tells whether there were any.
    fn mend_some(
        &mut self,
        slot: u32,
        odd: &[u64],
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<bool, Fault> {
        let mut mended = false;
        for offset in odd {
            mended |= !self.is_removed(slot, *offset, disk, asks)? && self.mend(slot, *offset, disk, asks)?;
        }
        Ok(mended)
    }

    fn fill(
        &mut self,
        get: &Get<'_>,
        slot: u32,
        max: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(GetStatus, Choice, Vec<Bytes>), Fault> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let wanted = if get.tags.is_some() {
            SCAN
        } else {
            u64::from(get.max.min(self.config.pull_in_memory.0.max(self.config.pull_on_disk.0)))
        };
        let range = get.offset..max.min(get.offset + wanted.max(1));
        let read = self.queues.read(slot, range, &mut entries, &mut self.warm, disk, asks);
        let choice = self.choose(get, &entries);
        let is_hole = entries.is_empty();
        self.entries = entries;
        read?;
        if is_hole {
            let file = self.queues.file_entries();
            let next_offset = (get.offset / file + 1) * file;
            return Ok((GetStatus::OffsetFoundNull, Choice { next_offset, ..choice }, Vec::new()));
        }
        self.fetch(get, choice, disk, asks)
    }

    /// Which of the entries fit into the answer.
    fn choose(&self, get: &Get<'_>, entries: &[Entry]) -> Choice {
        let marks = self.log.marks();
        let mut choice = Choice { next_offset: get.offset, ..Choice::default() };
        let bytes_max = get.max_bytes.min(BYTES_MAX);
        for entry in entries {
            let in_memory = self.is_in_memory(entry.physical);
            let (count_max, size_max) = if in_memory { self.config.pull_in_memory } else { self.config.pull_on_disk };
            let size = entry.size as usize;
            let is_full = choice.count >= get.max.min(count_max) || choice.bytes + size > bytes_max.min(size_max);
            if choice.count > 0 && is_full {
                break;
            }
            let offset = choice.next_offset;
            choice.next_offset += 1;
            // An entry that stands for no message is damaged, and says nothing of a tag.
            let is_asked = |tags: &[i32]| tags.contains(&(entry.tags_code as i32));
            let is_there = entry.is_message() || crate::planted!("missing-entry-skipped");
            if is_there && get.tags.is_some_and(|tags| !is_asked(tags)) {
                continue;
            }
            if !entry.is_message() && crate::planted!("missing-entry-skipped") {
                continue;
            }
            if !entry.is_message() || entry.physical < marks.begin || entry.end() > marks.written {
                choice.lost = true;
                choice.odd.push(offset);
                continue;
            }
            choice.count += 1;
            choice.bytes += size;
            match choice.runs.last_mut().filter(|run| run.end == entry.physical) {
                Some(run) => {
                    run.end = entry.end();
                    run.sizes.push((entry.size, offset));
                }
                None => {
                    choice.runs.push(Run { begin: entry.physical, end: entry.end(), sizes: vec![(entry.size, offset)] })
                }
            }
        }
        choice
    }

    /// Reads what was chosen; what is not the record that the entry stands for is left out.
    fn fetch(
        &mut self,
        get: &Get<'_>,
        mut choice: Choice,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(GetStatus, Choice, Vec<Bytes>), Fault> {
        let mut records = Vec::with_capacity(choice.runs.len());
        for run in &choice.runs {
            let len = usize::try_from(run.end - run.begin).expect("an answer fits into memory");
            let Some(bytes) = self.log.read(run.begin, len, &mut self.warm, disk, asks)? else {
                choice.lost = true;
                choice.count -= u32::try_from(run.sizes.len()).expect("an answer is bounded");
                choice.odd.extend(run.sizes.iter().map(|(_, offset)| *offset));
                continue;
            };
            let mut at = 0;
            let mut sound_from = 0;
            for (size, offset) in &run.sizes {
                let end = at + *size as usize;
                let wanted = Wanted { topic: get.topic, queue_id: get.queue_id, offset: *offset };
                let is_unread = crate::planted!("rotten-record-delivered") && is_record(&bytes[at..end]);
                if !is_unread && !wanted.is(&bytes[at..end], run.begin + at as u64) {
                    choice.odd.push(*offset);
                    choice.lost = true;
                    choice.count -= 1;
                    if sound_from < at {
                        records.push(bytes.slice(sound_from..at));
                    }
                    sound_from = end;
                }
                at = end;
            }
            if sound_from < at {
                records.push(bytes.slice(sound_from..at));
            }
        }
        let status = match (choice.count, choice.lost) {
            (0, true) => GetStatus::MessageWasRemoving,
            (0, false) => GetStatus::NoMatchedMessage,
            _ => GetStatus::Found,
        };
        assert_eq!(choice.count == 0, records.is_empty(), "what is counted is handed out");
        Ok((status, choice, records))
    }

    /// Whether a position counts as being in memory; Java `estimateInMemByCommitOffset`.
    fn is_in_memory(&self, physical: u64) -> bool {
        self.log.marks().written.saturating_sub(physical) <= self.config.memory_bytes
    }

    /// Whether the first entry of a queue points at a record that is still in memory (see QUERY_CONSUMER_OFFSET).
    pub fn head_in_memory(&mut self, topic: &str, queue_id: u32, disk: &mut dyn Disk) -> bool {
        let Some(slot) = self.queues.find(topic, queue_id) else { return false };
        let min = self.queues.get(slot).map_or(0, |queue| queue.min);
        // An entry that is cold is old; whatever would be asked for is not needed.
        let entry = self.queues.entry(slot, min, &mut super::warm::Warm::default(), disk, &mut Vec::new());
        matches!(entry, Ok(Some(entry)) if self.is_in_memory(entry.physical))
    }

    /// First offset whose store time is at or after `ms` (`upper`: last at or before), Java's corner cases included: after
    /// the last message the end of the queue (`upper`: its last offset), before the first one the begin.
    pub fn offset_by_time(
        &mut self,
        topic: &str,
        queue_id: u32,
        ms: i64,
        upper: bool,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<u64, Fault> {
        let Some(slot) = self.queues.find(topic, queue_id) else { return Ok(0) };
        let range = self.queue_range(topic, queue_id);
        let log = &self.log;
        let is_right = |entry: &Entry, warm: &mut _, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>| {
            let head = HEAD.min(entry.size as usize);
            let at = log.read(entry.physical, head, warm, disk, asks)?.and_then(|head| record::store_ms(&head));
            Ok(at.is_some_and(|at| if upper || crate::planted!("stored-then-skipped") { at > ms } else { at >= ms }))
        };
        let found = self.queues.partition(slot, range.clone(), is_right, &mut self.warm, disk, asks)?;
        assert!((range.start..=range.end).contains(&found), "the answer lies in the queue");
        Ok(if upper { found.saturating_sub(1).max(range.start) } else { found })
    }

    /// Store time of the message at a queue offset.
    pub fn store_time(
        &mut self,
        topic: &str,
        queue_id: u32,
        offset: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<i64>, Fault> {
        let Some(slot) = self.queues.find(topic, queue_id) else { return Ok(None) };
        if !self.queue_range(topic, queue_id).contains(&offset) {
            return Ok(None);
        }
        let Some(entry) = self.queues.entry(slot, offset, &mut self.warm, disk, asks)? else { return Ok(None) };
        let head = HEAD.min(entry.size as usize);
        let head = self.log.read(entry.physical, head, &mut self.warm, disk, asks)?;
        Ok(head.and_then(|head| record::store_ms(&head)))
    }

    /// The record that begins at a position of the log.
    pub fn by_position(
        &mut self,
        physical: u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Option<Hit>, Fault> {
        let written = self.log.marks().written;
        let Some(file) = self.log.file_at(physical).filter(|_| physical < written) else { return Ok(None) };
        let most = written.min(file.begin + self.log.file_bytes()) - physical;
        let guess = usize::try_from(most).unwrap_or(GUESS).min(GUESS);
        let Some(bytes) = self.log.read(physical, guess, &mut self.warm, disk, asks)? else { return Ok(None) };
        let Some(len) = record_len(&bytes).filter(|len| *len as u64 <= most) else { return Ok(None) };
        let record = if len <= bytes.len() {
            bytes.slice(..len)
        } else {
            match self.log.read(physical, len, &mut self.warm, disk, asks)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            }
        };
        let is_sound = record::Record::parse(&record)
            .is_ok_and(|record| record.physical.cast_unsigned() == physical && record.body_is_sound());
        Ok(is_sound.then_some(Hit { physical, record }))
    }

    /// Newest first; the caller filters hash collisions out.
    pub fn by_label(
        &mut self,
        topic: &str,
        label: Label<'_>,
        max: usize,
        times_ms: Range<i64>,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Vec<Hit>, Fault> {
        let topic = TopicSeed::of(topic);
        let hash = match label {
            Label::Key(key) => topic.key(key.as_bytes()),
            Label::Tag(tag) => topic.tag(tag.as_bytes()),
        };
        let found = self.index.find(hash, max, &times_ms, &mut self.warm, disk, asks)?;
        let mut hits = Vec::with_capacity(found.len());
        for physical in found {
            hits.extend(self.by_position(physical, disk, asks)?);
        }
        Ok(hits)
    }
}

fn record_len(bytes: &[u8]) -> Option<usize> {
    let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes(b.try_into().expect("four bytes")));
    matches!(word(4)?, MAGIC_V1 | MAGIC_V2).then_some(word(0)? as usize)
}

/// Whether these bytes look like one whole record.
fn is_record(bytes: &[u8]) -> bool {
    record_len(bytes) == Some(bytes.len())
}

//! The scan: every record from a position on is checked and given to queues and index again.
//!
//! Invariant: a queue gets each record once and keeps its numbers dense; a record whose body is damaged but whose length leads
//! to another record is not the end of the log.

use crate::store::zeros::is_blank;
use std::cmp::Ordering;

use bytes::Bytes;

use super::tail::Tail;
use super::{Halt, Recovery, STEP, Stage, Trust};
use crate::message::record::{self, Record, RecordError};
use crate::node::{Disk, DiskAsk, Now};
use crate::store::checkpoint::QueueState;
use crate::store::entry::{Entry, labels};
use crate::store::index::{Applied, Key, PENDING_MAX};
use crate::store::queues::Queues;
use crate::store::{Store, names};

/// Unwritten entries from which on recovery writes queues before it reads more.
const DIRTY_MAX: u64 = 256 * 1024;
/// Most entries of a queue that are lost together and replaced by ones that point at the damage.
const HOLE_MAX: u64 = 100_000;

/// Bytes that a disk writes together.
const SECTOR: u64 = 512;

/// What a slice of the log turned out to hold.
enum Seen {
    /// Records up to here; go on.
    Upto(u64),
    /// No record begins here.
    End(u64),
    /// The queues have to be rebuilt from the begin of the log.
    Rebuild,
}

impl Store {
    /// Scans about a mebibyte from `at` on.
    pub(super) fn scan(
        &mut self,
        recovery: &mut Recovery,
        at: u64,
        now: Now,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Stage, Halt> {
        if !recovery.removes.is_empty() {
            // Files of the same name may be made again.
            recovery.idle = true;
            return Ok(Stage::Scan(at));
        }
        if self.queues.dirty() > DIRTY_MAX {
            if self.queues.cycle_is_over() {
                self.queues.begin_cycle();
            }
            self.queues.write_some(1024, disk, &mut self.warm)?;
            return Ok(Stage::Scan(at));
        }
        if self.index.pending() > 0 {
            if let Applied::Unreadable(why) = self.index.apply(now.wall_ms, &mut self.warm, disk, asks)? {
                return Err(why.into());
            }
            if self.index.pending() > PENDING_MAX {
                recovery.idle = true;
                return Ok(Stage::Scan(at));
            }
        }
        let Some(file) = self.log.file_at(at) else {
            recovery.end = Some(at);
            return Ok(Stage::Scrub(0));
        };
        let left = usize::try_from(file.begin + self.log.file_bytes() - at).expect("a file fits into an address space");
        let step = if crate::buggify!("small slice of recovery") { 4096 } else { STEP };
        let slice = self.slice(at, step.min(left), left, disk, asks)?;
        if recovery.failed_sync {
            crate::sometimes!("records written again after a failed sync");
            if !crate::planted!("failed-sync-forgotten") {
                disk.write(file.file, at - file.begin, &slice)?;
                recovery.sync(file.file);
            }
        }
        match self.scan_slice(recovery, at, &slice, left, disk)? {
            Seen::Upto(next) => Ok(Stage::Scan(next)),
            Seen::End(end) => Ok(Stage::Tail(Box::new(Tail::begin(end)))),
            Seen::Rebuild => Ok(self.rebuild(recovery)),
        }
    }

    /// Bytes at `at`: `len` of them, or as many as the first record has.
    fn slice(
        &mut self,
        at: u64,
        len: usize,
        left: usize,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<Bytes, Halt> {
        let slice = self.log.read(at, len, &mut self.warm, disk, asks)?.unwrap_or_default();
        match Record::parse(&slice) {
            Err(RecordError::Short(need)) if need > slice.len() && need <= left && need <= self.record_max() => {
                Ok(self.log.read(at, need, &mut self.warm, disk, asks)?.unwrap_or(slice))
            }
            _ => Ok(slice),
        }
    }

    fn record_max(&self) -> usize {
        self.config.body_bytes_max.max(32 << 20)
    }

    fn scan_slice(
        &mut self,
        recovery: &mut Recovery,
        at: u64,
        slice: &Bytes,
        left: usize,
        disk: &mut dyn Disk,
    ) -> Result<Seen, Halt> {
        let mut done = 0;
        loop {
            let here = at + done as u64;
            if left - done < 8 {
                return Ok(Seen::End(here));
            }
            match Record::parse(&slice[done..]) {
                Ok(found) => {
                    let file_at = self.log.file_bytes() - (left - done) as u64;
                    let is_torn = lost_a_sector(&found, &slice[done..done + found.total], file_at);
                    if !self.is_kept(recovery, here, &found, is_torn) {
                        return Ok(Seen::End(here));
                    }
                    if self.redispatch(recovery, here, &found, disk)? {
                        return Ok(Seen::Rebuild);
                    }
                    done += found.total;
                }
                Err(RecordError::Blank(_)) => return Ok(Seen::Upto(at + left as u64)),
                Err(RecordError::Short(need)) if done > 0 && need <= left - done && need <= self.record_max() => {
                    return Ok(Seen::Upto(here));
                }
                Err(_) => return Ok(Seen::End(here)),
            }
            if done == left {
                return Ok(Seen::Upto(at + left as u64));
            }
        }
    }

    /// Whether a record that is whole in its lengths is also sound; one that is not is kept only if it cannot be a torn
    /// end.
    fn is_kept(&self, recovery: &mut Recovery, at: u64, found: &Record<'_>, is_torn: bool) -> bool {
        if found.physical.cast_unsigned() != at {
            let says = found.physical;
            if !self.is_due(recovery, at, found) {
                crate::sometimes!("record at the place of another found in recovery");
                recovery.note_record(|| format!("the record at {at} belongs to {says}, where the disk did not put it"));
                return false;
            }
            recovery.note_record(|| format!("the record at {at} says that it stands at {says}: kept"));
        }
        let may_be_torn = at >= recovery.durable_to() && !recovery.is_old(found.store_ms);
        let is_sound = found.body_is_sound() && !(is_torn && may_be_torn && !recovery.same_boot);
        if is_sound || crate::planted!("recovery-keeps-torn-tail") {
            return true;
        }
        if may_be_torn {
            assert!(!crate::planted!("torn-tail-panics"), "recovery met a torn record");
            return false;
        }
        let (topic, id, offset) = (found.topic, found.queue_id, found.queue_offset);
        recovery.note_record(|| {
            format!("the body of the record at {at} ({topic}/{id} offset {offset}) is damaged: kept as it is")
        });
        true
    }

    /// Whether a queue that is being filled waits for this record, as far as that is known.
    fn is_due(&self, recovery: &Recovery, at: u64, found: &Record<'_>) -> bool {
        if at < recovery.queues_from || !found.is_queued() {
            return true;
        }
        let id = u32::try_from(found.queue_id).ok();
        let queue = id.and_then(|id| self.queues.get(self.queues.find(found.topic, id)?));
        match queue.filter(|queue| queue.end > 0 || queue.min > 0) {
            Some(queue) => u64::try_from(found.queue_offset) == Ok(queue.end),
            None => found.queue_offset == 0 || recovery.files_begin() > 0,
        }
    }

    /// Gives a record to queue and index. Tells whether the queues have to be rebuilt from the begin.
    fn redispatch(
        &mut self,
        recovery: &mut Recovery,
        at: u64,
        found: &Record<'_>,
        disk: &mut dyn Disk,
    ) -> Result<bool, Halt> {
        recovery.last_ms = found.store_ms;
        let size = u32::try_from(found.total).expect("lengths have 32 bits");
        let removed = recovery.snapshot.iter().flat_map(|snapshot| &snapshot.removed).chain(&self.removed);
        let mut removals = removed.filter(|(topic, _)| **topic == *found.topic);
        let is_removed = removals.any(|(_, through)| at < *through) && !crate::planted!("removed-topic-comes-back");
        let Ok(queue_id) = u32::try_from(found.queue_id) else { return Ok(false) };
        if is_removed || found.topic.is_empty() {
            return Ok(false);
        }
        let to_queue = at >= recovery.queues_from && found.is_queued();
        if !to_queue && at < recovery.index_from {
            return Ok(false);
        }
        let seed = crate::store::entry::TopicSeed::of(found.topic);
        let ms = u64::try_from(found.store_ms).unwrap_or(0);
        let labels = labels(&seed, found.sys_flag, ms, found.properties);
        if to_queue {
            let entry = Entry { physical: at, size, tags_code: labels.tags_code };
            let offset = u64::try_from(found.queue_offset).unwrap_or(0);
            if self.requeue(recovery, found.topic, queue_id, offset, entry, disk)? {
                return Ok(true);
            }
        }
        if at >= recovery.index_from {
            for hash in &labels.keys {
                self.index.add(Key { hash: *hash, physical: at, store_ms: found.store_ms });
            }
        }
        Ok(false)
    }

    fn requeue(
        &mut self,
        recovery: &mut Recovery,
        topic: &str,
        queue_id: u32,
        offset: u64,
        entry: Entry,
        disk: &mut dyn Disk,
    ) -> Result<bool, Halt> {
        let (slot, _) = self.queues.place(topic, queue_id);
        let queue = self.queues.get_mut(slot).expect("just placed");
        let (end, at) = (queue.end, entry.physical);
        let is_unknown = end == 0 && queue.min == 0;
        match offset.cmp(&end) {
            Ordering::Equal => {}
            Ordering::Greater if recovery.trust == Trust::Checkpoint => return Ok(true),
            Ordering::Greater if is_unknown => queue.begin_at(offset),
            Ordering::Greater if offset - end <= HOLE_MAX && !recovery.damages.is_empty() => {
                let damage = recovery.damages.last().cloned().expect("seen above");
                let size = u32::try_from(damage.end - damage.start).unwrap_or(u32::MAX >> 1);
                let lost = Entry { physical: damage.start, size, tags_code: 0 };
                for _ in end..offset {
                    self.queues.push(slot, lost);
                }
            }
            _ => recovery.note_record(|| {
                format!("the record at {at} says offset {offset} in {topic}/{queue_id}, which stands at {end}: kept as {end}")
            }),
        }
        if self.queues.push(slot, entry) {
            self.queues.write(slot, disk, &mut self.warm)?;
        }
        Ok(false)
    }

    /// Entries are missing that the log would show further back: everything is built anew from its begin.
    fn rebuild(&mut self, recovery: &mut Recovery) -> Stage {
        crate::sometimes!("queues rebuilt from the begin of the log");
        let begin = recovery.files_begin();
        recovery
            .notes
            .push(format!("entries are missing below {}: all queues are rebuilt from the log", names::QUEUES));
        recovery.before = self
            .queues
            .iter()
            .filter(|queue| queue.end > 0)
            .map(|queue| {
                let state = QueueState { id: queue.id, range: queue.min..queue.written, files_from: queue.files_from };
                (queue.topic.clone(), state)
            })
            .collect();
        self.queues = Queues::new(self.config.queue_file_entries);
        recovery.trust = Trust::Nothing;
        (recovery.queues_from, recovery.scrub) = (begin, true);
        recovery.damages.clear();
        recovery.scanned_from = Some(begin);
        // What the index has got up to here it does not take a second time.
        Stage::Scan(begin)
    }
}

/// Whether a whole sector of topic and properties, which no checksum covers, is zero: a torn write looks like that, text
/// never does.
fn lost_a_sector(found: &Record<'_>, bytes: &[u8], file_at: u64) -> bool {
    let properties = bytes.len() - found.properties.len()..bytes.len();
    let topic = properties.start - 2 - found.topic.len()..properties.start - 2;
    [topic, properties].into_iter().any(|text| {
        let mut at = text.start;
        while at < text.end {
            let to_border = SECTOR - (file_at + at as u64) % SECTOR;
            let end = text.end.min(at + usize::try_from(to_border).expect("at most a sector"));
            if is_blank(&bytes[at..end]) {
                return true;
            }
            at = end;
        }
        false
    })
}

impl Recovery {
    /// Up to where the log was surely durable: what is damaged below was not torn by a power cut.
    pub(super) fn durable_to(&self) -> u64 {
        match &self.snapshot {
            Some(snapshot) => snapshot.durable,
            None if self.trust == Trust::Foreign => self.queues_from,
            None => self.log_durable.unwrap_or(0),
        }
    }

    /// Whether the Java checkpoint says that a record of this age was durable. Where our own snapshot says it better, the
    /// times, which may jump, are not asked.
    pub(super) fn is_old(&self, store_ms: i64) -> bool {
        self.snapshot.is_none() && self.log_durable.is_none() && (1..self.checkpoint.log_ms).contains(&store_ms)
    }

    /// Store time of a record of which at least the head is given.
    pub(super) fn head_is_old(&self, head: &[u8]) -> bool {
        record::store_ms(head).is_some_and(|ms| self.is_old(ms))
    }
}

//! Putting messages and settling a batch: encode into the tail, one write, then the queues and the index learn of it.
//!
//! Invariant: what is dispatched is readable, in the order of the log, each queue without a hole; with [`Flush::Sync`] only
//! what is durable is dispatched, so that no consumer sees what a power cut can take back.

use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, Labels, labels};
use super::index::{Applied, Key, PENDING_MAX};
use super::{Arrival, Flush, Phase, Placed, PutError, Store, StoreNews};
use crate::message::{Draft, record};
use crate::node::{Disk, DiskAsk, DiskError, Now};

/// Longest topic; Java `Byte.MAX_VALUE` × 2 + 1 as checked by `HookUtils`.
const TOPIC_MAX: usize = 255;
/// Pause after the index could not be read.
const INDEX_PAUSE: Duration = Duration::from_secs(5);
/// How much longer than the body limit a record may be; Java `MessageExtEncoder`.
const RECORD_EXTRA: usize = 64 * 1024;

/// A record that is in the log and not yet in its queue.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// Slot of its queue; `None` when its topic was removed meanwhile.
    pub slot: Option<u32>,
    pub queued: bool,
    pub queue_offset: u64,
    pub physical: u64,
    pub size: u32,
    pub store_ms: u64,
    pub labels: Labels,
}

impl Dispatch {
    fn end(&self) -> u64 {
        self.physical + u64::from(self.size)
    }
}

impl Store {
    /// Takes a message into the tail of the log (memory) and assigns its offsets.
    pub fn put(&mut self, now: Now, message: &Draft) -> Result<Placed, PutError> {
        self.takes_writes()?;
        self.check(message)?;
        let len = self.len_of(message);
        self.log.reserve(len)?;
        Ok(self.append(now, message, len))
    }

    /// Takes a batch, all or nothing, consecutive in queue and file.
    pub fn put_batch(&mut self, now: Now, messages: &[Draft]) -> Result<Vec<Placed>, PutError> {
        self.takes_writes()?;
        messages.iter().try_for_each(|message| self.check(message))?;
        let whole = messages.iter().map(|message| self.len_of(message)).sum();
        self.log.reserve(whole)?;
        if crate::planted!("batch-stored-twice") && self.log.reserve(2 * whole).is_ok() {
            for message in messages {
                self.append(now, message, self.len_of(message));
            }
        }
        let placed: Vec<Placed> =
            messages.iter().map(|message| self.append(now, message, self.len_of(message))).collect();
        for pair in placed.windows(2) {
            assert_eq!(pair[0].end, pair[1].physical, "a batch is consecutive in the log");
        }
        Ok(placed)
    }

    fn takes_writes(&self) -> Result<(), PutError> {
        self.refuses_writes().map_or(Ok(()), |why| Err(PutError::Unavailable(why.to_owned())))
    }

    fn check(&self, message: &Draft) -> Result<(), PutError> {
        let illegal = |what: &str, is: usize, most: usize| {
            Err(PutError::Illegal(format!("the {what} has {is} bytes, at most {most} are allowed")))
        };
        let (body, topic) = (message.body.len(), message.topic.len());
        if body > self.config.body_bytes_max {
            return illegal("message body", body, self.config.body_bytes_max);
        }
        if topic == 0 || topic > TOPIC_MAX {
            return illegal("topic", topic, TOPIC_MAX);
        }
        let added = if self.config.append_prop_crc { record::CRC_PROPERTY + 1 } else { 0 };
        if message.properties.len() + added > record::PROPERTIES_MAX {
            return illegal("properties text", message.properties.len(), record::PROPERTIES_MAX - added);
        }
        if self.len_of(message) > self.config.body_bytes_max.saturating_add(RECORD_EXTRA) {
            return illegal("record", self.len_of(message), self.config.body_bytes_max + RECORD_EXTRA);
        }
        if std::str::from_utf8(&message.topic).is_err() || message.queue_id < 0 {
            return Err(PutError::Illegal("the topic is not UTF-8, or the queue is negative".to_owned()));
        }
        Ok(())
    }

    fn len_of(&self, message: &Draft) -> usize {
        if self.config.append_prop_crc { record::encoded_len_with_crc(message) } else { record::encoded_len(message) }
    }

    /// Encodes behind what is there; room was reserved.
    fn append(&mut self, now: Now, message: &Draft, len: usize) -> Placed {
        let topic = std::str::from_utf8(&message.topic).expect("checked before");
        let (slot, seed) = self.queues.place(topic, message.queue_id.unsigned_abs());
        let queue = self.queues.get_mut(slot).expect("just placed");
        let queued = record::is_queued(message.sys_flag);
        if crate::planted!("queue-offset-hole") && queue.next % 8 == 7 {
            queue.next += 1;
        }
        let queue_offset = if queued { queue.next } else { 0 };
        queue.next += u64::from(queued);
        let physical = self.log.marks().appended;
        let to = self.log.buffer();
        if self.config.append_prop_crc {
            record::encode_with_crc(message, queue_offset, physical, now.wall_ms, to);
        } else {
            record::encode(message, queue_offset, physical, now.wall_ms, to);
        }
        self.log.appended(len);
        let mut labels = labels(&seed, message.sys_flag, now.wall_ms, &message.properties);
        if queue_offset % 32 == 31 && crate::planted!("queue-entry-wrong-tag") {
            labels.tags_code ^= 1;
        }
        self.dispatches.push_back(Dispatch {
            slot: Some(slot),
            queued,
            queue_offset,
            physical,
            size: u32::try_from(len).expect("a record is far below 4 GiB"),
            store_ms: now.wall_ms,
            labels,
        });
        Placed { queue_offset, physical, end: physical + len as u64, store_ms: now.wall_ms }
    }

    /// End of a batch of inputs: writes the tail into the page cache, asks for a sync (at most one in flight) when the flush
    /// policy says so, and dispatches what is readable to queues and index; tells which queues grew.
    pub fn settle(
        &mut self,
        now: Now,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
        arrivals: &mut Vec<Arrival>,
    ) -> Vec<StoreNews> {
        self.see(now);
        if matches!(self.phase, Phase::Open | Phase::Stopping) && self.poisoned.is_none() {
            let put =
                self.dispatches.iter().rev().take_while(|put| put.physical >= self.log.marks().written).take(2).count();
            match self.log.write(disk, &mut self.warm) {
                Ok(()) => self.settle_written(put, now, disk, asks, arrivals),
                Err(why) => self.poison(&format!("writing the commit log failed: {why}")),
            }
        }
        std::mem::take(&mut self.news)
    }

    fn settle_written(
        &mut self,
        put: usize,
        now: Now,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
        arrivals: &mut Vec<Arrival>,
    ) {
        if self.config.flush == Flush::Sync || crate::buggify!("early flush of the log") {
            if put > 1 {
                crate::sometimes!("group commit shared by several puts");
            }
            asks.extend(self.log.sync());
        }
        if self.phase == Phase::Open && self.full.is_none() {
            asks.extend(self.log.allocate());
        }
        self.settles += 1;
        let marks = self.log.marks();
        let readable = if self.config.flush == Flush::Sync { marks.durable } else { marks.written };
        while self.dispatches.front().is_some_and(|next| next.end() <= readable) {
            let next = self.dispatches.pop_front().expect("seen above");
            if let Err(why) = self.dispatch(&next, arrivals, disk) {
                self.projection_failed(&why, now);
            }
        }
        self.apply_index(now, disk, asks);
        self.flush_log_later(now);
    }

    /// Brings waiting keys into the index.
    pub(super) fn apply_index(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        if self.index_retry.is_some_and(|at| at > now.mono) {
            return;
        }
        self.index_retry = None;
        match self.index.apply(now.wall_ms, &mut self.warm, disk, asks) {
            Ok(Applied::AsFarAsPossible) => {}
            Ok(Applied::Unreadable(why)) if self.index.pending() > PENDING_MAX => {
                self.poison(&format!("reading the index fails, and too many keys wait for it: {why}"));
            }
            Ok(Applied::Unreadable(why)) => {
                crate::sometimes!("index waits for a disk that cannot be read");
                self.news.push(StoreNews::Notice(format!("reading the index failed, and is tried again: {why}")));
                self.index_retry = Some(now.mono + INDEX_PAUSE);
            }
            Err(why) => self.projection_failed(&why, now),
        }
    }

    /// Writes to queue or index files failed. Entries stay in memory; a full disk passes, anything else does not.
    pub(super) fn projection_failed(&mut self, why: &DiskError, now: Now) {
        match why {
            DiskError::Full => self.disk_is_full("writing a consume queue or the index", now),
            why => self.poison(&format!("writing a consume queue or the index failed: {why}")),
        }
    }

    /// Gives a record its place in queue and index.
    fn dispatch(&mut self, next: &Dispatch, arrivals: &mut Vec<Arrival>, disk: &mut dyn Disk) -> Result<(), DiskError> {
        assert!(next.physical >= self.dispatched, "records are dispatched once, in the order of the log");
        self.dispatched = next.end();
        self.dispatched_ms = i64::try_from(next.store_ms).unwrap_or(i64::MAX);
        let Some(slot) = next.slot else { return Ok(()) };
        if self.config.index {
            let physical = if crate::planted!("index-entry-misplaced") { next.end() } else { next.physical };
            for hash in &next.labels.keys {
                self.index.add(Key { hash: *hash, physical, store_ms: self.dispatched_ms });
            }
        }
        if !next.queued {
            return Ok(());
        }
        let entry = Entry { physical: next.physical, size: next.size, tags_code: next.labels.tags_code };
        let end = self.queues.get(slot).expect("removed queues have no slot here").end;
        if crate::planted!("queue-offset-hole") {
            for _ in end..next.queue_offset {
                self.queues.push(slot, Entry::FILLER);
            }
        } else {
            assert_eq!(end, next.queue_offset, "a queue has no hole");
        }
        let is_slice = self.queues.push(slot, entry);
        self.arrived(slot, entry.tags_code, arrivals);
        if is_slice && self.full.is_none() { self.queues.write(slot, disk, &mut self.warm) } else { Ok(()) }
    }

    fn arrived(&mut self, slot: u32, tags_code: i64, arrivals: &mut Vec<Arrival>) {
        let settles = self.settles;
        let queue = self.queues.get_mut(slot).expect("it just got an entry");
        let known = (queue.arrival.0 == settles).then(|| arrivals.get_mut(queue.arrival.1)).flatten();
        match known {
            Some(arrival) => {
                arrival.max_offset = queue.end;
                arrival.tags_code = None;
            }
            None => {
                queue.arrival = (settles, arrivals.len());
                let topic: Arc<str> = queue.topic.clone();
                arrivals.push(Arrival { topic, queue_id: queue.id, max_offset: queue.end, tags_code: Some(tags_code) });
            }
        }
    }

    /// Topics that were removed, and the position up to which their records are not to be brought back. What this says must be on disk
    /// (see [`Store::remember_removed`]) before a topic of such a name is stored to again.
    pub fn removed_topics(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.removed.iter().map(|(topic, through)| (topic, *through))
    }

    /// What [`Store::removed_topics`] said in an earlier life; to be told before the start.
    pub fn remember_removed(&mut self, topics: impl Iterator<Item = (Arc<str>, u64)>) {
        assert!(self.phase == Phase::New, "the recovery goes by it");
        self.removed = topics.collect();
    }

    /// Forgets the queues of a topic (their files go; the log keeps the records until retention takes them).
    pub fn delete_topic(&mut self, topic: &str, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        let slots = self.queues.slots_of(topic);
        if slots.is_empty() {
            return;
        }
        for waiting in &mut self.dispatches {
            waiting.slot = waiting.slot.filter(|slot| !slots.contains(slot));
        }
        self.damage.forget();
        self.removed.retain(|(name, _)| **name != *topic);
        self.removed.push((topic.into(), self.log.marks().appended));
        for path in self.queues.remove(topic) {
            if let Ok(file) = disk.open(&path, crate::node::Open::Existing) {
                self.warm.forget(file);
                self.queues.untouch(file);
                disk.close(file);
            }
            asks.push(DiskAsk::Remove { path });
        }
        self.snapshot_soon(self.seen);
    }
}

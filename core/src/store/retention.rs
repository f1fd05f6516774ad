//! What goes when it is old or the disk is full, and when writes are refused.
//!
//! Invariant: the file that is written to, and anything that is not durable in log and queues, is never removed; refusal ends
//! by itself when there is space.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Fault, Phase, Store, StoreNews, names};
use crate::node::{Addr, Disk, DiskAsk, Instant, Now};

/// How often age and space are looked at; Java `cleanResourceInterval`.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often while writes are refused.
const INTERVAL_REFUSING: Duration = Duration::from_secs(1);
/// Most log files that go in one round; Java `deleteFileBatchMax`.
const FILES_A_ROUND: usize = 10;
/// Queues whose first offset is corrected in one step.
const QUEUES_A_STEP: u32 = 64;
/// Pause before a correction that met cold bytes goes on.
const COLD_PAUSE: Duration = Duration::from_millis(20);
const HOUR_MS: u64 = 3_600_000;

/// What retention is at.
#[derive(Debug, Default)]
pub(super) struct Retention {
    at: Option<Instant>,
    /// The queue to correct next, and when.
    correct: Option<(u32, Instant)>,
    refuses: Option<String>,
    /// Log files that go, the oldest first, one at a time: a power cut in between must not leave a gap.
    doomed: VecDeque<Addr>,
    /// The one that is being removed.
    removing: Option<Addr>,
}

impl Retention {
    /// Begins to watch.
    pub fn open(&mut self, now: Now) {
        self.at = Some(now.mono);
    }

    /// When there is something to do.
    pub fn wakes_at(&self) -> Option<Instant> {
        Instant::first(&[self.at, self.correct.map(|(_, at)| at)])
    }

    /// Why no write is taken.
    pub fn refuses_writes(&self) -> Option<&str> {
        self.refuses.as_deref()
    }
}

impl Store {
    /// Looks at age and space when it is time, and corrects some queues after files went.
    pub(super) fn retain_some(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        if self.phase != Phase::Open {
            return;
        }
        if self.retention.at.is_some_and(|at| at <= now.mono) {
            self.retain(now, disk, asks);
            let interval = if self.retention.refuses.is_some() { INTERVAL_REFUSING } else { INTERVAL };
            self.retention.at = Some(now.mono + interval);
        }
        if let Some((slot, at)) = self.retention.correct.filter(|(_, at)| *at <= now.mono) {
            self.correct_some(slot, at, now, disk, asks);
        }
    }

    fn retain(&mut self, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        let usage = disk.usage();
        let used = usage.total.saturating_sub(usage.free).saturating_mul(100).checked_div(usage.total).unwrap_or(0);
        self.refuse_when_full(used);
        let hour = self.config.local_ms(now.wall_ms) / HOUR_MS % 24;
        let is_hour = self.config.delete_at_hours.iter().any(|at| u64::from(*at) == hour);
        let force = used >= u64::from(self.config.disk_force_percent);
        if !(is_hour || force || used >= u64::from(self.config.disk_clean_percent)) {
            return;
        }
        let kept_since = now.wall_ms.saturating_sub(self.config.reserved_hours.saturating_mul(HOUR_MS));
        let Ok(listed) = disk.list(names::LOG) else { return };
        let mut gone = 0;
        for entry in listed.iter().filter(|entry| names::file_begin(&entry.name).is_some()) {
            let is_oldest = names::file_begin(&entry.name) == self.log.files().front().map(|file| file.begin);
            if !is_oldest {
                continue;
            }
            let end = self.log.marks().begin + self.log.file_bytes();
            let may_go = force || entry.modified_ms <= kept_since;
            // Once the log is gone, only the queue files know how far the queues were.
            let is_known = end <= self.flusher.durable() || crate::planted!("queues-forgotten-by-retention");
            let is_known_without = is_known && end <= self.log.marks().durable;
            let is_last = self.log.files().len() < 2;
            if !may_go || gone == FILES_A_ROUND || is_last || !is_known_without {
                break;
            }
            gone += usize::from(self.drop_oldest_file(force, disk, asks));
        }
        if gone > 0 {
            self.files_went(now, asks);
        }
    }

    fn refuse_when_full(&mut self, used: u64) {
        let limit = u64::from(self.config.disk_refuse_percent);
        if used < limit {
            if self.retention.refuses.take().is_some() {
                crate::sometimes!("writes resumed below the disk limit");
                self.news.push(StoreNews::Notice(format!("the disk is {used} % full: writes are taken again")));
            }
        } else if self.retention.refuses.is_none() {
            crate::sometimes!("writes refused at the disk limit");
            let why = format!("the disk is {used} % full, at {limit} % no messages are taken: free some space");
            self.news.push(StoreNews::Notice(why.clone()));
            self.retention.refuses = Some(why).filter(|_| !crate::planted!("full-disk-ignored"));
        }
    }

    fn drop_oldest_file(&mut self, force: bool, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> bool {
        let last = self.log.file_at(self.log.marks().appended).or(self.log.files().back().copied());
        assert!(self.log.files().front() != last.as_ref(), "the file that is written to stays");
        let Some(file) = self.log.drop_oldest() else { return false };
        crate::sometimes!("log file removed by retention");
        let path = names::log_file(file.begin);
        let why = if force { "because the disk is nearly full" } else { "because of its age" };
        self.news.push(StoreNews::Notice(format!("{path} is removed {why}")));
        self.warm.forget(file.file);
        disk.close(file.file);
        self.retention.doomed.push_back(path.into());
        self.remove_next(asks);
        true
    }

    fn remove_next(&mut self, asks: &mut Vec<DiskAsk>) {
        if self.retention.removing.is_none()
            && let Some(path) = self.retention.doomed.pop_front()
        {
            self.retention.removing = Some(path.clone());
            asks.push(DiskAsk::Remove { path });
        }
    }

    /// A file is gone, or could not be removed; if it was one of the log, the next one goes.
    pub(super) fn retention_removed(&mut self, path: &str, asks: &mut Vec<DiskAsk>) {
        if self.retention.removing.take_if(|removing| **removing == *path).is_some() {
            self.remove_next(asks);
        }
    }

    /// The log begins later than before: the index forgets files, the queues are corrected in steps.
    fn files_went(&mut self, now: Now, asks: &mut Vec<DiskAsk>) {
        let begin = self.log.marks().begin;
        assert!(begin <= self.dispatched, "only what is dispatched was removed");
        for (file, path) in self.index.expire(begin) {
            self.warm.forget(file);
            asks.push(DiskAsk::Remove { path: path.into() });
        }
        self.retention.correct = Some((0, now.mono));
    }

    fn correct_some(&mut self, from: u32, at: Instant, now: Now, disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) {
        let begin = self.log.marks().begin;
        let to = self.queues.slots().min(from.saturating_add(QUEUES_A_STEP));
        for slot in from..to {
            match self.queues.correct_min(slot, begin, &mut self.warm, disk, asks) {
                Ok(()) => {}
                Err(Fault::Cold(_)) => {
                    self.retention.correct = Some((slot, now.mono + COLD_PAUSE));
                    return;
                }
                Err(Fault::Disk(why)) => {
                    self.news
                        .push(StoreNews::Notice(format!("reading a consume queue for its first offset failed: {why}")));
                }
            }
        }
        self.retention.correct = (to < self.queues.slots()).then_some((to, at));
    }
}

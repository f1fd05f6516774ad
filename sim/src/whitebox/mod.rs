//! White-box oracles: they judge what is on the disks and inside the nodes.
//!
//! Invariant: stores are read here by a reader of its own, never by the code under test.

mod index;
mod projection;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use seedmq_reports::{Oracle, Violation};

pub use index::{IndexEntry, IndexFile, read_index};
pub use projection::{Completeness, judge_store, summary};
pub use reader::{Content, Files, Log, LogRecord, QueueEntry, is_record, queue_of, read_log, read_queues, snapshot};

/// Damage by faults of the tape, which is no fault of the store.
#[derive(Clone, Debug, Default)]
pub struct Licence {
    /// Where damaged records stood in the log.
    pub ranges: Vec<Range<u64>>,
    /// Their places in their queues.
    pub offsets: BTreeSet<(String, u32, u64)>,
    /// Entries of queues, and what they said when they were damaged.
    pub entries: BTreeMap<(String, u32, u64), QueueEntry>,
    /// What reached the log behind its end, by position: a reader that comes to the end finds the rest of it there.
    pub strays: Vec<(u64, Bytes)>,
    /// Whether an index file was damaged: then the index proves nothing.
    pub index: bool,
    /// Topics that were deleted: their queues may have begun anew, and records of before may be in none.
    pub deleted: BTreeSet<String>,
}

impl Licence {
    /// Whether what stands behind the end of a log is the rest of what a fault wrote there.
    fn explains(&self, store: &impl Files, end: u64) -> bool {
        let begin = |path: &str| path.strip_prefix("commitlog/").and_then(|name| name.parse::<u64>().ok());
        let files = store.paths().into_iter().filter_map(|path| Some((begin(&path)?, path)));
        let Some((begin, path)) = files.filter(|(begin, _)| *begin <= end).max() else { return false };
        let bytes = store.content(&path).map(Content::whole).unwrap_or_default();
        self.strays.iter().any(|(at, stray)| {
            let is_in = (*at..at + stray.len() as u64).contains(&end);
            let rest = stray.get(usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX)..);
            let there = bytes.get(usize::try_from(end - begin).unwrap_or(usize::MAX)..);
            is_in && rest.zip(there).is_some_and(|(rest, there)| there.starts_with(rest))
        })
    }
}

/// The first position of each queue (by topic and queue id) that a store does not hold.
pub fn durable_offsets(platter: &impl Files, damaged: &[Range<u64>]) -> BTreeMap<String, BTreeMap<String, u64>> {
    let log = read_log(platter, damaged);
    let mut offsets: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for record in log.records {
        let next = offsets.entry(record.topic).or_default().entry(record.queue.to_string()).or_default();
        *next = (*next).max(record.queue_offset + 1);
    }
    offsets
}

/// The first position of each queue that a store has, if old messages were removed.
pub fn first_offsets(store: &impl Files, damaged: &[Range<u64>]) -> Option<BTreeMap<String, BTreeMap<String, u64>>> {
    let log = read_log(store, damaged);
    let mut offsets: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for record in log.records {
        let queues = offsets.entry(record.topic).or_default();
        queues.entry(record.queue.to_string()).or_insert(record.queue_offset);
    }
    (log.begin > 0).then_some(offsets)
}

/// A violation that the state of a broker proves.
pub(crate) fn broken(oracle: Oracle, clause: &str, text: String, proof: Vec<String>) -> Violation {
    Violation {
        oracle,
        clause: clause.to_owned(),
        role: "broker".to_owned(),
        topic_kind: "-".to_owned(),
        text,
        at_ms: 0.0,
        lines: Vec::new(),
        proof,
    }
}

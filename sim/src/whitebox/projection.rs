//! The oracles `projection` and `dense`: consume queues and index are exactly the projection of the log, and queues count without holes.
//!
//! Invariant: an entry that is there must be right at any time; that all entries are there is demanded only where the broker
//! stopped in order.

use std::collections::BTreeMap;
use std::ops::Range;

use seedmq_reports::{Oracle, Violation};

use super::index::judge_index;
use super::reader::{Files, LogRecord, QueueEntry, queue_file, read_log, read_queues};
use super::{Licence, broken};

/// How much of the queues must be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Everything: the broker stopped in order.
    Whole,
    /// What happens to be there.
    Partial,
}

type Queues<T> = BTreeMap<(String, u32), BTreeMap<u64, T>>;

fn project(records: Vec<LogRecord>, licence: &Licence) -> (Queues<QueueEntry>, Vec<String>) {
    let mut queues: Queues<QueueEntry> = BTreeMap::new();
    let mut holes = Vec::new();
    for record in records {
        let queue = queues.entry((record.topic.clone(), record.queue)).or_default();
        let next = queue.last_key_value().map(|(offset, _)| offset + 1);
        let is_lost = |offset: u64| licence.offsets.contains(&(record.topic.clone(), record.queue, offset));
        let follows = |next: u64| next <= record.queue_offset && (next..record.queue_offset).all(is_lost);
        let may_begin_anew = licence.deleted.contains(&record.topic);
        if next.is_some_and(|next| !follows(next)) && !may_begin_anew {
            holes.push(format!(
                "{}/{}: the record at {} has offset {}, after {}",
                record.topic,
                record.queue,
                record.physical,
                record.queue_offset,
                next.unwrap_or_default() - 1
            ));
        }
        let entry = QueueEntry { physical: record.physical, size: record.size, tags_code: record.tags_code() };
        queue.insert(record.queue_offset, entry);
    }
    (queues, holes)
}

/// Judges the store of a broker as it lies on its disk; `slots` of each index file, if the broker keeps an index.
pub fn judge_store(
    broker: &str,
    store: &impl Files,
    completeness: Completeness,
    slots: Option<u32>,
    licence: &Licence,
) -> Vec<Violation> {
    let log = read_log(store, &licence.ranges);
    let mut found = Vec::new();
    if let (Some(slots), Completeness::Whole, false) = (slots, completeness, licence.index) {
        let mut wrong = judge_index(store, slots, &log, licence);
        if !wrong.is_empty() {
            let text = format!("the index of {broker} is not the projection of its log: {}", wrong[0]);
            wrong.truncate(10);
            found.push(broken(Oracle::Projection, "index-differs", text, wrong));
        }
    }
    if let (Some(why), Completeness::Whole) = (&log.torn, completeness)
        && !licence.explains(store, log.end)
    {
        let text = format!("the log of {broker} is not whole although the broker stopped in order: {why}");
        found.push(broken(Oracle::Projection, "torn-log", text, vec![why.clone()]));
    }
    let (expected, holes) = project(log.records, licence);
    if !holes.is_empty() {
        let text = format!("queue offsets of {broker} are not dense: {}", holes[0]);
        found.push(broken(Oracle::Dense, "hole", text, holes));
    }
    if completeness == Completeness::Whole {
        let left = outlived(store, log.begin);
        if !left.is_empty() {
            let text = format!("{broker} keeps queue files that lead nowhere any more: {}", left[0]);
            found.push(broken(Oracle::Projection, "queue-file-left", text, left));
        }
    }
    let mut actual = read_queues(store);
    let mut excused: Vec<(String, u32, u64)> = Vec::new();
    for ((topic, queue), entries) in &mut actual {
        let place = |offset: u64| (topic.clone(), *queue, offset);
        let whole = expected.get(&(topic.clone(), *queue));
        entries.retain(|offset, entry| {
            let is_damaged = licence.entries.get(&place(*offset)) == Some(entry);
            if is_damaged {
                excused.push(place(*offset));
            }
            // Where a damaged end was cut, whole records may have its places; those before it are of a topic that was deleted.
            let due = whole.and_then(|whole| whole.get(offset));
            let is_older = |due: &QueueEntry| licence.deleted.contains(topic) && due.physical < entry.physical;
            let is_whole = due.is_some_and(|due| !is_older(due));
            let leads_to_damage = licence.ranges.iter().any(|range| range.contains(&entry.physical));
            let is_lost = licence.offsets.contains(&place(*offset)) && leads_to_damage && !is_whole;
            !is_damaged && !is_lost
        });
    }
    let mut expected = expected;
    let missing = licence.entries.iter().filter(|(_, entry)| !entry.is_message()).map(|(place, _)| place);
    for (topic, queue, offset) in excused.iter().chain(missing) {
        let there = actual.get(&(topic.clone(), *queue)).is_some_and(|entries| entries.contains_key(offset));
        if let Some(entries) = expected.get_mut(&(topic.clone(), *queue)).filter(|_| !there) {
            entries.remove(offset);
        }
    }
    let mut wrong = compare(&expected, &actual, log.begin..log.end, completeness, licence);
    if !wrong.is_empty() {
        let text = format!("the queues of {broker} are not the projection of its log: {}", wrong[0]);
        wrong.truncate(10);
        found.push(broken(Oracle::Projection, "differs", text, wrong));
    }
    found
}

/// Queue files that lead to nothing but what was removed from the begin of the log. One of a queue may be left: where the queue ended when
/// the log let go.
fn outlived(store: &impl Files, log_begin: u64) -> Vec<String> {
    let mut left = Vec::new();
    // Of the queue at hand: whether it goes on behind this file, and whether one of its files was left already.
    let (mut queue, mut goes_on, mut one_left) = (String::new(), false, false);
    for path in store.paths().into_iter().rev().filter(|path| log_begin > 0 && path.starts_with("consumequeue/")) {
        let Some((of, _)) = path.rsplit_once('/') else { continue };
        if of != queue {
            (queue, goes_on, one_left) = (of.to_owned(), false, false);
        }
        let entries = queue_file(store, &path);
        let leads_nowhere = !entries.is_empty() && entries.iter().all(|(_, entry)| entry.physical < log_begin);
        if goes_on && leads_nowhere && std::mem::replace(&mut one_left, true) {
            left.push(format!("{path} ends before {log_begin}, where the log begins"));
        }
        goes_on |= !entries.is_empty();
    }
    left
}

fn compare(
    expected: &Queues<QueueEntry>,
    actual: &Queues<QueueEntry>,
    log: Range<u64>,
    completeness: Completeness,
    licence: &Licence,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((topic, queue), entries) in actual {
        let right = expected.get(&(topic.clone(), *queue));
        for (offset, entry) in entries {
            let inside = log.contains(&entry.physical);
            let due = right.and_then(|right| right.get(offset));
            let stale = entry.physical < log.start || (completeness == Completeness::Partial && !inside);
            if !stale && !due.is_some_and(|due| same(topic, due, entry)) {
                wrong.push(format!("{topic}/{queue}:{offset} is {entry:?}, the log says {due:?}"));
            }
        }
    }
    if completeness == Completeness::Whole {
        for ((topic, queue), entries) in expected {
            let there = actual.get(&(topic.clone(), *queue));
            let is_missing = |offset: &&u64| there.is_none_or(|there| !there.contains_key(offset));
            let missing = entries.keys().find(is_missing).filter(|_| !licence.deleted.contains(topic));
            if let Some(offset) = missing {
                wrong.push(format!("{topic}/{queue}:{offset} is missing, the log says {:?}", entries[offset]));
            }
        }
    }
    wrong
}

/// The topic of messages that wait for a delay level: its entries hold the time of delivery instead of a tag.
const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

fn same(topic: &str, due: &QueueEntry, entry: &QueueEntry) -> bool {
    (due.physical, due.size) == (entry.physical, entry.size)
        && (due.tags_code == entry.tags_code || topic == SCHEDULE_TOPIC)
}

/// What a store holds, for comparing two of them: end of the log, and the next offset of each queue by log.
pub fn summary(store: &impl Files, licence: &Licence) -> (u64, BTreeMap<(String, u32), u64>) {
    let log = read_log(store, &licence.ranges);
    let mut next = BTreeMap::new();
    for record in log.records.iter().filter(|record| !licence.deleted.contains(&record.topic)) {
        next.insert((record.topic.clone(), record.queue), record.queue_offset + 1);
    }
    (log.end, next)
}

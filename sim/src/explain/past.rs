//! What the history knows about the messages, queues and nodes of a violation.
//!
//! Invariant: only lines that name the same queue, the same message or the same node are taken; which ones matter more is a
//! question of time, not of judgement.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_reports::Violation;

use super::Point;
use super::words::{Calls, call_of, sentence};
use crate::history::{Op, Phase, Queue, Reader, Record};
use crate::tape::Tape;

/// A history with its line numbers.
#[derive(Debug, Default)]
pub(super) struct Past {
    records: Vec<(u64, Record)>,
    calls: Calls,
}

/// A queue of a topic.
type Place = (String, Queue);

impl Past {
    /// Reads as much of the lines as can be read.
    pub fn read(lines: &[String]) -> Past {
        let mut past = Past::default();
        let text = lines.join("\n");
        let Ok((_, mut reader)) = Reader::new(text.as_bytes()) else { return past };
        while let Ok(Some((line, record, _))) = reader.next() {
            if let Some(call) = call_of(&record) {
                past.calls.entry(call).or_insert_with(|| record.clone());
            }
            past.records.push((line, record));
        }
        past
    }

    /// Line numbers and records, in time order.
    pub fn records(&self) -> impl Iterator<Item = &(u64, Record)> {
        self.records.iter()
    }

    fn point(&self, record: &Record, proof: bool) -> Point {
        let node = match &record.op {
            Op::Fault { target, .. } => target.clone(),
            _ => record.client.clone(),
        };
        Point { ms: record.t, node, text: sentence(record, &self.calls), proof }
    }

    /// The lines that prove a violation.
    pub fn proof(&self, violation: &Violation) -> Vec<Point> {
        let wanted: BTreeSet<u64> = violation.lines.iter().copied().collect();
        let lines = self.records.iter().filter(|(line, _)| wanted.contains(line));
        lines.map(|(_, record)| self.point(record, true)).collect()
    }

    /// The queues and messages that the proof is about.
    fn concerned(&self, violation: &Violation) -> (BTreeSet<Place>, BTreeSet<String>, Vec<(Place, u64)>) {
        let (mut queues, mut keys, mut positions) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for (_, record) in self.records.iter().filter(|(line, _)| violation.lines.contains(line)) {
            let begun = call_of(record).and_then(|call| self.calls.get(&call));
            let (topic, key) = match begun.map(|b| &b.op) {
                Some(Op::Send { topic, key, .. } | Op::Deliver { topic, key, .. }) => {
                    (topic.clone(), Some(key.clone()))
                }
                _ => (String::new(), None),
            };
            keys.extend(key);
            match &record.op {
                Op::Send { phase: Phase::Ok | Phase::Info, queue: Some(queue), offset, .. }
                | Op::Deliver { queue: Some(queue), offset, .. } => {
                    queues.insert((topic.clone(), queue.clone()));
                    positions.extend(offset.map(|offset| ((topic.clone(), queue.clone()), offset)));
                }
                Op::Commit { topic, queue, .. } => drop(queues.insert((topic.clone(), queue.clone()))),
                _ => {}
            }
        }
        (queues, keys, positions)
    }

    /// What happened to those queues, messages and their nodes: owners, deliveries, commits past them, faults.
    pub fn around(&self, tape: &Tape, violation: &Violation, proof: &[Point]) -> Vec<Point> {
        let (mut queues, keys, positions) = self.concerned(violation);
        if queues.is_empty() {
            queues = written(tape, &violation.text);
        }
        let named = self.named(tape, violation, &queues, proof);
        let mut owners: BTreeMap<(String, String, Queue), String> = BTreeMap::new();
        let mut passed: BTreeSet<(String, usize)> = BTreeSet::new();
        let mut points = Vec::new();
        for (line, record) in self.records.iter().filter(|(line, _)| !violation.lines.contains(line)) {
            let tells = match &record.op {
                Op::Assign { .. } => self.owner(record, &queues, &mut owners),
                Op::Subscribe { topic, .. } => queues.iter().any(|(of, _)| of == topic),
                Op::Deliver { phase: Phase::Invoke, key, .. } => keys.contains(key),
                Op::Send { phase: Phase::Invoke, .. } | Op::Deliver { .. } => false,
                Op::Send { .. } => self.key(record).is_some_and(|key| keys.contains(key)),
                Op::Commit { group, topic, queue, offset } => {
                    let at =
                        |(place, position): &(Place, u64)| place.0 == *topic && place.1 == *queue && position < offset;
                    positions.iter().position(at).is_some_and(|at| passed.insert((group.clone(), at)))
                }
                Op::Fault { target, .. } => named.iter().any(|n| target.split([' ', ',', '|']).any(|t| t == n)),
                Op::Reset { topic, queue, .. } => queues.contains(&(topic.clone(), queue.clone())),
                Op::End { .. } => false,
            };
            if tells {
                points.push((*line, self.point(record, false)));
            }
        }
        points.into_iter().map(|(_, point)| point).collect()
    }

    fn key(&self, record: &Record) -> Option<&String> {
        match &self.calls.get(&call_of(record)?)?.op {
            Op::Send { key, .. } | Op::Deliver { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Whether the record gives one of these queues to another owner, or takes it away.
    fn owner(
        &self,
        record: &Record,
        queues: &BTreeSet<Place>,
        owners: &mut BTreeMap<(String, String, Queue), String>,
    ) -> bool {
        let Op::Assign { group, topic, queues: now } = &record.op else { return false };
        let mut changed = false;
        for (_, queue) in queues.iter().filter(|(of, _)| of == topic) {
            let key = (group.clone(), topic.clone(), queue.clone());
            let mine = owners.get(&key) == Some(&record.client);
            match (now.contains(queue), mine) {
                (true, false) => drop(owners.insert(key, record.client.clone())),
                (false, true) => drop(owners.remove(&key)),
                _ => continue,
            }
            changed = true;
        }
        changed
    }

    /// The nodes that the violation is about: brokers of its queues, clients of its proof, whoever its text names.
    fn named(&self, tape: &Tape, violation: &Violation, queues: &BTreeSet<Place>, proof: &[Point]) -> BTreeSet<String> {
        let words: BTreeSet<&str> =
            violation.text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'))).collect();
        let mut names: BTreeSet<String> = queues.iter().filter_map(|(_, queue)| queue.broker.clone()).collect();
        names.extend(proof.iter().map(|point| point.node.clone()));
        names.extend(tape.header.config.nodes().filter(|node| words.contains(node)).map(String::from));
        names
    }
}

/// The queues that a text names, as `broker:queue` together with a topic.
fn written(tape: &Tape, text: &str) -> BTreeSet<Place> {
    let config = &tape.header.config;
    let words: Vec<&str> = text.split([' ', ',', '/', ';']).map(|word| word.trim_end_matches(':')).collect();
    let topics: Vec<&str> = words.iter().copied().filter(|word| config.topics.contains_key(*word)).collect();
    let queue = |word: &&str| {
        let queue = Queue::parse(word)?;
        let known = queue.broker.as_ref().is_some_and(|broker| config.brokers.iter().any(|b| b.name == *broker));
        known.then_some(queue)
    };
    let queues: Vec<Queue> = words.iter().filter_map(queue).collect();
    queues.iter().flat_map(|queue| topics.iter().map(|topic| ((*topic).to_owned(), queue.clone()))).collect()
}

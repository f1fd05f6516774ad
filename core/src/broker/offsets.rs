//! How far each group has consumed each queue (Java `ConsumerOffsetManager`, `config/consumerOffset.json`).
//!
//! Invariant: what is written to the file is the table as it was at one moment; a pending reset outweighs every commit
//! until the consumer has been told about it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::wire::json::{self, Style};
use crate::wire::register::DataVersion;

/// Offsets by queue.
pub type QueueOffsets = BTreeMap<i32, i64>;

/// Committed, pulled and reset offsets of all groups.
#[derive(Debug, Default)]
pub struct Offsets {
    /// Group, then topic: groups ask for all their topics more often than topics for all their groups.
    committed: BTreeMap<String, BTreeMap<String, QueueOffsets>>,
    pulled: BTreeMap<String, BTreeMap<String, QueueOffsets>>,
    resets: BTreeMap<String, BTreeMap<String, QueueOffsets>>,
    /// Grows with every change; the owner compares it with what the file holds.
    version: u64,
    data_version: DataVersion,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is in the table.
    Stored,
    /// A server-side reset of this queue waits for its consumer: the commit is ignored.
    ResetPending,
    /// The position is from before an unclean stop: the commit is ignored.
    Stale,
}

/// The content of `consumerOffset.json`. Resets and pull offsets are not kept: a reset has moved the committed offset.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetsFile {
    /// Moves with every write.
    pub data_version: DataVersion,
    /// Topics by group, as Java 5.5.0 keeps them beside the offsets.
    pub group_topic_map: BTreeMap<String, BTreeSet<String>>,
    /// By `topic@group`.
    pub offset_table: BTreeMap<String, QueueOffsets>,
}

/// Separates topic and group in the file; neither may contain it.
const SEPARATOR: char = '@';

impl Offsets {
    /// The offsets of a file.
    pub fn load(file: OffsetsFile) -> Offsets {
        let mut offsets = Offsets { data_version: file.data_version, ..Offsets::default() };
        for (key, mut queues) in file.offset_table {
            if crate::planted!("offsets-read-lower") {
                queues.values_mut().for_each(|offset| *offset = (*offset - 1).max(0));
            }
            let Some((topic, group)) = key.split_once(SEPARATOR) else { continue };
            if !queues.is_empty() {
                offsets.committed.entry(group.to_owned()).or_default().insert(topic.to_owned(), queues);
            }
        }
        offsets
    }
    /// Cuts every offset back that lies beyond the end of its queue, as a power cut may leave them. Tells how many.
    pub fn cut_back(&mut self, end: impl Fn(&str, i32) -> i64) -> usize {
        let mut cut = 0;
        for (topic, queues) in self.committed.values_mut().flatten() {
            for (queue, offset) in queues {
                let end = end(topic, *queue);
                if *offset > end {
                    (*offset, cut) = (end, cut + 1);
                }
            }
        }
        self.version += u64::from(cut > 0);
        cut
    }
    /// The file as it should be now.
    pub fn to_file(&self) -> Bytes {
        json::to_vec(&self.snapshot(), Style::Fastjson).into()
    }
    /// The table in the shape of the file.
    pub fn snapshot(&self) -> OffsetsFile {
        let mut file = OffsetsFile { data_version: self.data_version.clone(), ..OffsetsFile::default() };
        file.data_version.counter += i64::try_from(self.version).unwrap_or(i64::MAX);
        for (group, topics) in &self.committed {
            file.group_topic_map.insert(group.clone(), topics.keys().cloned().collect());
            for (topic, queues) in topics {
                file.offset_table.insert(format!("{topic}{SEPARATOR}{group}"), queues.clone());
            }
        }
        file
    }
    /// Changes with every change of the committed offsets.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Stores how far a group has consumed a queue. A lower offset than before is taken too: a consumer may seek.
    pub fn commit(&mut self, group: &str, topic: &str, queue: i32, offset: i64) -> Commit {
        if find(&self.resets, group, topic, queue).is_some() {
            crate::sometimes!("commit ignored while a reset is pending");
            return Commit::ResetPending;
        }
        let before = find(&self.committed, group, topic, queue);
        let mut offset = offset;
        if let Some(before) = before.filter(|before| *before > 0 && offset > *before)
            && crate::planted!("offset-commit-regresses")
        {
            offset = before - 1;
        }
        if before != Some(offset) {
            put(&mut self.committed, group, topic, queue, offset);
            self.version += 1;
        }
        Commit::Stored
    }
    /// How far a group has consumed a queue, if it ever said.
    pub fn committed(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        find(&self.resets, group, topic, queue).or_else(|| find(&self.committed, group, topic, queue))
    }
    /// Remembers how far a group has pulled; kept in memory only.
    pub fn pulled_to(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        put(&mut self.pulled, group, topic, queue, offset);
    }
    /// How far a group has pulled.
    pub fn pulled(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        find(&self.pulled, group, topic, queue)
    }
    /// Moves a group on the server's side: the committed offset changes at once, and the next pull of the queue is sent
    /// there.
    pub fn reset(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        put(&mut self.resets, group, topic, queue, offset);
        put(&mut self.committed, group, topic, queue, offset);
        self.version += 1;
    }
    /// Takes the reset that waits for the consumer of a queue.
    pub fn take_reset(&mut self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        if self.resets.is_empty() {
            return None;
        }
        let offset = self.resets.get_mut(group)?.get_mut(topic)?.remove(&queue)?;
        prune(&mut self.resets, group, topic);
        Some(offset)
    }
    /// Topics that a group has committed offsets for.
    pub fn topics_of<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.committed.get(group).into_iter().flat_map(|topics| topics.keys().map(String::as_str))
    }
    /// Groups that have committed offsets for a topic.
    pub fn groups_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a str> {
        self.committed.iter().filter(move |(_, topics)| topics.contains_key(topic)).map(|(group, _)| group.as_str())
    }
    /// The committed offsets of a group and topic.
    pub fn queues_of(&self, group: &str, topic: &str) -> Option<&QueueOffsets> {
        self.committed.get(group)?.get(topic)
    }
    /// Every committed offset: group, topic, queue, offset.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, i32, i64)> {
        self.committed.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, queues)| {
                queues.iter().map(move |(queue, offset)| (group.as_str(), topic.as_str(), *queue, *offset))
            })
        })
    }
    /// Copies a group's offsets of a topic to another group.
    pub fn clone_group(&mut self, from: &str, to: &str, topic: &str) {
        let Some(queues) = self.queues_of(from, topic).cloned() else { return };
        self.committed.entry(to.to_owned()).or_default().insert(topic.to_owned(), queues);
        self.version += 1;
    }
    /// Forgets a topic.
    pub fn remove_topic(&mut self, topic: &str) {
        for table in [&mut self.committed, &mut self.pulled, &mut self.resets] {
            for topics in table.values_mut() {
                topics.remove(topic);
            }
            table.retain(|_, topics| !topics.is_empty());
        }
        self.version += 1;
    }
    /// Forgets a group.
    pub fn remove_group(&mut self, group: &str) {
        for table in [&mut self.committed, &mut self.pulled, &mut self.resets] {
            table.remove(group);
        }
        self.version += 1;
    }
    /// Panics when an empty shell was left behind.
    pub fn invariants(&self) {
        for table in [&self.committed, &self.pulled, &self.resets] {
            assert!(table.values().all(|topics| !topics.is_empty()), "a group without offsets is not kept");
        }
    }
}

type Table = BTreeMap<String, BTreeMap<String, QueueOffsets>>;

fn find(table: &Table, group: &str, topic: &str, queue: i32) -> Option<i64> {
    table.get(group)?.get(topic)?.get(&queue).copied()
}

/// Stores without allocating when the group and topic are known.
fn put(table: &mut Table, group: &str, topic: &str, queue: i32, offset: i64) {
    if let Some(queues) = table.get_mut(group).and_then(|topics| topics.get_mut(topic)) {
        queues.insert(queue, offset);
        return;
    }
    table.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default().insert(queue, offset);
}

fn prune(table: &mut Table, group: &str, topic: &str) {
    let Some(topics) = table.get_mut(group) else { return };
    topics.retain(|name, queues| name != topic || !queues.is_empty());
    if topics.is_empty() {
        table.remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_lookups() {
        let mut offsets = Offsets::default();
        assert_eq!(offsets.committed("g", "T", 0), None);
        offsets.commit("g", "T", 0, 5);
        offsets.commit("g", "U", 1, 7);
        offsets.commit("h", "T", 0, 9);
        assert_eq!(offsets.committed("g", "T", 0), Some(5));
        assert_eq!(offsets.topics_of("g").collect::<Vec<_>>(), ["T", "U"]);
        assert_eq!(offsets.groups_of("T").collect::<Vec<_>>(), ["g", "h"]);
        offsets.commit("g", "T", 0, 3);
        assert_eq!(offsets.committed("g", "T", 0), Some(3), "a seek back is the consumer's right");
        offsets.remove_topic("T");
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [("g", "U", 1, 7)]);
        offsets.invariants();
    }

    #[test]
    fn the_file_reads_back() {
        let mut offsets = Offsets::default();
        offsets.commit("g", "%RETRY%g", 0, 5);
        offsets.commit("g", "T", 3, 7);
        let text = offsets.to_file();
        let file: OffsetsFile = json::from_slice(&text).unwrap();
        assert_eq!(file.offset_table["T@g"], QueueOffsets::from([(3, 7)]));
        let again = Offsets::load(file);
        assert_eq!(again.iter().collect::<Vec<_>>(), offsets.iter().collect::<Vec<_>>());
        assert!(std::str::from_utf8(&text).unwrap().contains("{3:7}"), "queue numbers are not quoted");
    }

    #[test]
    fn offsets_beyond_the_end_are_cut_back() {
        let mut offsets = Offsets::default();
        offsets.commit("g", "T", 0, 50);
        offsets.commit("h", "T", 1, 50);
        let version = offsets.version();
        assert_eq!(offsets.cut_back(|_, queue| if queue == 0 { 40 } else { 60 }), 1);
        assert_eq!((offsets.committed("g", "T", 0), offsets.committed("h", "T", 1)), (Some(40), Some(50)));
        assert!(offsets.version() > version, "the file follows");
    }

    #[test]
    fn an_unchanged_commit_does_not_dirty_the_file() {
        let mut offsets = Offsets::default();
        offsets.commit("g", "T", 0, 5);
        let version = offsets.version();
        offsets.commit("g", "T", 0, 5);
        offsets.pulled_to("g", "T", 0, 9);
        assert_eq!(offsets.version(), version);
        offsets.commit("g", "T", 0, 6);
        assert!(offsets.version() > version);
    }

    #[test]
    fn a_reset_outweighs_commits_until_it_was_delivered() {
        let mut offsets = Offsets::default();
        offsets.commit("g", "T", 0, 50);
        offsets.reset("g", "T", 0, 10);
        assert_eq!(offsets.commit("g", "T", 0, 60), Commit::ResetPending);
        assert_eq!(offsets.committed("g", "T", 0), Some(10));
        assert_eq!(offsets.take_reset("g", "T", 0), Some(10));
        assert_eq!(offsets.take_reset("g", "T", 0), None);
        assert_eq!(offsets.commit("g", "T", 0, 11), Commit::Stored);
        assert_eq!(offsets.committed("g", "T", 0), Some(11));
        offsets.invariants();
    }
}

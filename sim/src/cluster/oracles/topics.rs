//! The oracle `route` at its source: the topics of a broker and their version change for a reason only. Each change has the broker
//! register with every name server, and what an operator set stays, whatever the broker dies of.
//!
//! Invariant: every batch of a broker that serves is looked at. A topic may come by itself; it changes or goes only when a request of
//! that batch names it. What an operator was told of a topic is so in the next life of the broker.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_core::broker::topics::{Topics, TopicsFile};
use seedmq_core::wire::codes::request;
use seedmq_core::wire::topic::TopicConfig;
use seedmq_core::wire::{Frame, json};

use crate::disk::Image;
use crate::world::HostId;

/// The topics that brokers know, and those that a disk had not kept when its broker died: name servers may have been told of
/// them, and what a registration leaves out stays there, as in Java (`deleteTopicWithBrokerRegistration`).
#[derive(Debug, Default)]
pub(in crate::cluster) struct KnownTopics {
    of: BTreeMap<HostId, BTreeSet<String>>,
    forgotten: BTreeSet<String>,
}

impl KnownTopics {
    /// A broker knows these from now on.
    pub fn note(&mut self, host: HostId, topics: BTreeSet<String>) {
        self.of.insert(host, topics);
    }
    /// A broker died, and left this. (One that stops in order has written everything down.)
    pub fn died(&mut self, host: HostId, left: &Image) {
        let Some(known) = self.of.remove(&host) else { return };
        let file = left.content("config/topics.json");
        let kept = file.and_then(|text| json::from_slice::<TopicsFile>(&text).ok()).unwrap_or_default();
        self.forgotten.extend(known.into_iter().filter(|topic| !kept.topic_config_table.contains_key(topic)));
    }
    /// What brokers have known and had not written down.
    pub fn forgotten(&self) -> &BTreeSet<String> {
        &self.forgotten
    }
}

/// What an operator was told of the topics that he had brokers make.
#[derive(Debug, Default)]
pub(in crate::cluster) struct ToldTopics {
    of: BTreeMap<(HostId, String), Told>,
    /// A request that deletes them may still be on its way.
    deleted: BTreeSet<String>,
    /// What brokers said to requests up to this number they need not know any more.
    excused: BTreeMap<HostId, u64>,
}

/// Numbers of write queues of a topic at a broker.
#[derive(Debug, Default)]
struct Told {
    /// What the broker has last said to be done.
    done: Option<u32>,
    /// What it was asked for and has not answered.
    asked: Vec<u32>,
    /// Requests without a good answer: they may take effect at any time.
    astray: BTreeSet<u32>,
}

impl ToldTopics {
    /// A broker is asked for a topic with so many queues.
    pub fn asked(&mut self, host: HostId, topic: &str, queues: u32) {
        self.of.entry((host, topic.to_owned())).or_default().asked.push(queues);
    }
    /// It has answered the request of this number, or not in time. A request that failed is repeated, and stays asked for.
    pub fn answered(&mut self, host: HostId, ticket: u64, topic: &str, queues: u32, is_done: bool) {
        // An answer may outlive the disk that it speaks of.
        let is_done = is_done && self.excused.get(&host).is_none_or(|excused| *excused < ticket);
        let told = self.of.entry((host, topic.to_owned())).or_default();
        if !is_done {
            told.astray.insert(queues);
            return;
        }
        told.done = Some(queues);
        if let Some(at) = told.asked.iter().position(|asked| *asked == queues) {
            told.asked.swap_remove(at);
        }
    }
    /// A topic is deleted wherever it is: nothing of it is promised any more.
    pub fn deleted(&mut self, topic: &str) {
        self.deleted.insert(topic.to_owned());
    }
    /// The disk of a broker was lost, or did not do what it said; requests up to this number were made before.
    pub fn excused(&mut self, host: HostId, ticket: u64) {
        self.of.retain(|(of, _), _| *of != host);
        self.excused.insert(host, ticket);
    }
    /// A broker serves again: what it has forgotten of what it told, in words.
    pub fn forgotten(&self, host: HostId, topics: &Topics) -> Option<String> {
        let mine = self.of.iter().filter(|((of, topic), _)| *of == host && !self.deleted.contains(topic));
        mine.filter_map(|((_, topic), told)| {
            let done = told.done?;
            let has = topics.get(topic).map(|topic| topic.config.write_queue_nums);
            let may_be = |queues: &u32| has == i32::try_from(*queues).ok();
            let is_so = may_be(&done) || told.asked.iter().chain(&told.astray).any(may_be);
            let has = has.map_or("does not know it".to_owned(), |queues| format!("has it with {queues}"));
            (!is_so).then(|| format!("it told an operator that {topic} is made with {done} queues, and {has}"))
        })
        .next()
    }
}

/// The topics of a broker as they were after its last batch.
#[derive(Debug, Default)]
pub(in crate::cluster) struct TopicWatch {
    last: Option<(u64, BTreeMap<String, TopicConfig>)>,
    /// Topics that requests of this batch name.
    named: BTreeSet<String>,
}

impl TopicWatch {
    /// The broker is handed a request.
    pub fn handed(&mut self, frame: &Frame) {
        if matches!(frame.code, request::UPDATE_AND_CREATE_TOPIC | request::DELETE_TOPIC_IN_BROKER) {
            self.named.extend(frame.fields.get("topic").map(ToOwned::to_owned));
        }
    }
    /// Whether the broker serves for the first time in this life.
    pub fn is_new(&self) -> bool {
        self.last.is_none()
    }
    /// Whether the topics are others than after the last batch.
    pub fn moved(&self, topics: &Topics) -> bool {
        self.last.as_ref().is_none_or(|(seen, _)| *seen != topics.version())
    }
    /// A batch is over: the clause that is broken, and how.
    pub fn settled(&mut self, topics: &Topics) -> Option<(&'static str, String)> {
        let named = std::mem::take(&mut self.named);
        if !self.moved(topics) {
            return None;
        }
        let (version, configs) = (topics.version(), topics.configs());
        let found = self.last.take().and_then(|(seen, before)| judge(version - seen, &before, &configs, &named));
        self.last = Some((version, configs));
        found
    }
}

type Configs = BTreeMap<String, TopicConfig>;

fn judge(steps: u64, before: &Configs, now: &Configs, named: &BTreeSet<String>) -> Option<(&'static str, String)> {
    let undone = before.iter().find(|(name, config)| now.get(*name) != Some(config) && !named.contains(*name));
    if let Some((name, config)) = undone {
        let text = format!("{name} was {config:?} and is {:?}, which nobody asked for", now.get(name));
        return Some(("settings-undone", text));
    }
    // Two steps may be there and back.
    (steps == 1 && before == now).then(|| ("needless-version", "its version moved, and they did not".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_there_unless_something_else_was_asked_for() {
        let topics = |queues: &[i32]| {
            let (mut topics, _) = Topics::load(TopicsFile::default());
            for queues in queues {
                topics.set(TopicConfig::new("T", *queues, 6), 0);
            }
            topics
        };
        let host = HostId(3);
        let mut told = ToldTopics::default();
        told.asked(host, "T", 2);
        assert_eq!(told.forgotten(host, &topics(&[])), None, "it was not told");
        told.answered(host, 1, "T", 2, true);
        assert!(told.forgotten(host, &topics(&[])).is_some());
        assert_eq!(told.forgotten(HostId(4), &topics(&[])), None);
        assert_eq!(told.forgotten(host, &topics(&[2])), None);
        assert!(told.forgotten(host, &topics(&[4])).is_some());
        told.asked(host, "T", 4);
        assert_eq!(told.forgotten(host, &topics(&[4])), None, "it is asked for");
        told.answered(host, 2, "T", 4, true);
        assert!(told.forgotten(host, &topics(&[2])).is_some(), "the older one is back");
        told.asked(host, "T", 8);
        told.answered(host, 3, "T", 8, false);
        told.answered(host, 4, "T", 8, true);
        told.asked(host, "T", 4);
        told.answered(host, 5, "T", 4, true);
        assert_eq!(told.forgotten(host, &topics(&[8])), None, "the first request came late");
        told.excused(host, 6);
        told.answered(host, 6, "T", 4, true);
        assert_eq!(told.forgotten(host, &topics(&[])), None, "the disk is another than the one that it was told of");
        told.answered(host, 7, "T", 4, true);
        assert!(told.forgotten(host, &topics(&[])).is_some());
        told.deleted("T");
        assert_eq!(told.forgotten(host, &topics(&[])), None);
    }

    #[test]
    fn what_comes_by_itself_or_was_asked_for_is_no_surprise() {
        let table = |topics: &[(&str, i32)]| -> Configs {
            topics.iter().map(|(name, queues)| ((*name).to_owned(), TopicConfig::new(*name, *queues, 6))).collect()
        };
        let clause = |before: &[(&str, i32)], now: &[(&str, i32)], named: &[&str]| {
            let named = named.iter().map(|name| (*name).to_owned()).collect();
            judge(1, &table(before), &table(now), &named).map(|(clause, _)| clause)
        };
        assert_eq!(clause(&[("T", 4)], &[("T", 4), ("U", 1)], &[]), None);
        assert_eq!(clause(&[("T", 4)], &[("T", 8)], &["T"]), None);
        assert_eq!(clause(&[("T", 4)], &[], &["T"]), None);
        assert_eq!(clause(&[("T", 4)], &[("T", 8)], &["U"]), Some("settings-undone"));
        assert_eq!(clause(&[("T", 4)], &[], &[]), Some("settings-undone"));
        assert_eq!(clause(&[("T", 4)], &[("T", 4)], &["T"]), Some("needless-version"));
    }
}

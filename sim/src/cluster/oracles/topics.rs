//! The oracle `route` at its source: the topics of a broker and their version change for a reason only. Each change has the broker
//! register with every name server, and what an operator set stays.
//!
//! Invariant: every batch of a broker that serves is looked at. A topic may come by itself; it changes or goes only when a request of
//! that batch names it.

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

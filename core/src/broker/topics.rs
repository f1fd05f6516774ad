//! Which topics there are and how many queues each has (Java `TopicConfigManager`, `config/topics.json`).
//!
//! Invariant: every topic has a valid name, under which it is listed, and at least one queue to read or write, and every change moves
//! the data version that name servers compare.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::config::BrokerConfig;
use super::names;
use crate::meter::Meter;
use crate::node::Instant;
use crate::wire::json::{self, Style};
use crate::wire::register::DataVersion;
pub use crate::wire::route::{PERM_INHERIT, PERM_READ, PERM_WRITE};
use crate::wire::topic::{TopicConfig, TopicFilterType};

/// Most queues of one topic.
pub const QUEUES_MAX: i32 = 32_767;
/// Most topics of one broker.
pub const TOPICS_MAX: usize = 1_000_000;

/// One topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// As it stands in the file and in routes.
    pub config: TopicConfig,
    /// The name as records hold it: shared, so that a send does not copy it.
    pub name: Bytes,
    /// Version of the table since which the topic is there: sends wait until the file holds it.
    pub since: u64,
    /// Messages put.
    pub puts: Meter,
    /// Bytes put.
    pub put_bytes: Meter,
}

/// All topics.
#[derive(Debug)]
pub struct Topics {
    table: BTreeMap<String, Topic>,
    data_version: DataVersion,
    version: u64,
}

/// The content of `topics.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicsFile {
    /// Version of the table.
    pub data_version: DataVersion,
    /// The table.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

impl Topics {
    /// The topics of a file; entries that break the invariant are left out and named.
    pub fn load(file: TopicsFile) -> (Topics, Vec<String>) {
        let mut topics = Topics { table: BTreeMap::new(), data_version: file.data_version, version: 0 };
        let mut notices = Vec::new();
        for (name, mut config) in file.topic_config_table {
            config.topic_name.clone_from(&name);
            match names::check_topic(&name) {
                Ok(()) => topics.put(config, 0),
                Err(why) => notices.push(format!("topics.json: {why}; the entry is ignored")),
            }
        }
        (topics, notices)
    }
    /// The file as it should be now.
    pub fn to_file(&self) -> Bytes {
        let file = TopicsFile { data_version: self.data_version.clone(), topic_config_table: self.configs() };
        json::to_vec(&file, Style::Fastjson).into()
    }
    /// Topic settings by name.
    pub fn configs(&self) -> BTreeMap<String, TopicConfig> {
        self.table.iter().map(|(name, topic)| (name.clone(), topic.config.clone())).collect()
    }
    /// Changes with every change of the table.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// What name servers compare.
    pub fn data_version(&self) -> &DataVersion {
        &self.data_version
    }
    /// One topic.
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.table.get(name)
    }
    /// Counts messages that were put into a topic, which exists.
    pub fn count(&mut self, name: &str, messages: u64, bytes: usize) {
        let topic = self.table.get_mut(name).expect("what was put has a topic");
        topic.puts.add_many(messages, messages);
        topic.put_bytes.add_many(bytes as u64, messages);
    }
    /// All topics by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.table.iter().map(|(name, topic)| (name.as_str(), topic))
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
    /// Creates a topic or changes its settings. Returns whether anything changed.
    pub fn set(&mut self, config: TopicConfig, now_ms: u64) -> bool {
        let is_same = self.table.get(&config.topic_name).is_some_and(|topic| topic.config == config);
        if is_same && !crate::planted!("same-settings-move-version") {
            return false;
        }
        self.touch(now_ms);
        let version = self.version;
        match self.table.get_mut(&config.topic_name) {
            Some(topic) => topic.config = config,
            None => self.put(config, version),
        }
        true
    }
    /// Deletes a topic. Returns whether it was there.
    pub fn remove(&mut self, name: &str, now_ms: u64) -> bool {
        let there = self.table.remove(name).is_some();
        if there {
            self.touch(now_ms);
        }
        there
    }
    /// Moves the data version without a change: the permission of the whole broker changed.
    pub fn touch(&mut self, now_ms: u64) {
        self.version += 1;
        self.data_version.advance(now_ms);
    }
    /// Creates what the system needs and is not there (Java `TopicConfigManager.init`).
    pub fn create_system_topics(&mut self, config: &BrokerConfig, now_ms: u64) {
        for (name, queues, perm) in system_topics(config) {
            if !self.table.contains_key(&name) {
                self.set(TopicConfig::new(name, queues, perm), now_ms);
            }
        }
    }
    /// The settings that a topic gets which is created by the first message to it, if it may be.
    pub fn inherited(&self, name: &str, default: &str, queues: i32, auto_create: bool) -> Option<TopicConfig> {
        let model = &self.table.get(default)?.config;
        if model.perm & PERM_INHERIT == 0 || (default == names::AUTO_CREATE_TOPIC && !auto_create) {
            return None;
        }
        let queues = queues.min(model.write_queue_nums).clamp(1, QUEUES_MAX);
        Some(TopicConfig {
            topic_filter_type: model.topic_filter_type,
            ..TopicConfig::new(name, queues, model.perm & !PERM_INHERIT)
        })
    }
    /// Takes samples of the counters.
    pub fn sample(&mut self, now: Instant) {
        for topic in self.table.values_mut().filter(|topic| topic.puts.times > 0) {
            topic.puts.sample(now);
            topic.put_bytes.sample(now);
        }
    }
    /// Panics when a topic breaks the rules.
    pub fn invariants(&self) {
        for (name, topic) in &self.table {
            assert_eq!(*name, topic.config.topic_name, "a topic is listed under its name");
            assert_eq!(name.as_bytes(), &topic.name[..], "records get the name of the table");
            assert!(topic.since <= self.version, "a topic is not younger than the table");
        }
    }

    fn put(&mut self, config: TopicConfig, since: u64) {
        let name = config.topic_name.clone();
        assert!(names::check_topic(&name).is_ok(), "only valid names enter the table");
        let topic = Topic {
            name: Bytes::from(name.clone()),
            config,
            since,
            puts: Meter::default(),
            put_bytes: Meter::default(),
        };
        self.table.insert(name, topic);
    }
}

fn system_topics(config: &BrokerConfig) -> Vec<(String, i32, i32)> {
    let read_write = PERM_READ | PERM_WRITE;
    let all = read_write | PERM_INHERIT;
    let mut topics: Vec<(String, i32, i32)> = [
        ("SELF_TEST_TOPIC", 1),
        ("BenchmarkTest", 1024),
        ("OFFSET_MOVED_EVENT", 1),
        (names::SCHEDULE_TOPIC, 18),
        (names::HALF_TOPIC, 1),
        (names::OP_HALF_TOPIC, 1),
        ("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", 1),
        ("RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", 1),
        (names::TIMER_TOPIC, 1),
    ]
    .map(|(name, queues)| (name.to_owned(), queues, read_write))
    .into();
    if config.auto_create_topic {
        topics.push((names::AUTO_CREATE_TOPIC.into(), config.default_topic_queues, all));
    }
    if config.trace_topic {
        topics.push((config.trace_topic_name.clone(), 1, read_write));
    }
    let cluster_perm = PERM_INHERIT | if config.cluster_topic { read_write } else { 0 };
    let broker_perm = PERM_INHERIT | if config.broker_topic { read_write } else { 0 };
    topics.push((config.cluster.clone(), 16, cluster_perm));
    topics.push((config.name.clone(), 1, broker_perm));
    topics.push((format!("{}_REPLY_TOPIC", config.cluster), 1, read_write));
    topics.push((format!("rmq_sys_REVIVE_LOG_{}", config.cluster), 8, read_write));
    topics.push((format!("rmq_sys_SYNC_BROKER_MEMBER_{}", config.name), 1, PERM_INHERIT));
    topics.retain(|(name, _, _)| names::check_topic(name).is_ok());
    topics
}

/// How Java prints a permission: `RW-`.
pub fn perm_text(perm: i32) -> String {
    [(PERM_READ, 'R'), (PERM_WRITE, 'W'), (PERM_INHERIT, 'X')]
        .map(|(bit, letter)| if perm & bit != 0 { letter } else { '-' })
        .iter()
        .collect()
}

/// How Java prints a topic in error texts.
pub fn describe(config: &TopicConfig) -> String {
    let attributes: Vec<String> = config.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, \
         order={}, attributes={{{}}}]",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        perm_text(config.perm),
        config.topic_filter_type.map_or("null", TopicFilterType::name),
        config.topic_sys_flag,
        config.order,
        attributes.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booted() -> Topics {
        let (mut topics, notices) = Topics::load(TopicsFile::default());
        assert!(notices.is_empty());
        topics.create_system_topics(&BrokerConfig::default(), 1000);
        topics
    }

    #[test]
    fn a_new_broker_has_the_topics_of_a_java_broker() {
        let topics = booted();
        let list: Vec<String> = topics
            .iter()
            .map(|(name, topic)| format!("{name} {} {}", topic.config.write_queue_nums, topic.config.perm))
            .collect();
        assert_eq!(
            list,
            [
                "BenchmarkTest 1024 6",
                "DefaultCluster 16 7",
                "DefaultCluster_REPLY_TOPIC 1 6",
                "OFFSET_MOVED_EVENT 1 6",
                "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC 1 6",
                "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC 1 6",
                "RMQ_SYS_TRANS_HALF_TOPIC 1 6",
                "RMQ_SYS_TRANS_OP_HALF_TOPIC 1 6",
                "SCHEDULE_TOPIC_XXXX 18 6",
                "SELF_TEST_TOPIC 1 6",
                "TBW102 8 7",
                "broker-a 1 7",
                "rmq_sys_REVIVE_LOG_DefaultCluster 8 6",
                "rmq_sys_SYNC_BROKER_MEMBER_broker-a 1 1",
                "rmq_sys_wheel_timer 1 6",
            ]
        );
        topics.invariants();
    }

    #[test]
    fn automatic_creation_copies_the_model() {
        let topics = booted();
        let config = topics.inherited("New", "TBW102", 4, true).unwrap();
        assert_eq!((config.write_queue_nums, config.read_queue_nums, config.perm), (4, 4, 6));
        assert_eq!(topics.inherited("New", "TBW102", 99, true).unwrap().write_queue_nums, 8);
        assert_eq!(topics.inherited("New", "TBW102", -3, true).unwrap().write_queue_nums, 1);
        assert_eq!(topics.inherited("New", "TBW102", 4, false), None, "automatic creation is off");
        assert_eq!(topics.inherited("New", "BenchmarkTest", 4, true), None, "the model does not allow it");
        assert_eq!(topics.inherited("New", "Nope", 4, true), None);
    }

    #[test]
    fn only_changes_move_the_version() {
        let mut topics = booted();
        let (version, counter) = (topics.version(), topics.data_version().counter);
        assert!(topics.set(TopicConfig::new("T", 4, 6), 2000));
        assert!(!topics.set(TopicConfig::new("T", 4, 6), 3000));
        assert_eq!((topics.version(), topics.data_version().counter), (version + 1, counter + 1));
        assert_eq!(topics.data_version().timestamp, 2000);
        assert!(topics.remove("T", 4000) && !topics.remove("T", 5000));
        assert_eq!(topics.data_version().timestamp, 4000);
    }

    #[test]
    fn the_file_reads_back() {
        let mut topics = booted();
        topics.set(TopicConfig::new("%RETRY%g", 1, 6), 2000);
        let file: TopicsFile = json::from_slice(&topics.to_file()).unwrap();
        assert_eq!(file.data_version, *topics.data_version());
        let (again, notices) = Topics::load(file);
        assert_eq!((again.configs(), notices.len()), (topics.configs(), 0));
    }

    #[test]
    fn texts_are_those_of_java() {
        assert_eq!(
            describe(&TopicConfig::new("TopicHold", 4, 6)),
            "TopicConfig [topicName=TopicHold, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, \
             topicSysFlag=0, order=false, attributes={}]"
        );
        assert_eq!(perm_text(7), "RWX");
    }
}

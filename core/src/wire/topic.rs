//! Topics: 17, 18, 21, 202, 206, 215, 216, 224, 304, 305, 351, and the configuration of a topic.
//!
//! Invariant: [`TopicConfig`] written as JSON is what `config/topics.json` of a Java broker holds for the topic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::{headers, java_enum};
use super::json::{self, Style, lenient};
use super::lock::MessageQueue;

java_enum! {
    /// How many tags a message may have; only one is supported.
    TopicFilterType {
        /// One.
        SingleTag = "SINGLE_TAG",
        /// More, unsupported.
        MultiTag = "MULTI_TAG",
    }
}

/// Settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// `message.type`, `queue.type`, `cleanup.policy` and others.
    pub attributes: BTreeMap<String, String>,
    /// The number of queues is kept in the name server's `ORDER_TOPIC_CONFIG`.
    pub order: bool,
    /// Permission bits, see [`super::route::PERM_READ`].
    pub perm: i32,
    /// Queues to read.
    pub read_queue_nums: i32,
    /// Absent when the name is not known.
    #[serde(deserialize_with = "lenient")]
    pub topic_filter_type: Option<TopicFilterType>,
    /// Name.
    pub topic_name: String,
    /// `TopicSysFlag`.
    pub topic_sys_flag: i32,
    /// Queues to write.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    /// Java's defaults.
    fn default() -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: Some(TopicFilterType::SingleTag),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// A topic with as many queues to read as to write.
    pub fn new(name: impl Into<String>, queues: i32, perm: i32) -> TopicConfig {
        let topic_name = name.into();
        TopicConfig { topic_name, read_queue_nums: queues, write_queue_nums: queues, perm, ..TopicConfig::default() }
    }

    /// The short text form (`TopicConfig.encode`) of compressed registrations; loses `order` and the system flag.
    pub fn to_text(&self) -> String {
        let filter = self.topic_filter_type.map_or("null", TopicFilterType::name);
        let attributes = json::to_string(&self.attributes, Style::Fastjson);
        let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, .. } = self;
        format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter} {attributes}")
    }

    /// Reads the short text form; `None` when it has fewer than five parts or a bad number.
    pub fn from_text(text: &str) -> Option<TopicConfig> {
        let mut parts = text.splitn(6, ' ');
        let topic_name = parts.next()?.to_owned();
        let mut number = || parts.next()?.parse().ok();
        let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
        let topic_filter_type = TopicFilterType::from_name(parts.next()?);
        let attributes = parts.next().and_then(|text| json::from_slice(text.as_bytes()).ok()).unwrap_or_default();
        let rest = TopicConfig::default();
        Some(TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, attributes, ..rest })
    }
}

/// Java `TopicList`: body of the responses to 206, 224, 304, 305, 343.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// Address of a broker, where Java gives one.
    pub broker_addr: Option<String>,
    /// Names.
    pub topic_list: Vec<String>,
}

/// Body of UPDATE_AND_CREATE_TOPIC_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateTopicListBody {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// Body of the response to GET_TOPIC_STATS_INFO.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue.
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages a second that were put, over the last minute.
    pub topic_put_tps: f64,
}

/// Extent of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the last message, ms; 0 when there is none.
    pub last_update_timestamp: i64,
    /// End.
    pub max_offset: i64,
    /// First offset.
    pub min_offset: i64,
}

headers! {
    /// UPDATE_AND_CREATE_TOPIC.
    CreateTopicHeader {
        "topic" => topic: String,
        "defaultTopic" => default_topic: Option<String>,
        "readQueueNums" => read_queue_nums: i32,
        "writeQueueNums" => write_queue_nums: i32,
        "perm" => perm: i32,
        "topicFilterType" => topic_filter_type: Option<String>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "order" => order: bool,
        /// `+key=value,-key`.
        "attributes" => attributes: Option<String>,
        "force" => force: Option<bool>,
    }
    /// DELETE_TOPIC_IN_BROKER.
    DeleteTopicHeader {
        "topic" => topic: String,
    }
    /// DELETE_TOPIC_IN_NAMESRV.
    DeleteTopicFromNamesrvHeader {
        "topic" => topic: String,
        /// Only at the brokers of this cluster.
        "clusterName" => cluster_name: Option<String>,
    }
    /// REGISTER_TOPIC_IN_NAMESRV.
    RegisterTopicHeader {
        "topic" => topic: String,
    }
    /// GET_TOPICS_BY_CLUSTER.
    GetTopicsByClusterHeader {
        "cluster" => cluster: String,
    }
    /// GET_ALL_TOPIC_CONFIG, answered with a [`super::register::TopicConfigSerializeWrapper`]; an old client sends none of
    /// it and wants everything.
    GetAllTopicConfigHeader {
        /// Where the page begins.
        "topicSeq" => topic_seq: Option<i32>,
        /// JSON of the version that the first page had.
        "dataVersion" => data_version: Option<String>,
        "maxTopicNum" => max_topic_num: Option<i32>,
    }
    /// Response to GET_ALL_TOPIC_CONFIG.
    GetAllTopicConfigResponseHeader {
        "totalTopicNum" => total_topic_num: Option<i32>,
    }
    /// GET_TOPIC_CONFIG.
    GetTopicConfigHeader {
        "topic" => topic: String,
        "lo" => lo: Option<bool>,
    }
    /// GET_TOPIC_STATS_INFO.
    GetTopicStatsInfoHeader {
        "topic" => topic: String,
    }
}

//! Consumer groups: 200, 201, 207, 208, 225, 300, 303, 314, 317, 343, 345, 352, 353.
//!
//! Invariant: [`SubscriptionGroupConfig`] written as JSON is what `config/subscriptionGroup.json` of a Java broker holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::headers;
use super::heartbeat::SubscriptionData;
use super::lock::MessageQueue;
use super::register::DataVersion;

/// Settings of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Free.
    pub attributes: BTreeMap<String, String>,
    /// Where it normally reads.
    pub broker_id: i64,
    /// May it broadcast.
    pub consume_broadcast_enable: bool,
    /// May it read at all.
    pub consume_enable: bool,
    /// Begin at the first message.
    pub consume_from_min_enable: bool,
    /// In order.
    pub consume_message_orderly: bool,
    /// Unused.
    pub consume_timeout_minute: i32,
    /// Name.
    pub group_name: String,
    /// How long to wait before each retry; kept as it is.
    pub group_retry_policy: Option<serde_json::Value>,
    /// Bits.
    pub group_sys_flag: i32,
    /// Tell members when others come and go.
    pub notify_consumer_ids_changed_enable: bool,
    /// Retries before the dead-letter queue.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Allowed subscriptions; absent for any.
    pub subscription_data_set: Option<Vec<serde_json::Value>>,
    /// Where to read when the master is slow.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    /// Java's defaults.
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: Some(serde_json::json!({ "type": "CUSTOMIZED" })),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// Body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    /// The groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// Body of the response to GET_ALL_SUBSCRIPTIONGROUP_CONFIG, and the content of `subscriptionGroup.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupWrapper {
    /// Of the table.
    pub data_version: DataVersion,
    /// Bits of what a group may not do, by group and topic.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By name.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Body of the response to GET_CONSUME_STATS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages a second.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

/// How far a group is in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    /// End of the queue.
    pub broker_offset: i64,
    /// Committed.
    pub consumer_offset: i64,
    /// Store time of the last consumed message, ms.
    pub last_timestamp: i64,
    /// Pulled.
    pub pull_offset: i64,
}

/// Body of the response to GET_BROKER_CONSUME_STATS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStatsList {
    /// Which broker.
    pub broker_addr: String,
    /// A map of one group each to its statistics by topic.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Sum of what is left.
    pub total_diff: Option<i64>,
    /// Sum of what is pulled but not consumed.
    pub total_inflight_diff: Option<i64>,
}

/// Body of the response to QUERY_TOPIC_CONSUME_BY_WHO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// Names.
    pub group_list: Vec<String>,
}

/// Body of the response to QUERY_SUBSCRIPTION_BY_CONSUMER.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuerySubscriptionResponseBody {
    /// Group.
    pub group: String,
    /// What it reads.
    pub subscription_data: Option<SubscriptionData>,
    /// Topic.
    pub topic: String,
}

/// Body of the response to QUERY_CONSUME_TIME_SPAN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryConsumeTimeSpanBody {
    /// By queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Times of a queue, ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    /// Store time of the last consumed message.
    pub consume_time_stamp: i64,
    /// How far behind.
    pub delay_time: i64,
    /// Store time of the newest message.
    pub max_time_stamp: i64,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the oldest message.
    pub min_time_stamp: i64,
}

/// Body of the response to UPDATE_AND_GET_GROUP_FORBIDDEN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupForbidden {
    /// Group.
    pub group: String,
    /// May it read the topic.
    pub readable: Option<bool>,
    /// Topic.
    pub topic: String,
}

headers! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG; an old client sends none of it.
    GetAllSubscriptionGroupHeader {
        /// Where the page begins.
        "groupSeq" => group_seq: Option<i32>,
        /// JSON of the version that the first page had.
        "dataVersion" => data_version: Option<String>,
        "maxGroupNum" => max_group_num: Option<i32>,
    }
    /// Response to GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
    GetAllSubscriptionGroupResponseHeader {
        "totalGroupNum" => total_group_num: Option<i32>,
    }
    /// GET_SUBSCRIPTIONGROUP_CONFIG.
    GetSubscriptionGroupConfigHeader {
        "group" => group: String,
    }
    /// DELETE_SUBSCRIPTIONGROUP.
    DeleteSubscriptionGroupHeader {
        "groupName" => group_name: String,
        "cleanOffset" => clean_offset: bool,
    }
    /// UPDATE_AND_GET_GROUP_FORBIDDEN.
    UpdateGroupForbiddenHeader {
        "group" => group: String,
        "topic" => topic: String,
        "readable" => readable: Option<bool>,
    }
    /// GET_CONSUME_STATS.
    GetConsumeStatsHeader {
        "consumerGroup" => consumer_group: String,
        "topic" => topic: Option<String>,
        /// Only these, with `;` between; wins over the topic.
        "topicList" => topic_list: Option<String>,
    }
    /// GET_BROKER_CONSUME_STATS.
    GetBrokerConsumeStatsHeader {
        "isOrder" => is_order: bool,
    }
    /// QUERY_TOPIC_CONSUME_BY_WHO.
    QueryTopicConsumeByWhoHeader {
        "topic" => topic: String,
    }
    /// QUERY_TOPICS_BY_CONSUMER.
    QueryTopicsByConsumerHeader {
        "group" => group: String,
    }
    /// QUERY_SUBSCRIPTION_BY_CONSUMER.
    QuerySubscriptionByConsumerHeader {
        "group" => group: String,
        "topic" => topic: String,
    }
    /// QUERY_CONSUME_TIME_SPAN.
    QueryConsumeTimeSpanHeader {
        "topic" => topic: String,
        "group" => group: String,
    }
    /// CLONE_GROUP_OFFSET.
    CloneGroupOffsetHeader {
        "srcGroup" => src_group: String,
        "destGroup" => dest_group: String,
        "topic" => topic: Option<String>,
        "offline" => offline: bool,
    }
    /// QUERY_CORRECTION_OFFSET.
    QueryCorrectionOffsetHeader {
        "filterGroups" => filter_groups: Option<String>,
        "compareGroup" => compare_group: String,
        "topic" => topic: String,
    }
}

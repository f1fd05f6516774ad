//! Administration: 25, 26, 28, 220 to 223, 307, 309, 315, 318, 319.
//!
//! Invariant: configuration travels as the text of a Java properties file, in the body.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::headers;
use super::heartbeat::SubscriptionData;
use super::lock::MessageQueue;

/// Body of the response to 222, and of 220.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// New offsets.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// Body of the responses to 221 and 223.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetConsumerStatusBody {
    /// Offsets by client (223).
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// Offsets (221).
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// Body of the response to CONSUME_MESSAGE_DIRECTLY.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeMessageDirectlyResult {
    /// As the consumer is set.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, `CR_COMMIT`, `CR_THROW_EXCEPTION`, `CR_RETURN_NULL`.
    pub consume_result: Option<String>,
    /// An ordered consumer.
    pub order: bool,
    /// Text of an exception.
    pub remark: Option<String>,
    /// How long it took, ms.
    pub spent_time_mills: i64,
}

/// Body of the response to GET_CONSUMER_RUNNING_INFO.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerRunningInfo {
    /// Stack traces.
    pub jstack: Option<String>,
    /// Pop queues.
    pub mq_pop_table: BTreeMap<MessageQueue, serde_json::Value>,
    /// Queues.
    pub mq_table: BTreeMap<MessageQueue, ProcessQueueInfo>,
    /// `PROP_…` texts.
    pub properties: BTreeMap<String, String>,
    /// Rates by topic.
    pub status_table: BTreeMap<String, ConsumeStatus>,
    /// Subscriptions.
    pub subscription_set: Vec<SubscriptionData>,
    /// Free.
    pub user_consumer_info: BTreeMap<String, String>,
}

/// A queue at a consumer. Times in ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ProcessQueueInfo {
    pub cached_msg_count: i32,
    pub cached_msg_max_offset: i64,
    pub cached_msg_min_offset: i64,
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_size_in_mib: i32,
    pub commit_offset: i64,
    /// So spelt in Java.
    pub droped: bool,
    pub last_consume_timestamp: i64,
    pub last_lock_timestamp: i64,
    pub last_pull_timestamp: i64,
    pub locked: bool,
    pub transaction_msg_count: i32,
    pub transaction_msg_max_offset: i64,
    pub transaction_msg_min_offset: i64,
    pub try_unlock_times: i64,
}

/// Rates of a topic at a consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ConsumeStatus {
    #[serde(rename = "consumeFailedMsgs")]
    pub consume_failed_msgs: i64,
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// Body of the response to VIEW_BROKER_STATS_DATA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    /// The last day.
    pub stats_day: BrokerStatsItem,
    /// The last hour.
    pub stats_hour: BrokerStatsItem,
    /// The last minute.
    pub stats_minute: BrokerStatsItem,
}

/// Figures of a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsItem {
    /// Average per call.
    pub avgpt: f64,
    /// Sum.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
}

headers! {
    /// Response to GET_BROKER_CONFIG.
    GetBrokerConfigResponseHeader {
        /// JSON of the version of the configuration.
        "version" => version: Option<String>,
    }
    /// INVOKE_BROKER_TO_RESET_OFFSET.
    ResetOffsetHeader {
        "group" => group: String,
        "topic" => topic: String,
        /// ms; below 0: the end.
        "timestamp" => timestamp: i64,
        "isForce" => is_force: bool,
        "queueId" => queue_id: Option<i32>,
        "offset" => offset: Option<i64>,
    }
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS and GET_CONSUMER_STATUS_FROM_CLIENT.
    GetConsumerStatusHeader {
        "topic" => topic: String,
        "group" => group: String,
        "clientAddr" => client_addr: Option<String>,
    }
    /// GET_CONSUMER_RUNNING_INFO.
    GetConsumerRunningInfoHeader {
        "consumerGroup" => consumer_group: String,
        "clientId" => client_id: String,
        "jstackEnable" => jstack_enable: bool,
    }
    /// CONSUME_MESSAGE_DIRECTLY.
    ConsumeMessageDirectlyHeader {
        "consumerGroup" => consumer_group: String,
        "clientId" => client_id: Option<String>,
        /// The offset form.
        "msgId" => msg_id: Option<String>,
        "brokerName" => broker_name: Option<String>,
        "topic" => topic: Option<String>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
    }
    /// VIEW_BROKER_STATS_DATA.
    ViewBrokerStatsDataHeader {
        "statsName" => stats_name: String,
        "statsKey" => stats_key: String,
    }
}

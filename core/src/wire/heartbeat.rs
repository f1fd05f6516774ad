//! Clients of a broker: 34, 35, 38, 40, and what is asked about them: 46, 203, 204, 328.
//!
//! Invariant: an unknown enum name in a heartbeat reads as absent, it never fails the heartbeat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::{headers, java_enum};
use super::json::lenient;

java_enum! {
    /// How members of a group share a topic.
    MessageModel {
        /// Everyone gets everything.
        Broadcasting = "BROADCASTING",
        /// Everyone gets a part.
        Clustering = "CLUSTERING",
    }
    /// Who drives.
    ConsumeType {
        /// A pull consumer.
        Actively = "CONSUME_ACTIVELY",
        /// A push consumer.
        Passively = "CONSUME_PASSIVELY",
        /// A pop consumer.
        Pop = "CONSUME_POP",
    }
    /// Where a new group begins.
    ConsumeFromWhere {
        /// At the end.
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated, counts as the end.
        LastOffsetAndMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// Body of HEART_BEAT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// Who. Java tolerates that it is missing.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its consumer groups.
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of the rest; 0 in version 1 of the heartbeat.
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    pub producer_data_set: Vec<ProducerData>,
    /// Version 2: only liveness, subscriptions unchanged.
    pub without_sub: bool,
}

/// A producer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Its name.
    pub group_name: String,
}

/// A consumer group of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where a new group begins.
    #[serde(deserialize_with = "lenient")]
    pub consume_from_where: Option<ConsumeFromWhere>,
    /// Who drives.
    #[serde(deserialize_with = "lenient")]
    pub consume_type: Option<ConsumeType>,
    /// Its name.
    pub group_name: String,
    /// How members share.
    #[serde(deserialize_with = "lenient")]
    pub message_model: Option<MessageModel>,
    /// What it reads.
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unused.
    pub unit_mode: bool,
}

/// What a group reads of a topic. `serde`'s order is Java's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Unsupported, in Java too.
    pub class_filter_mode: bool,
    /// Hashes of the tags; none for all.
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: String,
    /// `*`, or tags with `||` between them, or an SQL expression.
    pub sub_string: String,
    /// When it was made, ms; newer wins.
    pub sub_version: i64,
    /// The tags; none for all.
    pub tags_set: Vec<String>,
    /// Of which topic.
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        SubscriptionData {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: "TAG".into(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

/// Body of the response to GET_CONSUMER_LIST_BY_GROUP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerListBody {
    /// Client ids.
    pub consumer_id_list: Vec<String>,
}

/// Body of CHECK_CLIENT_CONFIG.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientBody {
    /// Who.
    pub client_id: String,
    /// Its group.
    pub group: String,
    /// Of which namespace.
    pub namespace: Option<String>,
    /// What it wants to read.
    pub subscription_data: Option<SubscriptionData>,
}

/// A client in [`ConsumerConnection`] and [`ProducerConnection`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// `ip:port`.
    pub client_addr: String,
    /// Client id.
    pub client_id: String,
    /// Java's name of the language.
    pub language: String,
    /// `MQVersion` ordinal.
    pub version: i32,
}

/// Body of the response to GET_CONSUMER_CONNECTION_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
    /// Where a new group begins.
    #[serde(deserialize_with = "lenient")]
    pub consume_from_where: Option<ConsumeFromWhere>,
    /// Who drives.
    #[serde(deserialize_with = "lenient")]
    pub consume_type: Option<ConsumeType>,
    /// How members share.
    #[serde(deserialize_with = "lenient")]
    pub message_model: Option<MessageModel>,
    /// Subscription by topic.
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Body of the response to GET_PRODUCER_CONNECTION_LIST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    /// The members.
    pub connection_set: Vec<Connection>,
}

/// A client in [`ProducerTableInfo`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    /// Client id.
    pub client_id: String,
    /// Java's name of the language.
    pub language: String,
    /// When it was last heard of, ms.
    pub last_update_timestamp: i64,
    /// `/ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// `MQVersion` ordinal.
    pub version: i32,
}

/// Body of the response to GET_ALL_PRODUCER_INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerTableInfo {
    /// Clients by group.
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

headers! {
    /// UNREGISTER_CLIENT.
    UnregisterClientHeader {
        "clientID" => client_id: String,
        "producerGroup" => producer_group: Option<String>,
        "consumerGroup" => consumer_group: Option<String>,
    }
    /// GET_CONSUMER_LIST_BY_GROUP.
    GetConsumerListByGroupHeader {
        "consumerGroup" => consumer_group: String,
    }
    /// NOTIFY_CONSUMER_IDS_CHANGED, broker to client, one-way.
    NotifyConsumerIdsChangedHeader {
        "consumerGroup" => consumer_group: String,
    }
    /// GET_CONSUMER_CONNECTION_LIST.
    GetConsumerConnectionListHeader {
        "consumerGroup" => consumer_group: String,
    }
    /// GET_PRODUCER_CONNECTION_LIST.
    GetProducerConnectionListHeader {
        "producerGroup" => producer_group: String,
    }
}

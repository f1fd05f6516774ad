//! Routes: 105 and 106.
//!
//! Invariant: a route names queues per broker *name*; addresses stand apart, by broker id, and 0 is the master.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::headers;

/// Permission bit: more queues may be made by priority (unused).
pub const PERM_PRIORITY: i32 = 8;
/// Permission bit: consumers may read.
pub const PERM_READ: i32 = 4;
/// Permission bit: producers may write.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: topics may be created after this one.
pub const PERM_INHERIT: i32 = 1;
/// The id of a master.
pub const MASTER_ID: i64 = 0;
/// The release from which routes are asked for in standard JSON (V4_9_4).
pub const VERSION_STANDARD_JSON: i32 = 401;

/// Body of the response to GET_ROUTEINFO_BY_TOPIC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    /// The brokers that hold the topic.
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address; always empty by now.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Queues of an ordered topic: `broker:n;broker2:m`.
    pub order_topic_conf: Option<String>,
    /// Its queues, per broker.
    pub queue_datas: Vec<QueueData>,
    /// Static topics.
    pub topic_queue_mapping_by_broker: Option<serde_json::Value>,
}

/// A broker name with its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// `ip:port` by broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
    /// A slave may act as master.
    pub enable_acting_master: bool,
    /// Where it stands.
    pub zone_name: Option<String>,
}

/// Queues of a topic at a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// The broker's name.
    pub broker_name: String,
    /// Permission bits.
    pub perm: i32,
    /// Queues to read: `0..n`.
    pub read_queue_nums: i32,
    /// `TopicSysFlag`.
    pub topic_sys_flag: i32,
    /// Queues to write: `0..n`.
    pub write_queue_nums: i32,
}

/// Body of the response to GET_BROKER_CLUSTER_INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Brokers by name.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

headers! {
    /// GET_ROUTEINFO_BY_TOPIC.
    GetRouteInfoHeader {
        "topic" => topic: String,
        "acceptStandardJsonOnly" => accept_standard_json_only: Option<bool>,
        "__ZONE_MODE" => zone_mode: Option<bool>,
        "__ZONE_NAME" => zone_name: Option<String>,
    }
}

//! Queue locks for ordered consumption: 41 and 42, and the queue itself as it stands in bodies.
//!
//! Invariant: a queue is named by topic, broker *name* and id; its fields stand in this order in Java's text.

use serde::{Deserialize, Serialize};

/// Java `MessageQueue`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Name of the broker, not its address.
    pub broker_name: String,
    /// Number within the topic at that broker.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

/// Body of LOCK_BATCH_MQ and UNLOCK_BATCH_MQ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchBody {
    /// Who wants the locks.
    pub client_id: String,
    /// For which group.
    pub consumer_group: String,
    /// The queues.
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask the other replicas.
    pub only_this_broker: bool,
}

/// Body of the response to LOCK_BATCH_MQ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponseBody {
    /// The queues that are locked now.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

//! What a push consumer can be told.
//!
//! Invariant: the defaults are those of Java's `DefaultMQPushConsumer`.

use std::sync::Arc;
use std::time::Duration;

use super::allocate::Strategy;
use crate::client::Identity;
use crate::node::Addr;

/// Where a group begins on a queue that it has never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FromWhere {
    /// Behind the last message. (A broker lets a new group begin at 0 as long as the queue is young.)
    #[default]
    Last,
    /// With the first message.
    First,
    /// With the first message stored at or after this time, ms since 1970.
    Timestamp(u64),
}

/// How members of a group share a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Model {
    /// Each message goes to one member.
    #[default]
    Clustering,
    /// Each message goes to every member. Not offered yet: the consumer refuses to start.
    Broadcasting,
}

/// Configuration of one push consumer.
#[derive(Clone, Debug, Hash)]
pub struct ConsumerConfig {
    /// Consumer group.
    pub group: Arc<str>,
    /// Who it is.
    pub identity: Identity,
    /// Where to ask for routes.
    pub name_servers: Vec<Addr>,
    /// How members share.
    pub model: Model,
    /// Which queues are whose.
    pub strategy: Strategy,
    /// Where a new group begins.
    pub from: FromWhere,
    /// One delivery at a time and in order for each queue, under a lock at the broker.
    pub orderly: bool,
    /// Deliveries without an outcome (`consumeThreadMax`).
    pub deliveries_max: usize,
    /// Messages of one delivery (`consumeMessageBatchMaxSize`).
    pub delivery_messages: usize,
    /// Messages of one pull (`pullBatchSize`).
    pub pull_messages: i32,
    /// Bytes of one pull (`pullBatchSizeInBytes`).
    pub pull_bytes: i32,
    /// How long a broker may hold a pull (`brokerSuspendMaxTimeMillis`).
    pub pull_hold: Duration,
    /// Time for a pull with its hold (`consumerTimeoutMillisWhenSuspend`).
    pub pull_timeout: Duration,
    /// Unfinished messages of a queue from which it is not pulled (`pullThresholdForQueue`).
    pub queue_messages_max: usize,
    /// Their bytes (`pullThresholdSizeForQueue`).
    pub queue_bytes_max: usize,
    /// Distance of first and last unfinished offset, when not orderly (`consumeConcurrentlyMaxSpan`).
    pub queue_span_max: i64,
    /// Longest body after decompression; a longer one is malformed.
    pub body_max: usize,
    /// How soon a message is tried again that could not be consumed (Java: 5 s when the broker takes nothing back).
    pub later: Duration,
    /// How soon a queue is tried again in orderly mode (`suspendCurrentQueueTimeMillis`).
    pub suspend: Duration,
    /// How long a stop waits for outcomes of what was delivered.
    pub stop_wait: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            group: Arc::from(""),
            identity: Identity::default(),
            name_servers: Vec::new(),
            model: Model::Clustering,
            strategy: Strategy::Averagely,
            from: FromWhere::Last,
            orderly: false,
            deliveries_max: 20,
            delivery_messages: 1,
            pull_messages: 32,
            pull_bytes: 256 * 1024,
            pull_hold: Duration::from_secs(15),
            pull_timeout: Duration::from_secs(30),
            queue_messages_max: 1000,
            queue_bytes_max: 100 * 1024 * 1024,
            queue_span_max: 2000,
            body_max: 64 * 1024 * 1024,
            later: Duration::from_secs(5),
            suspend: Duration::from_secs(1),
            stop_wait: Duration::from_secs(3),
        }
    }
}

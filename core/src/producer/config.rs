//! What a producer can be told.
//!
//! Invariant: the defaults are those of Java's `DefaultMQProducer`.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Identity;
use crate::node::Addr;

/// Configuration of one producer.
#[derive(Clone, Debug, Hash)]
pub struct ProducerConfig {
    /// Producer group.
    pub group: Arc<str>,
    /// Who it is.
    pub identity: Identity,
    /// Where to ask for routes.
    pub name_servers: Vec<Addr>,
    /// Time for a send with all its attempts (`sendMsgTimeout`), unless the request says otherwise.
    pub send_timeout: Duration,
    /// Further attempts of a synchronous send (`retryTimesWhenSendFailed`).
    pub retries: u32,
    /// Further attempts of an asynchronous send (`retryTimesWhenSendAsyncFailed`).
    pub retries_async: u32,
    /// Bodies from this length are compressed; nothing is when absent (`compressMsgBodyOverHowmuch`).
    pub compress_from: Option<usize>,
    /// zlib level (`compressLevel`).
    pub compress_level: u32,
    /// Longest body, after compression (`maxMessageSize`).
    pub message_max: usize,
    /// The topic whose settings a topic takes that is created by sending to it (`createTopicKey`).
    pub default_topic: Arc<str>,
    /// Queues a broker that such a topic gets at most (`defaultTopicQueueNums`).
    pub default_topic_queues: i32,
    /// Sends without an outcome; more are refused.
    pub sends_max: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            group: Arc::from("please_rename_unique_group_name"),
            identity: Identity::default(),
            name_servers: Vec::new(),
            send_timeout: Duration::from_secs(3),
            retries: 2,
            retries_async: 2,
            compress_from: Some(4096),
            compress_level: 5,
            message_max: 4 * 1024 * 1024,
            default_topic: Arc::from("TBW102"),
            default_topic_queues: 4,
            sends_max: 10_000,
        }
    }
}

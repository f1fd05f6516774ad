//! Looking at messages: 12, 33, 321.
//!
//! Invariant: a lookup by key may return messages of other keys (hash collisions); the client checks again.

use serde::{Deserialize, Serialize};

use super::header::headers;
use super::heartbeat::SubscriptionData;

/// The extra field that says "this key is a unique id"; the answer then holds at most 32 messages.
pub const UNIQUE_KEY_QUERY: &str = "_UNIQUE_KEY_QUERY";

/// The index type that says "this key is a tag"; Java `MessageConst.INDEX_TAG_TYPE`.
pub const TAG_INDEX: &str = "T";

headers! {
    /// QUERY_MESSAGE.
    QueryMessageHeader {
        "topic" => topic: String,
        "key" => key: String,
        "maxNum" => max_num: i32,
        /// ms.
        "beginTimestamp" => begin_timestamp: i64,
        /// ms.
        "endTimestamp" => end_timestamp: i64,
        /// `K` key, `U` unique id, [`TAG_INDEX`] tag.
        "indexType" => index_type: Option<String>,
        "_UNIQUE_KEY_QUERY" => unique_key_query: Option<bool>,
    }
    /// Response to QUERY_MESSAGE.
    QueryMessageResponseHeader {
        "indexLastUpdateTimestamp" => index_last_update_timestamp: i64,
        "indexLastUpdatePhyoffset" => index_last_update_phyoffset: i64,
    }
    /// VIEW_MESSAGE_BY_ID.
    ViewMessageHeader {
        "topic" => topic: Option<String>,
        /// Position in the commit log.
        "offset" => offset: i64,
    }
    /// QUERY_CONSUME_QUEUE.
    QueryConsumeQueueHeader {
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        "index" => index: i64,
        "count" => count: i32,
        "consumerGroup" => consumer_group: Option<String>,
    }
}

/// Body of the response to QUERY_CONSUME_QUEUE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryConsumeQueueResponseBody {
    /// Text of the filter of the group.
    pub filter_data: Option<String>,
    /// End of the queue.
    pub max_queue_index: i64,
    /// First offset of the queue.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Vec<ConsumeQueueData>,
    /// Subscription of the group.
    pub subscription_data: Option<SubscriptionData>,
}

/// An entry of a consume queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueData {
    /// Bit map, unused.
    pub bit_map: Option<String>,
    /// Whether the filter lets it pass.
    pub eval: bool,
    /// Extended entry, unused.
    pub extend_data_json: Option<String>,
    /// What is wrong with it.
    pub msg: Option<String>,
    /// Position in the log.
    pub physic_offset: i64,
    /// Bytes of the record.
    pub physic_size: i32,
    /// Tag hash.
    pub tags_code: i64,
}

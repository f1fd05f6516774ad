//! Offsets: 14, 15, 29, 30, 31, 32.
//!
//! Invariant: offsets count messages within a queue, never bytes.

use super::header::headers;

headers! {
    /// QUERY_CONSUMER_OFFSET.
    QueryConsumerOffsetHeader {
        "consumerGroup" => consumer_group: String,
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        /// Absent counts as true.
        "setZeroIfNotFound" => set_zero_if_not_found: Option<bool>,
        "bname" => broker_name: Option<String>,
    }
    /// UPDATE_CONSUMER_OFFSET.
    UpdateConsumerOffsetHeader {
        "consumerGroup" => consumer_group: String,
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        "commitOffset" => commit_offset: i64,
        "bname" => broker_name: Option<String>,
    }
    /// SEARCH_OFFSET_BY_TIMESTAMP.
    SearchOffsetHeader {
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        /// ms.
        "timestamp" => timestamp: i64,
        /// `UPPER` in any case, anything else is `LOWER`.
        "boundaryType" => boundary_type: Option<String>,
        "bname" => broker_name: Option<String>,
    }
    /// GET_MAX_OFFSET.
    GetMaxOffsetHeader {
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        /// Absent counts as true.
        "committed" => committed: Option<bool>,
        "bname" => broker_name: Option<String>,
    }
    /// GET_MIN_OFFSET.
    GetMinOffsetHeader {
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        "bname" => broker_name: Option<String>,
    }
    /// GET_EARLIEST_MSG_STORETIME.
    GetEarliestMsgStoretimeHeader {
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        "bname" => broker_name: Option<String>,
    }
    /// Response to 14, 29, 30 and 31.
    OffsetResponseHeader {
        "offset" => offset: i64,
    }
    /// Response to 32.
    GetEarliestMsgStoretimeResponseHeader {
        /// ms; -1 when there is no message.
        "timestamp" => timestamp: i64,
    }
}

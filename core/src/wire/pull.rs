//! Pulling: 11 and 361.
//!
//! Invariant: the flag bits here are those of Java's `PullSysFlag`.

use super::header::headers;

/// `sysFlag`: the request commits `commitOffset`.
pub const FLAG_COMMIT: i32 = 1;
/// `sysFlag`: the broker may hold the request until something arrives.
pub const FLAG_SUSPEND: i32 = 2;
/// `sysFlag`: the subscription stands in the request.
pub const FLAG_SUBSCRIPTION: i32 = 4;
/// `sysFlag`: class filter (unsupported in Java too).
pub const FLAG_CLASS_FILTER: i32 = 8;
/// `sysFlag`: lite pull; the client sends it as 361.
pub const FLAG_LITE_PULL: i32 = 16;

headers! {
    /// PULL_MESSAGE and LITE_PULL_MESSAGE.
    PullMessageHeader {
        "consumerGroup" => consumer_group: String,
        "topic" => topic: String,
        "queueId" => queue_id: i32,
        /// First queue offset wanted.
        "queueOffset" => queue_offset: i64,
        "maxMsgNums" => max_msg_nums: i32,
        "sysFlag" => sys_flag: i32,
        "commitOffset" => commit_offset: i64,
        "suspendTimeoutMillis" => suspend_timeout_millis: i64,
        "subscription" => subscription: Option<String>,
        "subVersion" => sub_version: i64,
        "expressionType" => expression_type: Option<String>,
        "maxMsgBytes" => max_msg_bytes: Option<i32>,
        "requestSource" => request_source: Option<i32>,
        "proxyFrowardClientId" => proxy_forward_client_id: Option<String>,
        "bname" => broker_name: Option<String>,
    }
    /// Response to a pull.
    PullMessageResponseHeader {
        "suggestWhichBrokerId" => suggest_which_broker_id: i64,
        "nextBeginOffset" => next_begin_offset: i64,
        "minOffset" => min_offset: i64,
        "maxOffset" => max_offset: i64,
        "offsetDelta" => offset_delta: Option<i64>,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "groupSysFlag" => group_sys_flag: Option<i32>,
        /// 1 broker, 2 group, 3 topic, 4 broadcast, 5 subscription.
        "forbiddenType" => forbidden_type: Option<i32>,
    }
}

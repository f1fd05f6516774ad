//! What both ends know about the names of topics and groups.
//!
//! Invariant: a name that is plain and no longer than its limit fits into a record, a path component and a properties text.

/// Longest name of a topic in bytes; also the longest length that fits into a V1 record (Java `Validators.TOPIC_MAX_LENGTH`).
pub const TOPIC_MAX: usize = 127;
/// Longest name of a group (Java `TopicValidator.GROUP_MAX_LENGTH`).
pub const GROUP_MAX: usize = 120;
/// Prefix of the topic that holds what a group failed to consume (Java `MixAll.RETRY_GROUP_TOPIC_PREFIX`).
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic that holds what a group failed to consume for good.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Holds delayed messages.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Holds prepared messages of transactions.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Holds the marks that end transactions.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";

/// Topics that only a broker writes to (Java `TopicValidator.NOT_ALLOWED_SEND_TOPIC_SET`).
const NOT_ALLOWED_TO_SEND: [&str; 8] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Whether clients may not send to a topic.
pub fn is_send_forbidden(topic: &str) -> bool {
    NOT_ALLOWED_TO_SEND.contains(&topic)
}

/// Letters, digits and `%|_-` only.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
}

/// The topic that holds a group's failed messages.
pub fn retry_topic(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

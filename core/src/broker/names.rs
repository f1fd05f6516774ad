//! Which topic and group names are valid, which topics belong to the system, and what a name means.
//!
//! Invariant: a name that passed here fits into a record, a path component and a properties text. The rules and texts are
//! those of Java's `TopicValidator`.

pub use crate::message::names::{
    DLQ_PREFIX, GROUP_MAX, HALF_TOPIC, OP_HALF_TOPIC, RETRY_PREFIX, SCHEDULE_TOPIC, TOPIC_MAX, is_plain,
    is_send_forbidden, retry_topic,
};

/// Longest name of a retry or dead-letter topic.
pub const RETRY_TOPIC_MAX: usize = 255;
/// The topic whose settings automatic creation copies.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Holds messages of the timer wheel.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";

/// Topics of the system beside those that carry the name of the broker or the cluster.
const SYSTEM: [&str; 13] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    "BenchmarkTest",
    HALF_TOPIC,
    "RMQ_SYS_TRACE_TOPIC",
    OP_HALF_TOPIC,
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
    TIMER_TOPIC,
];

/// Groups that always exist (Java `SubscriptionGroupManager.init`).
pub const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Whether a topic is one that the broker keeps for itself.
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM.contains(&topic) || topic.starts_with("rmq_sys_")
}

/// The static list of system topics, for the request that lists them.
pub fn system_topics() -> impl Iterator<Item = &'static str> {
    SYSTEM.into_iter()
}

/// Whether a group belongs to the system: no retry topic is made for it and it cannot be deleted by accident.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with("CID_RMQ_SYS_") || SYSTEM_GROUPS.contains(&group)
}

/// Why a topic name is refused, if it is.
pub fn check_topic(topic: &str) -> Result<(), String> {
    if topic.trim().is_empty() {
        return Err("The specified topic is blank.".into());
    }
    if !is_plain(topic) {
        return Err(format!(
            "The specified topic: {topic}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    let derived = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    let max = if derived { RETRY_TOPIC_MAX } else { TOPIC_MAX };
    if topic.len() > max {
        return Err(format!("The specified topic: {topic}, is longer than topic max length: {max}"));
    }
    Ok(())
}

/// Why a group name is refused, if it is.
pub fn check_group(group: &str) -> Result<(), String> {
    if group.trim().is_empty() {
        return Err("The specified group is blank.".into());
    }
    if !is_plain(group) {
        return Err(format!(
            "The specified group: {group}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    if group.len() > GROUP_MAX {
        return Err(format!("The specified group: {group}, is longer than group max length: {GROUP_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        for (topic, end) in [
            ("", "blank."),
            (" ", "blank."),
            ("bad topic!", "^[%|a-zA-Z0-9_-]+$"),
            ("a/b", "^[%|a-zA-Z0-9_-]+$"),
            ("..", "^[%|a-zA-Z0-9_-]+$"),
            (&"x".repeat(128), "is longer than topic max length: 127"),
            (&format!("%RETRY%{}", "x".repeat(249)), "is longer than topic max length: 255"),
        ] {
            let text = check_topic(topic).unwrap_err();
            assert!(text.ends_with(end), "{topic}: {text}");
        }
        for topic in ["a", "%RETRY%g", "A_b-1|%", &"x".repeat(127), &format!("%DLQ%{}", "x".repeat(200))] {
            assert_eq!(check_topic(topic), Ok(()), "{topic}");
        }
    }

    #[test]
    fn group_names() {
        assert_eq!(check_group("").unwrap_err(), "The specified group is blank.");
        assert!(check_group("bad group!").unwrap_err().contains("illegal characters"));
        assert!(check_group(&"g".repeat(121)).unwrap_err().contains("120"));
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
    }

    #[test]
    fn kinds_of_topics() {
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_wheel_timer") && !is_system_topic("T"));
        assert!(is_send_forbidden(SCHEDULE_TOPIC) && !is_send_forbidden("TBW102"));
        assert_eq!(retry_topic("g"), "%RETRY%g");
    }
}

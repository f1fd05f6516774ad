//! A queue of a topic, as clients name it.
//!
//! Invariant: the order is that of Java's `MessageQueue` within a topic: broker name, then id. Allocation depends on it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// `broker:id`, within a topic that the context gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Name of the broker, not its address.
    pub broker: Arc<str>,
    /// Number of the queue on that broker.
    pub id: i32,
}

impl Queue {
    /// A queue by its two parts.
    pub fn new(broker: impl Into<Arc<str>>, id: i32) -> Queue {
        Queue { broker: broker.into(), id }
    }
    /// Java's `MessageQueue.toString()`; the hash ring is built on this text.
    pub fn java_name(&self, topic: &str) -> String {
        format!("MessageQueue [topic={topic}, brokerName={}, queueId={}]", self.broker, self.id)
    }
}

impl Ord for Queue {
    fn cmp(&self, other: &Self) -> Ordering {
        by_text(&self.broker, &other.broker).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Queue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of two texts. Most that are equal are one text.
pub(crate) fn by_text(one: &Arc<str>, other: &Arc<str>) -> Ordering {
    if Arc::ptr_eq(one, other) { Ordering::Equal } else { one.cmp(other) }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.broker, self.id)
    }
}

//! A queue of a topic, as clients name it.
//!
//! Invariant: the order is that of Java's `MessageQueue` within a topic: broker name, then id. Allocation depends on it.

use std::fmt;
use std::sync::Arc;

/// `broker:id`, within a topic that the context gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.broker, self.id)
    }
}

//! What a push consumer is asked and what it answers.
//!
//! Invariant: every [`ConsumerEvent::Deliver`] is to be answered by one [`ConsumerCommand::Consumed`]; until then its
//! messages count as unfinished, and no offset beyond them is committed.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::client::Queue;
use crate::message::properties;
use crate::node::Addr;
use bytes::Bytes;

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The topic it was sent to, also when it comes from the group's retry topic.
    pub topic: Arc<str>,
    /// The queue it was read from.
    pub queue: Queue,
    /// Number within that queue.
    pub offset: i64,
    /// The unique id that its producer gave it, or else the id by position.
    pub msg_id: String,
    /// The id by position.
    pub offset_msg_id: String,
    /// When it was made, ms since 1970.
    pub born_ms: i64,
    /// By whom.
    pub born_host: SocketAddr,
    /// When it was stored, ms since 1970.
    pub store_ms: i64,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often it was delivered before without success.
    pub reconsume_times: i32,
    /// The user's flag.
    pub flag: i32,
    /// `MessageSysFlag` bits, the one for compression taken out.
    pub sys_flag: i32,
    /// `name \x01 value \x02` pairs.
    pub properties: String,
    /// The body, unpacked.
    pub body: Bytes,
}

impl Message {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }
    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(properties::names::TAGS)
    }
    /// The keys, separated by spaces.
    pub fn keys(&self) -> Option<&str> {
        self.property(properties::names::KEYS)
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Consumed.
    Success,
    /// Not consumed: to be delivered again later. In orderly mode the whole queue waits.
    Later,
}

/// What the owner can ask.
#[derive(Clone, Debug, Hash)]
pub enum ConsumerCommand {
    /// Read a topic: `*` or tags with `||` between them. A second time replaces the expression.
    Subscribe {
        /// Topic.
        topic: Arc<str>,
        /// Which messages.
        tags: String,
    },
    /// Read a topic no longer.
    Unsubscribe(Arc<str>),
    /// A delivery has an outcome.
    Consumed {
        /// As in the event.
        delivery: u64,
        /// The outcome.
        outcome: Outcome,
    },
    /// Use these name servers from now on.
    NameServers(Vec<Addr>),
}

/// What a push consumer tells its owner.
#[derive(Clone, Debug, Hash)]
pub enum ConsumerEvent {
    /// It runs.
    Started {
        /// Its name among the members of the group.
        client_id: String,
    },
    /// The configuration or a subscription is wrong.
    Refused(String),
    /// Messages to be consumed.
    Deliver {
        /// To be named in the answer.
        delivery: u64,
        /// The topic that the queue belongs to.
        topic: Arc<str>,
        /// The queue.
        queue: Queue,
        /// One or more, ascending by offset.
        messages: Vec<Message>,
    },
    /// From now on it reads of a topic what an expression says, or nothing.
    Subscribed {
        /// Topic.
        topic: Arc<str>,
        /// The expression; none when it reads the topic no longer.
        tags: Option<String>,
        /// A broker prefers the newer: ms since 1970, or a little more.
        version: i64,
    },
    /// These queues of a topic are its own now.
    Assigned {
        /// Topic.
        topic: Arc<str>,
        /// All of them, sorted.
        queues: Vec<Queue>,
    },
    /// An offset was sent to the broker: everything below it is consumed.
    Committed {
        /// Topic.
        topic: Arc<str>,
        /// Queue.
        queue: Queue,
        /// The first offset that is not finished.
        offset: i64,
    },
    /// The broker corrected the position on a queue: it was out of range, or somebody reset it.
    Corrected {
        /// Topic.
        topic: Arc<str>,
        /// Queue.
        queue: Queue,
        /// Where it was.
        from: i64,
        /// Where it goes on.
        to: i64,
    },
    /// A message that does not decode was passed over.
    Malformed {
        /// Topic.
        topic: Arc<str>,
        /// Queue.
        queue: Queue,
        /// Its offset, if that much could be read.
        offset: Option<i64>,
        /// What is wrong with it.
        why: String,
    },
    /// Something that a person may want to know.
    Notice(String),
}

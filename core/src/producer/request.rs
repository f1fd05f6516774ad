//! What a producer is asked and what it answers.
//!
//! Invariant: every [`SendRequest`] is answered by one [`ProducerEvent::Sent`] with its ticket.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Queue;
use crate::node::Addr;
use bytes::Bytes;

/// A message to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OutMessage {
    /// The body; must not be empty.
    pub body: Bytes,
    /// Names and values, `TAGS` and `KEYS` among them.
    pub properties: Vec<(String, String)>,
    /// The user's flag.
    pub flag: i32,
}

impl OutMessage {
    /// A message with nothing but a body.
    pub fn new(body: impl Into<Bytes>) -> OutMessage {
        OutMessage { body: body.into(), ..OutMessage::default() }
    }
    /// With a tag that consumers filter by.
    #[must_use]
    pub fn with_tag(self, tag: impl Into<String>) -> OutMessage {
        self.with_property("TAGS", tag)
    }
    /// With keys that it can be found by, separated by spaces.
    #[must_use]
    pub fn with_keys(self, keys: impl Into<String>) -> OutMessage {
        self.with_property("KEYS", keys)
    }
    /// With a property of the user's.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> OutMessage {
        self.properties.push((name.into(), value.into()));
        self
    }
}

/// Which queue a message goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pick {
    /// One after the other; only this choice tries another broker when one fails.
    #[default]
    RoundRobin,
    /// This one.
    Queue(Queue),
    /// By a hash code, over the writable queues at the moment (Java `SelectMessageQueueByHash`).
    Hash(i32),
}

/// When a send counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// When a broker has answered; response codes that may pass are tried again too.
    #[default]
    Sync,
    /// When a broker has answered; only connection trouble is tried again.
    Async,
    /// When it is handed to a connection.
    Oneway,
}

/// One send.
#[derive(Clone, Debug, Hash)]
pub struct SendRequest {
    /// Comes back with the outcome; chosen by the owner.
    pub ticket: u64,
    /// Topic.
    pub topic: Arc<str>,
    /// One message, or more for a batch.
    pub messages: Vec<OutMessage>,
    /// Which queue.
    pub queue: Pick,
    /// When it is done.
    pub mode: Mode,
    /// Time for all attempts; [`super::ProducerConfig::send_timeout`] when absent.
    pub timeout: Option<Duration>,
}

/// What the owner can ask.
#[derive(Clone, Debug, Hash)]
pub enum ProducerCommand {
    /// Send.
    Send(SendRequest),
    /// Use these name servers from now on.
    NameServers(Vec<Addr>),
    /// Learn where a topic is; answered by [`ProducerEvent::Route`] or [`ProducerEvent::NoRoute`].
    FetchRoute(Arc<str>),
}

/// How a broker took a message (Java `SendStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// As its flush and replication settings ask for.
    SendOk,
    /// Stored, but not flushed in time.
    FlushDiskTimeout,
    /// Stored, but not on a slave in time.
    FlushSlaveTimeout,
    /// Stored, but there is no slave.
    SlaveNotAvailable,
    /// One-way: nobody said anything.
    Unconfirmed,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// How.
    pub status: SendStatus,
    /// The unique id, made here; for a batch all of them with commas between.
    pub msg_id: String,
    /// The id by position, made by the broker; empty when one-way.
    pub offset_msg_id: String,
    /// Where it is.
    pub queue: Queue,
    /// Number within the queue, of the first message of a batch; -1 when one-way.
    pub queue_offset: i64,
    /// How often it was sent, this time included: with more than one it may be stored more than once.
    pub attempts: u32,
}

/// What is known about a failed send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// No broker has stored it, nor will.
    No,
    /// A broker may have stored it, or may yet.
    Unknown,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// The request is wrong; nothing was sent.
    Invalid,
    /// Nobody knows the topic, or nobody may write to it.
    NoRoute,
    /// The broker said no.
    Refused,
    /// No broker could be reached, or the connection broke.
    Connection,
    /// The time is over.
    Timeout,
    /// Too much is being sent already.
    Busy,
    /// The producer is not running.
    Stopped,
}

/// A send that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{text}")]
pub struct SendError {
    /// What went wrong in the end.
    pub kind: SendErrorKind,
    /// Whether it may be stored all the same.
    pub stored: Stored,
    /// Response code of the broker, or of Java's `ClientErrorCode`.
    pub code: i32,
    /// For a person, in the words of the Java client.
    pub text: String,
    /// How often it was sent.
    pub attempts: u32,
}

/// What a producer tells its owner.
#[derive(Clone, Debug, Hash)]
pub enum ProducerEvent {
    /// A send has its outcome.
    Sent {
        /// As in the request.
        ticket: u64,
        /// The outcome.
        result: Result<Receipt, SendError>,
    },
    /// An attempt failed, another follows.
    Retrying {
        /// As in the request.
        ticket: u64,
        /// The broker that failed.
        broker: Arc<str>,
        /// Why.
        why: String,
    },
    /// The queues that can be written to are these now.
    Route {
        /// Of which topic.
        topic: Arc<str>,
        /// In the order of the round robin.
        queues: Vec<Queue>,
    },
    /// A route that was asked for is not to be had.
    NoRoute {
        /// Of which topic.
        topic: Arc<str>,
        /// Why.
        why: String,
    },
    /// The configuration is wrong; every send fails.
    Refused(String),
}

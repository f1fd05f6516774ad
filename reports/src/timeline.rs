//! What the picture of a run shows: lanes, events over virtual time, and how far each broker's log was.
//!
//! Invariant: every lane number is an index into `lanes`; the points of a curve are in time order.

use serde::{Deserialize, Serialize};

/// A node's lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The node's name in the tape.
    pub name: String,
    /// Its role: `name-server`, `broker`, `producer`, `consumer`, `admin`.
    pub role: String,
}

/// What kind of thing an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "kebab-case")]
pub enum What {
    /// A frame left this lane for another.
    Message {
        /// The lane it goes to.
        to: u16,
        /// When it was handed to the machine there, in microseconds; none when it never was.
        arrived_us: Option<u64>,
    },
    /// A fault took effect here.
    Fault {
        /// When it was over, in microseconds; none when it never was or is a moment.
        until_us: Option<u64>,
    },
    /// The node changed state (started, ready, registered, assigned, …).
    State,
    /// A client saw something; `line` is its line in the history (from 1).
    Client {
        /// The line.
        line: u64,
    },
}

/// One event of the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Virtual time in microseconds since the start of the run.
    #[serde(rename = "t")]
    pub at_us: u64,
    /// Index of the node's lane.
    #[serde(rename = "l")]
    pub lane: u16,
    /// Kind.
    #[serde(flatten)]
    pub what: What,
    /// A few words (`SEND_MESSAGE_V2 #12`, `power loss`, `ready`).
    #[serde(rename = "x")]
    pub text: String,
}

/// What a curve counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "k", content = "g", rename_all = "kebab-case")]
pub enum Mark {
    /// End of the log, in bytes.
    Appended,
    /// End of what survives a power cut, in bytes.
    Durable,
    /// Messages that a group has committed, summed over its queues at the broker.
    Consumed(String),
    /// Messages that there are for the group in these queues.
    Stored(String),
}

/// How a mark of a broker moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// Index of the broker's lane.
    pub lane: u16,
    /// What it counts.
    pub mark: Mark,
    /// Virtual time in microseconds, and the value from then on; none while the broker does not serve.
    pub points: Vec<(u64, Option<u64>)>,
}

/// The picture's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Lanes from top to bottom.
    pub lanes: Vec<Lane>,
    /// Events in time order.
    pub events: Vec<Event>,
    /// Events that were left out because there were too many.
    pub left_out: u64,
    /// How the marks of brokers moved.
    #[serde(default)]
    pub curves: Vec<Curve>,
}

impl Timeline {
    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.events.is_empty()
    }
}

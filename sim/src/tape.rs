//! The tape: everything that one run does, written down before it starts. JSON lines: a header, then actions.
//! `read.rs` reads the text, `valid.rs` says what else must be true of it.
//!
//! Invariant: a run is a function of its tape. Taking one action away changes nothing about the others, because each action
//! carries its own id, target and trigger, and draws during the run are keyed by the object that they concern.

mod config;
mod read;
#[cfg(test)]
mod tests;
mod valid;
mod what;

use serde::{Deserialize, Serialize};

pub use config::{
    BrokerShape, Conditions, Config, ConsumerShape, Expect, Flush, GroupShape, Handler, Latency, Model, OrderKind,
    ProducerShape, StartFrom, TopicShape,
};
pub use read::TapeError;
pub(crate) use valid::{STUCK_MAX, may_last};
pub use what::What;

/// The version of the tape format that this program writes and reads.
pub const VERSION: u32 = 1;

/// A link that carries less than this a second carries nothing within the time that a run has.
pub const BYTES_PER_S_MIN: u64 = 100;

/// A connection that is left unread for less than this is hardly ever read.
pub const UNSENT_BYTES_MIN: u64 = 1_000;

/// A whole tape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tape {
    /// What there is: cluster, clients, settings.
    pub header: Header,
    /// What happens, in the order of generation (not of time).
    pub actions: Vec<Action>,
}

/// The first line of a tape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub tape: u32,
    /// The scenario it was generated from.
    pub scenario: String,
    /// The seed it was generated from; also the root of every draw during the run.
    pub seed: u64,
    /// Known bugs that are switched on.
    #[serde(default)]
    pub plants: Vec<String>,
    /// What it is about, for the reader of a tape that is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The signature that it had when it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<String>,
    /// Cluster, clients and settings.
    #[serde(default)]
    pub config: Config,
}

impl Header {
    /// A header without plants.
    pub fn new(scenario: &str, seed: u64, config: Config) -> Header {
        let (plants, about, breaks) = (Vec::new(), String::new(), None);
        Header { tape: VERSION, scenario: scenario.to_owned(), seed, plants, about, breaks, config }
    }
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Unique within the tape; stays the same when other actions are taken away.
    pub id: u64,
    /// When.
    pub when: Trigger,
    /// What.
    pub what: What,
}

/// Allocation strategies of consumer groups by their Java names.
pub const STRATEGIES: [&str; 3] = ["AVG", "AVG_BY_CIRCLE", "CONSISTENT_HASH"];

/// When an action happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Trigger {
    /// At a virtual time, in milliseconds since the cluster was ready to take requests.
    At {
        /// The time.
        at: u64,
    },
    /// At the n-th event of a kind at a node, counted from `from` on. Never, if the event does not come.
    On {
        /// The node.
        node: String,
        /// The kind of event.
        event: Moment,
        /// Only frames with this request code count (for `request-received` and `response-sent`).
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// Which one, from 1.
        n: u64,
        /// Events before this virtual time do not count, in milliseconds.
        from: u64,
    },
}

impl Trigger {
    /// The kind of event that it waits for, if it does.
    pub fn event(&self) -> Option<&'static str> {
        match self {
            Trigger::At { .. } => None,
            Trigger::On { event, .. } => Some(event.name()),
        }
    }
}

/// Events that an action can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The disk of the node has taken a sync and has not completed it.
    SyncInFlight,
    /// A step of the recovery at start is done.
    Recovery,
    /// The node is ready to serve.
    Ready,
    /// A request was handed to the node.
    RequestReceived,
    /// A response has left the node.
    ResponseSent,
    /// A consumer has computed its share of queues.
    Rebalance,
    /// A message was handed to the handler of a consumer.
    Delivery,
}

impl Moment {
    /// Its name on tapes and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Moment::SyncInFlight => "sync-in-flight",
            Moment::Recovery => "recovery",
            Moment::Ready => "ready",
            Moment::RequestReceived => "request-received",
            Moment::ResponseSent => "response-sent",
            Moment::Rebalance => "rebalance",
            Moment::Delivery => "delivery",
        }
    }
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The producer waits for the answer and retries on another broker.
    #[default]
    Sync,
    /// The answer comes as a callback.
    Async,
    /// No answer.
    Oneway,
}

/// Which queue a message goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueuePick {
    /// Round robin.
    #[default]
    Any,
    /// By the hash of the shard: the selector of ordered topics.
    Shard,
    /// This one: broker name and queue id.
    Queue(String, u32),
}

/// Files of a broker's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreFile {
    /// The commit log.
    Log,
    /// A consume queue.
    Queue,
    /// The index.
    Index,
    /// The checkpoint, and the snapshots beside it.
    Checkpoint,
}

/// Folders of a broker's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Folder {
    /// Of the commit log.
    CommitLog,
    /// Of the consume queues.
    ConsumeQueue,
    /// Of the index.
    Index,
    /// Of what the broker knows of topics, groups and positions.
    Config,
}

impl Folder {
    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Folder::CommitLog => "commitlog",
            Folder::ConsumeQueue => "consumequeue",
            Folder::Index => "index",
            Folder::Config => "config",
        }
    }
}

/// A set of request codes that a filter drops.
pub type Codes = Vec<i32>;

impl Action {
    /// The line, without its end: id and trigger, `do` with the name of what happens, then its fields.
    pub fn to_line(&self) -> String {
        let when = serde_json::to_string(&self.when).expect("a trigger has only string keys");
        let what = serde_json::to_string(&self.what).expect("an action has only string keys");
        let inner = what.strip_prefix("{\"").and_then(|rest| rest.strip_suffix("}}"));
        let (name, fields) = inner.and_then(|rest| rest.split_once("\":{")).expect("it is its name with its fields");
        format!("{{\"id\":{},\"when\":{when},\"do\":\"{name}\",{fields}}}", self.id)
    }
}

impl Tape {
    /// The tape as JSON lines.
    pub fn to_text(&self) -> String {
        let header = serde_json::to_string(&self.header).expect("a header has only string keys");
        let lines = std::iter::once(header).chain(self.actions.iter().map(Action::to_line));
        lines.flat_map(|line| [line, "\n".to_owned()]).collect()
    }

    /// Reads a tape; see [`read`].
    pub fn parse(text: &str) -> Result<Tape, TapeError> {
        read::tape(text.as_bytes())
    }

    /// The same from bytes that may be anything.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Tape, TapeError> {
        read::tape(bytes)
    }

    /// How many faults it plans.
    pub fn faults(&self) -> usize {
        self.actions.iter().filter(|action| action.what.fault().is_some()).count()
    }

    /// How many other actions it has: sends, members that come and go, topics.
    pub fn operations(&self) -> usize {
        self.actions.len() - self.faults()
    }
}

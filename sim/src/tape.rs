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

use serde::{Deserialize, Serialize};

pub use config::{
    BrokerShape, Conditions, Config, ConsumerShape, Expect, Flush, GroupShape, Handler, Latency, Model, OrderKind,
    ProducerShape, StartFrom, TopicShape,
};
pub use read::TapeError;
pub(crate) use valid::{STUCK_MAX, may_last};

/// The version of the tape format that this program writes and reads.
pub const VERSION: u32 = 1;

/// A link that carries less than this a second carries nothing within the time that a run has.
pub const BYTES_PER_S_MIN: u64 = 100;

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

/// A set of request codes that a filter drops.
pub type Codes = Vec<i32>;

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// A producer sends one message, or a batch.
    Send {
        /// The producer.
        client: String,
        /// The topic.
        topic: String,
        /// The key that identifies the message in the history. Messages of a batch are `key/0`, `key/1`, ….
        key: String,
        /// The business id whose messages must stay in order, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shard: Option<String>,
        /// The tag, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        /// Length of the body in bytes; its content is drawn from the key.
        size: u32,
        /// Messages in the batch; 1 sends a single message.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        batch: u32,
        /// How.
        #[serde(default, skip_serializing_if = "is_default")]
        mode: Mode,
        /// Where to.
        #[serde(default, skip_serializing_if = "is_default")]
        queue: QueuePick,
    },
    /// A consumer of the header starts, or starts again.
    Join {
        /// The consumer.
        client: String,
    },
    /// A consumer shuts down in order.
    Leave {
        /// The consumer.
        client: String,
    },
    /// A client's process dies.
    Crash {
        /// The producer or consumer.
        client: String,
        /// It comes back after so long; never when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        down_ms: Option<u64>,
    },
    /// A consumer reads of a topic something else from now on; when its process is down, from its next start on.
    Subscribe {
        /// The consumer.
        client: String,
        /// The topic.
        topic: String,
        /// Tags with `||` between them, or `*`; nothing of it any more when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<String>,
    },
    /// The administrator creates a topic or sets its queue count, on every listed broker.
    Topic {
        /// The topic.
        topic: String,
        /// Read and write queues per broker.
        queues: u32,
        /// The brokers; all brokers that run when empty.
        #[serde(default)]
        brokers: Vec<String>,
    },
    /// The administrator moves a group back, on every broker that runs; never forward.
    ResetOffsets {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// To what was stored so long ago; to the first message when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_ms: Option<u64>,
    },
    /// The administrator deletes a topic that no group reads, on every server that runs. A send makes it anew.
    DeleteTopic {
        /// The topic.
        topic: String,
    },
    /// Producers may not use a broker for a while: the administrator takes its write permission at every name server that runs.
    Drain {
        /// The broker.
        node: String,
        /// For so long.
        for_ms: u64,
    },
    /// A broker of the header that was not started with the cluster starts.
    BrokerJoin {
        /// The broker.
        node: String,
    },
    /// The process of a node is killed; its page cache survives.
    Kill {
        /// The node.
        node: String,
        /// It vanishes with its address, as a container does, and its connections are left half open; drawn when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silent: Option<bool>,
        /// It comes back after so long; never when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        down_ms: Option<u64>,
    },
    /// The machine of a node loses power: what was not synced is lost, kept or torn, sector by sector.
    PowerLoss {
        /// The node.
        node: String,
        /// It comes back after so long; never when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        down_ms: Option<u64>,
    },
    /// A node is stopped in order and started again.
    Restart {
        /// The node.
        node: String,
        /// Time between.
        down_ms: u64,
    },
    /// A node's process stands still; its connections stay up.
    Pause {
        /// The node.
        node: String,
        /// For so long.
        for_ms: u64,
    },
    /// Whole requests with one of these codes are dropped on live connections.
    HeartbeatLoss {
        /// The sender of the requests.
        from: String,
        /// The receiver; every one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Request codes.
        codes: Codes,
        /// For so long.
        for_ms: u64,
    },
    /// Nodes of one side do not hear nodes of the other.
    Partition {
        /// One side.
        a: Vec<String>,
        /// The other side.
        b: Vec<String>,
        /// Only what `a` sends to `b` is lost; the other direction works.
        #[serde(default)]
        oneway: bool,
        /// For so long; for good when absent, and then everything must be well in spite of it (see `valid.rs` for where it may be).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// The next response with this request code from a node to a client is lost with its connection.
    LostResponse {
        /// The server.
        from: String,
        /// The client; any when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The request code that it answers.
        code: i32,
    },
    /// Every slow operation of a node's disk takes so much longer.
    SlowDisk {
        /// The node.
        node: String,
        /// Added to each operation.
        extra_ms: u64,
        /// For so long.
        for_ms: u64,
    },
    /// The next syncs of a node's disk fail; what they cover counts as clean from then on and is not durable. At the end a broker that
    /// lost a sync so is started anew, as an operator would.
    SyncError {
        /// The node.
        node: String,
        /// How many syncs.
        count: u32,
        /// For so long.
        for_ms: u64,
    },
    /// The disk of a broker says of each sync that it is done, and leaves what it covers in a cache, which is written back in order. The
    /// first sync after it that is done makes all of it durable; a power cut before that takes what was not written back.
    SyncLie {
        /// The broker.
        node: String,
        /// For so long.
        for_ms: u64,
    },
    /// A broker's disk does not read: the next reads fail, and some sectors each time, until they are written again or it is over.
    /// Memory gives up most of what it holds of the files. At the end a broker that could not open its store is started anew.
    ReadError {
        /// The broker.
        node: String,
        /// How many reads fail.
        #[serde(default)]
        count: u32,
        /// How many sectors of log and queues cannot be read.
        #[serde(default)]
        sectors: u32,
        /// For so long.
        for_ms: u64,
    },
    /// The next writes and allocations of a broker's disk fail. At the end a broker that lost one is started anew.
    WriteError {
        /// The broker.
        node: String,
        /// How many.
        count: u32,
        /// For so long.
        for_ms: u64,
    },
    /// A bit of a broker's file flips on the disk. Which one is drawn; none that the atlas forbids (see `disk/atlas.rs`).
    BitRot {
        /// The broker.
        node: String,
        /// In which kind of file.
        file: StoreFile,
    },
    /// A broker goes down and comes back with an empty disk; its topics are made again.
    DiskReplaced {
        /// The broker.
        node: String,
        /// Time between.
        down_ms: u64,
    },
    /// The next handlers of a consumer never return, until its process ends. At the end an operator ends it, in order or not, and
    /// starts it anew. When the run ends first, everything else must settle before the operator comes.
    StuckHandler {
        /// The consumer.
        node: String,
        /// How many handlers.
        count: u32,
        /// For so long.
        for_ms: u64,
    },
    /// Nothing comes back from the disk of a node: what is under way and what is asked for completes when it is over.
    DiskStalled {
        /// The node.
        node: String,
        /// For so long.
        for_ms: u64,
    },
    /// The disk of a node is full.
    DiskFull {
        /// The node.
        node: String,
        /// So many bytes still fit, so that it may be in the middle of something.
        #[serde(default, skip_serializing_if = "is_default")]
        left_bytes: u64,
        /// For so long.
        for_ms: u64,
    },
    /// The wall clock of a node runs fast or slow.
    ClockDrift {
        /// The node.
        node: String,
        /// By so many parts in a million; -1,000,000 stands still.
        ppm: i64,
        /// For so long; then it goes on at the right speed from where it is.
        for_ms: u64,
    },
    /// Whatever a node does takes longer.
    SlowCpu {
        /// The node.
        node: String,
        /// Added to each batch on average.
        extra_us: u64,
        /// For so long.
        for_ms: u64,
    },
    /// Whatever nodes of one side send to the other takes longer, and back.
    SlowLink {
        /// One side.
        a: Vec<String>,
        /// The other side.
        b: Vec<String>,
        /// Added to each segment.
        extra_ms: u64,
        /// For so long.
        for_ms: u64,
    },
    /// Whatever nodes of one side send to the other passes with so many bytes a second, and back: one after the other, over all
    /// connections between two nodes.
    ThinLink {
        /// One side.
        a: Vec<String>,
        /// The other side.
        b: Vec<String>,
        /// Bytes a second in each direction.
        bytes_per_s: u64,
        /// For so long.
        for_ms: u64,
    },
    /// What one side writes to the other ends on every connection between them, while the other direction stays open.
    HalfClose {
        /// The side whose writing ends.
        a: Vec<String>,
        /// The other side.
        b: Vec<String>,
    },
    /// Every connection between the sides is reset.
    Reset {
        /// One side.
        a: Vec<String>,
        /// The other side.
        b: Vec<String>,
    },
    /// Whole requests with one of these codes come late on live connections; what is behind them does not wait.
    HeartbeatDelay {
        /// The sender of the requests.
        from: String,
        /// The receiver; every one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Request codes.
        codes: Codes,
        /// By so much.
        extra_ms: u64,
        /// For so long.
        for_ms: u64,
    },
    /// The wall clock of a node jumps.
    ClockStep {
        /// The node.
        node: String,
        /// By so much, either way.
        by_ms: i64,
    },
}

impl What {
    /// The nodes that it names.
    pub fn nodes(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        match self {
            What::Send { client, .. }
            | What::Join { client }
            | What::Leave { client }
            | What::Subscribe { client, .. }
            | What::Crash { client, .. } => names.push(client),
            What::ResetOffsets { .. } | What::DeleteTopic { .. } => {}
            What::Topic { brokers, .. } => names.extend(brokers.iter().map(String::as_str)),
            What::Partition { a, b, .. }
            | What::SlowLink { a, b, .. }
            | What::ThinLink { a, b, .. }
            | What::HalfClose { a, b }
            | What::Reset { a, b } => names.extend(a.iter().chain(b).map(String::as_str)),
            What::HeartbeatLoss { from, to, .. }
            | What::HeartbeatDelay { from, to, .. }
            | What::LostResponse { from, to, .. } => {
                names.push(from);
                names.extend(to.as_deref());
            }
            What::BrokerJoin { node }
            | What::Drain { node, .. }
            | What::Kill { node, .. }
            | What::PowerLoss { node, .. }
            | What::Restart { node, .. }
            | What::Pause { node, .. }
            | What::SlowDisk { node, .. }
            | What::SyncError { node, .. }
            | What::SyncLie { node, .. }
            | What::ReadError { node, .. }
            | What::WriteError { node, .. }
            | What::StuckHandler { node, .. }
            | What::BitRot { node, .. }
            | What::DiskReplaced { node, .. }
            | What::DiskFull { node, .. }
            | What::DiskStalled { node, .. }
            | What::ClockDrift { node, .. }
            | What::SlowCpu { node, .. }
            | What::ClockStep { node, .. } => names.push(node),
        }
        names
    }

    /// Whether it is a partition that never ends.
    pub fn lasts(&self) -> bool {
        matches!(self, What::Partition { for_ms: None, .. })
    }

    /// Whether everything else must be well while it lasts.
    pub fn is_tolerated(&self) -> bool {
        self.lasts() || matches!(self, What::StuckHandler { .. })
    }

    /// The name of a fault as it is counted in reports; none for ordinary work.
    pub fn fault(&self) -> Option<&'static str> {
        Some(match self {
            What::Crash { .. } => "crash",
            What::Kill { .. } => "kill",
            What::PowerLoss { .. } => "power-loss",
            What::Restart { .. } => "restart",
            What::Pause { .. } => "pause",
            What::HeartbeatLoss { .. } => "heartbeat-loss",
            What::Partition { .. } => "partition",
            What::LostResponse { .. } => "lost-response",
            What::SlowDisk { .. } => "slow-disk",
            What::ClockStep { .. } => "clock-step",
            What::SyncError { .. } => "sync-error",
            What::SyncLie { .. } => "sync-lie",
            What::ReadError { .. } => "read-error",
            What::WriteError { .. } => "write-error",
            What::StuckHandler { .. } => "stuck-handler",
            What::BitRot { .. } => "bit-rot",
            What::DiskReplaced { .. } => "disk-replaced",
            What::DiskFull { .. } => "disk-full",
            What::DiskStalled { .. } => "disk-stalled",
            What::ClockDrift { .. } => "clock-drift",
            What::SlowCpu { .. } => "slow-cpu",
            What::SlowLink { .. } => "slow-link",
            What::ThinLink { .. } => "thin-link",
            What::HalfClose { .. } => "half-close",
            What::Reset { .. } => "reset",
            What::HeartbeatDelay { .. } => "heartbeat-delay",
            _ => return None,
        })
    }
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(n: &u32) -> bool {
    *n == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

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

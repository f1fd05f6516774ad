//! What may happen in a run: one variant for each kind of action on a tape.
//!
//! Invariant: a variant is either ordinary work or a fault, and a fault has the name under which reports count it.

use serde::{Deserialize, Serialize};

use super::{Codes, Folder, Mode, QueuePick, StoreFile};

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
    /// The administrator asks every broker that runs for the messages of a key.
    QueryKey {
        /// The topic.
        topic: String,
        /// The key.
        key: String,
    },
    /// The administrator writes a value into the configuration of every name server that runs, and reads it every second from then on.
    WriteKv {
        /// The key.
        key: String,
        /// The value.
        value: String,
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
        /// Only those of files in this folder; of all files when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        under: Option<Folder>,
        /// Those of directories, which keep the names of files, instead of those of files.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        names: bool,
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
        /// Only reads of files in this folder; of all files when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        under: Option<Folder>,
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
        /// Only those of files in this folder; of all files when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        under: Option<Folder>,
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
    /// The last write of a sector of a broker's file turns out to have reached another sector of such a file: the one holds what it held
    /// before, the other what was meant for the first. Which ones is drawn; none that the atlas forbids (see `disk/atlas.rs`).
    MisdirectedWrite {
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
        /// And from there to the next whole multiple of this since 1970: to the very moment at which timers and days begin.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tick_ms: Option<u64>,
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
            What::ResetOffsets { .. } | What::DeleteTopic { .. } | What::QueryKey { .. } | What::WriteKv { .. } => {}
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
            | What::MisdirectedWrite { node, .. }
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
            What::MisdirectedWrite { .. } => "misdirected-write",
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

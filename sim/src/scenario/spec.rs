//! What a scenario file can say.
//!
//! Invariant: every number that a seed may draw is a [`Range`] or a [`Choice`], so that a plain value is a draw of one.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IntoDeserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::tape::{Flush, Folder, Model, Moment, OrderKind, StartFrom, StoreFile};

/// A number, or `[least, most]` of which a seed draws one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub i64, pub i64);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
        struct R;
        impl<'de> Visitor<'de> for R {
            type Value = Range;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or [least, most]")
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Range, E> {
                Ok(Range(n, n))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Range, A::Error> {
                let pair: Vec<i64> = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                match pair[..] {
                    [least, most] if least <= most => Ok(Range(least, most)),
                    _ => Err(serde::de::Error::custom("expected a number or [least, most]")),
                }
            }
        }
        from.deserialize_any(R)
    }
}

/// A value, or a list of which a seed draws one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Choice<T>, D::Error> {
        struct C<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for C<T> {
            type Value = Choice<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Choice<T>, E> {
                T::deserialize(text.into_deserializer()).map(|v| Choice(vec![v]))
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Choice<T>, E> {
                T::deserialize(n.into_deserializer()).map(|v| Choice(vec![v]))
            }
            fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<Choice<T>, E> {
                T::deserialize(yes.into_deserializer()).map(|v| Choice(vec![v]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Choice<T>, A::Error> {
                let all: Vec<T> = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                if all.is_empty() {
                    Err(serde::de::Error::custom("expected at least one value"))
                } else {
                    Ok(Choice(all))
                }
            }
        }
        from.deserialize_any(C(PhantomData))
    }
}

/// A whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spec {
    /// Servers.
    #[serde(default)]
    pub cluster: ClusterSpec,
    /// Topics by name.
    pub topics: BTreeMap<String, TopicSpec>,
    /// Consumer groups by name.
    #[serde(default)]
    pub groups: BTreeMap<String, Spanned<GroupSpec>>,
    /// What producers send.
    pub workload: Vec<Spanned<WorkloadSpec>>,
    /// Ordinary changes: members that leave and come back, brokers that join, topics that grow.
    #[serde(default)]
    pub events: Vec<Spanned<EventSpec>>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Spanned<FaultSpec>>,
    /// Delays of the network.
    #[serde(default)]
    pub network: Option<LatencySpec>,
    /// Duration of disk operations.
    #[serde(default)]
    pub disk: Option<LatencySpec>,
    /// How links, processes and disks behave beside that; what is absent is drawn from a few usual values.
    #[serde(default)]
    pub conditions: ConditionsSpec,
    /// What must be true for the scenario to count.
    #[serde(default)]
    pub expect: ExpectSpec,
}

/// Servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ClusterSpec {
    /// Name servers: `ns-0`, `ns-1`, ….
    pub name_servers: Range,
    /// Brokers that start with the cluster: `broker-a`, `broker-b`, ….
    pub brokers: Range,
    /// Further brokers that can join later.
    pub later_brokers: Range,
    /// Flush policy of all brokers.
    pub flush: Choice<Flush>,
    /// Topics that every broker has from the beginning and that nobody uses.
    pub idle_topics: Range,
    /// Settings of the brokers by their names in `broker.conf`.
    pub properties: BTreeMap<String, Spanned<Choice<Property>>>,
    /// Chance in 1,000 that a legal deviation (`buggify!`) is switched on.
    pub buggify_permille: Range,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            name_servers: Range(2, 2),
            brokers: Range(2, 2),
            later_brokers: Range(0, 0),
            flush: Choice(vec![Flush::Async]),
            idle_topics: Range(0, 0),
            properties: BTreeMap::new(),
            buggify_permille: Range(0, 0),
        }
    }
}

/// A setting's value, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property(pub String);

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Property, D::Error> {
        struct P;
        impl Visitor<'_> for P {
            type Value = Property;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number or boolean")
            }
            fn visit_str<E>(self, text: &str) -> Result<Property, E> {
                Ok(Property(text.into()))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Property, E> {
                Ok(Property(n.to_string()))
            }
            fn visit_bool<E>(self, yes: bool) -> Result<Property, E> {
                Ok(Property(yes.to_string()))
            }
        }
        from.deserialize_any(P)
    }
}

/// A topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TopicSpec {
    /// Queues per broker.
    pub queues: Range,
    /// Order that consumers rely on.
    #[serde(default)]
    pub order: OrderKind,
    /// Whether it is created when first sent to, not by the administrator.
    #[serde(default)]
    pub auto_created: bool,
}

/// A consumer group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GroupSpec {
    /// Members: `GROUP-1`, `GROUP-2`, ….
    #[serde(default = "two")]
    pub members: Range,
    /// Topics that every member subscribes to.
    pub topics: Vec<String>,
    /// How members share.
    #[serde(default)]
    pub model: Model,
    /// Whether handlers are ordered.
    #[serde(default)]
    pub orderly: bool,
    /// Where it starts.
    #[serde(default)]
    pub from: StartFrom,
    /// Allocation strategy by its Java name.
    #[serde(default = "average")]
    pub strategy: Choice<String>,
    /// Tags that it asks for, by topic.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Time that a handler takes, milliseconds.
    #[serde(default = "quick")]
    pub handler_ms: Range,
    /// Chance in 1,000 that a handler asks for redelivery.
    #[serde(default = "zero")]
    pub fail_permille: Range,
    /// When members start, milliseconds.
    #[serde(default = "start")]
    pub join_ms: Range,
}

fn zero() -> Range {
    Range(0, 0)
}
fn two() -> Range {
    Range(2, 2)
}
fn quick() -> Range {
    Range(0, 5)
}
fn start() -> Range {
    Range(0, 1_000)
}
fn average() -> Choice<String> {
    Choice(vec!["AVG".into()])
}

/// What some producers send.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WorkloadSpec {
    /// The topic.
    pub topic: String,
    /// Producers.
    #[serde(default = "two")]
    pub producers: Range,
    /// Messages per second and producer.
    #[serde(default = "rate")]
    pub rate: Range,
    /// They begin so much later than others.
    #[serde(default)]
    pub from_seconds: Option<Range>,
    /// For so long.
    #[serde(default = "seconds")]
    pub seconds: Range,
    /// Length of a body.
    #[serde(default = "size")]
    pub size: Range,
    /// Weights of `sync`, `async`, `oneway` and `batch`; sync only when empty.
    #[serde(default)]
    pub modes: BTreeMap<String, u32>,
    /// Messages in a batch.
    #[serde(default = "batch")]
    pub batch: Range,
    /// Business ids; without them, messages go round.
    #[serde(default = "zero")]
    pub shards: Range,
    /// Tags that messages carry; none when empty.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Send timeout, milliseconds.
    #[serde(default = "timeout")]
    pub timeout_ms: Range,
    /// Further attempts after a failed one.
    #[serde(default = "two")]
    pub retries: Range,
}

fn rate() -> Range {
    Range(10, 10)
}
fn seconds() -> Range {
    Range(30, 30)
}
fn size() -> Range {
    Range(32, 300)
}
fn batch() -> Range {
    Range(2, 8)
}
fn timeout() -> Range {
    Range(3_000, 3_000)
}

/// Kinds of ordinary changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A member of `group` shuts down in order and comes back after `away-ms`.
    Leave,
    /// A member of `group` dies and comes back after `away-ms`.
    Crash,
    /// A later broker starts.
    BrokerJoin,
    /// The members of `group` read of `topic` one of `tags` from now on (`none`: nothing), one after the other, `gap-ms` apart; with
    /// `away-ms` each is stopped and started again for it.
    Resubscribe,
    /// The administrator sets the queue count of `topic`, which may be the retry topic of a group, to `queues`, on every broker.
    Queues,
    /// The administrator moves `group` back in `topic`: to what was stored `back-ms` ago, or to the first message.
    ResetOffsets,
    /// The administrator deletes `topic`, which no group reads; a send makes it anew.
    DeleteTopic,
    /// Every broker is asked for the messages of a key that was sent to `topic` before.
    QueryKey,
    /// A value is written into the configuration of every name server, and read from then on.
    WriteKv,
    /// Producers may not use a broker for `for-ms`: its write permission is taken at every name server.
    Drain,
    /// Every broker, or every name server (`target`), is stopped and started again, one after the other, `gap-ms` apart.
    RollingRestart,
}

/// An ordinary change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EventSpec {
    /// Kind.
    pub kind: EventKind,
    /// How often.
    #[serde(default = "once")]
    pub count: Range,
    /// When, milliseconds; somewhere in the middle of the workload when absent.
    #[serde(default)]
    pub at_ms: Option<Range>,
    /// The group (leave, crash, resubscribe, reset-offsets).
    #[serde(default)]
    pub group: Option<String>,
    /// Time until the member comes back (leave, crash, resubscribe).
    #[serde(default)]
    pub away_ms: Option<Range>,
    /// The topic (queues, resubscribe, reset-offsets, delete-topic).
    #[serde(default)]
    pub topic: Option<String>,
    /// The new count (queues).
    #[serde(default)]
    pub queues: Option<Range>,
    /// How far back (reset-offsets); to the first message when absent.
    #[serde(default)]
    pub back_ms: Option<Range>,
    /// For how long (drain).
    #[serde(default)]
    pub for_ms: Option<Range>,
    /// `all-brokers` or `all-name-servers` (rolling-restart).
    #[serde(default)]
    pub target: Option<String>,
    /// How long each is down (rolling-restart).
    #[serde(default)]
    pub down_ms: Option<Range>,
    /// What is read (resubscribe).
    #[serde(default)]
    pub tags: Option<Choice<String>>,
    /// Time between the stop of one and of the next (rolling-restart, resubscribe).
    #[serde(default)]
    pub gap_ms: Option<Range>,
}

fn once() -> Range {
    Range(1, 1)
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The process dies.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// An ordinary stop and start.
    Restart,
    /// The process stands still.
    Pause,
    /// Requests are dropped on live connections.
    HeartbeatLoss,
    /// The network splits.
    Partition,
    /// A response is lost with its connection.
    LostResponse,
    /// The disk is slow.
    SlowDisk,
    /// The wall clock jumps.
    ClockStep,
    /// The wall clock runs fast or slow.
    ClockDrift,
    /// Syncs fail.
    SyncError,
    /// Syncs say that they are done and are not.
    SyncLie,
    /// Reads fail.
    ReadError,
    /// Writes fail.
    WriteError,
    /// Handlers never return.
    StuckHandler,
    /// A bit flips on the disk.
    BitRot,
    /// A sector was written to another place.
    MisdirectedWrite,
    /// A broker comes back with an empty disk.
    DiskReplaced,
    /// The disk is full.
    DiskFull,
    /// Nothing comes back from the disk.
    DiskStalled,
    /// The process is slow.
    SlowCpu,
    /// The network is slow.
    SlowLink,
    /// The network carries few bytes a second.
    ThinLink,
    /// One direction of connections is closed.
    HalfClose,
    /// Connections are reset.
    Reset,
    /// Requests come late on live connections.
    HeartbeatDelay,
}

/// Faults between two sides.
pub const BETWEEN_SIDES: [FaultKind; 5] =
    [FaultKind::Partition, FaultKind::SlowLink, FaultKind::ThinLink, FaultKind::HalfClose, FaultKind::Reset];

/// Requests that `heartbeat-loss` and `lost-response` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requests {
    /// Client to broker: 34.
    Heartbeat,
    /// Broker to name server: 103, 322, 904.
    Registration,
    /// Sends: 10, 310, 320.
    Send,
    /// Pulls: 11, 361.
    Pull,
    /// Offset commits: 15.
    Commit,
    /// Queue locks: 41.
    Lock,
    /// Clients and brokers that say goodbye: 35, 104.
    Unregister,
    /// A broker tells members that their group has changed: 40.
    Notification,
    /// An operator makes or changes a topic at a broker: 17.
    Topic,
}

impl Requests {
    /// The request codes (`org.apache.rocketmq.remoting.protocol.RequestCode`).
    pub fn codes(self) -> &'static [i32] {
        match self {
            Requests::Heartbeat => &[34],
            Requests::Registration => &[103, 322, 904],
            Requests::Send => &[10, 310, 320],
            Requests::Pull => &[11, 361],
            Requests::Commit => &[15],
            Requests::Lock => &[41],
            Requests::Unregister => &[35, 104],
            Requests::Notification => &[40],
            Requests::Topic => &[17],
        }
    }

    /// The one that the clients and brokers of this project send.
    pub fn usual(self) -> i32 {
        match self {
            Requests::Send => 310,
            other => other.codes()[0],
        }
    }
}

/// A fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultSpec {
    /// Kind.
    pub kind: FaultKind,
    /// Chance in 100 that this entry is in play at all in a run.
    #[serde(default = "always")]
    pub chance: u8,
    /// How often.
    #[serde(default = "once")]
    pub count: Range,
    /// Whom it hits: a role (`broker`, `name-server`, `producer`, `consumer`, `any`), `all-name-servers`, or a node's name.
    #[serde(default)]
    pub target: Option<String>,
    /// The other side (partition, slow-link, thin-link, half-close, reset, heartbeat-loss, heartbeat-delay, lost-response), like `target`.
    #[serde(default)]
    pub other: Option<String>,
    /// When, milliseconds; somewhere in the middle of the workload when absent.
    #[serde(default)]
    pub at_ms: Option<Range>,
    /// Instead of a time: the `n`-th event of this kind at the target (after `at-ms`, if given).
    #[serde(default)]
    pub on: Option<Moment>,
    /// Which of these events.
    #[serde(default)]
    pub n: Option<Range>,
    /// At whom these events are counted, like `target`; at the target when absent.
    #[serde(default)]
    pub on_node: Option<String>,
    /// Which requests these events are about (request-received, response-sent); any when absent.
    #[serde(default)]
    pub on_requests: Option<Choice<Requests>>,
    /// How long a process or machine is down (kill, power-loss, restart); for good when absent (not restart).
    #[serde(default)]
    pub down_ms: Option<Range>,
    /// How long it lasts (everything that does not end by itself).
    #[serde(default)]
    pub for_ms: Option<Range>,
    /// Which requests (heartbeat-loss, heartbeat-delay, lost-response).
    #[serde(default)]
    pub requests: Option<Choice<Requests>>,
    /// Whether the process vanishes with its address and leaves its connections half open (kill); drawn when absent.
    #[serde(default)]
    pub silent: Option<bool>,
    /// Whether only one direction is cut (partition); drawn when absent.
    #[serde(default)]
    pub oneway: Option<bool>,
    /// Added to each operation, segment or request (slow-disk, slow-link, heartbeat-delay).
    #[serde(default)]
    pub extra_ms: Option<Range>,
    /// What passes in a second, in each direction (thin-link).
    #[serde(default)]
    pub bytes_per_s: Option<Range>,
    /// Added to each batch (slow-cpu).
    #[serde(default)]
    pub extra_us: Option<Range>,
    /// How many syncs fail (sync-error).
    #[serde(default)]
    pub syncs: Option<Range>,
    /// Those of directories, which keep the names of files, instead of those of files (sync-error).
    #[serde(default)]
    pub names: bool,
    /// How many reads fail (read-error).
    #[serde(default)]
    pub reads: Option<Range>,
    /// How many writes fail (write-error).
    #[serde(default)]
    pub writes: Option<Range>,
    /// Only those of files in this folder of the store (sync-error, read-error, write-error).
    #[serde(default)]
    pub under: Option<Choice<Folder>>,
    /// How many handlers do not return (stuck-handler).
    #[serde(default)]
    pub handlers: Option<Range>,
    /// How many sectors cannot be read (read-error).
    #[serde(default)]
    pub sectors: Option<Range>,
    /// How many bytes still fit (disk-full).
    #[serde(default)]
    pub left_bytes: Option<Range>,
    /// In which files (bit-rot, misdirected-write).
    #[serde(default)]
    pub file: Option<Choice<StoreFile>>,
    /// How much faster the clock runs, in a million (clock-drift); -1,000,000 stands still.
    #[serde(default)]
    pub ppm: Option<Range>,
    /// How far the clock jumps (clock-step).
    #[serde(default)]
    pub by_ms: Option<Range>,
    /// Of what the clock shows a multiple after it (clock-step).
    #[serde(default)]
    pub tick_ms: Option<Choice<u64>>,
}

fn always() -> u8 {
    100
}

/// A range of delays.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LatencySpec {
    /// Shortest, microseconds.
    pub min_us: Range,
    /// Longest ordinary one, microseconds.
    pub max_us: Range,
    /// Chance in 1,000 of a long one.
    #[serde(default = "zero")]
    pub slow_permille: Range,
    /// Length of a long one, microseconds.
    #[serde(default = "zero")]
    pub slow_us: Range,
}

/// See [`crate::tape::Conditions`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ConditionsSpec {
    /// Segments lost, in a million.
    pub loss_ppm: Option<Range>,
    /// Writes cut into more than one segment, in a million.
    pub cut_ppm: Option<Range>,
    /// Bytes in flight on a connection.
    pub window_bytes: Option<Range>,
    /// Batches after which a process is busy, in a million.
    pub busy_ppm: Option<Range>,
    /// Chunks not in memory after a start, in a million.
    pub cold_ppm: Option<Range>,
    /// Bytes on each disk.
    pub disk_bytes: Option<Range>,
    /// What passes between two nodes in a second, in each direction; no limit when absent.
    pub bytes_per_s: Option<Range>,
    /// Unsent bytes above which a connection is not read; what real processes take when absent.
    pub unsent_bytes: Option<Range>,
    /// How far the wall clock of each node is off when it starts, milliseconds.
    pub clock_offset_ms: Option<Range>,
}

/// What must be true for the scenario to count.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ExpectSpec {
    /// At least so many messages acknowledged.
    pub acked_min: u64,
    /// At least so many messages delivered.
    pub delivered_min: u64,
    /// The cluster settles within so many virtual seconds after the last fault.
    pub converge_seconds: u64,
}

impl Default for ExpectSpec {
    fn default() -> Self {
        ExpectSpec { acked_min: 1, delivered_min: 1, converge_seconds: 240 }
    }
}

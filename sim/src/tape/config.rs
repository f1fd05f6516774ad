//! The header's description of what there is: cluster, clients, topics, groups and settings.
//!
//! Invariant: everything that shapes a run and is not an action stands here; the simulator has no other configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dice::{Dice, entity};

/// Everything that there is before the first action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Names of the name servers.
    pub name_servers: Vec<String>,
    /// Brokers.
    pub brokers: Vec<BrokerShape>,
    /// Producers.
    pub producers: Vec<ProducerShape>,
    /// Consumers; they start by a `join` action.
    pub consumers: Vec<ConsumerShape>,
    /// Topics that every broker has from the beginning and that nobody uses: `idle-0`, `idle-1`, ….
    #[serde(skip_serializing_if = "is_none")]
    pub idle_topics: u32,
    /// Topics that the administrator creates before the first action.
    pub topics: BTreeMap<String, TopicShape>,
    /// Consumer groups.
    pub groups: BTreeMap<String, GroupShape>,
    /// Network delays.
    pub network: Latency,
    /// Time of a disk operation.
    pub disk: Latency,
    /// How links, processes and disks behave; drawn from the seed when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    /// How far the wall clocks of nodes are off when they start, milliseconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clock_offsets_ms: BTreeMap<String, i64>,
    /// When the safety phase ends: faults that have an end are ended, and the liveness phase begins. Milliseconds.
    pub safety_ms: u64,
    /// Within so much virtual time after the safety phase the cluster must have settled. Milliseconds.
    pub converge_ms: u64,
    /// Chance in 1,000 that a `buggify!` site is switched on in this run.
    pub buggify_permille: u32,
    /// What must be true of a run for it to count.
    pub expect: Expect,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name_servers: vec!["ns-0".into()],
            brokers: Vec::new(),
            producers: Vec::new(),
            consumers: Vec::new(),
            idle_topics: 0,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            network: Latency { min_us: 50, max_us: 500, slow_permille: 0, slow_us: 0 },
            disk: Latency { min_us: 100, max_us: 4000, slow_permille: 0, slow_us: 0 },
            conditions: None,
            clock_offsets_ms: BTreeMap::new(),
            safety_ms: 60_000,
            converge_ms: 240_000,
            buggify_permille: 0,
            expect: Expect::default(),
        }
    }
}

/// How links, processes and disks behave beside their delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Conditions {
    /// Segments lost (and sent again), in a million.
    pub loss_ppm: u32,
    /// Writes cut into more than one segment, in a million.
    pub cut_ppm: u32,
    /// Bytes that may be unread by the other end of a connection before a writer waits.
    pub window_bytes: u32,
    /// Batches after which a process is busy for a while, in a million.
    pub busy_ppm: u32,
    /// Chunks of 64 KiB of a file that are not in memory after a start, in a million.
    pub cold_ppm: u32,
    /// Bytes on each disk.
    pub disk_bytes: u64,
    /// What passes between two nodes in a second, in each direction, all connections together; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Unsent bytes above which a process reads no more from a connection; what real processes take when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent_bytes: Option<u64>,
}

impl Conditions {
    /// What a seed draws where nothing is said.
    pub fn drawn(seed: u64) -> Conditions {
        let one_of =
            |name: &str, from: &[u32]| from[Dice::new(seed, entity(name, &[0x5e])).below(from.len() as u64) as usize];
        Conditions {
            loss_ppm: one_of("loss", &[0, 0, 200, 5_000]),
            cut_ppm: one_of("cut", &[0, 20_000, 300_000]),
            window_bytes: one_of("window", &[256 << 10, 64 << 10, 8 << 10]),
            busy_ppm: one_of("busy", &[0, 60_000, 250_000]),
            cold_ppm: one_of("cold", &[0, 300_000, 1_000_000]),
            disk_bytes: 64 << 30,
            bytes_per_s: None,
            unsent_bytes: None,
        }
    }
}

/// When an acknowledged message is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// Before the acknowledgement.
    Sync,
    /// Some time after it.
    #[default]
    Async,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BrokerShape {
    /// Name of the node, and the broker's own name.
    pub name: String,
    /// Flush policy.
    #[serde(default)]
    pub flush: Flush,
    /// It is started by a `broker-join` action, not with the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
    /// Further settings by their names in `broker.conf`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl BrokerShape {
    /// A broker with asynchronous flush and default settings.
    pub fn named(name: &str) -> Self {
        BrokerShape { name: name.into(), flush: Flush::Async, later: false, properties: BTreeMap::new() }
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProducerShape {
    /// Name of the node and the client.
    pub name: String,
    /// Send timeout, milliseconds (3,000 in the Java client).
    #[serde(default = "java_timeout_ms")]
    pub send_timeout_ms: u64,
    /// Further attempts after a failed one (2 in the Java client).
    #[serde(default = "java_retries")]
    pub retries: u32,
}

fn java_timeout_ms() -> u64 {
    3_000
}

fn java_retries() -> u32 {
    2
}

/// One consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConsumerShape {
    /// Name of the node and the client.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Topics that it subscribes to.
    #[serde(default)]
    pub topics: Vec<String>,
    /// What its handler does with a message.
    #[serde(default)]
    pub handler: Handler,
}

/// How a handler behaves; drawn for each delivery from its topic, queue, offset and attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Handler {
    /// Shortest time for a message, milliseconds.
    pub min_ms: u64,
    /// Longest time for a message, milliseconds.
    pub max_ms: u64,
    /// Chance in 1,000 that it asks for redelivery.
    pub fail_permille: u32,
}

impl Default for Handler {
    fn default() -> Self {
        Handler { min_ms: 0, max_ms: 5, fail_permille: 0 }
    }
}

/// Order that a topic promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// None.
    #[default]
    None,
    /// Within a queue.
    Queue,
    /// Within a shard (business id).
    Key,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TopicShape {
    /// Read and write queues per broker.
    #[serde(default = "one")]
    pub queues: u32,
    /// Brokers that hold it; all that start with the cluster when empty.
    #[serde(default)]
    pub brokers: Vec<String>,
    /// Order that its consumers rely on.
    #[serde(default)]
    pub order: OrderKind,
}

fn one() -> u32 {
    1
}

/// How a group shares its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Each message to one member.
    #[default]
    Clustering,
    /// Each message to every member.
    Broadcasting,
}

/// Where a group without a committed offset starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartFrom {
    /// At the oldest message.
    #[default]
    First,
    /// At the next message.
    Last,
}

/// One consumer group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GroupShape {
    /// Sharing.
    pub model: Model,
    /// Whether its handlers are ordered (one at a time per queue, under the broker's lock).
    pub orderly: bool,
    /// Start.
    pub from: StartFrom,
    /// Allocation strategy by the Java name (`AVG`, `AVG_BY_CIRCLE`, `CONSISTENT_HASH`, …); `AVG` when empty.
    pub strategy: String,
    /// The tags that it asks for, by topic (`A || B`); everything where a topic is missing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A range of delays, with rare long ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Latency {
    /// Shortest, microseconds.
    pub min_us: u64,
    /// Longest ordinary one, microseconds.
    pub max_us: u64,
    /// Chance in 1,000 of a long one.
    #[serde(default)]
    pub slow_permille: u32,
    /// Length of a long one, microseconds.
    #[serde(default)]
    pub slow_us: u64,
}

/// What must be true of a run for it to count: no run is green because nothing happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Expect {
    /// At least so many messages acknowledged.
    pub acked_min: u64,
    /// At least so many messages delivered.
    pub delivered_min: u64,
}

impl Default for Expect {
    fn default() -> Self {
        Expect { acked_min: 1, delivered_min: 1 }
    }
}

impl Config {
    /// Whether a node of this name exists.
    pub fn has(&self, name: &str) -> bool {
        self.nodes().any(|node| node == name)
    }

    /// Every node's name: name servers, brokers, producers, consumers.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        let servers = self.name_servers.iter().chain(self.brokers.iter().map(|b| &b.name));
        let clients = self.producers.iter().map(|p| &p.name).chain(self.consumers.iter().map(|c| &c.name));
        servers.chain(clients).map(String::as_str)
    }

    /// The role of a node: `name-server`, `broker`, `producer` or `consumer`.
    pub fn role(&self, name: &str) -> Option<&'static str> {
        let is = |found: bool, role| found.then_some(role);
        is(self.name_servers.iter().any(|n| n == name), "name-server")
            .or(is(self.brokers.iter().any(|b| b.name == name), "broker"))
            .or(is(self.producers.iter().any(|p| p.name == name), "producer"))
            .or(is(self.consumers.iter().any(|c| c.name == name), "consumer"))
    }
}

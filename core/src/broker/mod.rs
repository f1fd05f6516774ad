//! The broker: takes messages into its store, hands them to consumers, knows its clients and its topics, and tells the name
//! servers about itself.
//!
//! Invariant: a message is acknowledged once and only after the mark that the flush policy demands has passed it; a pull is
//! answered, held or waiting for the disk; a change of topics or groups is confirmed only after its file is in place.
//!
//! One file a concern: the tables (`topics`, `groups`, `offsets`, `locks`, `clients`, `hold`, `pending`) take what they need
//! and return values; the request files turn frames into calls of the tables and values into answers; `life` is the way
//! from start to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::checked::Checked;
use crate::client::Calls;
use crate::message::ids::UniqueIds;
use crate::node::{Addr, ConnId, Cx, DiskAsk, Holding, Input, Instant, Node};
use crate::store::{Arrival, Store};
use crate::wire::codes::response;
use crate::wire::group::SubscriptionGroupWrapper;
use crate::wire::{Frame, json};

mod admin;
pub mod clients;
pub mod config;
pub mod dispatch;
pub mod fence;
mod filter;
pub mod groups;
mod heartbeat;
pub mod hold;
mod life;
mod load;
pub mod locks;
pub mod names;
#[cfg(test)]
mod node_tests;
mod offset_requests;
pub mod offsets;
pub mod pending;
pub mod persist;
mod properties;
pub mod pull;
mod query;
pub mod registration;
mod runtime_info;
mod send;
pub mod stats;
pub mod topics;

pub use config::{BrokerConfig, PROPERTIES, PropertyError};

use clients::Clients;
use dispatch::Fault;
use fence::{Fence, Reader, RecoveredEnds};
use groups::Groups;
use hold::PullHold;
use life::{Alarms, Phase};
use locks::QueueLocks;
use offsets::Offsets;
use pending::PendingAcks;
use persist::ConfigFile;
use registration::{CallTag, Registration};
use stats::BrokerStats;
use topics::{Topics, TopicsFile};

/// What the owner of a broker asks.
#[derive(Clone, Debug, Hash)]
pub enum BrokerCommand {
    /// These are the name servers from now on.
    NameServers(Vec<Addr>),
    /// Local time is so many seconds ahead of UTC from now on: `deleteWhen` and the counts of a day go by it.
    UtcOffset(i32),
}

/// What a broker tells its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BrokerEvent {
    /// The store is being recovered: bytes scanned and in all.
    Recovering {
        /// Scanned.
        done: u64,
        /// In all, as far as known.
        total: u64,
    },
    /// Requests are taken from here on.
    Ready,
    /// A name server has the topics of this broker.
    Registered {
        /// Which.
        name_server: Addr,
    },
    /// A client said nothing for too long; its connection is closed.
    Expired(ConnId),
    /// The store cannot be opened: why, and the cure. The broker does nothing more.
    Refused(String),
    /// Something the operator should read.
    Notice(String),
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    addr: SocketAddr,
    /// It came in on the port that serves no pulls.
    fast: bool,
    /// This broker made it.
    dialled: bool,
    /// When it last carried a frame from the peer.
    last: Instant,
}

/// The files that are replaced as a whole.
#[derive(Debug)]
struct Files {
    topics: ConfigFile,
    groups: ConfigFile,
    offsets: ConfigFile,
    overrides: ConfigFile,
    recovered_ends: ConfigFile,
    removed: ConfigFile,
}

impl Files {
    fn all(&self) -> [&ConfigFile; 6] {
        [&self.topics, &self.groups, &self.offsets, &self.overrides, &self.recovered_ends, &self.removed]
    }
}

/// A deletion of a topic: what must be on disk before a topic that was made after it is stored to.
#[derive(Clone, Copy, Debug, Default)]
struct Removal {
    /// Versions of the files.
    topics: u64,
    offsets: u64,
    removed: u64,
}

/// A broker. See the module.
pub struct Broker {
    config: BrokerConfig,
    phase: Phase,
    store: Store,
    store_host: SocketAddr,
    unique_ids: UniqueIds,
    topics: Checked<Topics>,
    groups: Groups,
    offsets: Checked<Offsets>,
    fence: Fence,
    locks: QueueLocks,
    clients: Checked<Clients>,
    hold: Checked<PullHold>,
    /// Requests whose records are being read from the disk, by the store's ticket.
    cold: BTreeMap<u64, Vec<dispatch::Waiting>>,
    pending: PendingAcks,
    /// Sends that wait for their topic to reach the disk.
    deferred: Vec<send::Deferred>,
    deferred_bytes: usize,
    /// Answers to changes that wait for a file.
    confirmations: Vec<admin::Confirmation>,
    /// Requests that were passed on to a client.
    forwarded: admin::Forwarded,
    registration: Registration,
    calls: Calls<CallTag>,
    files: Files,
    /// Properties that were changed by request, in Java's names.
    overrides: BTreeMap<String, String>,
    overrides_version: u64,
    conns: BTreeMap<ConnId, Peer>,
    stats: BrokerStats,
    /// What this life knows of power cuts; before the store is recovered, what the last one knew.
    recovered_ends: RecoveredEnds,
    /// The last deletion of a topic.
    last_removal: Removal,
    /// This version of the offsets must be on disk before a message is taken: some were cut back.
    offsets_cut: u64,
    /// This version of the deleted topics must be.
    removed_moved: u64,
    /// What a Java broker has delivered of its delayed messages.
    delay_offsets: Option<persist::DelayOffsetsFile>,
    /// `topics.json` was read as it was written last.
    topics_file_is_whole: bool,
    alarms: Alarms,
    /// At the end: the name servers know, or were given up.
    left: bool,
    asks: Vec<DiskAsk>,
    arrivals: Vec<Arrival>,
    /// Counts batches of inputs.
    batch: u64,
    opaque: i32,
}

impl Broker {
    /// A broker that has not started.
    pub fn new(config: BrokerConfig) -> Broker {
        let ip = config.ip.parse().expect("the configuration was checked");
        Broker {
            phase: Phase::New,
            store: Store::new(config.store.clone()),
            store_host: SocketAddr::new(ip, config.port),
            unique_ids: UniqueIds::new(ip, u32::from(config.port)),
            topics: Checked::new(Topics::load(TopicsFile::default()).0),
            groups: Groups::load(SubscriptionGroupWrapper::default()).0,
            offsets: Checked::new(Offsets::default()),
            fence: Fence::default(),
            locks: QueueLocks::default(),
            clients: Checked::new(Clients::default()),
            hold: Checked::new(PullHold::new(config.held_pulls_max)),
            cold: BTreeMap::new(),
            pending: PendingAcks::new(config.pending_ack_bytes_max),
            deferred: Vec::new(),
            deferred_bytes: 0,
            confirmations: Vec::new(),
            forwarded: admin::Forwarded::default(),
            registration: Registration::default(),
            calls: Calls::new(),
            files: Files {
                topics: ConfigFile::new(persist::TOPICS),
                groups: ConfigFile::new(persist::GROUPS),
                offsets: ConfigFile::new(persist::OFFSETS),
                overrides: ConfigFile::new(persist::OVERRIDES),
                recovered_ends: ConfigFile::new(persist::RECOVERED_ENDS),
                removed: ConfigFile::new(persist::REMOVED),
            },
            overrides: BTreeMap::new(),
            overrides_version: 0,
            conns: BTreeMap::new(),
            stats: BrokerStats::default(),
            recovered_ends: RecoveredEnds::default(),
            offsets_cut: 0,
            removed_moved: 0,
            last_removal: Removal::default(),
            delay_offsets: None,
            topics_file_is_whole: false,
            alarms: Alarms::default(),
            left: false,
            asks: Vec::new(),
            arrivals: Vec::new(),
            batch: 0,
            opaque: 0,
            config,
        }
    }

    /// The address of a connection's other end, as Java prints it.
    fn peer_text(&self, conn: ConnId) -> String {
        self.peer_of(conn).to_string()
    }
    /// The address of a connection's other end; of this broker when the connection is gone.
    fn peer_of(&self, conn: ConnId) -> SocketAddr {
        self.conns.get(&conn).map_or(self.store_host, |peer| peer.addr)
    }
    /// Who names a position on a connection, or is told one there.
    fn reader(&self, conn: ConnId, group: &str) -> Reader {
        let member = self.clients.consumers(group).and_then(|group| group.members.get(&conn));
        Reader { conn, client_id: member.map(|member| Arc::clone(&member.client_id)) }
    }
    fn is_fast_port(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|peer| peer.fast)
    }
    fn next_opaque(&mut self) -> i32 {
        self.opaque = self.opaque.wrapping_add(1) & i32::MAX;
        self.opaque
    }
    /// The JSON body of a request.
    fn body_of<T: DeserializeOwned>(&self, frame: &Frame) -> Result<T, Fault> {
        if frame.body.is_empty() {
            return Err(Fault::new(response::SYSTEM_ERROR, "the request has no body"));
        }
        json::from_slice(&frame.body)
            .map_err(|error| Fault::new(response::SYSTEM_ERROR, format!("the body cannot be read: {error}")))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("name", &self.config.name).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// What white-box oracles and logs may look at.
impl Broker {
    /// The settings.
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }
    /// Every pull that waits.
    pub fn held_pulls(&self) -> impl Iterator<Item = &hold::HeldPull> {
        self.hold.iter()
    }
    /// Clients by group.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }
    /// Queue locks by group.
    pub fn queue_locks(&self) -> &QueueLocks {
        &self.locks
    }
    /// Committed offsets by group.
    pub fn committed_offsets(&self) -> &Offsets {
        &self.offsets
    }
    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }
    /// The groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }
    /// Answers to sends that wait for the log.
    pub fn pending_acks(&self) -> &PendingAcks {
        &self.pending
    }
    /// What is known of the name servers.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }
    /// Where it is in its life: `new`, `loading`, `recovering`, `serving`, `stopping`, `stopped`, `refused`.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::New => "new",
            Phase::Loading(_) => "loading",
            Phase::Recovering => "recovering",
            Phase::Serving => "serving",
            Phase::Stopping { .. } => "stopping",
            Phase::Stopped => "stopped",
            Phase::Refused => "refused",
        }
    }
    /// Whether requests are taken.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }
}

impl Node for Broker {
    type Command = BrokerCommand;
    type Event = BrokerEvent;

    fn step(&mut self, input: Input<BrokerCommand>, cx: &mut Cx<'_, BrokerEvent>) {
        match input {
            Input::Frame { conn, frame } => self.on_frame(conn, frame, cx),
            Input::Settle => self.on_settle(cx),
            Input::Wake => self.on_wake(cx),
            Input::Disk(done) => self.on_disk(done, cx),
            Input::Start => self.on_start(cx),
            Input::Opened { conn, dial, peer, local } => self.on_opened(conn, dial, peer, local, cx),
            Input::DialFailed { dial } => {
                for (tag, error) in self.calls.dial_failed(dial) {
                    self.on_call_failed(tag, error, cx);
                }
            }
            Input::Closed { conn } => self.on_closed(conn, cx),
            Input::Command(BrokerCommand::NameServers(servers)) => self.set_name_servers(servers, cx),
            Input::Command(BrokerCommand::UtcOffset(seconds)) => {
                self.config.store.utc_offset_s = seconds;
                self.store.reconfigure(self.config.store.clone());
            }
            Input::Stop => self.on_stop(cx),
        }
        cx.out.0.extend(self.asks.drain(..).map(crate::node::Output::Disk));
    }

    fn wake_at(&self) -> Option<Instant> {
        self.next_alarm()
    }

    fn invariants(&self) {
        self.topics.check(Topics::invariants);
        self.offsets.check(Offsets::invariants);
        self.fence.invariants();
        self.clients.check(Clients::invariants);
        self.hold.check(PullHold::invariants);
        self.pending.invariants();
        self.calls.invariants();
        self.store.invariants();
        assert!(self.asks.is_empty(), "what the store asks for leaves with the step that asked");
        let dialled_are_no_clients =
            self.conns.iter().all(|(conn, peer)| !peer.dialled || !self.clients.is_known(*conn));
        assert!(dialled_are_no_clients, "a connection that the broker made is no client");
        let waiting: usize = self.cold.values().map(Vec::len).sum();
        assert!(waiting <= self.config.cold_reads_max, "pulls that wait for the disk are bounded");
        assert_eq!(self.deferred.is_empty(), self.deferred_bytes == 0, "the bytes of waiting sends are counted");
    }

    fn holdings(&self) -> Vec<Holding> {
        let holding = |what, held, most| Holding { what, held, most };
        let orphans = self.hold.iter().filter(|held| !self.conns.contains_key(&held.pull.caller.conn)).count();
        let strangers = self.clients.conns().filter(|conn| !self.conns.contains_key(conn)).count();
        let cold: usize = self.cold.values().map(Vec::len).sum();
        vec![
            holding("held pulls", self.hold.len(), self.config.held_pulls_max),
            holding("held pulls of closed connections", orphans, 0),
            holding("clients of closed connections", strangers, 0),
            holding("pulls that wait for the disk", cold, self.config.cold_reads_max),
            holding("bytes of answers that wait", self.pending.bytes(), self.config.pending_ack_bytes_max + ACKS_SLACK),
            holding("bytes of sends that wait for a file", self.deferred_bytes, send::DEFERRED_BYTES_MAX),
        ]
    }
}

/// The last answer that there is room for may be a batch's.
const ACKS_SLACK: usize = 64 << 10;

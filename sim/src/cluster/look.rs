//! What white-box oracles see of the inside of nodes: copies, taken when somebody asked for them.
//!
//! Invariant: a copy says when it was taken, and whether the node has moved since; an oracle that needs a fresh one asks first and
//! looks later.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use seedmq_core::broker::Broker;
use seedmq_core::broker::topics::Topics;
use seedmq_core::wire::route::QueueData;
use seedmq_reports::{EndState, Mark};

use super::admin::Admin;
use super::curves::{self, Readers};
use super::setting::IDLE;
use crate::world::HostId;

/// A pull that waits at a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub topic: String,
    pub queue: u32,
    pub offset: u64,
    pub since_ns: u64,
    pub until_ns: u64,
}

/// The inside of a broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerLook {
    pub serving: bool,
    /// First and next offset by topic and queue.
    pub queues: BTreeMap<(String, u32), (u64, u64)>,
    /// Committed offset by group, topic and queue.
    pub committed: BTreeMap<(String, String, u32), u64>,
    /// Read queues of each topic.
    pub topics: BTreeMap<String, u32>,
    pub held: Vec<Held>,
    /// The position up to which its log was appended to, and up to which it is durable.
    pub log: (u64, u64),
}

/// The routes of a name server, by topic that people care for and broker: queues to read and to write.
pub(crate) type Routes = BTreeMap<(String, String), (i32, i32)>;

/// The inside of any node.
#[derive(Clone, Debug)]
pub(crate) enum Look {
    Broker(Rc<BrokerLook>),
    NameServer(Routes),
    Nothing,
}

impl Look {
    fn end_state(&self, wanted: &dyn Fn(&str) -> bool) -> EndState {
        let mut end = EndState::default();
        match self {
            Look::NameServer(routes) => {
                for ((topic, broker), (read, write)) in routes {
                    let text = format!("{topic} at {broker}: {read} to read, {write} to write");
                    end.routes.push(text);
                }
            }
            Look::Broker(look) => {
                let (appended, durable) = look.log;
                end.watermarks.push(format!("log: appended to {appended}, durable to {durable}"));
                let queues = look.queues.iter().filter(|((topic, _), _)| wanted(topic));
                end.watermarks
                    .extend(queues.map(|((topic, queue), (from, to))| format!("{topic}/{queue}: {from} to {to}")));
                let committed = look.committed.iter();
                let line = |((group, topic, queue), offset): (&(String, String, u32), &u64)| {
                    format!("{group} of {topic}/{queue}: committed {offset}")
                };
                end.watermarks.extend(committed.map(line));
            }
            Look::Nothing => {}
        }
        end
    }
}

/// A node that lets oracles look inside.
pub(crate) trait Inside {
    /// A copy of what oracles ask about; of routes only those of topics that are wanted.
    fn look(&self, _wanted: &dyn Fn(&str) -> bool) -> Look {
        Look::Nothing
    }
    /// The topics of a broker that serves, and the end of its log.
    fn topics_and_log(&self) -> Option<(&Topics, u64)> {
        None
    }
    /// How far its log and the readers of it are, for the curves of the picture.
    fn marks(&self, _readers: &Readers) -> Vec<(Mark, u64)> {
        Vec::new()
    }
    /// The same for a person to read, line by line.
    fn lines(&self, _now_ns: u64) -> Vec<String> {
        Vec::new()
    }
}

impl Inside for Admin {}
impl Inside for seedmq_core::producer::Producer {
    fn lines(&self, _now_ns: u64) -> Vec<String> {
        super::inside::producer(self)
    }
}
impl Inside for seedmq_core::consumer::PushConsumer {
    fn lines(&self, _now_ns: u64) -> Vec<String> {
        super::inside::consumer(self)
    }
}
impl Inside for seedmq_core::namesrv::NameServer {
    fn look(&self, wanted: &dyn Fn(&str) -> bool) -> Look {
        let routes = self.table().topics().filter(|(topic, _)| wanted(topic)).flat_map(|(topic, brokers)| {
            let queues = |(broker, data): (&String, &QueueData)| {
                ((topic.to_owned(), broker.clone()), (data.read_queue_nums, data.write_queue_nums))
            };
            brokers.iter().map(queues).collect::<Vec<_>>()
        });
        Look::NameServer(routes.collect())
    }
    fn lines(&self, now_ns: u64) -> Vec<String> {
        super::inside::name_server(self, now_ns)
    }
}

impl Inside for Broker {
    fn topics_and_log(&self) -> Option<(&Topics, u64)> {
        self.is_serving().then(|| (self.topics(), self.store().marks().appended))
    }
    fn marks(&self, readers: &Readers) -> Vec<(Mark, u64)> {
        curves::marks(self, readers)
    }
    fn lines(&self, now_ns: u64) -> Vec<String> {
        super::inside::broker(self, now_ns)
    }
    fn look(&self, _wanted: &dyn Fn(&str) -> bool) -> Look {
        let queues =
            self.store().queues().map(|(topic, queue, range)| ((topic.to_owned(), queue), (range.start, range.end)));
        let committed = self.committed_offsets().iter().filter_map(|(group, topic, queue, offset)| {
            Some(((group.to_owned(), topic.to_owned(), u32::try_from(queue).ok()?), u64::try_from(offset).ok()?))
        });
        let used = self.topics().iter().filter(|(name, _)| !name.starts_with(IDLE));
        let topics = used.map(|(name, topic)| (name.to_owned(), topic.config.read_queue_nums.max(0) as u32));
        let marks = self.store().marks();
        let held = self.held_pulls().map(|held| Held {
            topic: held.pull.header.topic.clone(),
            queue: held.pull.queue_id,
            offset: held.checked_to,
            since_ns: held.since.0,
            until_ns: held.until.0,
        });
        Look::Broker(Rc::new(BrokerLook {
            serving: self.is_serving(),
            queues: queues.collect(),
            committed: committed.collect(),
            topics: topics.collect(),
            held: held.collect(),
            log: (marks.appended, marks.durable),
        }))
    }
}

/// A broker that nobody asks anything still looks at its held pulls every 5 s; one that is silent for longer hangs.
const QUIET_NS: u64 = 15_000_000_000;

/// The copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    wanted: BTreeSet<HostId>,
    taken: BTreeMap<HostId, Taken>,
}

#[derive(Clone, Debug)]
struct Taken {
    at_ns: u64,
    /// The node has not taken a batch since.
    current: bool,
    look: Look,
}

impl Looks {
    /// A fresh copy of each of these is wanted, from the next batch of the node on.
    pub fn want(&mut self, hosts: &[HostId]) {
        self.wanted.extend(hosts);
    }
    /// A node has taken a batch: whether a copy of it is wanted. The last one is no longer how it is.
    pub fn moved(&mut self, host: HostId) -> bool {
        if let Some(taken) = self.taken.get_mut(&host) {
            taken.current = false;
        }
        self.wanted.contains(&host)
    }
    pub fn put(&mut self, host: HostId, at_ns: u64, look: Look) {
        self.wanted.remove(&host);
        self.taken.insert(host, Taken { at_ns, current: true, look });
    }
    /// What a process left behind when it died means nothing any more.
    pub fn forget(&mut self, host: HostId) {
        self.taken.remove(&host);
    }
    /// The last copy of a broker, and when it was taken.
    pub fn broker(&self, host: HostId) -> Option<(u64, &Rc<BrokerLook>)> {
        match self.taken.get(&host)? {
            Taken { at_ns, look: Look::Broker(look), .. } => Some((*at_ns, look)),
            _ => None,
        }
    }
    /// The routes in the last copy of a name server.
    pub fn routes(&self, host: HostId) -> Option<&Routes> {
        match &self.taken.get(&host)?.look {
            Look::NameServer(routes) => Some(routes),
            _ => None,
        }
    }
    /// The last copy of everything, for people; of topics only those that are wanted.
    pub fn ends(&self, wanted: &dyn Fn(&str) -> bool) -> impl Iterator<Item = (HostId, EndState)> {
        self.taken.iter().map(move |(host, taken)| (*host, taken.look.end_state(wanted)))
    }
    /// Whether the last copy of a node still shows how it is.
    pub fn is_current(&self, host: HostId) -> bool {
        self.taken.get(&host).is_some_and(|taken| taken.current)
    }
    /// How a broker is: a copy taken at `since_ns` or later, or since which it has not moved.
    pub fn broker_now(&self, host: HostId, since_ns: u64) -> Option<&Rc<BrokerLook>> {
        match self.taken.get(&host)? {
            Taken { at_ns, current, look: Look::Broker(look) }
                if *at_ns >= since_ns || (*current && *at_ns + QUIET_NS >= since_ns) =>
            {
                Some(look)
            }
            _ => None,
        }
    }
}

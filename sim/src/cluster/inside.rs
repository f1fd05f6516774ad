//! The inside of a node for a person to read: `replay --state`.
//!
//! Invariant: nothing is written down unless it was asked for, and what is shown says when it was so.

use seedmq_core::broker::Broker;
use seedmq_core::client::routes::Routes;
use seedmq_core::consumer::PushConsumer;
use seedmq_core::namesrv::NameServer;
use seedmq_core::node::Instant;
use seedmq_core::producer::Producer;

use crate::world::HostId;

/// A node that did nothing for so long before the end is shown as it was then. Every role has a timer of at most 30 s.
const BEFORE_END_NS: u64 = 60_000_000_000;

/// The node whose inside is wanted, and the last copy of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    host: Option<HostId>,
    /// Earlier than this no copy is needed, ns.
    since_ns: u64,
    pub lines: Vec<String>,
}

impl Watched {
    /// Watches a host. `end_ns` is when the run will end, 0 if that is not known.
    pub fn new(host: Option<HostId>, end_ns: u64) -> Watched {
        Watched { host, since_ns: end_ns.saturating_sub(BEFORE_END_NS), lines: Vec::new() }
    }
    pub fn wanted(&self, host: HostId, now_ns: u64) -> bool {
        self.host == Some(host) && now_ns >= self.since_ns
    }
    /// Keeps a copy; `event` is the number of the last event before it.
    pub fn put(&mut self, now_ns: u64, event: u64, lines: Vec<String>) {
        self.lines = lines;
        self.lines.insert(0, format!("as of {}, after event {event}", seconds(now_ns)));
    }
    /// The process of a host is no more.
    pub fn gone(&mut self, host: HostId) {
        if self.host == Some(host) && !self.lines.is_empty() {
            self.lines.insert(0, "its process has ended; it was last seen".to_owned());
        }
    }
}

fn seconds(ns: u64) -> String {
    format!("{}.{:06} s", ns / 1_000_000_000, ns / 1000 % 1_000_000)
}

/// How long until (or since) a time, as seen from now.
fn away(at: Instant, now_ns: u64) -> String {
    match at.0.checked_sub(now_ns) {
        Some(ns) => format!("in {}", seconds(ns)),
        None => format!("{} ago", seconds(now_ns - at.0)),
    }
}

/// A heading and what stands below it, or "none".
fn list(title: &str, items: impl Iterator<Item = String>) -> Vec<String> {
    let items: Vec<String> = items.map(|item| format!("  {item}")).collect();
    if items.is_empty() {
        return vec![format!("{title}: none")];
    }
    [vec![format!("{title}:")], items].concat()
}

fn routes(routes: &Routes) -> Vec<String> {
    let shown = routes.iter().map(|(topic, route)| {
        let queues: Vec<String> = route.subscribe().iter().map(ToString::to_string).collect();
        let brokers: Vec<String> =
            route.brokers().iter().flat_map(|b| b.broker_addrs.values()).map(ToString::to_string).collect();
        format!("{topic}: queues {}; brokers at {}", queues.join(" "), brokers.join(" "))
    });
    list("routes", shown)
}

pub(super) fn producer(node: &Producer) -> Vec<String> {
    let waiting = node.waiting_for_route().map(|(topic, sends)| format!("{topic}: {sends}"));
    [
        vec![format!("sends without an outcome: {}", node.in_flight())],
        list("sends that wait for a route", waiting),
        routes(node.routes()),
    ]
    .concat()
}

pub(super) fn consumer(node: &PushConsumer) -> Vec<String> {
    let queues = node.progress().map(|q| {
        let committed = q.committed.map_or("nothing yet".to_owned(), |offset| offset.to_string());
        format!(
            "{} {} ({}): consumed up to {}, next pull from {}, committed {committed}, {} pulled and unfinished",
            q.topic, q.queue, q.stage, q.consumed, q.next, q.unfinished
        )
    });
    [
        vec![format!("phase: {}", node.phase()), format!("deliveries under way: {}", node.in_flight())],
        list("owned queues", queues),
        routes(node.routes()),
    ]
    .concat()
}

pub(super) fn name_server(node: &NameServer, now_ns: u64) -> Vec<String> {
    let live = node.live_brokers().map(|(cluster, addr, live)| {
        format!(
            "{addr} of {cluster}: heard {}, may be silent for {} s",
            away(live.heard, now_ns),
            live.timeout.as_secs()
        )
    });
    let routes = node.table().topics().map(|(topic, queues)| {
        let at = queues
            .iter()
            .map(|(broker, data)| format!("{broker} (read {}, write {})", data.read_queue_nums, data.write_queue_nums));
        format!("{topic}: {}", at.collect::<Vec<_>>().join(", "))
    });
    [vec![format!("connections: {}", node.connections())], list("live brokers", live), list("topics", routes)].concat()
}

pub(super) fn broker(node: &Broker, now_ns: u64) -> Vec<String> {
    let store = node.store();
    let marks = store.marks();
    let writes = store.refuses_writes().map_or("taken".to_owned(), |why| format!("refused: {why}"));
    let pending = node.pending_acks();
    [
        vec![
            format!("phase: {}; writes are {writes}", node.phase()),
            format!(
                "log: begins at {}, appended to {}, written to {}, durable to {}",
                marks.begin, marks.appended, marks.written, marks.durable
            ),
            format!(
                "acknowledgements that wait: {}, of them for a sync: {}",
                pending.len(),
                pending.waiting_for_sync()
            ),
        ],
        broker_queues(node),
        broker_clients(node, now_ns),
    ]
    .concat()
}

fn broker_queues(node: &Broker) -> Vec<String> {
    let queues =
        node.store().queues().map(|(topic, id, range)| format!("{topic}/{id}: {} to {}", range.start, range.end));
    let topics =
        node.topics().configs().into_iter().map(|(name, topic)| {
            format!("{name}: {} to read, {} to write", topic.read_queue_nums, topic.write_queue_nums)
        });
    let committed = node.committed_offsets().iter();
    let committed = committed.map(|(group, topic, queue, offset)| format!("{group} of {topic}/{queue}: {offset}"));
    [list("queues", queues), list("topics", topics), list("committed offsets", committed)].concat()
}

fn broker_clients(node: &Broker, now_ns: u64) -> Vec<String> {
    let held = node.held_pulls().map(|held| {
        let (topic, queue, until) = (&held.pull.header.topic, held.pull.queue_id, away(held.until, now_ns));
        let group = &held.pull.header.consumer_group;
        format!("{group} of {topic}/{queue} from {}: since {}, ends {until}", held.checked_to, away(held.since, now_ns))
    });
    let groups = node.clients().consumer_groups().map(|(name, group)| {
        let members: Vec<&str> = group.client_ids().into_iter().collect();
        format!("{name}: {}", members.join(", "))
    });
    let locks = node.queue_locks().iter(Instant(now_ns)).map(|(group, queue, lock)| {
        format!(
            "{group} of {}/{}: {}, renewed {}",
            queue.topic,
            queue.queue_id,
            lock.client,
            away(lock.renewed, now_ns)
        )
    });
    [list("held pulls", held), list("consumer groups", groups), list("queue locks", locks)].concat()
}

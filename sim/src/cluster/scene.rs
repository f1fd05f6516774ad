//! What everybody in a run shares: who there is, what was seen, what is due.
//!
//! Invariant: whatever enters the history also enters the canonical log, in the same order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use madsim::task::NodeId;
use seedmq::driver::Handle;
use seedmq_core::broker::BrokerCommand;
use seedmq_core::message::names::RETRY_PREFIX;
use seedmq_core::namesrv::NameServerCommand;
use seedmq_reports::{EndState, Oracle, Violation};

use super::admin::AdminCommand;
use super::oracles::drained::Drained;
use super::oracles::questions::Questions;
use super::oracles::route::Route;
use super::oracles::settle::{Suspects, Unsettled};
use super::oracles::shown::Shown;
use super::oracles::stale::Stale;
use super::oracles::stores::Judged;
use super::oracles::topics::{KnownTopics, ToldTopics};
use super::recovered::Recovered;

use super::cast::Cast;
use super::inside::Watched;
use super::look::Looks;
use super::picture::Picture;
use super::trigger::Triggers;
use crate::clients::{ConsumerAgent, ProducerAgent};
use crate::disk::{Atlas, HostDisk};
use crate::history::{Op, Record};
use crate::tap::{Kind, SharedLog};
use crate::tape::{Action, Moment, Tape, Trigger, What};
use crate::world::{CpuSpec, HostId, Life, World};

/// Something that the world reminds the cluster of.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// An action of the tape, by its index.
    Act(usize),
    /// What an action began ends.
    End(usize),
    /// A host that went down comes back.
    Start(HostId),
    /// A broker that refused its store is started anew, now that the disk is well.
    Anew(HostId),
    /// A host is asked to stop in order.
    Stop(HostId),
    /// A handler of a consumer is done with a delivery.
    Handled(HostId, u64, Life),
    /// A broker that nobody asks anything does something, so that it can be looked at.
    Wake(HostId),
    /// A look at everything.
    Check,
    /// A request of the administrator is sent again.
    Ask(Box<AdminCommand>),
}

/// See the module. One per run, reached through [`Scene::current`] by what runs on the hosts.
pub(crate) struct Scene {
    pub world: Arc<World>,
    pub tape: Rc<Tape>,
    pub cast: Cast,
    /// Who joins how long after the cluster was ready, ns.
    pub arrivals: Vec<(u64, HostId)>,
    pub cpu: CpuSpec,
    pub log: SharedLog,
    pub disks: BTreeMap<HostId, HostDisk>,
    /// The run ends once so many events were recorded.
    pub events_max: u64,
    seen: RefCell<Seen>,
}

/// The part that changes.
#[derive(Default)]
pub(crate) struct Seen {
    pub history: Vec<Record>,
    pub violations: Vec<Violation>,
    pub faults: BTreeMap<String, u64>,
    /// When a broker was last seen to keep the connection of a consumer that is gone.
    pub ghosts_ns: Option<u64>,
    /// The first offset of each queue of a broker when it was last looked at.
    pub firsts: BTreeMap<HostId, BTreeMap<(String, u32), u64>>,
    /// Actions that an event at a node set off, by its kind.
    pub fired: BTreeMap<String, u64>,
    pub picture: Picture,
    pub triggers: Triggers,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    /// madsim's node of each host that was ever started.
    pub nodes: BTreeMap<HostId, NodeId>,
    pub brokers: BTreeMap<HostId, Handle<BrokerCommand>>,
    pub name_servers: BTreeMap<HostId, Handle<NameServerCommand>>,
    pub admin: Option<Handle<AdminCommand>>,
    /// Requests of the administrator, and whether they are repeated until they succeed.
    pub asked: BTreeMap<u64, (AdminCommand, bool)>,
    pub next_ticket: u64,
    /// What an operator asked and wrote.
    pub questions: Questions,
    /// What is asked of the cluster at rest.
    pub shown: Shown,
    /// Brokers that take requests.
    pub ready: BTreeSet<HostId>,
    /// Disk faults that have begun and not taken effect, by action: the disk, and what it had refused before.
    pub disk_errors: BTreeMap<usize, (HostId, u64)>,
    /// What was damaged on disks, and may be.
    pub atlas: Atlas,
    /// What brokers know of topics, and what they died with.
    pub topics: KnownTopics,
    /// What an operator was told of topics.
    pub told: ToldTopics,
    /// The files of each broker that were judged last.
    pub judged: BTreeMap<HostId, Judged>,
    /// Brokers that could not open their stores on a disk that fails.
    pub refused: BTreeSet<HostId>,
    /// When the disk of a broker began to read again, ns.
    pub cured_ns: BTreeMap<HostId, u64>,
    /// Actions that have begun and not ended.
    pub open: BTreeSet<usize>,
    /// Hosts that are down and will come back, with how often that was said.
    pub returns: BTreeMap<HostId, u32>,
    /// Hosts that are stopping to be started again, and after how long.
    pub restarts: BTreeMap<HostId, u64>,
    /// Members that were asked to leave and still stop.
    pub leaving: BTreeSet<HostId>,
    /// Those of them that join again once they have stopped.
    pub joining: BTreeSet<HostId>,
    /// What name servers answered: the brokers and read queues of a topic.
    pub routes: BTreeMap<(HostId, String), Route>,
    /// Since when a name server lists a broker for a topic, ns.
    pub routed_ns: BTreeMap<(String, String), u64>,
    pub producers: BTreeMap<HostId, ProducerAgent>,
    pub consumers: BTreeMap<HostId, ConsumerAgent>,
    pub looks: Looks,
    /// What nodes held when the cluster had settled.
    pub ends: BTreeMap<HostId, EndState>,
    /// The node whose inside is wanted at the end.
    pub inside: Watched,
    /// When the cluster was ready, ns.
    pub ready_ns: Option<u64>,
    /// When the actions that are no sends happened, by id, in milliseconds since then.
    pub acted: BTreeMap<u64, f64>,
    pub suspects: Suspects,
    /// Looks in a row that found nothing amiss.
    pub calm: u32,
    pub unsettled: Option<Unsettled>,
    /// When everything was looked at last, ns.
    pub looked_ns: u64,
    /// The way back from the last fault, and how long it took.
    pub recovered: Recovered,
    pub recovery_ms: Option<u64>,
    /// Since when name servers say what is not so.
    pub stale: Stale,
    /// Since when name servers know that producers may not use a broker.
    pub drained: Drained,
    pub acked: u64,
    pub delivered: u64,
    /// When the last fault took effect or ended, ns.
    pub last_fault_ns: Option<u64>,
    /// When brokers or queues came last: members hear of it with their next look at the routes, ns.
    pub rerouted_ns: Option<u64>,
    /// The same for each node that a fault named.
    pub touched_ns: BTreeMap<String, u64>,
    /// Queues that had an owner, by group and topic; since when they have none.
    pub owned: BTreeMap<(String, String, (String, u32)), Option<u64>>,
}

impl Seen {
    /// Adds a line to the history unless it is over; its number (the header is line 1).
    fn write(&mut self, record: Record) -> u64 {
        let over = self.history.last().is_some_and(|last| matches!(last.op, Op::End { .. }));
        if !over {
            self.history.push(record);
        }
        self.history.len() as u64 + 1
    }
    /// Asks the process of a host to stop in order. Whether there is one.
    pub fn stop(&mut self, host: HostId) -> bool {
        let sent = [
            self.brokers.get(&host).map(Handle::try_stop),
            self.name_servers.get(&host).map(Handle::try_stop),
            self.producers.get(&host).and_then(|agent| agent.handle().map(Handle::try_stop)),
            self.consumers.get(&host).and_then(|agent| agent.handle().map(Handle::try_stop)),
        ];
        assert!(sent.iter().flatten().count() <= 1, "a host has one process");
        sent.iter().any(Option::is_some)
    }
    fn gone(&mut self, host: HostId) {
        self.brokers.remove(&host);
        self.name_servers.remove(&host);
        self.ready.remove(&host);
        self.looks.forget(host);
        self.inside.gone(host);
        self.drained.gone(host);
        self.producers.entry(host).and_modify(ProducerAgent::died);
        self.consumers.entry(host).and_modify(ConsumerAgent::died);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Scene>>> = const { RefCell::new(None) };
}

impl Scene {
    pub fn new(world: &Arc<World>, tape: Rc<Tape>, cast: Cast, cpu: CpuSpec, log: SharedLog) -> Scene {
        // A message has four lines or so.
        let history = Vec::with_capacity(5 * tape.actions.len());
        let seen = Seen { triggers: Triggers::new(&tape.actions), history, ..Seen::default() };
        let arrival = |action: &Action| match (&action.what, &action.when) {
            (What::Join { client: node } | What::BrokerJoin { node }, Trigger::At { at }) => {
                Some((at * 1_000_000, cast.host(node)))
            }
            _ => None,
        };
        let arrivals = tape.actions.iter().filter_map(arrival).collect();
        Scene {
            world: Arc::clone(world),
            tape,
            cast,
            arrivals,
            cpu,
            log,
            disks: BTreeMap::new(),
            events_max: u64::MAX,
            seen: RefCell::new(seen),
        }
    }
    /// Makes this the scene of the run on this thread.
    pub fn enter(self) -> Rc<Scene> {
        let scene = Rc::new(self);
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&scene)));
        scene
    }
    /// The scene of the run on this thread.
    pub fn current() -> Rc<Scene> {
        CURRENT.with(|current| current.borrow().clone()).expect("a host runs within a scene")
    }
    /// Ends the run on this thread; the scene as it was left.
    pub fn leave() -> Option<Rc<Scene>> {
        CURRENT.with(|current| current.borrow_mut().take())
    }
    /// Looks at or changes what was seen. Nothing inside may call back.
    pub fn seen<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.borrow_mut())
    }
    /// The process of a host is no more.
    pub fn gone(&self, host: HostId) {
        let (now, lane) = (self.now(), self.cast.lane(host));
        self.seen(|seen| {
            seen.gone(host);
            seen.picture.gone(now, lane);
        });
    }
    /// Virtual time, ns.
    pub fn now(&self) -> u64 {
        self.world.now_ns()
    }
    /// Whether the run was asked to end here.
    pub fn is_cut(&self) -> bool {
        self.log.events() >= self.events_max
    }
    /// Virtual time as the history writes it, ms.
    pub fn now_ms(&self) -> f64 {
        (self.now() / 1000) as f64 / 1000.0
    }
    /// Whether clients of this run send to a topic or read from it, or may have it sent again.
    pub fn is_used(&self, topic: &str) -> bool {
        self.tape.header.config.topics.contains_key(topic) || topic.starts_with(RETRY_PREFIX)
    }
    /// Whether an action goes on that may keep others from being well.
    pub fn is_disturbed(&self) -> bool {
        let disturbs = |index: &usize| !self.tape.actions[*index].what.is_tolerated();
        self.seen(|seen| seen.open.iter().any(disturbs))
    }
    /// Asks to be reminded of a job.
    pub fn remind(&self, at_ns: u64, job: Job) {
        let number = self.seen(|seen| {
            seen.next_job += 1;
            seen.jobs.insert(seen.next_job, job);
            seen.next_job
        });
        self.world.remind(at_ns, number);
    }
    /// The job of a reminder.
    pub fn job(&self, number: u64) -> Job {
        self.seen(|seen| seen.jobs.remove(&number)).expect("a reminder comes once")
    }
    /// Adds a line to the history; its line number (the header is line 1).
    pub fn history(&self, host: HostId, op: Op) -> u64 {
        let client = if self.cast.is_client(host) { self.cast.name(host).to_owned() } else { String::new() };
        let record = Record { t: self.now_ms(), client, op };
        self.log.record(self.now(), host, Kind::History, &record.op);
        self.seen(|seen| seen.write(record))
    }
    /// A fault took effect.
    pub fn fault(&self, kind: &str, host: HostId, target: &str, durable: Durable) {
        self.log.record(self.now(), host, Kind::Fault, &(kind, target));
        self.seen(|seen| *seen.faults.entry(kind.to_owned()).or_default() += 1);
        self.note_fault(kind, host, target, durable);
    }
    /// A partition took effect that never ends, and that the cluster tolerates.
    pub fn lasts(&self, kind: &str, host: HostId, target: &str) {
        self.log.record(self.now(), host, Kind::Fault, &(kind, target));
        self.seen(|seen| *seen.faults.entry(kind.to_owned()).or_default() += 1);
        let (kind, target) = (kind.to_owned(), target.to_owned());
        let (of, durable, damage) = (None, None, None);
        self.write_fault(host, Op::Fault { kind, target, of, durable, lied: false, damage, lasts: true });
    }
    /// A process or machine died; `lied` when a power cut took what a sync had named durable.
    pub fn cut(&self, kind: &str, host: HostId, durable: Durable, lied: bool) {
        self.log.record(self.now(), host, Kind::Fault, &(kind, self.cast.name(host), lied));
        self.seen(|seen| *seen.faults.entry(kind.to_owned()).or_default() += 1);
        let (kind, target) = (kind.to_owned(), self.cast.name(host).to_owned());
        self.write_fault(host, Op::Fault { kind, target, of: None, durable, lied, damage: None, lasts: false });
    }
    /// A file of a broker was damaged, and with it messages: by topic and queue, their offsets.
    pub fn damaged(&self, kind: &str, host: HostId, target: &str, path: &str, damage: Damaged) {
        self.log.record(self.now(), host, Kind::Fault, &(kind, target, path));
        self.seen(|seen| *seen.faults.entry(kind.to_owned()).or_default() += 1);
        let (kind, target) = (kind.to_owned(), target.to_owned());
        self.write_fault(host, Op::Fault { kind, target, of: None, durable: None, lied: false, damage, lasts: false });
    }
    /// A fault of a kind is over.
    pub fn heal(&self, of: &str, host: HostId, target: &str) {
        let (kind, target, of) = ("heal".to_owned(), target.to_owned(), Some(of.to_owned()));
        self.write_fault(host, Op::Fault { kind, target, of, durable: None, lied: false, damage: None, lasts: false });
    }
    /// A host that was down starts again.
    pub fn started(&self, host: HostId) {
        self.note_fault("start", host, self.cast.name(host), None);
    }
    /// An operator does something that licences know as a fault, and that is none.
    pub fn operated(&self, kind: &str, host: HostId, target: &str) {
        self.note_fault(kind, host, target, None);
    }
    /// A broker removed old messages for want of room: what it has kept.
    pub fn removal(&self, host: HostId, target: &str, kept: BTreeMap<String, BTreeMap<String, u64>>) {
        self.note_fault("retention", host, target, Some(kept));
    }
    fn note_fault(&self, kind: &str, host: HostId, target: &str, durable: Durable) {
        let (kind, target) = (kind.to_owned(), target.to_owned());
        self.write_fault(host, Op::Fault { kind, target, of: None, durable, lied: false, damage: None, lasts: false });
    }
    fn write_fault(&self, host: HostId, op: Op) {
        let Op::Fault { kind, target, .. } = &op else { return };
        let (kind, target) = (kind.clone(), target.clone());
        let record = Record { t: self.now_ms(), client: String::new(), op };
        self.log.record(self.now(), host, Kind::History, &record.op);
        let (now, lane) = (self.now(), self.cast.lane(host));
        self.seen(|seen| {
            seen.write(record);
            seen.last_fault_ns = Some(now);
            for name in target.split([' ', '|', ',']).filter(|name| !name.is_empty()) {
                seen.touched_ns.insert(name.to_owned(), now);
            }
            seen.picture.fault(now, lane, &kind, &target);
        });
    }
    /// An action of the tape happens; when it is no send, its time is kept.
    pub fn acted(&self, action: &Action) {
        if !matches!(action.what, What::Send { .. }) {
            let now = self.now();
            self.seen(|seen| {
                let us = now.saturating_sub(seen.ready_ns.unwrap_or(now)) / 1000;
                seen.acted.insert(action.id, us as f64 / 1000.0);
            });
        }
    }
    /// An event that actions may wait for.
    pub fn moment(&self, host: HostId, event: Moment, code: Option<i32>) {
        let now = self.now();
        let fired = self.seen(|seen| {
            let fired = seen.triggers.note(now, self.cast.name(host), event, code);
            if !fired.is_empty() {
                *seen.fired.entry(event.name().to_owned()).or_default() += fired.len() as u64;
            }
            fired
        });
        fired.into_iter().for_each(|action| self.remind(now, Job::Act(action)));
    }
    /// A rule that is about no topic in particular is broken now. Without a proof the text is one.
    pub fn broken(&self, oracle: Oracle, clause: &str, role: &str, text: String, mut proof: Vec<String>) {
        if proof.is_empty() {
            proof.push(text.clone());
        }
        self.object(Violation {
            oracle,
            clause: clause.to_owned(),
            role: role.to_owned(),
            topic_kind: "-".to_owned(),
            text,
            at_ms: self.now_ms(),
            lines: Vec::new(),
            proof,
        });
    }
    /// An oracle objects.
    pub fn object(&self, violation: Violation) {
        self.seen(|seen| {
            let known =
                seen.violations.iter().any(|v| v.signature() == violation.signature() && v.text == violation.text);
            if !known && seen.violations.len() < 100 {
                seen.violations.push(violation);
            }
        });
    }
}

/// See [`Op::Fault`].
pub(crate) type Damaged = Option<BTreeMap<String, BTreeMap<String, Vec<u64>>>>;
/// See [`Op::Fault`].
pub(crate) type Durable = Option<BTreeMap<String, BTreeMap<String, u64>>>;

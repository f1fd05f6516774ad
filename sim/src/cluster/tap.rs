//! What the cluster sees of each node through its driver: the canonical log, events that actions wait for, the picture, and
//! a look inside when somebody asked for one.
//!
//! Invariant: a tap changes nothing; with no trigger and no picture asked for it costs the hash and nothing else.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

use seedmq::driver::Tap;
use seedmq_core::broker::topics::Topics;
use seedmq_core::node::{ConnId, Holding, Input, Node, Now, Output};
use seedmq_core::wire::Frame;
use seedmq_reports::Oracle;

use super::cast::Role;
use super::curves::{self, Readers};
use super::look::Inside;
use super::oracles::full::FullWatch;
use super::oracles::stale::Lines;
use super::oracles::topics::TopicWatch;
use super::scene::Scene;
use crate::tap::Kind;
use crate::tape::Moment;
use crate::world::{HostId, Life};

/// See the module.
pub(crate) struct RoleTap {
    scene: Rc<Scene>,
    host: HostId,
    life: Life,
    /// Its requests may change what producers are told of brokers.
    is_name_server: bool,
    /// From which percentage on its disk is too full, when it is a broker.
    refuse_percent: Option<u64>,
    topics: TopicWatch,
    full: FullWatch,
    /// To name servers.
    lines: Lines,
    /// Whether frames are looked at one by one.
    frames: bool,
    /// Who reads the log of a broker; asked for only with a picture.
    readers: Option<Readers>,
    /// The host at the other end of each connection.
    peers: BTreeMap<ConnId, HostId>,
    /// Codes of requests that were not answered.
    asked: BTreeMap<(ConnId, i32), i32>,
    /// The present second, and the frames that came in it.
    came: (u64, u32),
    /// The second in which it was last looked at what the node holds.
    counted: u64,
}

/// So many frames in one virtual second are a storm: no scenario sends a tenth of it.
const STORM: u32 = 3_000;

impl RoleTap {
    pub fn new(scene: &Rc<Scene>, host: HostId) -> RoleTap {
        let life = scene.world.life(host);
        let drawn = scene.seen(|seen| seen.picture.on);
        let frames = drawn || scene.seen(|seen| seen.triggers.frames);
        RoleTap {
            scene: Rc::clone(scene),
            host,
            life,
            is_name_server: matches!(scene.cast.role(host), Role::NameServer),
            refuse_percent: super::boot::refuse_percent(scene, host),
            topics: TopicWatch::default(),
            full: FullWatch::default(),
            lines: Lines::default(),
            frames,
            readers: drawn.then(|| curves::readers(&scene.tape.header.config)),
            peers: BTreeMap::new(),
            asked: BTreeMap::new(),
            came: (0, 0),
            counted: 0,
        }
    }
    fn alive(&self) -> bool {
        self.scene.world.life(self.host) == self.life
    }
    fn record(&self, kind: Kind, what: &(impl Hash + Debug)) {
        self.scene.log.record(self.scene.now(), self.host, kind, what);
    }
    /// The oracle `bounds`: once a second, nobody holds more of anything than it may.
    fn weigh(&mut self, now: u64, node: &impl Node) {
        let second = now / 1_000_000_000;
        if std::mem::replace(&mut self.counted, second) == second {
            return;
        }
        for Holding { what, held, most } in node.holdings().into_iter().filter(|h| h.held > h.most) {
            let name = self.scene.cast.name(self.host);
            let role = self.scene.cast.role(self.host).name();
            let text = format!("{name} holds too much: {what}, of which it may hold {most}");
            let proof = vec![format!("{held} {what} at {} ms", self.scene.now() / 1_000_000)];
            self.scene.broken(Oracle::Bounds, &what.replace(' ', "-"), role, text, proof);
        }
    }
    /// What a broker is handed, as far as it tells when its topics may change, its disk is full and name servers forget it.
    fn watch<C>(&mut self, input: &Input<C>, limit: u64) {
        let now = self.scene.now();
        match input {
            Input::Frame { frame, .. } if !frame.is_response() => self.topics.handed(frame),
            Input::Wake => {
                let used = self.scene.disks[&self.host].used_percent();
                self.full.woken(now, used.unwrap_or(0), limit);
            }
            Input::Disk(done) => self.full.done(now, done, "commitlog/"),
            Input::Opened { conn, dial: Some(_), peer, .. } => {
                if let Some(host) = self.scene.cast.by_ip(peer.ip()) {
                    self.lines.opened(*conn, host);
                }
            }
            Input::Closed { conn } => {
                if let Some(server) = self.lines.closed(*conn) {
                    let name = self.scene.cast.name(self.host);
                    self.scene.seen(|seen| seen.stale.lost(now, server, name));
                }
            }
            _ => {}
        }
    }
    /// What a broker did in a batch.
    fn judge(&mut self, inside: Option<(&Topics, u64)>) {
        if let Some((topics, _)) = inside.filter(|(topics, _)| self.topics.moved(topics)) {
            self.scene.seen(|seen| seen.topics.note(self.host, topics.configs().into_keys().collect()));
        }
        let forgotten = inside.filter(|_| self.topics.is_new());
        let forgotten =
            forgotten.and_then(|(topics, _)| self.scene.seen(|seen| seen.told.forgotten(self.host, topics)));
        let found = [
            (Oracle::Route, forgotten.map(|text| ("told-and-forgotten", text))),
            (Oracle::Bounds, self.full.settled(self.scene.now(), inside.map(|(_, appended)| appended))),
            (Oracle::Route, inside.and_then(|(topics, _)| self.topics.settled(topics))),
        ];
        for (oracle, (clause, text)) in found.into_iter().filter_map(|(oracle, found)| Some((oracle, found?))) {
            let name = self.scene.cast.name(self.host);
            let text = match oracle {
                Oracle::Bounds => format!("{name} took messages although {text}"),
                _ if clause == "told-and-forgotten" => format!("{name} serves again: {text}"),
                _ => format!("the topics of {name} changed without a reason: {text}"),
            };
            self.scene.broken(oracle, clause, "broker", text, Vec::new());
        }
    }
    /// The oracle `bounds`: nobody asks again and again without a pause.
    fn count(&mut self) {
        let second = self.scene.now() / 1_000_000_000;
        self.came = if self.came.0 == second { (second, self.came.1 + 1) } else { (second, 1) };
        if self.came.1 == STORM {
            let name = self.scene.cast.name(self.host);
            let role = self.scene.cast.role(self.host).name();
            let text = format!("{name} was handed {STORM} frames within one second, which nobody's work explains");
            self.scene.broken(Oracle::Bounds, "storm", role, text, vec![format!("{STORM} frames in second {second}")]);
        }
    }
    fn frame_in(&mut self, conn: ConnId, frame: &Frame) {
        if let Some(peer) = self.peers.get(&conn) {
            let (now, flight) = (self.scene.now(), (peer.0, self.host.0, frame.opaque, frame.is_response()));
            self.scene.seen(|seen| seen.picture.arrived(now, flight));
        }
        if !frame.is_response() {
            if !frame.is_oneway() {
                self.asked.insert((conn, frame.opaque), frame.code);
            }
            self.scene.moment(self.host, Moment::RequestReceived, Some(frame.code));
        }
    }
    fn frame_out(&mut self, conn: ConnId, frame: &Frame) {
        let asked = if frame.is_response() { self.asked.remove(&(conn, frame.opaque)) } else { None };
        if let Some(peer) = self.peers.get(&conn) {
            let (now, flight) = (self.scene.now(), (self.host.0, peer.0, frame.opaque, frame.is_response()));
            let text = || match asked {
                Some(code) => format!("{} of {code} #{}", frame.code, frame.opaque),
                None => format!("{} #{}", frame.code, frame.opaque),
            };
            self.scene.seen(|seen| seen.picture.sent(now, flight, text));
        }
        if let Some(code) = asked {
            self.scene.moment(self.host, Moment::ResponseSent, Some(code));
        }
    }
}

impl<N: Node + Inside> Tap<N> for RoleTap
where
    N::Command: Hash + Debug,
    N::Event: Hash + Debug,
{
    fn input(&mut self, now: &Now, input: &Input<N::Command>) {
        super::panics::stepping(Some(self.host));
        if matches!(input, Input::Settle) || !self.alive() {
            return;
        }
        self.record(Kind::Input, &(now, input));
        if let Input::Frame { frame, .. } = input {
            self.count();
            if self.is_name_server {
                super::oracles::drained::handed(&self.scene, self.host, frame);
            }
        }
        if let Some(limit) = self.refuse_percent {
            self.watch(input, limit);
        }
        if !self.frames {
            return;
        }
        match input {
            Input::Opened { conn, peer, .. } => {
                if let Some(host) = self.scene.cast.by_ip(peer.ip()) {
                    self.peers.insert(*conn, host);
                }
            }
            Input::Closed { conn } => {
                self.peers.remove(conn);
                self.asked.retain(|(on, _), _| on != conn);
            }
            Input::Frame { conn, frame } => self.frame_in(*conn, frame),
            _ => {}
        }
    }
    fn output(&mut self, output: &Output<N::Event>) {
        if !self.alive() {
            return;
        }
        self.record(Kind::Output, output);
        if let Output::Send { conn, frame } = output
            && let Some(server) = self.lines.asks(*conn, frame)
        {
            let (now, name) = (self.scene.now(), self.scene.cast.name(self.host));
            self.scene.seen(|seen| seen.stale.asked(now, server, name));
        }
        if let (true, Output::Send { conn, frame }) = (self.frames, output) {
            self.frame_out(*conn, frame);
        }
    }
    fn settled(&mut self, node: &N) {
        super::panics::checking(|| node.invariants());
        let (alive, now) = (self.alive(), self.scene.now());
        if alive {
            self.weigh(now, node);
        }
        if alive && self.refuse_percent.is_some() {
            self.judge(node.topics_and_log());
        }
        super::panics::stepping(None);
        if !alive {
            return;
        }
        if self.scene.seen(|seen| seen.looks.moved(self.host)) {
            let inside = node.look(&|topic| self.scene.is_used(topic));
            self.scene.seen(|seen| seen.looks.put(self.host, now, inside));
        }
        if let Some(readers) = &self.readers {
            let (lane, marks) = (self.scene.cast.lane(self.host), node.marks(readers));
            self.scene.seen(|seen| seen.picture.marks(now, lane, marks));
        }
        if self.scene.seen(|seen| seen.inside.wanted(self.host, now)) {
            let lines = node.lines(now);
            self.scene.seen(|seen| seen.inside.put(now, self.scene.log.events(), lines));
        }
    }
}

//! The faults of a history, as licences see them.
//!
//! Invariant: a fault lasts from its line to the `heal` (or `start`, for what was down) line of the same target, and no longer;
//! without such a line it lasts to the end. A partition that nodes live with (`lasts`) is a moment: with its aftermath, in which its clients
//! find another name server, it is over. `crash` of a client ends by itself when the client is seen again.

use std::collections::BTreeMap;

use crate::history::Queue;

/// Faults that let what is on its way come late.
const SLOW: [&str; 4] = ["pause", "slow-cpu", "slow-link", "thin-link"];
/// How long a request of an administrator may be under way.
const ADMIN_MS: f64 = 3_000.0;

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its line.
    pub line: u64,
    /// Kind.
    pub kind: String,
    /// Nodes concerned.
    pub targets: Vec<String>,
    /// When it began.
    pub from: f64,
    /// When it healed, if it did.
    pub until: Option<f64>,
    /// See [`crate::history::Op::Fault`]; of a `retention`, the first position that each queue still has.
    pub durable: Option<BTreeMap<String, BTreeMap<String, u64>>>,
    /// See [`crate::history::Op::Fault`].
    pub lied: bool,
    /// See [`crate::history::Op::Fault`].
    pub damage: Option<BTreeMap<String, BTreeMap<String, Vec<u64>>>>,
    /// See [`crate::history::Op::Fault`].
    pub lasts: bool,
    text: String,
}

impl Fault {
    /// Whether it is a power cut.
    pub fn is_power(&self) -> bool {
        matches!(self.kind.as_str(), "power" | "power-loss") || self.is_new_disk()
    }

    /// Whether everything on the disk is gone with it.
    pub fn is_new_disk(&self) -> bool {
        self.kind == "disk-replaced"
    }

    /// Whether a process or machine was down by it.
    pub fn is_down(&self) -> bool {
        self.is_power() || matches!(self.kind.as_str(), "kill" | "crash" | "stop" | "restart")
    }

    /// Whether it touches a node; a fault without a target touches everything.
    pub fn touches(&self, node: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|t| t == node)
    }

    /// Whether it touches the broker of a queue; a queue of an unknown broker is touched by everything. What keeps a broker from a name
    /// server that nobody asks for it keeps nothing of its queues from anybody.
    pub fn touches_queue(&self, queue: &Queue) -> bool {
        !self.lasts && queue.broker.as_ref().is_none_or(|broker| self.touches(broker))
    }

    /// Whether what it does to its nodes may still show at a time: one that they live with shows when it begins.
    pub fn shows(&self, t: f64) -> bool {
        !self.lasts || t <= self.from + super::AFTERMATH_MS
    }

    /// Whether it is known to have left the message at a position in place.
    pub fn kept(&self, topic: &str, queue: &Queue, offset: u64) -> bool {
        let marks = self.durable.as_ref().filter(|_| !self.is_new_disk()).and_then(|durable| durable.get(topic));
        marks.and_then(|marks| marks.get(&queue.id.to_string())).is_some_and(|mark| offset < *mark)
    }

    /// Whether it was on at some time in the range, aftermath included.
    pub fn during(&self, from: f64, to: f64, aftermath: f64) -> bool {
        self.from <= to && self.until.is_none_or(|until| until + aftermath >= from)
    }
}

/// What a fault line says beyond its kind and its nodes; see [`crate::history::Op::Fault`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// What it left on the disk.
    pub durable: Option<&'a BTreeMap<String, BTreeMap<String, u64>>>,
    /// Whether a sync had lied.
    pub lied: bool,
    /// What it damaged.
    pub damage: Option<&'a BTreeMap<String, BTreeMap<String, Vec<u64>>>>,
    /// Whether nodes live with it for good.
    pub lasts: bool,
}

/// All faults so far, in time order.
#[derive(Debug, Default)]
pub struct Faults {
    all: Vec<Fault>,
    /// Those that last, by what their lines say of the target.
    open: BTreeMap<String, Vec<usize>>,
    /// Those that let what is on its way come late, or did so a moment ago.
    slow: Vec<usize>,
}

impl Faults {
    /// Takes a fault line.
    pub fn note(&mut self, line: u64, t: f64, kind: &str, target: &str, of: Option<&str>, known: Known<'_>) {
        // A handler that never returns excuses nothing.
        if kind == "stuck-handler" {
            return;
        }
        if matches!(kind, "heal" | "start") {
            return self.heal(kind == "heal", of, target, t);
        }
        let targets =
            target.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))).filter(|t| !t.is_empty());
        let moment = matches!(
            kind,
            "lost-response" | "clock-step" | "retention" | "bit-rot" | "misdirected-write" | "topic-deleted"
        ) || known.lasts;
        let i = self.all.len();
        if !moment {
            self.open.entry(target.into()).or_default().push(i);
        }
        if SLOW.contains(&kind) {
            self.slow.push(i);
        }
        self.all.push(Fault {
            line,
            kind: kind.into(),
            targets: targets.map(String::from).collect(),
            from: t,
            until: moment.then_some(t),
            durable: known.durable.cloned(),
            lied: known.lied,
            damage: known.damage.cloned(),
            lasts: known.lasts,
            text: target.into(),
        });
    }

    /// `start` ends everything of its target; `heal` ends the kind that it names, and without a name leaves a process down when something
    /// else of that target was to heal.
    fn heal(&mut self, heal: bool, of: Option<&str>, target: &str, t: f64) {
        let open = |text: &str| self.open.get(text).into_iter().flatten().copied();
        let named = |i: &usize| of.is_none_or(|kind| self.all[*i].kind == kind);
        let mut over: Vec<usize> = match target {
            "" => self.open.values().flatten().copied().filter(named).collect(),
            target => open(target).filter(named).collect(),
        };
        if heal && over.iter().any(|i| !self.all[*i].is_down()) {
            over.retain(|i| !self.all[*i].is_down());
        }
        self.end(&over, t);
    }

    /// A client shows signs of life: its crash is over.
    pub fn alive(&mut self, client: &str, t: f64) {
        let Some(open) = self.open.get(client) else { return };
        let over: Vec<usize> = open.iter().copied().filter(|i| self.all[*i].is_down()).collect();
        self.end(&over, t);
    }

    fn end(&mut self, over: &[usize], t: f64) {
        for i in over {
            self.all[*i].until = Some(t);
            let Some(open) = self.open.get_mut(&self.all[*i].text) else { continue };
            open.retain(|other| other != i);
            if open.is_empty() {
                self.open.remove(&self.all[*i].text);
            }
        }
    }

    /// Faults that were on at some time in the range, aftermath included.
    pub fn during(&self, from: f64, to: f64) -> impl Iterator<Item = &Fault> {
        self.all.iter().filter(move |f| f.during(from, to, super::AFTERMATH_MS))
    }

    /// Since when what was on its way to a client may have waited for it to read; the time never goes back from call to call.
    pub fn delayed_since(&mut self, client: &str, queue: Option<&Queue>, t: f64) -> f64 {
        let all = &self.all;
        self.slow.retain(|i| all[*i].during(t, t, super::IN_FLIGHT_MS));
        let concerns =
            |f: &&Fault| f.touches(client) || (f.kind != "pause" && queue.is_some_and(|queue| f.touches_queue(queue)));
        self.slow.iter().map(|i| &all[*i]).filter(concerns).map(|f| f.from).fold(t, f64::min)
    }

    /// Power cuts of a queue's broker in the range.
    pub fn cuts<'a, 'q>(
        &'a self,
        queue: &'q Queue,
        from: f64,
        to: f64,
    ) -> impl Iterator<Item = &'a Fault> + use<'a, 'q> {
        self.all.iter().filter(move |f| f.is_power() && f.from >= from && f.from <= to && f.touches_queue(queue))
    }

    /// Until when positions of a queue may be from before its broker's disk was replaced.
    pub fn begun_anew(&self, queue: &Queue) -> f64 {
        let cuts = self.all.iter().filter(|f| f.is_new_disk() && f.touches_queue(queue));
        cuts.map(|f| f.until.map_or(f64::INFINITY, |up| up + super::AFTERMATH_MS)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Removals of old messages at a queue's broker from a time on.
    pub fn removals<'a, 'q>(&'a self, queue: &'q Queue, from: f64) -> impl Iterator<Item = &'a Fault> + use<'a, 'q> {
        self.all.iter().filter(move |f| f.kind == "retention" && f.from >= from && f.touches_queue(queue))
    }

    /// Whether the message at a position was damaged on the disk after a time: what is stored there later is none that was hit.
    pub fn damaged(&self, topic: &str, queue: &Queue, offset: u64, after: f64) -> bool {
        self.all.iter().filter(|f| f.from >= after && f.touches_queue(queue)).any(|f| {
            let queues = f.damage.as_ref().and_then(|damage| damage.get(topic));
            queues.and_then(|queues| queues.get(&queue.id.to_string())).is_some_and(|hit| hit.contains(&offset))
        })
    }

    /// Whether a topic was deleted between two times: the queues of it may have begun anew.
    pub fn deleted(&self, topic: &str, from: f64, to: f64) -> bool {
        let is_it = |f: &&Fault| f.kind == "topic-deleted" && f.text == topic;
        // A server that stands still does it when it goes on, long after the administrator gave up.
        let late = |f: &Fault| SLOW.contains(&f.kind.as_str()) || f.kind == "partition";
        let done_by = |asked: f64| {
            let slow = self.all.iter().filter(|f| late(f) && f.during(asked, asked + ADMIN_MS, 0.0));
            let ends = slow.map(|f| f.until.unwrap_or(f64::INFINITY) + super::IN_FLIGHT_MS);
            ends.fold(asked + ADMIN_MS, f64::max)
        };
        self.all.iter().filter(is_it).any(|f| done_by(f.from) >= from && f.from <= to)
    }

    /// Whether the broker of a queue is down and never came back.
    pub fn down_for_good(&self, queue: &Queue) -> bool {
        queue.broker.is_some() && self.all.iter().any(|f| f.is_down() && f.until.is_none() && f.touches_queue(queue))
    }
}

//! Shrinks a tape that fails: removes faults, then nodes, then operations, then payload, until nothing more can go.
//!
//! Invariant: this module never runs a tape. A judge says whether a candidate still fails *in the same way*, and every tape
//! that is kept was judged so; the rest is pure, and the same judge gives the same result.

mod ddmin;
mod nodes;
mod payload;
#[cfg(test)]
mod tests;
mod times;

use std::collections::BTreeMap;

pub use ddmin::{Judge, minimise};

use crate::tape::{Action, Tape, Trigger};

/// What a phase takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Counts of triggers, in favour of a time from which the first event counts: taking operations away then moves no fault.
    Triggers,
    /// Fault actions.
    Faults,
    /// Nodes, with everything that names them.
    Nodes,
    /// Sends, members that come and go, topics.
    Operations,
    /// Sizes, counts, times, settings.
    Payload,
}

impl Phase {
    /// The name in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Triggers => "triggers",
            Phase::Faults => "faults",
            Phase::Nodes => "nodes",
            Phase::Operations => "operations",
            Phase::Payload => "payload",
        }
    }
}

/// Follows a shrink while it goes on.
pub trait Watch {
    /// A phase begins with this tape.
    fn begins(&mut self, phase: Phase, tape: &Tape);
    /// A smaller tape was kept.
    fn kept(&mut self, phase: Phase, tape: &Tape);
    /// The phase is over.
    fn ends(&mut self, phase: Phase, tape: &Tape);
    /// Whether to stop here, with what was found so far.
    fn enough(&self) -> bool;
}

/// Shrinks a tape that fails. `acted` says when its actions happened (see [`seedmq_reports::RunRecord::acted`]).
pub fn shrink(tape: &Tape, acted: &BTreeMap<u64, f64>, judge: &mut dyn Judge<Tape>, watch: &mut dyn Watch) -> Tape {
    let mut now = tape.clone();
    judge.begins(&now);
    phase(Phase::Triggers, &mut now, watch, |now, watch| anchor(now, acted, judge, watch));
    loop {
        let before = now.clone();
        judge.begins(&now);
        phase(Phase::Faults, &mut now, watch, |now, watch| actions(now, Phase::Faults, judge, watch));
        judge.begins(&now);
        phase(Phase::Nodes, &mut now, watch, |now, watch| hosts(now, judge, watch));
        judge.begins(&now);
        phase(Phase::Operations, &mut now, watch, |now, watch| actions(now, Phase::Operations, judge, watch));
        judge.begins(&now);
        phase(Phase::Payload, &mut now, watch, |now, watch| content(now, judge, watch));
        if now == before || watch.enough() {
            return now;
        }
    }
}

fn phase(name: Phase, now: &mut Tape, watch: &mut dyn Watch, work: impl FnOnce(&mut Tape, &mut dyn Watch)) {
    if watch.enough() {
        return;
    }
    watch.begins(name, now);
    work(now, watch);
    watch.ends(name, now);
}

/// Takes the first candidate that still fails, if one does.
fn take(
    now: &mut Tape,
    candidates: &[Tape],
    judge: &mut dyn Judge<Tape>,
    kept: &mut dyn FnMut(&Tape),
) -> Option<usize> {
    let n = judge.first(candidates.len(), &|n| candidates[n].clone())?;
    now.clone_from(&candidates[n]);
    kept(now);
    Some(n)
}

/// How many events after its time a trigger may need before the right one comes.
const NEAR: u64 = 4;

/// Lets each trigger count from the time at which it fired: all at once, or else those that can.
fn anchor(now: &mut Tape, acted: &BTreeMap<u64, f64>, judge: &mut dyn Judge<Tape>, watch: &mut dyn Watch) {
    let counted =
        |action: &Action| matches!(action.when, Trigger::On { n, .. } if n > 1) && acted.contains_key(&action.id);
    let all: Vec<usize> = (0..now.actions.len()).filter(|at| counted(&now.actions[*at])).collect();
    if all.is_empty() {
        return;
    }
    let anchored = |tape: &Tape, which: &[usize], nth: u64| {
        let mut tape = tape.clone();
        for at in which {
            let fired = acted[&tape.actions[*at].id];
            if let Trigger::On { n, from, .. } = &mut tape.actions[*at].when {
                (*n, *from) = (nth, (*from).max(fired as u64));
            }
        }
        tape
    };
    let mut kept = |tape: &Tape| watch.kept(Phase::Triggers, tape);
    let together: Vec<Tape> = (1..=2).map(|nth| anchored(now, &all, nth)).collect();
    if take(now, &together, judge, &mut kept).is_some() {
        return;
    }
    for at in all {
        let each: Vec<Tape> = (1..=NEAR).map(|nth| anchored(now, &[at], nth)).collect();
        take(now, &each, judge, &mut kept);
    }
}

/// Takes away actions: the faults, or all others.
fn actions(now: &mut Tape, which: Phase, judge: &mut dyn Judge<Tape>, watch: &mut dyn Watch) {
    let base = now.clone();
    let mine = |action: &Action| action.what.fault().is_some() == (which == Phase::Faults);
    let mut left: Vec<u64> = base.actions.iter().filter(|action| mine(action)).map(|action| action.id).collect();
    let build = |left: &[u64]| {
        let stays = |action: &&Action| !mine(action) || left.contains(&action.id);
        Tape { header: base.header.clone(), actions: base.actions.iter().filter(stays).cloned().collect() }
    };
    minimise(&mut left, judge, build, |left| watch.kept(which, &build(left)));
    *now = build(&left);
}

fn hosts(now: &mut Tape, judge: &mut dyn Judge<Tape>, watch: &mut dyn Watch) {
    let base = now.clone();
    let mut left: Vec<String> = base.header.config.nodes().map(String::from).collect();
    // Clients first: brokers and name servers are what the rest stands on.
    left.reverse();
    let build = |left: &[String]| nodes::only(&base, left);
    minimise(&mut left, judge, build, |left| watch.kept(Phase::Nodes, &build(left)));
    *now = build(&left);
}

/// Makes what is left simpler, one edit after the other, until a whole round changed nothing.
fn content(now: &mut Tape, judge: &mut dyn Judge<Tape>, watch: &mut dyn Watch) {
    loop {
        let before = now.clone();
        let mut at = 0;
        while !watch.enough() {
            let edits = [times::edits(now), payload::edits(now)].concat();
            let base = now.clone();
            let open = edits.get(at..).unwrap_or_default();
            let Some(n) = judge.first(open.len(), &|n| open[n].apply(&base)) else { break };
            *now = open[n].apply(&base);
            watch.kept(Phase::Payload, now);
            at += n;
        }
        if *now == before || watch.enough() {
            return;
        }
    }
}

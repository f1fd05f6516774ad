//! What the picture of a run shows, collected while it runs.
//!
//! Invariant: nothing is collected unless it was asked for, and at most [`EVENTS_MAX`] events are; curves are bounded on their own.

use std::collections::BTreeMap;

use seedmq_reports::{Event, Lane, Mark, Timeline, What};

use super::curves::Curves;

/// Most events of one picture.
const EVENTS_MAX: usize = 120_000;

/// A frame under way: from, to, opaque number, whether it is a response.
type Flight = (u16, u16, i32, bool);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub on: bool,
    timeline: Timeline,
    curves: Curves,
    flying: BTreeMap<Flight, usize>,
    /// Open faults: the event of each target.
    faults: BTreeMap<String, usize>,
}

impl Picture {
    pub fn lanes(&mut self, lanes: Vec<Lane>) {
        self.timeline.lanes = lanes;
    }
    fn add(&mut self, at_ns: u64, lane: u16, what: What, text: String) -> Option<usize> {
        if !self.on {
            return None;
        }
        if self.timeline.events.len() >= EVENTS_MAX {
            self.timeline.left_out += 1;
            return None;
        }
        self.timeline.events.push(Event { at_us: at_ns / 1000, lane, what, text });
        Some(self.timeline.events.len() - 1)
    }
    pub fn state(&mut self, at_ns: u64, lane: u16, text: impl FnOnce() -> String) {
        if self.on {
            self.add(at_ns, lane, What::State, text());
        }
    }
    pub fn client(&mut self, at_ns: u64, lane: u16, line: u64, text: impl FnOnce() -> String) {
        if self.on {
            self.add(at_ns, lane, What::Client { line }, text());
        }
    }
    /// How far a broker is.
    pub fn marks(&mut self, at_ns: u64, lane: u16, marks: Vec<(Mark, u64)>) {
        self.curves.put(lane, at_ns / 1000, marks);
    }
    /// The process of a node is no more.
    pub fn gone(&mut self, at_ns: u64, lane: u16) {
        self.curves.gone(lane, at_ns / 1000);
    }
    /// A fault begins, or ends when its kind is `heal` or `start`.
    pub fn fault(&mut self, at_ns: u64, lane: u16, kind: &str, target: &str) {
        if matches!(kind, "heal" | "start") {
            if let Some(at) = self.faults.remove(target) {
                self.timeline.events[at].what = What::Fault { until_us: Some(at_ns / 1000) };
            }
            return;
        }
        if let Some(at) = self.add(at_ns, lane, What::Fault { until_us: None }, format!("{kind} {target}")) {
            self.faults.insert(target.to_owned(), at);
        }
    }
    pub fn sent(&mut self, at_ns: u64, flight: Flight, text: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        let what = What::Message { to: flight.1, arrived_us: None };
        if let Some(at) = self.add(at_ns, flight.0, what, text()) {
            self.flying.insert(flight, at);
        }
    }
    pub fn arrived(&mut self, at_ns: u64, flight: Flight) {
        if let Some(at) = self.flying.remove(&flight)
            && let What::Message { arrived_us, .. } = &mut self.timeline.events[at].what
        {
            *arrived_us = Some(at_ns / 1000);
        }
    }
    pub fn take(&mut self) -> Timeline {
        Timeline { curves: self.curves.take(), ..std::mem::take(&mut self.timeline) }
    }
}

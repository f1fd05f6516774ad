//! The faults of a history, each with its end.
//!
//! Invariant: a fault ends with the `heal` or `start` line of the same target, as the checkers see it.

use super::past::Past;
use super::seconds;
use super::words::fault;
use crate::history::Op;

/// One fault that took effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spell {
    pub kind: String,
    pub target: String,
    /// Milliseconds.
    pub from: f64,
    /// None when it is a moment, or never ended.
    pub until: Option<f64>,
}

impl Spell {
    /// Whether it takes no time.
    pub fn is_moment(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "lost-response" | "clock-step" | "reset" | "half-close" | "bit-rot" | "misdirected-write" | "topic-deleted"
        )
    }
    /// Whether the process is not there.
    pub fn is_down(&self) -> bool {
        matches!(self.kind.as_str(), "kill" | "power-loss" | "disk-replaced" | "crash" | "restart")
    }
    /// Whether a node is part of it.
    pub fn touches(&self, node: &str) -> bool {
        self.target.split([' ', ',', '|']).any(|name| name == node)
    }
    pub fn text(&self) -> String {
        let what = fault(&self.kind, &self.target);
        match self.until {
            Some(until) => format!("{what}, until {}", seconds(until)),
            None if self.is_moment() => what,
            None => format!("{what}, for good"),
        }
    }
}

/// Every fault of the history; those without an end last for good.
pub(super) fn spells(past: &Past) -> Vec<Spell> {
    let mut all: Vec<Spell> = Vec::new();
    for (_, record) in past.records() {
        let Op::Fault { kind, target, of, .. } = &record.op else { continue };
        if matches!(kind.as_str(), "heal" | "start") {
            let down = kind == "start";
            let named = |s: &Spell| of.as_ref().map_or(s.is_down() == down, |kind| s.kind == *kind);
            let open = |s: &&mut Spell| s.until.is_none() && !s.is_moment() && s.target == *target && named(s);
            if let Some(spell) = all.iter_mut().find(open) {
                spell.until = Some(record.t);
            }
        } else {
            all.push(Spell { kind: kind.clone(), target: target.clone(), from: record.t, until: None });
        }
    }
    all
}

//! What the checkers found.
//!
//! Invariant: of one signature at most [`KEPT`] violations are kept, the others are counted.

use std::collections::BTreeMap;

use seedmq_reports::Violation;
use serde::Serialize;

/// Violations of one signature that are kept in full.
pub const KEPT: u64 = 20;

/// Collects violations.
#[derive(Debug, Default)]
pub struct Found {
    kept: Vec<Violation>,
    counts: BTreeMap<String, u64>,
}

/// What the checkers say about a history.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Judgement {
    /// Messages acknowledged.
    pub acked: u64,
    /// Deliveries, repeats included.
    pub delivered: u64,
    /// Whether the history says that everything had time to arrive; without it nothing counts as lost.
    pub drained: bool,
    /// What was broken, in the order of detection; at most [`KEPT`] of one signature.
    pub violations: Vec<Violation>,
    /// How often each signature was broken.
    pub counts: BTreeMap<String, u64>,
}

impl Found {
    pub(super) fn push(&mut self, mut violation: Violation) {
        violation.lines.sort_unstable();
        violation.lines.dedup();
        let count = self.counts.entry(violation.signature()).or_default();
        *count += 1;
        if *count <= KEPT {
            self.kept.push(violation);
        }
    }

    pub(super) fn finish(self, acked: u64, delivered: u64, drained: bool) -> Judgement {
        Judgement { acked, delivered, drained, violations: self.kept, counts: self.counts }
    }
}

impl Judgement {
    /// Puts the text of each proving line into the proofs.
    pub fn quote(&mut self, mut line: impl FnMut(u64) -> Option<String>) {
        for violation in &mut self.violations {
            violation.proof = violation.lines.iter().filter_map(|n| line(*n)).collect();
        }
    }

    /// The line numbers that the proofs need.
    pub fn lines(&self) -> std::collections::BTreeSet<u64> {
        self.violations.iter().flat_map(|v| v.lines.iter().copied()).collect()
    }
}

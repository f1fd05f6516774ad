//! What one run leaves behind, and the names that every output uses for oracles and verdicts.
//!
//! Invariant: a record is red exactly when it has violations; `oracle` and `signature` are those of the first one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timeline;

/// A rule that a run can break. One list of names for every output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oracle {
    /// An acknowledged message never arrived, or is no longer there (history).
    Lost,
    /// Something was delivered that was never sent (history).
    Phantom,
    /// A message was delivered again although nothing in between excuses it (history).
    Duplicate,
    /// Messages of one queue came out of order (history).
    QueueOrder,
    /// Messages of one key of an ordered topic came out of order (history).
    KeyOrder,
    /// Two members of an ordered group handled one queue at the same time (history).
    Overlap,
    /// A committed offset went back without a reset (history).
    OffsetRegression,
    /// A delayed message came before its time (history).
    Early,
    /// A delayed message came later than its bound (history).
    Late,
    /// A message was visible although its transaction rolled back, or the reverse (history).
    Transaction,
    /// A filter let the wrong messages pass (history).
    Filter,
    /// A broadcast did not reach every member (history).
    Broadcast,
    /// Two masters acknowledged in one epoch (history).
    TwoMasters,
    /// Consume queue or index are not the projection of the log (white-box).
    Projection,
    /// Queue offsets have a hole (white-box).
    Dense,
    /// Replicas differ on the confirmed prefix (white-box).
    Replicas,
    /// A second recovery gave another state than the first (white-box).
    RecoveryIdempotent,
    /// Epochs or the in-sync set moved against the protocol (white-box).
    Epoch,
    /// A route stayed wrong past its bound (white-box).
    Route,
    /// A queue has no owner, or more than one, past its bound (white-box).
    Owner,
    /// A held pull was not answered although a message was there (white-box).
    HeldPull,
    /// The cluster did not settle after the last fault (white-box).
    Convergence,
    /// A cache, queue or buffer outgrew its bound (white-box).
    Bounds,
    /// A node's own `invariants()` failed (white-box).
    Invariant,
    /// A node panicked (white-box).
    Panic,
}

impl Oracle {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Oracle; 25] = [
        Oracle::Lost,
        Oracle::Phantom,
        Oracle::Duplicate,
        Oracle::QueueOrder,
        Oracle::KeyOrder,
        Oracle::Overlap,
        Oracle::OffsetRegression,
        Oracle::Early,
        Oracle::Late,
        Oracle::Transaction,
        Oracle::Filter,
        Oracle::Broadcast,
        Oracle::TwoMasters,
        Oracle::Projection,
        Oracle::Dense,
        Oracle::Replicas,
        Oracle::RecoveryIdempotent,
        Oracle::Epoch,
        Oracle::Route,
        Oracle::Owner,
        Oracle::HeldPull,
        Oracle::Convergence,
        Oracle::Bounds,
        Oracle::Invariant,
        Oracle::Panic,
    ];

    /// The name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Oracle::Lost => "lost",
            Oracle::Phantom => "phantom",
            Oracle::Duplicate => "duplicate",
            Oracle::QueueOrder => "queue-order",
            Oracle::KeyOrder => "key-order",
            Oracle::Overlap => "overlap",
            Oracle::OffsetRegression => "offset-regression",
            Oracle::Early => "early",
            Oracle::Late => "late",
            Oracle::Transaction => "transaction",
            Oracle::Filter => "filter",
            Oracle::Broadcast => "broadcast",
            Oracle::TwoMasters => "two-masters",
            Oracle::Projection => "projection",
            Oracle::Dense => "dense",
            Oracle::Replicas => "replicas",
            Oracle::RecoveryIdempotent => "recovery-idempotent",
            Oracle::Epoch => "epoch",
            Oracle::Route => "route",
            Oracle::Owner => "owner",
            Oracle::HeldPull => "held-pull",
            Oracle::Convergence => "convergence",
            Oracle::Bounds => "bounds",
            Oracle::Invariant => "invariant",
            Oracle::Panic => "panic",
        }
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a run ended. In the order of gravity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No oracle objected.
    #[default]
    Green,
    /// The worker process did not end in time.
    Timeout,
    /// The worker process died without a record.
    Crashed,
    /// An oracle objected.
    Red,
    /// Two runs of one tape differed.
    Nondeterministic,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Green => "green",
            Verdict::Red => "red",
            Verdict::Nondeterministic => "nondeterministic",
            Verdict::Crashed => "crashed",
            Verdict::Timeout => "timeout",
        })
    }
}

/// One broken rule with what proves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule.
    pub oracle: Oracle,
    /// Which part of the rule, as a short fixed word list (`never-delivered`); no ids, times or counts.
    pub clause: String,
    /// The role at fault or affected (`broker`, `consumer`, `producer`, `name-server`).
    pub role: String,
    /// The kind of topic concerned (`normal`, `ordered`), or `-`.
    pub topic_kind: String,
    /// The broken rule in words, with ids and times.
    pub text: String,
    /// When it showed, in virtual milliseconds.
    pub at_ms: f64,
    /// Line numbers (from 1) in the history that prove it; empty when white-box state does.
    pub lines: Vec<u64>,
    /// The proof itself: those history lines, or white-box facts.
    pub proof: Vec<String>,
}

impl Violation {
    /// What stays the same when a tape is shrunk: oracle, clause, role and topic kind.
    pub fn signature(&self) -> String {
        format!("{}/{}/{}/{}", self.oracle, self.clause, self.role, self.topic_kind)
    }
}

/// What became of one plant in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantTrace {
    /// How often its place in the code was passed.
    pub reached: u64,
    /// How often it was switched on there.
    pub taken: u64,
}

/// What a node held when the run was over, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndState {
    /// The topics that a name server has, with brokers and queues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// How far the log, the queues and the groups of a broker are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watermarks: Vec<String>,
}

/// What one run leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Name of the scenario.
    pub scenario: String,
    /// The seed that the tape was generated from.
    pub seed: u64,
    /// Path of the tape when it was written to a file.
    pub tape: Option<String>,
    /// Hash of the canonical event log, 32 hexadecimal digits.
    pub hash: String,
    /// Hashed records.
    pub events: u64,
    /// Inputs of nodes among them.
    pub inputs: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Actions that waited for an event at a node and were set off by it, by the kind of event.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fired: BTreeMap<String, u64>,
    /// Virtual time from start to end.
    pub virtual_ms: u64,
    /// CPU time of the run.
    pub cpu_ms: u64,
    /// Messages acknowledged to producers.
    pub acked: u64,
    /// Messages handed to consumers, repeats included.
    pub delivered: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// The rule broken first; null when green.
    pub oracle: Option<Oracle>,
    /// Its signature; null when green.
    pub signature: Option<String>,
    /// Everything that was broken, first first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// Rare states that were reached, with counts (`sometimes!`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, u64>,
    /// Plants that the code passed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plants: BTreeMap<String, PlantTrace>,
    /// Virtual time from the end of the last fault to the moment at which everything first looked well again; none without a fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_ms: Option<u64>,
    /// Virtual time at which the cluster was ready; the times of a tape count from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<f64>,
    /// When the actions of the tape happened that are no sends, by id, in virtual milliseconds since the cluster was ready.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub acted: BTreeMap<u64, f64>,
    /// The inside of a node at the end, line by line; filled when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Routes and watermarks at the end, by node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<String, EndState>,
    /// Why there is no result (a worker that died), or the first difference (non-determinism).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The client history, one JSON line each, the header first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// What the picture shows; filled when asked for.
    #[serde(skip_serializing_if = "Timeline::is_empty")]
    pub timeline: Timeline,
}

impl RunRecord {
    /// Adds what an oracle found; the first one becomes the verdict.
    pub fn object(&mut self, violation: Violation) {
        if self.verdict == Verdict::Green {
            self.verdict = Verdict::Red;
        }
        if self.violations.is_empty() {
            self.oracle = Some(violation.oracle);
            self.signature = Some(violation.signature());
        }
        self.violations.push(violation);
    }

    /// The record without its bulk (history, picture): what the `--json` list holds.
    pub fn brief(&self) -> RunRecord {
        let (history, state, acted, ends, timeline) = Default::default();
        RunRecord { history, state, acted, ends, timeline, ..self.clone() }
    }

    /// `scenario:seed`, the handle that `replay` takes.
    pub fn handle(&self) -> String {
        format!("{}:{}", self.scenario, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(oracle: Oracle) -> Violation {
        Violation {
            oracle,
            clause: "c".into(),
            role: "broker".into(),
            topic_kind: "normal".into(),
            text: String::new(),
            at_ms: 0.0,
            lines: vec![],
            proof: vec![],
        }
    }

    #[test]
    fn names_are_those_of_serde_and_unique() {
        let names: std::collections::BTreeSet<_> = Oracle::ALL.iter().map(|o| o.name()).collect();
        assert_eq!(names.len(), Oracle::ALL.len());
        for oracle in Oracle::ALL {
            assert_eq!(serde_json::to_string(&oracle).unwrap(), format!("\"{oracle}\""));
        }
    }

    #[test]
    fn the_first_objection_is_the_verdict() {
        let mut record = RunRecord::default();
        record.object(violation(Oracle::Lost));
        record.object(violation(Oracle::Panic));
        assert_eq!(record.verdict, Verdict::Red);
        assert_eq!(record.oracle, Some(Oracle::Lost));
        assert_eq!(record.signature.as_deref(), Some("lost/c/broker/normal"));
        assert_eq!(record.violations.len(), 2);
    }
}

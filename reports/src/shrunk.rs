//! What a shrink came to: a table for the terminal, and the fields that `shrink --json` writes.
//!
//! Invariant: `signature_after` is what the shrunk tape gave when it was run for the last time, not what it was shrunk for.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::table::{align, grouped};

/// What one phase of a shrink did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShrinkPhase {
    /// `triggers`, `faults`, `nodes`, `operations` or `payload`.
    pub phase: String,
    /// Which time over all phases this was, from 1.
    pub round: u32,
    /// Candidates that were run.
    pub tried: u64,
    /// Candidates that were kept.
    pub kept: u64,
    /// Fault actions afterwards.
    pub faults: usize,
    /// Nodes afterwards.
    pub nodes: usize,
    /// Other actions afterwards.
    pub operations: usize,
    /// Bytes of the tape afterwards.
    pub bytes: usize,
    /// How long it took, seconds.
    pub wall_s: f64,
}

/// The result of a shrink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shrunk {
    /// Name of the scenario.
    pub scenario: String,
    /// The seed that the tape was generated from.
    pub seed: u64,
    /// Known bugs that are switched on.
    pub plants: Vec<String>,
    /// Path of the shrunk tape.
    pub tape: String,
    /// What the tape broke before.
    pub signature_before: String,
    /// What the shrunk tape breaks; null when it does not fail.
    pub signature_after: Option<String>,
    /// Fault actions before.
    pub faults_before: usize,
    /// Fault actions after.
    pub faults_after: usize,
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// Other actions before.
    pub operations_before: usize,
    /// Other actions after.
    pub operations_after: usize,
    /// Bytes of the tape before.
    pub bytes_before: usize,
    /// Bytes of the tape after.
    pub bytes_after: usize,
    /// Candidates that were run.
    pub runs: u64,
    /// CPU time of all runs.
    pub cpu_s: f64,
    /// Time from start to end.
    pub wall_s: f64,
    /// Under so many other draws of the processes the shrunk tape was run …
    pub other_draws: u32,
    /// … and under so many of them it failed in the same way.
    pub other_draws_same: u32,
    /// Whether nothing more could be taken away; otherwise time was over, or a person ended it.
    pub complete: bool,
    /// Phase by phase.
    pub phases: Vec<ShrinkPhase>,
}

/// The table of a shrink and what it came to.
pub fn shrunk_table(shrunk: &Shrunk) -> String {
    let header = ["round", "phase", "tried", "kept", "faults", "nodes", "operations", "bytes", "s"];
    let mut rows = vec![header.map(String::from).to_vec()];
    let counts = |faults: usize, nodes: usize, operations: usize, bytes: usize| {
        [faults, nodes, operations, bytes].map(|n| grouped(n as u64)).to_vec()
    };
    let dash = || "-".to_owned();
    let before = counts(shrunk.faults_before, shrunk.nodes_before, shrunk.operations_before, shrunk.bytes_before);
    rows.push([vec![dash(), "(as it was)".into(), dash(), dash()], before, vec![dash()]].concat());
    for p in &shrunk.phases {
        let head = vec![p.round.to_string(), p.phase.clone(), grouped(p.tried), grouped(p.kept)];
        let tail = vec![format!("{:.1}", p.wall_s)];
        rows.push([head, counts(p.faults, p.nodes, p.operations, p.bytes), tail].concat());
    }
    let mut text = align(&rows, &[1]);
    writeln!(text, "\n{}", sentence(shrunk)).expect("a string takes any text");
    text
}

fn sentence(shrunk: &Shrunk) -> String {
    let held = match &shrunk.signature_after {
        Some(after) if *after == shrunk.signature_before => format!("still {after}"),
        Some(after) => format!("NOT THE SAME: {after} instead of {}", shrunk.signature_before),
        None => format!("NOT THE SAME: it does not fail any more with {}", shrunk.signature_before),
    };
    let end = if shrunk.complete {
        "nothing more can be taken away"
    } else {
        "ended before nothing more could be taken away"
    };
    format!(
        "{held}; {end}\n{} runs, {:.1} CPU s, {:.1} s; it fails in the same way under {} of {} other draws of its processes",
        grouped(shrunk.runs),
        shrunk.cpu_s,
        shrunk.wall_s,
        shrunk.other_draws_same,
        shrunk.other_draws
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_each_phase_took_away() {
        let phase = |phase: &str, tried, kept, faults, operations| ShrinkPhase {
            phase: phase.into(),
            round: 1,
            tried,
            kept,
            faults,
            operations,
            nodes: 9,
            bytes: 4_321,
            wall_s: 1.25,
        };
        let shrunk = Shrunk {
            signature_before: "lost/never-delivered/broker/normal".into(),
            signature_after: Some("lost/never-delivered/broker/normal".into()),
            faults_before: 7,
            nodes_before: 9,
            operations_before: 1_204,
            bytes_before: 180_123,
            runs: 154,
            cpu_s: 12.34,
            wall_s: 7.0,
            other_draws: 8,
            other_draws_same: 7,
            complete: true,
            phases: vec![phase("faults", 14, 3, 1, 1_204), phase("operations", 140, 22, 1, 3)],
            ..Shrunk::default()
        };
        insta::assert_snapshot!(shrunk_table(&shrunk));
        let other = Shrunk { signature_after: None, complete: false, phases: vec![], ..shrunk };
        assert!(shrunk_table(&other).contains("NOT THE SAME: it does not fail any more with lost/never-delivered"));
    }
}

//! Many runs together.
//!
//! Invariant: sums are computed from the records, never kept beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Oracle, RunRecord, Verdict};

/// The runs of one call of the simulator.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// The runs, by scenario and seed.
    pub records: Vec<RunRecord>,
    /// Real time that it took.
    pub wall_ms: u64,
    /// The scenarios with what they protect.
    pub scenarios: Vec<(String, String)>,
    /// Marks that no run reached.
    pub unreached: Vec<String>,
    /// What is wrong with the campaign as a whole (a planned fault that never took effect).
    pub complaints: Vec<String>,
}

/// What a hunt for one plant came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The plant.
    pub plant: String,
    /// The oracles that may find it.
    pub expected: Vec<Oracle>,
    /// The one that did.
    pub detected_by: Option<Oracle>,
    /// How often its place in the code was passed.
    pub reached: u64,
    /// Runs that it changed: their hash differs from that of the same tape without it.
    pub infected: u64,
    /// Seeds run until then.
    pub seeds: u64,
    /// CPU time until then, seconds.
    pub cpu_s: f64,
    /// Real time until then, seconds.
    pub wall_s: f64,
    /// The run in which it was found.
    pub handle: Option<String>,
    /// Path of its tape.
    pub tape: Option<String>,
    /// The signature of what it found.
    pub signature: Option<String>,
    /// Runs without any fault, and how many of them were red.
    pub quiet: (u64, u64),
    /// Whether it may show in them.
    pub shows_without_faults: bool,
    /// What other oracles objected to on the way, with counts.
    pub others: BTreeMap<String, u64>,
}

impl Found {
    /// Whether it was found, and without faults only where it may.
    pub fn is_as_expected(&self) -> bool {
        self.detected_by.is_some() && (self.quiet.1 == 0 || self.shows_without_faults)
    }
}

/// Sums over some runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sums {
    pub runs: u64,
    pub virtual_ms: u64,
    pub cpu_ms: u64,
    pub events: u64,
    pub inputs: u64,
    pub acked: u64,
    pub delivered: u64,
    pub faults: BTreeMap<String, u64>,
    pub fired: BTreeMap<String, u64>,
    pub marks: usize,
    pub red: u64,
    pub worst: Verdict,
    pub recovery_ms_max: Option<u64>,
}

impl Sums {
    pub(crate) fn of<'a>(records: impl Iterator<Item = &'a RunRecord>) -> Sums {
        let mut sums = Sums::default();
        let mut marks = std::collections::BTreeSet::new();
        for r in records {
            sums.runs += 1;
            sums.virtual_ms += r.virtual_ms;
            sums.cpu_ms += r.cpu_ms;
            sums.events += r.events;
            sums.inputs += r.inputs;
            sums.acked += r.acked;
            sums.delivered += r.delivered;
            r.faults.iter().for_each(|(kind, n)| *sums.faults.entry(kind.clone()).or_default() += n);
            r.fired.iter().for_each(|(event, n)| *sums.fired.entry(event.clone()).or_default() += n);
            marks.extend(r.marks.keys());
            sums.red += u64::from(r.verdict != Verdict::Green);
            sums.worst = sums.worst.max(r.verdict);
            sums.recovery_ms_max = sums.recovery_ms_max.max(r.recovery_ms);
        }
        sums.marks = marks.len();
        sums
    }
}

impl Campaign {
    /// The scenarios that have runs, in the order of the records.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for record in &self.records {
            if !names.contains(&record.scenario.as_str()) {
                names.push(&record.scenario);
            }
        }
        names
    }

    /// The sums of one scenario.
    pub(crate) fn sums(&self, scenario: &str) -> Sums {
        Sums::of(self.records.iter().filter(|r| r.scenario == scenario))
    }

    /// Runs that are not green, one per signature or kind of end, with how many look the same.
    pub(crate) fn failures(&self) -> Vec<(&RunRecord, u64)> {
        let mut groups: Vec<(String, &RunRecord, u64)> = Vec::new();
        for record in self.records.iter().filter(|r| r.verdict != Verdict::Green) {
            let like = record
                .signature
                .clone()
                .filter(|_| record.verdict == Verdict::Red)
                .unwrap_or_else(|| record.verdict.to_string());
            match groups.iter_mut().find(|(key, ..)| *key == like) {
                Some((.., count)) => *count += 1,
                None => groups.push((like, record, 1)),
            }
        }
        groups.into_iter().map(|(_, record, count)| (record, count)).collect()
    }
}

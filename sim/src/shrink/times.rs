//! Times that move closer together, so that a shrunk tape is short in virtual time too.
//!
//! Invariant: the order of actions stays as it is, and no action comes later than before.

use super::payload::{Edit, numbers};
use crate::tape::{Tape, Trigger};

/// Room that is left after the last action before faults are ended, milliseconds: as the generator leaves it.
const AFTER_MS: u64 = 2_000;
/// With more actions than this only the whole tape is compressed.
const FEW: usize = 60;

/// A change of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// Every time is divided by two.
    Halve,
    /// Everything from a time on comes so much earlier.
    Earlier { from: u64, by: u64 },
    /// The safety phase ends here.
    End(u64),
    /// Actions stand in the order of their times.
    Sort,
}

impl Shift {
    pub fn apply(self, tape: &Tape) -> Tape {
        let mut tape = tape.clone();
        let config = &mut tape.header.config;
        match self {
            Shift::Sort => tape.actions.sort_by_key(|action| time(&action.when)),
            Shift::End(at) => config.safety_ms = at,
            Shift::Halve => {
                let last = tape.actions.iter().map(|action| time(&action.when)).max().unwrap_or(0);
                config.safety_ms -= last - last / 2;
                tape.actions.iter_mut().for_each(|action| *time_mut(&mut action.when) /= 2);
            }
            Shift::Earlier { from, by } => {
                config.safety_ms -= by;
                let late = tape.actions.iter_mut().map(|action| time_mut(&mut action.when)).filter(|at| **at >= from);
                late.for_each(|at| *at -= by);
            }
        }
        tape
    }
}

/// The time of a trigger: when it happens, or from when on it counts.
pub(super) fn time(when: &Trigger) -> u64 {
    match when {
        Trigger::At { at } => *at,
        Trigger::On { from, .. } => *from,
    }
}

fn time_mut(when: &mut Trigger) -> &mut u64 {
    match when {
        Trigger::At { at } => at,
        Trigger::On { from, .. } => from,
    }
}

/// Every change of times that makes this tape another one.
pub(super) fn edits(tape: &Tape) -> Vec<Edit> {
    let mut times: Vec<u64> = tape.actions.iter().map(|action| time(&action.when)).collect();
    let sorted = times.is_sorted();
    times.sort_unstable();
    times.dedup();
    let end = times.last().copied().unwrap_or(0) + AFTER_MS;
    let mut all = Vec::new();
    all.extend((end < tape.header.config.safety_ms).then_some(Shift::End(end)));
    all.extend((end > 2 * AFTER_MS && end <= tape.header.config.safety_ms).then_some(Shift::Halve));
    let before = std::iter::once(0).chain(times.iter().copied());
    let gaps = before.zip(times.iter().copied()).filter(|(before, at)| at > before);
    let room = tape.header.config.safety_ms >= end;
    for (before, at) in gaps.filter(|_| times.len() <= FEW && room) {
        let shorter = numbers(i64::try_from(at - before).unwrap_or(i64::MAX), 0);
        all.extend(shorter.iter().map(|gap| Shift::Earlier { from: at, by: at - before - gap.unsigned_abs() }));
    }
    all.extend((!sorted).then_some(Shift::Sort));
    all.into_iter().map(Edit::Times).collect()
}

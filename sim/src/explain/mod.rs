//! A failed run in words: the faults that took effect, the few events that prove the violation, what happened around them, and
//! a timeline for a terminal.
//!
//! Invariant: every sentence is one line of the history or one fact of an oracle; nothing is guessed. The text depends on
//! the tape and the record alone.

mod faults;
mod lanes;
mod past;
mod words;

use std::collections::BTreeMap;

use seedmq_reports::{RunRecord, Violation};

use crate::tape::Tape;
use faults::{Spell, spells};
use past::Past;
pub use words::actions_in_words;

/// Lines of one kind that are told before the rest is only counted.
const TOLD: usize = 12;
/// A shorter tape is told as a whole.
const SHORT: usize = 24;

/// One event that matters, with its number in the timeline.
struct Point {
    ms: f64,
    node: String,
    text: String,
    /// Whether it is a proof of the violation; otherwise it is something that happened around it.
    proof: bool,
}

/// The whole explanation. `handle` is how the run is called on a command line.
pub fn story(tape: &Tape, record: &RunRecord, handle: &str) -> String {
    let past = Past::read(&record.history);
    let spells = spells(&past);
    let violation = record.violations.first();
    let points = violation.map_or(Vec::new(), |v| points(tape, &past, v));
    let mut text = headline(record, handle);
    text += &planned(tape, record);
    text += &took_effect(&spells);
    if let Some(violation) = violation {
        text += &proof(violation, &points);
    }
    text += &lanes::draw(tape, record, &spells, &points);
    text + &commands(tape, record, violation, &points, handle)
}

fn seconds(ms: f64) -> String {
    format!("{:.3} s", ms / 1000.0)
}

fn headline(record: &RunRecord, handle: &str) -> String {
    let Some(violation) = record.violations.first() else {
        let note = record.note.as_ref().map_or(String::new(), |note| format!("{note}\n"));
        return format!("{handle} is {}: no oracle objected\n{note}\n", record.verdict);
    };
    let mut text = format!("{handle} is {}: {}\n  {}\n", record.verdict, violation.signature(), violation.text);
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for other in &record.violations[1..] {
        *others.entry(other.signature()).or_default() += 1;
    }
    for (signature, count) in others {
        text += &format!("  and {count} × {signature}\n");
    }
    if !record.plants.is_empty() {
        let on: Vec<&str> = record.plants.iter().filter(|(_, p)| p.taken > 0).map(|(name, _)| name.as_str()).collect();
        if !on.is_empty() {
            text += &format!("  a known bug is switched on: {}\n", on.join(", "));
        }
    }
    text + "\n"
}

/// A short tape is told whole.
fn planned(tape: &Tape, record: &RunRecord) -> String {
    if tape.actions.len() > SHORT {
        return String::new();
    }
    let since =
        record.ready_ms.map_or(String::new(), |ms| format!(", from {} on, when the cluster was ready", seconds(ms)));
    let lines: Vec<String> = actions_in_words(tape).iter().map(|line| format!("  {line}\n")).collect();
    format!("The tape says{since}:\n{}\n", lines.concat())
}

fn took_effect(spells: &[Spell]) -> String {
    if spells.is_empty() {
        return "No fault took effect.\n\n".to_owned();
    }
    let mut text = "Faults that took effect:\n".to_owned();
    for spell in spells.iter().take(TOLD) {
        text += &format!("  {:>10}  {}\n", seconds(spell.from), spell.text());
    }
    if spells.len() > TOLD {
        text += &format!("  … and {} more\n", spells.len() - TOLD);
    }
    text + "\n"
}

/// The events of a violation and around it, in time order.
fn points(tape: &Tape, past: &Past, violation: &Violation) -> Vec<Point> {
    let mut points: Vec<Point> = past.proof(violation);
    let around = past.around(tape, violation, &points);
    let more = around.len().saturating_sub(TOLD);
    // What is nearest to the end matters most.
    points.extend(around.into_iter().skip(more));
    points.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    points
}

fn proof(violation: &Violation, points: &[Point]) -> String {
    let mut text = "How it came (numbered: what proves it):\n".to_owned();
    let mut number = 0;
    for point in points {
        let mark = if point.proof {
            number += 1;
            lanes::mark(number).to_string()
        } else {
            " ".into()
        };
        text += &format!("{mark} {:>10}  {}\n", seconds(point.ms), point.text);
    }
    if violation.lines.is_empty() {
        for line in violation.proof.iter().filter(|line| **line != violation.text).take(TOLD) {
            text += &format!("  {:>10}  {line}\n", "found");
        }
    }
    text += &format!("→ {:>10}  {}: {}\n\n", seconds(violation.at_ms), violation.oracle, meaning(violation));
    text
}

/// The broken rule in words.
fn meaning(violation: &Violation) -> &'static str {
    use seedmq_reports::Oracle;
    match violation.oracle {
        Oracle::Lost => "an acknowledged message must arrive, unless its flush policy lets a power cut take it",
        Oracle::Phantom => "only what was sent may be delivered, and a position holds one message",
        Oracle::Duplicate => "a message comes again only where a fault, a rebalance or a failed handler excuses it",
        Oracle::QueueOrder => "messages of a queue come in the order of their offsets",
        Oracle::KeyOrder => "messages of one business id come in the order in which they were sent",
        Oracle::Overlap => "one member of an ordered group at a time handles a queue, one message at a time",
        Oracle::OffsetRegression => "a committed offset goes back only by a reset",
        Oracle::Early => "a delayed message comes no earlier than its time",
        Oracle::Late => "a delayed message comes within its bound",
        Oracle::Transaction => "a message is visible if and only if its transaction was committed",
        Oracle::Filter => "a subscription gets the tags that it asks for, and no others",
        Oracle::Broadcast => "a broadcast reaches every member",
        Oracle::TwoMasters => "one master acknowledges in an epoch",
        Oracle::Projection => "queues and index are what the log says, entry by entry",
        Oracle::Dense => "the offsets of a queue have no hole",
        Oracle::Replicas => "replicas agree on what is confirmed",
        Oracle::RecoveryIdempotent => {
            "recovering twice gives what recovering once gave, and loses nothing that was whole"
        }
        Oracle::Epoch => "epochs and the in-sync set move as the protocol allows",
        Oracle::Route => "name servers tell what runs, within their bound",
        Oracle::Owner => "every queue has exactly one owner in a group, within the bound",
        Oracle::HeldPull => "a pull that waits is answered once its message is there",
        Oracle::Convergence => "once faults have ended the cluster settles, within the bound",
        Oracle::Bounds => "caches and queues keep their bounds",
        Oracle::Invariant => "the state of a node does not contradict itself",
        Oracle::Panic => "no node panics",
    }
}

fn commands(tape: &Tape, record: &RunRecord, violation: Option<&Violation>, points: &[Point], handle: &str) -> String {
    let mut text = format!("replay:  cargo sim replay {handle}\n");
    let Some(violation) = violation else { return text };
    let brokers: Vec<&str> = tape.header.config.brokers.iter().map(|b| b.name.as_str()).collect();
    let told = |broker: &&&str| violation.text.contains(**broker);
    let seen = |broker: &&&str| points.iter().any(|p| p.text.contains(**broker));
    let end = violation.at_ms.max(points.iter().map(|p| p.ms).fold(0.0, f64::max)).min(record.virtual_ms as f64);
    if let Some(broker) = brokers.iter().find(told).or(brokers.iter().find(seen)).or(brokers.first()) {
        text += &format!("look in: cargo sim replay {handle} --until {end:.0} --state {broker}\n");
    }
    text + &format!("shrink:  cargo sim shrink {handle}\n")
}

#[cfg(test)]
mod tests;

//! The checkers: they judge a history of what clients saw, and nothing else.
//!
//! Invariant: a checker sees the history line by line, in order, once; memory grows with clients, queues and faults, not with messages:
//! what is kept of these is in pages of a temporary file (see `kept`).
//! A violation is reported only where no licence of the protocol excuses it.

mod commits;
mod deliveries;
mod facts;
mod faults;
mod found;
#[cfg(test)]
mod hostile;
mod kept;
mod lost;
mod order;
mod overlap;
#[cfg(test)]
mod properties;
mod rows;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

use seedmq_reports::Violation;

use crate::history::{Header, History, HistoryError, Op, Phase, Reader, Record};
use commits::Commits;
use deliveries::Deliveries;
use facts::{Facts, Noted};
use found::Found;
pub use found::Judgement;
use kept::Pages;
use order::Order;
use overlap::Overlap;

/// After a fault has healed, connections may still be half-dead and offsets not yet committed again for so long: one
/// heartbeat or route period of the Java client (30 s).
pub const AFTERMATH_MS: f64 = 30_000.0;

/// A message from a client may still be under way for so long without any fault.
pub const IN_FLIGHT_MS: f64 = 1_000.0;

/// How much of what is known of messages stays in memory while a history is read, in MiB; the rest is in a temporary file.
pub const MEMORY_MIB: usize = 64;

/// Judges one history, record by record.
#[derive(Debug)]
pub struct Checker {
    pages: Pages,
    facts: Facts,
    deliveries: Deliveries,
    order: Order,
    overlap: Overlap,
    commits: Commits,
    found: Found,
    drained: bool,
    deserted: Vec<String>,
}

impl Checker {
    /// A checker for a history with this header, which keeps that many pages of what it knows in memory.
    pub fn new(header: &Header, pages_in_memory: usize) -> Checker {
        let pages = Pages::new(pages_in_memory);
        Checker {
            facts: Facts::new(header.clone(), &pages),
            deliveries: Deliveries::new(&pages),
            order: Order::new(&pages),
            overlap: Overlap::default(),
            commits: Commits::new(&pages),
            pages,
            found: Found::default(),
            drained: false,
            deserted: Vec::new(),
        }
    }

    /// Takes the next record; `line` is its line number in the file. Fails when the temporary file does.
    pub fn feed(&mut self, line: u64, record: &Record) -> io::Result<()> {
        self.take(line, record);
        self.pages.sound()
    }

    fn take(&mut self, line: u64, record: &Record) {
        let Checker { facts, deliveries, order, overlap, commits, found, drained, deserted, .. } = self;
        if let Op::End { drained: all, deserted: groups } = &record.op {
            (*drained, *deserted) = (*all, groups.clone());
            return;
        }
        if let Op::Reset { group, topic, queue, .. } = &record.op {
            let place = facts.place(group, topic, queue);
            order.reset(place);
            commits.reset(place);
        }
        let noted = facts.note(line, record);
        if let Op::Assign { group, topic, queues } = &record.op {
            let client = facts.intern(&record.client);
            for queue in queues {
                let place = facts.place(group, topic, queue);
                if facts.session(place.audience, client, place.queue).since.0 == line {
                    commits.owned(place, client, (line, record.t));
                }
            }
        }
        match noted {
            Noted::Acked(message) => {
                deliveries.acked(facts, found, message);
                order.acked(facts, found, message);
            }
            Noted::Refused(message) => deliveries::refused(facts, found, message),
            Noted::Delivered(visit) => {
                let first = deliveries.delivered(facts, commits, found, &visit);
                order.delivered(facts, found, &visit, first);
                overlap.began(facts, found, &visit);
            }
            Noted::Handled { visit, phase } => {
                overlap.ended(&visit);
                deliveries.handled(&visit, phase);
            }
            Noted::Committed { place, client, offset } => {
                commits.committed(facts, found, (place, client), offset, (line, record.t))
            }
            Noted::Gone(client) => overlap.gone(client),
            Noted::Nothing => {}
        }
    }

    /// The judgement; proofs still lack their texts (see [`Judgement::quote`]). Fails when the temporary file does.
    pub fn finish(mut self) -> io::Result<Judgement> {
        if self.drained {
            let deserted = self.deserted.iter().map(|group| self.facts.intern(group)).collect();
            lost::judge(&self.facts, &self.deliveries, &self.commits, &deserted, &mut self.found);
        }
        self.pages.sound()?;
        Ok(self.found.finish(self.facts.acked, self.facts.delivered, self.drained))
    }
}

/// Judges a history in memory.
pub fn check(history: &History) -> Judgement {
    let mut checker = Checker::new(&history.header, usize::MAX);
    for (record, line) in history.records.iter().zip(2..) {
        checker.feed(line, record).expect("pages that all stay in memory need no file");
    }
    let mut judgement = checker.finish().expect("pages that all stay in memory need no file");
    judgement.quote(|line| match line {
        0 => None,
        1 => Some(history.header.to_line()),
        n => history.records.get(usize::try_from(n).ok()? - 2).map(Record::to_line),
    });
    judgement
}

/// Judges a history as it is read, within [`MEMORY_MIB`]; proofs lack their texts.
pub fn check_stream(from: impl BufRead) -> Result<Judgement, HistoryError> {
    check_stream_within(from, MEMORY_MIB)
}

/// The same within so many MiB, and what clients, queues and faults take.
pub fn check_stream_within(from: impl BufRead, memory_mib: usize) -> Result<Judgement, HistoryError> {
    let (header, mut reader) = Reader::new(from)?;
    let mut checker = Checker::new(&header, memory_mib * Pages::A_MIB);
    while let Some((line, record, _)) = reader.next()? {
        checker.feed(line, &record)?;
    }
    Ok(checker.finish()?)
}

/// Whether this is the end of an operation that went wrong or was never answered.
fn unsure(phase: Phase) -> bool {
    matches!(phase, Phase::Info | Phase::Fail)
}

/// A violation whose proof is lines of the history.
fn violation(oracle: seedmq_reports::Oracle, clause: &str, role: &str) -> Violation {
    Violation {
        oracle,
        clause: clause.into(),
        role: role.into(),
        topic_kind: "-".into(),
        text: String::new(),
        at_ms: 0.0,
        lines: Vec::new(),
        proof: Vec::new(),
    }
}

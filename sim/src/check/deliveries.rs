//! Phantoms, duplicates, filters and reused positions: each delivery against what was sent and what was delivered before.
//!
//! Invariant: a duplicate needs a licence of its own: a handler that did not end well, a reset, a new owner whose predecessor
//! had not committed that far, or a fault in between.

use seedmq_reports::Oracle;

use super::commits::Commits;
use super::facts::{At, Facts, MessageId, Name, QueueId, Visit};
use super::faults::Fault;
use super::found::Found;
use super::kept::{Column, Map, Pages};
use super::{unsure, violation};
use crate::history::Phase;

/// Where a client does not tell its attempts: one that took so long may have been given up and repeated elsewhere. The Java client's time for all
/// attempts of one send is 3,000 ms.
const ATTEMPT_MS: f64 = 1_000.0;

/// Neighbours of a queue are asked for together: 2 to the power of this, to a page.
const NEAR: u32 = 2;

/// A delivery and how it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The delivery; of several at one position, the last.
    pub visit: Visit,
    /// How its handler ended; none while it runs.
    pub outcome: Option<Phase>,
    /// Whether one of the handlings at this position ended well.
    pub consumed: bool,
    /// Where the delivery of the same message at its next position is.
    pub next: Option<u64>,
}

/// What is known of a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// What it holds.
    pub message: MessageId,
    /// The line that said so, and since when it may be there.
    pub at: At,
}

/// All deliveries so far.
#[derive(Debug)]
pub struct Deliveries {
    seen: Column<Seen>,
    /// By audience and message, the first of `seen`.
    first: Map<u64>,
    positions: Map<Held>,
}

impl Deliveries {
    /// None so far; they will be in `pages`.
    pub fn new(pages: &Pages) -> Deliveries {
        Deliveries { seen: Column::new(pages), first: Map::new(pages, NEAR), positions: Map::new(pages, NEAR) }
    }

    /// What an audience saw of a message, one entry per position.
    pub fn seen(&self, audience: Name, message: MessageId) -> Vec<Seen> {
        self.chain(audience, message).map(|(_, seen)| seen).collect()
    }

    /// The same, with the number of each entry.
    fn chain(&self, audience: Name, message: MessageId) -> impl Iterator<Item = (u64, Seen)> {
        let numbered = |i: u64| (i, self.seen.get(i));
        let first = self.first.get((audience.into(), message)).map(numbered);
        std::iter::successors(first, move |(_, seen)| seen.next.map(numbered))
    }

    /// A message was acknowledged at a position.
    pub fn acked(&mut self, facts: &Facts, found: &mut Found, id: MessageId) {
        let message = facts.message(id);
        if let Some((queue, offset)) = message.stored {
            self.position(facts, found, (queue, offset), id, message.ended);
        }
    }

    /// A message was handed out. Tells whether it was its first time for this audience.
    pub fn delivered(&mut self, facts: &mut Facts, commits: &Commits, found: &mut Found, visit: &Visit) -> bool {
        let Some(id) = visit.message else {
            never_sent(facts, found, visit);
            return false;
        };
        sent_elsewhere(facts, found, visit, id);
        self.position(facts, found, (visit.place.queue, visit.offset), id, visit.at);
        let seen: Vec<(u64, Seen)> = self.chain(visit.place.audience, id).collect();
        match seen.iter().find(|(_, s)| s.visit.place == visit.place && s.visit.offset == visit.offset) {
            Some((i, before)) => {
                if let Some(clause) = unlicensed(facts, commits, before, visit) {
                    if facts.was_reset(visit.place, before.visit.at) {
                        facts.came_again(visit.place, before.visit.at, visit.at);
                    } else {
                        again(facts, found, clause, before, visit);
                    }
                }
                self.seen.set(*i, Seen { visit: *visit, outcome: None, ..*before });
            }
            None => {
                let new = self.seen.push(Seen { visit: *visit, outcome: None, consumed: false, next: None });
                match seen.last() {
                    Some((i, before)) => {
                        if stored_twice(facts, id) {
                            again(facts, found, "stored-twice", before, visit);
                        }
                        self.seen.set(*i, Seen { next: Some(new), ..*before });
                    }
                    None => _ = self.first.insert((visit.place.audience.into(), id), new),
                }
            }
        }
        seen.is_empty()
    }

    /// A handler ended.
    pub fn handled(&mut self, visit: &Visit, phase: Phase) {
        let Some(id) = visit.message else { return };
        let mut seen = self.chain(visit.place.audience, id);
        let here = seen.find(|(_, s)| s.visit.place == visit.place && s.visit.offset == visit.offset);
        drop(seen);
        if let Some((i, mut seen)) = here {
            seen.consumed |= phase == Phase::Ok;
            if seen.visit.at == visit.at {
                seen.outcome = Some(phase);
            }
            self.seen.set(i, seen);
        }
    }

    /// A position of a queue holds one message for ever, unless a power cut took its tail away.
    /// A message may wait for long in the memory of a client: it is there since it was sent.
    fn position(&mut self, facts: &Facts, found: &mut Found, at: (QueueId, u64), id: MessageId, seen: (u64, f64)) {
        let from = facts.message(id).invoked.1;
        let held = Held { message: id, at: (seen.0, from) };
        let Some(before) = self.positions.insert((at.0.into(), at.1), held) else { return };
        let (other, (line, t)) = (before.message, before.at);
        let (topic, queue) = facts.queue(at.0);
        // What was lost with a damaged end of a log leaves its position to the next one.
        if facts.faults.damaged(facts.name(topic), queue, at.1, 0.0) {
            return;
        }
        let first = t.min(from);
        if facts.faults.deleted(facts.name(topic), first, seen.1) {
            return;
        }
        if other == id || facts.faults.cuts(queue, 0.0, seen.1).any(|cut| cut.until.is_none_or(|up| up >= first)) {
            return;
        }
        let mut v = violation(Oracle::Phantom, "position-reused", "broker");
        v.topic_kind = facts.topic_kind(topic);
        v.at_ms = seen.1;
        v.text = format!(
            "position {} of {} holds \"{}\", but it was already taken by \"{}\"",
            at.1,
            facts.queue_text(at.0),
            facts.key(id),
            facts.key(other)
        );
        v.lines = vec![line, seen.0];
        found.push(v);
    }
}

fn never_sent(facts: &Facts, found: &mut Found, visit: &Visit) {
    let mut v = violation(Oracle::Phantom, "never-sent", "broker");
    v.topic_kind = facts.topic_kind(facts.queue(visit.place.queue).0);
    v.at_ms = visit.at.1;
    v.text = format!(
        "a message was delivered from {} at {} that nobody sent",
        facts.queue_text(visit.place.queue),
        visit.offset
    );
    v.lines = vec![visit.at.0];
    found.push(v);
}

/// The sender was told that nothing was stored, after somebody had got it.
pub fn refused(facts: &Facts, found: &mut Found, id: MessageId) {
    let message = facts.message(id);
    let Some(delivered) = message.delivered else { return };
    let mut v = violation(Oracle::Phantom, "surely-not-stored", "producer");
    v.topic_kind = facts.topic_kind(message.topic);
    v.at_ms = message.ended.1;
    v.text = format!("the sender of \"{}\" was told that it was not stored, but it had been delivered", facts.key(id));
    v.lines = vec![message.invoked.0, delivered.0, message.ended.0];
    found.push(v);
}

/// The message exists; did it belong here?
fn sent_elsewhere(facts: &Facts, found: &mut Found, visit: &Visit, id: MessageId) {
    let message = facts.message(id);
    let topic = facts.queue(visit.place.queue).0;
    let refused = message.outcome == Some(Phase::Fail);
    let tag = message.tag.map(|tag| facts.label(tag));
    let who = (facts.group(visit.place.audience), topic, visit.client);
    let told = facts.subscriptions.wants(who, tag.as_deref(), message.invoked.1, visit.session.since.1);
    let rules = facts.rules(visit.place.audience);
    let passes = told.unwrap_or_else(|| rules.accepts(facts.name(topic), tag.as_deref()));
    let (oracle, clause, role, text) = if topic != message.topic {
        (
            Oracle::Phantom,
            "other-topic",
            "broker",
            format!("\"{}\" was sent to topic {}", facts.key(id), facts.name(message.topic)),
        )
    } else if refused {
        (
            Oracle::Phantom,
            "surely-not-stored",
            "producer",
            format!("the sender of \"{}\" was told that it was not stored", facts.key(id)),
        )
    } else if !passes {
        (
            Oracle::Filter,
            "passed-wrong",
            "consumer",
            format!("the subscription does not ask for the tag of \"{}\"", facts.key(id)),
        )
    } else {
        return;
    };
    let mut v = violation(oracle, clause, role);
    v.topic_kind = facts.topic_kind(topic);
    v.at_ms = visit.at.1;
    v.text = format!("{text}, but it was delivered from {} at {}", facts.queue_text(visit.place.queue), visit.offset);
    v.lines = vec![message.invoked.0, message.ended.0, visit.at.0];
    found.push(v);
}

/// Whether nothing excuses that a message stands at two positions.
fn stored_twice(facts: &Facts, id: MessageId) -> bool {
    let message = facts.message(id);
    let sure = message.outcome == Some(Phase::Ok) && message.asks == 1;
    let quick = message.ended.1 - message.invoked.1 < ATTEMPT_MS;
    sure && message.attempts.map_or(quick, |attempts| attempts == 1)
        && facts.faults.during(message.invoked.1, message.ended.1).next().is_none()
}

/// The clause that a second delivery of one position breaks, or none when it is licensed. A reset licences it too.
fn unlicensed(facts: &Facts, commits: &Commits, before: &Seen, now: &Visit) -> Option<&'static str> {
    let (first, place) = (&before.visit, now.place);
    if before.outcome.is_some_and(unsure) {
        return None;
    }
    if first.client == now.client && first.session == now.session {
        let (_, queue) = facts.queue(place.queue);
        let client = facts.name(now.client);
        let concerns = |f: &Fault| f.shows(now.at.1) && (f.touches(client) || f.touches_queue(queue));
        let excused = facts.faults.during(first.at.1, now.at.1).any(concerns);
        return (!excused).then_some("same-owner");
    }
    let since = if now.session.since.0 == 0 { now.at.1 } else { now.session.since.1 };
    commits.covered(facts, place, now.offset, (first.client, first.at.1, since, now.at.1)).then_some("committed")
}

fn again(facts: &Facts, found: &mut Found, clause: &str, before: &Seen, now: &Visit) {
    let id = now.message.expect("a duplicate is of a known message");
    let message = facts.message(id);
    let role = match clause {
        "same-owner" => "consumer",
        _ => "broker",
    };
    let mut v = violation(Oracle::Duplicate, clause, role);
    v.topic_kind = facts.topic_kind(message.topic);
    v.at_ms = now.at.1;
    let why = match clause {
        "same-owner" => "its owner had not changed and no fault touched it",
        "committed" => "the group had committed past it before the new owner began",
        _ => "it was sent once and acknowledged at once, yet stands at two positions",
    };
    v.text = format!(
        "\"{}\" was delivered again to {}: first {} at {}, now {} at {}; {why}",
        facts.key(id),
        facts.name(now.place.audience),
        facts.queue_text(before.visit.place.queue),
        before.visit.offset,
        facts.queue_text(now.place.queue),
        now.offset
    );
    v.lines = vec![message.invoked.0, message.ended.0, before.visit.at.0, now.at.0];
    v.lines.extend([before.visit.session.since.0, now.session.since.0].iter().filter(|line| **line > 0));
    found.push(v);
}

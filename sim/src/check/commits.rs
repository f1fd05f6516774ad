//! Committed offsets: they never go back without a reset, unless owners overlapped or a fault came in between.
//!
//! Invariant: per place the commits are kept in time order, since the last reset.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_reports::Oracle;

use super::facts::{At, Facts, Name, Place, Session};
use super::faults::Fault;
use super::found::Found;
use super::kept::{Column, Pages};
use super::{AFTERMATH_MS, IN_FLIGHT_MS, violation};

/// One.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Commit {
    /// Line and time.
    pub at: At,
    /// Who told it.
    pub client: Name,
    /// Next position.
    pub offset: u64,
    /// Since when the queue was its own.
    pub session: Session,
    /// Another member owned the queue too, or did just before: it may tell its own, lower position with a pull at any time after this.
    pub shared: bool,
}

/// The commits of a place.
#[derive(Debug)]
struct Told {
    all: Column<Commit>,
    by: BTreeSet<Name>,
}

/// All commits.
#[derive(Debug)]
pub struct Commits {
    at: BTreeMap<Place, Told>,
    pages: Pages,
}

impl Commits {
    /// None so far; they will be in `pages`.
    pub fn new(pages: &Pages) -> Commits {
        Commits { at: BTreeMap::new(), pages: pages.clone() }
    }

    /// The administrator moved the group: what was committed before no longer counts.
    pub fn reset(&mut self, place: Place) {
        self.at.remove(&place);
    }

    /// A client owns a queue from now on. What another one has just committed may come after it asked where to begin.
    pub fn owned(&mut self, place: Place, client: Name, at: At) {
        let Some(Told { all, .. }) = self.at.get_mut(&place) else { return };
        for i in (0..all.len()).rev() {
            let commit = all.get(i);
            if commit.at.1 + IN_FLIGHT_MS < at.1 {
                return;
            }
            if commit.client != client {
                all.set(i, Commit { shared: true, ..commit });
            }
        }
    }

    /// A client told its position.
    pub fn committed(&mut self, facts: &Facts, found: &mut Found, (place, client): (Place, Name), offset: u64, at: At) {
        let session = facts.session(place.audience, client, place.queue);
        let now = Commit { at, client, offset, session, shared: facts.is_shared(place, client, at.1) };
        let none = || Told { all: Column::new(&self.pages), by: BTreeSet::new() };
        let Told { all, by } = self.at.entry(place).or_insert_with(none);
        by.insert(client);
        if let Some(before) = all.last().filter(|c| c.offset > offset)
            && let Some(clause) = regressed(facts, place, &before, &now)
        {
            went_back(facts, found, clause, place, (&before, &now));
        }
        all.push(now);
    }

    /// When a group was past a position that a message got at `from`, as far as it told. After a power cut a member may tell one of before,
    /// until it has had peace enough for the broker to send it back, another member begins, or it gives the queue up; then the next one
    /// that is told is no confirmation, and neither is silence.
    pub fn passed(&self, facts: &Facts, place: Place, offset: u64, from: f64) -> f64 {
        let Some(Told { all, .. }) = self.at.get(&place) else { return f64::INFINITY };
        let (_, queue) = facts.queue(place.queue);
        let up = |cut: &Fault| cut.until.unwrap_or(f64::INFINITY);
        let cuts: Vec<f64> = facts.faults.cuts(queue, 0.0, from).map(up).collect();
        // Who began after it began where the broker said.
        let may_be_stale = |told: &Commit| {
            let kept = |up: &f64| {
                told.session.since.1 <= *up && peace(facts, place, told.client, *up, told.at.1) < AFTERMATH_MS
            };
            cuts.iter().any(kept)
        };
        let stayed = |told: &Commit| {
            let gave_up = facts.gave_up(place, told.client).filter(|left| *left >= told.at.1);
            gave_up.is_none_or(|left| left > told.at.1 + AFTERMATH_MS)
        };
        let mut later = (all.partition_point(|c| c.at.1 < from)..all.len()).map(|i| all.get(i)).peekable();
        while let Some(told) = later.next() {
            let confirms = |next: &Commit| {
                (next.client, next.session) == (told.client, told.session)
                    && next.offset >= told.offset
                    && peace(facts, place, told.client, told.at.1, next.at.1) >= AFTERMATH_MS.min(next.at.1 - told.at.1)
            };
            if told.offset > offset && (!may_be_stale(&told) || later.peek().map_or_else(|| stayed(&told), confirms)) {
                return told.at.1;
            }
        }
        f64::INFINITY
    }

    /// Whether an owner that began at `since`, and was handed `offset` by `until`, must have been told a position past it: since it
    /// was handed out last (`after`, to `client`) a commit past it by that client had reached the broker by then, none below it came
    /// later, and no fault could have taken it away. Other commits prove nothing: whoever was handed the message last may have
    /// told its own, lower position with its pulls.
    pub fn covered(
        &self,
        facts: &Facts,
        place: Place,
        offset: u64,
        (client, after, since, until): (Name, f64, f64, f64),
    ) -> bool {
        let Some(Told { all, by }) = self.at.get(&place) else { return false };
        let known = all.partition_point(|c| c.at.1 <= since + IN_FLIGHT_MS);
        // Positions on a disk that was replaced say nothing about those on the new one.
        let anew = facts.faults.begun_anew(facts.queue(place.queue).1);
        let latest = (0..known).rev().map(|i| all.get(i));
        let steady = latest.take_while(|c| c.at.1 >= after && c.at.1 > anew && c.offset > offset);
        let proves = |c: &Commit| c.client == client && !c.shared && c.at.1 <= since - IN_FLIGHT_MS;
        let Some(last) = steady.into_iter().find(proves) else { return false };
        // Whatever a member that had the queue before told, with a pull too, may have been kept on its way and come after this one.
        let from = last.at.1 - IN_FLIGHT_MS;
        let late = by.iter().any(|other| *other != client && delayed(facts, *other, from, until));
        !late && !disturbed(facts, place, client, from, until)
    }
}

/// The longest time within a range in which no fault was between a client and the broker of a queue, ms.
fn peace(facts: &Facts, place: Place, client: Name, from: f64, to: f64) -> f64 {
    let (_, queue) = facts.queue(place.queue);
    let client = facts.name(client);
    let (mut longest, mut since) = (0.0_f64, from);
    for fault in facts.faults.during(from, to).filter(|f| f.touches(client) || f.touches_queue(queue)) {
        longest = longest.max(fault.from - since);
        since = since.max(fault.until.unwrap_or(f64::INFINITY));
    }
    longest.max(to - since)
}

/// Whether a fault could have kept requests of a client on their way.
fn delayed(facts: &Facts, client: Name, from: f64, to: f64) -> bool {
    let kinds = ["heartbeat-delay", "pause", "slow-cpu", "slow-link", "thin-link", "partition"];
    let client = facts.name(client);
    facts.faults.during(from, to).any(|f| kinds.contains(&f.kind.as_str()) && f.touches(client))
}

/// Whether a fault at the broker or the client could have kept a commit from being kept.
fn disturbed(facts: &Facts, place: Place, client: Name, from: f64, to: f64) -> bool {
    let (_, queue) = facts.queue(place.queue);
    let client = facts.name(client);
    facts.faults.during(from, to).any(|f| f.touches(client) || f.touches_queue(queue))
}

/// The clause that a lower commit breaks, or none when it is licensed.
fn regressed(facts: &Facts, place: Place, before: &Commit, now: &Commit) -> Option<&'static str> {
    let same = before.client == now.client && before.session == now.session;
    if facts.was_reset(place, before.at) {
        return None;
    }
    let fresh = now.session.since.0 > 0 && now.session.since.1 > before.at.1 + IN_FLIGHT_MS;
    let disturbed = disturbed(facts, place, before.client, before.at.1 - IN_FLIGHT_MS, now.at.1)
        || disturbed(facts, place, now.client, before.at.1 - IN_FLIGHT_MS, now.at.1);
    match (same, fresh) {
        (true, _) if !disturbed => Some("same-owner"),
        (false, true) if !disturbed && !before.shared => Some("new-owner"),
        _ => None,
    }
}

fn went_back(facts: &Facts, found: &mut Found, clause: &str, place: Place, (before, now): (&Commit, &Commit)) {
    let mut v = violation(Oracle::OffsetRegression, clause, if clause == "same-owner" { "consumer" } else { "broker" });
    v.topic_kind = facts.topic_kind(facts.queue(place.queue).0);
    v.at_ms = now.at.1;
    v.text = format!(
        "{} committed {} for {} of {}, after {} had committed {}; nobody reset it",
        facts.name(now.client),
        now.offset,
        facts.queue_text(place.queue),
        facts.name(place.audience),
        facts.name(before.client),
        before.offset
    );
    v.lines = vec![before.at.0, now.at.0];
    v.lines.extend(Some(now.session.since.0).filter(|line| *line > 0));
    found.push(v);
}

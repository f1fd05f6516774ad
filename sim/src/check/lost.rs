//! Loss: at the end of a drained history every acknowledged message was handled by every audience of its topic.
//!
//! Invariant: the only licence is the tail that a power cut may take under asynchronous flush, or from a disk whose syncs lied: what left
//! the broker acknowledged before the cut, is not covered by the durable mark, and has no survivor behind it; what a broker without room
//! removed; a message that was damaged on the disk, by name; what a group passed over while its members read different things
//! (see [`super::subscriptions`]); and whatever lies on a broker that stays down, or on a disk that was replaced.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_reports::Oracle;

use super::commits::Commits;
use super::deliveries::{Deliveries, Seen};
use super::facts::{Facts, Message, MessageId, Name, Place};
use super::faults::Fault;
use super::found::Found;
use super::{IN_FLIGHT_MS, violation};
use crate::history::{Phase, Queue};
use crate::tape::{Model, StartFrom};

/// A group that begins at the last position may miss what was sent before it knew its queues: one rebalance period (20 s).
const SETTLING_MS: f64 = 20_000.0;

/// Looks at every acknowledged message; nothing is lost for a group in `deserted`.
pub fn judge(facts: &Facts, deliveries: &Deliveries, commits: &Commits, deserted: &BTreeSet<Name>, found: &mut Found) {
    let mut tails: BTreeMap<(String, u64), Tail> = BTreeMap::new();
    for (id, message) in (0..facts.messages()).map(|id| (id, facts.message(id))) {
        if message.outcome != Some(Phase::Ok) {
            continue;
        }
        for (audience, since) in facts.audiences.get(&message.topic).into_iter().flatten() {
            if deserted.contains(audience) {
                continue;
            }
            let seen = deliveries.seen(*audience, id);
            if seen.iter().any(|s| s.consumed) || !belongs(facts, commits, &message, *audience, *since) {
                continue;
            }
            match missing(facts, &message, &seen) {
                Missing::Tail(cut) => {
                    tails.entry((broker_of(facts, &message), cut.line)).or_default().add(id, &message)
                }
                Missing::Unreachable => {}
                Missing::Unexcused(clause) => lost(facts, found, clause, (id, &message), *audience, &seen),
            }
        }
    }
    for ((broker, cut), tail) in &tails {
        holes(facts, deliveries, found, broker, *cut, tail);
    }
}

/// The tail that one power cut took from one broker.
#[derive(Debug, Default)]
struct Tail {
    first: Option<(f64, MessageId)>,
}

impl Tail {
    fn add(&mut self, id: MessageId, message: &Message) {
        if self.first.is_none_or(|(t, _)| message.ended.1 < t) {
            self.first = Some((message.ended.1, id));
        }
    }
}

enum Missing<'a> {
    Tail(&'a Fault),
    Unreachable,
    Unexcused(&'static str),
}

fn broker_of(facts: &Facts, message: &Message) -> String {
    message.stored.and_then(|(queue, _)| facts.queue(queue).1.broker.clone()).unwrap_or_default()
}

/// Whether the audience should have got the message at all.
fn belongs(facts: &Facts, commits: &Commits, message: &Message, audience: Name, since: f64) -> bool {
    let rules = facts.rules(audience);
    let tag = message.tag.map(|tag| facts.label(tag));
    let past = |(queue, offset)| commits.passed(facts, Place { audience, queue }, offset, message.ended.1);
    let passed = message.stored.map_or(f64::INFINITY, past);
    let of = (facts.group(audience), message.topic);
    let skipped = facts.subscriptions.may_skip(of, tag.as_deref(), message.invoked.1, passed);
    if skipped.unwrap_or_else(|| !rules.accepts(facts.name(message.topic), tag.as_deref())) {
        return false;
    }
    if rules.from == StartFrom::Last && message.invoked.1 < since + SETTLING_MS {
        return false;
    }
    if rules.model == Model::Clustering {
        return true;
    }
    let (Some(client), Some((queue, _))) = (facts.member(audience), message.stored) else { return false };
    let session = facts.session(audience, client, queue);
    session.since.0 > 0 && session.since.1 + IN_FLIGHT_MS < message.invoked.1
}

fn missing<'a>(facts: &'a Facts, message: &Message, seen: &[Seen]) -> Missing<'a> {
    let nowhere = Queue { broker: None, id: 0 };
    let (queue, offset) = match message.stored {
        Some((queue, offset)) => (facts.queue(queue).1, Some(offset)),
        None => (&nowhere, None),
    };
    if facts.faults.down_for_good(queue)
        || gone(facts, message, queue, offset)
        || removed(facts, message, queue, offset)
    {
        return Missing::Unreachable;
    }
    let mut covered = false;
    let may_take = |cut: &&Fault| (facts.flush_is_async() || cut.lied) && acked_before(message, cut);
    for cut in facts.faults.cuts(queue, message.invoked.1, f64::INFINITY).filter(may_take) {
        if offset.is_some_and(|offset| cut.kept(facts.name(message.topic), queue, offset)) {
            covered = true;
        } else {
            return Missing::Tail(cut);
        }
    }
    Missing::Unexcused(match (covered, seen.is_empty()) {
        (true, _) => "durable-lost",
        (false, true) => "never-delivered",
        (false, false) => "never-handled",
    })
}

/// Whether the message was damaged, or went with its disk.
fn gone(facts: &Facts, message: &Message, queue: &Queue, offset: Option<u64>) -> bool {
    let topic = facts.name(message.topic);
    let damaged = offset.is_some_and(|offset| facts.faults.damaged(topic, queue, offset, message.invoked.1));
    let mut cuts = facts.faults.cuts(queue, message.invoked.1, f64::INFINITY);
    damaged || cuts.any(|cut| cut.is_new_disk() && acked_before(message, cut))
}

/// Whether a broker removed the message for want of room, after it was acknowledged.
fn removed(facts: &Facts, message: &Message, queue: &Queue, offset: Option<u64>) -> bool {
    let Some(offset) = offset else { return false };
    facts.faults.removals(queue, message.ended.1).any(|removal| {
        let kept = removal.durable.as_ref().and_then(|d| d.get(facts.name(message.topic)));
        kept.and_then(|queues| queues.get(&queue.id.to_string())).is_none_or(|first| offset < *first)
    })
}

/// Whether the acknowledgement may have left the broker before the cut: it was there before, came while the broker was down, its client was
/// late since before, or it was under way. Who had to try again was acknowledged by the next life.
fn acked_before(message: &Message, cut: &Fault) -> bool {
    let under_way = message.attempts == Some(1) && message.ended.1 <= cut.from + IN_FLIGHT_MS;
    under_way || message.answered <= cut.from || cut.until.is_none_or(|back| back >= message.ended.1)
}

fn lost(
    facts: &Facts,
    found: &mut Found,
    clause: &str,
    (id, message): (MessageId, &Message),
    audience: Name,
    seen: &[Seen],
) {
    let broadcast = facts.member(audience).is_some();
    let (oracle, role) = match (broadcast, clause) {
        (true, _) => (Oracle::Broadcast, "consumer"),
        (false, "never-handled") => (Oracle::Lost, "consumer"),
        _ => (Oracle::Lost, "broker"),
    };
    let mut v = violation(oracle, if broadcast { "member-missed" } else { clause }, role);
    v.topic_kind = facts.topic_kind(message.topic);
    v.at_ms = message.ended.1;
    let place = message.stored.map_or("an unnamed position".into(), |(q, o)| format!("{} at {o}", facts.queue_text(q)));
    let how = match clause {
        "never-handled" => "was handed out, but no handler ended well",
        "durable-lost" => "never came, although the disk held it when the power went",
        _ => "never came",
    };
    v.text = format!("\"{}\" was acknowledged in {place}, but to {} it {how}", facts.key(id), facts.name(audience));
    v.lines = vec![message.invoked.0, message.ended.0];
    v.lines.extend(seen.iter().map(|s| s.visit.at.0));
    found.push(v);
}

/// A lost tail has no survivor behind it: whatever was asked for after the first lost message was acknowledged, and was itself
/// acknowledged before the cut, is lost too.
fn holes(facts: &Facts, deliveries: &Deliveries, found: &mut Found, broker: &str, line: u64, tail: &Tail) {
    let Some((from, first)) = tail.first else { return };
    let Some(cut) = facts.faults.during(f64::NEG_INFINITY, f64::INFINITY).find(|f| f.line == line) else { return };
    let after = (facts.first_after(from)..facts.messages()).map(|id| (id, facts.message(id)));
    for (id, message) in after.take_while(|(_, message)| message.invoked.1 < cut.from) {
        let inside = message.outcome == Some(Phase::Ok) && message.ended.1 < cut.from;
        if !inside || broker_of(facts, &message) != broker {
            continue;
        }
        let Some(survivor) = survived(facts, deliveries, id, &message, cut) else { continue };
        let lost = facts.message(first);
        let mut v = violation(Oracle::Lost, "hole-in-tail", "broker");
        v.topic_kind = facts.topic_kind(lost.topic);
        v.at_ms = cut.from;
        v.text = format!(
            "\"{}\" was lost with the power of {broker}, but \"{}\", which was stored after it, survived",
            facts.key(first),
            facts.key(id)
        );
        v.lines = vec![lost.ended.0, message.invoked.0, message.ended.0, line, survivor];
        found.push(v);
        return;
    }
}

/// The line of a delivery that proves that the message was there after the cut: one whose owner began after the broker was back.
fn survived(facts: &Facts, deliveries: &Deliveries, id: MessageId, message: &Message, cut: &Fault) -> Option<u64> {
    let back = cut.until?;
    let audiences = facts.audiences.get(&message.topic)?;
    let mut seen = audiences.keys().flat_map(|audience| deliveries.seen(*audience, id));
    seen.find(|s| {
        let here = Some((s.visit.place.queue, s.visit.offset)) == message.stored;
        here && s.visit.session.since.0 > 0 && s.visit.session.since.1 > back
    })
    .map(|s| s.visit.at.0)
}

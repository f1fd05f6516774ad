//! Order: of positions as producers were told them, of deliveries within a queue, and of deliveries within a business id.
//!
//! Invariant: only first deliveries are compared; a repeat is the business of the duplicate checker. A power cut that took a
//! tail away begins a queue anew. What a group passed over because somebody did not read it may come later, when the group is sent back and
//! reads it. Order holds within a queue; a business id keeps its queue as long as no fault of a server
//! could change the list of queues that producers choose from.

use std::collections::BTreeMap;

use seedmq_reports::Oracle;

use super::facts::{At, Facts, Message, MessageId, Name, Place, QueueId, Visit};
use super::faults::Fault;
use super::found::Found;
use super::kept::{Column, Map, Pages, pair};
use super::violation;
use crate::history::Phase;
use crate::tape::OrderKind;

/// The furthest first delivery of a queue.
#[derive(Clone, Copy, Debug)]
struct Front {
    offset: u64,
    message: Option<MessageId>,
    at: At,
    client: Name,
    since: At,
}

/// The delivered message of a business id that was sent last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latest {
    /// Which.
    pub message: MessageId,
    /// Where from.
    pub queue: QueueId,
    /// When it was asked for.
    pub sent: f64,
    /// When it was handed out.
    pub at: At,
}

/// An acknowledgement, with the highest position up to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acked {
    /// When.
    pub t: f64,
    /// The highest position.
    pub highest: u64,
    /// The line that told it.
    pub line: u64,
}

/// What order checking remembers.
#[derive(Debug)]
pub struct Order {
    fronts: BTreeMap<Place, Front>,
    /// By audience and topic, and business id.
    latest: Map<Latest>,
    stored: BTreeMap<QueueId, Column<Acked>>,
    pages: Pages,
}

impl Order {
    /// Nothing so far; it will be in `pages`.
    pub fn new(pages: &Pages) -> Order {
        let (fronts, stored) = (BTreeMap::new(), BTreeMap::new());
        Order { fronts, latest: Map::new(pages, 0), stored, pages: pages.clone() }
    }

    /// The administrator moved the group: its queue begins anew.
    pub fn reset(&mut self, place: Place) {
        self.fronts.remove(&place);
    }

    /// A message was acknowledged: a message that was asked for after another was acknowledged stands behind it.
    pub fn acked(&mut self, facts: &Facts, found: &mut Found, id: MessageId) {
        let message = facts.message(id);
        let Some((queue, offset)) = message.stored else { return };
        let all = self.stored.entry(queue).or_insert_with(|| Column::new(&self.pages));
        let before = all.partition_point(|a| a.t < message.invoked.1).checked_sub(1).map(|i| all.get(i));
        let highest = all.last().map_or(0, |a| a.highest);
        let line = if offset >= highest { message.ended.0 } else { all.last().map_or(message.ended.0, |a| a.line) };
        let (topic, place) = facts.queue(queue);
        if let Some(before) = before.filter(|b| b.highest > offset) {
            let was_deleted = facts.faults.deleted(facts.name(topic), 0.0, message.ended.1);
            // The end of a log that was damaged leaves its positions to the next ones.
            let is_lost = |at: u64| facts.faults.damaged(facts.name(topic), place, at, 0.0);
            let lost_its_end = (offset..=before.highest).all(is_lost);
            if was_deleted || lost_its_end || facts.faults.cuts(place, 0.0, message.ended.1).next().is_some() {
                *all = Column::new(&self.pages);
                all.push(Acked { t: message.ended.1, highest: offset, line: message.ended.0 });
                return;
            }
            let mut v = violation(Oracle::QueueOrder, "stored-out-of-order", "broker");
            v.topic_kind = facts.topic_kind(topic);
            v.at_ms = message.ended.1;
            v.text = format!(
                "\"{}\" got position {offset} of {}, although position {} was acknowledged before it was sent",
                facts.key(id),
                facts.queue_text(queue),
                before.highest
            );
            v.lines = vec![before.line, message.invoked.0, message.ended.0];
            found.push(v);
        }
        all.push(Acked { t: message.ended.1, highest: highest.max(offset), line });
    }

    /// A message was handed out.
    pub fn delivered(&mut self, facts: &Facts, found: &mut Found, visit: &Visit, first: bool) {
        if !first {
            return;
        }
        self.in_queue(facts, found, visit);
        self.in_shard(facts, found, visit);
    }

    /// Handlers begin in the order of the queue: for an ordered topic or group across owners, otherwise while one owner stays.
    fn in_queue(&mut self, facts: &Facts, found: &mut Found, visit: &Visit) {
        let (topic, queue) = facts.queue(visit.place.queue);
        let strict = facts.order(topic) != OrderKind::None || facts.rules(visit.place.audience).orderly;
        let now = Front {
            offset: visit.offset,
            message: visit.message,
            at: visit.at,
            client: visit.client,
            since: visit.session.since,
        };
        let Some(front) = self.fronts.get_mut(&visit.place) else {
            self.fronts.insert(visit.place, now);
            return;
        };
        if visit.offset > front.offset || facts.faults.damaged(facts.name(topic), queue, visit.offset, 0.0) {
            *front = now;
            return;
        }
        if let (Some(before), Some(id)) = (front.message, visit.message) {
            let cut_off = |cut: &Fault| {
                parted(facts, cut, before, id)
                    || (parted(facts, cut, id, before) && !cut.kept(facts.name(topic), queue, visit.offset))
            };
            if facts.faults.cuts(queue, 0.0, visit.at.1).any(cut_off) {
                *front = now;
                return;
            }
        }
        if passed_over(facts, visit, front.at) {
            return;
        }
        let same = front.client == visit.client && front.since == visit.session.since;
        if !strict && (!same || facts.rules(visit.place.audience).parallel) {
            return;
        }
        let mut v = violation(Oracle::QueueOrder, "went-back", "consumer");
        v.topic_kind = facts.topic_kind(topic);
        v.at_ms = visit.at.1;
        v.text = format!(
            "{} of {} was delivered to {} at {} for the first time after {} had been",
            facts.queue_text(visit.place.queue),
            facts.name(visit.place.audience),
            facts.name(visit.client),
            visit.offset,
            front.offset
        );
        v.lines = vec![front.at.0, visit.at.0];
        found.push(v);
    }

    /// Of two messages of a business id, the second sent after the first was acknowledged, the first is delivered first.
    fn in_shard(&mut self, facts: &Facts, found: &mut Found, visit: &Visit) {
        let Some(id) = visit.message else { return };
        let message = facts.message(id);
        let (Some(shard), OrderKind::Key) = (message.shard, facts.order(message.topic)) else { return };
        let key = (pair(visit.place.audience, message.topic), shard);
        let now = Latest { message: id, queue: visit.place.queue, sent: message.invoked.1, at: visit.at };
        let Some(latest) = self.latest.get(key) else {
            self.latest.insert(key, now);
            return;
        };
        let overtaken = message.outcome == Some(Phase::Ok) && message.ended.1 < latest.sent;
        let excused = moved(facts, visit, &message, &latest) || taken(facts, visit, id, &latest);
        if overtaken && !excused && !passed_over(facts, visit, latest.at) {
            let later = facts.message(latest.message);
            let mut v = violation(Oracle::KeyOrder, "overtaken", "consumer");
            v.topic_kind = facts.topic_kind(message.topic);
            v.at_ms = visit.at.1;
            v.text = format!(
                "\"{}\" of {} was acknowledged before \"{}\" was sent, but delivered to {} after it",
                facts.key(id),
                facts.label(shard),
                facts.key(latest.message),
                facts.name(visit.place.audience)
            );
            v.lines = vec![message.invoked.0, message.ended.0, later.invoked.0, latest.at.0, visit.at.0];
            found.push(v);
        }
        if now.sent > latest.sent {
            self.latest.insert(key, now);
        }
    }
}

/// Whether the business id may have changed its queue between the two.
fn moved(facts: &Facts, visit: &Visit, message: &Message, latest: &Latest) -> bool {
    latest.queue != visit.place.queue && facts.routes_may_change(message.invoked.1, latest.sent)
}

/// Whether the group may have passed the message over, by its subscriptions, before it was at a later one.
fn passed_over(facts: &Facts, visit: &Visit, later: At) -> bool {
    let Some(message) = visit.message.map(|id| facts.message(id)) else { return false };
    let (of, tag) = ((facts.group(visit.place.audience), message.topic), message.tag.map(|tag| facts.label(tag)));
    facts.subscriptions.may_skip(of, tag.as_deref(), message.invoked.1, later.1) == Some(true)
}

/// Whether a power cut may have taken the message from the disk before the later one was stored.
fn taken(facts: &Facts, visit: &Visit, id: MessageId, latest: &Latest) -> bool {
    let (topic, queue) = facts.queue(visit.place.queue);
    let gone =
        |cut: &Fault| parted(facts, cut, id, latest.message) && !cut.kept(facts.name(topic), queue, visit.offset);
    facts.faults.cuts(queue, 0.0, visit.at.1).any(gone)
}

/// Whether the one may have been stored before a power cut and the other after it. What the cut took from the disk may still
/// wait in the memory of its owner, while another member is handed what took its place.
fn parted(facts: &Facts, cut: &Fault, before: MessageId, after: MessageId) -> bool {
    let after = facts.message(after);
    facts.message(before).invoked.1 <= cut.from && (after.outcome != Some(Phase::Ok) || after.ended.1 >= cut.from)
}

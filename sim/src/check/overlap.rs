//! Overlap: members of an ordered group never handle one queue at the same time, nor one member two of its messages.
//!
//! Invariant: per place the handlers that run now are known; a handler ends by its own line, or with its client.

use std::collections::BTreeMap;

use seedmq_reports::Oracle;

use super::facts::{Facts, Name, Place, Visit};
use super::found::Found;
use super::violation;

/// Handlers that run now.
#[derive(Debug, Default)]
pub struct Overlap {
    running: BTreeMap<Place, Vec<Visit>>,
}

impl Overlap {
    /// A handler began.
    pub fn began(&mut self, facts: &Facts, found: &mut Found, visit: &Visit) {
        if !facts.rules(visit.place.audience).orderly {
            return;
        }
        let running = self.running.entry(visit.place).or_default();
        for other in running.iter().filter(|other| !excused(facts, other, visit)) {
            overlapped(facts, found, other, visit);
        }
        running.push(*visit);
    }

    /// A handler ended.
    pub fn ended(&mut self, visit: &Visit) {
        if let Some(running) = self.running.get_mut(&visit.place) {
            running.retain(|other| other.at != visit.at);
            if running.is_empty() {
                self.running.remove(&visit.place);
            }
        }
    }

    /// A client died: nothing of it runs any more.
    pub fn gone(&mut self, client: Name) {
        self.running.values_mut().for_each(|running| running.retain(|other| other.client != client));
        self.running.retain(|_, running| !running.is_empty());
    }
}

/// A lock is lost with its broker, and given away when its holder cannot renew it.
fn excused(facts: &Facts, other: &Visit, now: &Visit) -> bool {
    let (_, queue) = facts.queue(now.place.queue);
    let holder = facts.name(other.client);
    other.client != now.client
        && facts.faults.during(other.at.1, now.at.1).any(|f| f.touches(holder) || f.touches_queue(queue))
}

fn overlapped(facts: &Facts, found: &mut Found, other: &Visit, now: &Visit) {
    let clause = if other.client == now.client { "same-member" } else { "two-members" };
    let mut v = violation(Oracle::Overlap, clause, "consumer");
    v.topic_kind = facts.topic_kind(facts.queue(now.place.queue).0);
    v.at_ms = now.at.1;
    v.text = format!(
        "{} began to handle position {} of {} while {} still handled position {}",
        facts.name(now.client),
        now.offset,
        facts.queue_text(now.place.queue),
        facts.name(other.client),
        other.offset
    );
    v.lines = vec![other.at.0, now.at.0];
    v.lines.extend([other.session.since.0, now.session.since.0].iter().filter(|line| **line > 0));
    found.push(v);
}

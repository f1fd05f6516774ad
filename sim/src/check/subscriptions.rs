//! Subscriptions that change: what each member of a group reads of a topic, and since when.
//!
//! A broker filters for a whole group by the newest subscription that it heard of, and a member drops what it does not want itself. While
//! members differ, a message may so be passed over that some of them want (documented behaviour of RocketMQ).
//!
//! Invariant: a message may be passed over only when a subscription that did not want it was in force at some time between its sending
//! and the moment at which the group was past it. In force is what a member reads, and the newest of all until there is a newer one.

use std::collections::BTreeMap;

use super::AFTERMATH_MS;
use super::facts::Name;
use crate::history::passes;

/// What a member reads of a topic.
#[derive(Clone, Debug)]
struct Subscription {
    client: Name,
    /// None for nothing.
    tags: Option<String>,
    version: i64,
    from: f64,
    /// When the member read something else, or was gone.
    until: Option<f64>,
    /// When there was a newer one in the group.
    superseded: Option<f64>,
}

impl Subscription {
    fn accepts(&self, tag: Option<&str>) -> bool {
        self.tags.as_ref().is_some_and(|tags| passes(tags, tag))
    }

    /// Until when a broker may go by it: a pull that it holds was made while it was in force.
    fn end(&self) -> f64 {
        let end = |at: Option<f64>| at.unwrap_or(f64::INFINITY);
        end(self.until).max(end(self.superseded)) + AFTERMATH_MS
    }
}

/// All of them, by group and topic, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Subscriptions {
    of: BTreeMap<(Name, Name), Vec<Subscription>>,
}

impl Subscriptions {
    /// A member reads something else of a topic from now on.
    pub fn note(&mut self, (group, topic, client): (Name, Name, Name), tags: Option<&str>, version: i64, t: f64) {
        let all = self.of.entry((group, topic)).or_default();
        for old in all.iter_mut() {
            if old.client == client {
                old.until.get_or_insert(t);
            }
            if old.version < version {
                old.superseded.get_or_insert(t);
            }
        }
        let newest = all.iter().all(|old| old.version < version);
        let superseded = (!newest).then_some(t);
        all.push(Subscription { client, tags: tags.map(Into::into), version, from: t, until: None, superseded });
    }

    /// A member is gone.
    pub fn gone(&mut self, client: Name, t: f64) {
        let mine = self.of.values_mut().flatten().filter(|old| old.client == client);
        mine.for_each(|old| old.until = old.until.or(Some(t)));
    }

    /// Whether a member may be handed a message with this tag that was sent at `sent`, by what it reads, or read while it had the queue already
    /// (since `owned`) and the message was there. None when the history does not tell what it reads.
    pub fn wants(
        &self,
        (group, topic, client): (Name, Name, Name),
        tag: Option<&str>,
        sent: f64,
        owned: f64,
    ) -> Option<bool> {
        let mut mine = self.of.get(&(group, topic))?.iter().filter(|sub| sub.client == client).peekable();
        mine.peek()?;
        Some(mine.any(|sub| sub.accepts(tag) && sub.until.is_none_or(|until| sent <= until && owned <= until)))
    }

    /// Whether the group may have passed a message over that was sent at `from`, by the time at which it was past it. None when
    /// the history does not tell what members read.
    pub fn may_skip(&self, (group, topic): (Name, Name), tag: Option<&str>, from: f64, to: f64) -> Option<bool> {
        let all = self.of.get(&(group, topic))?;
        Some(all.iter().any(|sub| !sub.accepts(tag) && sub.from <= to && sub.end() >= from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: (Name, Name) = (0, 1);

    fn made(all: &[(Name, Option<&str>, i64, f64)]) -> Subscriptions {
        let mut made = Subscriptions::default();
        all.iter().for_each(|(client, tags, version, t)| made.note((G.0, G.1, *client), *tags, *version, *t));
        made
    }

    #[test]
    fn a_message_is_passed_over_only_while_somebody_does_not_want_it() {
        let same = made(&[(5, Some("x || y"), 1, 0.0), (6, Some("x||y"), 2, 0.0)]);
        assert_eq!(same.may_skip(G, Some("x"), 10.0, 20.0), Some(false));
        assert_eq!(same.may_skip(G, Some("z"), 10.0, 20.0), Some(true));
        assert_eq!(same.may_skip((7, 7), Some("z"), 10.0, 20.0), None, "nothing is known of that group");
        let mixed =
            made(&[(5, Some("x"), 1, 0.0), (6, Some("x"), 2, 0.0), (5, Some("*"), 3, 1_000.0), (6, None, 4, 9_000.0)]);
        let skips = |from, to| mixed.may_skip(G, Some("y"), from, to).unwrap();
        assert!(skips(500.0, 600.0), "nobody asked for it");
        assert!(skips(2_000.0, 3_000.0), "6 still reads x");
        assert!(mixed.may_skip(G, Some("x"), 9_500.0, 9_600.0).unwrap(), "6 reads nothing");
        assert!(!mixed.may_skip(G, Some("x"), 2_000.0, 3_000.0).unwrap(), "everybody wants it");
        let later = made(&[(5, Some("x"), 1, 0.0), (5, Some("*"), 2, 1_000.0)]);
        assert!(later.may_skip(G, Some("y"), 2_000.0, 3_000.0).unwrap(), "a pull may still be held");
        assert!(!later.may_skip(G, Some("y"), 1_000.0 + AFTERMATH_MS + 1.0, 90_000.0).unwrap());
    }

    #[test]
    fn the_newest_stays_in_force_when_its_member_is_gone() {
        let mut gone = made(&[(5, Some("x"), 9, 0.0), (6, Some("*"), 2, 0.0)]);
        gone.gone(5, 1_000.0);
        assert!(gone.may_skip(G, Some("y"), 200_000.0, 300_000.0).unwrap());
        gone.note((G.0, G.1, 6), Some("*"), 10, 400_000.0);
        assert!(!gone.may_skip(G, Some("y"), 500_000.0, 600_000.0).unwrap());
    }

    #[test]
    fn a_member_is_handed_what_it_reads_or_had_pulled() {
        let made = made(&[(5, Some("x"), 1, 0.0), (5, Some("y"), 2, 1_000.0)]);
        let wants = |tag, sent, owned| made.wants((G.0, G.1, 5), Some(tag), sent, owned).unwrap();
        assert!(wants("y", 5_000.0, 10.0) && wants("x", 900.0, 10.0));
        assert!(!wants("x", 1_100.0, 10.0), "it came after the change");
        assert!(!wants("x", 900.0, 1_100.0), "the queue came after the change");
        assert!(!wants("z", 900.0, 10.0));
        assert_eq!(made.wants((G.0, G.1, 6), Some("x"), 0.0, 0.0), None);
    }
}

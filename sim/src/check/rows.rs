//! What the checkers keep of messages, as rows of tables.
//!
//! Invariant: a row that was put away comes back the same. What may be absent is 0, and one more than it is when it is there.

use super::commits::Commit;
use super::deliveries::{Held, Seen};
use super::facts::{At, Message, Place, Session, Visit};
use super::kept::{Row, pair, unpair};
use super::order::{Acked, Latest};
use crate::history::Phase;

fn from_phase(phase: Option<Phase>) -> u32 {
    match phase {
        None => 0,
        Some(Phase::Invoke) => 1,
        Some(Phase::Ok) => 2,
        Some(Phase::Fail) => 3,
        Some(Phase::Info) => 4,
    }
}

fn to_phase(number: u32) -> Option<Phase> {
    [None, Some(Phase::Invoke), Some(Phase::Ok), Some(Phase::Fail), Some(Phase::Info)][number as usize]
}

/// Of numbers that count lines, messages or names, or are of 32 bits.
fn absent_or(number: Option<u64>) -> u64 {
    number.map_or(0, |number| number + 1)
}

fn from_at(at: At) -> [u64; 2] {
    [at.0, at.1.to_bits()]
}

fn to_at(line: u64, time: u64) -> At {
    (line, f64::from_bits(time))
}

impl Row for Message {
    type Words = [u64; 14];

    fn to_words(self) -> [u64; 14] {
        let ([invoked, invoked_t], [ended, ended_t]) = (from_at(self.invoked), from_at(self.ended));
        let [delivered, delivered_t] = self.delivered.map_or([0; 2], from_at);
        let (queue, offset) = self.stored.map_or((0, 0), |(queue, offset)| (absent_or(Some(queue.into())), offset));
        [
            pair(self.topic, from_phase(self.outcome)),
            absent_or(self.shard),
            absent_or(self.tag),
            invoked,
            invoked_t,
            ended,
            ended_t,
            self.answered.to_bits(),
            absent_or(self.attempts.map(u64::from)),
            queue,
            offset,
            self.asks.into(),
            delivered,
            delivered_t,
        ]
    }

    fn from_words(words: [u64; 14]) -> Message {
        let [
            what,
            shard,
            tag,
            invoked,
            invoked_t,
            ended,
            ended_t,
            answered,
            attempts,
            queue,
            offset,
            asks,
            delivered,
            delivered_t,
        ] = words;
        let (topic, outcome) = unpair(what);
        Message {
            topic,
            shard: shard.checked_sub(1),
            tag: tag.checked_sub(1),
            invoked: to_at(invoked, invoked_t),
            outcome: to_phase(outcome),
            ended: to_at(ended, ended_t),
            answered: f64::from_bits(answered),
            attempts: attempts.checked_sub(1).map(|n| n as u32),
            stored: queue.checked_sub(1).map(|queue| (queue as u32, offset)),
            asks: asks as u32,
            delivered: (delivered > 0).then(|| to_at(delivered, delivered_t)),
        }
    }
}

impl Row for Visit {
    type Words = [u64; 8];

    fn to_words(self) -> [u64; 8] {
        let ([since, since_t], [line, t]) = (from_at(self.session.since), from_at(self.at));
        let (who, place) = (pair(self.client, self.place.audience), self.place.queue.into());
        [who, place, self.offset, absent_or(self.message), since, since_t, line, t]
    }

    fn from_words([who, place, offset, message, since, since_t, line, t]: [u64; 8]) -> Visit {
        let (client, audience) = unpair(who);
        Visit {
            place: Place { audience, queue: place as u32 },
            offset,
            message: message.checked_sub(1),
            client,
            session: Session { since: to_at(since, since_t) },
            at: to_at(line, t),
        }
    }
}

impl Row for Seen {
    type Words = [u64; 10];

    fn to_words(self) -> [u64; 10] {
        let [who, place, offset, message, since, since_t, line, t] = self.visit.to_words();
        let how = pair(from_phase(self.outcome), self.consumed.into());
        [who, place, offset, message, since, since_t, line, t, how, absent_or(self.next)]
    }

    fn from_words([who, place, offset, message, since, since_t, line, t, how, next]: [u64; 10]) -> Seen {
        let (outcome, consumed) = unpair(how);
        Seen {
            visit: Visit::from_words([who, place, offset, message, since, since_t, line, t]),
            outcome: to_phase(outcome),
            consumed: consumed > 0,
            next: next.checked_sub(1),
        }
    }
}

impl Row for Held {
    type Words = [u64; 3];

    fn to_words(self) -> [u64; 3] {
        let [line, t] = from_at(self.at);
        [self.message, line, t]
    }

    fn from_words([message, line, t]: [u64; 3]) -> Held {
        Held { message, at: to_at(line, t) }
    }
}

impl Row for Latest {
    type Words = [u64; 5];

    fn to_words(self) -> [u64; 5] {
        let [line, t] = from_at(self.at);
        [self.message, self.queue.into(), self.sent.to_bits(), line, t]
    }

    fn from_words([message, queue, sent, line, t]: [u64; 5]) -> Latest {
        Latest { message, queue: queue as u32, sent: f64::from_bits(sent), at: to_at(line, t) }
    }
}

impl Row for Acked {
    type Words = [u64; 3];

    fn to_words(self) -> [u64; 3] {
        [self.t.to_bits(), self.highest, self.line]
    }

    fn from_words([t, highest, line]: [u64; 3]) -> Acked {
        Acked { t: f64::from_bits(t), highest, line }
    }
}

impl Row for Commit {
    type Words = [u64; 6];

    fn to_words(self) -> [u64; 6] {
        let ([line, t], [since, since_t]) = (from_at(self.at), from_at(self.session.since));
        [line, t, pair(self.client, self.shared.into()), self.offset, since, since_t]
    }

    fn from_words([line, t, who, offset, since, since_t]: [u64; 6]) -> Commit {
        let (client, shared) = unpair(who);
        let session = Session { since: to_at(since, since_t) };
        Commit { at: to_at(line, t), client, offset, session, shared: shared > 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> impl Strategy<Value = At> {
        (1..=u64::MAX, -1e300..1e300_f64)
    }

    fn phase() -> impl Strategy<Value = Option<Phase>> {
        (0..5_u32).prop_map(to_phase)
    }

    prop_compose! {
        fn message()(
            (topic, queue, asks, attempts) in any::<(u32, u32, u32, Option<u32>)>(),
            (shard, tag) in (proptest::option::of(0..u64::MAX), proptest::option::of(0..u64::MAX)),
            (invoked, ended, delivered) in (at(), at(), proptest::option::of(at())),
            (outcome, stored, offset, answered) in (phase(), any::<bool>(), any::<u64>(), 0.0..1e12_f64),
        ) -> Message {
            let stored = stored.then_some((queue, offset));
            Message { topic, shard, tag, invoked, outcome, ended, answered, attempts, stored, asks, delivered }
        }
    }

    prop_compose! {
        fn seen()(
            (audience, queue, client, offset, consumed) in any::<(u32, u32, u32, u64, bool)>(),
            (message, next) in (proptest::option::of(0..u64::MAX), proptest::option::of(0..u64::MAX)),
            (since, at, outcome) in (at(), at(), phase()),
        ) -> Seen {
            let place = Place { audience, queue };
            let visit = Visit { place, offset, message, client, session: Session { since }, at };
            Seen { visit, outcome, consumed, next }
        }
    }

    fn same<R: Row + PartialEq + std::fmt::Debug>(row: R) {
        assert_eq!(R::from_words(row.to_words()), row);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn rows_come_back_the_same(message in message(), seen in seen(), queue: u32, client: u32, shared: bool) {
            same(message);
            same(seen);
            same(seen.visit);
            let (at, offset) = (seen.visit.at, seen.visit.offset);
            same(Held { message: offset, at });
            same(Latest { message: offset, queue, sent: at.1, at });
            same(Acked { t: at.1, highest: offset, line: at.0 });
            same(Commit { at, client, offset, session: seen.visit.session, shared });
        }
    }
}

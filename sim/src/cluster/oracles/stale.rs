//! The oracle `route` in quiet times: what a name server says of a topic is true again soon after the last fault or change.
//!
//! Invariant: a route is late only when every answer since then was wrong; a name server that does not answer says nothing.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_core::node::ConnId;
use seedmq_core::wire::Frame;
use seedmq_core::wire::codes::request;
use seedmq_reports::Oracle;

use super::settle::Brokers;
use crate::cluster::scene::Scene;
use crate::world::HostId;

const S: u64 = 1_000_000_000;
/// A broker registers every 30 s, and one that a name server forgot is back with it; a client polls every 30 s; and some slack.
const STALE_NS: u64 = 70 * S;
/// A broker whose connection did not close is given up after 120 s of silence, seen by a scan every 5 s (Java: 10 s); and some slack.
const EXPIRED_NS: u64 = 140 * S;

/// A broker that saw its connection go asks again after 1 s, and when it cannot connect within 3 s, after 5 s more; and some slack.
const BACK_NS: u64 = 15 * S;
/// A broker waits so long for an answer.
const ANSWER_NS: u64 = 24 * S;
/// A name server that forgets a broker because a connection went does so about when the broker sees it go.
const TOGETHER_NS: u64 = 5 * S;

/// A name server, a topic and the broker that it is wrong about.
type Key = (HostId, String, String);

/// What is wrong about a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// It is named and does not run.
    Gone,
    /// It runs and is not named, or with another number of queues.
    Unknown,
}

/// Since when name servers are wrong, when brokers last saw a connection to one go, and when they last registered with one or asked it
/// whether it still knows them, ns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stale {
    wrong: BTreeMap<Key, u64>,
    lost: BTreeMap<(HostId, String), u64>,
    asked: BTreeMap<(HostId, String), u64>,
}

impl Stale {
    /// A broker sees that its connection to a name server went.
    pub fn lost(&mut self, now: u64, server: HostId, broker: &str) {
        self.lost.insert((server, broker.to_owned()), now);
    }
    /// A broker asks a name server.
    pub fn asked(&mut self, now: u64, server: HostId, broker: &str) {
        self.asked.insert((server, broker.to_owned()), now);
    }
    /// Takes what is wrong now; what has been so for too long since `quiet_ns`.
    fn look(&mut self, now: u64, quiet_ns: u64, wrong: &BTreeMap<Key, Wrong>) -> Vec<(Key, u64)> {
        self.wrong.retain(|key, _| wrong.contains_key(key));
        let late = wrong.iter().filter_map(|(key, wrong)| {
            let since = *self.wrong.entry(key.clone()).or_insert(now);
            let pair = (key.0, key.2.clone());
            let lost = self.lost.get(&pair).copied().filter(|lost| since <= lost + TOGETHER_NS);
            // A question that went astray is asked again only after a while. One of before went with the connection.
            let asked = self.asked.get(&pair).copied().filter(|asked| lost.is_some_and(|lost| lost < *asked));
            let answered = asked.map_or(0, |asked| asked + ANSWER_NS);
            let (quiet, back) = (since.max(quiet_ns), lost.map_or(u64::MAX, |lost| lost.max(answered) + BACK_NS));
            let due = match wrong {
                Wrong::Gone => quiet + EXPIRED_NS,
                Wrong::Unknown => (quiet + STALE_NS).min(back.max(quiet + BACK_NS)),
            };
            (now >= due).then(|| (key.clone(), since))
        });
        late.collect()
    }
}

/// The connections of a broker to name servers.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Lines(BTreeMap<ConnId, HostId>);

impl Lines {
    /// A connection was made.
    pub fn opened(&mut self, conn: ConnId, server: HostId) {
        self.0.insert(conn, server);
    }
    /// A connection went; to which name server, if it was to one.
    pub fn closed(&mut self, conn: ConnId) -> Option<HostId> {
        self.0.remove(&conn)
    }
    /// Which name server a request asks whether it knows this broker, or tells that it is here.
    pub fn asks(&self, conn: ConnId, frame: &Frame) -> Option<HostId> {
        let is_ask = matches!(frame.code, request::REGISTER_BROKER | request::QUERY_DATA_VERSION);
        if is_ask && !frame.is_response() { self.0.get(&conn).copied() } else { None }
    }
}

/// Compares every answer since the last look with what runs.
pub(in crate::cluster) fn look(scene: &Scene, brokers: Option<&Brokers>) {
    let Some(brokers) = brokers else { return };
    let mut wrong = BTreeMap::new();
    for topic in scene.tape.header.config.topics.keys() {
        let truth: BTreeMap<&str, u32> = brokers
            .iter()
            .filter_map(|(host, look)| Some((scene.cast.name(*host), *look.topics.get(topic)?)))
            .collect();
        for server in scene.cast.name_servers().into_iter().filter(|host| scene.world.is_up(*host)) {
            let Some(told) = scene.seen(|seen| seen.routes.get(&(server, topic.clone())).cloned()) else { continue };
            let told = told.unwrap_or_default();
            let named: BTreeSet<&str> = truth.keys().copied().chain(told.keys().map(String::as_str)).collect();
            let unknown = super::settle::cut_off(scene, server);
            let known = named.into_iter().filter(|broker| !unknown.contains(broker));
            for broker in known.filter(|broker| told.get(*broker) != truth.get(broker)) {
                let is = if truth.contains_key(broker) { Wrong::Unknown } else { Wrong::Gone };
                wrong.insert((server, topic.clone(), broker.to_owned()), is);
            }
        }
    }
    let now = scene.now();
    let is_disturbed = scene.is_disturbed();
    let late = scene.seen(|seen| {
        let disturbed = seen.last_fault_ns.max(seen.rerouted_ns).unwrap_or(0);
        let quiet_ns = if is_disturbed { now } else { disturbed };
        seen.stale.look(now, quiet_ns, &wrong)
    });
    for ((server, topic, broker), since) in late {
        let (name, since) = (scene.cast.name(server), since / 1_000_000);
        let text = format!(
            "{name} has been wrong about {broker} in the route of {topic} since {since} ms, with no fault about"
        );
        scene.broken(Oracle::Route, "stale", "name-server", text, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (HostId(0), "T".to_owned(), "a".to_owned())
    }

    fn wrong(is: Wrong) -> BTreeMap<Key, Wrong> {
        BTreeMap::from([(key(), is)])
    }

    #[test]
    fn a_route_is_late_after_its_bound_and_only_if_nothing_happened() {
        let mut stale = Stale::default();
        assert_eq!(stale.look(S, 0, &wrong(Wrong::Unknown)), []);
        assert_eq!(stale.look(70 * S, 0, &wrong(Wrong::Unknown)), []);
        assert_eq!(stale.look(71 * S, 2 * S, &wrong(Wrong::Unknown)), [], "a fault came after it");
        assert_eq!(stale.look(71 * S, 0, &wrong(Wrong::Gone)), [], "it may have to expire");
        assert_eq!(stale.look(71 * S, 0, &wrong(Wrong::Unknown)), [(key(), S)]);
        assert_eq!(stale.look(141 * S, 0, &wrong(Wrong::Gone)), [(key(), S)]);
        assert_eq!(stale.look(142 * S, 0, &BTreeMap::new()), []);
        assert_eq!(stale.look(143 * S, 0, &wrong(Wrong::Unknown)), [], "it was right in between");
    }

    #[test]
    fn a_broker_that_saw_its_connection_go_is_back_sooner() {
        let mut stale = Stale::default();
        stale.asked(S, HostId(0), "a");
        stale.lost(2 * S, HostId(0), "a");
        assert_eq!(stale.look(3 * S, 0, &wrong(Wrong::Unknown)), []);
        assert_eq!(stale.look(17 * S, 0, &wrong(Wrong::Unknown)), []);
        assert_eq!(stale.look(18 * S, 4 * S, &wrong(Wrong::Unknown)), [], "a fault came after it");
        assert_eq!(stale.look(18 * S, 0, &wrong(Wrong::Gone)), []);
        assert_eq!(stale.look(18 * S, 0, &wrong(Wrong::Unknown)), [(key(), 3 * S)]);
        stale.asked(5 * S, HostId(0), "a");
        assert_eq!(stale.look(43 * S, 0, &wrong(Wrong::Unknown)), [], "it waits for an answer");
        assert_eq!(stale.look(44 * S, 0, &wrong(Wrong::Unknown)), [(key(), 3 * S)]);
        stale.asked(60 * S, HostId(0), "a");
        assert_eq!(stale.look(72 * S, 0, &wrong(Wrong::Unknown)), []);
        assert_eq!(stale.look(73 * S, 0, &wrong(Wrong::Unknown)), [(key(), 3 * S)], "however often it asks");
        assert_eq!(stale.look(74 * S, 0, &BTreeMap::new()), []);
        assert_eq!(stale.look(75 * S, 0, &wrong(Wrong::Unknown)), []);
        assert_eq!(stale.look(120 * S, 0, &wrong(Wrong::Unknown)), [], "not because of that connection");
    }
}

//! The oracle `route` in quiet times: what a name server says of a topic is true again soon after the last fault or change.
//!
//! Invariant: a route is late only when every answer since then was wrong; a name server that does not answer says nothing.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_reports::Oracle;

use super::settle::Brokers;
use crate::cluster::scene::Scene;
use crate::world::HostId;

const S: u64 = 1_000_000_000;
/// A broker registers every 30 s, and one that a name server forgot is back with it; a client polls every 30 s; and some slack.
const STALE_NS: u64 = 70 * S;
/// A broker whose connection did not close is given up after 120 s of silence, seen by a scan every 5 s (Java: 10 s); and some slack.
const EXPIRED_NS: u64 = 140 * S;

/// A name server, a topic and the broker that it is wrong about.
type Key = (HostId, String, String);

/// Since when name servers are wrong, ns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stale(BTreeMap<Key, u64>);

impl Stale {
    /// Takes what is wrong now, and whether the broker concerned is gone; what has been so for too long since `quiet_ns`.
    fn look(&mut self, now: u64, quiet_ns: u64, wrong: &BTreeMap<Key, bool>) -> Vec<(Key, u64)> {
        self.0.retain(|key, _| wrong.contains_key(key));
        let late = wrong.iter().filter_map(|(key, is_gone)| {
            let since = *self.0.entry(key.clone()).or_insert(now);
            let bound = if *is_gone { EXPIRED_NS } else { STALE_NS };
            (now >= since.max(quiet_ns) + bound).then(|| (key.clone(), since))
        });
        late.collect()
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
                wrong.insert((server, topic.clone(), broker.to_owned()), !truth.contains_key(broker));
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

    #[test]
    fn a_route_is_late_after_its_bound_and_only_if_nothing_happened() {
        let key = (HostId(0), "T".to_owned(), "a".to_owned());
        let wrong = |is_gone| BTreeMap::from([(key.clone(), is_gone)]);
        let mut stale = Stale::default();
        assert_eq!(stale.look(S, 0, &wrong(false)), []);
        assert_eq!(stale.look(70 * S, 0, &wrong(false)), []);
        assert_eq!(stale.look(71 * S, 2 * S, &wrong(false)), [], "a fault came after it");
        assert_eq!(stale.look(71 * S, 0, &wrong(true)), [], "it may have to expire");
        assert_eq!(stale.look(71 * S, 0, &wrong(false)), [(key.clone(), S)]);
        assert_eq!(stale.look(141 * S, 0, &wrong(true)), [(key.clone(), S)]);
        assert_eq!(stale.look(142 * S, 0, &BTreeMap::new()), []);
        assert_eq!(stale.look(143 * S, 0, &wrong(false)), [], "it was right in between");
    }
}

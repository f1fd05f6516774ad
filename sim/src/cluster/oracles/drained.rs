//! The oracle `route` about brokers that producers may not use: a name server that was told so tells everybody, and producers that
//! had time to ask go round the broker.
//!
//! Invariant: a name server knows of it from the moment it is handed the order until it is handed a registration of that broker or
//! the permission again, or its process ends. Both are seen in the order in which it takes them.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_core::wire::Frame;
use seedmq_core::wire::codes::request;
use seedmq_reports::Oracle;

use super::needless::is_open;
use crate::clients::Ended;
use crate::cluster::scene::Scene;
use crate::world::HostId;

const S: u64 = 1_000_000_000;
/// The administrator waits so long for an answer: what he asked a name server before it was told is answered by then.
const ANSWERED_NS: u64 = 3 * S;
/// A producer asks for routes every 30 s, each name server for 3 s; and some slack.
const HEARD_NS: u64 = 45 * S;

/// Since when name servers know that producers may not use a broker, ns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drained(BTreeMap<(HostId, String), u64>);

impl Drained {
    /// A process is no more, and with it what it knew.
    pub fn gone(&mut self, host: HostId) {
        self.0.retain(|(server, _), _| *server != host);
    }
    fn since(&self, server: HostId, broker: &str) -> Option<u64> {
        self.0.get(&(server, broker.to_owned())).copied()
    }
}

/// A name server takes a request.
pub(in crate::cluster) fn handed(scene: &Scene, server: HostId, frame: &Frame) {
    if frame.is_response() {
        return;
    }
    let ends = matches!(frame.code, request::REGISTER_BROKER | request::ADD_WRITE_PERM_OF_BROKER);
    if !ends && frame.code != request::WIPE_WRITE_PERM_OF_BROKER {
        return;
    }
    let Some(broker) = frame.fields.get("brokerName") else { return };
    let (key, now) = ((server, broker.to_owned()), scene.now());
    scene.seen(|seen| {
        if ends {
            seen.drained.0.remove(&key);
        } else {
            seen.drained.0.entry(key).or_insert(now);
        }
    });
}

/// A name server has answered at which brokers a topic can be written to.
pub(in crate::cluster) fn answered(scene: &Scene, server: HostId, topic: &str, writable: &BTreeSet<String>) {
    for broker in writable {
        let since = scene.seen(|seen| seen.drained.since(server, broker));
        let Some(since) = since.filter(|since| since + ANSWERED_NS < scene.now()) else { continue };
        let name = scene.cast.name(server);
        let text = format!(
            "{name} says that producers may use {broker} for {topic}, although it was told at {} ms that they may not",
            since / 1_000_000
        );
        scene.broken(Oracle::Route, "still-writable", "name-server", text, Vec::new());
    }
}

/// A producer chose a broker, which took the message.
pub(in crate::cluster) fn used(scene: &Scene, host: HostId, ended: &Ended) {
    let Ok(broker) = &ended.result else { return };
    let servers = scene.cast.name_servers();
    let told = |server: &HostId| scene.seen(|seen| seen.drained.since(*server, broker));
    let Some(since) = servers.iter().map(told).collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max())
    else {
        return;
    };
    // What a fault keeps the producer from hearing it may hear a while after the fault.
    let others = || servers.iter().copied().chain([host]).map(|host| scene.cast.name(host));
    let touched = |name: &str| scene.seen(|seen| seen.touched_ns.get(name).copied()).unwrap_or(0);
    if others().any(|name| is_open(scene, name)) {
        return;
    }
    let quiet = others().map(touched).fold(since, u64::max);
    if quiet + HEARD_NS > ended.began_ns {
        return;
    }
    let name = scene.cast.name(host);
    let text = format!(
        "{name} sent \"{}\" to {broker} at {} ms, although every name server has said since {} ms that producers may not \
         use it",
        ended.key,
        ended.began_ns / 1_000_000,
        since / 1_000_000,
    );
    scene.broken(Oracle::Route, "drained-broker-used", "producer", text, Vec::new());
}

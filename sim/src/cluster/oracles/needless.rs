//! The oracle `convergence`, clauses `needless-failure`: a send that was given up early although a broker was well, and
//! `route-forgotten`: one that found no route although its process had one.
//!
//! Invariant: only what the client's own retries should have saved is held against it: it had time and attempts left for a broker
//! that nothing had touched for a while, and never tried it. A name server that is away takes no route from anybody.

use seedmq_reports::Oracle;

use crate::clients::Ended;
use crate::cluster::cast::Role;
use crate::cluster::scene::Scene;
use crate::world::HostId;

/// After a fault a node may be badly known for so long: one round of heartbeats and routes.
const AFTERMATH_NS: u64 = 30_000_000_000;
/// So long a client waits for a route: what a name server told before it went may be on its way until then.
const UNDER_WAY_NS: u64 = 3_000_000_000;

/// A send of a producer ended.
pub(in crate::cluster) fn judge(scene: &Scene, host: HostId, ended: &Ended) {
    let Some(why) = ended.result.as_ref().err().filter(|_| ended.free) else { return };
    let Role::Producer(n) = scene.cast.role(host) else { return };
    let shape = &scene.tape.header.config.producers[n];
    let now = scene.now();
    // Near the end of its time another attempt would not have been answered either.
    let early = now.saturating_sub(ended.began_ns) < shape.send_timeout_ms * 1_000_000 / 2;
    let well = |name: &str, host: HostId| {
        let touched = scene.seen(|seen| seen.touched_ns.get(name).copied());
        let listed = scene.seen(|seen| seen.routed_ns.get(&(ended.topic.clone(), name.to_owned())).copied());
        // A client asks for routes each 30 s.
        let known =
            !scene.cast.brokers().contains(&host) || listed.is_some_and(|at| at + AFTERMATH_NS < ended.began_ns);
        known
            && scene.world.is_up(host)
            && touched.is_none_or(|at| at + AFTERMATH_NS < ended.began_ns)
            && !is_open(scene, name)
    };
    let brokers = scene.cast.brokers();
    let (good, bad): (Vec<HostId>, Vec<HostId>) =
        brokers.into_iter().partition(|host| well(scene.cast.name(*host), *host));
    let serving = good.iter().all(|host| scene.seen(|seen| seen.ready.contains(host)));
    let servers = scene.cast.name_servers();
    let alone = ended.acked_ns.is_some_and(|acked| are_away_since(scene, acked));
    if alone && why.starts_with("No route info") {
        let text = format!(
            "{} has forgotten the route of {}, which no name server can have told it: {}",
            scene.cast.name(host),
            ended.topic,
            why
        );
        scene.broken(Oracle::Convergence, "route-forgotten", "producer", text, Vec::new());
    }
    let is_well = |host: &HostId| well(scene.cast.name(*host), *host);
    let rest_is_well = is_well(&host) && (alone || servers.iter().all(is_well));
    // A retry avoids the broker that failed last, and only that one.
    let saved = shape.retries > 0 && bad.len() <= 1;
    let exhausted = why.starts_with("Send [");
    let untried = good.iter().find(|host| !why.contains(scene.cast.name(**host)));
    let Some(untried) = untried.filter(|_| early && serving && rest_is_well && saved && exhausted) else { return };
    let text = format!(
        "{} gave up \"{}\" after {} ms of {}, although {} was well and never tried: {}",
        scene.cast.name(host),
        ended.key,
        (now - ended.began_ns) / 1_000_000,
        shape.send_timeout_ms,
        scene.cast.name(*untried),
        why,
    );
    scene.broken(Oracle::Convergence, "needless-failure", "producer", text, Vec::new());
}

/// Whether every name server went before this time, so that nothing it told was on its way any more, and none has been there since.
fn are_away_since(scene: &Scene, at_ns: u64) -> bool {
    scene.cast.name_servers().into_iter().all(|host| {
        let touched = scene.seen(|seen| seen.touched_ns.get(scene.cast.name(host)).copied());
        !scene.world.is_up(host) && touched.is_some_and(|at| at + UNDER_WAY_NS <= at_ns)
    })
}

/// Whether a fault that has not ended names the node.
pub(in crate::cluster) fn is_open(scene: &Scene, name: &str) -> bool {
    let open = scene.seen(|seen| seen.open.clone());
    open.iter().any(|index| scene.tape.actions[*index].what.nodes().contains(&name))
}

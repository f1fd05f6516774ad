//! How processes begin and end: started, stopped, killed, without power, refused by themselves.
//!
//! Invariant: a host that is to come back is counted as away until it does.

use std::rc::Rc;

use madsim::runtime::Handle as Madsim;
use seedmq_core::node::DiskError;

use super::act::client_line;
use super::cast::Role;
use super::scene::{Job, Scene};
use crate::clients::ConsumerAgent;
use crate::history::{Op, Phase};
use crate::tape::What;
use crate::world::{Death, HostId};

const MS: u64 = 1_000_000;
/// How long an operator takes to start a broker anew whose disk had failed, milliseconds.
pub(super) const OPERATOR_MS: u64 = 1_000;
/// How long after a failed read a broker may refuse its store for it, milliseconds.
const REACTION_MS: u64 = 5_000;

/// An operator starts a broker anew that could not open its store while the disk failed.
pub(super) fn start_refused(scene: &Rc<Scene>, host: HostId) {
    if scene.seen(|seen| seen.refused.remove(&host)) {
        die(scene, host, "kill", Death::Killed, Some(OPERATOR_MS));
    }
}

/// Kills the process of a host as a test of the oracles', not as a fault of the tape.
pub(super) fn vanish(scene: &Scene, host: HostId) {
    let node = scene.seen(|seen| seen.nodes.get(&host).copied()).expect("a host that runs was started");
    scene.world.die(host, Death::Vanished);
    Madsim::current().kill(node);
    scene.gone(host);
}

/// Starts a host again after a while.
pub(super) fn come_back(scene: &Scene, host: HostId, down_ms: u64) {
    scene.seen(|seen| *seen.returns.entry(host).or_default() += 1);
    scene.remind(scene.now() + down_ms * MS, Job::Start(host));
}

/// A host was to come back by now.
pub(super) fn returns(scene: &Rc<Scene>, host: HostId) {
    scene.seen(|seen| {
        if let Some(said) = seen.returns.get_mut(&host) {
            *said -= 1;
        }
        seen.returns.retain(|_, said| *said > 0);
    });
    start(scene, host);
}

/// Starts a host that is down.
pub(super) fn start(scene: &Rc<Scene>, host: HostId) {
    if scene.world.is_up(host) {
        return;
    }
    let node = scene.seen(|seen| seen.nodes.get(&host).copied());
    let handle = Madsim::current();
    let node = node.unwrap_or_else(|| {
        // The future is large, and madsim hands it on by value.
        let node = handle
            .create_node()
            .name(scene.cast.name(host))
            .init(move || Box::pin(super::boot::live(host)))
            .build()
            .id();
        // The first process was just started; it runs once this task waits.
        scene.seen(|seen| seen.nodes.insert(host, node));
        node
    });
    let again = scene.world.life(host).0 > 0;
    scene.world.start(host, node);
    if again {
        handle.restart(node);
        scene.started(host);
    }
}

/// Asks a host to stop in order.
pub(super) fn stop(scene: &Scene, host: HostId) {
    let _ = scene.seen(|seen| seen.stop(host));
}

/// A member leaves its group.
pub(super) fn leave(scene: &Scene, host: HostId) {
    scene.seen(|seen| {
        if seen.stop(host) {
            seen.leaving.insert(host);
        }
    });
}

/// A member joins its group: at once, or when the process of before has stopped. One that stays there has joined already.
pub(super) fn join(scene: &Rc<Scene>, host: HostId) {
    if scene.world.is_up(host) && scene.seen(|seen| seen.leaving.contains(&host)) {
        scene.seen(|seen| seen.joining.insert(host));
        return;
    }
    start(scene, host);
}

pub(super) fn restart(scene: &Scene, host: HostId, down_ms: u64) {
    if scene.world.is_up(host) {
        scene.fault("restart", host, scene.cast.name(host), None);
        scene.seen(|seen| seen.restarts.insert(host, down_ms));
        stop(scene, host);
    }
}

/// A process ended in order. Handlers that ran end with it, and its queues are nobody's.
pub(super) fn exited(scene: &Scene, host: HostId) {
    let unfinished = scene.seen(|seen| seen.consumers.get(&host).map(ConsumerAgent::unfinished).unwrap_or_default());
    for call in unfinished {
        let (group, topic, key, phase) = (String::new(), String::new(), String::new(), Phase::Info);
        client_line(scene, host, Op::Deliver { phase, call, group, topic, queue: None, offset: None, key, attempt: 0 });
    }
    if let Role::Consumer(n) = scene.cast.role(host) {
        let group = scene.tape.header.config.consumers[n].group.clone();
        let given_back =
            scene.seen(|seen| seen.consumers.get(&host).map(ConsumerAgent::owned_topics).unwrap_or_default());
        for topic in given_back {
            client_line(scene, host, Op::Assign { group: group.clone(), topic, queues: Vec::new() });
        }
    }
    scene.gone(host);
    if let Some(down_ms) = scene.seen(|seen| seen.restarts.remove(&host)) {
        come_back(scene, host, down_ms);
    }
    if left(scene, host) {
        come_back(scene, host, 0);
    }
}

/// A member is no longer there. Whether it was to join again.
fn left(scene: &Scene, host: HostId) -> bool {
    scene.seen(|seen| {
        seen.leaving.remove(&host);
        seen.joining.remove(&host)
    })
}

/// Ends the process of a host, or its whole machine, and starts it again after a while.
pub(super) fn die(scene: &Rc<Scene>, host: HostId, kind: &str, how: Death, down_ms: Option<u64>) {
    let was_up = scene.world.is_up(host);
    let node = scene.seen(|seen| seen.nodes.get(&host).copied());
    let Some(node) = node.filter(|_| was_up) else { return };
    let cut = scene.disks.get(&host).filter(|_| how == Death::PowerLost && kind == "power-loss");
    if cut.is_some_and(|disk| !disk.look(|image| scene.seen(|seen| seen.atlas.may_cut(host, image)))) {
        return;
    }
    scene.world.die(host, how);
    Madsim::current().kill(node);
    let (mut durable, mut lied) = (None, false);
    if let Some(disk) = scene.disks.get(&host).filter(|_| how == Death::PowerLost) {
        lied = disk.write_back();
        if lied {
            scene.seen(|seen| seen.told.excused(host, seen.next_ticket));
        }
        if matches!(scene.cast.role(host), Role::Broker(_)) {
            let licence = scene.seen(|seen| seen.atlas.licence(host));
            durable = Some(disk.look(|image| crate::whitebox::durable_offsets(&image.platter(), &licence.ranges)));
        }
        disk.cut();
    }
    if let Some(disk) = scene.disks.get(&host) {
        disk.look(|image| scene.seen(|seen| seen.topics.died(host, image)));
    }
    scene.gone(host);
    scene.seen(|seen| seen.restarts.remove(&host));
    let joins = left(scene, host);
    scene.cut(kind, host, durable, lied);
    if let Some(down_ms) = down_ms.or(joins.then_some(0)) {
        come_back(scene, host, down_ms);
    }
}

/// A broker could not open its store. On a disk that fails at the moment it may not: an operator starts it anew afterwards.
pub(super) fn refused(scene: &Scene, host: HostId, why: &str) {
    let fails = |what: &What| match what {
        What::SyncError { node, .. }
        | What::ReadError { node, .. }
        | What::WriteError { node, .. }
        | What::DiskFull { node, .. } => scene.cast.host(node) == host,
        _ => false,
    };
    if scene.seen(|seen| seen.open.clone()).iter().any(|index| fails(&scene.tape.actions[*index].what)) {
        scene.seen(|seen| seen.refused.insert(host));
        return;
    }
    // The read failed before the disk was cured, and the broker took a moment to say so.
    let cured_ns = scene.seen(|seen| seen.cured_ns.get(&host).copied());
    if cured_ns.is_some_and(|at| scene.now() < at + REACTION_MS * MS) {
        scene.seen(|seen| seen.refused.insert(host));
        return scene.remind(scene.now() + OPERATOR_MS * MS, Job::Anew(host));
    }
    // Without room nothing can be recovered: an operator makes some, and starts it anew.
    if why.contains(&DiskError::Full.to_string()) {
        scene.disks[&host].grow();
        scene.seen(|seen| seen.refused.insert(host));
        return scene.remind(scene.now() + OPERATOR_MS * MS, Job::Anew(host));
    }
    let text = format!("{} could not open the store that it wrote itself: {why}", scene.cast.name(host));
    scene.broken(seedmq_reports::Oracle::RecoveryIdempotent, "store-refused", "broker", text, vec![why.to_owned()]);
}

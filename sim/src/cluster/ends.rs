//! How what an action began ends.
//!
//! Invariant: an effect ends once, with the last action that keeps it up at the same nodes.

use std::rc::Rc;

use super::act::{links, pair, sides};
use super::lives::{OPERATOR_MS, die, start_refused, stop};
use super::scene::Scene;
use crate::dice::{Dice, entity};
use crate::tape::What;
use crate::world::{Death, HostId};

/// Ends what an action began, once. What another action of its kind still does at the same node goes on.
pub(super) fn end(scene: &Rc<Scene>, index: usize) {
    if !scene.seen(|seen| seen.open.remove(&index)) {
        return;
    }
    let tape = Rc::clone(&scene.tape);
    let action = &tape.actions[index];
    let what = &action.what;
    let host = |name: &str| scene.cast.host(name);
    let lasts = goes_on(scene, what);
    let heal = |host: HostId, target: &str| {
        if !lasts {
            scene.heal(what.fault().unwrap_or("drain"), host, target);
        }
    };
    match what {
        What::HeartbeatLoss { from, to, .. } | What::HeartbeatDelay { from, to, .. } => {
            scene.world.remove_filter(action.id);
            heal(host(from), &pair(from, to.as_deref()));
        }
        What::Partition { a, b, oneway, .. } => {
            links(scene, a, b, *oneway, |from, to| scene.world.mend_link(from, to));
            heal(host(&a[0]), &sides(a, b));
        }
        What::SlowLink { a, b, extra_ms, .. } => {
            let by_us = -i64::try_from(extra_ms * 1_000).expect("a delay is far below an age");
            links(scene, a, b, false, |from, to| scene.world.slow_link(from, to, by_us));
            heal(host(&a[0]), &sides(a, b));
        }
        What::ThinLink { a, b, bytes_per_s, .. } => {
            links(scene, a, b, false, |from, to| scene.world.thicken_link(from, to, *bytes_per_s));
            heal(host(&a[0]), &sides(a, b));
        }
        _ if lasts => hand_over(scene, index),
        What::Pause { node, .. } => {
            scene.world.resume(host(node));
            heal(host(node), node);
        }
        What::DiskStalled { node, .. } => heal(host(node), node),
        What::SlowDisk { node, .. } => {
            scene.disks[&host(node)].slow_down(0);
            heal(host(node), node);
        }
        What::ClockDrift { node, .. } => {
            scene.world.drift_clock(host(node), 0);
            heal(host(node), node);
        }
        What::SlowCpu { node, .. } => {
            scene.world.slow_cpu(host(node), 0);
            heal(host(node), node);
        }
        What::SyncError { node, .. } | What::WriteError { node, .. } => {
            disk_errors(scene);
            let disk = &scene.disks[&host(node)];
            match what {
                What::SyncError { .. } => disk.mend_syncs(),
                _ => disk.fail_writes(0, None),
            }
            if scene.seen(|seen| seen.disk_errors.remove(&index)).is_none() {
                heal(host(node), node);
                die(scene, host(node), "kill", Death::Killed, Some(OPERATOR_MS));
            }
        }
        What::StuckHandler { node, .. } => free(scene, host(node), action.id),
        What::SyncLie { node, .. } => {
            disk_errors(scene);
            scene.disks[&host(node)].lie(false);
            if scene.seen(|seen| seen.disk_errors.remove(&index)).is_none() {
                heal(host(node), node);
            }
        }
        What::ReadError { node, .. } => {
            disk_errors(scene);
            scene.disks[&host(node)].cure();
            scene.seen(|seen| seen.cured_ns.insert(host(node), scene.now()));
            if scene.seen(|seen| seen.disk_errors.remove(&index)).is_none() {
                heal(host(node), node);
            }
            start_refused(scene, host(node));
        }
        What::DiskFull { node, .. } => {
            disk_errors(scene);
            scene.disks[&host(node)].fill(None);
            if scene.seen(|seen| seen.disk_errors.remove(&index)).is_none() {
                heal(host(node), node);
            }
            let image = scene.disks[&host(node)].image();
            let licence = scene.seen(|seen| seen.atlas.licence(host(node)));
            if let Some(kept) = crate::whitebox::first_offsets(&image, &licence.ranges) {
                scene.removal(host(node), node, kept);
            }
            start_refused(scene, host(node));
        }
        What::Drain { node, .. } => {
            super::operate::write_permission(scene, node, true);
            heal(host(node), node);
        }
        _ => unreachable!("only actions with a length are open"),
    }
}

/// An operator ends a process with handlers that do not return, in order or not, and starts it anew.
fn free(scene: &Rc<Scene>, host: HostId, id: u64) {
    let is_stuck = scene.seen(|seen| {
        let agent = seen.consumers.entry(host).or_default();
        agent.stick_no_more();
        agent.stuck().next().is_some()
    });
    let in_order = Dice::new(scene.tape.header.seed, entity("free", &[id])).below(2) == 0;
    match (is_stuck, in_order) {
        (false, _) => {}
        (true, true) => {
            scene.seen(|seen| seen.restarts.insert(host, OPERATOR_MS));
            stop(scene, host);
        }
        (true, false) => die(scene, host, "kill", Death::Killed, Some(OPERATOR_MS)),
    }
}

/// Whether another action that is open does the same to the same nodes.
fn goes_on(scene: &Scene, what: &What) -> bool {
    likes(scene, what).next().is_some()
}

/// Actions that are open and do the same to the same nodes.
fn likes<'a>(scene: &'a Scene, what: &'a What) -> impl Iterator<Item = usize> + use<'a> {
    let open = scene.seen(|seen| seen.open.clone());
    let same =
        |other: &What| std::mem::discriminant(other) == std::mem::discriminant(what) && other.nodes() == what.nodes();
    open.into_iter().filter(move |index| same(&scene.tape.actions[*index].what))
}

/// A disk that failed is made well at the end of the last action that makes it fail.
fn hand_over(scene: &Scene, index: usize) {
    disk_errors(scene);
    if scene.seen(|seen| seen.disk_errors.remove(&index)).is_none() {
        let others: Vec<usize> = likes(scene, &scene.tape.actions[index].what).collect();
        scene.seen(|seen| seen.disk_errors.retain(|index, _| !others.contains(index)));
    }
}

/// Disks that refused something for the first time: their faults took effect.
pub(super) fn disk_errors(scene: &Scene) {
    let waiting = scene.seen(|seen| if seen.disk_errors.is_empty() { None } else { Some(seen.disk_errors.clone()) });
    for (index, (host, before)) in waiting.into_iter().flatten() {
        let counts = scene.disks[&host].counts();
        let (kind, now) = match &scene.tape.actions[index].what {
            What::SyncError { .. } => ("sync-error", counts.failed_syncs),
            What::SyncLie { .. } => ("sync-lie", counts.lies),
            What::ReadError { .. } => ("read-error", counts.failed_reads),
            What::WriteError { .. } => ("write-error", counts.failed_writes),
            _ => ("disk-full", counts.no_room),
        };
        if now > before {
            scene.seen(|seen| seen.disk_errors.remove(&index));
            scene.fault(kind, host, scene.cast.name(host), None);
        }
    }
}

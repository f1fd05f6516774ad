//! Carries out the actions of a tape.
//!
//! Invariant: a fault is counted when it took effect, not when it was asked for; whatever begins here also ends (see [`super::ends`]), at
//! its time or when the liveness phase begins.

use std::rc::Rc;
use std::time::Duration;

use super::cast::Role;
use super::lives::{die, join, leave, restart, start};
use super::operate::topic_at;
use super::scene::{Job, Scene};
use crate::dice::{Dice, entity};
use crate::history::Op;
use crate::net::{Filter, FilterEffect};
use crate::tape::{Action, What};
use crate::world::{Death, HostId};

const MS: u64 = 1_000_000;

/// Performs the action with this index.
pub(super) fn act(scene: &Rc<Scene>, index: usize) {
    let tape = Rc::clone(&scene.tape);
    let action = &tape.actions[index];
    let host = |name: &str| scene.cast.host(name);
    scene.acted(action);
    match &action.what {
        What::Send { client, .. } => send(scene, host(client), &action.what),
        What::Join { client } => join(scene, host(client)),
        What::Leave { client } => leave(scene, host(client)),
        What::Subscribe { client, topic, tags } => {
            super::boot_consumer::subscribe(scene, host(client), topic, tags.as_ref());
        }
        What::BrokerJoin { node } => {
            scene.seen(|seen| seen.rerouted_ns = Some(scene.now()));
            start(scene, host(node));
        }
        What::Topic { topic, queues, brokers } => {
            scene.seen(|seen| seen.rerouted_ns = Some(scene.now()));
            topic_at(scene, topic, *queues, &chosen_brokers(scene, brokers));
        }
        What::ResetOffsets { group, topic, back_ms } => super::operate::reset_offsets(scene, group, topic, *back_ms),
        What::QueryKey { topic, key } => super::oracles::questions::by_key(scene, topic, key),
        What::WriteKv { key, value } => super::oracles::questions::write(scene, key, value),
        What::DeleteTopic { topic } => super::operate::delete_topic(scene, topic),
        What::Drain { node, for_ms } => {
            super::operate::write_permission(scene, node, false);
            scene.operated("drain", host(node), node);
            begin(scene, index, *for_ms);
        }
        What::Crash { client, down_ms } => die(scene, host(client), "crash", death(scene, action, None), *down_ms),
        What::Kill { node, silent, down_ms } => die(scene, host(node), "kill", death(scene, action, *silent), *down_ms),
        What::PowerLoss { node, down_ms } => die(scene, host(node), "power-loss", Death::PowerLost, *down_ms),
        What::Restart { node, down_ms } => restart(scene, host(node), *down_ms),
        What::ClockStep { node, by_ms, tick_ms } => {
            scene.world.step_clock(host(node), *by_ms, *tick_ms);
            scene.fault("clock-step", host(node), node, None);
        }
        What::LostResponse { from, to, code } => filter(scene, action, (from, to.as_deref()), &[*code], None),
        What::HeartbeatLoss { from, to, codes, for_ms } => {
            filter(scene, action, (from, to.as_deref()), codes, Some(FilterEffect::Drop));
            begin(scene, index, *for_ms);
        }
        What::HeartbeatDelay { from, to, codes, extra_ms, for_ms } => {
            filter(scene, action, (from, to.as_deref()), codes, Some(FilterEffect::Delay(extra_ms * MS)));
            begin(scene, index, *for_ms);
        }
        What::ClockDrift { node, ppm, for_ms } => {
            scene.world.drift_clock(host(node), *ppm);
            scene.fault("clock-drift", host(node), node, None);
            begin(scene, index, *for_ms);
        }
        What::SlowCpu { node, extra_us, for_ms } => {
            scene.world.slow_cpu(host(node), extra_us * 1_000);
            scene.fault("slow-cpu", host(node), node, None);
            begin(scene, index, *for_ms);
        }
        What::SlowLink { a, b, extra_ms, for_ms } => {
            let by_us = i64::try_from(extra_ms * 1_000).expect("a delay is far below an age");
            links(scene, a, b, false, |from, to| scene.world.slow_link(from, to, by_us));
            scene.fault("slow-link", host(&a[0]), &sides(a, b), None);
            begin(scene, index, *for_ms);
        }
        What::ThinLink { a, b, bytes_per_s, for_ms } => {
            links(scene, a, b, false, |from, to| scene.world.thin_link(from, to, *bytes_per_s));
            scene.fault("thin-link", host(&a[0]), &sides(a, b), None);
            begin(scene, index, *for_ms);
        }
        What::HalfClose { a, b } => {
            let mut closed = 0;
            links(scene, a, b, true, |from, to| closed += scene.world.half_close(from, to));
            if closed > 0 {
                scene.fault("half-close", host(&a[0]), &sides(a, b), None);
                scene.heal("half-close", host(&a[0]), &sides(a, b));
            }
        }
        What::Reset { a, b } => {
            let mut cut = 0;
            links(scene, a, b, true, |from, to| cut += scene.world.reset_between(from, to));
            if cut > 0 {
                scene.fault("reset", host(&a[0]), &sides(a, b), None);
                scene.heal("reset", host(&a[0]), &sides(a, b));
            }
        }
        What::SyncError { node, count, under, names, for_ms } => {
            if let Some(disk) = scene.disks.get(&host(node)) {
                disk.fail_syncs(*count, *under, *names);
                scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().failed_syncs)));
                begin(scene, index, *for_ms);
            }
        }
        What::SyncLie { node, for_ms } => {
            let disk = &scene.disks[&host(node)];
            disk.lie(true);
            scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().lies)));
            begin(scene, index, *for_ms);
        }
        What::ReadError { node, count, under, sectors, for_ms } => {
            let disk = &scene.disks[&host(node)];
            disk.fail_reads(*count, *under);
            disk.go_bad(*sectors);
            scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().failed_reads)));
            begin(scene, index, *for_ms);
        }
        What::WriteError { node, count, under, for_ms } => {
            let disk = &scene.disks[&host(node)];
            disk.fail_writes(*count, *under);
            scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().failed_writes)));
            begin(scene, index, *for_ms);
        }
        What::StuckHandler { node, count, for_ms } => {
            scene.seen(|seen| seen.consumers.entry(host(node)).or_default().stick(*count));
            begin(scene, index, *for_ms);
        }
        What::BitRot { node, file } => super::damage::rot(scene, action, host(node), *file),
        What::MisdirectedWrite { node, file } => super::damage::misdirect(scene, action, host(node), *file),
        What::DiskReplaced { node, down_ms } => super::damage::replace(scene, host(node), *down_ms),
        What::DiskStalled { node, for_ms } => {
            if let Some(disk) = scene.disks.get(&host(node)) {
                disk.stall(scene.now() + for_ms * MS);
                scene.fault("disk-stalled", host(node), node, None);
                begin(scene, index, *for_ms);
            }
        }
        What::DiskFull { node, left_bytes, for_ms } => {
            if let Some(disk) = scene.disks.get(&host(node)) {
                disk.fill(Some(*left_bytes));
                scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().no_room)));
                begin(scene, index, *for_ms);
            }
        }
        What::Pause { node, for_ms } => {
            if scene.world.is_up(host(node)) {
                scene.world.pause(host(node));
                scene.fault("pause", host(node), node, None);
                begin(scene, index, *for_ms);
            }
        }
        What::Partition { a, b, oneway, for_ms } => {
            links(scene, a, b, *oneway, |from, to| scene.world.cut_link(from, to));
            match for_ms {
                Some(for_ms) => {
                    scene.fault("partition", host(&a[0]), &sides(a, b), None);
                    begin(scene, index, *for_ms);
                }
                None => {
                    scene.lasts("partition", host(&a[0]), &sides(a, b));
                    scene.seen(|seen| seen.open.insert(index));
                }
            }
        }
        What::SlowDisk { node, extra_ms, for_ms } => {
            if let Some(disk) = scene.disks.get(&host(node)) {
                disk.slow_down(extra_ms * MS);
                scene.fault("slow-disk", host(node), node, None);
                begin(scene, index, *for_ms);
            }
        }
    }
}

fn begin(scene: &Scene, index: usize, for_ms: u64) {
    scene.seen(|seen| seen.open.insert(index));
    scene.remind(scene.now() + for_ms * MS, Job::End(index));
}

pub(super) fn sides(a: &[String], b: &[String]) -> String {
    format!("{} | {}", a.join(","), b.join(","))
}

pub(super) fn pair(from: &str, to: Option<&str>) -> String {
    to.map_or_else(|| from.to_owned(), |to| format!("{from} {to}"))
}

pub(super) fn links(scene: &Scene, a: &[String], b: &[String], oneway: bool, mut act: impl FnMut(HostId, HostId)) {
    for from in a {
        for to in b {
            let (from, to) = (scene.cast.host(from), scene.cast.host(to));
            act(from, to);
            if !oneway {
                act(to, from);
            }
        }
    }
}

/// A killed process is closed by its kernel, or its whole container vanishes: drawn per action where it does not say.
fn death(scene: &Scene, action: &Action, silent: Option<bool>) -> Death {
    let mut dice = Dice::new(scene.tape.header.seed, entity("death", &[action.id]));
    if silent.unwrap_or_else(|| dice.chance(350_000)) { Death::Vanished } else { Death::Killed }
}

/// Without an effect on requests, the next response is lost with its connection.
fn filter(
    scene: &Scene,
    action: &Action,
    (from, to): (&str, Option<&str>),
    codes: &[i32],
    on_requests: Option<FilterEffect>,
) {
    let responses = on_requests.is_none();
    let effect = on_requests.unwrap_or(FilterEffect::Sever);
    let left = responses.then_some(1);
    let (from_host, to_host) = (scene.cast.host(from), to.map(|to| scene.cast.host(to)));
    let id = action.id;
    scene.world.add_filter(Filter { id, from: from_host, to: to_host, codes: codes.to_vec(), responses, effect, left });
}

/// A filter hit a frame for the first time: its fault took effect.
pub(super) fn filter_hit(scene: &Scene, id: u64) {
    let action = scene.tape.actions.iter().find(|action| action.id == id).expect("filters are named by actions");
    match &action.what {
        What::HeartbeatLoss { from, to, .. } => {
            scene.fault("heartbeat-loss", scene.cast.host(from), &pair(from, to.as_deref()), None);
        }
        What::HeartbeatDelay { from, to, .. } => {
            scene.fault("heartbeat-delay", scene.cast.host(from), &pair(from, to.as_deref()), None);
        }
        What::LostResponse { from, to, .. } => {
            scene.fault("lost-response", scene.cast.host(from), &pair(from, to.as_deref()), None);
        }
        _ => unreachable!("only these actions set filters"),
    }
}

fn send(scene: &Rc<Scene>, host: HostId, what: &What) {
    let Role::Producer(n) = scene.cast.role(host) else { return };
    let timeout = Duration::from_millis(scene.tape.header.config.producers[n].send_timeout_ms);
    let now = scene.now();
    let Some((ops, command)) = scene.seen(|seen| seen.producers.get_mut(&host)?.send(what, timeout, now)) else {
        return;
    };
    ops.into_iter().for_each(|op| client_line(scene, host, op));
    let handle = scene.seen(|seen| seen.producers.get(&host).and_then(|agent| agent.handle().cloned()));
    let Err(command) = handle.expect("it just took a send").try_command(command) else { return };
    // A process that stands still takes only so much.
    let ops = scene.seen(|seen| seen.producers.get_mut(&host).map(|agent| agent.turned_away(&command)));
    ops.into_iter().flatten().for_each(|op| client_line(scene, host, op));
}

/// Adds what a client saw to history and picture.
pub(super) fn client_line(scene: &Scene, host: HostId, op: Op) {
    let (now, lane) = (scene.now(), scene.cast.lane(host));
    let text = scene.seen(|seen| seen.picture.on).then(|| format!("{op:?}"));
    let line = scene.history(host, op);
    scene.seen(|seen| seen.picture.client(now, lane, line, || text.unwrap_or_default()));
}

fn chosen_brokers(scene: &Scene, names: &[String]) -> Vec<HostId> {
    if names.is_empty() {
        return scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)).collect();
    }
    names.iter().map(|name| scene.cast.host(name)).collect()
}

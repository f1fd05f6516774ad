//! Carries out the actions of a tape.
//!
//! Invariant: a fault is counted when it took effect, not when it was asked for; whatever begins here also ends here, at its
//! time or when the liveness phase begins.

use std::rc::Rc;
use std::time::Duration;

use madsim::runtime::Handle as Madsim;
use seedmq_core::node::DiskError;
use seedmq_core::wire::Frame;
use seedmq_core::wire::codes::{request, response};
use seedmq_core::wire::topic::CreateTopicHeader;

use super::admin::{AdminCommand, AdminEvent};
use super::cast::Role;
use super::scene::{Job, Scene};
use crate::clients::ConsumerAgent;
use crate::dice::{Dice, entity};
use crate::history::{Op, Phase};
use crate::net::{Filter, FilterEffect};
use crate::tape::{Action, What};
use crate::world::{Death, HostId};

const MS: u64 = 1_000_000;
/// How long an operator takes to start a broker anew whose disk had failed, milliseconds.
const OPERATOR_MS: u64 = 1_000;
/// How long after a failed read a broker may refuse its store for it, milliseconds.
const REACTION_MS: u64 = 5_000;

/// Performs the action with this index.
pub(super) fn act(scene: &Rc<Scene>, index: usize) {
    let tape = Rc::clone(&scene.tape);
    let action = &tape.actions[index];
    let host = |name: &str| scene.cast.host(name);
    scene.acted(action);
    match &action.what {
        What::Send { client, .. } => send(scene, host(client), &action.what),
        What::Join { client } => start(scene, host(client)),
        What::Leave { client } => stop(scene, host(client)),
        What::BrokerJoin { node } => {
            scene.seen(|seen| seen.rerouted_ns = Some(scene.now()));
            start(scene, host(node));
        }
        What::Topic { topic, queues, brokers } => {
            scene.seen(|seen| seen.rerouted_ns = Some(scene.now()));
            topic_at(scene, topic, *queues, &chosen_brokers(scene, brokers));
        }
        What::ResetOffsets { group, topic, back_ms } => super::operate::reset_offsets(scene, group, topic, *back_ms),
        What::Drain { node, for_ms } => {
            super::operate::write_permission(scene, node, false);
            scene.operated("drain", host(node), node);
            begin(scene, index, *for_ms);
        }
        What::Crash { client, down_ms } => die(scene, host(client), "crash", death(scene, action, None), *down_ms),
        What::Kill { node, silent, down_ms } => die(scene, host(node), "kill", death(scene, action, *silent), *down_ms),
        What::PowerLoss { node, down_ms } => die(scene, host(node), "power-loss", Death::PowerLost, *down_ms),
        What::Restart { node, down_ms } => restart(scene, host(node), *down_ms),
        What::ClockStep { node, by_ms } => {
            scene.world.step_clock(host(node), *by_ms);
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
        What::SyncError { node, count, for_ms } => {
            if let Some(disk) = scene.disks.get(&host(node)) {
                disk.fail_syncs(*count);
                scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().failed_syncs)));
                begin(scene, index, *for_ms);
            }
        }
        What::ReadError { node, count, sectors, for_ms } => {
            let disk = &scene.disks[&host(node)];
            disk.fail_reads(*count);
            disk.go_bad(*sectors);
            scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().failed_reads)));
            begin(scene, index, *for_ms);
        }
        What::WriteError { node, count, for_ms } => {
            let disk = &scene.disks[&host(node)];
            disk.fail_writes(*count);
            scene.seen(|seen| seen.disk_errors.insert(index, (host(node), disk.counts().failed_writes)));
            begin(scene, index, *for_ms);
        }
        What::BitRot { node, file } => super::damage::rot(scene, action, host(node), *file),
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
            scene.fault("partition", host(&a[0]), &sides(a, b), None);
            begin(scene, index, *for_ms);
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
            if matches!(what, What::SyncError { .. }) {
                disk.fail_syncs(0)
            } else {
                disk.fail_writes(0)
            }
            if scene.seen(|seen| seen.disk_errors.remove(&index)).is_none() {
                heal(host(node), node);
                die(scene, host(node), "kill", Death::Killed, Some(OPERATOR_MS));
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
            if let Some(kept) = crate::whitebox::first_offsets(&image) {
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

/// An operator starts a broker anew that could not open its store while the disk failed.
pub(super) fn start_refused(scene: &Rc<Scene>, host: HostId) {
    if scene.seen(|seen| seen.refused.remove(&host)) {
        die(scene, host, "kill", Death::Killed, Some(OPERATOR_MS));
    }
}

fn sides(a: &[String], b: &[String]) -> String {
    format!("{} | {}", a.join(","), b.join(","))
}

fn pair(from: &str, to: Option<&str>) -> String {
    to.map_or_else(|| from.to_owned(), |to| format!("{from} {to}"))
}

fn links(scene: &Scene, a: &[String], b: &[String], oneway: bool, mut act: impl FnMut(HostId, HostId)) {
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

/// Disks that refused something for the first time: their faults took effect.
pub(super) fn disk_errors(scene: &Scene) {
    let waiting = scene.seen(|seen| if seen.disk_errors.is_empty() { None } else { Some(seen.disk_errors.clone()) });
    for (index, (host, before)) in waiting.into_iter().flatten() {
        let counts = scene.disks[&host].counts();
        let (kind, now) = match &scene.tape.actions[index].what {
            What::SyncError { .. } => ("sync-error", counts.failed_syncs),
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

/// Kills the process of a host as a test of the oracles', not as a fault of the tape.
pub(super) fn vanish(scene: &Scene, host: HostId) {
    let node = scene.seen(|seen| seen.nodes.get(&host).copied()).expect("a host that runs was started");
    scene.world.die(host, Death::Vanished);
    Madsim::current().kill(node);
    scene.gone(host);
}

/// Starts a host again after a while.
fn come_back(scene: &Scene, host: HostId, down_ms: u64) {
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
        let node = handle.create_node().name(scene.cast.name(host)).init(move || super::boot::live(host)).build().id();
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
fn stop(scene: &Scene, host: HostId) {
    scene.seen(|seen| seen.stop(host));
}

fn restart(scene: &Scene, host: HostId, down_ms: u64) {
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
}

/// Ends the process of a host, or its whole machine, and starts it again after a while.
pub(super) fn die(scene: &Rc<Scene>, host: HostId, kind: &str, how: Death, down_ms: Option<u64>) {
    let was_up = scene.world.is_up(host);
    let node = scene.seen(|seen| seen.nodes.get(&host).copied());
    let Some(node) = node.filter(|_| was_up) else { return };
    let cut = scene.disks.get(&host).filter(|_| how == Death::PowerLost && kind == "power-loss");
    if cut.is_some_and(|disk| !scene.seen(|seen| seen.atlas.may_cut(host, &disk.image()))) {
        return;
    }
    scene.world.die(host, how);
    Madsim::current().kill(node);
    let mut durable = None;
    if let Some(disk) = scene.disks.get(&host).filter(|_| how == Death::PowerLost) {
        if matches!(scene.cast.role(host), Role::Broker(_)) {
            let licence = scene.seen(|seen| seen.atlas.licence(host));
            durable = Some(crate::whitebox::durable_offsets(&disk.image().platter(), &licence.ranges));
        }
        disk.cut();
    }
    scene.gone(host);
    scene.fault(kind, host, scene.cast.name(host), durable);
    if let Some(down_ms) = down_ms {
        come_back(scene, host, down_ms);
    }
}

fn chosen_brokers(scene: &Scene, names: &[String]) -> Vec<HostId> {
    if names.is_empty() {
        return scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)).collect();
    }
    names.iter().map(|name| scene.cast.host(name)).collect()
}

/// Asks brokers to create a topic, until they did.
pub(super) fn topic_at(scene: &Scene, topic: &str, queues: u32, brokers: &[HostId]) {
    let header = CreateTopicHeader {
        topic: topic.to_owned(),
        default_topic: Some("TBW102".to_owned()),
        read_queue_nums: queues as i32,
        write_queue_nums: queues as i32,
        perm: 6,
        topic_filter_type: Some("SINGLE_TAG".to_owned()),
        topic_sys_flag: Some(0),
        ..CreateTopicHeader::default()
    };
    for host in brokers {
        let frame = Frame::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header);
        ask(scene, scene.cast.broker_addr(*host), frame, true);
    }
}

/// Sends a request as the administrator; `insist` repeats it until it succeeds.
pub(super) fn ask(scene: &Scene, addr: seedmq_core::node::Addr, frame: Frame, insist: bool) {
    let (command, handle) = scene.seen(|seen| {
        seen.next_ticket += 1;
        let command = AdminCommand { ticket: seen.next_ticket, addr, frame };
        seen.asked.insert(command.ticket, (command.clone(), insist));
        (command, seen.admin.clone())
    });
    // The administrator is never killed, and asks little.
    if let Some(handle) = handle {
        let _ = handle.try_command(command);
    }
}

/// The administrator has an answer.
pub(super) fn admin_event(scene: &Scene, event: AdminEvent) {
    let Some((command, insist)) = scene.seen(|seen| seen.asked.remove(&event.ticket)) else { return };
    let good = event.answer.as_ref().is_some_and(|frame| frame.code == response::SUCCESS);
    if insist && !good {
        scene.remind(scene.now() + 500 * MS, Job::Ask(Box::new(command)));
        return;
    }
    super::route::answer(scene, &command, event.answer.as_ref());
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
    scene.object(seedmq_reports::Violation {
        oracle: seedmq_reports::Oracle::RecoveryIdempotent,
        clause: "store-refused".to_owned(),
        role: "broker".to_owned(),
        topic_kind: "-".to_owned(),
        text: format!("{} could not open the store that it wrote itself: {why}", scene.cast.name(host)),
        at_ms: scene.now_ms(),
        lines: Vec::new(),
        proof: vec![why.to_owned()],
    });
}

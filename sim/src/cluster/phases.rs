//! The course of a run: the cluster comes up, lives through the safety phase, settles in the liveness phase, stops.
//!
//! Invariant: every phase has a bound in virtual time, and passing it is a violation, not a hang.

use std::rc::Rc;

use seedmq_reports::{Oracle, Violation};

use super::cast::Role;
use super::look::Routes;
use super::oracles::{recovery, settle, shown, stores};
use super::scene::{Job, Scene};
use super::{act, ends, lives, operate};
use crate::history::Op;
use crate::options::RunOptions;
use crate::tape::Trigger;
use crate::whitebox::Completeness;
use crate::world::HostId;

const MS: u64 = 1_000_000;
/// How long the cluster may take to come up.
const SETUP_NS: u64 = 120_000 * MS;
/// How long brokers may take to stop in order at the end.
const STOP_NS: u64 = 60_000 * MS;
/// How often the state of everything is looked at.
const CHECK_NS: u64 = 1_000 * MS;

/// Everything that is due until a time, or until `enough`; whether it was enough.
pub(super) async fn proceed(scene: &Rc<Scene>, until_ns: u64, mut enough: impl FnMut(&Rc<Scene>) -> bool) -> bool {
    loop {
        scene.world.quiet().await;
        if scene.is_cut() {
            return false;
        }
        if enough(scene) {
            return true;
        }
        match scene.world.next(until_ns) {
            None => return false,
            Some(None) => {}
            Some(Some(number)) => perform(scene, scene.job(number)),
        }
        for id in scene.world.fresh_hits() {
            act::filter_hit(scene, id);
        }
        ends::disk_errors(scene);
    }
}

fn perform(scene: &Rc<Scene>, job: Job) {
    match job {
        Job::Act(index) => act::act(scene, index),
        Job::End(index) => ends::end(scene, index),
        Job::Stop(host) => super::lives::stop(scene, host),
        Job::Start(host) => lives::returns(scene, host),
        Job::Anew(host) => lives::start_refused(scene, host),
        Job::Handled(host, delivery, life) => super::boot_consumer::handled(scene, host, delivery, life),
        Job::Ask(command) => drop(operate::ask(scene, command.addr, command.frame, true)),
        Job::Wake(host) => settle::wake(scene, host),
        Job::Check => {
            settle::look_around(scene);
            scene.remind(scene.now() + CHECK_NS, Job::Check);
        }
    }
}

/// The whole run.
pub(super) async fn all(scene: &Rc<Scene>, options: &RunOptions) {
    let cut = options.until_ms.map_or(u64::MAX, |ms| ms.saturating_mul(MS));
    if !set_up(scene, cut).await {
        if scene.is_cut() || cut <= scene.now() {
            return;
        }
        return scene.object(late("never-ready", "the cluster did not come up".to_owned(), scene));
    }
    let origin = scene.now();
    scene.remind(origin, Job::Check);
    for (index, action) in scene.tape.actions.iter().enumerate() {
        if let Trigger::At { at } = action.when {
            scene.remind(origin + at * MS, Job::Act(index));
        }
    }
    scene.seen(|seen| {
        (seen.ready_ns, seen.rerouted_ns) = (Some(origin), Some(origin));
        seen.triggers.set_origin(origin);
    });
    let safety = origin + scene.tape.header.config.safety_ms * MS;
    proceed(scene, safety.min(cut), |_| false).await;
    if cut > safety && !scene.is_cut() {
        liveness(scene, cut).await;
    }
}

/// Starts everybody, one after the other, and has the topics created.
async fn set_up(scene: &Rc<Scene>, cut: u64) -> bool {
    let later = |n: usize| scene.tape.header.config.brokers[n].later;
    let starts = |role: Role| match role {
        Role::Consumer(_) => false,
        Role::Broker(n) => !later(n),
        _ => true,
    };
    for (nth, host) in scene.cast.with_role(starts).into_iter().enumerate() {
        scene.remind((1 + nth as u64) * MS, Job::Start(host));
    }
    let brokers = scene.cast.with_role(|role| matches!(role, Role::Broker(n) if !later(n)));
    let all_ready = {
        let brokers = brokers.clone();
        move |scene: &Rc<Scene>| {
            scene.seen(|seen| seen.admin.is_some() && brokers.iter().all(|host| seen.ready.contains(host)))
        }
    };
    if !proceed(scene, SETUP_NS.min(cut), all_ready).await {
        return false;
    }
    let mut due = Vec::new();
    for (topic, shape) in &scene.tape.header.config.topics {
        let named = |name: &String| scene.cast.host(name);
        let at: Vec<HostId> =
            if shape.brokers.is_empty() { brokers.clone() } else { shape.brokers.iter().map(named).collect() };
        operate::topic_at(scene, topic, shape.queues, &at);
        due.extend(at.into_iter().map(|host| (topic.clone(), scene.cast.name(host).to_owned())));
    }
    // A producer that came before all brokers have registered a topic would choose its queues among too few.
    let servers = scene.cast.name_servers();
    let told = |scene: &Rc<Scene>| {
        scene.seen(|seen| {
            seen.looks.want(&servers);
            let knows_all = |routes: &Routes| due.iter().all(|topic| routes.contains_key(topic));
            seen.asked.is_empty() && servers.iter().all(|host| seen.looks.routes(*host).is_some_and(knows_all))
        })
    };
    proceed(scene, SETUP_NS.min(cut), told).await
}

async fn liveness(scene: &Rc<Scene>, cut: u64) {
    let began = scene.now();
    let open: Vec<usize> = scene.seen(|seen| seen.open.iter().copied().collect());
    let (lasting, ending): (Vec<usize>, Vec<usize>) =
        open.into_iter().partition(|index| scene.tape.actions[*index].what.is_tolerated());
    ending.into_iter().for_each(|index| ends::end(scene, index));
    scene.seen(|seen| seen.triggers.disarm());
    let bound = scene.tape.header.config.converge_ms * MS;
    let Some(mut settled) = settles(scene, began + bound, cut).await else { return };
    scene.seen(|seen| seen.recovery_ms = seen.recovered.ms().filter(|_| settled));
    let freed = |index: &usize| scene.tape.actions[*index].what.fault() == Some("stuck-handler");
    if settled && lasting.iter().any(freed) {
        lasting.into_iter().filter(freed).for_each(|index| ends::end(scene, index));
        let Some(again) = settles(scene, scene.now() + bound, cut).await else { return };
        settled = again;
    }
    if !settled {
        settle::complain(scene);
    }
    scene.history(scene.cast.admin(), Op::End { drained: settled, deserted: settle::deserted(scene) });
    scene.seen(|seen| seen.ends = seen.looks.ends(&|topic| scene.is_used(topic)).collect());
    if settled {
        shown::ask_around(scene).await;
        recovery::twice(scene).await;
    }
    if !scene.is_cut() {
        stop_all(scene).await;
    }
}

/// Whether the cluster settles within a bound; nothing when the run is cut before.
async fn settles(scene: &Rc<Scene>, bound_ns: u64, cut: u64) -> Option<bool> {
    // What was seen before says nothing about who came back since.
    scene.seen(|seen| seen.calm = 0);
    let settled = proceed(scene, bound_ns.min(cut), settle::is_settled).await;
    (settled || (cut > bound_ns && !scene.is_cut())).then_some(settled)
}

/// Stops the brokers in order and judges their stores.
async fn stop_all(scene: &Rc<Scene>) {
    let (running, down): (Vec<HostId>, Vec<HostId>) =
        scene.cast.brokers().into_iter().partition(|host| scene.world.is_up(*host));
    // One after the other: what happens in one moment on two hosts has no order.
    (1..).zip(&running).for_each(|(nth, host)| scene.remind(scene.now() + nth * MS, Job::Stop(*host)));
    let stopped = |scene: &Rc<Scene>| running.iter().all(|host| !scene.world.is_up(*host));
    if !proceed(scene, scene.now() + STOP_NS, stopped).await {
        if scene.is_cut() {
            return;
        }
        scene.object(late("never-stopped", "a broker did not stop in order within 60 s".to_owned(), scene));
        return;
    }
    for host in running.iter().chain(&down) {
        // A broker without room says that its end is not a clean one.
        let left_abort = scene.disks[host].look(|image| image.content("abort").is_some());
        let is_clean = running.contains(host) && !left_abort;
        stores::judge(scene, *host, if is_clean { Completeness::Whole } else { Completeness::Partial });
    }
}

/// A bound of the whole cluster was passed.
pub(super) fn late(clause: &str, text: String, scene: &Scene) -> Violation {
    Violation {
        oracle: Oracle::Convergence,
        clause: clause.to_owned(),
        role: "cluster".to_owned(),
        topic_kind: "-".to_owned(),
        text,
        at_ms: scene.now_ms(),
        lines: Vec::new(),
        proof: Vec::new(),
    }
}

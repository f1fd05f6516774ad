//! Runs one tape: builds the cluster, lets it live, carries out the actions, waits for it to settle, and judges it.
//!
//! Invariant: a run is a function of its tape. In the safety phase faults come as the tape says; in the liveness phase they
//! have ended, and everything has to be well again within the tape's bound.

mod act;
mod admin;
mod boot;
mod boot_consumer;
mod cast;
mod context;
mod curves;
mod damage;
mod ends;
mod inside;
mod lives;
mod look;
mod operate;
mod oracles;
mod panics;
mod phases;
mod picture;
mod recovered;
mod scene;
mod setting;
mod tap;
mod trigger;

use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use seedmq_reports::{Lane, RunRecord};

use crate::history::{GroupRules, Header, History, Replication};
use crate::options::RunOptions;
use crate::tap::{Kind, Log, SharedLog};
use crate::tape::{Flush, Tape};
use crate::world::{HostId, World};
use context::SimMarks;
use scene::Scene;

/// Runs a tape. The record holds what the white-box oracles found, and the hash; judging the history is left to
/// [`crate::verdict`]. At most one run at a time per thread, and one per process for the marks to be its own.
pub fn run(tape: &Tape, options: &RunOptions) -> (RunRecord, History) {
    let executor = options.executor.unwrap_or(tape.header.seed ^ 0x5eed);
    let marks = SimMarks::install(tape);
    panics::listen();
    let log = SharedLog::new(Log::new(trace(options)));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        crate::world::run(tape.header.seed, executor, |world| play(world, Rc::new(tape.clone()), options, log.clone()));
    }));
    let mut record = RunRecord::default();
    let mut history = History { header: history_header(tape), ..History::default() };
    if let Some(scene) = Scene::leave() {
        if ended.is_err() {
            scene.object(panics::violation(&scene));
        }
        fill(&mut record, &mut history, &scene);
    } else if ended.is_err() {
        record.note = Some("the simulator itself panicked before the cluster was built".to_owned());
        record.verdict = seedmq_reports::Verdict::Crashed;
    }
    (record.events, record.inputs, record.hash) = log.result();
    record.marks = marks.reached();
    record.plants = marks.plants();
    (record, history)
}

fn trace(options: &RunOptions) -> Option<Box<dyn Write + Send>> {
    let path = options.log.as_ref()?;
    let file = std::fs::File::create(path).unwrap_or_else(|e| panic!("{} cannot be written: {e}", path.display()));
    Some(Box::new(BufWriter::new(file)))
}

async fn play(world: Arc<World>, tape: Rc<Tape>, options: &RunOptions, log: SharedLog) {
    world.draw_more(options.extra_draws);
    let scene = setting::build(&world, tape, options, log).enter();
    phases::all(&scene, options).await;
    finish(&scene);
    let handle = madsim::runtime::Handle::current();
    let nodes: Vec<_> = scene.seen(|seen| seen.nodes.iter().map(|(host, node)| (*host, *node)).collect());
    for (host, node) in nodes {
        world.die(host, crate::world::Death::Vanished);
        handle.kill(node);
    }
    // What was killed is dropped only when it is polled once more; a runtime that ends before leaks it.
    madsim::time::sleep(Duration::from_millis(10)).await;
}

/// The end of the canonical log: disk images and counters.
fn finish(scene: &Rc<Scene>) {
    let now = scene.now();
    for (host, disk) in &scene.disks {
        let mut hasher = blake3::Hasher::new();
        disk.look(|image| image.digest(&mut hasher));
        scene.log.record(now, *host, Kind::Final, &(hasher.finalize().as_bytes(), disk.counts()));
    }
    scene.log.record(now, HostId(0), Kind::Final, &scene.world.net_counts());
}

fn fill(record: &mut RunRecord, history: &mut History, scene: &Scene) {
    scene.seen(|seen| {
        record.virtual_ms = scene.now() / 1_000_000;
        record.faults = std::mem::take(&mut seen.faults);
        record.fired = std::mem::take(&mut seen.fired);
        (record.acked, record.delivered) = (seen.acked, seen.delivered);
        record.recovery_ms = seen.recovery_ms;
        record.ready_ms = seen.ready_ns.map(|ns| (ns / 1000) as f64 / 1000.0);
        record.acted = std::mem::take(&mut seen.acted);
        record.state = std::mem::take(&mut seen.inside.lines);
        let ends = std::mem::take(&mut seen.ends).into_iter();
        record.ends = ends.map(|(host, end)| (scene.cast.name(host).to_owned(), end)).collect();
        record.timeline = seen.picture.take();
        history.records = std::mem::take(&mut seen.history);
        std::mem::take(&mut seen.violations).into_iter().for_each(|violation| record.object(violation));
    });
}

fn history_header(tape: &Tape) -> Header {
    let config = &tape.header.config;
    let asynchronous = config.brokers.iter().any(|broker| broker.flush == Flush::Async);
    let rules = config.groups.iter().map(|(name, shape)| {
        let (model, orderly, from, tags) = (shape.model, shape.orderly, shape.from, shape.tags.clone());
        let rules = GroupRules { model, orderly, from, tags, ..GroupRules::default() };
        (name.clone(), rules)
    });
    Header {
        flush: if asynchronous { Flush::Async } else { Flush::Sync },
        replication: Replication::None,
        order: config.topics.iter().map(|(name, topic)| (name.clone(), topic.order)).collect(),
        groups: rules.collect(),
        ..Header::default()
    }
}

fn lanes(scene: &Scene) -> Vec<Lane> {
    let lane = |host| Lane { name: scene.cast.name(host).to_owned(), role: scene.cast.role(host).name().to_owned() };
    scene.cast.all().map(lane).collect()
}

#[cfg(test)]
mod tests;

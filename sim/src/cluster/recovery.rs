//! The oracle `recovery-idempotent`: a second recovery finds what the first one left, and neither loses what was whole.
//!
//! Invariant: nobody sends any more when this runs, so that every difference is the doing of a recovery.

use std::collections::BTreeMap;
use std::rc::Rc;

use seedmq_reports::{Oracle, Violation};

use super::phases::{late, proceed};
use super::scene::Scene;
use super::{act, settle};
use crate::dice::{Dice, entity};
use crate::whitebox::{broken, summary};
use crate::world::HostId;

/// How long a recovery may take.
const PATIENCE_NS: u64 = 60_000_000_000;

/// What a recovered store holds: the end of its log, and each queue with its range as the broker tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holdings {
    log_end: u64,
    queues: BTreeMap<(String, u32), (u64, u64)>,
}

/// Kills one broker, drawn by the seed, and lets it recover twice.
pub(super) async fn twice(scene: &Rc<Scene>) {
    let running: Vec<HostId> = scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)).collect();
    let mut dice = Dice::new(scene.tape.header.seed, entity("recovery", &[]));
    let Some(host) = running.get(dice.below(running.len() as u64) as usize).copied() else { return };
    act::vanish(scene, host);
    let licence = scene.seen(|seen| seen.atlas.licence(host));
    let before = summary(&scene.disks[&host].image(), &licence);
    let Some(first) = once(scene, host).await else { return };
    act::vanish(scene, host);
    let Some(second) = once(scene, host).await else { return };
    let name = scene.cast.name(host);
    if first != second {
        let text = format!("{name} recovered twice from one log and holds different things");
        object(scene, "differs", text, vec![format!("{first:?}"), format!("{second:?}")]);
    }
    let lost = before.1.iter().find(|(queue, next)| first.queues.get(*queue).is_none_or(|range| range.1 < **next));
    if let Some(((topic, queue), next)) = lost {
        let now = first.queues.get(&(topic.clone(), *queue));
        let text = format!("{name} lost what was whole in its log: {topic}/{queue} ended at {next}, now it is {now:?}");
        object(scene, "whole-lost", text, vec![format!("{before:?}"), format!("{first:?}")]);
    }
}

fn object(scene: &Scene, clause: &str, text: String, proof: Vec<String>) {
    let violation = broken(Oracle::RecoveryIdempotent, clause, text, proof);
    scene.object(Violation { at_ms: scene.now_ms(), ..violation });
}

/// Starts a broker and looks at what it recovered.
async fn once(scene: &Rc<Scene>, host: HostId) -> Option<Holdings> {
    act::start(scene, host);
    let until = scene.now() + PATIENCE_NS;
    let ready = proceed(scene, until, |scene| scene.seen(|seen| seen.ready.contains(&host))).await;
    if scene.is_cut() {
        return None;
    }
    if !ready {
        scene.object(late("never-recovered", format!("{} did not recover in 60 s", scene.cast.name(host)), scene));
        return None;
    }
    settle::want(scene, host);
    let looked = |scene: &Rc<Scene>| scene.seen(|seen| seen.looks.broker(host).is_some());
    if !proceed(scene, until, looked).await {
        return None;
    }
    let queues = scene.seen(|seen| seen.looks.broker(host).map(|(_, look)| look.queues.clone()))?;
    let queues = queues.into_iter().filter(|(_, (begin, end))| end > begin).collect();
    Some(Holdings {
        log_end: summary(&scene.disks[&host].image(), &scene.seen(|seen| seen.atlas.licence(host))).0,
        queues,
    })
}

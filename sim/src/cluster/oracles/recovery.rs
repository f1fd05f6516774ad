//! The oracle `recovery-idempotent`: every broker is killed and recovers, twice; the second recovery finds what the first one left, and the
//! first one loses nothing that was whole.
//!
//! Invariant: clients have stopped before this runs and brokers have had time to write down what they know, so that every difference is the
//! doing of a recovery.

use std::collections::BTreeMap;
use std::rc::Rc;

use seedmq_reports::{Oracle, Violation};

use super::{settle, stores};
use crate::cluster::cast::Role;
use crate::cluster::lives;
use crate::cluster::phases::{late, proceed};
use crate::cluster::scene::{Job, Scene};
use crate::whitebox::{Completeness, broken, summary};
use crate::world::HostId;

const MS: u64 = 1_000_000;
/// How long a recovery, or the stop of a client, may take.
const PATIENCE_NS: u64 = 60_000 * MS;
/// After so long a broker that nobody asks anything has written everything down: offsets every 5 s and 10 s after a start, topics and a
/// snapshot of queues and index at once.
const REST_NS: u64 = 15_000 * MS;

/// What a broker holds when it is at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holdings {
    log_end: u64,
    /// First and next offset by topic and queue, where there is something.
    queues: BTreeMap<(String, u32), (u64, u64)>,
    /// Committed offsets by group, topic and queue.
    committed: BTreeMap<(String, String, u32), u64>,
    /// Read queues by topic.
    topics: BTreeMap<String, u32>,
    /// Checksums of the files of log and queues.
    files: BTreeMap<String, blake3::Hash>,
}

impl Holdings {
    /// The first thing in which the other differs.
    fn difference(&self, other: &Holdings) -> Option<String> {
        fn in_map<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
            what: &str,
            one: &BTreeMap<K, V>,
            other: &BTreeMap<K, V>,
        ) -> Option<String> {
            let key = one.keys().chain(other.keys()).find(|key| one.get(key) != other.get(key))?;
            Some(format!("{what} {key:?}: {:?}, then {:?}", one.get(key), other.get(key)))
        }
        let ends = (self.log_end, other.log_end);
        let log = (ends.0 != ends.1).then(|| format!("the log ends at {}, then at {}", ends.0, ends.1));
        log.or_else(|| in_map("queue", &self.queues, &other.queues))
            .or_else(|| in_map("committed offset", &self.committed, &other.committed))
            .or_else(|| in_map("topic", &self.topics, &other.topics))
            .or_else(|| in_map("file", &self.files, &other.files))
    }
}

type All = BTreeMap<HostId, Holdings>;

/// Stops the clients, kills all brokers and lets them recover, twice.
pub(in crate::cluster) async fn twice(scene: &Rc<Scene>) {
    if !stop_clients(scene).await {
        return;
    }
    let hosts: Vec<HostId> = scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)).collect();
    let refused: Vec<u64> = hosts.iter().map(|host| scene.disks[host].counts().no_room).collect();
    let Some(before) = rest(scene, &hosts).await else { return };
    let whole: BTreeMap<HostId, _> = hosts
        .iter()
        .map(|host| {
            let licence = scene.seen(|seen| seen.atlas.licence(*host));
            (*host, scene.disks[host].look(|image| summary(image, &licence)))
        })
        .collect();
    let Some(first) = recover(scene, &hosts).await else { return };
    let Some(second) = recover(scene, &hosts).await else { return };
    for (host, refused) in hosts.iter().zip(refused) {
        // What a disk without room did not take cannot be found again.
        if scene.disks[host].counts().no_room > refused {
            continue;
        }
        let (name, before, first, second) = (scene.cast.name(*host), &before[host], &first[host], &second[host]);
        if let Some(difference) = first.difference(second) {
            let text = format!("{name} recovered twice from one log and holds different things: {difference}");
            object(scene, "differs", text, vec![difference]);
        }
        let lost = whole[host].1.iter().find(|(queue, next)| first.queues.get(*queue).is_none_or(|r| r.1 < **next));
        if let Some(((topic, queue), next)) = lost {
            let now = first.queues.get(&(topic.clone(), *queue));
            let text =
                format!("{name} lost what was whole in its log: {topic}/{queue} ended at {next}, then at {now:?}");
            object(scene, "whole-lost", text, vec![format!("{before:?}"), format!("{first:?}")]);
        }
        let knew = |all: &Holdings| Holdings {
            committed: all.committed.clone(),
            topics: all.topics.clone(),
            ..Holdings::default()
        };
        if let Some(difference) = knew(before).difference(&knew(first)) {
            let text = format!("{name} had written down what it did not know after its recovery: {difference}");
            object(scene, "forgotten", text, vec![difference]);
        }
    }
}

fn object(scene: &Scene, clause: &str, text: String, proof: Vec<String>) {
    let violation = broken(Oracle::RecoveryIdempotent, clause, text, proof);
    scene.object(Violation { at_ms: scene.now_ms(), ..violation });
}

/// Nobody sends and nobody commits any more. Whether all went.
async fn stop_clients(scene: &Rc<Scene>) -> bool {
    let clients = scene.cast.with_role(|role| matches!(role, Role::Producer(_) | Role::Consumer(_)));
    // One after the other: what happens in one moment on two hosts has no order.
    for (nth, host) in (1..).zip(clients.iter().filter(|host| scene.world.is_up(**host))) {
        scene.remind(scene.now() + nth * MS, Job::Stop(*host));
    }
    let gone = |scene: &Rc<Scene>| clients.iter().all(|host| !scene.world.is_up(*host));
    let went = proceed(scene, scene.now() + PATIENCE_NS, gone).await;
    if !went && !scene.is_cut() {
        scene.object(late("never-stopped", "a client did not stop in order within 60 s".to_owned(), scene));
    }
    went
}

/// Kills the brokers and starts them again; what they hold then. Queues and index are the projection of the log by then.
async fn recover(scene: &Rc<Scene>, hosts: &[HostId]) -> Option<All> {
    hosts.iter().for_each(|host| lives::vanish(scene, *host));
    for (nth, host) in (1..).zip(hosts) {
        scene.remind(scene.now() + nth * MS, Job::Start(*host));
    }
    let ready = |scene: &Rc<Scene>| scene.seen(|seen| hosts.iter().all(|host| seen.ready.contains(host)));
    if !proceed(scene, scene.now() + PATIENCE_NS, ready).await {
        if !scene.is_cut() {
            scene.object(late("never-recovered", "a broker did not recover in 60 s".to_owned(), scene));
        }
        return None;
    }
    let refused: Vec<u64> = hosts.iter().map(|host| scene.disks[host].counts().no_room).collect();
    let all = rest(scene, hosts).await?;
    for (host, refused) in hosts.iter().zip(refused) {
        if scene.disks[host].counts().no_room > refused {
            continue;
        }
        stores::judge(scene, *host, Completeness::Whole);
    }
    Some(all)
}

/// What the brokers hold once they have written it down.
async fn rest(scene: &Rc<Scene>, hosts: &[HostId]) -> Option<All> {
    proceed(scene, scene.now() + REST_NS, |_| false).await;
    if !settle::look_at(scene, hosts).await {
        return None;
    }
    hosts.iter().map(|host| Some((*host, holdings(scene, *host)?))).collect()
}

/// What a broker holds.
fn holdings(scene: &Scene, host: HostId) -> Option<Holdings> {
    let look = scene.seen(|seen| seen.looks.broker(host).map(|(_, look)| (**look).clone()))?;
    let files = scene.disks[&host].look(|image| {
        let files = image.paths().filter(|path| path.starts_with("commitlog/") || path.starts_with("consumequeue/"));
        files.filter_map(|path| Some((path.to_owned(), image.fingerprint(path)?))).collect()
    });
    Some(Holdings {
        log_end: look.log.0,
        queues: look.queues.into_iter().filter(|(_, (begin, end))| end > begin).collect(),
        committed: look.committed,
        topics: look.topics,
        files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_is_named() {
        let queue = ("T".to_owned(), 0);
        let holdings = Holdings {
            log_end: 9,
            queues: [(queue.clone(), (0, 2))].into(),
            committed: [(("g".to_owned(), "T".to_owned(), 0), 2)].into(),
            topics: [("T".to_owned(), 1)].into(),
            files: [("commitlog/0".to_owned(), blake3::hash(b"x"))].into(),
        };
        assert_eq!(holdings.difference(&holdings), None);
        let mut others = vec![holdings.clone(); 6];
        others[0].log_end = 8;
        others[1].queues.insert(queue, (0, 1));
        others[2].committed.clear();
        others[3].topics.insert("U".to_owned(), 1);
        others[4].files.insert("commitlog/0".to_owned(), blake3::hash(b"y"));
        others[5].files.clear();
        let words = ["log ends at 9, then at 8", "queue", "committed", "topic \"U\": None", "file", "then None"];
        for (other, words) in others.iter().zip(words) {
            assert!(holdings.difference(other).is_some_and(|text| text.contains(words)), "{words}");
            assert!(other.difference(&holdings).is_some(), "{words}");
        }
    }
}

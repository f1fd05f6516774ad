//! Damage to the disks of brokers: bits that rot, writes that go astray, disks that are replaced, within what the atlas allows.
//!
//! Invariant: what the atlas forbids does not happen; the history names the messages that were hit, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::scene::Scene;
use crate::dice::{Dice, entity};
use crate::disk::{Astray, Atlas, Held, Image, MachineLife};
use crate::tape::{Action, StoreFile, What};
use crate::world::HostId;

/// The run of the operating system of a host, as its broker is told it.
pub(super) fn boot_of(scene: &Scene, host: HostId) -> String {
    format!("power {}", scene.disks[&host].counts().cuts)
}

/// A bit of a file of the store flips on the disk.
pub(super) fn rot(scene: &Rc<Scene>, action: &Action, host: HostId, file: StoreFile) {
    let disk = &scene.disks[&host];
    let mut dice = Dice::new(scene.tape.header.seed, entity("rot", &[action.id]));
    let found =
        choose(scene, host, |atlas, image, life, filtered| atlas.rot(host, image, life, file, filtered, &mut dice));
    let Some((place, held)) = found else { return };
    disk.flip(&place.path, place.at, place.bit);
    took_effect(scene, "bit-rot", (host, file), &place.path, &[held]);
}

/// The last write of a sector of the store turns out to have reached another one.
pub(super) fn misdirect(scene: &Rc<Scene>, action: &Action, host: HostId, file: StoreFile) {
    let mut dice = Dice::new(scene.tape.header.seed, entity("misdirect", &[action.id]));
    let found = choose(scene, host, |atlas, image, life, filtered| {
        atlas.misdirect(host, image, life, file, filtered, &mut dice)
    });
    let Some(Astray { from, to, held }) = found else { return };
    scene.disks[&host].misdirect(&from, &to);
    let text = format!("{} {} to {} {}", from.path, from.at, to.path, to.at);
    took_effect(scene, "misdirected-write", (host, file), &text, &held);
}

/// Asks the atlas.
fn choose<T>(
    scene: &Scene,
    host: HostId,
    ask: impl FnOnce(&Atlas, &Image, MachineLife<'_>, &BTreeSet<String>) -> Option<T>,
) -> Option<T> {
    let groups = scene.tape.header.config.groups.values();
    let later = scene.tape.actions.iter().filter_map(|action| match &action.what {
        What::Subscribe { topic, tags: Some(_), .. } => Some(topic.clone()),
        _ => None,
    });
    let filtered: BTreeSet<String> = groups.flat_map(|group| group.tags.keys().cloned()).chain(later).collect();
    let boot = boot_of(scene, host);
    let life = MachineLife { boot: &boot, is_down: !scene.world.is_up(host) };
    scene.disks[&host].look(|image| scene.seen(|seen| ask(&seen.atlas, image, life, &filtered)))
}

/// Tells atlas and history what was hit.
fn took_effect(scene: &Scene, kind: &str, (host, file): (HostId, StoreFile), place: &str, held: &[Held]) {
    scene.seen(|seen| seen.atlas.hit(host, file, held));
    let mut hit: BTreeMap<String, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
    for held in held {
        if let Held::Message(record) = held {
            let queues = hit.entry(record.topic.clone()).or_default();
            queues.entry(record.queue.to_string()).or_default().push(record.queue_offset);
        }
    }
    scene.damaged(kind, host, scene.cast.name(host), place, (!hit.is_empty()).then_some(hit));
}

/// The queues of a topic that a producer has made. One that was faster than the operator may have stored messages in them, which are
/// hidden from readers once the topic has fewer.
const ASKED_FOR: u32 = 4;

/// A broker goes down and comes back with an empty disk; the operator has its topics made again.
pub(super) fn replace(scene: &Rc<Scene>, host: HostId, down_ms: u64) {
    let may = scene.world.is_up(host) && scene.seen(|seen| seen.atlas.may_replace());
    if !may {
        return;
    }
    super::lives::die(scene, host, "disk-replaced", crate::world::Death::PowerLost, Some(down_ms));
    scene.disks[&host].replace();
    scene.seen(|seen| {
        seen.atlas.replaced(host);
        seen.told.excused(host, seen.next_ticket);
    });
    for (topic, shape) in &scene.tape.header.config.topics {
        let name = scene.cast.name(host);
        if shape.brokers.is_empty() || shape.brokers.iter().any(|broker| broker == name) {
            super::operate::topic_at(scene, topic, shape.queues.max(ASKED_FOR), &[host]);
        }
    }
}

//! Damage to the disks of brokers: bits that rot, disks that are replaced, within what the atlas allows.
//!
//! Invariant: what the atlas forbids does not happen; the history names the messages that were hit, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::scene::Scene;
use crate::dice::{Dice, entity};
use crate::disk::Held;
use crate::tape::{Action, StoreFile};
use crate::world::HostId;

/// The run of the operating system of a host, as its broker is told it.
pub(super) fn boot_of(scene: &Scene, host: HostId) -> String {
    format!("power {}", scene.disks[&host].counts().cuts)
}

/// A bit of a file of the store flips on the disk.
pub(super) fn rot(scene: &Rc<Scene>, action: &Action, host: HostId, file: StoreFile) {
    let disk = &scene.disks[&host];
    let mut dice = Dice::new(scene.tape.header.seed, entity("rot", &[action.id]));
    let groups = scene.tape.header.config.groups.values();
    let filtered: BTreeSet<String> = groups.flat_map(|group| group.tags.keys().cloned()).collect();
    let (image, boot, is_down) = (disk.image(), boot_of(scene, host), !scene.world.is_up(host));
    let found = scene.seen(|seen| seen.atlas.rot(host, &image, (&boot, is_down), file, &filtered, &mut dice));
    let Some((place, held)) = found else { return };
    disk.flip(&place.path, place.at, place.bit);
    scene.seen(|seen| seen.atlas.rotted(host, file, &held));
    let hit = match held {
        Held::Message(record) => {
            let queues = BTreeMap::from([(record.queue.to_string(), vec![record.queue_offset])]);
            Some(BTreeMap::from([(record.topic, queues)]))
        }
        _ => None,
    };
    scene.damaged("bit-rot", host, scene.cast.name(host), &place.path, hit);
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
    scene.seen(|seen| seen.atlas.replaced(host));
    for (topic, shape) in &scene.tape.header.config.topics {
        let name = scene.cast.name(host);
        if shape.brokers.is_empty() || shape.brokers.iter().any(|broker| broker == name) {
            super::operate::topic_at(scene, topic, shape.queues.max(ASKED_FOR), &[host]);
        }
    }
}

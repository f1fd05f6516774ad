//! The oracles `projection` and `dense`, on the disk of a broker that rests or has stopped.
//!
//! Invariant: files that were judged and have not changed since are not read again; what was wrong with them was told then.

use seedmq_reports::Violation;

use crate::cluster::boot;
use crate::cluster::scene::Scene;
use crate::disk::Image;
use crate::whitebox::{Completeness, judge_store};
use crate::world::HostId;

/// What was judged, and how.
pub(in crate::cluster) type Judged = (Vec<(String, blake3::Hash)>, Completeness);

/// Judges the store of a broker.
pub(in crate::cluster) fn judge(scene: &Scene, host: HostId, completeness: Completeness) {
    let disk = &scene.disks[&host];
    let judged = (disk.look(files), completeness);
    if scene.seen(|seen| seen.judged.get(&host) == Some(&judged)) {
        return;
    }
    scene.seen(|seen| seen.judged.insert(host, judged));
    let (name, slots) = (scene.cast.name(host), boot::index_slots(scene, host));
    let licence = scene.seen(|seen| seen.atlas.licence(host));
    let found = disk.look(|image| judge_store(name, image, completeness, slots, &licence));
    found.into_iter().for_each(|violation| scene.object(Violation { at_ms: scene.now_ms(), ..violation }));
}

/// What is read for it: log, queues and index.
fn files(image: &Image) -> Vec<(String, blake3::Hash)> {
    let is_read = |path: &&str| ["commitlog/", "consumequeue/", "index/"].iter().any(|dir| path.starts_with(dir));
    image.paths().filter(is_read).filter_map(|path| Some((path.to_owned(), image.fingerprint(path)?))).collect()
}

//! Builds the world of a tape: hosts, links, disks.
//!
//! Invariant: everything comes from the header of the tape; what it does not name is drawn from its seed, each from a stream of its own.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use seedmq_core::broker::topics::TopicsFile;
use seedmq_core::wire::json;
use seedmq_core::wire::topic::TopicConfig;

use super::cast::{Cast, Role};
use super::inside::Watched;
use super::scene::Scene;
use crate::disk::{Change, DiskSpec, HostDisk};
use crate::net::LinkSpec;
use crate::options::RunOptions;
use crate::tap::{Kind, SharedLog};
use crate::tape::{Conditions, Config, Latency, Moment, Tape, What};
use crate::world::{CpuSpec, HostId, World};

/// The scene of a tape; nobody runs yet.
pub(super) fn build(world: &Arc<World>, tape: Rc<Tape>, options: &RunOptions, log: SharedLog) -> Scene {
    let (config, seed) = (&tape.header.config, tape.header.seed);
    let cast = Cast::new(world, config);
    log.name(cast.all().map(|host| cast.name(host).to_owned()).collect());
    let conditions = config.conditions.unwrap_or_else(|| Conditions::drawn(seed));
    world.set_links(links(config, &conditions));
    for (node, by_ms) in &config.clock_offsets_ms {
        world.step_clock(cast.host(node), *by_ms, None);
    }
    let filtered = |what: &What| {
        matches!(what, What::HeartbeatLoss { .. } | What::HeartbeatDelay { .. } | What::LostResponse { .. })
    };
    if tape.actions.iter().any(|action| filtered(&action.what)) {
        let answering = tape.actions.iter().filter_map(|action| match &action.what {
            What::LostResponse { from, .. } => Some(cast.host(from)),
            _ => None,
        });
        world.watch_frames(answering);
    }
    let cpu = CpuSpec { busy_ppm: conditions.busy_ppm, ..CpuSpec::default() };
    let mut scene = Scene::new(world, Rc::clone(&tape), cast, cpu, log);
    scene.disks = disks(&scene, config, &conditions);
    scene.events_max = options.until_event.unwrap_or(u64::MAX);
    let watched = options.state.as_ref().map(|name| scene.cast.host(name));
    let since = options.until_ms.map_or(0, |ms| ms.saturating_mul(1_000_000));
    scene.seen(|seen| seen.inside = Watched::new(watched, since));
    let lanes = super::lanes(&scene);
    scene.seen(|seen| {
        seen.picture.on = options.timeline;
        seen.picture.lanes(if options.timeline { lanes } else { Vec::new() });
    });
    scene
}

fn mean_us(latency: &Latency) -> u32 {
    u32::try_from(latency.max_us.saturating_sub(latency.min_us) / 3).unwrap_or(u32::MAX)
}

fn links(config: &Config, conditions: &Conditions) -> LinkSpec {
    let network = &config.network;
    LinkSpec {
        latency_us: network.min_us as u32,
        jitter_us: mean_us(network),
        slow_ppm: network.slow_permille * 1000,
        slow_us: network.slow_us as u32,
        loss_ppm: conditions.loss_ppm,
        cut_ppm: conditions.cut_ppm,
        window_bytes: conditions.window_bytes,
        bytes_per_s: conditions.bytes_per_s,
    }
}

fn disks(scene: &Scene, config: &Config, conditions: &Conditions) -> BTreeMap<HostId, HostDisk> {
    let disk = &config.disk;
    let spec = DiskSpec {
        least_us: disk.min_us as u32,
        mean_us: mean_us(disk),
        slow_ppm: disk.slow_permille * 1000,
        slow_us: disk.slow_us as u32,
        cold_ppm: conditions.cold_ppm,
        capacity: conditions.disk_bytes,
    };
    let keeps = scene.cast.with_role(|role| matches!(role, Role::Broker(_) | Role::NameServer));
    let disk = |host| {
        let on_sync = Arc::new(move || Scene::current().moment(host, Moment::SyncInFlight, None));
        let disk = HostDisk::new(&scene.world, host, spec).with_on_sync(on_sync);
        if config.idle_topics > 0 && matches!(scene.cast.role(host), Role::Broker(_)) {
            disk.put("config/topics.json", &idle_topics(config.idle_topics));
        }
        let (world, log) = (Arc::clone(&scene.world), scene.log.clone());
        let on_change = Arc::new(move |change: &Change<'_>| log.record(world.now_ns(), host, Kind::Disk, change));
        (host, disk.with_on_change(on_change))
    };
    keeps.into_iter().map(disk).collect()
}

/// Begins the names of topics that nobody uses.
pub(super) const IDLE: &str = "idle-";

/// The topics of a broker that has had many for a long time.
fn idle_topics(count: u32) -> Vec<u8> {
    let named = |n: u32| format!("{IDLE}{n}");
    let table = (0..count).map(|n| (named(n), TopicConfig::new(named(n), 4, 6))).collect();
    let file = TopicsFile { topic_config_table: table, ..TopicsFile::default() };
    json::to_vec(&file, json::Style::Fastjson)
}

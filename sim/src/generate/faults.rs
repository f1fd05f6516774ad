//! The fault actions of a tape.
//!
//! Invariant: each entry of the fault list draws from its own stream, first whether it is in play at all (swarm), then how
//! often, then each fault from a stream of that fault.

use super::{choose, chosen, draw, draw_signed, moment};
use crate::dice::{Dice, entity};
use crate::scenario::{BETWEEN_SIDES, FaultKind, FaultSpec, Range, Spec};
use crate::tape::{Action, BYTES_PER_S_MIN, Config, Folder, STUCK_MAX, Trigger, What, may_last};

/// Adds the faults that this seed has in play.
pub fn faults(spec: &Spec, seed: u64, config: &Config, end: u64, actions: &mut Vec<Action>) {
    for (fault, entry) in spec.faults.iter().zip(0u64..) {
        let fault = fault.get_ref();
        let mut dice = Dice::new(seed, entity("fault", &[entry]));
        if dice.below(100) >= u64::from(fault.chance) {
            continue;
        }
        for k in 0..draw(&mut dice, fault.count) {
            let mut dice = Dice::new(seed, entity("fault", &[entry, k]));
            let id = 50_000 + entry * 1_000 + k * 20;
            for (id, (when, what)) in (id..).zip(one(fault, &mut dice, config, end)) {
                // What the cluster as it was drawn does not tolerate for good does not happen.
                if !what.lasts() || may_last(config, actions.iter().map(|action| &action.what).chain([&what])) {
                    actions.push(Action { id, when, what });
                }
            }
        }
    }
}

/// A fault of one node, or the same fault of each node behind a name like `all-name-servers`.
fn one(fault: &FaultSpec, dice: &mut Dice, config: &Config, end: u64) -> Vec<(Trigger, What)> {
    let at = moment(dice, fault.at_ms, end);
    let sides = targets(fault.target.as_deref(), dice, config);
    let n = fault.on.map_or(0, |_| draw(dice, fault.n.unwrap_or(Range(1, 20))).max(1));
    let from = if fault.at_ms.is_some() { at } else { 0 };
    let groups: Vec<&[String]> =
        if BETWEEN_SIDES.contains(&fault.kind) { vec![&sides] } else { sides.chunks(1).collect() };
    let mut all = Vec::new();
    for side in groups.into_iter().filter(|side| !side.is_empty()) {
        let when = match fault.on {
            None => Trigger::At { at },
            Some(event) => {
                let node = match fault.on_node.as_deref() {
                    None => side[0].clone(),
                    name => match targets(name, dice, config).into_iter().next() {
                        Some(node) => node,
                        None => continue,
                    },
                };
                let code = fault.on_requests.as_ref().map(|requests| chosen(dice, requests).usual());
                Trigger::On { node, event, code, n, from }
            }
        };
        all.extend(what(fault, dice, config, side).map(|what| (when, what)));
    }
    all
}

fn what(fault: &FaultSpec, dice: &mut Dice, config: &Config, sides: &[String]) -> Option<What> {
    let node = sides.first()?.clone();
    let mut length = |range: Option<Range>| range.map_or(0, |r| draw(dice, r));
    let (down, for_ms) = (length(fault.down_ms), length(fault.for_ms));
    let down_ms = fault.down_ms.map(|_| down);
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Some(match fault.kind {
        FaultKind::Kill => What::Kill { node, silent: fault.silent, down_ms },
        FaultKind::PowerLoss => What::PowerLoss { node, down_ms },
        FaultKind::Restart => What::Restart { node, down_ms: down },
        FaultKind::Pause => What::Pause { node, for_ms },
        FaultKind::SlowDisk => What::SlowDisk { node, extra_ms: length(fault.extra_ms), for_ms },
        FaultKind::ClockStep => {
            let by_ms = fault.by_ms.map_or(0, |r| draw_signed(dice, r));
            What::ClockStep { node, by_ms, tick_ms: fault.tick_ms.as_ref().map(|ticks| chosen(dice, ticks)) }
        }
        FaultKind::SyncError => {
            let count = count(length(fault.syncs)).max(1);
            What::SyncError { node, count, under: folder(fault, dice), names: fault.names, for_ms }
        }
        FaultKind::SyncLie => What::SyncLie { node, for_ms },
        FaultKind::ReadError => {
            let (count, sectors) = (count(length(fault.reads)), count(length(fault.sectors)));
            What::ReadError { node, count, under: folder(fault, dice), sectors, for_ms }
        }
        FaultKind::WriteError => {
            let count = count(length(fault.writes)).max(1);
            What::WriteError { node, count, under: folder(fault, dice), for_ms }
        }
        FaultKind::StuckHandler => {
            let count = count(length(fault.handlers)).clamp(1, STUCK_MAX);
            What::StuckHandler { node, count, for_ms }
        }
        FaultKind::BitRot => What::BitRot { node, file: chosen(dice, fault.file.as_ref()?) },
        FaultKind::MisdirectedWrite => What::MisdirectedWrite { node, file: chosen(dice, fault.file.as_ref()?) },
        FaultKind::DiskReplaced => What::DiskReplaced { node, down_ms: down },
        FaultKind::DiskFull => What::DiskFull { node, left_bytes: length(fault.left_bytes), for_ms },
        FaultKind::DiskStalled => What::DiskStalled { node, for_ms },
        FaultKind::ClockDrift => What::ClockDrift { node, ppm: fault.ppm.map_or(0, |r| draw_signed(dice, r)), for_ms },
        FaultKind::SlowCpu => What::SlowCpu { node, extra_us: length(fault.extra_us), for_ms },
        FaultKind::Partition => {
            let b = other_side(fault, dice, config, sides)?;
            let oneway = fault.oneway.unwrap_or_else(|| dice.below(3) == 0);
            let for_ms = fault.for_ms.map(|_| for_ms);
            What::Partition { a: sides.to_vec(), b, oneway, for_ms }
        }
        FaultKind::SlowLink => {
            let extra_ms = length(fault.extra_ms);
            What::SlowLink { a: sides.to_vec(), b: other_side(fault, dice, config, sides)?, extra_ms, for_ms }
        }
        FaultKind::ThinLink => {
            let bytes_per_s = length(fault.bytes_per_s).max(BYTES_PER_S_MIN);
            What::ThinLink { a: sides.to_vec(), b: other_side(fault, dice, config, sides)?, bytes_per_s, for_ms }
        }
        FaultKind::HalfClose => What::HalfClose { a: sides.to_vec(), b: other_side(fault, dice, config, sides)? },
        FaultKind::Reset => What::Reset { a: sides.to_vec(), b: other_side(fault, dice, config, sides)? },
        FaultKind::HeartbeatDelay => {
            let extra_ms = length(fault.extra_ms);
            let requests = chosen(dice, fault.requests.as_ref()?);
            let to = targets(fault.other.as_deref(), dice, config).into_iter().next();
            What::HeartbeatDelay { from: node, to, codes: requests.codes().to_vec(), extra_ms, for_ms }
        }
        FaultKind::HeartbeatLoss => {
            let requests = chosen(dice, fault.requests.as_ref()?);
            let to = targets(fault.other.as_deref(), dice, config).into_iter().next();
            What::HeartbeatLoss { from: node, to, codes: requests.codes().to_vec(), for_ms }
        }
        FaultKind::LostResponse => {
            let requests = chosen(dice, fault.requests.as_ref()?);
            let to = targets(fault.other.as_deref(), dice, config).into_iter().next();
            What::LostResponse { from: node, to, code: *choose(dice, requests.codes())? }
        }
    })
}

/// The folder whose files a fault is about, if it is about one.
fn folder(fault: &FaultSpec, dice: &mut Dice) -> Option<Folder> {
    fault.under.as_ref().map(|folders| chosen(dice, folders))
}

/// The other side of a fault between nodes; nothing when nobody is left for it.
fn other_side(fault: &FaultSpec, dice: &mut Dice, config: &Config, sides: &[String]) -> Option<Vec<String>> {
    let all = targets(fault.other.as_deref(), dice, config);
    let other: Vec<String> = all.into_iter().filter(|name| !sides.contains(name)).collect();
    (!other.is_empty()).then_some(other)
}

/// The nodes behind a name: one of a role, all of a kind, or a node.
fn targets(name: Option<&str>, dice: &mut Dice, config: &Config) -> Vec<String> {
    let names = |all: Vec<&String>| all.into_iter().cloned().collect::<Vec<_>>();
    let servers = || names(config.name_servers.iter().collect());
    let brokers = || names(config.brokers.iter().filter(|b| !b.later).map(|b| &b.name).collect());
    let producers = || names(config.producers.iter().map(|p| &p.name).collect());
    let consumers = || names(config.consumers.iter().map(|c| &c.name).collect());
    let mut one = |of: Vec<String>| choose(dice, &of).cloned().into_iter().collect::<Vec<_>>();
    match name {
        None => Vec::new(),
        Some("broker") => one(brokers()),
        Some("name-server") => one(servers()),
        Some("producer") => one(producers()),
        Some("consumer") => one(consumers()),
        Some("any") => one([brokers(), servers(), producers(), consumers()].concat()),
        Some("all-name-servers") => servers(),
        Some("all-brokers") => brokers(),
        Some("all-clients") => [producers(), consumers()].concat(),
        Some(node) => config.has(node).then(|| node.to_string()).into_iter().collect(),
    }
}

//! From a scenario and a seed to a tape.
//!
//! Invariant: every entity of the tape (a producer, a member, an entry of the fault list) draws from a stream of its own, so
//! that a change to one entry of a scenario leaves the others of the same seed as they were.

mod faults;

use std::collections::BTreeMap;

use crate::dice::{Dice, entity};
use crate::scenario::{Choice, EventKind, LatencySpec, Range, Scenario, Spec, WorkloadSpec};
use crate::tape::{
    Action, BrokerShape, Conditions, Config, ConsumerShape, Expect, GroupShape, Handler, Header, Latency, Mode,
    ProducerShape, QueuePick, Tape, TopicShape, Trigger, What,
};

/// Sends begin so long after the cluster is ready, milliseconds.
const FIRST_SEND_MS: u64 = 500;
/// Time between the last send and the liveness phase, milliseconds.
const AFTER_WORKLOAD_MS: u64 = 2_000;

/// A number of a range.
fn draw(dice: &mut Dice, range: Range) -> u64 {
    u64::try_from(draw_signed(dice, range)).unwrap_or(0)
}

/// A number of a range that may be negative.
fn draw_signed(dice: &mut Dice, range: Range) -> i64 {
    let width = range.1.abs_diff(range.0);
    range.0.saturating_add_unsigned(dice.between(0, width))
}

/// One of the values.
fn choose<'a, T>(dice: &mut Dice, from: &'a [T]) -> Option<&'a T> {
    from.get(usize::try_from(dice.below(from.len() as u64)).unwrap_or(0))
}

fn chosen<T: Clone>(dice: &mut Dice, from: &Choice<T>) -> T {
    choose(dice, &from.0).expect("a choice has at least one value").clone()
}

/// The tape of a seed.
pub fn generate(scenario: &Scenario, seed: u64, plants: &[String]) -> Tape {
    let spec = &scenario.spec;
    let mut config = Config { name_servers: Vec::new(), ..Config::default() };
    let mut actions = Vec::new();
    servers(spec, seed, &mut config);
    topics(spec, seed, &mut config);
    groups(spec, seed, &mut config, &mut actions);
    let end = workloads(spec, seed, &mut config, &mut actions);
    config.safety_ms = end + AFTER_WORKLOAD_MS;
    conditions(spec, seed, &mut config);
    events(spec, seed, &config, end, &mut actions);
    faults::faults(spec, seed, &config, end, &mut actions);
    config.expect = Expect { acked_min: spec.expect.acked_min, delivered_min: spec.expect.delivered_min };
    config.converge_ms = spec.expect.converge_seconds * 1_000;
    let header = Header { plants: plants.to_vec(), ..Header::new(&scenario.name, seed, config) };
    Tape { header, actions }
}

fn servers(spec: &Spec, seed: u64, config: &mut Config) {
    let mut dice = Dice::new(seed, entity("cluster", &[]));
    let cluster = &spec.cluster;
    let name_servers = draw(&mut dice, cluster.name_servers);
    let (brokers, later) = (draw(&mut dice, cluster.brokers), draw(&mut dice, cluster.later_brokers));
    let flush = chosen(&mut dice, &cluster.flush);
    let idle = Dice::new(seed, entity("idle-topics", &[]));
    config.idle_topics = u32::try_from(draw(&mut { idle }, cluster.idle_topics)).unwrap_or(0);
    config.buggify_permille = u32::try_from(draw(&mut dice, cluster.buggify_permille)).unwrap_or(0);
    let properties: BTreeMap<String, String> = (cluster.properties.iter())
        .map(|(key, values)| (key.clone(), chosen(&mut Dice::new(seed, entity(key, &[])), values.get_ref()).0))
        .collect();
    config.name_servers = (0..name_servers).map(|n| format!("ns-{n}")).collect();
    for n in 0..brokers + later {
        let letter = char::from(b'a' + u8::try_from(n % 26).expect("below 26"));
        let name = format!("broker-{letter}");
        config.brokers.push(BrokerShape { name, flush, later: n >= brokers, properties: properties.clone() });
    }
    let mut dice = Dice::new(seed, entity("delays", &[]));
    if let Some(network) = &spec.network {
        config.network = latency(&mut dice, network);
    }
    if let Some(disk) = &spec.disk {
        config.disk = latency(&mut dice, disk);
    }
}

fn latency(dice: &mut Dice, spec: &LatencySpec) -> Latency {
    let min_us = draw(dice, spec.min_us);
    Latency {
        min_us,
        max_us: draw(dice, spec.max_us).max(min_us),
        slow_permille: u32::try_from(draw(dice, spec.slow_permille)).unwrap_or(0),
        slow_us: draw(dice, spec.slow_us),
    }
}

fn conditions(spec: &Spec, seed: u64, config: &mut Config) {
    let said = &spec.conditions;
    let mut conditions = Conditions::drawn(seed);
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let parts = [
        ("loss-ppm", said.loss_ppm, &mut conditions.loss_ppm),
        ("cut-ppm", said.cut_ppm, &mut conditions.cut_ppm),
        ("window-bytes", said.window_bytes, &mut conditions.window_bytes),
        ("busy-ppm", said.busy_ppm, &mut conditions.busy_ppm),
        ("cold-ppm", said.cold_ppm, &mut conditions.cold_ppm),
    ];
    let of = |name: &str, range: Range| draw(&mut Dice::new(seed, entity(name, &[0x5f])), range);
    for (name, range, part) in parts {
        *part = range.map_or(*part, |range| small(of(name, range)));
    }
    conditions.disk_bytes = said.disk_bytes.map_or(conditions.disk_bytes, |range| of("disk-bytes", range));
    conditions.bytes_per_s = said.bytes_per_s.map(|range| of("bytes-per-s", range));
    conditions.unsent_bytes = said.unsent_bytes.map(|range| of("unsent-bytes", range));
    config.conditions = Some(conditions);
    if let Some(range) = said.clock_offset_ms {
        let off = |name: &str| draw_signed(&mut Dice::new(seed, entity(name, &[0x60])), range);
        config.clock_offsets_ms = config.nodes().map(|name| (name.to_owned(), off(name))).collect();
    }
}

fn topics(spec: &Spec, seed: u64, config: &mut Config) {
    for (name, topic) in spec.topics.iter().filter(|(_, t)| !t.auto_created) {
        let mut dice = Dice::new(seed, entity(name, &[0]));
        let queues = u32::try_from(draw(&mut dice, topic.queues)).unwrap_or(1).max(1);
        config.topics.insert(name.clone(), TopicShape { queues, brokers: Vec::new(), order: topic.order });
    }
}

fn groups(spec: &Spec, seed: u64, config: &mut Config, actions: &mut Vec<Action>) {
    for (name, group) in &spec.groups {
        let group = group.get_ref();
        let mut dice = Dice::new(seed, entity(name, &[1]));
        let strategy = chosen(&mut dice, &group.strategy);
        let shape = GroupShape {
            model: group.model,
            orderly: group.orderly,
            from: group.from,
            strategy,
            tags: group.tags.clone(),
        };
        config.groups.insert(name.clone(), shape);
        let longest = draw(&mut dice, group.handler_ms);
        let handler = Handler {
            min_ms: u64::try_from(group.handler_ms.0).unwrap_or(0).min(longest),
            max_ms: longest,
            fail_permille: u32::try_from(draw(&mut dice, group.fail_permille)).unwrap_or(0),
        };
        for n in 1..=draw(&mut dice, group.members) {
            let client = format!("{name}-{n}");
            config.consumers.push(ConsumerShape {
                name: client.clone(),
                group: name.clone(),
                topics: group.topics.clone(),
                handler,
            });
            let at = draw(&mut Dice::new(seed, entity(&client, &[2])), group.join_ms);
            let id = 100 + config.consumers.len() as u64;
            actions.push(Action { id, when: Trigger::At { at }, what: What::Join { client } });
        }
    }
}

/// Adds producers and sends; returns when the last send is.
fn workloads(spec: &Spec, seed: u64, config: &mut Config, actions: &mut Vec<Action>) -> u64 {
    let mut end = 0;
    for (load, n) in spec.workload.iter().zip(0..) {
        let load = load.get_ref();
        let mut dice = Dice::new(seed, entity("workload", &[n]));
        let seconds = draw(&mut dice, load.seconds);
        let shards = draw(&mut dice, load.shards);
        let modes = modes_in_play(&mut dice, load);
        let from = FIRST_SEND_MS + load.from_seconds.map_or(0, |range| draw(&mut dice, range)) * 1_000;
        let until = from + seconds * 1_000;
        end = end.max(until);
        for _ in 0..draw(&mut dice, load.producers).max(1) {
            let name = format!("p{}", config.producers.len() + 1);
            let retries = u32::try_from(draw(&mut dice, load.retries)).unwrap_or(0);
            config.producers.push(ProducerShape {
                name: name.clone(),
                send_timeout_ms: draw(&mut dice, load.timeout_ms),
                retries,
            });
            let number = config.producers.len() as u64;
            let sends = Sends { load, client: name, number, from, until, shards, modes: &modes };
            sends.write(seed, actions);
        }
    }
    end
}

/// Which modes this seed uses at all, with their weights. Something is acknowledged in every run, where the file allows it.
fn modes_in_play(dice: &mut Dice, load: &WorkloadSpec) -> Vec<(String, u64)> {
    let all: Vec<(String, u64)> =
        load.modes.iter().map(|(m, w)| (m.clone(), u64::from(*w))).filter(|(_, w)| *w > 0).collect();
    let some: Vec<(String, u64)> = all.iter().filter(|_| dice.below(4) > 0).cloned().collect();
    let silent = some.iter().all(|(mode, _)| mode == "oneway");
    match (silent, all.is_empty()) {
        (false, _) => some,
        (true, false) => all,
        (true, true) => vec![("sync".into(), 1)],
    }
}

/// The sends of one producer.
struct Sends<'a> {
    load: &'a WorkloadSpec,
    client: String,
    number: u64,
    from: u64,
    until: u64,
    shards: u64,
    modes: &'a [(String, u64)],
}

impl Sends<'_> {
    fn write(&self, seed: u64, actions: &mut Vec<Action>) {
        let mut dice = Dice::new(seed, entity(&self.client, &[3]));
        let gap = 1_000_000 / draw(&mut dice, self.load.rate).max(1);
        let mut at = self.from * 1_000;
        for n in 1.. {
            at += dice.between(gap / 5, gap * 9 / 5);
            if at / 1_000 >= self.until {
                return;
            }
            let what = self.send(seed, n);
            actions.push(Action { id: self.number * 1_000_000 + n, when: Trigger::At { at: at / 1_000 }, what });
        }
    }

    /// The n-th send: its draws are keyed by its number.
    fn send(&self, seed: u64, n: u64) -> What {
        let mut dice = Dice::new(seed, entity(&self.client, &[4, n]));
        let (mode, batch) = self.mode(&mut dice);
        let shard = (self.shards > 0).then(|| format!("s{}", dice.below(self.shards)));
        What::Send {
            client: self.client.clone(),
            topic: self.load.topic.clone(),
            key: format!("{}-{n}", self.client),
            queue: if shard.is_some() { QueuePick::Shard } else { QueuePick::Any },
            shard,
            tag: choose(&mut dice, &self.load.tags).cloned(),
            size: u32::try_from(draw(&mut dice, self.load.size)).unwrap_or(0),
            batch,
            mode,
        }
    }

    fn mode(&self, dice: &mut Dice) -> (Mode, u32) {
        let mut left = dice.below(self.modes.iter().map(|(_, w)| w).sum());
        let name = self.modes.iter().find(|(_, weight)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        match name.map(|(name, _)| name.as_str()) {
            Some("async") => (Mode::Async, 1),
            Some("oneway") => (Mode::Oneway, 1),
            Some("batch") => (Mode::Sync, u32::try_from(draw(dice, self.load.batch)).unwrap_or(1).max(1)),
            _ => (Mode::Sync, 1),
        }
    }
}

/// A time somewhere in the middle of the workload, unless the file says when.
fn moment(dice: &mut Dice, at: Option<Range>, end: u64) -> u64 {
    match at {
        Some(range) => draw(dice, range),
        None => dice.between(end / 10, end * 8 / 10),
    }
}

fn events(spec: &Spec, seed: u64, config: &Config, end: u64, actions: &mut Vec<Action>) {
    for (event, entry) in spec.events.iter().zip(0u64..) {
        let event = event.get_ref();
        let mut dice = Dice::new(seed, entity("event", &[entry]));
        for k in 0..draw(&mut dice, event.count) {
            let at = moment(&mut dice, event.at_ms, end);
            let id = 10_000 + entry * 400 + k * 20;
            let mut act = |id, at, what| actions.push(Action { id, when: Trigger::At { at }, what });
            let members =
                || config.consumers.iter().filter(|c| Some(&c.group) == event.group.as_ref()).collect::<Vec<_>>();
            let away = event.away_ms.map_or(0, |away| draw(&mut dice, away));
            match event.kind {
                EventKind::Leave => {
                    let Some(member) = choose(&mut dice, &members()).map(|c| c.name.clone()) else { continue };
                    act(id, at, What::Leave { client: member.clone() });
                    act(id + 1, at + away, What::Join { client: member });
                }
                EventKind::Crash => {
                    let Some(member) = choose(&mut dice, &members()).map(|c| c.name.clone()) else { continue };
                    act(id, at, What::Crash { client: member, down_ms: Some(away) });
                }
                EventKind::Resubscribe => {
                    let topic = event.topic.clone().expect("validated: the event names its topic");
                    let tags = event.tags.as_ref().map(|tags| chosen(&mut dice, tags)).filter(|tags| tags != "none");
                    let gap = event.gap_ms.map_or(0, |range| draw(&mut dice, range));
                    for (client, nth) in members().into_iter().map(|member| member.name.clone()).zip(0..6) {
                        let (id, at) = (id + nth * 3, at + nth * gap);
                        let what = What::Subscribe { client: client.clone(), topic: topic.clone(), tags: tags.clone() };
                        act(id + 1, at + away, what);
                        if event.away_ms.is_some() {
                            act(id, at, What::Leave { client: client.clone() });
                            act(id + 2, at + away, What::Join { client });
                        }
                    }
                }
                EventKind::BrokerJoin => {
                    let later: Vec<_> = config.brokers.iter().filter(|b| b.later).collect();
                    let Some(broker) = later.get(usize::try_from(k).unwrap_or(0)) else { continue };
                    act(id, at, What::BrokerJoin { node: broker.name.clone() });
                }
                EventKind::ResetOffsets => {
                    let named = |name: &Option<String>| name.clone().expect("validated: the event names it");
                    let back_ms = event.back_ms.map(|back| draw(&mut dice, back));
                    act(id, at, What::ResetOffsets { group: named(&event.group), topic: named(&event.topic), back_ms });
                }
                EventKind::QueryKey => {
                    let topic = event.topic.clone().expect("validated: the event names its topic");
                    let Some(key) = key_before(&mut dice, actions, &topic, at) else { continue };
                    actions.push(Action { id, when: Trigger::At { at }, what: What::QueryKey { topic, key } });
                }
                EventKind::WriteKv => {
                    let key = format!("key-{}", dice.below(2));
                    act(id, at, What::WriteKv { key, value: format!("value-{k}") });
                }
                EventKind::DeleteTopic => {
                    let topic = event.topic.clone().expect("validated: the event names its topic");
                    act(id, at, What::DeleteTopic { topic });
                }
                EventKind::Drain => {
                    let brokers: Vec<_> = config.brokers.iter().filter(|b| !b.later).collect();
                    let Some(broker) = choose(&mut dice, &brokers) else { continue };
                    let for_ms = event.for_ms.map_or(0, |range| draw(&mut dice, range));
                    act(id, at, What::Drain { node: broker.name.clone(), for_ms });
                }
                EventKind::RollingRestart => {
                    let brokers = || config.brokers.iter().filter(|b| !b.later).map(|b| b.name.clone()).collect();
                    let servers = event.target.as_deref() == Some("all-name-servers");
                    let nodes: Vec<String> = if servers { config.name_servers.clone() } else { brokers() };
                    let mut length = |range: Option<Range>| range.map_or(0, |range| draw(&mut dice, range));
                    let (down_ms, gap) = (length(event.down_ms), length(event.gap_ms));
                    for (nth, node) in (0..20).zip(nodes) {
                        act(id + nth, at + nth * gap, What::Restart { node, down_ms });
                    }
                }
                EventKind::Queues => {
                    let topic = event.topic.clone().expect("validated: the event names its topic");
                    let queues = u32::try_from(event.queues.map_or(4, |q| draw(&mut dice, q))).unwrap_or(4);
                    act(id, at, What::Topic { topic, queues, brokers: Vec::new() });
                }
            }
        }
    }
}

/// The key of a message that is sent to a topic before a time.
fn key_before(dice: &mut Dice, actions: &[Action], topic: &str, before: u64) -> Option<String> {
    let key = |action: &Action| match (&action.what, &action.when) {
        (What::Send { topic: to, key, batch, .. }, Trigger::At { at }) if to == topic && *at < before => {
            Some(if *batch > 1 { format!("{key}/0") } else { key.clone() })
        }
        _ => None,
    };
    let keys: Vec<String> = actions.iter().filter_map(key).collect();
    choose(dice, &keys).cloned()
}

#[cfg(test)]
mod tests;

//! What must be true of a tape beyond its syntax: names that exist and fit, numbers that the simulator can take.
//!
//! Invariant: a tape that passes here does not fail in the simulator for its own sake; whatever it then shows is the cluster's.

use std::collections::BTreeSet;

use seedmq_core::consumer::{ALL, Subscription};

use super::{
    Action, BYTES_PER_S_MIN, Conditions, Config, ConsumerShape, Latency, Model, STRATEGIES, Trigger, UNSENT_BYTES_MIN,
    What,
};

/// Longest time that a tape may name, milliseconds (11 days): nothing overflows in nanoseconds.
const TIME_MS_MAX: u64 = 1_000_000_000;
/// Longest delay of a link or disk, microseconds.
const DELAY_US_MAX: u64 = 600_000_000;
/// Largest body, bytes: a little more than what any broker takes, so that refusals can be tried.
const SIZE_MAX: u32 = 16 << 20;
/// Most messages in a batch.
const BATCH_MAX: u32 = 10_000;
/// Most queues of a topic on a broker.
const QUEUES_MAX: u32 = 4_096;
/// Most syncs that fail.
const COUNT_MAX: u32 = 1_000_000;
/// Most handlers of a consumer that do not return: half of those that may run at once, so that there is room for others.
pub const STUCK_MAX: u32 = 10;
/// Most sectors that go bad at once.
const SECTORS_MAX: u32 = 10_000;
/// Fastest and slowest clock, in parts in a million.
const PPM_MAX: u64 = 1_000_000;
/// Most segments lost, in a million: half of them.
const LOSS_PPM_MAX: u32 = 500_000;
/// Smallest window of a connection.
const WINDOW_BYTES_MIN: u64 = 1 << 10;
/// Smallest disk.
const DISK_BYTES_MIN: u64 = 1 << 20;
/// Most topics that nobody uses.
const IDLE_TOPICS_MAX: u32 = 200_000;
/// Most nodes; hosts are numbered with 16 bits.
const NODES_MAX: usize = 10_000;
/// What is wrong, and the field or the word at which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub what: String,
    pub field: &'static str,
    pub word: Option<String>,
}

type Checked = Result<(), Fault>;

fn at_field(field: &'static str, what: String) -> Fault {
    Fault { what, field, word: None }
}

fn at_word(word: &str, what: String) -> Fault {
    Fault { what, field: "", word: Some(word.to_owned()) }
}

fn least(field: &'static str, name: &str, value: u64, min: u64) -> Checked {
    if value >= min {
        return Ok(());
    }
    Err(at_field(field, format!("\"{name}\" is expected to be at least {min}, found {value}")))
}

fn most<T: PartialOrd + std::fmt::Display>(field: &'static str, value: T, max: T) -> Checked {
    if value <= max {
        return Ok(());
    }
    Err(at_field(field, format!("\"{field}\" is expected to be at most {max}, found {value}")))
}

/// Looks at the header's description.
pub(super) fn config(config: &Config) -> Checked {
    let mut names = BTreeSet::from(["admin"]);
    for name in config.nodes() {
        if name.is_empty() || !names.insert(name) {
            return Err(at_word(
                name,
                format!("each node is expected to have a name of its own, found \"{name}\" again"),
            ));
        }
    }
    most("producers", names.len(), NODES_MAX)?;
    most("safety-ms", config.safety_ms, TIME_MS_MAX)?;
    most("converge-ms", config.converge_ms, TIME_MS_MAX)?;
    most("buggify-permille", config.buggify_permille, 1_000)?;
    most("idle-topics", config.idle_topics, IDLE_TOPICS_MAX)?;
    // Events of two hosts in one moment have no order.
    least("network", "min-us", config.network.min_us, 1)?;
    latency("network", &config.network)?;
    latency("disk", &config.disk)?;
    if let Some(conditions) = &config.conditions {
        let Conditions { loss_ppm, cut_ppm, window_bytes, busy_ppm, cold_ppm, disk_bytes, bytes_per_s, unsent_bytes } =
            *conditions;
        most("loss-ppm", loss_ppm, LOSS_PPM_MAX)?;
        [("cut-ppm", cut_ppm), ("busy-ppm", busy_ppm), ("cold-ppm", cold_ppm)]
            .into_iter()
            .try_for_each(|(name, ppm)| most(name, ppm, 1_000_000))?;
        least("window-bytes", "window-bytes", window_bytes.into(), WINDOW_BYTES_MIN)?;
        least("disk-bytes", "disk-bytes", disk_bytes, DISK_BYTES_MIN)?;
        bytes_per_s.map_or(Ok(()), |bytes| least("bytes-per-s", "bytes-per-s", bytes, BYTES_PER_S_MIN))?;
        unsent_bytes.map_or(Ok(()), |bytes| least("unsent-bytes", "unsent-bytes", bytes, UNSENT_BYTES_MIN))?;
    }
    for (node, by_ms) in &config.clock_offsets_ms {
        role(config, node, "")?;
        most("clock-offsets-ms", by_ms.unsigned_abs(), TIME_MS_MAX)?;
    }
    brokers(config)?;
    clients(config)?;
    for (name, topic) in &config.topics {
        if topic.queues == 0 || topic.queues > QUEUES_MAX {
            return Err(at_word(name, format!("1 to {QUEUES_MAX} queues are expected, found {}", topic.queues)));
        }
        topic.brokers.iter().try_for_each(|broker| role(config, broker, "broker"))?;
    }
    let group = config.groups.iter().find(|(_, group)| group.model == Model::Broadcasting);
    if let Some((name, _)) = group {
        return Err(at_word(name, "\"clustering\" is expected: the consumer has no broadcasting yet".into()));
    }
    let is_known = |name: &str| name.is_empty() || STRATEGIES.contains(&name);
    let unknown = config.groups.values().find(|group| !is_known(&group.strategy));
    unknown.map_or(Ok(()), |group| {
        let known = STRATEGIES.join(", ");
        Err(at_word(
            &group.strategy,
            format!("an allocation strategy is expected ({known}), found \"{}\"", group.strategy),
        ))
    })
}

fn latency(field: &'static str, latency: &Latency) -> Checked {
    if latency.min_us > latency.max_us {
        let what =
            format!("\"min-us\" is expected to be at most \"max-us\", found {} and {}", latency.min_us, latency.max_us);
        return Err(at_field(field, what));
    }
    most(field, latency.max_us.max(latency.slow_us), DELAY_US_MAX)?;
    most(field, latency.slow_permille, 1_000)
}

fn brokers(config: &Config) -> Checked {
    for broker in &config.brokers {
        let mut settings = seedmq_core::broker::BrokerConfig::default();
        for (name, value) in &broker.properties {
            let set = settings.set(name, value);
            set.map_err(|e| at_word(name, format!("a setting of the broker is expected: {e}")))?;
        }
    }
    Ok(())
}

fn clients(config: &Config) -> Checked {
    for producer in &config.producers {
        most("send-timeout-ms", producer.send_timeout_ms, TIME_MS_MAX)?;
        most("retries", producer.retries, 1_000)?;
    }
    for consumer in &config.consumers {
        let handler = consumer.handler;
        most("max-ms", handler.max_ms, TIME_MS_MAX)?;
        most("min-ms", handler.min_ms, handler.max_ms)?;
        most("fail-permille", handler.fail_permille, 1_000)?;
    }
    Ok(())
}

/// A node of this role is expected; of any role when it is empty.
fn role(config: &Config, name: &str, wanted: &str) -> Checked {
    let what = match config.role(name) {
        Some(found) if wanted.is_empty() || found == wanted => return Ok(()),
        Some(found) => format!("a {wanted} is expected, but \"{name}\" is a {found}"),
        None => {
            let known: Vec<&str> =
                config.nodes().filter(|n| wanted.is_empty() || config.role(n) == Some(wanted)).collect();
            let kind = if wanted.is_empty() { "node" } else { wanted };
            format!("a {kind} of the header is expected ({}), found \"{name}\"", known.join(", "))
        }
    };
    Err(at_word(name, what))
}

/// Looks at one action.
pub(super) fn action(config: &Config, action: &Action) -> Checked {
    match &action.when {
        Trigger::At { at } => most("at", *at, TIME_MS_MAX)?,
        Trigger::On { node, from, .. } => {
            role(config, node, "")?;
            most("from", *from, TIME_MS_MAX)?;
        }
    }
    what(config, &action.what)
}

fn what(config: &Config, what: &What) -> Checked {
    let down = |ms: &Option<u64>| most("down-ms", ms.unwrap_or(0), TIME_MS_MAX);
    match what {
        What::Send { client, size, batch, queue, .. } => {
            role(config, client, "producer")?;
            most("size", *size, SIZE_MAX)?;
            most("batch", *batch, BATCH_MAX)?;
            match queue {
                super::QueuePick::Queue(broker, _) => role(config, broker, "broker"),
                _ => Ok(()),
            }
        }
        What::Join { client } | What::Leave { client } => role(config, client, "consumer"),
        What::Subscribe { client, topic, tags } => {
            role(config, client, "consumer")?;
            let reads = |consumer: &ConsumerShape| consumer.name == *client && consumer.topics.contains(topic);
            if !config.consumers.iter().any(reads) {
                return Err(at_word(topic, format!("a topic of \"{client}\" is expected, found \"{topic}\"")));
            }
            let topic = topic.as_str().into();
            let read = Subscription::new(topic, tags.as_deref().unwrap_or(ALL), 0);
            read.map(drop).map_err(|e| at_field("tags", format!("a topic and tags are expected: {e}")))
        }
        What::Crash { client, down_ms } => role(config, client, "").and_then(|()| down(down_ms)),
        What::Topic { queues, brokers, .. } => {
            most("queues", *queues, QUEUES_MAX)?;
            brokers.iter().try_for_each(|broker| role(config, broker, "broker"))
        }
        What::ResetOffsets { group, topic, back_ms } => {
            most("back-ms", back_ms.unwrap_or(0), TIME_MS_MAX)?;
            let reads = |consumer: &ConsumerShape| consumer.group == *group && consumer.topics.contains(topic);
            if config.consumers.iter().any(reads) {
                return Ok(());
            }
            Err(at_word(
                group,
                format!("a group of the header that consumes \"{topic}\" is expected, found \"{group}\""),
            ))
        }
        What::DeleteTopic { topic } => match config.consumers.iter().find(|consumer| consumer.topics.contains(topic)) {
            Some(reader) => Err(at_word(
                topic,
                format!("a topic that nobody reads is expected, but \"{}\" reads \"{topic}\"", reader.name),
            )),
            None => Ok(()),
        },
        What::QueryKey { .. } | What::WriteKv { .. } => Ok(()),
        What::Drain { node, for_ms } => {
            role(config, node, "broker")?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::BrokerJoin { node } => role(config, node, "broker"),
        What::Kill { node, down_ms, .. } | What::PowerLoss { node, down_ms } => {
            role(config, node, "").and_then(|()| down(down_ms))
        }
        What::Restart { node, down_ms } => {
            role(config, node, "")?;
            most("down-ms", *down_ms, TIME_MS_MAX)
        }
        What::Pause { node, for_ms } => {
            role(config, node, "")?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::SyncError { node, count, for_ms, .. } => {
            role(config, node, "")?;
            most("count", *count, COUNT_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::SyncLie { node, for_ms } => {
            role(config, node, "broker")?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::ReadError { node, count, sectors, for_ms, .. } => {
            role(config, node, "broker")?;
            most("count", *count, COUNT_MAX)?;
            most("sectors", *sectors, SECTORS_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::WriteError { node, count, for_ms, .. } => {
            role(config, node, "broker")?;
            most("count", *count, COUNT_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::StuckHandler { node, count, for_ms } => {
            role(config, node, "consumer")?;
            most("count", *count, STUCK_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::BitRot { node, .. } | What::MisdirectedWrite { node, .. } => role(config, node, "broker"),
        What::DiskReplaced { node, down_ms } => {
            role(config, node, "broker")?;
            most("down-ms", *down_ms, TIME_MS_MAX)
        }
        What::DiskFull { node, for_ms, .. } | What::DiskStalled { node, for_ms } => {
            role(config, node, "")?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::ClockDrift { node, ppm, for_ms } => {
            role(config, node, "")?;
            most("ppm", ppm.unsigned_abs(), PPM_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::SlowCpu { node, extra_us, for_ms } => {
            role(config, node, "")?;
            most("extra-us", *extra_us, DELAY_US_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::SlowLink { a, b, extra_ms, for_ms } => {
            most("extra-ms", *extra_ms, TIME_MS_MAX / 1_000)?;
            most("for-ms", *for_ms, TIME_MS_MAX)?;
            sides(config, a, b)
        }
        What::ThinLink { a, b, bytes_per_s, for_ms } => {
            least("bytes-per-s", "bytes-per-s", *bytes_per_s, BYTES_PER_S_MIN)?;
            most("for-ms", *for_ms, TIME_MS_MAX)?;
            sides(config, a, b)
        }
        What::Reset { a, b } | What::HalfClose { a, b } => sides(config, a, b),
        What::HeartbeatDelay { from, to, extra_ms, for_ms, .. } => {
            most("extra-ms", *extra_ms, TIME_MS_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)?;
            ends(config, from, to.as_ref())
        }
        What::SlowDisk { node, extra_ms, for_ms } => {
            role(config, node, "")?;
            most("extra-ms", *extra_ms, TIME_MS_MAX)?;
            most("for-ms", *for_ms, TIME_MS_MAX)
        }
        What::ClockStep { node, by_ms, tick_ms } => {
            role(config, node, "")?;
            least("tick-ms", "tick-ms", tick_ms.unwrap_or(1), 1)?;
            most("tick-ms", tick_ms.unwrap_or(1), TIME_MS_MAX)?;
            most("by-ms", by_ms.unsigned_abs(), TIME_MS_MAX)
        }
        What::HeartbeatLoss { from, to, for_ms, .. } => {
            most("for-ms", *for_ms, TIME_MS_MAX)?;
            ends(config, from, to.as_ref())
        }
        What::LostResponse { from, to, .. } => ends(config, from, to.as_ref()),
        What::Partition { a, b, for_ms, .. } => {
            most("for-ms", for_ms.unwrap_or(0), TIME_MS_MAX)?;
            sides(config, a, b)
        }
    }
}

/// Looks at all partitions that last for good together.
pub(super) fn lasting<'a>(config: &Config, actions: impl Iterator<Item = &'a Action>) -> Checked {
    let what = "a partition that lasts for good is expected to leave a name server that everybody reaches, and to cut a \
                broker off only from name servers that no client reaches";
    let ok = may_last(config, actions.map(|action| &action.what));
    if ok { Ok(()) } else { Err(at_field("b", what.into())) }
}

/// Whether the configuration tolerates these partitions, as far as they last for good: they cut nodes off from name servers only; one name
/// server is reached by everybody; and one that a broker does not reach, which answers without it, is asked by no client.
pub fn may_last<'a>(config: &Config, all: impl Iterator<Item = &'a What>) -> bool {
    let mut cut: BTreeSet<(&str, &str)> = BTreeSet::new();
    for what in all {
        let What::Partition { a, b, for_ms: None, .. } = what else { continue };
        for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (x.as_str(), y.as_str()))) {
            match (config.role(x) == Some("name-server"), config.role(y) == Some("name-server")) {
                (true, false) => drop(cut.insert((x, y))),
                (false, true) => drop(cut.insert((y, x))),
                _ => return false,
            }
        }
    }
    let producers = config.producers.iter().map(|producer| producer.name.as_str());
    let clients: Vec<&str> = producers.chain(config.consumers.iter().map(|c| c.name.as_str())).collect();
    let lacks_broker = |server: &str| config.brokers.iter().any(|broker| cut.contains(&(server, broker.name.as_str())));
    let unasked = |server: &str| clients.iter().all(|client| cut.contains(&(server, *client)));
    let whole = |server: &&String| cut.iter().all(|(cut, _)| cut != server);
    let servers = &config.name_servers;
    cut.is_empty() || (servers.iter().any(|s| whole(&s)) && servers.iter().all(|s| !lacks_broker(s) || unasked(s)))
}

fn ends(config: &Config, from: &str, to: Option<&String>) -> Checked {
    role(config, from, "")?;
    to.map_or(Ok(()), |to| role(config, to, ""))
}

fn sides(config: &Config, a: &[String], b: &[String]) -> Checked {
    for (side, field) in [(a, "a"), (b, "b")] {
        if side.is_empty() {
            return Err(at_field(field, format!("at least one node is expected in \"{field}\"")));
        }
        side.iter().try_for_each(|name| role(config, name, ""))?;
    }
    match a.iter().find(|name| b.contains(name)) {
        Some(name) => Err(at_word(name, format!("a node is expected on one side, but \"{name}\" is on both"))),
        None => Ok(()),
    }
}

//! What must be true of a scenario file beyond its types: names that exist, keys that fit their kind.
//!
//! Invariant: every complaint says what was expected, and where it can, the position of the table at fault.

use std::collections::BTreeSet;

use seedmq_core::message::names::RETRY_PREFIX;

use super::spec::{BETWEEN_SIDES, Choice, EventKind, EventSpec, FaultKind, FaultSpec, GroupSpec, Property, Spec};
use crate::tape::{Model, Moment, STRATEGIES};

/// A byte position, if known, and what was expected there.
type Complaint = (Option<usize>, String);

impl Spec {
    /// What the types alone do not say.
    pub(super) fn validate(&self) -> Result<(), Complaint> {
        let topics: BTreeSet<&str> = self.topics.keys().map(String::as_str).collect();
        let known = |name: &str, at: usize| match topics.contains(name) {
            true => Ok(()),
            false => Err((Some(at), format!("a topic of this file is expected, found \"{name}\""))),
        };
        for (name, values) in &self.cluster.properties {
            known_property(name, values.get_ref()).map_err(|what| (Some(values.span().start), what))?;
        }
        if self.network.as_ref().is_some_and(|network| network.min_us.0 < 1) {
            return Err((None, "[network] min-us is expected to be at least 1".into()));
        }
        if self.workload.is_empty() {
            return Err((None, "at least one [[workload]] is expected".into()));
        }
        for load in &self.workload {
            known(&load.get_ref().topic, load.span().start)?;
            let modes = ["sync", "async", "oneway", "batch"];
            if let Some(mode) = load.get_ref().modes.keys().find(|m| !modes.contains(&m.as_str())) {
                return Err((
                    Some(load.span().start),
                    format!("one of {} is expected in modes, found \"{mode}\"", modes.join(", ")),
                ));
            }
        }
        for group in self.groups.values() {
            check_group(group.get_ref()).map_err(|what| (Some(group.span().start), what))?;
            group.get_ref().topics.iter().try_for_each(|t| known(t, group.span().start))?;
        }
        for event in &self.events {
            self.check_event(event.get_ref()).map_err(|what| (Some(event.span().start), what))?;
        }
        self.faults
            .iter()
            .try_for_each(|fault| fault.get_ref().check().map_err(|what| (Some(fault.span().start), what)))
    }

    fn check_event(&self, event: &EventSpec) -> Result<(), String> {
        let member = matches!(event.kind, EventKind::Leave | EventKind::Crash);
        let is = |kind: EventKind| event.kind == kind;
        let (reset, rolling, resub) =
            (is(EventKind::ResetOffsets), is(EventKind::RollingRestart), is(EventKind::Resubscribe));
        let away = event.away_ms.is_some();
        let keys = [
            ("group", event.group.is_some(), member || reset || resub),
            ("away-ms", away, member || (resub && away)),
            (
                "topic",
                event.topic.is_some(),
                is(EventKind::Queues) || is(EventKind::DeleteTopic) || is(EventKind::QueryKey) || reset || resub,
            ),
            ("tags", event.tags.is_some(), resub),
            ("queues", event.queues.is_some(), is(EventKind::Queues)),
            ("back-ms", event.back_ms.is_some(), reset),
            ("for-ms", event.for_ms.is_some(), is(EventKind::Drain)),
            ("target", event.target.is_some(), rolling),
            ("down-ms", event.down_ms.is_some(), rolling),
            ("gap-ms", event.gap_ms.is_some(), rolling || resub),
        ];
        exactly(&keys, &["back-ms"])?;
        let reads = |(group, topic): (&String, &String)| {
            self.groups.get(group).is_none_or(|group| group.get_ref().topics.contains(topic))
        };
        if let Some((group, topic)) =
            event.group.as_ref().zip(event.topic.as_ref()).filter(|pair| resub && !reads(*pair))
        {
            return Err(format!("a topic of \"{group}\" is expected, found \"{topic}\""));
        }
        for tags in event.tags.iter().flat_map(|tags| &tags.0) {
            let read = seedmq_core::consumer::Subscription::new("T".into(), tags, 0);
            read.map_err(|e| format!("tags are expected, found \"{tags}\": {e}"))?;
        }
        let is_read = |topic: &String| self.groups.values().any(|group| group.get_ref().topics.contains(topic));
        if let Some(topic) = event.topic.as_ref().filter(|topic| is(EventKind::DeleteTopic) && is_read(topic)) {
            return Err(format!("a topic that no group reads is expected, found \"{topic}\""));
        }
        let sets = ["all-brokers", "all-name-servers"];
        if let Some(target) = event.target.as_ref().filter(|target| !sets.contains(&target.as_str())) {
            return Err(format!("{} is expected, found \"{target}\"", sets.join(" or ")));
        }
        if let Some(group) = event.group.as_ref().filter(|g| !self.groups.contains_key(*g)) {
            return Err(format!("a group of this file is expected, found \"{group}\""));
        }
        let is_retry = |topic: &str| {
            is(EventKind::Queues)
                && topic.strip_prefix(RETRY_PREFIX).is_some_and(|group| self.groups.contains_key(group))
        };
        if let Some(topic) = event.topic.as_ref().filter(|t| !self.topics.contains_key(*t) && !is_retry(t)) {
            return Err(format!("a topic of this file is expected, found \"{topic}\""));
        }
        Ok(())
    }
}

fn check_group(group: &GroupSpec) -> Result<(), String> {
    if group.model == Model::Broadcasting {
        return Err("model = \"clustering\" is expected: the consumer has no broadcasting yet".into());
    }
    match group.strategy.0.iter().find(|name| !STRATEGIES.contains(&name.as_str())) {
        Some(name) => Err(format!("a strategy is expected ({}), found \"{name}\"", STRATEGIES.join(", "))),
        None => Ok(()),
    }
}

/// The broker itself says whether it knows a setting and takes its values.
fn known_property(name: &str, values: &Choice<Property>) -> Result<(), String> {
    let mut config = seedmq_core::broker::BrokerConfig::default();
    let set =
        |value: &Property| config.set(name, &value.0).map_err(|e| format!("a setting of the broker is expected: {e}"));
    values.0.iter().try_for_each(set)
}

impl FaultSpec {
    fn check(&self) -> Result<(), String> {
        use FaultKind::{
            BitRot, ClockDrift, ClockStep, DiskFull, DiskReplaced, DiskStalled, HalfClose, HeartbeatDelay,
            HeartbeatLoss, Kill, LostResponse, MisdirectedWrite, Partition, Pause, PowerLoss, ReadError, Reset,
            Restart, SlowCpu, SlowDisk, SlowLink, StuckHandler, SyncError, SyncLie, ThinLink, WriteError,
        };
        let lasting = [
            Pause,
            HeartbeatLoss,
            HeartbeatDelay,
            Partition,
            SlowDisk,
            SlowCpu,
            SlowLink,
            ThinLink,
            ClockDrift,
            SyncError,
            SyncLie,
            ReadError,
            WriteError,
            StuckHandler,
            DiskFull,
            DiskStalled,
        ];
        let is = |kinds: &[FaultKind]| kinds.contains(&self.kind);
        let keys = [
            ("target", self.target.is_some(), true),
            ("down-ms", self.down_ms.is_some(), is(&[Kill, PowerLoss, Restart, DiskReplaced])),
            ("for-ms", self.for_ms.is_some(), is(&lasting) && !(self.for_ms.is_none() && is(&[Partition]))),
            ("requests", self.requests.is_some(), is(&[HeartbeatLoss, HeartbeatDelay, LostResponse])),
            (
                "other",
                self.other.is_some(),
                is(&[Partition, SlowLink, ThinLink, HalfClose, Reset, HeartbeatLoss, HeartbeatDelay, LostResponse]),
            ),
            ("oneway", self.oneway.is_some(), is(&[Partition])),
            ("silent", self.silent.is_some(), is(&[Kill])),
            ("extra-ms", self.extra_ms.is_some(), is(&[SlowDisk, SlowLink, HeartbeatDelay])),
            ("bytes-per-s", self.bytes_per_s.is_some(), is(&[ThinLink])),
            ("extra-us", self.extra_us.is_some(), is(&[SlowCpu])),
            ("syncs", self.syncs.is_some(), is(&[SyncError])),
            ("names", self.names, is(&[SyncError])),
            ("reads", self.reads.is_some(), is(&[ReadError])),
            ("writes", self.writes.is_some(), is(&[WriteError])),
            ("under", self.under.is_some(), is(&[SyncError, ReadError, WriteError])),
            ("sectors", self.sectors.is_some(), is(&[ReadError])),
            ("handlers", self.handlers.is_some(), is(&[StuckHandler])),
            ("left-bytes", self.left_bytes.is_some(), is(&[DiskFull])),
            ("file", self.file.is_some(), is(&[BitRot, MisdirectedWrite])),
            ("ppm", self.ppm.is_some(), is(&[ClockDrift])),
            ("by-ms", self.by_ms.is_some(), is(&[ClockStep])),
            ("tick-ms", self.tick_ms.is_some(), is(&[ClockStep])),
            ("n", self.n.is_some(), self.on.is_some()),
            ("on-node", self.on_node.is_some(), self.on.is_some()),
            (
                "on-requests",
                self.on_requests.is_some(),
                matches!(self.on, Some(Moment::RequestReceived | Moment::ResponseSent)),
            ),
        ];
        exactly(
            &keys,
            &[
                "other",
                "oneway",
                "silent",
                "left-bytes",
                "n",
                "on-node",
                "on-requests",
                "down-ms",
                "reads",
                "sectors",
                "under",
                "names",
                "tick-ms",
            ],
        )?;
        if is(&[Restart, DiskReplaced]) && self.down_ms.is_none() {
            return Err("\"down-ms\" is expected for this kind".into());
        }
        if self.tick_ms.as_ref().is_some_and(|ticks| ticks.0.contains(&0)) {
            return Err("\"tick-ms\" is expected to be at least 1".into());
        }
        if is(&BETWEEN_SIDES) && self.other.is_none() {
            return Err("\"other\" is expected for this kind: the two sides".into());
        }
        Ok(())
    }
}

/// Every key that applies is there, unless it may be missing, and no other.
fn exactly(keys: &[(&str, bool, bool)], optional: &[&str]) -> Result<(), String> {
    for (key, present, applies) in keys {
        if *present && !applies {
            return Err(format!("\"{key}\" does not apply to this kind"));
        }
        if !present && *applies && !optional.contains(key) {
            return Err(format!("\"{key}\" is expected for this kind"));
        }
    }
    Ok(())
}

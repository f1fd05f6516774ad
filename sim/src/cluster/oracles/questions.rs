//! What an operator asks a cluster that runs, and whether the answers are right: messages by key at brokers (oracle `projection`), and
//! what was written into the configuration of name servers (oracle `lost`).
//!
//! Invariant: an answer is held only against what was acknowledged before the question; a refusal, and no answer, say nothing.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_core::wire::Frame;
use seedmq_core::wire::codes::{request, response};
use seedmq_core::wire::kv::{GetKVConfigHeader, PutKVConfigHeader};
use seedmq_core::wire::query::QueryMessageHeader;
use seedmq_reports::Oracle;

use super::needless::is_open;
use crate::cluster::admin::AdminCommand;
use crate::cluster::cast::NAME_SERVER_PORT;
use crate::cluster::scene::Scene;
use crate::history::{Op, Phase};
use crate::world::HostId;

/// Most messages of an answer: no key has so many.
const ANSWER_MAX: i32 = 64;
/// The namespace of what is written.
const NAMESPACE: &str = "SIM";

/// What was asked and written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Questions {
    /// The messages that an answer must hold, by the number of the request: queue and offset.
    keys: BTreeMap<u64, BTreeSet<(u32, u64)>>,
    /// When values were asked for, by the number of the request, ns.
    values: BTreeMap<u64, u64>,
    /// Values of each key at each name server, in the order in which they were written.
    written: BTreeMap<(HostId, String), Vec<Written>>,
}

#[derive(Clone, Debug)]
struct Written {
    ticket: u64,
    value: String,
    acked_ns: Option<u64>,
}

/// Asks every broker that runs for the messages of a key.
pub(in crate::cluster) fn by_key(scene: &Scene, topic: &str, key: &str) {
    let now = scene.now();
    let sent = acknowledged(scene, key);
    for host in scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)) {
        if crate::cluster::boot::index_slots(scene, host).is_none() {
            continue;
        }
        let name = scene.cast.name(host);
        // A broker that a fault touched may have lost the message, or may not have looked at it again yet.
        let touched = scene.seen(|seen| seen.touched_ns.get(name).copied()).unwrap_or(0) as f64 / 1e6;
        let is_well = !is_open(scene, name);
        let kept = |queue: u32, offset: u64| {
            let first = scene.seen(|seen| Some(seen.firsts.get(&host)?.get(&(topic.to_owned(), queue)).copied()));
            first.flatten().is_some_and(|first| offset >= first)
        };
        let due = sent.iter().filter(|(broker, queue, offset, at)| {
            broker == name && is_well && *at > touched && *at + 1_000.0 < now as f64 / 1e6 && kept(*queue, *offset)
        });
        let due = due.map(|(_, queue, offset, _)| (*queue, *offset)).collect();
        let header = QueryMessageHeader {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num: ANSWER_MAX,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            ..QueryMessageHeader::default()
        };
        let frame = Frame::request(request::QUERY_MESSAGE).with_header(&header);
        let ticket = crate::cluster::operate::ask(scene, scene.cast.broker_addr(host), frame, false);
        scene.seen(|seen| seen.questions.keys.insert(ticket, due));
    }
}

/// Where messages with a key were acknowledged to be, and when, ms.
fn acknowledged(scene: &Scene, wanted: &str) -> Vec<(String, u32, u64, f64)> {
    scene.seen(|seen| {
        let mut calls = BTreeSet::new();
        let mut found = Vec::new();
        for record in &seen.history {
            match &record.op {
                Op::Send { phase: Phase::Invoke, call, key, .. } if key == wanted => {
                    calls.insert((record.client.clone(), *call));
                }
                Op::Send { phase: Phase::Ok, call, queue: Some(queue), offset: Some(offset), .. }
                    if calls.contains(&(record.client.clone(), *call)) =>
                {
                    let broker = queue.broker.clone().unwrap_or_default();
                    found.push((broker, queue.id, *offset, record.t));
                }
                _ => {}
            }
        }
        found
    })
}

/// Writes a value into the configuration of every name server that runs.
pub(in crate::cluster) fn write(scene: &Scene, key: &str, value: &str) {
    for (host, addr) in name_servers(scene) {
        let (namespace, key, value) = (NAMESPACE.to_owned(), key.to_owned(), value.to_owned());
        let header = PutKVConfigHeader { namespace, key: key.clone(), value: value.clone() };
        let ticket = crate::cluster::operate::ask(
            scene,
            addr,
            Frame::request(request::PUT_KV_CONFIG).with_header(&header),
            false,
        );
        let written = Written { ticket, value, acked_ns: None };
        scene.seen(|seen| seen.questions.written.entry((host, key)).or_default().push(written));
    }
}

/// Asks name servers for everything that was written to them.
pub(in crate::cluster) fn read(scene: &Scene) {
    let keys: Vec<(HostId, String)> = scene.seen(|seen| seen.questions.written.keys().cloned().collect());
    let up: BTreeMap<HostId, _> = name_servers(scene).collect();
    for (host, key) in keys {
        let Some(addr) = up.get(&host) else { continue };
        let header = GetKVConfigHeader { namespace: NAMESPACE.to_owned(), key };
        let frame = Frame::request(request::GET_KV_CONFIG).with_header(&header);
        let ticket = crate::cluster::operate::ask(scene, addr.clone(), frame, false);
        let now = scene.now();
        scene.seen(|seen| seen.questions.values.insert(ticket, now));
    }
}

fn name_servers(scene: &Scene) -> impl Iterator<Item = (HostId, seedmq_core::node::Addr)> {
    let up = scene.cast.name_servers().into_iter().filter(|host| scene.world.is_up(*host));
    up.map(|host| (host, format!("{}:{NAME_SERVER_PORT}", scene.cast.ip(host)).into()))
}

/// Takes an answer, or none, to a question of this file.
pub(in crate::cluster) fn answer(scene: &Scene, command: &AdminCommand, answer: Option<&Frame>) {
    let ip = command.addr.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip());
    let Some(host) = ip.and_then(|ip| scene.cast.by_ip(ip)) else { return };
    let field = |name: &str| command.frame.fields.get(name).map(ToOwned::to_owned).unwrap_or_default();
    let (topic, key) = (field("topic"), field("key"));
    match command.frame.code {
        request::QUERY_MESSAGE => {
            let due = scene.seen(|seen| seen.questions.keys.remove(&command.ticket)).unwrap_or_default();
            let Some(found) = answer.and_then(messages) else { return };
            let name = scene.cast.name(host);
            if let Some(why) = compare(&topic, &key, &due, &found) {
                let text = format!("{name}, asked for {key} of {topic}: {why}");
                scene.broken(Oracle::Projection, "query", "broker", text, Vec::new());
            }
        }
        request::PUT_KV_CONFIG if answer.is_some_and(|frame| frame.code == response::SUCCESS) => {
            let now = scene.now();
            scene.seen(|seen| {
                let all = seen.questions.written.entry((host, key)).or_default();
                all.iter_mut().filter(|w| w.ticket == command.ticket).for_each(|w| w.acked_ns = Some(now));
            });
        }
        request::GET_KV_CONFIG => {
            let Some(asked) = scene.seen(|seen| seen.questions.values.remove(&command.ticket)) else { return };
            let told = match answer {
                Some(frame) if frame.code == response::SUCCESS => frame.fields.get("value").map(ToOwned::to_owned),
                Some(frame) if frame.code == response::QUERY_NOT_FOUND => None,
                _ => return,
            };
            let all = scene.seen(|seen| seen.questions.written.get(&(host, key.clone())).cloned()).unwrap_or_default();
            if !may_be(&all, asked, told.as_deref()) {
                let text = format!("{} says that {key} is {told:?} after the writes {all:?}", scene.cast.name(host));
                scene.broken(Oracle::Lost, "kv-write", "name-server", text, Vec::new());
            }
        }
        _ => {}
    }
}

/// Whether a value may be read that was asked for at a time: the last one that was acknowledged before, or one that was written after that
/// or never acknowledged.
fn may_be(all: &[Written], asked_ns: u64, told: Option<&str>) -> bool {
    let last = all.iter().rposition(|written| written.acked_ns.is_some_and(|at| at < asked_ns));
    let Some(told) = told else { return last.is_none() };
    let can = |(at, written): (usize, &Written)| last.is_none_or(|last| at >= last) || written.acked_ns.is_none();
    all.iter().enumerate().filter(|(_, written)| written.value == told).any(can)
}

/// A message of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub topic: String,
    pub queue: u32,
    pub offset: u64,
    keys: String,
}

/// What is wrong with an answer.
fn compare(topic: &str, key: &str, due: &BTreeSet<(u32, u64)>, found: &[Found]) -> Option<String> {
    let is_it = |one: &Found| one.topic == topic && one.keys.split(' ').any(|k| k == key);
    if let Some(other) = found.iter().find(|one| !is_it(one)) {
        return Some(format!("{other:?} is another message"));
    }
    let places: BTreeSet<(u32, u64)> = found.iter().map(|one| (one.queue, one.offset)).collect();
    if places.len() < found.len() {
        return Some(format!("a message is there twice: {found:?}"));
    }
    let missing = due.difference(&places).next()?;
    Some(format!("number {} of queue {} is missing", missing.1, missing.0))
}

/// The messages of an answer; nothing when it is a refusal.
pub(super) fn messages(frame: &Frame) -> Option<Vec<Found>> {
    match frame.code {
        response::SUCCESS => {}
        response::QUERY_NOT_FOUND => return Some(Vec::new()),
        _ => return None,
    }
    let mut found = Vec::new();
    let mut rest = &frame.body[..];
    while !rest.is_empty() {
        let len = usize::try_from(number(rest, 0, 4)?).ok()?;
        let (record, behind) = rest.split_at_checked(len)?;
        found.push(message(record)?);
        rest = behind;
    }
    Some(found)
}

/// Reads a record between hosts of IPv4, as every one here is.
fn message(record: &[u8]) -> Option<Found> {
    let topic_at = 88 + usize::try_from(number(record, 84, 4)?).ok()?;
    let properties_at = topic_at + 1 + usize::try_from(number(record, topic_at, 1)?).ok()?;
    let len = usize::try_from(number(record, properties_at, 2)?).ok()?;
    let text = |from: usize, to: usize| std::str::from_utf8(record.get(from..to)?).ok();
    let properties = text(properties_at + 2, properties_at + 2 + len)?;
    let keys = properties.split('\u{2}').find_map(|pair| pair.strip_prefix("KEYS\u{1}"));
    Some(Found {
        topic: text(topic_at + 1, properties_at)?.to_owned(),
        queue: u32::try_from(number(record, 12, 4)?).ok()?,
        offset: number(record, 20, 8)?,
        keys: keys.unwrap_or_default().to_owned(),
    })
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    Some(bytes.get(at..at + len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_what_is_due_and_nothing_else() {
        let found = |queue, offset, keys: &str| Found { topic: "T".to_owned(), queue, offset, keys: keys.to_owned() };
        let due = BTreeSet::from([(0, 7)]);
        let wrong = |found: &[Found]| compare("T", "k", &due, found).is_some();
        assert!(!wrong(&[found(0, 7, "k")]) && !wrong(&[found(0, 7, "a k"), found(1, 2, "k")]));
        assert!(wrong(&[]) && wrong(&[found(0, 8, "k")]), "one is missing");
        assert!(wrong(&[found(0, 7, "k"), found(0, 7, "k")]), "one is there twice");
        assert!(wrong(&[found(0, 7, "k"), found(0, 8, "kk")]), "one has another key");
    }

    #[test]
    fn a_value_is_the_last_that_was_acknowledged_or_a_later_one() {
        let write = |value: &str, acked_ns| Written { ticket: 0, value: value.to_owned(), acked_ns };
        let all = [write("a", Some(10)), write("b", None), write("c", Some(30)), write("d", Some(50))];
        let may = |asked, told| may_be(&all, asked, told);
        assert!(may(5, None) && !may(20, None));
        assert!(may(20, Some("a")) && !may(40, Some("a")));
        assert!(may(40, Some("b")) && may(40, Some("c")) && may(40, Some("d")));
        assert!(!may(60, Some("c")) && !may(60, Some("x")));
    }
}

//! Requests that a Java 5.5.0 broker was asked, mostly wrong ones: this broker gives the same answers, but where it is
//! listed that it does not.

use std::io::Read as _;

use serde::Deserialize;

use super::*;
use crate::wire::codec;
use crate::wire::codes::response;

/// One recorded exchange.
#[derive(Deserialize)]
struct Probe {
    scenario: String,
    encoding: String,
    code: i32,
    request: String,
    answer: Option<i32>,
    remark: Option<String>,
    fields: Option<BTreeMap<String, String>>,
}

/// Requests for what this broker does not have: it says so with code 3.
const MISSING: &[i32] = &[
    36, 37, 45, 60, 61, 223, 306, 308, 316, 321, 323, 325, 329, 354, 355, 370, 400, 401, 402, 906, 907, 908, 1007,
    3004, 3005, 3009, 200_050, 200_051, 200_052, 200_053, 200_054, 200_055, 200_056, 200_151,
];

/// Where this broker answers otherwise, and why.
const OTHERWISE: &[(&str, i32, &str)] = &[
    ("send timer too far", 13, "timer messages are missing"),
    ("send timer text", 13, "timer messages are missing"),
    ("batch with delay in the outer properties", 13, "delayed messages are missing"),
    ("send delay level 99", 13, "delayed messages are missing"),
    ("send timer in the past", 13, "timer messages are missing"),
    ("send timer and delay level", 13, "timer messages are missing"),
    ("send transaction and delay level", 13, "transactions are missing"),
    ("pull bad SQL", 1, "SQL92 is missing"),
    ("pull good SQL", 1, "SQL92 is missing"),
    ("check client config bad SQL", 1, "SQL92 is missing"),
    ("pull unknown expression type", 23, "Java hands everything out, unfiltered"),
    ("create topic zero queues", 29, "nobody could use it"),
    ("create topic perm 99", 29, "nobody could use it"),
    ("update broker config bad key", 29, "Java ignores it in silence"),
    ("update broker config bad value", 29, "Java ignores it in silence"),
];

/// Requests that the recording made at another point of time than its place in the list says.
const SKIPPED: &[&str] = &[
    "unregister (json)",
    "heartbeat turned to broadcasting (json)",
    // They name the end of a queue, which random choices have moved.
    "pull at maximum, suspended 1 s (rocketmq)",
    "pull at maximum, not suspended (rocketmq)",
];

fn probes() -> Vec<Probe> {
    let packed = include_bytes!("../../../../tests/golden/broker_probes.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unhex(text: &str) -> BytesMut {
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A broker in about the state of the one that was probed.
fn probed() -> World {
    let mut config = config();
    for (name, value) in [
        ("brokerClusterName", "GoldenCluster"),
        ("brokerIP1", "127.0.0.2"),
        ("listenPort", "20911"),
        ("mappedFileSizeCommitLog", "67108864"),
    ] {
        config.set(name, value).unwrap();
    }
    let mut world = World::new(config);
    let conn = world.connect(99);
    for queue in [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3] {
        let properties = format!("KEYS\x01hold-{queue}\x02");
        assert_eq!(world.ask(conn, send("TopicHold", queue, &properties, "b")).code, 0);
    }
    for (topic, perm) in [("AdmTopic", "4"), ("TopicPop", "6")] {
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", perm),
            ("topicFilterType", "SINGLE_TAG"),
        ];
        assert_eq!(world.ask(conn, frame(request::UPDATE_AND_CREATE_TOPIC, &fields)).code, 0);
    }
    assert_eq!(world.ask(conn, beat("holder", "CG_hold", "TopicHold")).code, 0);
    world
}

/// A text of Java's that ours must equal; what an exception happened to say is not one.
fn expected_text(probe: &Probe) -> Option<&str> {
    let text = probe.remark.as_deref()?;
    let accidental = text.starts_with("java.") || text.starts_with("org.apache.") || text.starts_with("not set any");
    (!accidental && probe.answer != Some(0)).then_some(text)
}

/// Without the port of the client.
fn without_port(text: &str) -> String {
    let Some((before, after)) = text.split_once("127.0.0.1:") else { return text.to_owned() };
    [before, "127.0.0.1:", after.trim_start_matches(|c: char| c.is_ascii_digit())].concat()
}

fn difference(probe: &Probe, answer: Option<&Frame>) -> Option<String> {
    let listed = OTHERWISE.iter().find(|(scenario, _, _)| *scenario == probe.scenario);
    let code = match listed {
        Some((_, code, _)) => Some(*code),
        None if MISSING.contains(&probe.code) => Some(response::REQUEST_CODE_NOT_SUPPORTED),
        None => probe.answer,
    };
    let got = answer.map(|answer| answer.code);
    let name = format!("{} {} ({})", probe.code, probe.scenario, probe.encoding);
    let text = answer.and_then(|answer| answer.remark.as_deref()).unwrap_or("");
    if got != code {
        return Some(format!("{name}: expected {code:?} {:?}, got {got:?} {text:?}", probe.remark));
    }
    if got != probe.answer || listed.is_some() {
        return None;
    }
    let expected = expected_text(probe).map(without_port);
    if expected.as_ref().is_some_and(|expected| *expected != without_port(text)) {
        return Some(format!("{name}: expected {expected:?}, got {text:?}"));
    }
    let names = probe.fields.iter().flat_map(BTreeMap::keys);
    let absent: Vec<&String> = names.filter(|name| answer.is_some_and(|a| a.fields.get(name).is_none())).collect();
    (!absent.is_empty()).then(|| format!("{name}: the fields {absent:?} are absent"))
}

#[test]
fn the_answers_are_those_of_a_java_broker() {
    let mut world = probed();
    let conns = [world.connect_from(1, "127.0.0.1:41001"), world.connect_from(2, "127.0.0.1:41002")];
    let online = beat_of_version("probe@sub", "CG_probe_sub", "TopicHold", 1000);
    world.ask(conns[0], online);
    let mut differences = Vec::new();
    for probe in probes() {
        if SKIPPED.contains(&format!("{} ({})", probe.scenario, probe.encoding).as_str()) {
            continue;
        }
        let conn = conns[usize::from(probe.encoding == "rocketmq")];
        let request = codec::decode(&mut unhex(&probe.request)).unwrap().expect("a whole frame");
        let opaque = world.post(conn, request);
        world.quiet();
        let mut answer = world.answer(conn, opaque);
        if answer.is_none() && probe.answer.is_some() {
            world.pass(Duration::from_secs(6));
            answer = world.answer(conn, opaque);
        }
        differences.extend(difference(&probe, answer.as_ref()));
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

//! Runs of small tapes: the same hash whatever polls tasks in which order, another hash for another body or latency.

use std::sync::{Mutex, PoisonError};

use seedmq_reports::Verdict;

use super::*;
use crate::tape::{Action, BrokerShape, Config, ConsumerShape, GroupShape, Handler, Mode, ProducerShape, QueuePick};
use crate::tape::{Header as TapeHeader, TopicShape, Trigger, What};

/// Two brokers, one name server, one producer, two consumers; ten sends, one kill.
fn small() -> Tape {
    let mut config = Config {
        brokers: vec![BrokerShape::named("broker-a"), BrokerShape::named("broker-b")],
        producers: vec![ProducerShape { name: "p1".into(), send_timeout_ms: 3000, retries: 2 }],
        safety_ms: 8_000,
        ..Config::default()
    };
    config.topics.insert("T".into(), TopicShape { queues: 2, brokers: vec![], order: Default::default() });
    config.groups.insert("g".into(), GroupShape::default());
    let mut actions = Vec::new();
    for n in 1..=2 {
        let (name, group, topics) = (format!("g-{n}"), "g".into(), vec!["T".into()]);
        config.consumers.push(ConsumerShape { name: name.clone(), group, topics, handler: Handler::default() });
        actions.push(Action { id: n, when: Trigger::At { at: 10 * n }, what: What::Join { client: name } });
    }
    actions.extend((0..10).map(|n| send(100 + n, 500 + 300 * n)));
    let kill = What::Kill { node: "broker-b".into(), silent: None, down_ms: Some(700) };
    actions.push(Action { id: 50, when: Trigger::At { at: 2_000 }, what: kill });
    Tape { header: TapeHeader::new("small", 3, config), actions }
}

fn send(id: u64, at: u64) -> Action {
    let what = What::Send {
        client: "p1".into(),
        topic: "T".into(),
        key: format!("p1-{id}"),
        shard: None,
        tag: None,
        size: 100,
        batch: 1,
        mode: Mode::Sync,
        queue: QueuePick::Any,
    };
    Action { id, when: Trigger::At { at }, what }
}

/// A run on a thread of its own; one at a time, because the marks belong to the process.
fn fresh(tape: &Tape, executor: u64) -> RunRecord {
    logged(tape, executor).0.0
}

/// The record of a run and its log as text.
fn logged(tape: &Tape, executor: u64) -> ((RunRecord, History), String) {
    static ONE: Mutex<()> = Mutex::new(());
    let _guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let tape = tape.clone();
    let path = std::env::temp_dir().join(format!("seedmq-sim-{}-{executor}.log", std::process::id()));
    let options = RunOptions { log: Some(path.clone()), executor: Some(executor), ..RunOptions::default() };
    let record = std::thread::spawn(move || run(&tape, &options)).join().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    (record, text)
}

#[test]
fn a_small_cluster_sends_consumes_and_survives_a_kill() {
    let ((mut record, history), _) = logged(&small(), 1);
    crate::verdict::judge(&small(), &RunOptions::default(), &history, &mut record);
    assert_eq!(record.verdict, Verdict::Green, "{:?}", record.violations);
    assert_eq!(record.faults.get("kill"), Some(&1));
    assert_eq!(record.acked, 10);
    assert!(record.delivered >= 10);
}

#[test]
fn the_order_of_polling_does_not_reach_a_node() {
    let (first, log) = logged(&small(), 1);
    for executor in 2..8 {
        let (again, other) = logged(&small(), executor);
        let differs = log.lines().zip(other.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "the first difference under executor seed {executor}");
        assert_eq!((&first.0.hash, first.0.events), (&again.0.hash, again.0.events));
    }
}

#[test]
fn a_body_a_latency_or_a_queue_changes_the_hash() {
    let base = fresh(&small(), 1).hash;
    let mut other = small();
    if let What::Send { size, .. } = &mut other.actions[4].what {
        *size += 1;
    }
    assert_ne!(base, fresh(&other, 1).hash, "one more byte of body");
    let mut other = small();
    other.header.config.network.min_us += 1;
    assert_ne!(base, fresh(&other, 1).hash, "one microsecond of latency");
    let mut other = small();
    if let What::Send { queue, .. } = &mut other.actions[4].what {
        *queue = QueuePick::Queue("broker-a".into(), 1);
    }
    assert_ne!(base, fresh(&other, 1).hash, "another queue, so another offset");
}

#[test]
fn a_member_that_joins_while_it_still_stops_is_there_afterwards() {
    let mut tape = small();
    let mut at = |at, id, what| tape.actions.push(Action { id, when: Trigger::At { at }, what });
    // A stop takes some milliseconds.
    at(2_000, 60, What::Leave { client: "g-1".into() });
    at(2_001, 61, What::Join { client: "g-1".into() });
    // One that runs has joined already.
    at(2_002, 62, What::Join { client: "g-2".into() });
    let ((_, history), _) = logged(&tape, 1);
    let lines: Vec<String> = history.records.iter().map(crate::history::Record::to_line).collect();
    let starts = |name: &str| lines.iter().filter(|line| line.contains("\"start\"") && line.contains(name)).count();
    assert_eq!((starts("g-1"), starts("g-2")), (1, 0), "{lines:#?}");
    let again = lines.iter().position(|line| line.contains("\"start\"") && line.contains("g-1")).unwrap();
    let owns = |line: &String| ["\"assign\"", "\"g-1\"", "broker-"].iter().all(|word| line.contains(word));
    assert!(lines[again..].iter().any(owns), "it takes queues again");
}

//! A short form of `kill9`: a few kills of a real broker under load, ours and Apache's; one format of history, one judge.
//!
//! Invariant: no acknowledged message is lost, with either flush policy; a history without one of its deliveries is not believed.

use std::fs;
use std::path::Path;

use seedmq_tests::judged::judge;
use seedmq_tests::or_skip;
use seedmq_tests::server::{Make, Plan};
use seedmq_tests::torture::{Torture, run};
use serde_json::Value;

/// At least so many messages must be acknowledged, or the history is no proof.
fn kills(kills: u32, flush: &'static str, make: Make, least: u64) {
    let path = tempfile::NamedTempFile::new().expect("a scratch file");
    let torture = Torture { kills, connections: 4, burst: 8, flush, seed: 7 };
    let report = or_skip!(run(&torture, Plan::cluster(1, 1).make(make), path.path()));
    let judgement = judge(path.path());
    assert!(judgement.violations.is_empty(), "{:?}: {:?}", judgement.counts, judgement.violations);
    assert!(judgement.acked > least && judgement.delivered >= judgement.acked, "{report:?}");
    forget_a_delivery(path.path());
    let counts = judge(path.path()).counts;
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("lost/never-delivered/broker/normal".to_owned(), 1)]);
}

/// Takes the delivery of the first acknowledged message out of a history.
fn forget_a_delivery(path: &Path) {
    let text = fs::read_to_string(path).expect("the history was written");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect();
    let acked =
        lines.iter().find(|line| line["op"] == "send" && line["type"] == "ok").expect("a send was acknowledged");
    let of_it = |line: &&Value| line["client"] == acked["client"] && line["call"] == acked["call"];
    let key = &lines.iter().find(of_it).expect("it was asked for first")["key"];
    let is_it = |line: &Value| line["op"] == "deliver" && line["key"] == *key;
    let kept: Vec<String> = lines.iter().filter(|line| !is_it(line)).map(Value::to_string).collect();
    assert!(kept.len() < lines.len(), "{key} was delivered");
    fs::write(path, kept.join("\n")).expect("the scratch directory is writable");
}

#[test]
fn kills_lose_nothing_with_asynchronous_flush() {
    kills(6, "ASYNC_FLUSH", Make::wanted(), 100);
}

#[test]
fn kills_lose_nothing_with_synchronous_flush() {
    kills(6, "SYNC_FLUSH", Make::wanted(), 100);
}

/// The checkers know nothing of whose servers these were. A Java broker may need most of a loaded machine to start; what it acknowledges
/// between its kills is little then.
#[test]
fn a_history_of_apache_is_judged_alike() {
    kills(1, "SYNC_FLUSH", Make::Apache, 10);
}

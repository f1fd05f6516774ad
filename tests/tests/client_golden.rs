//! Choices and refusals of the Java client: names, round robin, selection by hash.
//!
//! Invariant: what a Java client accepts, refuses or picks, ours does too, with the same words.

use seedmq_core::client::Queue;
use seedmq_core::client::names::{check_group, check_topic, check_topic_for_sending};
use seedmq_core::producer::{RoundRobin, index_by_hash};
use serde_json::Value;

const GOLDEN: &str = include_str!("../golden/select.jsonl");

fn lines(kind: &str) -> Vec<Value> {
    let lines = GOLDEN.lines().filter(|line| !line.is_empty());
    let values = lines.map(|line| serde_json::from_str::<Value>(line).expect("golden lines are JSON"));
    values.filter(|value| value["kind"] == kind).collect()
}

/// The text of a Java exception without its class and the link behind it.
fn words(java: &Value) -> &str {
    let text = java.as_str().expect("text");
    let text = text.strip_prefix("MQClientException: ").unwrap_or(text);
    text.split("\nFor more information").next().expect("a first part")
}

fn queue(name: &Value) -> Queue {
    let (broker, id) = name.as_str().and_then(|name| name.rsplit_once(':')).expect("broker:id");
    Queue::new(broker, id.parse().expect("a number"))
}

#[test]
fn names_are_accepted_and_refused_as_in_java() {
    let names = lines("name");
    assert!(names.len() > 50);
    for line in names {
        let name = line["name"].as_str().unwrap_or_default();
        let ours = |result: Result<(), _>| {
            result.map_or_else(|error: seedmq_core::client::names::NameError| error.to_string(), |()| "ok".into())
        };
        assert_eq!(ours(check_topic(name)), words(&line["clientTopic"]), "topic {name:?}");
        assert_eq!(ours(check_group(name)), words(&line["clientGroup"]), "group {name:?}");
        if line["notAllowedSend"] == true {
            assert!(check_topic_for_sending(name).is_err(), "{name}");
        }
    }
    let forbidden = &lines("system_topics")[0]["notAllowedSend"];
    for topic in forbidden.as_array().expect("a list") {
        assert!(check_topic_for_sending(topic.as_str().expect("text")).is_err(), "{topic}");
    }
}

#[test]
fn the_round_robin_picks_in_the_same_cyclic_order() {
    let recorded: Vec<Value> =
        lines("select_round_robin").into_iter().filter(|line| line["latencyFault"] == false).collect();
    assert_eq!(recorded.len(), 6);
    for line in recorded {
        let queues: Vec<Queue> = line["queues"].as_array().expect("a list").iter().map(queue).collect();
        let java: Vec<Queue> = line["picks"].as_array().expect("a list").iter().map(queue).collect();
        let same = (0..queues.len() as u64).any(|begin| {
            let mut robin = RoundRobin::new(begin);
            java.iter().all(|pick| robin.pick(&queues, line["lastBroker"].as_str()).as_ref() == Some(pick))
        });
        assert!(same, "{line}");
    }
}

#[test]
fn a_hash_selects_the_same_queue() {
    let recorded = lines("select_by_hash");
    assert_eq!(recorded.len(), 280);
    for line in recorded {
        let hash = i32::try_from(line["argHash"].as_i64().expect("a number")).expect("32 bits");
        let count = usize::try_from(line["queues"].as_u64().expect("a number")).expect("small");
        let java = line["queueId"].as_u64().expect("a number");
        assert_eq!(index_by_hash(hash, count).map(|at| at as u64), Some(java), "{line}");
    }
}

//! The six allocation strategies against the answers of the Java client.
//!
//! Invariant: for every recorded question, our queues are Java's, in Java's order, errors and their texts included.

use seedmq_core::client::Queue;
use seedmq_core::consumer::allocate::{Ask, Strategy, VIRTUAL_NODES, ring_hash};
use serde_json::Value;

const GOLDEN: &str = include_str!("../golden/allocate.jsonl");

fn lines() -> impl Iterator<Item = Value> {
    GOLDEN
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect("golden lines are JSON"))
}

fn queue(name: &str) -> Queue {
    let (broker, id) = name.rsplit_once(':').expect("broker:id");
    Queue::new(broker, id.parse().expect("a number"))
}

fn texts(list: &Value) -> Vec<String> {
    let text = |item: &Value| item.as_str().expect("text").to_owned();
    list.as_array().map(|items| items.iter().map(text).collect()).unwrap_or_default()
}

fn strategy(name: &str, config: &Value) -> Strategy {
    match name {
        "averagely" => Strategy::Averagely,
        "averagely_by_circle" => Strategy::AveragelyByCircle,
        "config" => Strategy::Config(texts(&config["list"]).iter().map(|name| queue(name)).collect()),
        "machine_room" => Strategy::MachineRoom(texts(&config["consumeridcs"]).into_iter().collect()),
        "machine_room_nearby" => Strategy::MachineRoomNearby {
            inner: Box::new(strategy(config["inner"].as_str().expect("text"), &Value::Null)),
            separator: '-',
        },
        "consistent_hash" => {
            let nodes = config["virtualNodeCnt"].as_u64().unwrap_or(u64::from(VIRTUAL_NODES));
            Strategy::ConsistentHash { virtual_nodes: u32::try_from(nodes).expect("small") }
        }
        other => panic!("unknown strategy {other}"),
    }
}

/// Our answer in the form of the golden file.
fn answer(strategy: &Strategy, ask: Ask<'_>) -> Value {
    match strategy.allocate(ask) {
        Ok(queues) => queues.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
        Err(error) => format!("error:IllegalArgumentException: {error}").into(),
    }
}

#[test]
fn every_recorded_allocation_is_the_same() {
    let mut asked = 0;
    for line in lines().filter(|line| line.get("result").is_some()) {
        let strategy = strategy(line["strategy"].as_str().expect("text"), &line["config"]);
        assert_eq!(strategy.to_string(), line["name"].as_str().expect("text"));
        let queues: Vec<Queue> = texts(&line["queues"]).iter().map(|name| queue(name)).collect();
        let members = texts(&line["members"]);
        let topic = line["topic"].as_str().expect("text");
        for (member, java) in line["result"].as_object().expect("an object") {
            let me = if member == "<null>" { "" } else { member };
            let ours = answer(&strategy, Ask { topic, me, queues: &queues, members: &members });
            // Java's null list (no configuration was ever set) is our empty one.
            let java = if java.is_null() { Value::Array(Vec::new()) } else { java.clone() };
            assert_eq!(ours, java, "{member} in {line}");
            asked += 1;
        }
    }
    assert!(asked > 1000, "the file was read: {asked}");
}

#[test]
fn the_ring_hashes_as_java_does() {
    let hashes: Vec<Value> = lines().filter(|line| line["strategy"] == "consistent_hash_function").collect();
    assert_eq!(hashes.len(), 8);
    for line in hashes {
        let key = line["key"].as_str().expect("text");
        assert_eq!(u64::from(ring_hash(key)), line["hash"].as_u64().expect("a number"), "{key}");
    }
}

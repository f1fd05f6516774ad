//! Pictures of who reads what: one table a strategy, and one sequence of members that join and leave.
//!
//! Invariant: a change of any outcome shows as a change of a snapshot, so that nobody moves queues by accident.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use seedmq_core::client::Queue;
use seedmq_core::consumer::allocate::{Ask, Strategy, VIRTUAL_NODES};

/// (queues on each broker, members) of each table.
const SHAPES: [(i32, usize); 7] = [(1, 1), (1, 3), (2, 2), (2, 3), (4, 3), (4, 5), (8, 4)];

fn queues(brokers: &[&str], each: i32) -> Vec<Queue> {
    brokers.iter().flat_map(|broker| (0..each).map(|id| Queue::new(*broker, id))).collect()
}

fn owned(strategy: &Strategy, queues: &[Queue], members: &[String]) -> BTreeMap<String, Vec<String>> {
    let of = |me: &String| {
        let owned = strategy.allocate(Ask { topic: "Orders", me, queues, members }).expect("a valid question");
        (me.clone(), owned.iter().map(ToString::to_string).collect())
    };
    members.iter().map(of).collect()
}

/// Every queue once, except where the strategy leaves queues out or gives all to everyone.
fn assert_shared(strategy: &Strategy, queues: &[Queue], owned: &BTreeMap<String, Vec<String>>) {
    let mut all: Vec<&String> = owned.values().flatten().collect();
    all.sort();
    let mut once = all.clone();
    once.dedup();
    match strategy {
        Strategy::Config(_) => {}
        Strategy::MachineRoom(_) => assert_eq!(all.len(), once.len(), "no queue twice"),
        _ => assert_eq!((all.len(), once.len()), (queues.len(), queues.len()), "every queue once"),
    }
}

fn table(strategy: &Strategy, brokers: &[&str], member: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for (each, count) in SHAPES {
        let (queues, members) = (queues(brokers, each), (0..count).map(&member).collect::<Vec<_>>());
        let owned = owned(strategy, &queues, &members);
        assert_shared(strategy, &queues, &owned);
        writeln!(text, "{} queues, {count} members", queues.len()).expect("text");
        for (member, queues) in owned {
            writeln!(text, "  {member:6} {}", queues.join(" ")).expect("text");
        }
    }
    text
}

fn plain(n: usize) -> String {
    format!("c{n}")
}

#[test]
fn averagely() {
    insta::assert_snapshot!(table(&Strategy::Averagely, &["a", "b"], plain));
}

#[test]
fn averagely_by_circle() {
    insta::assert_snapshot!(table(&Strategy::AveragelyByCircle, &["a", "b"], plain));
}

#[test]
fn config() {
    let fixed = vec![Queue::new("a", 0), Queue::new("b", 0)];
    insta::assert_snapshot!(table(&Strategy::Config(fixed), &["a", "b"], plain));
}

#[test]
fn machine_room() {
    let rooms = ["hz".to_owned()].into();
    insta::assert_snapshot!(table(&Strategy::MachineRoom(rooms), &["hz@a", "hz@b", "sh@c"], plain));
}

#[test]
fn machine_room_nearby() {
    let nearby = Strategy::MachineRoomNearby { inner: Box::new(Strategy::Averagely), separator: '-' };
    let member = |n: usize| format!("{}-{n}", ["hz", "sh"][n % 2]);
    insta::assert_snapshot!(table(&nearby, &["bj-c", "hz-a", "sh-b"], member));
}

#[test]
fn consistent_hash() {
    let ring = Strategy::ConsistentHash { virtual_nodes: VIRTUAL_NODES };
    insta::assert_snapshot!(table(&ring, &["a", "b"], plain));
}

#[test]
fn churn() {
    let steps = ["+c0", "+c1", "+c2", "-c0", "+c3", "-c2", "+c0", "-c1", "-c3", "-c0"];
    let strategies =
        [Strategy::Averagely, Strategy::AveragelyByCircle, Strategy::ConsistentHash { virtual_nodes: VIRTUAL_NODES }];
    let queues = queues(&["a", "b"], 3);
    let mut text = String::new();
    for strategy in strategies {
        writeln!(text, "{strategy}").expect("text");
        let mut members: Vec<String> = Vec::new();
        let mut before: BTreeMap<String, String> = BTreeMap::new();
        for step in steps {
            let (sign, name) = step.split_at(1);
            members.retain(|member| member != name);
            if sign == "+" {
                members.push(name.to_owned());
                members.sort();
            }
            let owned = owned(&strategy, &queues, &members);
            let owner: BTreeMap<String, String> =
                owned.iter().flat_map(|(who, queues)| queues.iter().map(move |q| (q.clone(), who.clone()))).collect();
            let moved = owner.iter().filter(|(queue, who)| before.get(*queue).is_some_and(|was| was != *who)).count();
            let shares = owned.iter().map(|(who, queues)| format!("{who}[{}]", queues.join(" ")));
            writeln!(text, "  {step} moved {moved}: {}", shares.collect::<Vec<_>>().join(" ")).expect("text");
            before = owner;
        }
    }
    insta::assert_snapshot!(text);
}

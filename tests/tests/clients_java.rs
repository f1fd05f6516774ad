//! Unmodified Java clients, old and new, with both header encodings, on both shapes of a cluster.
//!
//! Invariant: each scene ends with a history that the checkers accept.

use std::time::Duration;

use serde_json::Value;

use seedmq_tests::client::{Clock, Kit};
use seedmq_tests::history::check_all_acknowledged;
use seedmq_tests::scenes::{every_mode, goes_on_after_restarts, members_come_and_go};
use seedmq_tests::server::Plan;
use seedmq_tests::{or_skip, raw};

/// Every way to send in both encodings; groups and restarts in the one that is named.
fn all_scenes(release: &str, encoding: &str, plan: Plan) {
    let mut servers = or_skip!(plan.start());
    for encoding in ["JSON", "ROCKETMQ"] {
        every_mode(&or_skip!(Kit::java(release, encoding)), &servers);
    }
    let kit = or_skip!(Kit::java(release, encoding));
    members_come_and_go(&kit, &servers);
    goes_on_after_restarts(&kit, &mut servers);
}

#[test]
fn java_4_9_8_on_standalone() {
    all_scenes("4.9.8", "JSON", Plan::standalone());
}

#[test]
fn java_4_9_8_on_a_cluster() {
    all_scenes("4.9.8", "ROCKETMQ", Plan::cluster(2, 2));
}

#[test]
fn java_5_5_0_on_a_cluster() {
    all_scenes("5.5.0", "JSON", Plan::cluster(2, 2));
}

#[test]
fn java_5_5_0_on_standalone() {
    all_scenes("5.5.0", "ROCKETMQ", Plan::standalone());
}

/// Where topics are not made by sending, the client refuses a topic without a route, and the broker one that it does not have.
#[test]
fn java_5_5_0_is_refused_a_topic_that_nobody_made() {
    let servers = or_skip!(Plan::cluster(1, 1).with("autoCreateTopicEnable", "false").start());
    let kit = or_skip!(Kit::java("5.5.0", "JSON"));
    let list = servers.name_server_list();
    let args = [("ns", &*list), ("topic", "Unknown"), ("group", "P"), ("mode", "sync"), ("count", "1")];
    let lines = kit.start(Clock::start(), "unknown", "send", &args).done(Duration::from_secs(60));
    assert!(!lines.iter().any(|line| line["type"] == "ok"), "{lines:?}");
    let error = lines.iter().find_map(|line| line["error"].as_str()).unwrap_or_else(|| panic!("no error: {lines:?}"));
    assert!(error.contains("No route info of this topic: Unknown"), "{error}");

    let fields = [
        ("producerGroup", "P"),
        ("topic", "Unknown"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1"),
        ("flag", "0"),
    ];
    let answer = raw::ask(&servers.brokers[0].addr, 10, &fields, b"x").expect("an answer");
    assert_eq!(answer.code, 17, "{answer:?}");
    let text = "topic[Unknown] not exist, apply first please!\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
    assert_eq!(answer.remark, text);
    assert_eq!(raw::brokers_of(&servers.name_server_addrs()[0], "Unknown"), 0, "nothing was made");
}

/// Of several name servers one may be dead. The client picks its first at random and asks no second one within a request (5.x),
/// so a first send may fail because of the dead one, and of nothing else; from the first acknowledged send on all are.
#[test]
fn java_goes_on_to_the_name_server_that_lives() {
    let servers = or_skip!(Plan::cluster(1, 1).start());
    servers.create_topic("Living", 4);
    let dead = format!("{}:1", servers.ip);
    let list = format!("{dead};{}", servers.name_server_list());
    for release in ["4.9.8", "5.5.0"] {
        let kit = or_skip!(Kit::java(release, "JSON"));
        let args = [("ns", &*list), ("topic", "Living"), ("group", "P"), ("mode", "sync"), ("count", "8")];
        let lines = kit.start(Clock::start(), release, "send", &args).done(Duration::from_secs(60));
        let ends: Vec<&Value> = lines.iter().filter(|line| line["op"] == "send" && line["type"] != "invoke").collect();
        let failed = ends.iter().take_while(|line| line["type"] != "ok").count();
        assert!(failed <= 2, "{release}: {failed} sends failed before the first was acknowledged: {lines:#?}");
        for end in &ends[..failed] {
            let told = end["error"].as_str().unwrap_or_default();
            assert!(told.contains(&format!("connect to {dead} failed")), "{release}: {end}");
        }
        check_all_acknowledged(&lines, 8 - failed);
    }
}

//! Unmodified Java clients, old and new, with both header encodings, on both shapes of a cluster.
//!
//! Invariant: each scene ends with a history that the checkers accept.

use seedmq_tests::client::Kit;
use seedmq_tests::or_skip;
use seedmq_tests::scenes::{every_mode, goes_on_after_restarts, members_come_and_go};
use seedmq_tests::server::Plan;

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

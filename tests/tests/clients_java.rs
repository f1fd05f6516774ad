//! Unmodified Java clients, old and new, with both header encodings.
//!
//! Invariant: each scene ends with a history that the checkers accept.

use seedmq_tests::client::Kit;
use seedmq_tests::or_skip;
use seedmq_tests::scenes::{every_mode, goes_on_after_restarts, members_come_and_go};
use seedmq_tests::server::Plan;

#[test]
fn java_4_9_8_sends_every_way_to_standalone() {
    let kit = or_skip!(Kit::java("4.9.8", "JSON"));
    every_mode(&kit, &or_skip!(Plan::standalone().start()));
}

#[test]
fn java_4_9_8_with_binary_headers_on_a_cluster() {
    let kit = or_skip!(Kit::java("4.9.8", "ROCKETMQ"));
    let mut servers = or_skip!(Plan::cluster(2, 2).start());
    every_mode(&kit, &servers);
    members_come_and_go(&kit, &servers);
    goes_on_after_restarts(&kit, &mut servers);
}

#[test]
fn java_5_5_0_on_a_cluster() {
    let kit = or_skip!(Kit::java("5.5.0", "JSON"));
    let mut servers = or_skip!(Plan::cluster(2, 2).start());
    every_mode(&kit, &servers);
    members_come_and_go(&kit, &servers);
    goes_on_after_restarts(&kit, &mut servers);
}

#[test]
fn java_5_5_0_with_binary_headers_on_standalone() {
    let kit = or_skip!(Kit::java("5.5.0", "ROCKETMQ"));
    let mut servers = or_skip!(Plan::standalone().start());
    every_mode(&kit, &servers);
    members_come_and_go(&kit, &servers);
    goes_on_after_restarts(&kit, &mut servers);
}

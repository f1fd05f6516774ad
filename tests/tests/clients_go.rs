//! The unmodified Go client, `rocketmq-client-go/v2`.
//!
//! Invariant: each scene ends with a history that the checkers accept.

use seedmq_tests::client::Kit;
use seedmq_tests::or_skip;
use seedmq_tests::scenes::{every_mode, goes_on_after_restarts, members_come_and_go};
use seedmq_tests::server::Plan;

#[test]
fn go_on_standalone() {
    let kit = or_skip!(Kit::go());
    let mut servers = or_skip!(Plan::standalone().start());
    every_mode(&kit, &servers);
    members_come_and_go(&kit, &servers);
    goes_on_after_restarts(&kit, &mut servers);
}

#[test]
fn go_on_a_cluster() {
    let kit = or_skip!(Kit::go());
    let mut servers = or_skip!(Plan::cluster(2, 2).start());
    every_mode(&kit, &servers);
    members_come_and_go(&kit, &servers);
    goes_on_after_restarts(&kit, &mut servers);
}

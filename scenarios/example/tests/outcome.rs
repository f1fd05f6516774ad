//! What `payments.toml` comes to with one seed: routes, who had which queues, how far everybody is at the end.
//!
//! Invariant: a run is a function of its scenario and seed, so that these texts only change when the code or the scenario does.

use std::path::Path;
use std::sync::LazyLock;

use seedmq_sim::outcome::{Outcome, Simulator};

/// One run for all tests. The oracles have found nothing in it.
static PAYMENTS: LazyLock<Outcome> = LazyLock::new(|| {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("payments.toml");
    Simulator::find().run(&scenario, 1).unwrap_or_else(|why| panic!("{why}"))
});

#[test]
fn nothing_is_lost() {
    let run = &PAYMENTS.record;
    assert!(run.violations.is_empty(), "{:#?}", run.violations);
    assert_eq!(run.faults.get("power-loss"), Some(&1), "the fault took effect");
    assert!(run.acked > 500 && run.delivered >= run.acked, "{} of {}", run.delivered, run.acked);
}

#[test]
fn who_had_which_queues() {
    insta::assert_snapshot!(PAYMENTS.rebalances());
}

#[test]
fn what_name_servers_know_at_the_end() {
    insta::assert_snapshot!(PAYMENTS.routes());
}

#[test]
fn how_far_everybody_is_at_the_end() {
    insta::assert_snapshot!(PAYMENTS.watermarks());
}

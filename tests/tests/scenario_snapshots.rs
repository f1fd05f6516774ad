//! How the members of a group share queues while a scenario runs, kept as a text. Copy this file to keep the outcome of a scenario of
//! your own; it needs `seedmq-sim` and `insta`, and `cargo sim` on the same checkout.
//!
//! Invariant: a run is a function of its scenario and seed, so that the text only changes when the code or the scenario does.

use std::process::Command;

use seedmq_sim::outcome::rebalances;
use seedmq_tests::tools::repository;

/// The simulator: the program that `SEEDMQ_SIM` names, or what `cargo sim` builds.
fn simulator() -> Command {
    if let Some(program) = std::env::var_os("SEEDMQ_SIM") {
        return Command::new(program);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("sim").env_remove("RUSTFLAGS");
    cargo
}

/// The history of one seed, in which the oracles found nothing.
fn history(handle: &str) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a folder for the history");
    let (history, report) = (scratch.path().join("history.jsonl"), scratch.path().join("report"));
    let mut replay = simulator();
    replay.current_dir(repository()).args(["replay", handle, "--history"]).arg(&history);
    let output = replay.arg("--report").arg(report).output().expect("the simulator runs");
    assert!(output.status.success(), "{handle}: {}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read_to_string(history).expect("the history was written");
    text.lines().map(String::from).collect()
}

#[test]
fn a_rolling_deploy() {
    insta::assert_snapshot!(rebalances(&history("rolling-deploy:1")).expect("a history that the simulator wrote"));
}

#[test]
fn members_come_and_go() {
    insta::assert_snapshot!(rebalances(&history("consumer-churn:3")).expect("a history that the simulator wrote"));
}

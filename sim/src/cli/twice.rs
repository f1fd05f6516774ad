//! The double run: one tape in two processes with different surroundings must give one hash.
//!
//! Invariant: a difference is told as the first event that differs, with its neighbourhood.

use std::path::PathBuf;

use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::options::RunOptions;
use seedmq_sim::tape::Tape;

use super::log::{self, Scratch};
use super::pool::{Runner, Where};

/// Runs the tape again elsewhere and compares; turns the record non-deterministic when it differs.
pub fn compare(runner: &Runner, tape: &Tape, record: &mut RunRecord) {
    let second = runner.run(tape, &RunOptions::default(), Where::Elsewhere);
    if matches!(second.verdict, Verdict::Crashed | Verdict::Timeout) || runner.stopped() {
        if record.verdict == Verdict::Green && !runner.stopped() {
            *record = second;
        }
        return;
    }
    judge(runner, tape, record, &second);
}

/// Turns the record non-deterministic when a second run of its tape differs from it; whether they agree.
pub fn judge(runner: &Runner, tape: &Tape, record: &mut RunRecord, second: &RunRecord) -> bool {
    if second.hash == record.hash && second.events == record.events && second.signature == record.signature {
        return true;
    }
    record.verdict = Verdict::Nondeterministic;
    record.note = Some(format!(
        "two runs of one tape differ: {} events with hash {}, then {} events with hash {}; {}",
        record.events,
        record.hash,
        second.events,
        second.hash,
        difference(runner, tape)
    ));
    false
}

/// Runs both again with their logs on, and finds the first line that differs.
fn difference(runner: &Runner, tape: &Tape) -> String {
    let scratch = match Scratch::new(&format!("twice-{}", tape.header.seed)) {
        Ok(scratch) => scratch,
        Err(error) => return format!("their logs could not be kept: {error}"),
    };
    let logs = [scratch.file("here"), scratch.file("elsewhere")];
    for (log, place) in logs.iter().zip([Where::Here, Where::Elsewhere]) {
        runner.run(tape, &options(log.clone()), place);
    }
    match log::difference(&logs[0], &logs[1], 3) {
        Ok(Some(found)) => found.text(["here", "elsewhere"]),
        Ok(None) => "with their logs on, both were equal".into(),
        Err(error) => format!("their logs cannot be read: {error}"),
    }
}

fn options(log: PathBuf) -> RunOptions {
    RunOptions { log: Some(log), ..RunOptions::default() }
}

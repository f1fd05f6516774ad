//! The double run: one tape in two processes with different surroundings must give one hash.
//!
//! Invariant: a difference is told as the first event that differs, with its neighbourhood.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::tape::Tape;

use super::pool::{Runner, Where};
use super::worker::Job;

/// Runs the tape again elsewhere and compares; turns the record non-deterministic when it differs.
pub fn compare(runner: &Runner, tape: &Tape, record: &mut RunRecord) {
    let second = runner.run(tape, &Job::default(), Where::Elsewhere);
    if matches!(second.verdict, Verdict::Crashed | Verdict::Timeout) || runner.stopped() {
        if record.verdict == Verdict::Green && !runner.stopped() {
            *record = second;
        }
        return;
    }
    if second.hash == record.hash && second.events == record.events && second.signature == record.signature {
        return;
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
}

/// Runs both again with their logs on, and finds the first line that differs.
fn difference(runner: &Runner, tape: &Tape) -> String {
    let dir = std::env::temp_dir().join(format!("sim-twice-{}-{}", std::process::id(), tape.header.seed));
    if let Err(error) = std::fs::create_dir_all(&dir) {
        return format!("their logs could not be kept: {error}");
    }
    let logs = [dir.join("here"), dir.join("elsewhere")];
    for (log, place) in logs.iter().zip([Where::Here, Where::Elsewhere]) {
        runner.run(tape, &Job { log: Some(log.clone()), ..Job::default() }, place);
    }
    let told = first_difference(&logs[0], &logs[1]);
    drop(std::fs::remove_dir_all(&dir));
    told
}

/// The first line in which two logs differ, in words.
fn first_difference(a: &Path, b: &Path) -> String {
    let open = |path: &Path| File::open(path).map(|f| BufReader::new(f).lines().map_while(Result::ok));
    let (Ok(mut a), Ok(mut b)) = (open(a), open(b)) else { return "one of them left no log".into() };
    let mut before: Vec<String> = Vec::new();
    for line in 1.. {
        match (a.next(), b.next()) {
            (None, None) => return "with their logs on, both were equal".into(),
            (x, y) if x == y => {
                before.extend(x);
                let surplus = before.len().saturating_sub(3);
                before.drain(..surplus);
            }
            (x, y) => {
                let text = |line: Option<String>| line.unwrap_or_else(|| "(the end)".into());
                return format!(
                    "the first event that differs is number {line}, after\n    {}\n  here:      {}\n  elsewhere: {}",
                    before.join("\n    "),
                    text(x),
                    text(y)
                );
            }
        }
    }
    unreachable!("a file has fewer than 2^31 lines")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told_with_what_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b) = (write("a", "1 x\n2 y\n3 z\n"), write("b", "1 x\n2 y\n3 w\n"));
        let told = first_difference(&a, &b);
        assert!(
            told.contains("number 3")
                && told.contains("here:      3 z")
                && told.contains("elsewhere: 3 w")
                && told.contains("2 y")
        );
        assert!(first_difference(&a, &write("c", "1 x\n")).contains("(the end)"));
        assert!(first_difference(&a, &a).contains("both were equal"));
    }
}

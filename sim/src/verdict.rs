//! From what a run left behind to its verdict: the history checkers, and the rule that nothing is green because nothing happened.
//!
//! Invariant: the order of violations does not depend on who found them: what a node said of itself (panic, invariant) first,
//! then what clients saw, then what the white-box oracles saw.

use seedmq_reports::{Oracle, RunRecord, Verdict, Violation};

use crate::check::check;
use crate::history::History;
use crate::options::RunOptions;
use crate::tape::Tape;

/// Judges the history of a run and completes its record. The record keeps the history where somebody will look at it.
pub fn judge(tape: &Tape, options: &RunOptions, history: &History, record: &mut RunRecord) {
    let mut all = std::mem::take(&mut record.violations);
    let own =
        all.iter().filter(|v| !matches!(v.oracle, Oracle::Panic | Oracle::Invariant)).cloned().collect::<Vec<_>>();
    all.retain(|v| matches!(v.oracle, Oracle::Panic | Oracle::Invariant));
    all.extend(histories(history, options));
    all.extend(own);
    all.extend(if !options.cut() && all.is_empty() { emptiness(tape, record) } else { None });
    if record.verdict == Verdict::Red {
        record.verdict = Verdict::Green;
    }
    (record.oracle, record.signature) = (None, None);
    all.into_iter().for_each(|v| record.object(v));
    if options.timeline || record.verdict != Verdict::Green {
        record.history = history.to_lines();
    }
}

/// What the checkers find in the history.
fn histories(history: &History, options: &RunOptions) -> Vec<Violation> {
    let cut = options.cut();
    let mut violations = check(history).violations;
    violations.retain(|v| !(cut && v.oracle == Oracle::Lost));
    violations
}

/// A run in which nothing happened proves nothing.
fn emptiness(tape: &Tape, record: &RunRecord) -> Option<Violation> {
    let expect = &tape.header.config.expect;
    let (clause, what, least, was) = if record.acked < expect.acked_min {
        ("too-few-acknowledged", "acknowledged", expect.acked_min, record.acked)
    } else if record.delivered < expect.delivered_min {
        ("too-few-delivered", "delivered", expect.delivered_min, record.delivered)
    } else {
        return None;
    };
    let text = format!("at least {least} messages {what} were expected, but there were {was}: this run proves nothing");
    Some(simple(Oracle::Convergence, clause, text))
}

fn simple(oracle: Oracle, clause: &str, text: String) -> Violation {
    Violation {
        oracle,
        clause: clause.into(),
        role: "cluster".into(),
        topic_kind: "-".into(),
        text,
        at_ms: 0.0,
        lines: Vec::new(),
        proof: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Config, Header};

    fn tape() -> Tape {
        Tape { header: Header::new("s", 0, Config::default()), actions: vec![] }
    }

    fn history(text: &str) -> History {
        let (header, mut reader) = crate::history::Reader::new(text.as_bytes()).unwrap();
        let mut records = Vec::new();
        while let Some((_, record, _)) = reader.next().unwrap() {
            records.push(record);
        }
        History { header, records }
    }

    #[test]
    fn a_run_without_deliveries_is_red() {
        let mut record = RunRecord { acked: 5, ..RunRecord::default() };
        judge(&tape(), &RunOptions::default(), &History::default(), &mut record);
        assert_eq!(record.signature.as_deref(), Some("convergence/too-few-delivered/cluster/-"));
        let mut record = RunRecord { acked: 5, delivered: 5, ..RunRecord::default() };
        judge(&tape(), &RunOptions::default(), &History::default(), &mut record);
        assert_eq!(record.verdict, Verdict::Green);
        assert!(record.history.is_empty(), "nobody looks at what was green");
    }

    #[test]
    fn a_panic_comes_before_what_clients_saw_and_that_before_white_boxes() {
        let history = history(
            r#"{"history":1}
            {"t":1,"client":"c","op":"deliver","type":"invoke","call":1,"group":"g","topic":"T","queue":0,"offset":0,"key":"x"}"#,
        );
        let mut record = RunRecord { acked: 5, delivered: 5, ..RunRecord::default() };
        record.object(simple(Oracle::Dense, "hole", "a hole".into()));
        record.object(simple(Oracle::Panic, "panic", "a panic".into()));
        judge(&tape(), &RunOptions::default(), &history, &mut record);
        let found: Vec<Oracle> = record.violations.iter().map(|v| v.oracle).collect();
        assert_eq!(found, [Oracle::Panic, Oracle::Phantom, Oracle::Dense]);
        assert_eq!((record.verdict, record.oracle), (Verdict::Red, Some(Oracle::Panic)));
        assert!(record.violations[1].proof[0].contains("\"key\":\"x\""));
    }
}

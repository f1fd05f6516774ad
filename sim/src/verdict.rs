//! From what a run left behind to its verdict: the history checkers, and the rule that nothing is green because nothing happened.
//!
//! Invariant: the order of violations does not depend on who found them: what a node said of itself (panic, invariant) first,
//! then what clients saw, then what the white-box oracles saw.

use seedmq_reports::{Oracle, RunRecord, Verdict, Violation};

use crate::check::check_stream;
use crate::options::RunOptions;
use crate::tape::Tape;

/// Judges the history of a record and completes its verdict.
pub fn judge(tape: &Tape, options: &RunOptions, record: &mut RunRecord) {
    let mut all = std::mem::take(&mut record.violations);
    let own =
        all.iter().filter(|v| !matches!(v.oracle, Oracle::Panic | Oracle::Invariant)).cloned().collect::<Vec<_>>();
    all.retain(|v| matches!(v.oracle, Oracle::Panic | Oracle::Invariant));
    all.extend(histories(record, options));
    all.extend(own);
    all.extend(if options.until_ms.is_none() && all.is_empty() { emptiness(tape, record) } else { None });
    if record.verdict == Verdict::Red {
        record.verdict = Verdict::Green;
    }
    (record.oracle, record.signature) = (None, None);
    all.into_iter().for_each(|v| record.object(v));
}

/// What the checkers find in the history.
fn histories(record: &RunRecord, options: &RunOptions) -> Vec<Violation> {
    if record.history.is_empty() {
        return Vec::new();
    }
    let cut = options.until_ms.is_some();
    match check_stream(record.history.join("\n").as_bytes()) {
        Ok(mut judgement) => {
            judgement.quote(|line| record.history.get(usize::try_from(line).ok()?.checked_sub(1)?).cloned());
            judgement.violations.retain(|v| !(cut && v.oracle == Oracle::Lost));
            judgement.violations
        }
        Err(error) => vec![simple(
            Oracle::Invariant,
            "unreadable-history",
            format!("the history of the run cannot be read: {error}"),
        )],
    }
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
    use crate::tape::{Config, Header, VERSION};

    fn tape() -> Tape {
        let header = Header { tape: VERSION, scenario: "s".into(), seed: 0, plants: vec![], config: Config::default() };
        Tape { header, actions: vec![] }
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|l| l.trim().to_string()).collect()
    }

    #[test]
    fn a_run_without_deliveries_is_red() {
        let mut record = RunRecord { acked: 5, ..RunRecord::default() };
        judge(&tape(), &RunOptions::default(), &mut record);
        assert_eq!(record.signature.as_deref(), Some("convergence/too-few-delivered/cluster/-"));
        let mut record = RunRecord { acked: 5, delivered: 5, ..RunRecord::default() };
        judge(&tape(), &RunOptions::default(), &mut record);
        assert_eq!(record.verdict, Verdict::Green);
    }

    #[test]
    fn a_panic_comes_before_what_clients_saw_and_that_before_white_boxes() {
        let history = lines(
            r#"{"history":1}
            {"t":1,"client":"c","op":"deliver","type":"invoke","call":1,"group":"g","topic":"T","queue":0,"offset":0,"key":"x"}"#,
        );
        let mut record = RunRecord { acked: 5, delivered: 5, history, ..RunRecord::default() };
        record.object(simple(Oracle::Dense, "hole", "a hole".into()));
        record.object(simple(Oracle::Panic, "panic", "a panic".into()));
        judge(&tape(), &RunOptions::default(), &mut record);
        let found: Vec<Oracle> = record.violations.iter().map(|v| v.oracle).collect();
        assert_eq!(found, [Oracle::Panic, Oracle::Phantom, Oracle::Dense]);
        assert_eq!((record.verdict, record.oracle), (Verdict::Red, Some(Oracle::Panic)));
        assert!(record.violations[1].proof[0].contains("\"key\":\"x\""));
    }
}

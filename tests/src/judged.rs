//! Has a history judged by the project's own checkers.
//!
//! Invariant: the verdict comes from the history file alone, as `cargo sim check FILE` would give it, and a history in which
//! nothing was acknowledged or delivered is no proof.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use seedmq_sim::check::{Judgement, check_stream};

use crate::history::{History, acknowledged, delivered, deliveries, sent};

/// Judges a history file; a violation comes with the lines that prove it.
pub fn judge(path: &Path) -> Judgement {
    let open = || BufReader::new(File::open(path).expect("the history was written"));
    let mut judgement = check_stream(open()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let wanted = judgement.lines();
    let mut kept = std::collections::BTreeMap::new();
    if !wanted.is_empty() {
        let lines = open().lines().map_while(Result::ok).zip(1_u64..);
        kept.extend(lines.filter(|(_, n)| wanted.contains(n)).map(|(line, n)| (n, line)));
    }
    judgement.quote(|n| kept.get(&n).cloned());
    judgement
}

/// Panics unless every checker is content.
pub fn green(history: &History, path: &Path) {
    history.write(path).expect("the scratch directory is writable");
    let judgement = judge(path);
    let said: Vec<String> =
        judgement.violations.iter().take(5).map(|v| format!("{}\n{}", v.text, v.proof.join("\n"))).collect();
    assert!(judgement.violations.is_empty(), "{:?}\n{}", judgement.counts, said.join("\n"));
    assert!(judgement.acked > 0 && judgement.delivered > 0, "a history without {judgement:?} proves nothing");
}

/// The same for clients that do not see where a message came from: nothing lost, nothing made up.
pub fn green_without_places(history: &History, group: &str) {
    let (acked, got) = (acknowledged(history.lines()), delivered(history.lines(), group));
    assert!(!acked.is_empty(), "a history without an acknowledged send proves nothing");
    let lost: Vec<&String> = acked.difference(&got).collect();
    assert!(lost.is_empty(), "acknowledged and never delivered: {lost:?}");
    let all = sent(history.lines());
    let invented: Vec<&String> = got.difference(&all).collect();
    assert!(invented.is_empty(), "delivered and never sent: {invented:?}");
    assert!(deliveries(history.lines()).count() >= acked.len(), "each delivery has a line");
}

//! `check`: judges a history file, wherever it was recorded.
//!
//! Invariant: exit 0 green, 1 broken, 2 unreadable; nothing is judged of a file that cannot be read to its end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use seedmq_sim::check::{Judgement, check_stream_within};

use super::{CheckArgs, Exit, refuse, say};

/// The command.
pub fn check(args: &CheckArgs) -> Exit {
    let shown = args.history.display();
    let open = || File::open(&args.history).map(BufReader::new);
    let file = match open() {
        Ok(file) => file,
        Err(error) => return refuse(format!("{shown}: {error}")),
    };
    let mut judgement = match check_stream_within(file, args.memory as usize) {
        Ok(judgement) => judgement,
        Err(error) => return refuse(format!("{shown}: {error}")),
    };
    match lines(&args.history, &judgement) {
        Ok(texts) => judgement.quote(|line| texts.get(&line).cloned()),
        Err(error) => return refuse(format!("{shown}: {error}")),
    }
    print(&judgement);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&judgement).expect("a judgement has only string keys");
        if let Err(error) = fs::write(path, text + "\n") {
            return refuse(format!("{}: {error}", path.display()));
        }
    }
    if judgement.violations.is_empty() { Exit::Green } else { Exit::Broken }
}

/// Reads the lines that the proofs name.
fn lines(path: &Path, judgement: &Judgement) -> std::io::Result<BTreeMap<u64, String>> {
    let wanted = judgement.lines();
    let mut texts = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(texts);
    }
    for (line, n) in BufReader::new(File::open(path)?).lines().zip(1..) {
        let line = line?;
        if wanted.contains(&n) {
            texts.insert(n, line);
        }
    }
    Ok(texts)
}

fn print(judgement: &Judgement) {
    for violation in &judgement.violations {
        say(&format!("{} ({}): {}\n", violation.oracle, violation.clause, violation.text));
        for (line, text) in violation.lines.iter().zip(&violation.proof) {
            say(&format!("  {line:>6}  {text}\n"));
        }
    }
    for (signature, count) in &judgement.counts {
        say(&format!("{count:>8} × {signature}\n"));
    }
    let verdict = if judgement.violations.is_empty() { "green" } else { "red" };
    let drained = if judgement.drained { "" } else { "; the history does not end drained, so nothing counts as lost" };
    say(&format!("{verdict}: {} acknowledged, {} delivered{drained}\n", judgement.acked, judgement.delivered));
}

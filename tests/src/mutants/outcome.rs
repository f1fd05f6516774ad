//! What became of each change, on disk and as a table.
//!
//! Invariant: the share that is caught is of the changes that were built and run; no change is left out of the table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use seedmq_reports::{RunRecord, Verdict};
use serde::{Deserialize, Serialize};

use super::draw::Mutant;

/// What a campaign made of one change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// A run was not green, and is green without the change.
    Caught {
        /// The oracle; `crashed` or `hung` when the process of the run died or did not end.
        by: String,
        /// `scenario:seed`.
        run: String,
        /// The violated rule, or what is known of the dead process.
        what: String,
    },
    /// Every run was green.
    Survived,
    /// The compiler refused it.
    DidNotBuild,
    /// A run was red, and is red without the change too: the program has a bug of its own.
    RedWithout {
        /// `scenario:seed`.
        run: String,
    },
    /// The campaign could not be judged.
    Failed {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// Whether the campaign said something of the change.
    pub fn is_judged(&self) -> bool {
        matches!(self, Outcome::Caught { .. } | Outcome::Survived | Outcome::DidNotBuild)
    }

    /// What a run that is not green says of a change.
    pub fn caught(record: &RunRecord) -> Outcome {
        let by = match record.verdict {
            Verdict::Crashed => "crashed".to_owned(),
            Verdict::Timeout => "hung".to_owned(),
            verdict => record.oracle.map_or_else(|| verdict.to_string(), |oracle| oracle.name().to_owned()),
        };
        let first = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        let what = record.signature.clone().or_else(|| record.note.as_ref().map(first)).unwrap_or_default();
        Outcome::Caught { by, run: record.handle(), what }
    }

    /// Two columns: the verdict in a word, and by what.
    fn columns(&self) -> (&str, String) {
        match self {
            Outcome::Caught { by, run, .. } => ("caught", format!("{by} in {run}")),
            Outcome::Survived => ("survived", String::new()),
            Outcome::DidNotBuild => ("did not build", String::new()),
            Outcome::RedWithout { run } => ("unclear", format!("{run} is red without the change too")),
            Outcome::Failed { why } => ("unclear", why.lines().next().unwrap_or_default().to_owned()),
        }
    }

    /// In a few words.
    pub fn words(&self) -> String {
        let (verdict, by) = self.columns();
        if by.is_empty() { verdict.to_owned() } else { format!("{verdict}: {by}") }
    }
}

/// One change and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Its name: place and words.
    pub name: String,
    /// The changed lines.
    pub change: Vec<String>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Runs of its campaign.
    pub runs: usize,
    /// How long its campaign took, in real time.
    pub campaign_s: f64,
    /// How long its build took.
    pub build_s: f64,
}

impl Judged {
    /// Nothing ran yet.
    pub fn new(mutant: &Mutant, build_s: f64, outcome: Outcome) -> Judged {
        Judged { name: mutant.name.clone(), change: mutant.change(), outcome, runs: 0, campaign_s: 0.0, build_s }
    }
}

/// Everything that is known; the file that `--json` names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What tells these sources from others.
    pub sources: String,
    /// Seconds that each campaign had.
    pub time_s: f64,
    /// Seed of the draw.
    pub seed: u64,
    /// Changes to draw from.
    pub offered: usize,
    /// Runs of the campaign without any change, all green.
    pub baseline_runs: usize,
    /// In the order of the draw.
    pub mutants: Vec<Judged>,
}

impl Findings {
    /// What a file holds, if it is of these sources and this time; nothing otherwise.
    pub fn kept(path: &Path, sources: &str, time_s: f64) -> Findings {
        let read = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Findings>(&bytes).ok());
        let same = read.filter(|kept| kept.sources == sources && kept.time_s == time_s);
        same.unwrap_or_else(|| Findings { sources: sources.to_owned(), time_s, ..Findings::default() })
    }

    /// Writes the file.
    pub fn keep(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("findings have only string keys") + "\n";
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Adds what became of a change; an older outcome of it goes.
    pub fn add(&mut self, judged: Judged) {
        match self.mutants.iter_mut().find(|known| known.name == judged.name) {
            Some(known) => *known = judged,
            None => self.mutants.push(judged),
        }
    }
}

/// One line a change, then the share, then the survivors with what was changed.
pub fn table(mutants: &[Judged]) -> String {
    let mut text = rows(mutants);
    let count = |is: fn(&Outcome) -> bool| mutants.iter().filter(|judged| is(&judged.outcome)).count();
    let caught = count(|outcome| matches!(outcome, Outcome::Caught { .. }));
    let survived = count(|outcome| matches!(outcome, Outcome::Survived));
    let unbuilt = count(|outcome| matches!(outcome, Outcome::DidNotBuild));
    let share = (100 * caught).checked_div(caught + survived).map_or("-".into(), |share| format!("{share} %"));
    let _ = writeln!(text, "\n{caught} of {} changes caught ({share}), {survived} survived", caught + survived);
    for (number, what) in [(unbuilt, "did not build"), (mutants.len() - caught - survived - unbuilt, "unclear")] {
        if number > 0 {
            let _ = writeln!(text, "{number} {what}");
        }
    }
    for judged in mutants.iter().filter(|judged| judged.outcome == Outcome::Survived) {
        let place = judged.name.split(": ").next().unwrap_or_default();
        let _ = writeln!(text, "\n{}", judged.name);
        judged.change.iter().for_each(|line| text += &format!("    {line}\n"));
        let _ = writeln!(text, "  again: --only {place}");
    }
    text
}

/// The table itself.
fn rows(mutants: &[Judged]) -> String {
    let mut rows = vec![["verdict", "by", "runs", "time", "change"].map(str::to_owned)];
    for judged in mutants {
        let (verdict, by) = judged.outcome.columns();
        let (runs, time) = (judged.runs.to_string(), format!("{:.1}s", judged.campaign_s));
        rows.push([verdict.to_owned(), by, runs, time, judged.name.clone()]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [verdicts, bys, runs, times] = [0, 1, 2, 3].map(width);
    let line = |[verdict, by, n, time, change]: &[String; 5]| {
        format!("{verdict:<verdicts$}  {by:<bys$}  {n:>runs$}  {time:>times$}  {change}\n")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use seedmq_reports::{Oracle, Violation};

    use super::*;

    fn judged(line: u32, outcome: Outcome) -> Judged {
        Judged {
            name: format!("core/src/broker/hold.rs:{line}:9: replace == with != in Hold::take"),
            change: vec!["-    a == b".into(), "+    a != b".into()],
            outcome,
            runs: 12,
            campaign_s: 3.25,
            build_s: 20.0,
        }
    }

    fn some() -> Vec<Judged> {
        let caught = Outcome::Caught { by: "lost".into(), run: "broker-crash:3".into(), what: "lost/gone".into() };
        let unclear = Outcome::RedWithout { run: "swarm:9".into() };
        vec![judged(5, caught), judged(60, Outcome::Survived), judged(7, Outcome::DidNotBuild), judged(8, unclear)]
    }

    #[test]
    fn the_table_has_every_change_and_shows_survivors() {
        insta::assert_snapshot!(table(&some()), @r"
        verdict        by                                     runs  time  change
        caught         lost in broker-crash:3                   12  3.2s  core/src/broker/hold.rs:5:9: replace == with != in Hold::take
        survived                                                12  3.2s  core/src/broker/hold.rs:60:9: replace == with != in Hold::take
        did not build                                           12  3.2s  core/src/broker/hold.rs:7:9: replace == with != in Hold::take
        unclear        swarm:9 is red without the change too    12  3.2s  core/src/broker/hold.rs:8:9: replace == with != in Hold::take

        1 of 2 changes caught (50 %), 1 survived
        1 did not build
        1 unclear

        core/src/broker/hold.rs:60:9: replace == with != in Hold::take
            -    a == b
            +    a != b
          again: --only core/src/broker/hold.rs:60:9
        ");
        assert!(table(&[]).contains("0 of 0 changes caught (-), 0 survived"));
    }

    #[test]
    fn a_run_that_is_not_green_is_told_by_its_oracle_or_its_end() {
        let mut record = RunRecord { scenario: "swarm".into(), seed: 4, ..RunRecord::default() };
        let by = |record: &RunRecord| Outcome::caught(record).words();
        record.verdict = Verdict::Timeout;
        assert_eq!(by(&record), "caught: hung in swarm:4");
        record.verdict = Verdict::Crashed;
        record.note = Some("the worker died (signal: 6)\nmore".into());
        assert_eq!(by(&record), "caught: crashed in swarm:4");
        assert!(
            matches!(Outcome::caught(&record), Outcome::Caught { what, .. } if what == "the worker died (signal: 6)")
        );
        let mut record = RunRecord { verdict: Verdict::Green, note: None, ..record };
        let (clause, role, topic_kind) = ("gone".into(), "broker".into(), "normal".into());
        let (text, lines, proof) = (String::new(), Vec::new(), Vec::new());
        record.object(Violation { oracle: Oracle::HeldPull, clause, role, topic_kind, text, at_ms: 0.0, lines, proof });
        assert_eq!(by(&record), "caught: held-pull in swarm:4");
    }

    #[test]
    fn findings_are_kept_for_the_same_sources_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/outcomes.json");
        let mut findings = Findings::kept(&path, "abc", 90.0);
        assert_eq!((findings.mutants.len(), findings.baseline_runs), (0, 0));
        findings.baseline_runs = 300;
        some().into_iter().for_each(|one| findings.add(one));
        findings.add(judged(60, Outcome::Failed { why: "no memory".into() }));
        findings.keep(&path).unwrap();
        assert_eq!(Findings::kept(&path, "abc", 90.0), findings);
        assert_eq!(findings.mutants.len(), 4, "an outcome of the same change is replaced");
        for other in [Findings::kept(&path, "abd", 90.0), Findings::kept(&path, "abc", 60.0)] {
            assert!(other.mutants.is_empty() && other.baseline_runs == 0);
        }
    }
}

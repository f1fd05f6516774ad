//! Scenario files: a family of runs, described in TOML. A seed picks one of them (see [`crate::generate`]).
//!
//! Invariant: a file either parses completely or is refused with file, line and what was expected; nothing is ignored.

mod spec;
mod valid;

use std::fmt;
use std::path::{Path, PathBuf};

pub use spec::{
    BETWEEN_SIDES, Choice, ClusterSpec, ConditionsSpec, EventKind, EventSpec, ExpectSpec, FaultKind, FaultSpec,
    GroupSpec, LatencySpec, Range, Requests, Spec, TopicSpec, WorkloadSpec,
};

/// A parsed scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: the file's name without `.toml`, `controls/` in front for a control.
    pub name: String,
    /// The comment at the top of the file: what it protects.
    pub about: String,
    /// What it says.
    pub spec: Spec,
}

/// Why a file is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// The file.
    pub file: String,
    /// Line number from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What was expected.
    pub what: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// The line of a byte position.
fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// The comment lines that a file begins with.
fn about(text: &str) -> String {
    let lines = text.lines().take_while(|l| l.starts_with('#')).map(|l| l.trim_start_matches('#').trim());
    lines.collect::<Vec<_>>().join(" ").trim().to_string()
}

impl Scenario {
    /// Reads a scenario from text; `file` is named in errors.
    pub fn parse(name: &str, file: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let bad = |at: Option<usize>, what: String| ScenarioError {
            file: file.into(),
            line: at.map_or(0, |at| line_at(text, at)),
            what,
        };
        let spec: Spec = toml::from_str(text).map_err(|e| bad(e.span().map(|s| s.start), e.message().to_string()))?;
        spec.validate().map_err(|(at, what)| bad(at, what))?;
        Ok(Scenario { name: name.into(), about: about(text), spec })
    }

    /// Reads a scenario file. Its name is relative to a directory called `scenarios`, if one is above it.
    pub fn load(path: &Path) -> Result<Scenario, ScenarioError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ScenarioError {
            file: file.clone(),
            line: 0,
            what: format!("a scenario file is expected: {e}"),
        })?;
        Scenario::parse(&name_of(path), &file, &text)
    }
}

/// The name of a scenario file.
fn name_of(path: &Path) -> String {
    let parts: Vec<String> = path.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    let from = parts.iter().rposition(|p| p == "scenarios").map_or(parts.len().saturating_sub(1), |i| i + 1);
    parts[from.min(parts.len().saturating_sub(1))..].join("/")
}

/// The `scenarios` directory: beside the working directory's workspace, or where the program was built.
pub fn directory() -> PathBuf {
    let here = PathBuf::from("scenarios");
    if here.is_dir() { here } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios") }
}

/// The paths of all scenario files in a directory, controls included, by name.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let toml = |dir: PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        entries.filter(|p| p.extension().is_some_and(|x| x == "toml")).collect::<Vec<_>>()
    };
    let (mut all, mut controls) = (toml(dir.to_path_buf()), toml(dir.join("controls")));
    all.sort();
    controls.sort();
    all.extend(controls);
    all
}

/// Finds a scenario by name or by path.
pub fn find(name: &str) -> Result<Scenario, ScenarioError> {
    let direct = Path::new(name);
    if direct.extension().is_some_and(|x| x == "toml") {
        return Scenario::load(direct);
    }
    let path = directory().join(format!("{name}.toml"));
    if path.is_file() {
        return Scenario::load(&path);
    }
    if direct.extension().is_some_and(|x| x == "tape") {
        let what = "a scenario is expected; a tape is run by `replay`".to_owned();
        return Err(ScenarioError { file: name.into(), line: 0, what });
    }
    let known: Vec<String> = files(&directory()).iter().map(|p| name_of(p)).collect();
    let what = format!("a scenario or a path to a .toml file is expected; there are: {}", known.join(", "));
    Err(ScenarioError { file: name.into(), line: 0, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_tape_for_a_scenario_is_told_the_way() {
        let told = find("tapes/swarm-7.tape").expect_err("a tape is no scenario").to_string();
        assert_eq!(told, "tapes/swarm-7.tape: a scenario is expected; a tape is run by `replay`");
    }

    fn error(text: &str) -> String {
        Scenario::parse("x", "x.toml", text).map_or_else(|e| e.to_string(), |_| "fine".into())
    }

    const SMALL: &str = "# Protects a thing.\n# Really.\n\n[topics.T]\nqueues = 4\n\n[groups.g]\ntopics = [\"T\"]\n\n[[workload]]\ntopic = \"T\"\n";

    #[test]
    fn the_comment_is_what_it_is_about() {
        assert_eq!(Scenario::parse("x", "x.toml", SMALL).unwrap().about, "Protects a thing. Really.");
    }

    #[test]
    fn errors_name_file_line_and_expectation() {
        assert!(
            error(&format!("{SMALL}colour = 3\n")).starts_with("x.toml:12: unknown field `colour`, expected one of")
        );
        let wrong = error(&SMALL.replace("queues = 4", "queues = \"four\""));
        assert!(wrong.starts_with("x.toml:5: ") && wrong.contains("expected a number or [least, most]"), "{wrong}");
        let wrong = error(&format!("{SMALL}\n[[faults]]\nkind = \"flood\"\n"));
        assert!(wrong.starts_with("x.toml:14: unknown variant `flood`, expected one of"), "{wrong}");
        let wrong = error(&format!("{SMALL}\n[[faults]]\nkind = \"kill\"\n"));
        assert!(wrong.starts_with("x.toml:13: ") && wrong.contains("\"target\""), "{wrong}");
        let wrong =
            error(&format!("{SMALL}\n[[faults]]\nkind = \"kill\"\ntarget = \"broker\"\ndown-ms = 9\nby-ms = 3\n"));
        assert!(wrong.starts_with("x.toml:13: ") && wrong.contains("\"by-ms\""), "{wrong}");
        assert!(
            error(&SMALL.replace("topic = \"T\"", "topic = \"U\""))
                .contains("x.toml:10: a topic of this file is expected, found \"U\"")
        );
        let wrong = error(&format!("[cluster.properties]\nflushDiskTyp = \"x\"\n{SMALL}"));
        assert!(wrong.starts_with("x.toml:2: a setting of the broker is expected"), "{wrong}");
        assert!(error("[topics.T\n").starts_with("x.toml:1: "));
        let wrong = error(&SMALL.replace("[groups.g]", "[groups.g]\nmodel = \"broadcasting\""));
        assert!(wrong.starts_with("x.toml:7: ") && wrong.contains("no broadcasting yet"), "{wrong}");
        let wrong = error(&SMALL.replace("[groups.g]", "[groups.g]\nstrategy = \"FAIR\""));
        assert!(
            wrong.contains("a strategy is expected (AVG, AVG_BY_CIRCLE, CONSISTENT_HASH), found \"FAIR\""),
            "{wrong}"
        );
        let fault = |text: &str| error(&format!("{SMALL}\n[[faults]]\ntarget = \"any\"\n{text}\n"));
        assert!(
            fault("kind = \"clock-step\"\nby-ms = 1\ntick-ms = [1_000, 0]")
                .contains("\"tick-ms\" is expected to be at least 1")
        );
        let wrong = fault("kind = \"kill\"\nunder = \"config\"");
        assert!(wrong.contains("\"under\""), "{wrong}");
        let wrong = fault("kind = \"read-error\"\nunder = [\"config\", \"logs\"]\nfor-ms = 1");
        assert!(wrong.contains("unknown variant `logs`"), "{wrong}");
        let event = |text: &str| error(&format!("{SMALL}\n[[events]]\n{text}\n"));
        let wrong = event("kind = \"rolling-restart\"\ntarget = \"broker-a\"\ndown-ms = 1\ngap-ms = 1");
        assert!(wrong.contains("all-brokers or all-name-servers is expected, found \"broker-a\""), "{wrong}");
        assert!(event("kind = \"reset-offsets\"\ngroup = \"g\"").contains("\"topic\" is expected for this kind"));
    }

    #[test]
    fn names_are_relative_to_scenarios() {
        assert_eq!(name_of(Path::new("/x/scenarios/controls/a.toml")), "controls/a");
        assert_eq!(name_of(Path::new("my/own.toml")), "own");
    }

    #[test]
    fn every_scenario_of_the_project_parses_and_says_what_it_protects() {
        let files = files(&directory());
        assert!(files.len() >= 13, "nine scenarios and four controls, found {}", files.len());
        for file in files {
            let scenario = Scenario::load(&file).unwrap_or_else(|e| panic!("{e}"));
            assert!(scenario.about.len() > 60, "{} begins with a comment on what it protects", scenario.name);
        }
    }
}

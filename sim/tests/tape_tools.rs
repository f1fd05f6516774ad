//! The tools around a failing tape, as a person uses them: shrink, replay, diff, explain, and the tapes that are kept.
//!
//! Invariant: every test here takes its failure from a planted bug that a hunt finds, so that no seed is written down.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test ends at whatever it did not expect")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use seedmq_sim::tape::Tape;
use serde_json::Value;

const PLANT: &str = "ack-before-fsync";

fn sim(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn at(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A run that the plant breaks, and what it came to when it was shrunk.
struct Small {
    handle: String,
    tape: PathBuf,
    json: Value,
    said: String,
}

/// Hunts and shrinks once for all tests.
fn small() -> &'static Small {
    static ONCE: OnceLock<Small> = OnceLock::new();
    ONCE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        let (found, tape, told) = (dir.join("found.json"), dir.join("small.tape"), dir.join("shrunk.json"));
        let hunted = sim(&["hunt", "--plant", PLANT, "--time", "120s", "--jobs", "1", "--json", at(&found)]);
        assert_eq!(hunted.status.code(), Some(0), "{}", text(&hunted));
        let handle = json(&found)[0]["handle"].as_str().unwrap().to_owned();
        let args = ["shrink", &handle, "--plant", PLANT, "--out", at(&tape), "--json", at(&told), "--time", "4m"];
        let output = sim(&args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        Small { handle, tape, json: json(&told), said: text(&output) }
    })
}

/// The signature of a replay, null when it is green.
fn signature(more: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let (record, report) = (dir.path().join("record.json"), dir.path().join("report"));
    let fixed = ["replay", at(&small().tape), "--json", at(&record), "--report", at(&report)];
    sim(&[&fixed, more].concat());
    json(&record)["signature"].clone()
}

#[test]
fn a_shrunk_tape_is_small_and_fails_in_the_same_way() {
    let Small { json, tape, said, .. } = small();
    assert_eq!(json["signature_before"], json["signature_after"], "{json}");
    assert_eq!(signature(&[]), json["signature_before"]);
    let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"));
    assert!(number("faults_after") <= 5 && number("operations_after") <= 4, "{json}");
    assert!(number("operations_before") > 100 && json["cpu_s"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(json["complete"], true, "{json}");
    for part in ["round", "faults", "operations", "what is left:", "cargo sim replay"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let read = Tape::parse(&std::fs::read_to_string(tape).unwrap()).unwrap();
    assert_eq!(Value::from(read.header.breaks.unwrap()), json["signature_before"]);
}

#[test]
fn a_shrunk_tape_survives_a_change_that_draws_more_numbers() {
    let wanted = &small().json["signature_before"];
    let held = [1, 2, 3, 5, 8, 13, 21, 34].iter().filter(|n| signature(&["--extra-draws", &n.to_string()]) == *wanted);
    assert!(held.count() >= 6, "of 8 changes at least 6 leave the failure as it is");
    assert!(small().json["other_draws_same"].as_u64().unwrap() >= 7, "{}", small().json);
}

#[test]
fn a_green_tape_cannot_be_shrunk_and_a_bad_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let green = sim(&[
        "shrink",
        at(&small().tape),
        "--signature",
        "lost/never-handled/consumer/normal",
        "--out",
        at(&dir.path().join("x")),
    ]);
    assert_eq!(green.status.code(), Some(1), "{}", text(&green));
    assert!(text(&green).contains("nothing to shrink"), "{}", text(&green));
    let bad = dir.path().join("bad.tape");
    let good = std::fs::read_to_string(&small().tape).unwrap();
    std::fs::write(&bad, good.replace("\"do\":\"send\"", "\"do\":\"sned\"")).unwrap();
    for command in ["shrink", "replay", "diff", "explain"] {
        let output = sim(&[command, at(&bad)]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let said = text(&output);
        assert!(
            said.contains("bad.tape: line ") && said.contains(", column ") && said.contains("unknown variant `sned`"),
            "{said}"
        );
    }
    assert_eq!(sim(&["explain", "no-such-scenario:1"]).status.code(), Some(2));
    assert_eq!(sim(&["replay", "neither-tape-nor-seed"]).status.code(), Some(2));
}

#[test]
fn an_interrupted_shrink_leaves_a_tape_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.tape");
    let mut child = command(&["shrink", &small().handle, "--plant", PLANT, "--out", at(&out)]).spawn().unwrap();
    while !out.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(700));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    child.wait().unwrap();
    let tape = Tape::parse(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert!(tape.faults() >= 1);
    let report = dir.path().join("report");
    assert_eq!(sim(&["replay", at(&out), "--report", at(&report)]).status.code(), Some(1));
}

#[test]
fn diff_says_equal_or_where() {
    let tape = at(&small().tape);
    let same = sim(&["diff", tape]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same));
    assert!(text(&same).contains("equal"), "{}", text(&same));
    assert_eq!(sim(&["diff", tape, tape, "--executor", "77"]).status.code(), Some(0));
    let other = sim(&["diff", &small().handle, &small().handle, "--plant-b", PLANT]);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));
    assert!(text(&other).contains("the headers of the tapes differ"), "{}", text(&other));
    let dir = tempfile::tempdir().unwrap();
    let later = dir.path().join("later.tape");
    let mut changed = Tape::parse(&std::fs::read_to_string(tape).unwrap()).unwrap();
    changed.actions.retain(|action| action.what.fault().is_none());
    std::fs::write(&later, changed.to_text()).unwrap();
    let differ = sim(&["diff", tape, at(&later)]);
    let said = text(&differ);
    assert_eq!(differ.status.code(), Some(1), "{said}");
    for part in ["only in the tape of A: 1 actions", "the first event that differs is number ", "cause (A", "  > #"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn explain_tells_faults_proof_timeline_and_commands() {
    let output = sim(&["explain", at(&small().tape)]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let parts = [
        "is red: lost/",
        "a known bug is switched on: ack-before-fsync",
        "Faults that took effect:",
        "loses power",
        "is told that",
        "→",
        "┤",
        "cargo sim replay",
        "--state broker-",
        "cargo sim shrink",
    ];
    for part in parts {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn a_replay_stops_where_it_is_told_and_shows_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::parse(&std::fs::read_to_string(&small().tape).unwrap()).unwrap();
    let broker = &tape.header.config.brokers[0].name;
    let report = dir.path().join("report");
    let run = |args: &[&str]| {
        let fixed = ["replay", at(&small().tape), "--report", at(&report)];
        text(&sim(&[&fixed, args].concat()))
    };
    let said = run(&["--until-event", "60", "--all", "--state", broker]);
    assert!(said.contains("#60 ") && !said.contains("#61 "), "{said}");
    for part in [&format!("── {broker}"), "phase: serving", "durable to", "topics:", "held pulls", "committed offsets"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = run(&["--until", "1ms", "--state", broker]);
    assert!(said.contains(&format!("── {broker}")), "{said}");
    assert!(run(&["--state", "nobody"]).contains("a node of the tape is expected (ns-0"));
    let stepped = sim(&["replay", at(&small().tape), "--step"]);
    assert_eq!(stepped.status.code(), Some(2));
    assert!(text(&stepped).contains("--step needs a terminal"));
}

#[test]
fn kept_tapes_are_green() {
    let dir = tempfile::tempdir().unwrap();
    let (runs, report) = (dir.path().join("runs.json"), dir.path().join("report"));
    let output = sim(&["run", "bugs", "--json", at(&runs), "--report", at(&report)]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.lines().any(|line| line.starts_with("bugs ") && line.contains("green")), "{said}");
    let runs = json(&runs);
    let runs = runs.as_array().unwrap();
    assert!(!runs.is_empty() && runs.iter().all(|r| r["scenario"] == "bugs" && r["verdict"] == "green"));
    assert_eq!(sim(&["run", "bugs", "--seeds", "0..3"]).status.code(), Some(2));
}

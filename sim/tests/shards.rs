//! Campaigns in parts: shards run apart and merged are the campaign that runs whole.
#![cfg(madsim)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A campaign of two scenarios in a folder.
fn run(folder: &Path, with: &[&str]) -> Output {
    let folder = folder.to_str().expect("plain names");
    sim(&[&["run", "broker-crash", "partition", "--seeds", "3..6", "--report", folder], with].concat())
}

/// Runs in the list of records, by scenario and seed, with their hashes.
fn hashes(json: &Path) -> BTreeMap<(String, u64), String> {
    let text = std::fs::read_to_string(json).expect("the list was written");
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    let text = |run: &serde_json::Value, key: &str| run[key].as_str().expect("a text").to_owned();
    all.iter().map(|r| ((text(r, "scenario"), r["seed"].as_u64().expect("a number")), text(r, "hash"))).collect()
}

#[test]
fn shards_together_are_the_whole_campaign() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let whole = run(&at("whole"), &["--json", &path("whole.json")]);
    assert_eq!(whole.status.code(), Some(0), "{}", said(&whole));
    for (shard, folder) in [("0/2", "a"), ("1/2", "b")] {
        let part = run(&at(folder), &["--shard", shard]);
        assert_eq!(part.status.code(), Some(0), "{}", said(&part));
        assert!(said(&part).contains("3 runs of 2 scenarios"), "{}", said(&part));
    }
    let merge = |folders: &[&str]| {
        let folders: Vec<String> = folders.iter().map(|name| path(name)).collect();
        let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
        sim(&[&["merge", "--report", &path("merged"), "--json", &path("merged.json")], &folders[..]].concat())
    };
    let merged = merge(&["b", "a"]);
    assert_eq!(merged.status.code(), Some(0), "{}", said(&merged));
    assert!(at("merged/index.html").is_file());
    assert_eq!(hashes(&at("merged.json")), hashes(&at("whole.json")));

    let part = merge(&["b"]);
    assert_eq!(part.status.code(), Some(1), "{}", said(&part));
    assert!(said(&part).contains("shard 0/2 is missing"), "{}", said(&part));

    let twice = merge(&["a", "a"]);
    assert_eq!(twice.status.code(), Some(2), "{}", said(&twice));
    assert!(said(&twice).contains("are the same shard 0/2"), "{}", said(&twice));

    let other = merge(&["a", "whole"]);
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("shards: 2 and 1"), "{}", said(&other));

    let runs = at("a").join("runs.jsonl");
    let text = std::fs::read_to_string(&runs).unwrap();
    std::fs::write(&runs, &text[..text.trim_end().rfind('\n').unwrap() + 30]).unwrap();
    let cut = merge(&["a", "b"]);
    assert_eq!(cut.status.code(), Some(1), "{}", said(&cut));
    assert!(said(&cut).contains("shard 0/2 ended after 2 of 3 runs"), "{}", said(&cut));
}

#[test]
fn a_red_run_brings_its_tape() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let plant = ["run", "power-loss-sync-flush", "--seeds", "0..6", "--plant", "ack-before-fsync", "--shard", "0/1"];
    let red = sim(&[&plant[..], &["--report", &path("a")]].concat());
    assert_eq!(red.status.code(), Some(1), "{}", said(&red));
    let merged = sim(&["merge", &path("a"), "--report", &path("merged"), "--junit", &path("junit.xml")]);
    assert_eq!(merged.status.code(), Some(1), "{}", said(&merged));
    let tapes: Vec<_> = std::fs::read_dir(scratch.path().join("merged/tapes")).unwrap().flatten().collect();
    assert!(tapes.iter().any(|tape| tape.path().extension().is_some_and(|x| x == "tape")));
    assert!(said(&merged).contains(&format!("cargo sim replay {}", path("merged/tapes"))), "{}", said(&merged));
    assert!(scratch.path().join("junit.xml").is_file());
}

#[test]
fn wrong_parts_are_refused() {
    for wrong in ["2/2", "x", "0/0"] {
        let output = sim(&["run", "broker-crash", "--seeds", "0..4", "--shard", wrong]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("expected I/N"), "{}", said(&output));
    }
    let output = sim(&["run", "broker-crash", "--shard", "0/2"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = sim(&["merge", "/no/such/folder"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("/no/such/folder/runs.jsonl"), "{}", said(&output));
}

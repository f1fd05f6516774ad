//! The program as a person meets it: exit codes, and what it says when something is wrong.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/long_history.rs"]
mod long_history;

fn sim(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(args).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn check(history: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (file, json) = (dir.path().join("h"), dir.path().join("j"));
    std::fs::write(&file, history).expect("the scratch directory is writable");
    let mut command = sim(&["check"]);
    command.arg(&file).arg("--json").arg(&json);
    let output = command.output().expect("the program runs");
    let judged = std::fs::read_to_string(json).unwrap_or_default();
    (output.status.code(), text(&output) + &judged)
}

const SENT: &str = r#"{"history":1,"flush":"sync"}
{"t":1,"client":"p","op":"send","type":"invoke","call":1,"topic":"T","key":"k"}
{"t":2,"client":"p","op":"send","type":"ok","call":1,"queue":0,"offset":0}
{"t":3,"client":"c","op":"deliver","type":"invoke","call":1,"group":"g","topic":"T","queue":0,"offset":0,"key":"k"}
{"t":4,"client":"c","op":"deliver","type":"ok","call":1}
"#;

#[test]
fn check_is_green_red_or_refuses() {
    let (code, said) = check(&format!("{SENT}{}\n", r#"{"t":9,"op":"end","drained":true}"#));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("green: 1 acknowledged, 1 delivered"), "{said}");
    let again = SENT
        .lines()
        .skip(3)
        .map(|l| l.replace("\"call\":1", "\"call\":2").replace("\"t\":3", "\"t\":5").replace("\"t\":4", "\"t\":6"));
    let (code, said) = check(&format!("{SENT}{}\n", again.collect::<Vec<_>>().join("\n")));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("duplicate (same-owner)") && said.contains("\"oracle\": \"duplicate\""), "{said}");
    assert!(said.contains("     6  {\"t\":5,\"client\":\"c\""), "the proving line is quoted with its number: {said}");
    let (code, said) = check(&format!("{SENT}not json\n"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("line 6"), "{said}");
    assert_eq!(sim(&["check", "/no/such/file"]).output().unwrap().status.code(), Some(2));
}

/// Passes lines on to a process, and notes how many KiB of memory it has after so many of them.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Watched {
    process: std::process::Child,
    after: [u64; 2],
    lines: u64,
    kib: Vec<u64>,
}

#[cfg(target_os = "linux")]
impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.process.stdin.as_mut().expect("a pipe").write(bytes)?;
        self.lines += bytes[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
        if self.after.get(self.kib.len()).is_some_and(|after| self.lines >= *after) {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
            let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).and_then(|l| l.split_whitespace().next());
            self.kib.push(kib.and_then(|kib| kib.parse().ok()).expect("a process has memory"));
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// 30,000 messages take 14 MB in pages and took 50 MB in memory; 4 MiB are a generous slack for an allocator.
#[cfg(target_os = "linux")]
#[test]
fn a_longer_history_takes_no_more_memory() {
    let mut command = sim(&["check", "/dev/stdin", "--memory", "1"]);
    let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program runs");
    let watched = Watched { process, after: [100_000, 340_000], lines: 0, kib: Vec::new() };
    let mut lines = BufWriter::new(watched);
    long_history::write(&mut lines, 350_000).expect("it reads to the end");
    let watched = lines.into_inner().expect("it reads to the end");
    let output = watched.process.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("green: 43745 acknowledged, 87490 delivered"), "{}", text(&output));
    let [early, late] = watched.kib[..] else { panic!("{:?}", watched.kib) };
    assert!(late < early + 4_096, "{early} KiB after 100,000 lines, {late} KiB after 340,000");
}

#[test]
fn list_names_scenarios_plants_and_marks() {
    let output = sim(&["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output);
    for name in ["broker-crash", "controls/redelivery", "ack-before-fsync", "synchronous flush timed out"] {
        assert!(said.contains(name), "{name} in {said}");
    }
}

#[cfg(not(madsim))]
#[test]
fn without_madsim_the_variable_at_fault_is_named() {
    for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        let output = sim(&["run", "broker-crash"]).env(name, "-C debuginfo=0").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(&format!("{name}=\"-C debuginfo=0\"")), "{}", text(&output));
    }
    let output = sim(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("cargo sim"));
}

#[cfg(madsim)]
mod simulated {
    use super::*;

    #[test]
    fn a_bad_scenario_file_is_refused_with_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("own.toml");
        std::fs::write(&file, "# About.\n[topics.T]\nqueues = 1\ncolour = 2\n[[workload]]\ntopic = \"T\"\n").unwrap();
        let output = sim(&["run", file.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains("own.toml:4: unknown field `colour`, expected one of"), "{}", text(&output));
        let output = sim(&["run", "no-such-scenario"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains("there are: backlog"), "{}", text(&output));
        assert_eq!(sim(&["run", "broker-crash", "--seeds", "7..7"]).output().unwrap().status.code(), Some(2));
        assert_eq!(sim(&["hunt", "--plant", "no-such-bug"]).output().unwrap().status.code(), Some(2));
    }

    #[test]
    fn one_seed_has_one_hash_alone_and_in_a_batch() {
        let dir = tempfile::tempdir().unwrap();
        let hash = |seeds: &str| {
            let (json, report) = (dir.path().join("runs.json"), dir.path().join("report"));
            let args = [
                "run",
                "broker-crash",
                "--seeds",
                seeds,
                "--json",
                json.to_str().unwrap(),
                "--report",
                report.to_str().unwrap(),
            ];
            let output = sim(&args).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            assert!(report.join("index.html").is_file());
            let runs: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
            let run = runs.as_array().unwrap().iter().find(|r| r["seed"] == 3).unwrap().clone();
            assert!(run["acked"].as_u64().unwrap() > 0 && run["delivered"].as_u64().unwrap() > 0, "{run}");
            run["hash"].as_str().unwrap().to_string()
        };
        let (batch, alone) = (hash("0..5"), hash("3..4"));
        assert_eq!(batch.len(), 32);
        assert_eq!(batch, alone);
    }
}

//! `cargo check-all`: every test of both builds, as CI runs them.
//!
//! Invariant: it ends with the line `N passed, N failed`, and with success only when nothing failed and nothing was left out.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use seedmq_tests::cargo::logged;
use seedmq_tests::tools::repository;

/// Runs every check of the repository, stops at the first that fails
#[derive(Parser)]
struct Arguments {
    /// Only steps whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Print the steps and what each of them tests
    #[arg(long)]
    list: bool,
}

/// Tests that drive real processes and wait for real time: their binaries run side by side, the longest first. With each,
/// how many of its tests run at a time.
const SIDE_BY_SIDE: [(&str, &str); 9] = [
    ("timing", "5"),
    ("clients_java", "2"),
    ("mqadmin", "2"),
    ("clients_go", "2"),
    ("store_swap", "2"),
    ("clients_python", "2"),
    ("malformed", "2"),
    ("kill9", "2"),
    ("report_browser", "1"),
];

/// How many of those at a time, on two cores.
const LANES: usize = 3;

/// `cargo …` of the simulated world, in the target directory that `cargo sim` uses.
const SIMULATED: [&str; 4] = ["--config", "build.rustflags=['--cfg','madsim']", "--target-dir", "target/sim"];

/// The tests of that world. Examples in comments are not among them: rustdoc does not take the flag, and builds the real one.
const SIMULATED_TESTS: [&str; 5] = ["test", "--release", "--lib", "--bins", "--tests"];

/// The packages that exist in both worlds.
const BOTH_WORLDS: [&str; 8] = ["-p", "seedmq-core", "-p", "seedmq", "-p", "seedmq-sim", "-p", "seedmq-reports"];

/// What to run.
enum Work {
    /// One cargo command.
    Cargo(Vec<&'static str>),
    /// One cargo command whose tests run the simulator.
    WithSimulator(Vec<&'static str>),
    /// The test binaries of `SIDE_BY_SIDE`.
    RealProcesses,
    /// One command of the simulator.
    Sim(Vec<&'static str>),
    /// The simulator without optimisation, against the other one.
    Debug,
}

struct Step {
    name: &'static str,
    about: &'static str,
    work: Work,
}

fn steps() -> Vec<Step> {
    let cargo = |name, about, words: &[&[&'static str]]| Step { name, about, work: Work::Cargo(words.concat()) };
    let everything: &[&str] = &["--workspace", "--exclude", "seedmq-tests", "--exclude", "seedmq-example", "--release"];
    let files: &[&str] = &[
        "-p",
        "seedmq-tests",
        "--release",
        "--lib",
        "--bins",
        "--test",
        "*golden*",
        "--test",
        "allocate_snapshots",
        "--test",
        "tidy",
    ];
    vec![
        cargo("format", "every source file is as rustfmt writes it", &[&["fmt", "--all", "--", "--check"]]),
        cargo(
            "lint",
            "clippy has nothing to say about the real build",
            &[&["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"]],
        ),
        cargo(
            "lint, simulated",
            "… nor about the simulated build",
            &[&["clippy", "--all-targets", "--release"], &BOTH_WORLDS, &SIMULATED, &["--", "-D", "warnings"]],
        ),
        cargo(
            "units",
            "machines, codecs, store, driver, reports: unit and property tests of the real build",
            &[&["test"], everything, &["--no-fail-fast"]],
        ),
        cargo(
            "golden and tidy",
            "golden bytes of Apache RocketMQ, snapshots, promises of the repository",
            &[&["test"], files, &["--no-fail-fast"]],
        ),
        Step {
            name: "real processes",
            about: "Java, Go and Python clients, mqadmin, malformed input, kill -9, Java's store, real timing, the report in a browser",
            work: Work::RealProcesses,
        },
        cargo(
            "units, simulated",
            "the same machines and the simulator itself under madsim",
            &[&SIMULATED_TESTS, &BOTH_WORLDS, &SIMULATED, &["--no-fail-fast"]],
        ),
        Step {
            name: "snapshots",
            about: "what a run comes to, as texts that change only with the code or the scenario: the example for other projects",
            work: Work::WithSimulator(vec!["test", "-p", "seedmq-example", "--release"]),
        },
        Step {
            name: "debug",
            about: "a run has the same hash in the simulator without optimisation, where every overflow and assertion counts",
            work: Work::Debug,
        },
        Step {
            name: "campaign",
            about: "the standard campaign: every scenario, 40 seeds each, every eighth run twice in another process",
            work: Work::Sim(vec![]),
        },
        Step {
            name: "hunt",
            about: "every planted bug is found by the oracle that must find it",
            work: Work::Sim(vec!["hunt", "--all", "--json", "target/check-all/hunt.json"]),
        },
    ]
}

/// What a step showed.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
}

impl Counts {
    /// Reads the summaries of test harnesses and the skips that tests print.
    fn of(text: &str) -> Counts {
        let mut counts = Counts::default();
        for line in text.lines() {
            if let Some(rest) = line.trim().strip_prefix("test result: ") {
                let numbers: Vec<u64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                counts.passed += numbers.first().copied().unwrap_or(0);
                counts.failed += numbers.get(1).copied().unwrap_or(0);
            } else if line.starts_with("skipped: ") {
                counts.skipped.push(line.to_owned());
            }
        }
        counts
    }
}

fn logs() -> PathBuf {
    repository().join("target/check-all")
}

/// Runs a command into a log; whether it ended well, and what it printed.
fn run(command: &mut Command, name: &str) -> (bool, String) {
    let path = logs().join(format!("{}.log", name.replace([' ', ','], "-")));
    logged(command, &path).unwrap_or_else(|error| (false, format!("error: {name}: {error}")))
}

fn cargo(words: &[&str]) -> Command {
    let mut command = seedmq_tests::cargo::cargo();
    command.args(words);
    command
}

/// Builds the tests of real processes and runs their binaries in lanes.
fn real_processes() -> (bool, String) {
    // The whole workspace, as all steps do: a part of it would build the dependencies again, with other features.
    let words = ["test", "--workspace", "--release", "--no-run", "--message-format=json-render-diagnostics"];
    let (ok, messages) = run(&mut cargo(&words), "build-real-processes");
    if !ok {
        return (ok, messages);
    }
    let built = |name, kind| {
        executable(&messages, name, kind).unwrap_or_else(|| panic!("cargo built the {kind} {name} and says so"))
    };
    let seedmq = built("seedmq", "bin");
    let longest_last = SIDE_BY_SIDE.iter().rev().map(|(name, threads)| (*name, *threads, built(name, "test")));
    let binaries = Mutex::new(longest_last.collect::<Vec<_>>());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let next = binaries.lock().expect("no lane panics").pop();
                    let Some((name, threads, path)) = next else { return };
                    let started = Instant::now();
                    let mut command = Command::new(&path);
                    command.args(["--show-output", "--test-threads", threads]).env("SEEDMQ_BIN", &seedmq);
                    let result = run(&mut command, name);
                    println!("    {name}: {} s", started.elapsed().as_secs());
                    results.lock().expect("no lane panics").push(result);
                }
            });
        }
    });
    let results = results.into_inner().expect("no lane panics");
    let failed: String = results.iter().filter(|(ok, _)| !ok).map(|(_, text)| text.as_str()).collect();
    let all: String = results.iter().map(|(_, text)| text.as_str()).collect();
    (failed.is_empty() && !results.is_empty(), all + &failed)
}

/// The simulator, as its tests built it.
fn simulator() -> PathBuf {
    repository().join("target/sim/release/sim")
}

/// Builds the simulator with its tests: `cargo sim` would build the dependencies again, with other features.
fn build_simulator() -> (bool, String) {
    let build = [&SIMULATED_TESTS[..], &["--no-run"], &BOTH_WORLDS, &SIMULATED].concat();
    run(&mut cargo(&build), "build-sim")
}

/// One cargo command whose tests run the simulator.
fn with_simulator(words: &[&str], name: &str) -> (bool, String) {
    let (ok, text) = build_simulator();
    if ok { run(cargo(words).env("SEEDMQ_SIM", simulator()), name) } else { (ok, text) }
}

/// One command of the simulator.
fn sim(words: &[&str], name: &str) -> (bool, String) {
    let (ok, text) = build_simulator();
    if !ok {
        return (ok, text);
    }
    let (ok, text) = run(Command::new(simulator()).args(words), name);
    // Its table, as a person would see it.
    text.lines().take_while(|line| !line.is_empty()).for_each(|line| println!("    {line}"));
    (ok, text)
}

/// What is run in both builds of the simulator.
const BOTH_BUILDS: [&str; 8] =
    ["run", "broker-crash", "power-loss-async-flush", "disk-faults", "swarm", "--seeds", "0..4", "--twice-every=0"];

/// Runs the same seeds in the debug and the release build and compares what they came to.
fn debug_and_release() -> (bool, String) {
    let (ok, text) = build_simulator();
    if !ok {
        return (ok, text);
    }
    let build = [&["build", "-p", "seedmq-sim", "--bin", "sim"][..], &SIMULATED].concat();
    let (ok, text) = run(&mut cargo(&build), "build-sim-debug");
    if !ok {
        return (ok, text);
    }
    let hashes = |program: &Path, name: &str| {
        let records = logs().join(format!("{name}.json"));
        let report = logs().join(name);
        let mut command = Command::new(program);
        command.args(BOTH_BUILDS).arg("--json").arg(&records).arg("--report").arg(&report);
        let (ok, text) = run(&mut command, name);
        let list: Vec<serde_json::Value> =
            std::fs::read(&records).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let brief = |r: &serde_json::Value| format!("{}:{} {} {}", r["scenario"], r["seed"], r["events"], r["hash"]);
        (ok, list.iter().map(brief).collect::<Vec<_>>(), text)
    };
    let (fast_ok, fast, mut all) = hashes(&simulator(), "hashes-release");
    let (slow_ok, slow, text) = hashes(&repository().join("target/sim/debug/sim"), "hashes-debug");
    all += &text;
    let differ = fast.iter().zip(&slow).filter(|(fast, slow)| fast != slow);
    differ.for_each(|(fast, slow)| all += &format!("error: release {fast}, debug {slow}\n"));
    println!("    {} runs compared", slow.len());
    (fast_ok && slow_ok && fast == slow && !fast.is_empty(), all)
}

/// The executable of one target in cargo's messages: a program (`bin`) or a file of tests (`test`).
fn executable(messages: &str, name: &str, kind: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    // A program may have the name of a file of tests, and unit tests of its own.
    let is_it = |message: &serde_json::Value| {
        let (target, is_test) = (&message["target"], message["profile"]["test"] == true);
        target["name"] == name && target["kind"][0] == kind && is_test == (kind == "test")
    };
    parsed.filter(is_it).find_map(|message| Some(Path::new(message["executable"].as_str()?).to_owned()))
}

/// The lines of a failed step that tell why.
fn reason(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let telling = |line: &&&str| line.contains("panicked at") || line.starts_with("error") || line.ends_with("FAILED");
    let mut out: Vec<&str> = lines.iter().filter(telling).take(20).copied().collect();
    out.extend(&lines[lines.len().saturating_sub(40)..]);
    out.join("\n")
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let all: Vec<Step> = steps()
        .into_iter()
        .filter(|step| arguments.only.as_ref().is_none_or(|only| step.name.contains(only.as_str())))
        .collect();
    if arguments.list {
        all.iter().for_each(|step| println!("{:<18} {}", step.name, step.about));
        return ExitCode::SUCCESS;
    }
    std::fs::create_dir_all(logs()).expect("target/ is writable");
    let (mut total, started) = (Counts::default(), Instant::now());
    for step in &all {
        println!("{}: {}", step.name, step.about);
        let began = Instant::now();
        let (ok, text) = match &step.work {
            Work::Cargo(words) => run(&mut cargo(words), step.name),
            Work::WithSimulator(words) => with_simulator(words, step.name),
            Work::RealProcesses => real_processes(),
            Work::Sim(words) => sim(words, step.name),
            Work::Debug => debug_and_release(),
        };
        let counts = Counts::of(&text);
        // A step without a test harness is one check.
        let one = u64::from(counts.passed + counts.failed == 0);
        total.passed += counts.passed + if ok { one } else { 0 };
        total.failed += counts.failed + if ok { 0 } else { one };
        counts.skipped.iter().for_each(|line| println!("    {line}"));
        total.skipped.extend(counts.skipped);
        println!("    {} in {}", if ok { "good" } else { "FAILED" }, seconds(began.elapsed()));
        if !ok {
            println!(
                "{}\n\nthe step \"{}\" failed; its whole output is in {}",
                reason(&text),
                step.name,
                logs().display()
            );
            total.failed = total.failed.max(1);
            break;
        }
    }
    println!("{} skipped, {} in all", total.skipped.len(), seconds(started.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tests_is_told_from_a_program_of_its_name() {
        let message = |kind: &str, test: bool, path: &str| {
            let target = serde_json::json!({"name": "kill9", "kind": [kind]});
            serde_json::json!({"target": target, "profile": {"test": test}, "executable": path}).to_string()
        };
        let messages =
            [message("bin", true, "/units"), message("bin", false, "/program"), message("test", true, "/tests")];
        let messages = messages.join("\n");
        assert_eq!(executable(&messages, "kill9", "test").as_deref(), Some(Path::new("/tests")));
        assert_eq!(executable(&messages, "kill9", "bin").as_deref(), Some(Path::new("/program")));
        assert_eq!(executable(&messages, "kill8", "test"), None);
    }

    #[test]
    fn summaries_of_several_harnesses_add_up() {
        let text = "test result: ok. 12 passed; 0 failed; 1 ignored\nskipped: no java\ntest result: FAILED. 3 passed; 2 failed;";
        let counts = Counts::of(text);
        assert_eq!((counts.passed, counts.failed, counts.skipped.len()), (15, 2, 1));
    }
}

//! `replay`: one seed or one tape again, with everything written down.
//!
//! Invariant: a replay runs the same tape under the same conditions as the first time; looking closer changes nothing.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::generate::generate;
use seedmq_sim::tape::Tape;
use seedmq_sim::{plants, scenario};

use super::pool::{Runner, Where};
use super::run::{Collector, write_tape};
use super::worker::Job;
use super::{Exit, ReplayArgs, duration, refuse, say};

/// Finds the tape behind `SCENARIO:SEED` or a path.
fn tape(what: &str, with: &[String]) -> Result<Tape, String> {
    if let Some(name) = with.iter().find(|p| plants::find(p).is_none()) {
        return Err(format!("a plant is expected (see `list`), found \"{name}\""));
    }
    if Path::new(what).is_file() && !what.ends_with(".toml") {
        let text = fs::read_to_string(what).map_err(|e| format!("{what}: {e}"))?;
        let mut tape = Tape::parse(&text).map_err(|e| format!("{what}: {e}"))?;
        tape.header.plants.extend(with.iter().cloned());
        return Ok(tape);
    }
    let expected = || format!("SCENARIO:SEED or the path of a tape is expected, found \"{what}\"");
    let (name, seed) = what.rsplit_once(':').ok_or_else(expected)?;
    let seed = seed.parse().map_err(|_| expected())?;
    Ok(generate(&scenario::find(name).map_err(|e| e.to_string())?, seed, with))
}

/// The command.
pub fn replay(args: &ReplayArgs) -> Exit {
    let tape = match tape(&args.what, &args.plant) {
        Ok(tape) => tape,
        Err(why) => return refuse(why),
    };
    let until = args
        .until
        .as_deref()
        .map(|text| text.parse().map(std::time::Duration::from_millis).or_else(|_| duration(text)));
    let until_ms = match until.transpose() {
        Ok(until) => until.map(|u| u64::try_from(u.as_millis()).unwrap_or(u64::MAX)),
        Err(why) => return refuse(why),
    };
    let wanted = args.all || args.node.is_some();
    let log = wanted.then(|| std::env::temp_dir().join(format!("sim-replay-{}.log", std::process::id())));
    if let Some(node) = args.node.as_ref().filter(|node| !tape.header.config.has(node) && *node != "admin") {
        let names: Vec<&str> = tape.header.config.nodes().collect();
        return refuse(format!("a node of the tape is expected ({}), found \"{node}\"", names.join(", ")));
    }
    let job = Job { timeline: true, log: log.clone(), until_ms };
    let mut record = Runner::new(&args.work).run(&tape, &job, Where::Here);
    if let Some(log) = &log {
        print_log(log, &tape, args.node.as_deref());
        drop(fs::remove_file(log));
    }
    keep(args, &tape, &mut record);
    let mut collector = Collector::new(None);
    collector.campaign.records.push(record);
    collector.report(&args.report, None)
}

/// Prints the events of one node, or of all, with the nodes' names in place of their numbers in the tape's order.
fn print_log(log: &Path, tape: &Tape, wanted: Option<&str>) {
    let names: Vec<&str> = tape.header.config.nodes().chain(["admin"]).collect();
    let Ok(file) = File::open(log) else { return };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        let mut words = line.trim_start().splitn(2, ' ');
        let (at, rest) = (words.next().unwrap_or(""), words.next().unwrap_or("").trim_start());
        let (host, what) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = host.parse::<usize>().ok().and_then(|n| names.get(n)).copied().unwrap_or(host);
        if wanted.is_none_or(|wanted| wanted == name) {
            say(&format!("{at:>14} {name:<10} {what}\n"));
        }
    }
}

/// Writes what was asked for, and the tape of a run that failed.
fn keep(args: &ReplayArgs, tape: &Tape, record: &mut RunRecord) {
    let complain = |what: &str, result: std::io::Result<()>| {
        if let Err(error) = result {
            eprintln!("sim: the {what} could not be written: {error}");
        }
    };
    if record.verdict != Verdict::Green {
        match write_tape(&args.report, tape, &record.history) {
            Ok(path) => record.tape = Some(path.display().to_string()),
            Err(error) => eprintln!("sim: the tape could not be written: {error}"),
        }
    }
    if let Some(path) = &args.tape {
        complain("tape", fs::write(path, tape.to_text()));
    }
    if let Some(path) = &args.history {
        complain("history", fs::write(path, record.history.join("\n") + "\n"));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(record).expect("a record has only string keys");
        complain("record", fs::write(path, text + "\n"));
    }
}

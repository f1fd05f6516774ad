//! `hunt`: known bugs, switched on one by one, looked for by the ordinary scenarios.
//!
//! Invariant: a plant counts as found only when the oracle that is meant for it objects, and an oracle that objects to a control
//! (oddities that are promised) has raised a false alarm.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use seedmq_reports::{Found, RunRecord, Verdict, hunt_table};
use seedmq_sim::generate::generate;
use seedmq_sim::options::RunOptions;
use seedmq_sim::plants::{self, PLANTS, Plant};
use seedmq_sim::scenario::{self, Scenario};
use seedmq_sim::tape::Tape;

use super::pool::{Deadline, Runner, Where, spread};
use super::run::write_tape;
use super::source;
use super::{Exit, HuntArgs, refuse, say};

/// Runs of each plant without any fault.
const QUIET: u64 = 3;
/// Seeds of each control beside `--all`.
const CONTROLS: u64 = 10;

/// The command.
pub fn hunt(args: &HuntArgs) -> Exit {
    let wanted: Vec<&Plant> = match &args.plant {
        None => PLANTS.iter().collect(),
        Some(name) => match plants::find(name) {
            Some(plant) => vec![plant],
            None => return refuse(format!("a plant is expected (see `list`), found \"{name}\"")),
        },
    };
    let runner = Runner::new(&args.work);
    let mut all = Vec::new();
    for plant in wanted {
        if runner.stopped() {
            break;
        }
        match one(&runner, plant, Deadline::after(Some(args.time)), args) {
            Ok(found) => all.push(found),
            Err(why) => return refuse(why),
        }
    }
    say(&hunt_table(&all));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&all).expect("findings have only string keys");
        if let Err(error) = fs::write(path, text + "\n") {
            return refuse(format!("{}: {error}", path.display()));
        }
    }
    let alarms = match controls(&runner, args.controls.unwrap_or(if args.all { CONTROLS } else { 0 }), &args.report) {
        Ok(alarms) => alarms,
        Err(why) => return refuse(why),
    };
    let found = all.iter().all(Found::is_as_expected);
    if found && alarms == 0 && !runner.stopped() { Exit::Green } else { Exit::Broken }
}

/// Looks for one plant: on its kept tapes, if they are wanted, then seed by seed through all of its scenarios.
fn one(runner: &Runner, plant: &Plant, deadline: Deadline, args: &HuntArgs) -> Result<Found, String> {
    let (mut kept, named): (Vec<&str>, Vec<&str>) = plant.scenarios.iter().partition(|name| name.starts_with("bugs/"));
    kept.retain(|_| !args.fresh);
    let kept = kept.into_iter().map(|name| source::tape(name, &[])).collect::<Result<Vec<Tape>, _>>()?;
    let scenarios = named.into_iter().map(scenario::find).collect::<Result<Vec<Scenario>, _>>();
    let scenarios = scenarios.map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let mut found = Found { plant: plant.name.into(), expected: plant.oracles.to_vec(), ..Found::default() };
    let over = AtomicBool::new(false);
    let drawn = (0..u64::MAX).flat_map(|seed| scenarios.iter().map(move |s| generate(s, seed, &[])));
    let tasks = kept.into_iter().chain(drawn);
    let go_on = || !over.load(Ordering::Relaxed) && !deadline.passed() && !runner.stopped();
    let work = |without: Tape| {
        let mut with = without.clone();
        with.header.plants.push(plant.name.to_owned());
        let (tape, record) = run(runner, with);
        let infected = record.plants.contains_key(plant.name) && run(runner, without).1.hash != record.hash;
        (tape, record, infected)
    };
    let mut unwritten = None;
    spread(runner.jobs, tasks, go_on, work, |(tape, record, infected)| {
        found.infected += u64::from(infected);
        if found.detected_by.is_none() && note(&mut found, &record) {
            over.store(true, Ordering::Relaxed);
            match write_tape(&args.report, &tape, &record.history) {
                Ok(path) => found.tape = Some(path.display().to_string()),
                Err(error) => unwritten = Some(format!("{}: {error}", args.report.display())),
            }
        }
    });
    found.wall_s = begun.elapsed().as_secs_f64();
    found.shows_without_faults = plants::SHOW_WITHOUT_FAULTS.contains(&plant.name);
    found.quiet = quiet(runner, plant, &scenarios);
    unwritten.map_or(Ok(found), Err)
}

fn run(runner: &Runner, tape: Tape) -> (Tape, RunRecord) {
    let record = runner.run(&tape, &RunOptions::default(), Where::Here);
    (tape, record)
}

/// Runs the plant on some tapes of its scenarios without their faults: how many ran, and how many were red.
fn quiet(runner: &Runner, plant: &Plant, scenarios: &[Scenario]) -> (u64, u64) {
    let tapes = (0..QUIET).zip(scenarios.iter().cycle()).map(|(seed, scenario)| {
        let mut tape = generate(scenario, seed, &[plant.name.to_owned()]);
        tape.actions.retain(|action| action.what.fault().is_none());
        tape
    });
    let (mut all, mut red) = (0, 0);
    spread(
        runner.jobs,
        tapes,
        || !runner.stopped(),
        |tape| run(runner, tape),
        |(_, record)| {
            all += 1;
            red += u64::from(record.verdict != Verdict::Green);
        },
    );
    (all, red)
}

/// Counts a run; whether it shows the plant.
fn note(found: &mut Found, record: &RunRecord) -> bool {
    found.seeds += 1;
    found.cpu_s += record.cpu_ms as f64 / 1_000.0;
    if let Some(trace) = record.plants.get(&found.plant) {
        found.reached += trace.reached;
    }
    let Some(violation) = record.violations.iter().find(|v| found.expected.contains(&v.oracle)) else {
        if record.verdict != Verdict::Green {
            let what = record.signature.clone().unwrap_or_else(|| record.verdict.to_string());
            *found.others.entry(what).or_default() += 1;
        }
        return false;
    };
    found.detected_by = Some(violation.oracle);
    found.signature = Some(violation.signature());
    found.handle = Some(record.handle());
    true
}

/// Runs so many seeds of each control with no bug switched on, and says how many are not green.
fn controls(runner: &Runner, seeds: u64, report: &Path) -> Result<u64, String> {
    let files = scenario::files(&scenario::directory().join("controls"));
    let controls: Result<Vec<Scenario>, _> = files.iter().map(|file| Scenario::load(file)).collect();
    let mut alarms = 0;
    for control in controls.map_err(|e| e.to_string())?.iter().filter(|_| seeds > 0) {
        let (mut green, mut flagged) = (0, Vec::new());
        let work = |seed| run(runner, generate(control, seed, &[]));
        spread(
            runner.jobs,
            0..seeds,
            || !runner.stopped(),
            work,
            |(tape, record)| match record.verdict {
                Verdict::Green => green += 1,
                verdict => {
                    let tape = write_tape(report, &tape, &record.history);
                    let tape = tape.map_or_else(|error| error.to_string(), |path| path.display().to_string());
                    flagged.push(format!("  {verdict} {}  {tape}\n", record.signature.unwrap_or_default()));
                }
            },
        );
        say(&format!("{}: {green} of {} green\n{}", control.name, green + flagged.len() as u64, flagged.concat()));
        alarms += flagged.len() as u64;
    }
    Ok(alarms)
}

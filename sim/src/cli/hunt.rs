//! `hunt`: known bugs, switched on one by one, looked for by the ordinary scenarios.
//!
//! Invariant: a plant counts as found only when the oracle that is meant for it objects.

use std::fs;
use std::time::Instant;

use seedmq_reports::{Found, RunRecord, Verdict, hunt_table};
use seedmq_sim::generate::generate;
use seedmq_sim::options::RunOptions;
use seedmq_sim::plants::{self, PLANTS, Plant};
use seedmq_sim::scenario::{self, Scenario};

use super::pool::{Deadline, Runner, Where, spread};
use super::{Exit, HuntArgs, refuse, say};

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
        match one(&runner, plant, Deadline::after(Some(args.time))) {
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
    if all.iter().all(|f| f.detected.is_some()) && !runner.stopped() { Exit::Green } else { Exit::Broken }
}

/// Looks for one plant, seed by seed, through all of its scenarios.
fn one(runner: &Runner, plant: &Plant, deadline: Deadline) -> Result<Found, String> {
    let scenarios: Result<Vec<Scenario>, _> = plant.scenarios.iter().map(|name| scenario::find(name)).collect();
    let scenarios = scenarios.map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let mut found = Found { plant: plant.name.into(), expected: plant.oracles.to_vec(), ..Found::default() };
    let over = std::sync::atomic::AtomicBool::new(false);
    let with = [plant.name.to_string()];
    let tasks = (0..u64::MAX).flat_map(|seed| scenarios.iter().map(move |s| (s, seed)));
    let go_on = || !over.load(std::sync::atomic::Ordering::Relaxed) && !deadline.passed() && !runner.stopped();
    let work = |(scenario, seed): (&Scenario, u64)| {
        runner.run(&generate(scenario, seed, &with), &RunOptions::default(), Where::Here)
    };
    spread(runner.jobs, tasks, go_on, work, |record| {
        note(&mut found, &record);
        if found.detected.is_some() {
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    found.wall_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(found)
}

fn note(found: &mut Found, record: &RunRecord) {
    found.seeds += 1;
    found.cpu_ms += record.cpu_ms;
    if let Some(trace) = record.plants.get(&found.plant) {
        found.reached += trace.reached;
        found.infected += trace.infected;
    }
    let hit = record.violations.iter().find(|v| found.expected.contains(&v.oracle));
    match hit {
        Some(violation) if found.detected.is_none() => {
            found.detected = Some(violation.oracle);
            found.signature = Some(violation.signature());
            found.handle = Some(record.handle());
        }
        None if record.verdict != Verdict::Green => {
            let what = record.signature.clone().unwrap_or_else(|| record.verdict.to_string());
            *found.others.entry(what).or_default() += 1;
        }
        _ => {}
    }
}

//! The standard campaign: `cargo sim` without a command.
//!
//! Invariant: its seeds are fixed, so that it is the same for everybody; only the time limit may cut it short.

use std::path::Path;
use std::time::Duration;

use seedmq_sim::scenario::{self, Scenario};

use super::pool::{Deadline, Runner};
use super::run::{Collector, From, Plan, Task, keepers, kept, perform};
use super::{Exit, WorkArgs, refuse, say};

/// Seeds of each scenario.
const SEEDS: u64 = 40;
/// No new run begins after this time.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs it.
pub fn standard() -> Exit {
    let loaded: Result<Vec<Scenario>, _> =
        scenario::files(&scenario::directory()).iter().map(|f| Scenario::load(f)).collect();
    let scenarios = match loaded {
        Ok(all) if !all.is_empty() => all,
        Ok(_) => return refuse(format!("scenario files are expected in {}", scenario::directory().display())),
        Err(error) => return refuse(error),
    };
    let args = WorkArgs { jobs: None, worker_timeout: Duration::from_secs(120) };
    let report = Path::new("target/sim-report");
    let plan = Plan { runner: Runner::new(&args), plants: Vec::new(), twice_every: 8, report: report.into() };
    say(&format!("{} scenarios, {SEEDS} seeds each, on {} processes\n", scenarios.len(), plan.runner.jobs));
    let bugs = match kept() {
        Ok(bugs) => bugs,
        Err(why) => return refuse(why),
    };
    let of = |number| scenarios.iter().map(move |s| Task { from: From::Seed(s), number, draw: number == 0 });
    let tasks = keepers(&bugs).chain((0..SEEDS).flat_map(of));
    let total = SEEDS * scenarios.len() as u64 + bugs.len() as u64;
    let mut collector = Collector::new(None);
    perform(&plan, Deadline::after(Some(LIMIT)), tasks, Some(total), &mut collector);
    collector.complete(&scenarios);
    collector.report(report, None)
}

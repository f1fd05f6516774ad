//! `run`: the seeds of one scenario.
//!
//! Invariant: a red seed leaves its tape, its history and a picture behind, whatever happens to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use seedmq_reports::{Campaign, RunRecord, Verdict};
use seedmq_sim::generate::generate;
use seedmq_sim::marks;
use seedmq_sim::options::RunOptions;
use seedmq_sim::scenario::{self, Scenario};
use seedmq_sim::tape::Tape;

use super::pool::{Deadline, Runner, Where, spread};
use super::{Exit, RunArgs, Seeds, refuse, say, source, twice};

/// Seeds when neither seeds nor a time are given.
const SEEDS: Seeds = Seeds { from: 0, to: 100 };
/// In so many tapes a fault must be planned before its absence is held against the scenario.
const PLANNED_ENOUGH: u64 = 5;

/// What every seed of a campaign needs.
pub struct Plan {
    /// Starts workers.
    pub runner: Runner,
    /// Plants that are on.
    pub plants: Vec<String>,
    /// Each n-th seed is run twice.
    pub twice_every: u64,
    /// Where tapes go.
    pub report: PathBuf,
}

/// One run to do.
pub struct Task<'a> {
    /// Where its tape comes from.
    pub from: From<'a>,
    /// Its number, for the double run: the seed, or the place in the list of kept tapes.
    pub number: u64,
    /// Whether to draw it even when it is green.
    pub draw: bool,
}

/// Where the tape of a task comes from.
pub enum From<'a> {
    /// A scenario, by the task's number.
    Seed(&'a Scenario),
    /// A kept one.
    Kept(&'a Kept),
}

/// A tape in `scenarios/bugs`: a failure whose cause was fixed.
pub struct Kept {
    path: PathBuf,
    tape: Tape,
}

/// The row of the kept tapes in every report.
pub const BUGS: &str = "bugs";

/// Every kept tape; an error names file, line and column.
pub fn kept() -> Result<Vec<Kept>, String> {
    source::bugs().into_iter().map(|path| source::read(&path).map(|tape| Kept { path, tape })).collect()
}

/// Tasks for kept tapes.
pub fn keepers(all: &[Kept]) -> impl Iterator<Item = Task<'_>> + Send {
    (0..).zip(all).map(|(number, kept)| Task { from: From::Kept(kept), number, draw: number == 0 })
}

/// One run done: its record, and the kinds of faults that its tape had planned.
pub struct Done {
    record: RunRecord,
    planned: BTreeSet<&'static str>,
}

impl Kept {
    /// Puts a run into the row of the kept tapes.
    fn label(&self, record: &mut RunRecord) {
        record.scenario = BUGS.to_owned();
        record.tape = Some(self.path.display().to_string());
        let about = &self.tape.header.about;
        if record.verdict != Verdict::Green && record.note.is_none() && !about.is_empty() {
            record.note = Some(format!("this was fixed before: {about}"));
        }
    }
}

impl Plan {
    /// Runs one seed, twice if it is its turn, and once more with a picture when it is red.
    pub fn one(&self, task: &Task<'_>) -> Done {
        let tape = match task.from {
            From::Seed(scenario) => generate(scenario, task.number, &self.plants),
            From::Kept(kept) => {
                let mut tape = kept.tape.clone();
                tape.header.plants.extend(self.plants.iter().cloned());
                tape
            }
        };
        let mut record =
            self.runner.run(&tape, &RunOptions { timeline: task.draw, ..RunOptions::default() }, Where::Here);
        if self.twice_every > 0
            && task.number.is_multiple_of(self.twice_every)
            && matches!(record.verdict, Verdict::Green | Verdict::Red)
        {
            twice::compare(&self.runner, &tape, &mut record);
        }
        if record.verdict != Verdict::Green && !self.runner.stopped() {
            self.keep(&tape, &mut record);
        }
        if record.verdict == Verdict::Green {
            record.history = Vec::new();
        }
        if let From::Kept(kept) = task.from {
            kept.label(&mut record);
        }
        Done { record, planned: tape.actions.iter().filter_map(|a| a.what.fault()).collect() }
    }

    /// Keeps what is needed to look at a red run later.
    fn keep(&self, tape: &Tape, record: &mut RunRecord) {
        if record.verdict == Verdict::Red && record.timeline.is_empty() {
            let drawn = self.runner.run(tape, &RunOptions { timeline: true, ..RunOptions::default() }, Where::Here);
            if drawn.hash == record.hash {
                record.timeline = drawn.timeline;
            }
        }
        match write_tape(&self.report, tape, &record.history) {
            Ok(path) => record.tape = Some(path.display().to_string()),
            Err(error) => eprintln!("sim: the tape of {} could not be written: {error}", record.handle()),
        }
    }
}

/// Writes a tape and its history beside the report.
pub fn write_tape(report: &Path, tape: &Tape, history: &[String]) -> std::io::Result<PathBuf> {
    let dir = report.join("tapes");
    fs::create_dir_all(&dir)?;
    let mut name = format!("{}-{}", tape.header.scenario.replace('/', "-"), tape.header.seed);
    tape.header.plants.iter().for_each(|plant| name += &format!("-{plant}"));
    let path = dir.join(format!("{name}.tape"));
    fs::write(&path, tape.to_text())?;
    if !history.is_empty() {
        fs::write(dir.join(format!("{name}.history")), history.join("\n") + "\n")?;
    }
    Ok(path)
}

/// Everything that a campaign collects while it runs.
pub struct Collector {
    /// The campaign so far.
    pub campaign: Campaign,
    planned: BTreeMap<(String, &'static str), u64>,
    json: Option<PathBuf>,
    begun: Instant,
    written: Instant,
}

impl Collector {
    /// Nothing yet.
    pub fn new(json: Option<PathBuf>) -> Collector {
        let now = Instant::now();
        Collector { campaign: Campaign::default(), planned: BTreeMap::new(), json, begun: now, written: now }
    }

    /// Takes one run.
    pub fn take(&mut self, done: Done) {
        for kind in done.planned {
            *self.planned.entry((done.record.scenario.clone(), kind)).or_default() += 1;
        }
        self.campaign.records.push(done.record);
        if self.written.elapsed().as_millis() > 1_000 {
            self.save();
            self.written = Instant::now();
        }
    }

    /// Writes the list of records, so that an interrupted campaign leaves it too.
    fn save(&self) {
        if let Some(Err(error)) =
            self.json.as_ref().map(|path| fs::write(path, seedmq_reports::json(&self.campaign.records)))
        {
            eprintln!("sim: the list of records could not be written: {error}");
        }
    }

    /// Completes the campaign: order, marks that were never reached, faults that never took effect.
    pub fn complete(&mut self, scenarios: &[Scenario]) {
        let campaign = &mut self.campaign;
        campaign.wall_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        campaign.scenarios = scenarios.iter().map(|s| (s.name.clone(), s.about.clone())).collect();
        let rank = |name: &str| scenarios.iter().position(|s| s.name == name);
        campaign.records.sort_by_key(|r| (rank(&r.scenario).unwrap_or(usize::MAX), r.seed));
        if campaign.records.iter().any(|r| r.scenario == BUGS) {
            campaign.scenarios.push((BUGS.into(), "Failures whose cause was fixed: every tape stays green.".into()));
        }
        let reached: BTreeSet<&String> = campaign.records.iter().flat_map(|r| r.marks.keys()).collect();
        campaign.unreached = marks::named_in_source("sometimes").into_iter().filter(|m| !reached.contains(m)).collect();
        for ((scenario, kind), planned) in &self.planned {
            let mut records = campaign.records.iter().filter(|r| r.scenario == *scenario);
            if *planned >= PLANNED_ENOUGH && scenario != BUGS && !records.any(|r| r.faults.contains_key(*kind)) {
                campaign
                    .complaints
                    .push(format!("{scenario}: \"{kind}\" was planned in {planned} runs and never took effect"));
            }
        }
    }

    /// Writes every report and prints the table and the failures.
    pub fn report(&self, report: &Path, junit: Option<&Path>) -> Exit {
        self.save();
        let page = report.join("index.html");
        let written = fs::create_dir_all(report).and_then(|()| fs::write(&page, seedmq_reports::html(&self.campaign)));
        let junit = junit.map(|path| fs::write(path, seedmq_reports::junit(&self.campaign)));
        say(&seedmq_reports::table(&self.campaign));
        match (written, junit) {
            (Err(error), _) | (_, Some(Err(error))) => eprintln!("sim: a report could not be written: {error}"),
            _ => say(&format!("report: {}\n", page.display())),
        }
        let verdicts = self.campaign.records.iter().map(|r| r.verdict);
        match Exit::gravest(verdicts) {
            Exit::Green | Exit::WorkerLost if !self.campaign.complaints.is_empty() => Exit::Broken,
            exit => exit,
        }
    }
}

/// A progress bar on a terminal; nothing elsewhere.
pub fn progress(total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {elapsed} (about {eta} left)  {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Runs tasks and collects them.
pub fn perform<'a>(
    plan: &Plan,
    deadline: Deadline,
    tasks: impl Iterator<Item = Task<'a>> + Send,
    total: Option<u64>,
    collector: &mut Collector,
) {
    let (bar, mut red) = (progress(total), 0);
    let go_on = || !plan.runner.stopped() && !deadline.passed();
    spread(
        plan.runner.jobs,
        tasks,
        go_on,
        |task| plan.one(&task),
        |done| {
            if plan.runner.stopped() {
                return;
            }
            if done.record.verdict != Verdict::Green {
                red += 1;
                bar.set_message(format!("{red} not green"));
            }
            collector.take(done);
            bar.inc(1);
        },
    );
    bar.finish_and_clear();
    if plan.runner.stopped() {
        eprintln!("sim: interrupted; the report covers what was done");
    }
}

/// The command.
pub fn run(args: &RunArgs) -> Exit {
    if let Err(why) = source::known_plants(&args.plant) {
        return refuse(why);
    }
    if args.scenario == BUGS {
        return bugs(args);
    }
    let scenario = match scenario::find(&args.scenario) {
        Ok(scenario) => scenario,
        Err(error) => return refuse(error),
    };
    let range = match (args.seeds, args.time) {
        (Some(seeds), _) => seeds,
        (None, None) => SEEDS,
        (None, Some(_)) => Seeds { from: 0, to: u64::MAX },
    };
    let from = |seed| Task { from: From::Seed(&scenario), number: seed, draw: seed == range.from };
    let total = (range.to < u64::MAX).then_some(range.to - range.from);
    campaign(args, (range.from..range.to).map(from), total, std::slice::from_ref(&scenario))
}

/// The command for the kept tapes.
fn bugs(args: &RunArgs) -> Exit {
    if args.seeds.is_some() {
        return refuse("the tapes in scenarios/bugs have no range of seeds; leave --seeds away");
    }
    match kept() {
        Ok(all) if all.is_empty() => refuse("tapes are expected in scenarios/bugs, there are none"),
        Ok(all) => campaign(args, keepers(&all), Some(all.len() as u64), &[]),
        Err(why) => refuse(why),
    }
}

fn campaign<'a>(
    args: &RunArgs,
    tasks: impl Iterator<Item = Task<'a>> + Send,
    total: Option<u64>,
    scenarios: &[Scenario],
) -> Exit {
    let plan = Plan {
        runner: Runner::new(&args.work),
        plants: args.plant.clone(),
        twice_every: args.twice_every,
        report: args.report.clone(),
    };
    let mut collector = Collector::new(args.json.clone());
    perform(&plan, Deadline::after(args.time), tasks, total, &mut collector);
    collector.complete(scenarios);
    collector.report(&args.report, args.junit.as_deref())
}

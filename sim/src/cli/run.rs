//! `run`: seeds of scenarios, and kept tapes.
//!
//! Invariant: a red seed leaves its tape, its history and a picture behind, whatever happens to the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::generate::generate;
use seedmq_sim::options::RunOptions;
use seedmq_sim::scenario::{self, Scenario};
use seedmq_sim::tape::Tape;

use super::collect::{Collector, Outputs};
use super::pool::{Deadline, Runner, Where, spread};
use super::shard::{Header, Shard};
use super::{Exit, RunArgs, Seeds, refuse, say, source, twice};

/// Seeds when neither seeds nor a time are given.
const SEEDS: Seeds = Seeds { from: 0, to: 100 };
/// How often a campaign says how far it is where no progress bar can be drawn.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long to go on until every mark was reached.
const MARKS_TIME: Duration = Duration::from_secs(600);

/// What every seed of a campaign needs.
struct Plan {
    /// Starts workers.
    runner: Runner,
    /// Plants that are on.
    plants: Vec<String>,
    /// Each n-th seed is run twice.
    twice_every: u64,
    /// Where tapes go.
    report: PathBuf,
}

/// One run to do.
struct Task<'a> {
    /// Where its tape comes from.
    from: From<'a>,
    /// Its number, for the double run: the seed, or the place in the list of kept tapes.
    number: u64,
    /// Whether to draw it even when it is green.
    draw: bool,
}

/// Where the tape of a task comes from.
enum From<'a> {
    /// A scenario, by the task's number.
    Seed(&'a Scenario),
    /// A kept one.
    Kept(&'a Kept),
}

/// A tape in `scenarios/bugs`: a failure whose cause was fixed.
struct Kept {
    path: PathBuf,
    tape: Tape,
}

/// The row of the kept tapes in every report, and their name on the command line.
pub const BUGS: &str = "bugs";
/// All scenarios.
const ALL: &str = "all";

/// Every kept tape; an error names file, line and column.
fn kept() -> Result<Vec<Kept>, String> {
    source::bugs().into_iter().map(|path| source::read(&path).map(|tape| Kept { path, tape })).collect()
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
    fn one(&self, task: &Task<'_>) -> (RunRecord, BTreeSet<&'static str>) {
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
            (record.history, record.ends) = Default::default();
        }
        if let From::Kept(kept) = task.from {
            kept.label(&mut record);
        }
        (record, tape.actions.iter().flat_map(|a| [a.what.fault(), a.when.event()]).flatten().collect())
    }

    /// Keeps what is needed to look at a red run later.
    fn keep(&self, tape: &Tape, record: &mut RunRecord) {
        if record.verdict == Verdict::Red && record.timeline.is_empty() {
            // By a process that did no other run, so that a failure cannot be what an earlier run left behind.
            let drawn =
                self.runner.run(tape, &RunOptions { timeline: true, ..RunOptions::default() }, Where::Elsewhere);
            let lost = matches!(drawn.verdict, Verdict::Crashed | Verdict::Timeout) || self.runner.stopped();
            if !lost && twice::judge(&self.runner, tape, record, &drawn) {
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

/// A progress bar on a terminal; nothing elsewhere.
pub fn progress(total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {elapsed} (about {eta} left)  {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What was asked for.
struct Chosen {
    scenarios: Vec<Scenario>,
    bugs: Vec<Kept>,
}

/// Finds scenarios and kept tapes by what a person wrote.
fn chosen(names: &[String]) -> Result<Chosen, String> {
    let mut chosen = Chosen { scenarios: Vec::new(), bugs: Vec::new() };
    for name in names {
        let found = match name.as_str() {
            BUGS => {
                chosen.bugs = kept()?;
                continue;
            }
            ALL => scenario::files(&scenario::directory()).iter().map(|f| Scenario::load(f)).collect(),
            name => scenario::find(name).map(|one| vec![one]),
        };
        for one in found.map_err(|e| e.to_string())? {
            if chosen.scenarios.iter().all(|other| other.name != one.name) {
                chosen.scenarios.push(one);
            }
        }
    }
    if chosen.scenarios.is_empty() && chosen.bugs.is_empty() {
        return Err(format!("scenarios or tapes are expected in {}, there are none", scenario::directory().display()));
    }
    Ok(chosen)
}

/// Every run of a campaign: kept tapes first, then seed by seed all scenarios.
fn tasks(chosen: &Chosen, seeds: Seeds, shard: Shard) -> impl Iterator<Item = Task<'_>> + Send {
    let kept = (0..).zip(&chosen.bugs).map(|(number, kept)| Task { from: From::Kept(kept), number, draw: number == 0 });
    let kept = kept.filter(move |task| shard.has(0, task.number));
    let of = move |seed: u64| {
        let mine = (0..).zip(&chosen.scenarios).filter(move |(row, _)| shard.has(*row, seed));
        let draw = seed - seeds.from < shard.of;
        mine.map(move |(_, scenario)| Task { from: From::Seed(scenario), number: seed, draw })
    };
    kept.chain((seeds.from..seeds.to).flat_map(of))
}

/// The command.
pub fn run(args: &RunArgs) -> Exit {
    let chosen = match source::known_plants(&args.plant).and_then(|()| chosen(&args.scenarios)) {
        Ok(chosen) => chosen,
        Err(why) => return refuse(why),
    };
    if chosen.scenarios.is_empty() && args.seeds.is_some() {
        return refuse("the tapes in scenarios/bugs have no range of seeds; leave --seeds away");
    }
    let seeds = match args.seeds {
        Some(seeds) => seeds,
        None if args.time.is_none() && !args.until_marks => SEEDS,
        None => Seeds { from: 0, to: u64::MAX },
    };
    let shard = args.shard.unwrap_or(Shard::WHOLE);
    let endless = seeds.to == u64::MAX && !chosen.scenarios.is_empty();
    let total = (!endless).then(|| tasks(&chosen, seeds, shard).count() as u64);
    let about = chosen.scenarios.iter().map(|s| (s.name.clone(), s.about.clone())).collect();
    let mut header = Header::new(shard, about);
    (header.seeds, header.planned) = ((seeds.from, (!endless).then_some(seeds.to)), total);
    header.plants.clone_from(&args.plant);
    let outputs = Outputs { report: &args.report, json: args.json.as_deref(), junit: args.junit.as_deref() };
    let mut collector = match Collector::begin(&header, &outputs) {
        Ok(collector) => collector,
        Err(why) => return refuse(why),
    };
    let (runner, time) = (Runner::new(&args.work), args.time.or(args.until_marks.then_some(MARKS_TIME)));
    if total.is_some_and(|n| n > 1) {
        let (rows, processes) = (chosen.scenarios.len(), runner.jobs);
        say(&format!(
            "{} runs of {rows} scenarios and {} kept tapes on {processes} processes\n",
            total.unwrap_or(0),
            chosen.bugs.len()
        ));
    }
    let (plants, report) = (args.plant.clone(), args.report.clone());
    let plan = Plan { runner, plants, twice_every: args.twice_every, report };
    let until = Until { time: Deadline::after(time), marks: args.until_marks, red: args.until_red };
    perform(&plan, until, tasks(&chosen, seeds, shard), total, &mut collector);
    collector.complete(args.until_marks);
    collector.report(&outputs)
}

/// What ends a campaign before its last seed.
struct Until {
    /// No new run after this.
    time: Deadline,
    /// Every mark was reached.
    marks: bool,
    /// A run is not green.
    red: bool,
}

/// Runs tasks and collects them, until there is a reason to end.
fn perform<'a>(
    plan: &Plan,
    until: Until,
    tasks: impl Iterator<Item = Task<'a>> + Send,
    total: Option<u64>,
    collector: &mut Collector,
) {
    let (bar, mut red, enough) = (progress(total), 0, AtomicBool::new(false));
    let (of, mut told) = (total.map_or(String::new(), |n| format!(" of {n}")), Instant::now());
    let go_on = || !plan.runner.stopped() && !until.time.passed() && !enough.load(Ordering::Relaxed);
    spread(
        plan.runner.jobs,
        tasks,
        go_on,
        |task| plan.one(&task),
        |(record, planned)| {
            if plan.runner.stopped() {
                return;
            }
            if record.verdict != Verdict::Green {
                red += 1;
                bar.set_message(format!("{red} not green"));
                enough.fetch_or(until.red, Ordering::Relaxed);
            }
            collector.take(record, planned);
            bar.inc(1);
            if until.marks {
                let missing = collector.unreached().len();
                bar.set_message(format!("{red} not green, {missing} marks to reach"));
                enough.fetch_or(missing == 0, Ordering::Relaxed);
            }
            if bar.is_hidden() && told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                eprintln!("sim: {}{of} runs in {} s, {red} not green", bar.position(), bar.elapsed().as_secs());
            }
        },
    );
    let done = bar.position();
    bar.finish_and_clear();
    if plan.runner.stopped() {
        eprintln!("sim: interrupted after {done}{of} runs; the report covers these");
    } else if until.red && red > 0 {
        eprintln!(
            "sim: the first run that is not green ended the campaign after {done}{of} runs; the report covers these"
        );
    } else if total.is_some_and(|total| done < total) {
        eprintln!("sim: the time was up after {done}{of} runs; the report covers these");
    }
}

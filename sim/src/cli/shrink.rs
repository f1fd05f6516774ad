//! `shrink`: a failing tape becomes a small one that fails in the same way.
//!
//! Invariant: the file always holds the smallest tape that was seen to fail in the same way, also when the command is
//! interrupted or its time is over.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use seedmq_reports::{RunRecord, ShrinkPhase, Shrunk, Verdict, shrunk_table};
use seedmq_sim::explain::actions_in_words;
use seedmq_sim::options::RunOptions;
use seedmq_sim::shrink::{Judge, Phase, Watch, shrink as shrink_tape};
use seedmq_sim::tape::Tape;

use super::pool::{Deadline, Runner, Where, spread};
use super::{Exit, WorkArgs, duration, refuse, say, source};

/// Under these numbers of further draws a candidate must fail too, if the tape did so at the beginning of the phase.
const GUARDS: [u32; 3] = [1, 2, 11];
/// Under so many others the result is tried at the end.
const OTHERS: std::ops::RangeInclusive<u32> = 3..=10;
/// A candidate may take so many times as long as the tape, and at least [`LEAST`].
const SLOWER: u32 = 10;
const LEAST: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Args)]
pub struct ShrinkArgs {
    /// SCENARIO:SEED, or the path of a tape.
    what: String,
    /// Switch a known bug on.
    #[arg(long)]
    plant: Vec<String>,
    /// Shrink for this signature instead of the first one; then any violation with it counts.
    #[arg(long)]
    signature: Option<String>,
    /// Where the shrunk tape goes; beside the report when absent.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write what it came to here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Stop after this time, with the smallest tape so far.
    #[arg(long, value_parser = duration, default_value = "5m")]
    time: Duration,
    #[command(flatten)]
    work: WorkArgs,
}

/// The command.
pub fn shrink(args: &ShrinkArgs) -> Exit {
    let tape = match source::tape(&args.what, &args.plant) {
        Ok(tape) => tape,
        Err(why) => return refuse(why),
    };
    let begun = Instant::now();
    let runner = Runner::new(&args.work);
    let record = runner.run(&tape, &RunOptions { brief: true, ..RunOptions::default() }, Where::Here);
    let Some(signature) = args.signature.clone().or_else(|| signature(&record)) else {
        say(&format!("{} does not fail: there is nothing to shrink\n", args.what));
        return Exit::Broken;
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new("target/sim-report/tapes").join(format!("{}.min.tape", source::file_name(&tape))));
    let mut trials = Trials::new(runner, &signature, args, begun.elapsed());
    if !trials.holds(&record) {
        say(&format!("{} does not break {signature}: there is nothing to shrink\n", args.what));
        return Exit::Broken;
    }
    say(&format!("shrinking {} for {signature}\n", source::handle(&args.what, &args.plant)));
    let mut follow = Follow::new(&out, &trials);
    follow.save(&tape);
    let small = shrink_tape(&tape, &record.acted, &mut trials, &mut follow);
    follow.bar.finish_and_clear();
    if let Some(error) = &follow.failed {
        return refuse(format!("{}: {error}", out.display()));
    }
    let phases = std::mem::take(&mut follow.phases);
    let shrunk = conclude(&mut trials, (&tape, &small), (&out, begun), phases);
    follow.save(&labelled(&small, shrunk.signature_after.clone()));
    tell(args, &shrunk, &small)
}

/// The tape with its signature in its header, for whoever keeps it.
fn labelled(tape: &Tape, breaks: Option<String>) -> Tape {
    let mut tape = tape.clone();
    tape.header.breaks = breaks;
    tape
}

/// What a run broke, as a signature. A worker that died or hung has none of its own.
fn signature(record: &RunRecord) -> Option<String> {
    match record.verdict {
        Verdict::Crashed | Verdict::Timeout => Some(format!("worker/{}", record.verdict)),
        _ => record.signature.clone(),
    }
}

/// Runs the result once more and under other draws.
fn conclude(
    trials: &mut Trials,
    (tape, small): (&Tape, &Tape),
    (out, begun): (&Path, Instant),
    phases: Vec<ShrinkPhase>,
) -> Shrunk {
    let complete = !trials.over();
    trials.deadline = Deadline::after(None);
    let last = trials.runner.run(small, &RunOptions { brief: true, ..RunOptions::default() }, Where::Here);
    let same = Mutex::new(0);
    let over = || !trials.runner.stopped();
    spread(
        trials.runner.jobs,
        OTHERS,
        over,
        |draws| trials.run(small, draws),
        |held| *same.lock().expect("no holder panics") += u32::from(held),
    );
    let held = if trials.holds(&last) { Some(trials.signature.clone()) } else { signature(&last) };
    let (header, nodes) = (&tape.header, |tape: &Tape| tape.header.config.nodes().count());
    let same = *same.lock().expect("no holder panics");
    Shrunk {
        scenario: header.scenario.clone(),
        seed: header.seed,
        plants: header.plants.clone(),
        tape: out.display().to_string(),
        signature_before: trials.signature.clone(),
        signature_after: held,
        faults_before: tape.faults(),
        faults_after: small.faults(),
        nodes_before: nodes(tape),
        nodes_after: nodes(small),
        operations_before: tape.operations(),
        operations_after: small.operations(),
        bytes_before: tape.to_text().len(),
        bytes_after: small.to_text().len(),
        runs: trials.tally.runs(),
        cpu_s: trials.tally.cpu_ms() as f64 / 1000.0,
        wall_s: begun.elapsed().as_secs_f64(),
        other_draws: OTHERS.count() as u32,
        other_draws_same: same,
        complete,
        phases,
    }
}

fn tell(args: &ShrinkArgs, shrunk: &Shrunk, small: &Tape) -> Exit {
    say(&shrunk_table(shrunk));
    say("what is left:\n");
    actions_in_words(small).iter().for_each(|line| say(&format!("  {line}\n")));
    let tape = &shrunk.tape;
    say(&format!("tape:    {tape}\nreplay:  cargo sim replay {tape}\nexplain: cargo sim explain {tape}\n"));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(shrunk).expect("a result has only string keys");
        if let Err(error) = fs::write(path, text + "\n") {
            return refuse(format!("{}: {error}", path.display()));
        }
    }
    if shrunk.signature_after.as_ref() == Some(&shrunk.signature_before) { Exit::Green } else { Exit::Broken }
}

/// What was run.
#[derive(Debug, Default)]
struct Tally {
    runs: AtomicUsize,
    cpu_ms: AtomicUsize,
}

impl Tally {
    fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed) as u64
    }
    fn cpu_ms(&self) -> u64 {
        self.cpu_ms.load(Ordering::Relaxed) as u64
    }
}

/// The judge: runs candidates in worker processes.
struct Trials {
    runner: Runner,
    signature: String,
    /// Whether the signature may stand anywhere among the violations.
    anywhere: bool,
    /// See [`GUARDS`].
    guards: Vec<u32>,
    deadline: Deadline,
    /// What was found out about each candidate, by the hash of its text and the number of further draws.
    known: Mutex<HashMap<([u8; 32], u32), bool>>,
    tally: std::sync::Arc<Tally>,
}

impl Trials {
    fn new(mut runner: Runner, signature: &str, args: &ShrinkArgs, took: Duration) -> Trials {
        runner.timeout = runner.timeout.min((took * SLOWER).max(LEAST));
        Trials {
            runner,
            signature: signature.to_owned(),
            anywhere: args.signature.is_some(),
            guards: Vec::new(),
            deadline: Deadline::after(Some(args.time)),
            known: Mutex::default(),
            tally: std::sync::Arc::default(),
        }
    }
    fn over(&self) -> bool {
        self.runner.stopped() || self.deadline.passed()
    }
    /// Whether a run failed in the way that is looked for.
    fn holds(&self, record: &RunRecord) -> bool {
        let wanted = Some(&self.signature);
        signature(record).as_ref() == wanted
            || (self.anywhere && record.violations.iter().any(|v| Some(&v.signature()) == wanted))
    }
    fn run(&self, tape: &Tape, extra_draws: u32) -> bool {
        let record =
            self.runner.run(tape, &RunOptions { extra_draws, brief: true, ..RunOptions::default() }, Where::Here);
        self.tally.runs.fetch_add(1, Ordering::Relaxed);
        self.tally.cpu_ms.fetch_add(usize::try_from(record.cpu_ms).unwrap_or(0), Ordering::Relaxed);
        self.holds(&record) && !self.runner.stopped()
    }
    /// The same, unless it is known.
    fn fails_under(&self, tape: &Tape, draws: u32) -> bool {
        let key = (*blake3::hash(tape.to_text().as_bytes()).as_bytes(), draws);
        let known = self.known.lock().expect("no holder panics").get(&key).copied();
        known.unwrap_or_else(|| {
            let fails = self.run(tape, draws);
            if !self.runner.stopped() {
                self.known.lock().expect("no holder panics").insert(key, fails);
            }
            fails
        })
    }
    fn fails(&self, tape: &Tape) -> bool {
        self.fails_under(tape, 0) && self.guards.iter().all(|draws| self.fails_under(tape, *draws))
    }
}

impl Judge<Tape> for Trials {
    fn begins(&mut self, now: &Tape) {
        // What has got as far as to fail under other draws shall go on to do so.
        self.guards = GUARDS.into_iter().filter(|draws| self.fails_under(now, *draws)).collect();
    }
    fn first(&mut self, n: usize, candidate: &(dyn Fn(usize) -> Tape + Sync)) -> Option<usize> {
        // Candidates are taken in order, so once one fails, all before it were taken too, and none behind it has to be.
        let first = AtomicUsize::new(usize::MAX);
        let go_on = || !self.over() && first.load(Ordering::Relaxed) == usize::MAX;
        let work = |at: usize| {
            if self.fails(&candidate(at)) {
                first.fetch_min(at, Ordering::Relaxed);
            }
        };
        spread(self.runner.jobs, 0..n, go_on, work, |()| ());
        Some(first.into_inner()).filter(|at| *at < n)
    }
}

/// Shows progress, keeps the smallest tape, and notes what each phase did.
struct Follow {
    bar: ProgressBar,
    out: PathBuf,
    failed: Option<io::Error>,
    phases: Vec<ShrinkPhase>,
    tally: std::sync::Arc<Tally>,
    interrupted: std::sync::Arc<std::sync::atomic::AtomicBool>,
    deadline: Deadline,
    tried: u64,
    since: Instant,
}

impl Follow {
    fn new(out: &Path, trials: &Trials) -> Follow {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Follow {
            bar,
            out: out.to_owned(),
            failed: None,
            phases: Vec::new(),
            tally: trials.tally.clone(),
            interrupted: trials.runner.interrupted.clone(),
            deadline: trials.deadline,
            tried: 0,
            since: Instant::now(),
        }
    }
    /// Replaces the file as a whole, so that no interrupt leaves half of it.
    fn save(&mut self, tape: &Tape) {
        let part = self.out.with_extension("tape.part");
        let dir = self.out.parent().filter(|dir| !dir.as_os_str().is_empty());
        let written = dir
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&part, tape.to_text()))
            .and_then(|()| fs::rename(&part, &self.out));
        self.failed = written.err().or(self.failed.take());
    }
    fn show(&self, phase: Phase, tape: &Tape) {
        let (faults, nodes, operations) = (tape.faults(), tape.header.config.nodes().count(), tape.operations());
        let runs = self.tally.runs();
        self.bar.set_message(format!(
            "{}: {faults} faults, {nodes} nodes, {operations} operations; {runs} runs",
            phase.name()
        ));
    }
}

impl Watch for Follow {
    fn begins(&mut self, phase: Phase, tape: &Tape) {
        let same = |p: &&ShrinkPhase| p.phase == phase.name();
        let round = self.phases.iter().filter(same).count() as u32 + 1;
        self.phases.push(ShrinkPhase { phase: phase.name().into(), round, ..ShrinkPhase::default() });
        (self.tried, self.since) = (self.tally.runs(), Instant::now());
        self.show(phase, tape);
    }
    fn kept(&mut self, phase: Phase, tape: &Tape) {
        if let Some(last) = self.phases.last_mut() {
            last.kept += 1;
        }
        self.save(tape);
        self.show(phase, tape);
    }
    fn ends(&mut self, _: Phase, tape: &Tape) {
        let (tried, wall_s) = (self.tally.runs() - self.tried, self.since.elapsed().as_secs_f64());
        let Some(last) = self.phases.last_mut() else { return };
        (last.tried, last.wall_s) = (tried, wall_s);
        (last.faults, last.operations) = (tape.faults(), tape.operations());
        (last.nodes, last.bytes) = (tape.header.config.nodes().count(), tape.to_text().len());
    }
    fn enough(&self) -> bool {
        self.failed.is_some() || self.interrupted.load(Ordering::Relaxed) || self.deadline.passed()
    }
}

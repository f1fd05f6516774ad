//! `replay`: one seed or one tape again, with everything written down.
//!
//! Invariant: a replay runs the same tape under the same conditions as the first time; looking closer changes nothing.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::options::RunOptions;
use seedmq_sim::tape::Tape;

use super::collect::{Collector, Outputs};
use super::log::{self, Scratch};
use super::pool::{Runner, Where};
use super::run::write_tape;
use super::shard::Done;
use super::step::step;
use super::{Exit, WorkArgs, duration, refuse, say, source};

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// SCENARIO:SEED, or the path of a tape.
    what: String,
    /// Stop at this virtual time (ms, or with a unit).
    #[arg(long)]
    until: Option<String>,
    /// Stop after this event; events are numbered from 1, as `--node`, `--all` and `diff` show them.
    #[arg(long)]
    until_event: Option<u64>,
    /// Print the events of this node.
    #[arg(long)]
    node: Option<String>,
    /// Print the events of every node.
    #[arg(long)]
    all: bool,
    /// Print the inside of this node at the end: phase, store, queues, held pulls, offsets, routes.
    #[arg(long)]
    state: Option<String>,
    /// Go through the events one by one, on a terminal.
    #[arg(long)]
    step: bool,
    /// Switch a known bug on.
    #[arg(long)]
    plant: Vec<String>,
    /// Write the run record here, history included.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the client history here, for `check`.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Write the tape here.
    #[arg(long)]
    tape: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "target/sim-report")]
    report: PathBuf,
    /// Every process draws so many random numbers more: stands for a change of the code.
    #[arg(long, default_value_t = 0, hide = true)]
    extra_draws: u32,
    #[command(flatten)]
    work: WorkArgs,
}

/// The command.
pub fn replay(args: &ReplayArgs) -> Exit {
    let tape = match source::tape(&args.what, &args.plant) {
        Ok(tape) => tape,
        Err(why) => return refuse(why),
    };
    let mut options = match options(args, &tape) {
        Ok(options) => options,
        Err(why) => return refuse(why),
    };
    let scratch = match Scratch::new("replay") {
        Ok(scratch) => scratch,
        Err(error) => return refuse(format!("a log cannot be kept: {error}")),
    };
    let log = (args.all || args.step || args.node.is_some()).then(|| scratch.file("log"));
    options.log.clone_from(&log);
    let runner = Runner::new(&args.work);
    let mut record = runner.run(&tape, &options, Where::Here);
    if let Some(log) = &log
        && let Err(error) = show(args, log, &runner, &tape)
    {
        eprintln!("sim: the events cannot be shown: {error}");
    }
    if let Some(node) = &args.state {
        say(&inside(node, &record.state));
    }
    keep(args, &tape, &mut record);
    let mut collector = Collector::new();
    collector.add(Done { record, planned: Vec::new(), at_ms: 0 });
    collector.report(&Outputs { report: &args.report, json: None, junit: None })
}

/// What was asked for, as far as it can be done.
fn options(args: &ReplayArgs, tape: &Tape) -> Result<RunOptions, String> {
    for node in [&args.node, &args.state].into_iter().flatten() {
        if !tape.header.config.has(node) && node != "admin" {
            let names: Vec<&str> = tape.header.config.nodes().collect();
            return Err(format!("a node of the tape is expected ({}), found \"{node}\"", names.join(", ")));
        }
    }
    if args.step && !std::io::stdin().is_terminal() {
        return Err("--step needs a terminal to ask for the next event; --node and --all print all of them".into());
    }
    let until = args.until.as_deref().map(|text| text.parse().map(Duration::from_millis).or_else(|_| duration(text)));
    let until_ms = until.transpose()?.map(|until| u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
    let (state, until_event, extra_draws) = (args.state.clone(), args.until_event, args.extra_draws);
    Ok(RunOptions { timeline: true, until_ms, until_event, state, extra_draws, ..RunOptions::default() })
}

/// The inside of a node as it was written down.
fn inside(node: &str, lines: &[String]) -> String {
    let mut text = format!("── {node}\n");
    if lines.is_empty() {
        text += "   nothing: it did not run until then\n";
    }
    lines.iter().for_each(|line| text += &format!("   {line}\n"));
    text + "\n"
}

/// Shows the events that were asked for: all at once or one by one.
fn show(args: &ReplayArgs, log: &Path, runner: &Runner, tape: &Tape) -> std::io::Result<()> {
    let last = args.until_event.unwrap_or(u64::MAX);
    let wanted = |event: &log::Event| args.node.as_ref().is_none_or(|node| node == event.node());
    let events = log::events(log)?.take_while(|event| event.number <= last).filter(wanted);
    if !args.step {
        events.for_each(|event| say(&format!("{}\n", event.text())));
        return Ok(());
    }
    let state = |event: u64, node: &str| {
        if !tape.header.config.has(node) {
            return vec![format!(
                "a node is expected, one of {}",
                tape.header.config.nodes().collect::<Vec<_>>().join(", ")
            )];
        }
        let (state, until_event) = (Some(node.to_owned()), Some(event.max(1)));
        let options = RunOptions { state, until_event, extra_draws: args.extra_draws, ..RunOptions::default() };
        runner.run(tape, &options, Where::Here).state
    };
    step(events, std::io::stdin().lock(), std::io::stdout(), state)
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

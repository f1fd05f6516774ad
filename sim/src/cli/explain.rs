//! `explain`: a run in words.
//!
//! Invariant: it tells a failure and is none: exit 0 also when the run is red, 2 when there is nothing to run.

use clap::Args;
use seedmq_reports::Verdict;
use seedmq_sim::explain::story;
use seedmq_sim::options::RunOptions;

use super::pool::{Runner, Where};
use super::{Exit, WorkArgs, refuse, say, source};

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// SCENARIO:SEED, or the path of a tape.
    what: String,
    /// Switch a known bug on.
    #[arg(long)]
    plant: Vec<String>,
    #[command(flatten)]
    work: WorkArgs,
}

/// The command.
pub fn explain(args: &ExplainArgs) -> Exit {
    let tape = match source::tape(&args.what, &args.plant) {
        Ok(tape) => tape,
        Err(why) => return refuse(why),
    };
    let record =
        Runner::new(&args.work).run(&tape, &RunOptions { timeline: true, ..RunOptions::default() }, Where::Here);
    say(&story(&tape, &record, &source::handle(&args.what, &args.plant)));
    if matches!(record.verdict, Verdict::Crashed | Verdict::Timeout) { Exit::WorkerLost } else { Exit::Green }
}

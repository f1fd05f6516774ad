//! `diff`: two runs, event by event, up to the first one that differs.
//!
//! Invariant: exit 0 only when both runs recorded the same events and have the same hash.

use std::path::PathBuf;

use clap::Args;
use seedmq_reports::RunRecord;
use seedmq_sim::explain::actions_in_words;
use seedmq_sim::options::RunOptions;
use seedmq_sim::tape::{Action, Tape};

use super::log::{self, Scratch};
use super::pool::{Runner, Where, spread};
use super::{Exit, WorkArgs, refuse, say, source};

/// Actions that only one tape has, shown of each side.
const ACTIONS: usize = 5;

#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// SCENARIO:SEED, or the path of a tape.
    a: String,
    /// The same. When absent, A is run twice: the second time in other surroundings and under another executor seed.
    b: Option<String>,
    /// Switch a known bug on, in both.
    #[arg(long)]
    plant: Vec<String>,
    /// Switch a known bug on, in B only.
    #[arg(long)]
    plant_b: Vec<String>,
    /// Seed of the executor for B, which must not matter.
    #[arg(long)]
    executor: Option<u64>,
    /// Events shown before and after the difference.
    #[arg(long, default_value_t = 5)]
    context: usize,
    #[command(flatten)]
    work: WorkArgs,
}

/// The command.
pub fn diff(args: &DiffArgs) -> Exit {
    let b = args.b.as_ref().unwrap_or(&args.a);
    let plants = [args.plant.clone(), [args.plant.clone(), args.plant_b.clone()].concat()];
    let tapes = match (source::tape(&args.a, &plants[0]), source::tape(b, &plants[1])) {
        (Ok(a), Ok(b)) => [a, b],
        (Err(why), _) | (_, Err(why)) => return refuse(why),
    };
    let scratch = match Scratch::new("diff") {
        Ok(scratch) => scratch,
        Err(error) => return refuse(format!("logs cannot be kept: {error}")),
    };
    let logs = [scratch.file("a"), scratch.file("b")];
    let records = runs(args, &tapes, &logs);
    let found = match log::difference(&logs[0], &logs[1], args.context) {
        Ok(found) => found,
        Err(error) => return refuse(format!("a run left no log: {error}; {}", notes(&records))),
    };
    let [x, y] = &records;
    let names = [format!("A {}", args.a), format!("B {b}")];
    for (name, record) in names.iter().zip(&records) {
        let end = record.signature.as_deref().unwrap_or("-");
        say(&format!("{name}: {} events, hash {}, {} {end}\n", record.events, record.hash, record.verdict));
    }
    if let Some(found) = found {
        say(&tapes_differ(&tapes));
        say(&found.text([&names[0], &names[1]]));
        return Exit::Broken;
    }
    if x.hash != y.hash {
        say(
            "the logs are equal, but the hashes differ: the difference is in a part that the text of an event does not show\n",
        );
        return Exit::Broken;
    }
    say("equal\n");
    Exit::Green
}

fn notes(records: &[RunRecord; 2]) -> String {
    records.iter().filter_map(|record| record.note.clone()).collect::<Vec<_>>().join("; ")
}

/// Runs both, side by side.
fn runs(args: &DiffArgs, tapes: &[Tape; 2], logs: &[PathBuf; 2]) -> [RunRecord; 2] {
    let runner = Runner::new(&args.work);
    let again = args.b.is_none();
    let executor = args.executor.or_else(|| again.then(|| tapes[1].header.seed ^ 0xd1ff));
    let mut records = [RunRecord::default(), RunRecord::default()];
    let one = |n: usize| {
        let executor = executor.filter(|_| n == 1);
        let options = RunOptions { log: Some(logs[n].clone()), brief: true, executor, ..RunOptions::default() };
        let place = if n == 1 && again { Where::Elsewhere } else { Where::Here };
        (n, runner.run(&tapes[n], &options, place))
    };
    spread(runner.jobs.min(2), 0..2, || !runner.stopped(), one, |(n, record)| records[n] = record);
    records
}

/// What the tapes themselves say differently.
fn tapes_differ(tapes: &[Tape; 2]) -> String {
    let mut text = String::new();
    let [a, b] = tapes;
    if a.header != b.header {
        text += "the headers of the tapes differ\n";
    }
    for (name, mine, other) in [("A", a, b), ("B", b, a)] {
        let only: Vec<Action> = mine.actions.iter().filter(|action| !other.actions.contains(action)).cloned().collect();
        if only.is_empty() {
            continue;
        }
        text += &format!("only in the tape of {name}: {} actions\n", only.len());
        let words = actions_in_words(&Tape { header: mine.header.clone(), actions: only });
        words.iter().take(ACTIONS).for_each(|line| text += &format!("    {line}\n"));
    }
    text
}

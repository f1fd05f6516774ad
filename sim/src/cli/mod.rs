//! The command line.
//!
//! Invariant: exit codes are those of [`Exit`], the gravest one wins, and every failure prints the one command that replays it.

mod campaign;
mod check;
mod collect;
mod diff;
mod explain;
mod hunt;
mod list;
mod log;
mod merge;
mod pool;
mod replay;
mod run;
mod shard;
mod shrink;
mod source;
mod step;
mod twice;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use seedmq_reports::Verdict;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Green,
    /// An invariant broke, or what was looked for was not found.
    Broken,
    /// The command line or a file is wrong.
    Usage,
    /// Two runs of one tape differed.
    Nondeterministic,
    /// A worker died or hung.
    WorkerLost,
}

impl Exit {
    /// The exit status.
    pub fn code(self) -> u8 {
        match self {
            Exit::Green => 0,
            Exit::Broken => 1,
            Exit::Usage => 2,
            Exit::Nondeterministic => 3,
            Exit::WorkerLost => 4,
        }
    }

    /// Of all verdicts the gravest: non-determinism, then a broken invariant, then a lost worker.
    pub fn gravest(verdicts: impl IntoIterator<Item = Verdict>) -> Exit {
        match verdicts.into_iter().max() {
            None | Some(Verdict::Green) => Exit::Green,
            Some(Verdict::Red) => Exit::Broken,
            Some(Verdict::Nondeterministic) => Exit::Nondeterministic,
            Some(Verdict::Crashed | Verdict::Timeout) => Exit::WorkerLost,
        }
    }
}

/// Runs seeded failure scenarios of SeedMQ in a simulated world.
///
/// Without a command: the standard campaign, which is `run all bugs --seeds 0..40 --time 4m`, and a report in target/sim-report/index.html.
/// Exit status: 0 green, 1 an invariant broke, 2 wrong usage or a bad file, 3 non-determinism, 4 a worker died or hung.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs seeds of scenarios, and the tapes in scenarios/bugs.
    Run(RunArgs),
    /// Puts the shards of one campaign together: one table, one report, one verdict.
    ///
    /// Exit status as of `run`; 1 too when a shard is missing or was interrupted, 2 when the shards are not of one campaign.
    Merge(merge::MergeArgs),
    /// Runs one seed or tape again and shows what happened.
    Replay(replay::ReplayArgs),
    /// Makes a failing tape small: fewer faults, nodes, operations, simpler values, and the same signature.
    ///
    /// Exit status: 0 the signature held, 1 the tape does not fail, 2 a bad tape or wrong usage. An interrupted shrink keeps the
    /// smallest tape so far.
    Shrink(shrink::ShrinkArgs),
    /// Runs two tapes, or one twice, and shows the first event that differs.
    ///
    /// Exit status: 0 equal, 1 different, 2 a bad tape or wrong usage.
    Diff(diff::DiffArgs),
    /// Tells a run in words: the faults that took effect, what proves the violation, a timeline.
    Explain(explain::ExplainArgs),
    /// Switches a known bug on and looks for a seed whose oracle finds it.
    ///
    /// Exit status: 0 every bug was found by an oracle that is meant for it and no control was flagged, 1 otherwise, 2 wrong usage.
    Hunt(HuntArgs),
    /// Lists scenarios, plants and marks.
    List,
    /// Judges a history file: what clients saw, from the simulator or from a real cluster.
    Check(CheckArgs),
    /// Runs one tape from standard input (used by the other commands).
    #[command(hide = true)]
    Worker,
}

/// Half-open range of seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seeds {
    from: u64,
    to: u64,
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let expected = || format!("expected A..B (half-open) or one number, found \"{text}\"");
    let number = |t: &str| t.parse::<u64>().map_err(|_| expected());
    let seeds = match text.split_once("..") {
        Some((from, to)) => Seeds { from: number(from)?, to: number(to)? },
        None => Seeds { from: number(text)?, to: number(text)?.checked_add(1).ok_or_else(expected)? },
    };
    if seeds.from < seeds.to { Ok(seeds) } else { Err(expected()) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let number: f64 =
        number.parse().map_err(|_| format!("expected a duration like 60s, 5m or 500ms, found \"{text}\""))?;
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("expected a duration like 60s, 5m or 500ms, found \"{text}\"")),
    };
    Ok(Duration::from_secs_f64(number * scale))
}

/// How runs are spread over processes.
#[derive(Clone, Debug, Args)]
struct WorkArgs {
    /// Worker processes at a time; as many as there are cores when absent.
    #[arg(long)]
    jobs: Option<usize>,
    /// A worker that takes longer than this is killed (its verdict: timeout).
    #[arg(long, value_parser = duration, default_value = "120s")]
    worker_timeout: Duration,
}

#[derive(Clone, Debug, Args)]
struct RunArgs {
    /// Names of scenarios (see `list`), paths of .toml files, `all` scenarios, `bugs`: every tape in scenarios/bugs.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// Seeds to run of each scenario, A..B half-open.
    #[arg(long, value_parser = seeds)]
    seeds: Option<Seeds>,
    /// Start no new seed after this time. Without --seeds, seeds go on from 0 until then.
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// Go on with further seeds until every mark was reached or the time is up (10m unless --time says otherwise). A mark
    /// that was not reached then makes the campaign red.
    #[arg(long, conflicts_with_all = ["seeds", "shard"])]
    until_marks: bool,
    /// Start no new seed after the first run that is not green.
    #[arg(long)]
    until_red: bool,
    /// Only part I of N of the campaign, counted from 0, as in 3/64; see `merge`.
    #[arg(long, value_parser = shard::parse, value_name = "I/N", requires = "seeds")]
    shard: Option<shard::Shard>,
    /// Write the list of run records here; also when red or interrupted.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a JUnit file here.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Where the report goes, with the tapes of what failed and the records of all runs (`runs.jsonl`, which `merge` reads).
    #[arg(long, default_value = "target/sim-report")]
    report: PathBuf,
    /// Switch a known bug on (see `list`).
    #[arg(long)]
    plant: Vec<String>,
    /// Run each n-th seed twice, in another process, and compare; 0 never.
    #[arg(long, default_value_t = 8)]
    twice_every: u64,
    #[command(flatten)]
    work: WorkArgs,
}

#[derive(Clone, Debug, Args)]
struct HuntArgs {
    /// The known bug to look for.
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    plant: Option<String>,
    /// All known bugs.
    #[arg(long)]
    all: bool,
    /// Leave kept tapes out: only what ordinary seeds find by themselves.
    #[arg(long)]
    fresh: bool,
    /// Give a plant up after this time.
    #[arg(long, value_parser = duration, default_value = "60s")]
    time: Duration,
    /// Run so many seeds of each control too, with no bug switched on; one that is not green is a false alarm. 10 with --all.
    #[arg(long)]
    controls: Option<u64>,
    /// Write the findings here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the tapes of what was found go.
    #[arg(long, default_value = "target/sim-report")]
    report: PathBuf,
    #[command(flatten)]
    work: WorkArgs,
}

#[derive(Clone, Debug, Args)]
struct CheckArgs {
    /// The history file, JSON lines.
    history: PathBuf,
    /// Write the judgement here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// How much of what is known of messages stays in memory, in MiB; the rest goes to a temporary file (TMPDIR), some 260 bytes a message
    /// and 160 for each group that gets it.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    memory: u32,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Some(Command::Check(args)) => check::check(&args),
        Some(Command::List) => list::list(),
        Some(Command::Merge(args)) => merge::merge(&args),
        _ if cfg!(not(madsim)) => without_madsim(),
        None => campaign::standard(),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Replay(args)) => replay::replay(&args),
        Some(Command::Shrink(args)) => shrink::shrink(&args),
        Some(Command::Diff(args)) => diff::diff(&args),
        Some(Command::Explain(args)) => explain::explain(&args),
        Some(Command::Hunt(args)) => hunt::hunt(&args),
        Some(Command::Worker) => worker::serve(),
    };
    ExitCode::from(exit.code())
}

/// Writes to standard output; a reader that has seen enough is no error.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Says on standard error why nothing can be done.
fn refuse(why: impl std::fmt::Display) -> Exit {
    eprintln!("sim: {why}");
    Exit::Usage
}

/// This build cannot simulate: says which variable took the flag away.
fn without_madsim() -> Exit {
    let variables = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"];
    let culprit = variables.iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    refuse(match culprit {
        Some((name, value)) => format!(
            "this program was built without `--cfg madsim`, because the environment variable {name}={value:?} overrides the flags of \
             `cargo sim`; unset it, or add `--cfg madsim` to it"
        ),
        None => "this program was built without `--cfg madsim`; start it with `cargo sim` from the project's directory"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn seeds_are_half_open() {
        assert_eq!(seeds("3..7"), Ok(Seeds { from: 3, to: 7 }));
        assert_eq!(seeds("5"), Ok(Seeds { from: 5, to: 6 }));
        assert!(seeds("7..7").is_err() && seeds("a..b").is_err() && seeds("").is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("5 apples").is_err() && duration("s").is_err());
    }

    #[test]
    fn the_gravest_verdict_wins() {
        use Verdict::{Crashed, Green, Nondeterministic, Red, Timeout};
        assert_eq!(Exit::gravest([]), Exit::Green);
        assert_eq!(Exit::gravest([Green, Timeout]), Exit::WorkerLost);
        assert_eq!(Exit::gravest([Crashed, Red, Green]), Exit::Broken);
        assert_eq!(Exit::gravest([Red, Nondeterministic, Crashed]), Exit::Nondeterministic);
    }
}

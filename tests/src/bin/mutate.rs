//! Changes the core's logic at random places, one at a time, and asks a campaign of the simulator whether it notices.
//!
//! Invariant: the campaign without any change is green before the first change is judged, and each seed that shows one is green without it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use seedmq_tests::mutants::campaign::Campaigns;
use seedmq_tests::mutants::draw::{self, Choice, Mutant};
use seedmq_tests::mutants::outcome::{Findings, Judged, Outcome, table};
use seedmq_tests::mutants::tree::{Built, Tree};
use seedmq_tests::tools::repository;

/// Makes small random changes of the core's logic and says which of them a campaign of the simulator catches
///
/// The changes are those of cargo-mutants (`cargo install cargo-mutants --locked`). Work is done in a copy, target/mutants. What is found is
/// written down after each change; the next run over the same sources goes on from there.
/// Exit status: 0 every change was judged, 1 the program is not green without a change, or a change could not be judged, 2 wrong usage.
#[derive(Parser)]
struct Arguments {
    /// How many changes to draw
    #[arg(long, default_value_t = 20)]
    count: usize,
    /// Seed of the draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the campaign of each change may take, as in 90s or 2m
    #[arg(long, default_value = "90s", value_parser = duration)]
    time: Duration,
    /// Draw from the files whose path contains this, instead of all roles and the store
    #[arg(long)]
    file: Option<String>,
    /// All changes whose name contains this, whether judged before or not: a name, or a place as in hold.rs:57:9
    #[arg(long, conflicts_with_all = ["count", "file"])]
    only: Option<String>,
    /// Print what would be changed, and end
    #[arg(long)]
    list: bool,
    /// Processes at a time in a campaign; as many as there are cores when absent
    #[arg(long)]
    jobs: Option<usize>,
    /// Where what is found is kept
    #[arg(long, default_value = "target/mutants/outcomes.json")]
    json: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let scales = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let millis =
        scales.iter().find_map(|(unit, scale)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*scale));
    millis.map(Duration::from_millis).ok_or_else(|| format!("expected a duration like 90s or 2m, found \"{text}\""))
}

/// Why no change can be judged.
enum Refusal {
    /// Wrong usage, or a missing tool.
    Usage(String),
    /// The program is not green.
    NotGreen(String),
}

/// All that judging a change takes.
struct Bench<'a> {
    tree: Tree,
    campaigns: Campaigns<'a>,
    /// The simulator without a change.
    unchanged: PathBuf,
    /// The simulator with one.
    changed: PathBuf,
}

impl Bench<'_> {
    /// Builds the unchanged program; runs its campaign unless that is known to be green.
    fn baseline(&self, findings: &mut Findings) -> Result<(), Refusal> {
        let begun = Instant::now();
        eprintln!("building the simulator without a change");
        let built = self.tree.build(&self.unchanged).map_err(Refusal::Usage)?;
        if self.campaigns.interrupted.load(Ordering::Relaxed) {
            return Err(Refusal::NotGreen("interrupted".into()));
        }
        match built {
            Built::Program => eprintln!("  built in {:.0} s", begun.elapsed().as_secs_f64()),
            Built::Not(errors) => return Err(Refusal::NotGreen(format!("the simulator does not build:\n{errors}"))),
        }
        if findings.baseline_runs > 0 {
            eprintln!("  its campaign is known to be green: {} runs", findings.baseline_runs);
            return Ok(());
        }
        let ran = self.campaigns.all(&self.unchanged).map_err(Refusal::NotGreen)?;
        if let Some(red) = ran.red {
            let what = red.signature.or(red.note).unwrap_or_default();
            return Err(Refusal::NotGreen(format!(
                "{}:{} is not green without any change: {what}",
                red.scenario, red.seed
            )));
        }
        eprintln!("  green: {} runs in {:.0} s", ran.runs, ran.seconds);
        findings.baseline_runs = ran.runs;
        Ok(())
    }

    /// Builds with one change and looks for a seed that shows it.
    fn judge(&self, mutant: &Mutant) -> Judged {
        let begun = Instant::now();
        let failed = |why| Judged::new(mutant, begun.elapsed().as_secs_f64(), Outcome::Failed { why });
        let built = self.tree.change(mutant).and_then(|_until_built| self.tree.build(&self.changed));
        let build_s = begun.elapsed().as_secs_f64();
        match built {
            Err(why) => return failed(why),
            Ok(Built::Not(_)) => return Judged::new(mutant, build_s, Outcome::DidNotBuild),
            Ok(Built::Program) => {}
        }
        let ran = match self.campaigns.all(&self.changed) {
            Ok(ran) => ran,
            Err(why) => return failed(why),
        };
        let outcome = match &ran.red {
            None => Outcome::Survived,
            Some(red) => match self.campaigns.is_green(&self.unchanged, &red.scenario, red.seed) {
                Ok(true) => Outcome::caught(red),
                Ok(false) => Outcome::RedWithout { run: red.handle() },
                Err(why) => Outcome::Failed { why },
            },
        };
        Judged { runs: ran.runs, campaign_s: ran.seconds, ..Judged::new(mutant, build_s, outcome) }
    }
}

/// Judges every drawn change; those that are known are taken from the findings, unless they are asked for by name.
fn judge_all(
    bench: &Bench<'_>,
    drawn: &[Mutant],
    again: bool,
    findings: &mut Findings,
    json: &Path,
) -> Result<Vec<Judged>, String> {
    let mut judged: Vec<Judged> = Vec::new();
    for (number, mutant) in (1..).zip(drawn) {
        let known = findings.mutants.iter().find(|known| known.name == mutant.name).filter(|_| !again);
        eprintln!("[{number}/{}] {}", drawn.len(), mutant.name);
        let one = known.cloned().unwrap_or_else(|| bench.judge(mutant));
        if bench.campaigns.interrupted.load(Ordering::Relaxed) {
            eprintln!("interrupted; what was found until then is kept in {}", json.display());
            break;
        }
        eprintln!(
            "  {} (built in {:.0} s, {} runs in {:.1} s)",
            one.outcome.words(),
            one.build_s,
            one.runs,
            one.campaign_s
        );
        // What could not be judged is tried again the next time.
        if !matches!(one.outcome, Outcome::Failed { .. }) {
            findings.add(one.clone());
            findings.keep(json)?;
        }
        judged.push(one);
    }
    Ok(judged)
}

fn run(arguments: &Arguments) -> Result<bool, Refusal> {
    let repository = repository();
    let all = draw::list(&repository).map_err(Refusal::Usage)?;
    let offered = all.iter().filter(|mutant| mutant.is_logic()).count();
    let Arguments { seed, count, file, only, .. } = arguments;
    let choice = Choice { seed: *seed, count: *count, file: file.clone(), only: only.clone() };
    let drawn = draw::draw(all, &choice).map_err(Refusal::Usage)?;
    if arguments.list {
        drawn.iter().for_each(|mutant| println!("{}\n    {}", mutant.name, mutant.change().join("\n    ")));
        return Ok(true);
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without the handler an interrupt ends the program at once, and the findings are on the disk all the same.
        drop(signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone()));
        drop(signal_hook::flag::register(signal, interrupted.clone()));
    }
    let home = repository.join("target/mutants");
    let tree = Tree::of(&repository, &home).map_err(Refusal::Usage)?;
    let mut findings = Findings::kept(&arguments.json, &tree.digest, arguments.time.as_secs_f64());
    (findings.seed, findings.offered) = (*seed, offered);
    let (time, jobs) = (arguments.time, arguments.jobs);
    let campaigns = Campaigns { root: tree.root(), home: &home, time, jobs, interrupted: &interrupted };
    let bench = Bench { tree, campaigns, unchanged: home.join("unchanged"), changed: home.join("changed") };
    bench.baseline(&mut findings)?;
    let again = arguments.only.is_some();
    let judged = judge_all(&bench, &drawn, again, &mut findings, &arguments.json).map_err(Refusal::Usage)?;
    print!("{}", table(&judged));
    Ok(judged.iter().all(|one| !matches!(one.outcome, Outcome::Failed { .. } | Outcome::RedWithout { .. })))
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Refusal::NotGreen(why)) => {
            eprintln!("mutate: {why}");
            ExitCode::from(1)
        }
        Err(Refusal::Usage(why)) => {
            eprintln!("mutate: {why}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("soon").is_err() && duration("90").is_err());
    }
}

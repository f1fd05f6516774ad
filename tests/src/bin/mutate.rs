//! Changes the core's logic at random places, one at a time, and asks a campaign of the simulator whether it notices.
//!
//! Invariant: the campaign without any change is green before the first change is judged, and each seed that shows one is green without it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use seedmq_tests::mutants::campaign::{Campaigns, Subject};
use seedmq_tests::mutants::draw::{self, Choice, Mutant};
use seedmq_tests::mutants::outcome::{Findings, Judged, Outcome, table};
use seedmq_tests::mutants::schema::{Schema, VARIABLE};
use seedmq_tests::mutants::tree::{Built, Tree};
use seedmq_tests::tools::repository;

/// Makes small random changes of the core's logic and says which of them a campaign of the simulator catches
///
/// The changes are those of cargo-mutants (`cargo install cargo-mutants --locked`). Work is done in a copy, target/mutants. What is found is
/// written down after each change; the next run over the same sources goes on from there. While a draw is the last one, a change with a number
/// can be tried by hand, in target/mutants/tree: `SEEDMQ_MUTANT=7 ../switched run disk-space --seeds 0..100`.
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
    /// The simulator with every change that can be switched on; with none on it is the unchanged one.
    switched: PathBuf,
    /// The simulator with one change built in.
    changed: PathBuf,
}

impl Bench<'_> {
    fn unchanged(&self) -> Subject<'_> {
        Subject { program: &self.switched, on: None }
    }

    /// Builds the program with all changes that can be behind a switch; says which these are.
    fn switch(&self, mutants: &[(u32, &Mutant)]) -> Result<Vec<u32>, Refusal> {
        let (begun, mut with) = (Instant::now(), mutants.to_vec());
        loop {
            let schema = Schema::of(&with, |path| self.tree.text(path));
            eprintln!("building the simulator with {} changes that can be switched on", schema.places.len());
            let built = self.tree.put(&schema.files).and_then(|()| self.tree.build(&self.switched));
            let built = built.map_err(Refusal::Usage)?;
            if self.campaigns.interrupted.load(Ordering::Relaxed) {
                return Err(Refusal::NotGreen("interrupted".into()));
            }
            let errors = match built {
                Built::Program => {
                    eprintln!("  built in {:.0} s", begun.elapsed().as_secs_f64());
                    return Ok(schema.places.into_keys().collect());
                }
                Built::Not(errors) => errors,
            };
            let blamed = schema.blamed(&errors);
            if blamed.is_empty() {
                return Err(Refusal::NotGreen(format!("the simulator does not build:\n{errors}")));
            }
            eprintln!("  {} of them need a build of their own", blamed.len());
            with.retain(|(number, _)| !blamed.contains(number));
        }
    }

    /// Runs the campaign without a change, unless that is known to be green.
    fn baseline(&self, findings: &mut Findings) -> Result<(), Refusal> {
        if findings.baseline_runs > 0 {
            eprintln!("without a change the campaign is known to be green: {} runs", findings.baseline_runs);
            return Ok(());
        }
        let ran = self.campaigns.all(self.unchanged()).map_err(Refusal::NotGreen)?;
        if let Some(red) = ran.red {
            let (run, what) = (red.handle(), red.signature.or(red.note).unwrap_or_default());
            return Err(Refusal::NotGreen(format!("{run} is not green without any change: {what}")));
        }
        eprintln!("without a change the campaign is green: {} runs in {:.0} s", ran.runs, ran.seconds);
        findings.baseline_runs = ran.runs;
        Ok(())
    }

    /// Looks for a seed that shows a change, by its switch or built in.
    fn judge(&self, mutant: &Mutant, on: Option<u32>) -> Judged {
        let begun = Instant::now();
        if on.is_none() {
            match self.tree.put_one(mutant).and_then(|()| self.tree.build(&self.changed)) {
                Err(why) => return Judged::new(mutant, 0.0, Outcome::Failed { why }),
                Ok(Built::Not(_)) => return Judged::new(mutant, begun.elapsed().as_secs_f64(), Outcome::DidNotBuild),
                Ok(Built::Program) => {}
            }
        }
        let build_s = begun.elapsed().as_secs_f64();
        let program = if on.is_some() { &self.switched } else { &self.changed };
        let ran = match self.campaigns.all(Subject { program, on }) {
            Ok(ran) => ran,
            Err(why) => return Judged::new(mutant, build_s, Outcome::Failed { why }),
        };
        let outcome = match &ran.red {
            None => Outcome::Survived,
            Some(red) => match self.campaigns.is_green(self.unchanged(), &red.scenario, red.seed) {
                Ok(true) => Outcome::caught(red),
                Ok(false) => Outcome::RedWithout { run: red.handle() },
                Err(why) => Outcome::Failed { why },
            },
        };
        Judged { runs: ran.runs, campaign_s: ran.seconds, ..Judged::new(mutant, build_s, outcome) }
    }

    /// Judges changes; what was found is kept after each. Those that have a switch come first.
    fn judge_all(&self, drawn: &[(u32, &Mutant)], findings: &mut Findings, json: &Path) -> Result<(), Refusal> {
        let switched = self.switch(drawn)?;
        self.baseline(findings)?;
        let has = |number: &u32| switched.contains(number);
        let (first, last): (Vec<&(u32, &Mutant)>, Vec<_>) = drawn.iter().partition(|(number, _)| has(number));
        for (place, (number, mutant)) in (1..).zip(first.iter().chain(&last)) {
            let switch = if has(number) { format!(" ({VARIABLE}={number})") } else { String::new() };
            eprintln!("[{place}/{}] {}{switch}", drawn.len(), mutant.name);
            let judged = self.judge(mutant, Some(*number).filter(has));
            if self.campaigns.interrupted.load(Ordering::Relaxed) {
                eprintln!("interrupted; what was found until then is kept in {}", json.display());
                break;
            }
            let (words, runs, seconds) = (judged.outcome.words(), judged.runs, judged.campaign_s);
            eprintln!("  {words} ({runs} runs in {seconds:.1} s)");
            findings.add(judged);
            findings.keep(json).map_err(Refusal::Usage)?;
        }
        Ok(())
    }
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
    let bench = Bench { tree, campaigns, switched: home.join("switched"), changed: home.join("changed") };
    let known = |mutant: &Mutant| findings.mutants.iter().any(|j| j.name == mutant.name && j.outcome.is_judged());
    let again = arguments.only.is_some();
    let todo: Vec<(u32, &Mutant)> = (1..).zip(&drawn).filter(|(_, mutant)| again || !known(mutant)).collect();
    if !todo.is_empty() {
        bench.judge_all(&todo, &mut findings, &arguments.json)?;
    }
    let found = |mutant: &Mutant| findings.mutants.iter().find(|judged| judged.name == mutant.name).cloned();
    let judged: Vec<Judged> = drawn.iter().filter_map(found).collect();
    print!("{}", table(&judged));
    Ok(judged.len() == drawn.len() && judged.iter().all(|one| one.outcome.is_judged()))
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

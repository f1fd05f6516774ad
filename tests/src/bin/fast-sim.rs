//! `cargo fast-sim`: the simulator, optimised across crates and for the way that its runs go.
//!
//! Invariant: the simulator that counts and the one that is kept are built of the same sources, and only the former's own runs count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use seedmq_tests::cargo::{cargo, logged};
use seedmq_tests::tools::repository;

/// Builds target/dist/sim, which runs a third more seeds in a CPU second
///
/// The simulator is built so that it counts which ways it goes, runs some seeds of every scenario, and is built again with these counts:
/// code that is used together then lies together. Worth its ten minutes (two cores) before a campaign of an hour.
/// Exit status: 0 built, 1 a step failed, 2 wrong usage or a missing tool.
#[derive(Parser)]
struct Arguments {
    /// Seeds of each scenario to learn from
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
}

/// Why nothing came of it.
enum Refusal {
    /// A tool is missing.
    Missing(&'static str),
    /// A step failed.
    Failed(String),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Refusal::Failed(error.to_string())
    }
}

/// What the steps share.
struct Yard {
    /// Where builds, counts and logs are.
    dir: PathBuf,
    /// The machine that is built for; named to cargo, so that what runs during a build does not count.
    host: String,
    /// Sums counts up.
    profdata: PathBuf,
}

impl Yard {
    fn open() -> Result<Yard, Refusal> {
        let version = said(Command::new("rustc").arg("-vV"));
        let host = version.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")));
        let host = host.ok_or(Refusal::Missing("rustc does not say what machine this is"))?.to_owned();
        let libraries = said(Command::new("rustc").args(["--print", "target-libdir"]));
        let tool = |libraries: String| Some(Path::new(libraries.trim()).parent()?.join("bin/llvm-profdata"));
        let profdata = libraries.and_then(tool).filter(|path| path.exists());
        let cure = "llvm-profdata is missing; it comes with `rustup component add llvm-tools`";
        let profdata = profdata.ok_or(Refusal::Missing(cure))?;
        let dir = repository().join("target/fast-sim");
        fs::create_dir_all(&dir)?;
        Ok(Yard { dir, host, profdata })
    }

    /// Builds the simulator with one flag more; where it is then.
    fn build(&self, flag: &str, step: &str) -> Result<PathBuf, Refusal> {
        let target = self.dir.join(step.replace(' ', "-"));
        let mut cargo = cargo();
        cargo.args(["build", "--package", "seedmq-sim", "--bin", "sim", "--profile", "dist"]);
        cargo.args(["--target", &self.host, "--target-dir"]).arg(&target);
        cargo.arg("--config").arg(format!("build.rustflags={:?}", ["--cfg", "madsim", flag]));
        self.run(&mut cargo, step)?;
        Ok(target.join(&self.host).join("dist/sim"))
    }

    /// Runs a step into a log.
    fn run(&self, command: &mut Command, step: &str) -> Result<(), Refusal> {
        let path = self.dir.join(format!("{}.log", step.replace(' ', "-")));
        eprint!("{step} … ");
        let begun = Instant::now();
        let ran = logged(command, &path);
        eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
        let (ok, text) = ran.map_err(|error| Refusal::Failed(format!("{step}: {error}")))?;
        if ok {
            return Ok(());
        }
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        Err(Refusal::Failed(format!("{step} failed:\n{end}\nits whole output is in {}", path.display())))
    }
}

/// What a command prints, if it ends well.
fn said(command: &mut Command) -> Option<String> {
    let out = command.output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Builds, counts, builds again; where the result is.
fn make(seeds: u32) -> Result<PathBuf, Refusal> {
    let yard = Yard::open()?;
    let (counts, sum) = (yard.dir.join("counts"), yard.dir.join("counts.profdata"));
    if counts.exists() {
        fs::remove_dir_all(&counts)?;
    }
    let counting = yard.build(&format!("-Cprofile-generate={}", counts.display()), "counting build")?;
    let mut runs = Command::new(counting);
    runs.args(["run", "all", "--twice-every=0", "--seeds", &format!("0..{seeds}"), "--report"]);
    // Many processes add to the same few files.
    runs.arg(yard.dir.join("report")).env("LLVM_PROFILE_FILE", counts.join("%4m.profraw"));
    yard.run(&mut runs, "runs to learn from")?;
    yard.run(Command::new(&yard.profdata).arg("merge").arg("-o").arg(&sum).arg(&counts), "sum of the counts")?;
    let fast = yard.build(&format!("-Cprofile-use={}", sum.display()), "last build")?;
    let to = repository().join("target/dist/sim");
    fs::create_dir_all(repository().join("target/dist"))?;
    // The one before may be running.
    if to.exists() {
        fs::remove_file(&to)?;
    }
    fs::copy(fast, &to)?;
    Ok(to)
}

fn main() -> ExitCode {
    match make(Arguments::parse().seeds) {
        Ok(path) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(Refusal::Failed(why)) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
        Err(Refusal::Missing(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

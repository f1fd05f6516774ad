//! Campaigns of a built simulator: seeds of every scenario until one is not green or the time is up.
//!
//! Invariant: whatever a changed program does (eat memory, hang, die), a campaign of it ends, and takes no more of the machine than it may.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seedmq_reports::{RunRecord, Verdict};

use super::schema::VARIABLE;

/// A run of a green program takes two seconds at most; one that takes this hangs.
const WORKER_TIMEOUT: Duration = Duration::from_secs(30);
/// Memory of each process, in KiB: a change may well ask for more and more.
const MEMORY_KIB: &str = "6291456";
/// Names of all scenarios.
const ALL: &str = "all";

/// How campaigns are run.
#[derive(Debug)]
pub struct Campaigns<'a> {
    /// Where scenarios are, and where reports may go.
    pub root: PathBuf,
    /// The scratch directory.
    pub home: &'a Path,
    /// No new seed after this time.
    pub time: Duration,
    /// Processes at a time; as many as there are cores when absent.
    pub jobs: Option<usize>,
    /// The person wants an end.
    pub interrupted: &'a AtomicBool,
}

/// A program, and the change that is switched on in it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The simulator.
    pub program: &'a Path,
    /// The number of the change.
    pub on: Option<u32>,
}

/// What a campaign came to.
#[derive(Debug)]
pub struct Ran {
    /// Runs that were done.
    pub runs: usize,
    /// In real time.
    pub seconds: f64,
    /// The first that is not green.
    pub red: Option<RunRecord>,
}

impl Campaigns<'_> {
    /// Seeds of every scenario, until one is not green or the time is up.
    pub fn all(&self, subject: Subject<'_>) -> Result<Ran, String> {
        let time = format!("{}ms", self.time.as_millis());
        self.run(subject, &[ALL, "--until-red", "--time", &time])
    }

    /// Whether one seed is green.
    pub fn is_green(&self, subject: Subject<'_>, scenario: &str, seed: u64) -> Result<bool, String> {
        Ok(self.run(subject, &[scenario, "--seeds", &seed.to_string()])?.red.is_none())
    }

    fn run(&self, subject: Subject<'_>, words: &[&str]) -> Result<Ran, String> {
        let (report, records) = (self.home.join("report"), self.home.join("records.json"));
        drop((fs::remove_dir_all(&report), fs::remove_file(&records)));
        let log = self.home.join("campaign.log");
        let told = |error| format!("{}: {error}", log.display());
        let out = fs::File::create(&log).map_err(told)?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh", MEMORY_KIB])
            .arg(subject.program)
            .arg("run");
        command.args(words).args(["--twice-every", "0", "--json"]).arg(&records).arg("--report").arg(&report);
        command.arg(format!("--worker-timeout={}s", WORKER_TIMEOUT.as_secs()));
        command.env_remove(VARIABLE).envs(subject.on.map(|number| (VARIABLE, number.to_string())));
        command.args(self.jobs.map(|jobs| format!("--jobs={jobs}")));
        command.stdin(Stdio::null()).stderr(out.try_clone().map_err(told)?).stdout(out).current_dir(&self.root);
        let begun = Instant::now();
        let child = command.spawn().map_err(|error| format!("sh: {error}"))?;
        self.wait(child, begun + self.time + 3 * WORKER_TIMEOUT)?;
        let seconds = begun.elapsed().as_secs_f64();
        if self.interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let text = fs::read_to_string(&records).map_err(|_| {
            format!("the campaign left no records; it said:\n{}", fs::read_to_string(&log).unwrap_or_default())
        })?;
        let mut list: Vec<RunRecord> = serde_json::from_str(&text).map_err(|error| format!("its records: {error}"))?;
        let (runs, red) = (list.len(), list.iter().position(|record| record.verdict != Verdict::Green));
        if runs == 0 {
            return Err("the campaign ran nothing".into());
        }
        Ok(Ran { runs, seconds, red: red.map(|at| list.swap_remove(at)) })
    }

    /// Waits for the end; hands an interrupt on, and ends what does not end.
    fn wait(&self, mut child: Child, last: Instant) -> Result<(), String> {
        let mut told = false;
        loop {
            match child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if Instant::now() > last => {
                    drop((child.kill(), child.wait()));
                    return Err("the campaign itself did not end and was killed".into());
                }
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            if self.interrupted.load(Ordering::Relaxed) && !told {
                told = true;
                drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

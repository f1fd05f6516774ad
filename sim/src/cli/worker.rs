//! One run, in a process of its own: a job and a tape come in on standard input, a record goes out on standard output.
//!
//! Invariant: a process runs one tape and ends, so that no run can see what another left behind.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Exit;

/// What is asked of a worker, on the first line of its input; the tape follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// See [`seedmq_sim::options::RunOptions`].
    pub timeline: bool,
    /// See there.
    pub log: Option<PathBuf>,
    /// See there.
    pub until_ms: Option<u64>,
}

/// Runs the tape on standard input.
#[cfg(madsim)]
pub fn serve() -> Exit {
    use std::io::Read as _;

    use seedmq_sim::options::RunOptions;
    use seedmq_sim::tape::Tape;
    use seedmq_sim::{cluster, verdict};

    let mut input = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut input) {
        return super::refuse(format!("a job on standard input is expected: {error}"));
    }
    let (first, text) = input.split_once('\n').unwrap_or((&input, ""));
    let job: Job = match serde_json::from_str(first) {
        Ok(job) => job,
        Err(error) => return super::refuse(format!("a job is expected on the first line: {error}")),
    };
    let tape = match Tape::parse(text) {
        Ok(tape) => tape,
        Err(error) => return super::refuse(format!("a tape is expected after the job: {error}")),
    };
    let options = RunOptions { timeline: job.timeline, log: job.log, until_ms: job.until_ms };
    let (mut record, history) = cluster::run(&tape, &options);
    record.scenario.clone_from(&tape.header.scenario);
    record.seed = tape.header.seed;
    verdict::judge(&tape, &options, &history, &mut record);
    record.cpu_ms = cpu_ms();
    println!("{}", serde_json::to_string(&record).expect("a record has only string keys"));
    Exit::Green
}

/// Nothing to serve without the simulator.
#[cfg(not(madsim))]
pub fn serve() -> Exit {
    super::without_madsim()
}

/// CPU time of this process so far.
#[cfg(madsim)]
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).map_or(0, |ns| ns / 1_000_000)
}

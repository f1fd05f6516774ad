//! One run, in a process of its own: options and a tape come in on standard input, a record goes out on standard output.
//!
//! Invariant: a process runs one tape and ends, so that no run can see what another left behind.

use super::Exit;

/// Runs the tape on standard input. Its first line are the options of the run, the tape follows.
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
    let options: RunOptions = match serde_json::from_str(first) {
        Ok(options) => options,
        Err(error) => return super::refuse(format!("options of a run are expected on the first line: {error}")),
    };
    let tape = match Tape::parse(text) {
        Ok(tape) => tape,
        Err(error) => return super::refuse(format!("a tape is expected after the options: {error}")),
    };
    let (mut record, history) = cluster::run(&tape, &options);
    record.scenario.clone_from(&tape.header.scenario);
    record.seed = tape.header.seed;
    verdict::judge(&tape, &options, &history, &mut record);
    record.cpu_ms = cpu_ms();
    if options.brief {
        record = seedmq_reports::RunRecord { acted: std::mem::take(&mut record.acted), ..record.brief() };
    }
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

//! A worker: takes jobs (options and a tape) on standard input, one after the other, and prints a record for each.
//!
//! Invariant: a run sees nothing of the one before it in its process. The double run holds this: it is done by a process that did no other.

use std::io::{self, BufRead, Read as _};

use seedmq_sim::options::RunOptions;
use seedmq_sim::tape::Tape;

use super::Exit;

/// A job as a worker takes it: a line with the options of the run, a line with the length of the tape in bytes, the tape.
pub fn job(options: &RunOptions, tape: &Tape) -> String {
    let options = serde_json::to_string(options).expect("options have only string keys");
    let tape = tape.to_text();
    format!("{options}\n{}\n{tape}", tape.len())
}

/// The next job, none at the end of the input. An error says what was expected.
#[cfg_attr(not(madsim), allow(dead_code))]
fn next(input: &mut impl BufRead) -> Result<Option<(RunOptions, Tape)>, String> {
    let read = |error: io::Error| format!("a job on standard input is expected: {error}");
    let (mut options, mut length) = (String::new(), String::new());
    if input.read_line(&mut options).map_err(read)? == 0 {
        return Ok(None);
    }
    let options = serde_json::from_str(&options).map_err(|e| format!("options are expected on the first line: {e}"))?;
    input.read_line(&mut length).map_err(read)?;
    let length =
        length.trim_end().parse().map_err(|e| format!("the tape's length is expected on the second line: {e}"))?;
    let mut text = String::new();
    input.take(length).read_to_string(&mut text).map_err(read)?;
    if (text.len() as u64) < length {
        return Err(format!("{length} bytes of a tape are expected, there are {}", text.len()));
    }
    let tape = Tape::parse(&text).map_err(|error| format!("a tape is expected after its length: {error}"))?;
    Ok(Some((options, tape)))
}

/// Does the jobs on standard input until there are no more.
#[cfg(madsim)]
pub fn serve() -> Exit {
    let (mut input, mut before) = (io::stdin().lock(), 0);
    loop {
        let (options, tape) = match next(&mut input) {
            Ok(Some(job)) => job,
            Ok(None) => return Exit::Green,
            Err(why) => return super::refuse(why),
        };
        let mut record = run(&options, &tape);
        // All that the process did since the record before counts for this one, its start too.
        let spent = cpu_ms();
        record.cpu_ms = spent - before;
        before = spent;
        println!("{}", serde_json::to_string(&record).expect("a record has only string keys"));
    }
}

/// Runs a tape and judges it.
#[cfg(madsim)]
fn run(options: &RunOptions, tape: &Tape) -> seedmq_reports::RunRecord {
    use seedmq_sim::{cluster, verdict};

    let (mut record, history) = cluster::run(tape, options);
    record.scenario.clone_from(&tape.header.scenario);
    record.seed = tape.header.seed;
    verdict::judge(tape, options, &history, &mut record);
    if options.brief {
        record = seedmq_reports::RunRecord { acted: std::mem::take(&mut record.acted), ..record.brief() };
    }
    record
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tape() -> Tape {
        let scenario = seedmq_sim::scenario::find("broker-crash").expect("a scenario");
        seedmq_sim::generate::generate(&scenario, 7, &[])
    }

    #[test]
    fn jobs_are_read_one_after_the_other() {
        let options = RunOptions { extra_draws: 3, ..RunOptions::default() };
        let text = job(&options, &tape()) + &job(&RunOptions::default(), &tape());
        let mut input = text.as_bytes();
        assert_eq!(next(&mut input), Ok(Some((options, tape()))));
        assert_eq!(next(&mut input), Ok(Some((RunOptions::default(), tape()))));
        assert_eq!(next(&mut input), Ok(None));
    }

    #[test]
    fn half_a_job_is_refused() {
        let whole = job(&RunOptions::default(), &tape());
        for (length, why) in [(20, "options are expected"), (whole.len() - 1, "bytes of a tape are expected")] {
            let found = next(&mut &whole.as_bytes()[..length]).expect_err("half a job");
            assert!(found.contains(why), "{found}");
        }
    }
}

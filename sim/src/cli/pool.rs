//! Worker processes: one per run, so many at a time.
//!
//! Invariant: whatever a worker does (answer, die, hang), exactly one record comes back for its tape.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::options::RunOptions;
use seedmq_sim::tape::Tape;

use super::WorkArgs;

/// Starts workers.
#[derive(Clone, Debug)]
pub struct Runner {
    /// A worker that takes longer is killed.
    pub timeout: Duration,
    /// Set by SIGINT and SIGTERM: no new run begins, and what comes back is not counted.
    pub interrupted: Arc<AtomicBool>,
    /// Workers at a time.
    pub jobs: usize,
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In this process's surroundings.
    Here,
    /// In others: a larger environment (so that stacks lie elsewhere), another directory and time zone.
    Elsewhere,
}

impl Runner {
    /// A runner that stops at the first interrupt.
    pub fn new(args: &WorkArgs) -> Runner {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Without the handler an interrupt ends the program at once, as it does by default.
            drop(signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone()));
            drop(signal_hook::flag::register(signal, interrupted.clone()));
        }
        let cores = || thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Runner { timeout: args.worker_timeout, interrupted, jobs: args.jobs.unwrap_or_else(cores).max(1) }
    }

    /// Whether the person wants an end.
    pub fn stopped(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Runs a tape in a process of its own.
    pub fn run(&self, tape: &Tape, job: &RunOptions, place: Where) -> RunRecord {
        let lost = |verdict, note: String| RunRecord {
            scenario: tape.header.scenario.clone(),
            seed: tape.header.seed,
            verdict,
            note: Some(note),
            ..RunRecord::default()
        };
        let mut child = match start(place) {
            Ok(child) => child,
            Err(error) => return lost(Verdict::Crashed, format!("the worker could not be started: {error}")),
        };
        let answer = converse(&mut child, tape, job, self.timeout);
        let Some(answer) = answer else {
            drop((child.kill(), child.wait()));
            return lost(Verdict::Timeout, format!("the worker did not end within {} s", self.timeout.as_secs()));
        };
        let status = child.wait().map_or_else(|e| e.to_string(), |status: ExitStatus| status.to_string());
        match answer.out.lines().rev().find_map(|line| serde_json::from_str::<RunRecord>(line).ok()) {
            Some(record) => record,
            None => lost(Verdict::Crashed, format!("the worker died ({status}): {}", tail(&answer.err))),
        }
    }
}

struct Answer {
    out: String,
    err: String,
}

fn start(place: Where) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if place == Where::Elsewhere {
        command
            .env("SIM_PADDING", "x".repeat(7_777))
            .env("TZ", "Asia/Tokyo")
            .env("LANG", "tr_TR.UTF-8")
            .current_dir("/");
    }
    command.spawn()
}

/// Hands the job over and waits for the answer; none when it takes too long.
fn converse(child: &mut Child, tape: &Tape, job: &RunOptions, timeout: Duration) -> Option<Answer> {
    let input = serde_json::to_string(job).expect("a job has only string keys") + "\n" + &tape.to_text();
    let mut stdin = child.stdin.take().expect("the worker's input is piped");
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (done, answers) = mpsc::channel();
    let stderr = thread::spawn(move || {
        let mut text = Vec::new();
        drop(err.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    thread::spawn(move || {
        // A worker that died does not take its input; its silence tells.
        drop(stdin.write_all(input.as_bytes()));
        drop(stdin);
        let mut text = Vec::new();
        drop(out.read_to_end(&mut text));
        drop(done.send(String::from_utf8_lossy(&text).into_owned()));
    });
    let out = answers.recv_timeout(timeout).ok()?;
    Some(Answer { out, err: stderr.join().unwrap_or_default() })
}

/// The last lines of what a worker said.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Does `work` for each item on so many threads, and hands the results to `each` on this one, in the order of completion.
/// Takes no further item once `go_on` says no.
pub fn spread<I: Send, R: Send>(
    jobs: usize,
    items: impl Iterator<Item = I> + Send,
    go_on: impl Fn() -> bool + Sync,
    work: impl Fn(I) -> R + Sync,
    mut each: impl FnMut(R),
) {
    let items = Mutex::new(items);
    let (send, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (send, items, work, go_on) = (send.clone(), &items, &work, &go_on);
            scope.spawn(move || {
                while go_on() {
                    let next = items.lock().expect("no worker thread panics while it takes an item").next();
                    let Some(item) = next else { return };
                    drop(send.send(work(item)));
                }
            });
        }
        drop(send);
        results.into_iter().for_each(&mut each);
    });
}

/// A deadline, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// So much time from now.
    pub fn after(time: Option<Duration>) -> Deadline {
        Deadline(time.map(|t| Instant::now() + t))
    }
    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let mut sum = 0;
        spread(3, 0..100u64, || true, |n| n * 2, |n| sum += n);
        assert_eq!(sum, 9_900);
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let (mut seen, count) = (0, std::sync::atomic::AtomicU64::new(0));
        spread(
            1,
            0..100u64,
            || count.load(Ordering::Relaxed) < 5,
            |_| count.fetch_add(1, Ordering::Relaxed),
            |_| seen += 1,
        );
        assert_eq!(seen, 5);
    }
}

//! Worker processes: each does one run after the other, so many at a time.
//!
//! Invariant: whatever a worker does (answer, die, hang), exactly one record comes back for its tape.
//! Invariant: a worker that gave anything but a green run gets no further tape.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use seedmq_reports::{RunRecord, Verdict};
use seedmq_sim::options::RunOptions;
use seedmq_sim::tape::Tape;

use super::{WorkArgs, worker};

/// Runs that a worker does before another takes its place. The first of a process costs a third more than each that follows.
const RUNS_MAX: u32 = 200;

/// Hands tapes to workers.
#[derive(Clone, Debug)]
pub struct Runner {
    /// A worker that takes longer for a run is killed.
    pub timeout: Duration,
    /// Set by SIGINT and SIGTERM: no new run begins, and what comes back is not counted.
    pub interrupted: Arc<AtomicBool>,
    /// Workers at a time.
    pub jobs: usize,
    /// Workers that wait for their next tape.
    idle: Arc<Mutex<Vec<Worker>>>,
}

/// Where a run is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In this process's surroundings, by any worker.
    Here,
    /// By a worker that does no other run, in other surroundings: a larger environment (so that stacks lie elsewhere), another directory and time zone.
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
        Runner {
            timeout: args.worker_timeout,
            interrupted,
            jobs: args.jobs.unwrap_or_else(cores).max(1),
            idle: Arc::default(),
        }
    }

    /// Whether the person wants an end.
    pub fn stopped(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Runs a tape in a worker process.
    pub fn run(&self, tape: &Tape, options: &RunOptions, place: Where) -> RunRecord {
        let lost = |(verdict, note)| RunRecord {
            scenario: tape.header.scenario.clone(),
            seed: tape.header.seed,
            verdict,
            note: Some(note),
            ..RunRecord::default()
        };
        let idle = if place == Where::Here { self.idle().pop() } else { None };
        let mut worker = match idle.map_or_else(|| Worker::start(place), Ok) {
            Ok(worker) => worker,
            Err(error) => return lost((Verdict::Crashed, format!("the worker could not be started: {error}"))),
        };
        let record = match worker.run(worker::job(options, tape), self.timeout) {
            Ok(record) => record,
            Err(RecvTimeoutError::Disconnected) => return lost((Verdict::Crashed, worker.died())),
            Err(RecvTimeoutError::Timeout) => {
                worker.kill();
                let late = format!("the worker did not end within {:?}", self.timeout);
                return lost((Verdict::Timeout, late));
            }
        };
        if place == Where::Here && record.verdict == Verdict::Green && worker.runs < RUNS_MAX {
            self.idle().push(worker);
        }
        *record
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().expect("no thread panics while it takes a worker")
    }
}

/// A worker process. It ends when its owner lets go of it.
#[derive(Debug)]
struct Worker {
    child: Child,
    /// To the thread that writes to the process and reads from it, so that neither can hold up its owner.
    jobs: Option<mpsc::Sender<String>>,
    /// A record for each job; nothing more from a process that died.
    answers: mpsc::Receiver<Box<RunRecord>>,
    /// What it said on standard error, at its end.
    said: Option<JoinHandle<String>>,
    runs: u32,
}

impl Worker {
    fn start(place: Where) -> std::io::Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if place == Where::Elsewhere {
            command
                .env("SIM_PADDING", "x".repeat(7_777))
                .env("TZ", "Asia/Tokyo")
                .env("LANG", "tr_TR.UTF-8")
                .current_dir("/");
        }
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("the worker's input is piped");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut err = child.stderr.take().expect("piped");
        let said = thread::spawn(move || {
            let mut text = Vec::new();
            drop(err.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let (send, jobs) = mpsc::channel::<String>();
        let (done, answers) = mpsc::channel();
        thread::spawn(move || {
            for job in jobs {
                // A worker that died does not take its job; its silence tells.
                drop(stdin.write_all(job.as_bytes()));
                let Some(record) = answer(&mut out) else { return };
                drop(done.send(record));
            }
        });
        Ok(Worker { child, jobs: Some(send), answers, said: Some(said), runs: 0 })
    }

    /// Hands a job over and waits for the record.
    fn run(&mut self, job: String, timeout: Duration) -> Result<Box<RunRecord>, RecvTimeoutError> {
        self.runs += 1;
        let jobs = self.jobs.as_ref().ok_or(RecvTimeoutError::Disconnected)?;
        jobs.send(job).map_err(|_| RecvTimeoutError::Disconnected)?;
        self.answers.recv_timeout(timeout)
    }

    fn kill(&mut self) {
        drop(self.child.kill());
    }

    /// How it ended, and what it said last.
    fn died(mut self) -> String {
        self.kill();
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        format!("the worker died ({status}): {}", tail(&said))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that waits for a job sees the end of its input.
        self.jobs = None;
        drop(self.child.wait());
    }
}

/// The next record that a worker prints; none when it ends.
fn answer(out: &mut BufReader<ChildStdout>) -> Option<Box<RunRecord>> {
    out.lines().map_while(Result::ok).find_map(|line| serde_json::from_str(&line).ok())
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

//! kill -9 of a broker under load, again and again, and what its clients can prove afterwards.
//!
//! Invariant: what was acknowledged before any of the kills is found after the last one, or the checkers say so.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Clock;
use crate::raw::{self, Raw};
use crate::server::{Plan, Servers};

/// How hard.
#[derive(Clone, Debug)]
pub struct Torture {
    /// Kills in all.
    pub kills: u32,
    /// Connections that send, each in bursts.
    pub connections: usize,
    /// Requests of a burst.
    pub burst: usize,
    /// `ASYNC_FLUSH` or `SYNC_FLUSH`.
    pub flush: &'static str,
    /// Seed of the times between kills.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    /// The history, ready to be judged.
    pub history: PathBuf,
    /// Acknowledged sends.
    pub acknowledged: u64,
    /// Sends whose outcome is unknown.
    pub unknown: u64,
    /// Messages found at the end.
    pub found: u64,
    /// From each restart to the first acknowledgement after it.
    pub recoveries: Vec<Duration>,
}

const TOPIC: &str = "torture";
const QUEUES: u32 = 4;

/// Runs it on servers of `plan`; the history goes to `path`.
pub fn run(torture: &Torture, plan: Plan, path: &Path) -> Result<Report, crate::tools::Missing> {
    let mut servers = plan.with("flushDiskType", torture.flush).start()?;
    servers.create_topic(TOPIC, QUEUES);
    let flush = if torture.flush == "SYNC_FLUSH" { "sync" } else { "async" };
    let lines = Arc::new(Recorder::create(path, flush).expect("the history can be written"));
    let stop = Arc::new(AtomicBool::new(false));
    let acked = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..torture.connections)
        .map(|n| {
            let sender =
                Bursts { client: format!("p{n}"), addr: servers.brokers[0].addr.clone(), burst: torture.burst };
            let (lines, stop, acked) = (lines.clone(), stop.clone(), acked.clone());
            thread::spawn(move || sender.run(&lines, &stop, &acked))
        })
        .collect();
    let recoveries = kill_again_and_again(torture, &mut servers, &acked, &lines);
    stop.store(true, Ordering::SeqCst);
    let unknown = senders.into_iter().map(|sender| sender.join().expect("no sender panics")).sum();
    let found = read_everything(&servers, &lines).expect("a broker that runs answers pulls");
    lines.line(json!({"op": "end", "drained": true}));
    lines.out.lock().expect("no writer panics").flush().expect("the history can be written");
    Ok(Report { history: path.to_owned(), acknowledged: acked.load(Ordering::SeqCst), unknown, found, recoveries })
}

/// Writes history lines as they come: the time of a line is that of its writing, so that lines stand in time order.
struct Recorder {
    clock: Clock,
    out: Mutex<BufWriter<File>>,
}

impl Recorder {
    fn create(path: &Path, flush: &str) -> io::Result<Recorder> {
        let mut out = BufWriter::new(File::create(path)?);
        writeln!(out, "{}", json!({"history": 1, "flush": flush, "replication": "none"}))?;
        Ok(Recorder { clock: Clock::start(), out: Mutex::new(out) })
    }

    fn line(&self, mut line: Value) {
        let mut out = self.out.lock().expect("no writer panics");
        line["t"] = self.clock.now().into();
        writeln!(out, "{line}").expect("the history can be written");
    }

    fn fault(&self, kind: &str, target: &str) {
        self.line(json!({"op": "fault", "kind": kind, "target": target}));
    }
}

fn kill_again_and_again(
    torture: &Torture,
    servers: &mut Servers,
    acked: &AtomicU64,
    lines: &Recorder,
) -> Vec<Duration> {
    let mut random = torture.seed | 1;
    let mut recoveries = Vec::new();
    for _ in 0..torture.kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(200 + (random >> 33) % 900));
        let broker = &mut servers.brokers[0];
        broker.kill();
        lines.fault("kill", &broker.name);
        let (restarted, before) = (Instant::now(), acked.load(Ordering::SeqCst));
        broker.launch();
        let again = crate::process::until(Duration::from_secs(90), || acked.load(Ordering::SeqCst) > before);
        assert!(again, "no acknowledgement within 90 s of a restart: {}", servers.brokers[0].output());
        recoveries.push(restarted.elapsed());
        lines.fault("start", &servers.brokers[0].name);
    }
    thread::sleep(Duration::from_millis(300));
    recoveries
}

/// One connection's worth of load.
struct Bursts {
    client: String,
    addr: String,
    burst: usize,
}

impl Bursts {
    /// Sends until told to stop; how many outcomes stayed unknown.
    fn run(&self, lines: &Recorder, stop: &AtomicBool, acked: &AtomicU64) -> u64 {
        let (mut call, mut unknown) = (0, 0);
        let mut connection = None;
        while !stop.load(Ordering::SeqCst) {
            let Some(raw) = connection.as_mut() else {
                thread::sleep(Duration::from_millis(10));
                connection = Raw::connect(&self.addr).ok();
                continue;
            };
            let answered = self.burst(raw, &mut call, lines, acked);
            unknown += (self.burst - answered) as u64;
            if answered < self.burst {
                connection = None;
            }
            // A steady load, not the highest: the history must stay readable.
            thread::sleep(Duration::from_millis(4));
        }
        unknown
    }

    /// One burst; how many were answered.
    fn burst(&self, raw: &mut Raw, call: &mut u64, lines: &Recorder, acked: &AtomicU64) -> usize {
        let mut first = None;
        let mut broken = false;
        for _ in 0..self.burst {
            *call += 1;
            let key = format!("{}-{call}", self.client);
            let queue = *call as u32 % QUEUES;
            self.line(lines, *call, json!({"type": "invoke", "topic": TOPIC, "key": key, "queue": queue}));
            let properties = format!("KEYS\u{1}{key}\u{2}");
            let body = format!("{key}|{call:0200}");
            match raw.post(310, &fields(&properties, &queue.to_string()), body.as_bytes()) {
                Ok(opaque) => first = first.or(Some((opaque, *call))),
                Err(_) => broken = true,
            }
        }
        let from = *call + 1 - self.burst as u64;
        let mut open: std::collections::BTreeSet<u64> = (from..=*call).collect();
        while let Some((opaque, of)) = first.filter(|_| !broken && !open.is_empty()) {
            let Ok((answer, reply)) = raw.answer() else { break };
            let answered = of + u64::from(answer - opaque);
            assert!(open.remove(&answered), "an answer to a request that is not open");
            if reply.code == 0 {
                acked.fetch_add(1, Ordering::SeqCst);
                let (queue, offset) = (reply.number("queueId"), reply.number("queueOffset"));
                self.line(lines, answered, json!({"type": "ok", "queue": queue, "offset": offset}));
            } else {
                self.line(
                    lines,
                    answered,
                    json!({"type": "info", "error": format!("{} {}", reply.code, reply.remark)}),
                );
            }
        }
        for call in &open {
            self.line(lines, *call, json!({"type": "info", "error": "the connection closed"}));
        }
        self.burst - open.len()
    }

    fn line(&self, lines: &Recorder, call: u64, mut line: Value) {
        line["client"] = self.client.clone().into();
        line["op"] = "send".into();
        line["call"] = call.into();
        lines.line(line);
    }
}

/// Header fields of one message.
fn fields<'a>(properties: &'a str, queue: &'a str) -> [(&'static str, &'a str); 12] {
    [
        ("a", "P_TORTURE"),
        ("b", TOPIC),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ]
}

/// Pulls every queue to its end as the consumer `reader`; how many messages there were.
fn read_everything(servers: &Servers, lines: &Recorder) -> io::Result<u64> {
    let mut raw = Raw::connect(&servers.brokers[0].addr)?;
    let mut call = 0;
    for queue in 0..QUEUES {
        let (low, _) = raw::offsets(&mut raw, TOPIC, queue)?;
        for stored in raw::pull_all(&mut raw, "C_TORTURE", TOPIC, queue, low)? {
            call += 1;
            let body = String::from_utf8_lossy(&stored.body).into_owned();
            let line = |kind: &str| json!({"client": "reader", "op": "deliver", "type": kind, "call": call});
            let mut invoke = line("invoke");
            let more = json!({"group": "C_TORTURE", "topic": TOPIC, "queue": queue, "offset": stored.offset, "attempt": 0,
                "key": body.split('|').next()});
            let all = invoke.as_object_mut().expect("an object");
            all.extend(more.as_object().expect("an object").clone());
            lines.line(invoke);
            lines.line(line("ok"));
        }
    }
    Ok(call)
}

//! Instructions that the broker's machine takes for a message, counted by callgrind: no kernel, no scheduler, no noise.
//!
//! Invariant: only [`counted_step`] and [`counted_codec`] are counted; what feeds them is not.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};

use bytes::BytesMut;
use clap::{Parser, ValueEnum};
use seedmq::driver::SlowDisk;
use seedmq::real::disk::{FastDisk, StoreDir, StorePaths, ThreadedDisk};
use seedmq_core::broker::{Broker, BrokerCommand, BrokerConfig, BrokerEvent};
use seedmq_core::node::{ConnId, Cx, DiskAsk, DiskDone, Input, Instant, Node, Now, Outbox, Output, Rng};
use seedmq_core::wire::pull::{FLAG_SUBSCRIPTION, PullMessageHeader};
use seedmq_core::wire::send::SendMessageHeader;
use seedmq_core::wire::{Frame, codec};

/// Runs itself under `valgrind --tool=callgrind` and prints instructions a message.
#[derive(Parser)]
struct Arguments {
    /// Only this work, without valgrind: what is run under it
    #[arg(long)]
    work: Option<Work>,
    /// Messages that are counted
    #[arg(long, default_value_t = 6_400)]
    messages: u64,
    /// Keep callgrind's files in this directory, for callgrind_annotate
    #[arg(long)]
    keep: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Work {
    /// 1 KiB each, 64 in a batch, over eight queues
    Send,
    /// 1 KiB each, 32 in a pull, four pulls in a batch
    Pull,
}

/// As in the `seedmq` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONN: ConnId = ConnId(0);
const QUEUES: u64 = 8;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(work) = arguments.work {
        Bench::start().run(work, arguments.messages);
        return ExitCode::SUCCESS;
    }
    println!("| work | instructions a message in `step` | in the codec |\n|---|---|---|");
    for work in [Work::Send, Work::Pull] {
        let [step, codec] = ["counted_step", "counted_codec"].map(|what| count(work, what, &arguments));
        println!("| {work:?} | {step:.0} | {codec:.0} |");
    }
    ExitCode::SUCCESS
}

/// What callgrind collects in calls of one function, by message.
fn count(work: Work, what: &str, arguments: &Arguments) -> f64 {
    let exe = std::env::current_exe().expect("a running program has a path");
    let name = work.to_possible_value().expect("no work is hidden").get_name().to_owned();
    let file = arguments.keep.as_ref().map_or("/dev/null".into(), |dir| format!("{dir}/callgrind.{name}.{what}"));
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={file}"));
    valgrind.arg(format!("--toggle-collect=*{what}*")).arg(exe);
    valgrind.args(["--work", &name, "--messages", &arguments.messages.to_string()]);
    let out = valgrind.output().expect("valgrind is installed");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind says what it found");
    collected.1.trim().parse::<f64>().expect("a number") / arguments.messages as f64
}

/// A broker over the real disk, driven by hand.
struct Bench {
    broker: Broker,
    fast: FastDisk,
    slow: ThreadedDisk,
    rng: Rng,
    now: Now,
    outbox: Outbox<BrokerEvent>,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn start() -> Bench {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let (fast, slow) = StoreDir::take(StorePaths::below(dir.path())).expect("a new directory is free").open();
        let mut bench = Bench {
            broker: Broker::new(BrokerConfig::default()),
            fast,
            slow,
            rng: Rng::from_seed(1),
            now: Now { mono: Instant(1_000_000_000), wall_ms: 1_700_000_000_000 },
            outbox: Outbox::default(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            _dir: dir,
        };
        let local: SocketAddr = ([127, 0, 0, 1], 10911).into();
        bench.quietly(vec![Input::Start]);
        bench.quietly(vec![Input::Opened { conn: CONN, dial: None, peer: local, local }]);
        assert!(bench.broker.is_serving(), "the broker is {}", bench.broker.phase());
        bench
    }

    fn run(mut self, work: Work, messages: u64) {
        let sends = |from: u64, batches: u64| (from..from + batches).map(|n| requests(64, |k| send(64 * n + k)));
        let pulls = |from: u64, batches: u64| (from..from + batches).map(|n| requests(4, |k| pull(4 * n + k)));
        let batches = messages.div_ceil(64);
        // The topic is made by the first message, and memory is warm after some more.
        sends(0, 64).for_each(|bytes| self.batch(bytes, false));
        match work {
            Work::Send => sends(64, batches).for_each(|bytes| self.batch(bytes, true)),
            Work::Pull => {
                sends(64, batches + 64).for_each(|bytes| self.batch(bytes, false));
                pulls(0, 16).for_each(|bytes| self.batch(bytes, false));
                pulls(16, messages / 128).for_each(|bytes| self.batch(bytes, true));
            }
        }
    }

    /// What came with one socket read, as the driver handles it.
    fn batch(&mut self, mut bytes: BytesMut, counted: bool) {
        let frames = if counted { counted_codec(|| decode(&mut bytes)) } else { decode(&mut bytes) };
        let asked = frames.len();
        let mut inputs: Vec<_> = frames.into_iter().map(|frame| Input::Frame { conn: CONN, frame }).collect();
        inputs.push(Input::Settle);
        for input in inputs {
            if counted { counted_step(self, input) } else { step(self, input) }
        }
        let mut answers = self.carry_out();
        let mut heads = BytesMut::with_capacity(1 << 16);
        if counted {
            counted_codec(|| answers.iter().for_each(|frame| codec::encode_head(frame, &mut heads)));
        }
        while answers.len() < asked {
            self.quietly(Vec::new());
            answers.extend(self.carry_out());
        }
        assert!(answers.iter().all(|frame| frame.code == 0), "{:?}", answers.iter().find(|frame| frame.code != 0));
        self.now.mono = self.now.mono + std::time::Duration::from_micros(300);
    }

    /// Steps and does what the machine asks of the disk until it asks for nothing more.
    fn quietly(&mut self, mut inputs: Vec<Input<BrokerCommand>>) {
        loop {
            inputs.push(Input::Settle);
            inputs.drain(..).for_each(|input| step(self, input));
            let (asks, others) =
                std::mem::take(&mut self.outbox.0).into_iter().partition(|o| matches!(o, Output::Disk(_)));
            self.outbox.0 = others;
            inputs.extend(Vec::into_iter(asks).filter_map(|ask| self.answer(ask)));
            if self.broker.wake_at().is_some_and(|at| at <= self.now.mono) {
                inputs.push(Input::Wake);
            }
            if inputs.is_empty() {
                return;
            }
        }
    }

    fn answer(&self, output: Output<BrokerEvent>) -> Option<Input<BrokerCommand>> {
        let Output::Disk(ask) = output else { return None };
        let slow = &self.slow;
        Some(Input::Disk(self.runtime.block_on(async {
            match ask {
                DiskAsk::Sync { file, through } => DiskDone::Synced { file, through, result: slow.sync(file).await },
                DiskAsk::Fetch { fetch, file, at, len } => {
                    DiskDone::Fetched { fetch, result: slow.fetch(file, at, len).await }
                }
                DiskAsk::Allocate { path, len } => {
                    DiskDone::Allocated { result: slow.allocate(&path, len).await, path }
                }
                DiskAsk::Replace { path, bytes } => {
                    DiskDone::Replaced { result: slow.write_whole(&path, bytes).await, path }
                }
                DiskAsk::Remove { path } => DiskDone::Removed { result: slow.remove(&path).await, path },
            }
        })))
    }

    /// The answers that the last steps put; what the disk is to do is done by [`Bench::quietly`].
    fn carry_out(&mut self) -> Vec<Frame> {
        let mut answers = Vec::new();
        let mut asks = Vec::new();
        for output in self.outbox.0.drain(..) {
            match output {
                Output::Send { frame, .. } => answers.push(frame),
                Output::Disk(_) => asks.push(output),
                _ => {}
            }
        }
        if !asks.is_empty() {
            let inputs = asks.into_iter().filter_map(|ask| self.answer(ask)).collect();
            self.quietly(inputs);
        }
        answers
    }
}

#[inline(never)]
fn counted_step(bench: &mut Bench, input: Input<BrokerCommand>) {
    step(bench, input);
}

#[inline(never)]
fn counted_codec<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

#[inline(always)]
fn step(bench: &mut Bench, input: Input<BrokerCommand>) {
    let Bench { broker, fast, rng, outbox, now, .. } = bench;
    broker.step(input, &mut Cx { now: *now, disk: fast, rng, out: outbox });
}

fn decode(bytes: &mut BytesMut) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(64);
    while let Some(frame) = codec::decode(bytes).expect("these are frames") {
        frames.push(frame);
    }
    frames
}

fn requests(count: u64, request: impl Fn(u64) -> Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    (0..count).for_each(|n| codec::encode(&request(n), &mut bytes));
    bytes
}

/// The `n`-th message, as a Java client sends it.
fn send(n: u64) -> Frame {
    let properties = format!("UNIQ_KEY\x01FD000000000000000000000000000002{n:032X}\x02WAIT\x01true\x02");
    let header = SendMessageHeader {
        producer_group: "P_LOAD",
        topic: "bench0000",
        default_topic: "TBW102",
        default_topic_queue_nums: QUEUES as i32,
        queue_id: (n % QUEUES) as i32,
        born_timestamp: 1_700_000_000_000,
        properties: &properties,
        reconsume_times: Some(0),
        ..SendMessageHeader::default()
    };
    let mut frame = Frame::request(310).with_body(vec![b'x'; 1024]);
    frame.opaque = 1_000_000_000 + n as i32;
    header.write_v2(&mut frame.fields);
    frame
}

/// The `n`-th pull: the queues in turn, each from its start.
fn pull(n: u64) -> Frame {
    let header = PullMessageHeader {
        consumer_group: "C_LOAD".into(),
        topic: "bench0000".into(),
        queue_id: (n % QUEUES) as i32,
        queue_offset: (n / QUEUES * 32) as i64,
        max_msg_nums: 32,
        sys_flag: FLAG_SUBSCRIPTION,
        subscription: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..PullMessageHeader::default()
    };
    let mut frame = Frame::request(11).with_header(&header);
    frame.opaque = 1_000_000_000 + n as i32;
    frame
}

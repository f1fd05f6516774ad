//! Benchmarks of one run that alternates between SeedMQ, Apache RocketMQ 5.5.0 and a bare server, under one load client.
//!
//! Invariant: every side gets the same bytes over the same connections in the same round, and a round in which anything
//! was refused does not count silently: it ends the run.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use memmap2::MmapMut;
use seedmq::{Message, Producer, PushConsumer};
use seedmq_tests::figures::{Figures, Quantity, Side};
use seedmq_tests::load::{self, Outcome, Pulling, Sending};
use seedmq_tests::process::{Process, until};
use seedmq_tests::raw::{self, Raw};
use seedmq_tests::server::{Make, Plan, Servers, loopback};

/// Compares SeedMQ with Apache RocketMQ 5.5.0 and prints a table
#[derive(Parser, Clone)]
struct Arguments {
    /// Rounds of each line
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of bodies in a burst, in MB
    #[arg(long, default_value_t = 400)]
    burst: u64,
    /// Only these lines: burst, single, small, queues, pull, push, sync, start, restart, memory, minute
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Queues of the store that is started again, eight a topic
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(8..=80_000))]
    restart_queues: u32,
    /// Messages of a round of push
    #[arg(long, default_value_t = 2_000)]
    pushes: u32,
    /// Without SeedMQ (to try the harness)
    #[arg(long)]
    without_ours: bool,
    /// Without Apache RocketMQ (for profiling)
    #[arg(long)]
    without_apache: bool,
}

/// A server under load.
enum Subject {
    Cluster(Side, Box<Servers>),
    Bare(Process, String),
}

impl Subject {
    fn side(&self) -> Side {
        if let Subject::Cluster(side, _) = self { *side } else { Side::Bare }
    }

    fn addr(&self) -> String {
        match self {
            Subject::Cluster(_, servers) => servers.brokers[0].addr.clone(),
            Subject::Bare(_, addr) => addr.clone(),
        }
    }

    fn process(&mut self) -> &mut Process {
        match self {
            Subject::Cluster(_, servers) => servers.brokers[0].process(),
            Subject::Bare(process, _) => process,
        }
    }

    /// Runs a load; rate, CPU and latencies go into the table.
    fn measure(&mut self, figures: &mut Figures, line: &str, run: impl FnOnce(&str) -> std::io::Result<Outcome>) {
        let (addr, before) = (self.addr(), self.process().cpu());
        let outcome = run(&addr).unwrap_or_else(|error| panic!("{line} on {:?}: {error}", self.side()));
        assert_eq!(outcome.refused, 0, "{line} on {:?}: refused", self.side());
        let spent = self.process().cpu().saturating_sub(before);
        let side = self.side();
        let micros = spent.as_secs_f64() * 1e6 / outcome.done as f64;
        eprintln!(
            "{line}: {side:?} {:.0}/s, {micros:.2} µs CPU, p50 {:.0} µs, p99.9 {:.0} µs",
            outcome.rate(),
            outcome.percentile(0.5),
            outcome.percentile(0.999)
        );
        figures.add(line, Quantity::Rate, side, outcome.rate());
        figures.add(line, Quantity::Cpu, side, micros);
        figures.add(line, Quantity::P50, side, outcome.percentile(0.5));
        figures.add(line, Quantity::P999, side, outcome.percentile(0.999));
    }
}

/// Uses so many bytes of memory once. A virtual machine that gives its free memory back to the host takes longer for the first use of a
/// page than a broker needs for the messages in it. Half of what is available is enough.
fn touch(bytes: u64) -> std::io::Result<()> {
    let table = std::fs::read_to_string("/proc/meminfo")?;
    let available =
        table.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok());
    let bytes = bytes.min(available.unwrap_or(0_u64) * 1024 / 2);
    let mut memory = MmapMut::map_anon(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    Ok(())
}

const TOPICS: u32 = 2_000;

fn sending(prefix: &str, connections: usize, in_flight: usize, body: usize, messages: u64) -> Sending {
    let time = Duration::from_secs(300);
    let (addr, prefix) = (String::new(), prefix.into());
    Sending { addr, connections, in_flight, body, topics: 1, queues: 8, prefix, messages, time }
}

fn makes(arguments: &Arguments) -> Vec<(Side, Make)> {
    let mut all = Vec::new();
    if !arguments.without_ours {
        all.push((Side::Ours, Make::Ours));
    }
    if !arguments.without_apache {
        all.push((Side::Apache, Make::Apache));
    }
    all
}

fn clusters(arguments: &Arguments, conf: &[(&str, &str)]) -> Vec<Subject> {
    let start = |(side, make)| {
        let mut plan = Plan::cluster(1, 1).make(make);
        plan.heap = "2g";
        let plan = conf.iter().fold(plan, |plan, (key, value)| plan.with(key, value));
        let servers = plan.start().expect("the servers can be started");
        raw::create_topic(&servers.brokers[0].addr, "bench0000", 8).expect("a topic can be created");
        Subject::Cluster(side, Box::new(servers))
    };
    makes(arguments).into_iter().map(start).collect()
}

fn bare() -> Subject {
    let addr = format!("{}:10911", loopback());
    let program = std::env::current_exe().expect("a running program has a path").with_file_name("bare");
    let mut command = Command::new(program);
    command.arg(&addr);
    let log = std::env::temp_dir().join("seedmq-bare.log");
    let process = Process::spawn(command, &log).expect("the bare server lies beside this program (cargo build --bins)");
    assert!(until(Duration::from_secs(10), || Raw::connect(&addr).is_ok()), "the bare server listens");
    Subject::Bare(process, addr)
}

fn run_line(subjects: &mut [Subject], arguments: &Arguments, figures: &mut Figures, line: &str, load: &Sending) {
    // Three times what all rounds leave in the page cache: the host takes some of it back meanwhile.
    let left = load.messages * (load.body as u64 + 300) * (arguments.rounds * subjects.len()) as u64;
    touch(left * 3).expect("memory can be mapped");
    for _ in 0..arguments.rounds {
        for subject in subjects.iter_mut() {
            subject.measure(figures, line, |addr| load::send(&Sending { addr: addr.into(), ..load.clone() }));
        }
    }
}

/// The lines that share one pair of servers with asynchronous flush.
fn common_lines(arguments: &Arguments, wanted: &dyn Fn(&str) -> bool, figures: &mut Figures) {
    let mut subjects = clusters(arguments, &[]);
    if wanted("memory") {
        memory(&mut subjects, figures, "anonymous memory, idle");
    }
    if wanted("burst") || wanted("single") {
        subjects.push(bare());
    }
    let messages = arguments.burst * 1_000_000 / 1024;
    let warm_up = sending("bench", 4, 64, 1024, messages);
    for subject in &mut subjects {
        for _ in 0..2 {
            subject.measure(&mut Figures::default(), "warming up", |addr| {
                load::send(&Sending { addr: addr.into(), ..warm_up.clone() })
            });
        }
    }
    if wanted("burst") {
        run_line(&mut subjects, arguments, figures, "send 1 KiB, 4 connections × 64 in flight", &warm_up);
    }
    if wanted("single") {
        let load = sending("bench", 4, 1, 1024, messages / 4);
        run_line(&mut subjects, arguments, figures, "send 1 KiB, 4 × 1 in flight", &load);
    }
    subjects.retain(|subject| subject.side() != Side::Bare);
    if wanted("small") {
        let load = sending("bench", 4, 256, 100, messages * 2);
        run_line(&mut subjects, arguments, figures, "send 100 B, 4 × 256", &load);
    }
    if wanted("pull") {
        pulls(&mut subjects, arguments, figures, messages * 2);
    }
    if wanted("push") {
        pushes(&mut subjects, arguments, figures);
    }
    if wanted("queues") {
        subjects.iter().for_each(|subject| create_many(&subject.addr(), TOPICS));
        let load = Sending { topics: TOPICS, ..sending("many", 4, 64, 1024, messages) };
        run_line(&mut subjects, arguments, figures, "send over 16,000 queues", &load);
    }
    if wanted("minute") {
        a_minute(&mut subjects, figures);
    }
    if wanted("memory") {
        memory(&mut subjects, figures, "anonymous memory, loaded");
    }
}

fn pulls(subjects: &mut [Subject], arguments: &Arguments, figures: &mut Figures, messages: u64) {
    for _ in 0..arguments.rounds {
        for subject in subjects.iter_mut() {
            subject.measure(figures, "pull 1 KiB, batches of 32", |addr| {
                let mut outcome =
                    load::pull(&Pulling { addr: addr.into(), connections: 4, prefix: "bench".into(), messages })?;
                // A queue's end is answered with 19: the reader starts again there.
                outcome.refused = if outcome.refused > 1_000 { outcome.refused } else { 0 };
                Ok(outcome)
            });
        }
    }
}

/// From the call of a send to the handler of a push consumer, both of our client library, one message at a time.
fn pushes(subjects: &mut [Subject], arguments: &Arguments, figures: &mut Figures) {
    const LINE: &str = "push 1 KiB, one at a time, from send to handler";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for round in 0..arguments.rounds {
        for subject in subjects.iter_mut() {
            let Subject::Cluster(side, servers) = subject else { continue };
            if round == 0 {
                raw::create_topic(&servers.brokers[0].addr, "pushed", 1).expect("a topic can be created");
            }
            let mut micros = runtime.block_on(pushed(&servers.name_server_list(), arguments.pushes));
            micros.sort_by(f64::total_cmp);
            for (quantity, share) in [(Quantity::P50, 0.5), (Quantity::P99, 0.99)] {
                let at = (micros.len() as f64 * share) as usize;
                eprintln!("{LINE}: {side:?} {quantity:?} {:.0} µs", micros[at]);
                figures.add(LINE, quantity, *side, micros[at]);
            }
        }
    }
}

/// The latency of each message in microseconds. A first one, which waits for routes and queues, does not count.
async fn pushed(name_servers: &str, messages: u32) -> Vec<f64> {
    let producer = Producer::builder("P_PUSH").name_servers(name_servers).start().expect("a producer");
    let consumer = PushConsumer::builder("C_PUSH").name_servers(name_servers).subscribe("pushed", "*").from_first();
    let consumer = consumer.start().await.expect("a consumer");
    let mut micros = Vec::new();
    for n in 0..=messages {
        let mut body = vec![b'x'; 1024];
        body[..4].copy_from_slice(&n.to_be_bytes());
        let started = Instant::now();
        let arrived = async {
            loop {
                let delivery = consumer.next().await.expect("the consumer runs");
                // What an earlier round has left to be delivered again is passed over.
                let (ours, took) = (delivery.messages()[0].body.starts_with(&n.to_be_bytes()), started.elapsed());
                delivery.ack().await;
                if ours {
                    return took;
                }
            }
        };
        let (sent, took) = tokio::join!(producer.send("pushed", Message::new(body)), arrived);
        sent.expect("the broker takes it");
        micros.push(took.as_secs_f64() * 1e6);
    }
    producer.shutdown().await;
    consumer.shutdown().await;
    micros.split_off(1)
}

fn create_many(addr: &str, topics: u32) {
    let mut raw = Raw::connect(addr).expect("the broker runs");
    for n in 0..topics {
        let topic = format!("many{n:04}");
        let fields = [
            ("topic", topic.as_str()),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "8"),
            ("writeQueueNums", "8"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let reply = raw.call(17, &fields, &[]).expect("the broker answers");
        assert_eq!(reply.code, 0, "{topic}: {}", reply.remark);
    }
}

fn memory(subjects: &mut [Subject], figures: &mut Figures, line: &str) {
    for subject in subjects {
        let side = subject.side();
        figures.add(line, Quantity::Memory, side, subject.process().anonymous() as f64 / f64::from(1 << 20));
    }
}

/// A message of this load in the log: 91 fixed bytes, topic, body, and 146 bytes of properties with what a broker adds.
const RECORD_BYTES: f64 = (91 + 9 + 1024 + 146) as f64;

/// The column of the bare server says what the disk alone would take: its sequential rate by the bytes of a record.
fn a_minute(subjects: &mut [Subject], figures: &mut Figures) {
    const LINE: &str = "send 1 KiB, 4 × 64, for 60 s";
    let load = Sending { time: Duration::from_secs(60), ..sending("bench", 4, 64, 1024, u64::MAX / 8) };
    for subject in subjects.iter_mut() {
        sync_all();
        subject.measure(figures, LINE, |addr| load::send(&Sending { addr: addr.into(), ..load.clone() }));
    }
    sync_all();
    let rate = disk_rate().expect("the disk can be written");
    eprintln!("the disk writes {:.0} MB/s sequentially", rate / 1e6);
    figures.add(LINE, Quantity::Rate, Side::Bare, rate / RECORD_BYTES);
}

/// Nobody starts with what somebody else has left to write.
fn sync_all() {
    assert!(Command::new("sync").status().is_ok_and(|status| status.success()), "sync is there");
}

/// Bytes per second that the disk of the stores takes, 2 GB in writes of 1 MiB, flushed at the end.
fn disk_rate() -> std::io::Result<f64> {
    let mut file = tempfile::tempfile()?;
    let (chunk, count) = (vec![7_u8; 1 << 20], 2_000);
    let started = Instant::now();
    for _ in 0..count {
        file.write_all(&chunk)?;
    }
    file.sync_data()?;
    Ok((count * chunk.len()) as f64 / started.elapsed().as_secs_f64())
}

/// From the start of a stopped broker to its first acknowledgement.
fn time_to_first_answer(servers: &mut Servers) -> f64 {
    let started = Instant::now();
    servers.brokers[0].launch();
    let addr = servers.brokers[0].addr.clone();
    let fields = [
        ("a", "P"),
        ("b", "TBW102"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "0"),
        ("h", "0"),
        ("i", ""),
    ];
    while started.elapsed() < Duration::from_secs(120) {
        let acknowledged = Raw::connect(&addr).and_then(|mut raw| raw.call(310, &fields, b"first"));
        if acknowledged.is_ok_and(|reply| reply.code == 0) {
            return started.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no acknowledgement within 120 s: {}", servers.brokers[0].output());
}

fn starts(arguments: &Arguments, figures: &mut Figures) {
    for _ in 0..arguments.rounds {
        for (side, make) in makes(arguments) {
            let mut servers = Plan::cluster(1, 1).make(make).prepare().expect("the servers can be prepared");
            servers.name_servers[0].start();
            let seconds = time_to_first_answer(&mut servers);
            eprintln!("start on an empty store: {side:?} {seconds:.3} s");
            figures.add("start on an empty store to first acknowledgement", Quantity::Seconds, side, seconds);
        }
    }
}

fn restarts(arguments: &Arguments, figures: &mut Figures) {
    let (topics, queues) = (arguments.restart_queues / 8, arguments.restart_queues / 8 * 8);
    let [killed, stopped] = ["kill -9", "a clean stop"].map(|end| format!("start after {end}, 4 GB, {queues} queues"));
    for subject in clusters(arguments, &[]) {
        let Subject::Cluster(side, mut servers) = subject else { continue };
        let addr = servers.brokers[0].addr.clone();
        create_many(&addr, topics);
        let load = Sending { topics, addr, ..sending("many", 4, 64, 1024, 4_000_000_000 / 1024) };
        load::send(&load).expect("the broker answers");
        for _ in 0..arguments.rounds {
            servers.brokers[0].kill();
            let seconds = time_to_first_answer(&mut servers);
            eprintln!("{killed}: {side:?} {seconds:.3} s");
            figures.add(&killed, Quantity::Seconds, side, seconds);
            std::thread::sleep(Duration::from_secs(3));
            servers.brokers[0].stop();
            let seconds = time_to_first_answer(&mut servers);
            eprintln!("{stopped}: {side:?} {seconds:.3} s");
            figures.add(&stopped, Quantity::Seconds, side, seconds);
            std::thread::sleep(Duration::from_secs(12));
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let only = arguments.only.clone();
    let wanted = move |line: &str| only.is_empty() || only.iter().any(|one| one == line);
    let mut figures = Figures::default();
    if ["burst", "single", "small", "queues", "pull", "push", "memory", "minute"].iter().any(|line| wanted(line)) {
        common_lines(&arguments, &wanted, &mut figures);
    }
    if wanted("sync") {
        let mut subjects = clusters(&arguments, &[("flushDiskType", "SYNC_FLUSH")]);
        let load = sending("bench", 4, 64, 1024, arguments.burst * 1_000_000 / 1024 / 2);
        run_line(&mut subjects, &arguments, &mut figures, "synchronous flush, 4 × 64", &load);
    }
    if wanted("start") {
        starts(&arguments, &mut figures);
    }
    if wanted("restart") {
        restarts(&arguments, &mut figures);
    }
    println!("{}", figures.table());
    ExitCode::SUCCESS
}

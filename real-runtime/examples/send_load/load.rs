//! The measurement: clients on threads, and the echo node if no broker is given.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use seedmq::driver::echo::Echo;
use seedmq::driver::{Limits, Listener, Net, NoDisk, Setup, World, drive, mailbox};
use seedmq::real::RealWorld;
use seedmq_core::wire::send::SendMessageHeader;
use seedmq_core::wire::{Frame, codec};

/// Measures and prints.
pub fn run() {
    let number = |n: usize, default: usize| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (connections, in_flight, body, seconds) = (number(1, 4), number(2, 64), number(3, 1024), number(4, 5));
    let (at, clock) = match (std::env::args().nth(5), std::env::args().nth(6)) {
        (Some(at), Some(pid)) => (at.parse().expect("an address"), format!("/proc/{pid}/stat")),
        _ => server(),
    };
    let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    for _ in 0..connections {
        let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
        std::thread::spawn(move || client(at, in_flight, body, &answered, &over));
    }
    std::thread::sleep(Duration::from_millis(500));
    let (before, cpu_before, began) = (answered.load(Ordering::Relaxed), on_cpu(&clock), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let count = answered.load(Ordering::Relaxed) - before;
    let (cpu, took) = (on_cpu(&clock) - cpu_before, began.elapsed());
    over.store(true, Ordering::Relaxed);
    println!(
        "{connections} x {in_flight} in flight, {body} B: {:.0} messages/s, {:.2} us CPU of the server a message",
        count as f64 / took.as_secs_f64(),
        cpu as f64 / 1000.0 / count as f64
    );
}

/// An echo node on a thread of its own; its address and the file that tells its CPU time.
fn server() -> (SocketAddr, String) {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let clock = std::fs::canonicalize("/proc/thread-self").expect("this is Linux").join("schedstat");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("an event queue").block_on(async {
            let world = RealWorld::without_disk();
            let listener = world.net().listen(([127, 0, 0, 1], 0).into()).await.expect("a free port");
            tell.send((listener.local(), clock.display().to_string())).expect("main waits");
            let (mailbox, _handle) = mailbox();
            let setup = Setup {
                disk: Box::new(NoDisk),
                seed: 1,
                listeners: vec![listener],
                tap: (),
                events: Box::new(|_| {}),
                limits: Limits::default(),
            };
            drive(Echo::default(), world, mailbox, setup).await
        });
    });
    told.recv().expect("the server starts")
}

/// Nanoseconds on a processor: of the echo node's thread, or of a whole process in ticks of 10 ms.
fn on_cpu(clock: &str) -> u64 {
    let text = std::fs::read_to_string(clock).expect("it runs");
    if clock.ends_with("schedstat") {
        return text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds come first");
    }
    let fields = text.rsplit_once(')').expect("the name stands in brackets").1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number") * 10_000_000).sum()
}

/// Keeps `in_flight` requests under way; answers are only counted by their bytes.
fn client(at: SocketAddr, in_flight: usize, body: usize, answered: &AtomicU64, over: &AtomicBool) {
    let header = SendMessageHeader {
        producer_group: "load",
        topic: "Load",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: 1_700_000_000_000,
        ..SendMessageHeader::default()
    };
    let mut request = Frame::request(310).with_body(vec![b'x'; body]);
    header.write_v2(&mut request.fields);
    let mut bytes = BytesMut::new();
    codec::encode_head(&request, &mut bytes);
    bytes.extend_from_slice(&request.body);
    let mut stream = TcpStream::connect(at).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP stream");
    stream.write_all(&bytes).expect("it takes");
    let mut buffer = vec![0; 1 << 20];
    // All answers are as long as the first.
    let mut got = stream.read(&mut buffer).expect("it answers");
    let answer = 4 + u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
    while got < answer {
        got += stream.read(&mut buffer).expect("it answers");
    }
    stream.write_all(&bytes.repeat(in_flight)).expect("it takes");
    let mut have = 0;
    while !over.load(Ordering::Relaxed) {
        have += stream.read(&mut buffer).expect("it answers");
        let whole = have / answer;
        have %= answer;
        answered.fetch_add(whole as u64, Ordering::Relaxed);
        stream.write_all(&bytes.repeat(whole)).expect("it takes");
    }
}

//! Two echo nodes under the production driver in the simulated world.

use std::sync::atomic::{AtomicU64, Ordering};

use seedmq::driver::echo::{Echo, EchoCommand, EchoEvent};
use seedmq::driver::{self, Limits, NoDisk, Setup, mailbox};
use seedmq_core::wire::Frame;

use super::*;
use crate::net::{LinkSpec, SimNet};
use crate::tap::{Log, LogTap, SharedLog};

/// What may differ between two runs.
#[derive(Clone)]
struct Plan {
    executor: u64,
    body: Vec<u8>,
    latency_us: u32,
    asks: u64,
    kill: Option<(u64, Death)>,
    cut: Option<(u64, u64)>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { executor: 1, body: vec![7; 300], latency_us: 150, asks: 20, kill: None, cut: None }
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    hash: String,
    answered: u64,
    lost: u64,
    end_ms: u64,
    /// Whether the client still has a connection that the killed server closed, two seconds later.
    deserted: bool,
}

const SECOND: u64 = 1_000_000_000;

fn server(world: &Arc<World>, host: HostId, log: &SharedLog) -> madsim::task::NodeId {
    let (world, log) = (Arc::clone(world), log.clone());
    let boot = move || {
        let (world, log) = (Arc::clone(&world), log.clone());
        async move {
            let process = Process::new(&world, host, NoDisk, CpuSpec::default());
            let listener = SimNet::new(&world, host).bind("0.0.0.0:9000".parse().unwrap()).unwrap();
            let (mail, _handle) = mailbox();
            let tap = LogTap::new(&world, host, &log);
            let events = Box::new(|_| {});
            let setup = Setup {
                disk: Box::new(NoDisk),
                seed: 1,
                listeners: vec![listener],
                tap,
                events,
                limits: Limits::default(),
            };
            driver::drive(Echo::default(), process, mail, setup).await;
        }
    };
    madsim::runtime::Handle::current().create_node().init(boot).build().id()
}

fn client(
    world: &Arc<World>,
    host: HostId,
    to: &str,
    plan: &Plan,
    log: &SharedLog,
    counts: &Arc<[AtomicU64; 2]>,
) -> madsim::task::NodeId {
    let (world, log, to, plan, counts) =
        (Arc::clone(world), log.clone(), to.to_owned(), plan.clone(), Arc::clone(counts));
    let boot = move || {
        let (world, log, to, plan, counts) =
            (Arc::clone(&world), log.clone(), to.clone(), plan.clone(), Arc::clone(&counts));
        async move {
            let process = Process::new(&world, host, NoDisk, CpuSpec::default());
            let (mail, handle) = mailbox();
            let asker = process.clone();
            tokio::task::spawn_local(async move {
                for n in 0..plan.asks {
                    driver::World::sleep_until(&asker, seedmq_core::node::Instant(n * SECOND / 2)).await;
                    let frame = Frame::request(77).with_body(plan.body.clone());
                    handle.command(EchoCommand::Ask(to.as_str().into(), frame)).await.unwrap();
                }
                std::future::pending::<()>().await;
            });
            let events = Box::new(move |event| {
                let at = usize::from(matches!(event, EchoEvent::Lost));
                counts[at].fetch_add(1, Ordering::Relaxed);
            });
            let tap = LogTap::new(&world, host, &log);
            let setup =
                Setup { disk: Box::new(NoDisk), seed: 2, listeners: vec![], tap, events, limits: Limits::default() };
            driver::drive(Echo::default(), process, mail, setup).await;
        }
    };
    madsim::runtime::Handle::current().create_node().init(boot).build().id()
}

fn echo(plan: &Plan) -> Outcome {
    run(5, plan.executor, |world| async move {
        let log = SharedLog::new(Log::new(None));
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let (a, b) = (world.add_host(), world.add_host());
        world.set_links(LinkSpec { latency_us: plan.latency_us, ..LinkSpec::default() });
        // One after the other: what happens in one moment on two hosts has no order.
        let first = server(&world, a, &log);
        world.start(a, first);
        world.quiet().await;
        let second = client(&world, b, &format!("{}:9000", world.ip(a)), plan, &log, &counts);
        world.start(b, second);
        let nodes = [first, second];
        if let Some((at, _)) = plan.kill {
            world.remind(at, 1);
        }
        if let Some((from, to)) = plan.cut {
            world.remind(from, 2);
            world.remind(to, 3);
        }
        world.remind(60 * SECOND, 4);
        let handle = madsim::runtime::Handle::current();
        let mut deserted = false;
        loop {
            world.quiet().await;
            match world.next(u64::MAX).expect("the end is on the agenda") {
                Some(1) => {
                    world.die(a, plan.kill.unwrap().1);
                    handle.kill(nodes[0]);
                    world.remind(world.now_ns() + 2 * SECOND, 5);
                }
                Some(2) => world.cut_link(a, b),
                Some(3) => world.mend_link(a, b),
                Some(5) => {
                    deserted = world.deserted(b).contains(&a);
                    world.start(a, nodes[0]);
                    handle.restart(nodes[0]);
                }
                Some(_) => break,
                None => {}
            }
        }
        nodes.iter().for_each(|node| handle.kill(*node));
        madsim::time::sleep(Duration::from_millis(10)).await;
        let (.., hash) = log.result();
        let [answered, lost] = [0, 1].map(|n: usize| counts[n].load(Ordering::Relaxed));
        Outcome { hash, answered, lost, end_ms: world.now_ns() / 1_000_000, deserted }
    })
}

/// A run on a thread of its own: a process may hold only one madsim runtime per thread.
fn fresh(plan: Plan) -> Outcome {
    std::thread::spawn(move || echo(&plan)).join().unwrap()
}

#[test]
fn frames_go_there_and_back_under_the_production_driver() {
    let outcome = fresh(Plan::default());
    assert_eq!((outcome.answered, outcome.lost, outcome.end_ms), (20, 0, 60_000));
}

#[test]
fn the_order_of_polling_does_not_matter() {
    let first = fresh(Plan::default());
    for executor in 2..12 {
        assert_eq!(first, fresh(Plan { executor, ..Plan::default() }), "executor seed {executor}");
    }
}

#[test]
fn one_byte_or_one_microsecond_changes_the_hash() {
    let base = fresh(Plan::default());
    let mut body = vec![7; 300];
    body[123] = 8;
    assert_ne!(base.hash, fresh(Plan { body, ..Plan::default() }).hash);
    assert_ne!(base.hash, fresh(Plan { latency_us: 151, ..Plan::default() }).hash);
}

#[test]
fn a_killed_peer_is_noticed_and_a_dark_one_is_not() {
    let killed = fresh(Plan { kill: Some((5 * SECOND + 1, Death::Killed)), ..Plan::default() });
    assert!(killed.lost >= 11, "open connections are closed by the kernel: {killed:?}");
    let dark = fresh(Plan { kill: Some((5 * SECOND + 1, Death::PowerLost)), ..Plan::default() });
    assert_eq!(dark.lost, 2, "nobody tells the client of old connections; two dials give up: {dark:?}");
    assert!(dark.answered > killed.answered, "requests to connect are repeated until the host is back");
}

#[test]
fn who_was_not_told_is_deserted() {
    let kill = |how| Plan { kill: Some((5 * SECOND + 1, how)), ..Plan::default() };
    assert!(!fresh(kill(Death::Killed)).deserted, "the kernel says so");
    assert!(fresh(kill(Death::Vanished)).deserted, "nobody says anything");
    let cut = Some((5 * SECOND, 9 * SECOND));
    assert!(fresh(Plan { cut, ..kill(Death::Killed) }).deserted, "what the kernel says does not come through");
}

#[test]
fn a_partition_delays_and_does_not_close() {
    let cut = fresh(Plan { cut: Some((3 * SECOND + 1, 4 * SECOND + 1)), ..Plan::default() });
    assert_eq!((cut.answered, cut.lost), (20, 0), "retransmission carries everything over one second");
    let long = fresh(Plan { cut: Some((3 * SECOND, 15 * SECOND)), ..Plan::default() });
    assert!(long.lost > 0 && long.answered < 20, "dials give up after three seconds: {long:?}");
}

//! Shrinking with a judge that knows the truth about a made-up bug.

use super::*;
use crate::generate::generate;
use crate::scenario::Scenario;
use crate::tape::{Mode, QueuePick, What};

/// Fails when its rule says so; counts what it was asked.
struct Fake<F> {
    fails: F,
    asked: usize,
}

impl<F: Fn(&Tape) -> bool> Judge<Tape> for Fake<F> {
    fn first(&mut self, n: usize, candidate: &(dyn Fn(usize) -> Tape + Sync)) -> Option<usize> {
        (0..n).find(|n| {
            self.asked += 1;
            (self.fails)(&candidate(*n))
        })
    }
}

#[derive(Default)]
struct Quiet {
    phases: Vec<Phase>,
    kept: usize,
    patience: Option<usize>,
}

impl Watch for Quiet {
    fn begins(&mut self, phase: Phase, _: &Tape) {
        self.phases.push(phase);
    }
    fn kept(&mut self, _: Phase, tape: &Tape) {
        self.kept += 1;
        assert_eq!(Tape::parse(&tape.to_text()).as_ref(), Ok(tape), "what is kept can be run");
    }
    fn ends(&mut self, _: Phase, _: &Tape) {}
    fn enough(&self) -> bool {
        self.patience.is_some_and(|patience| self.kept >= patience)
    }
}

fn swarm(seed: u64) -> Tape {
    generate(&crate::scenario::find("swarm").unwrap(), seed, &[])
}

/// A made-up bug: a message of p1 with a body of at least 100 bytes, followed by a kill of broker-a that lasts 300 ms or more.
fn fails(tape: &Tape) -> bool {
    let big = |a: &&Action| matches!(&a.what, What::Send { client, size, .. } if client == "p1" && *size >= 100);
    let kill =
        |a: &&Action| matches!(&a.what, What::Kill { node, down_ms: Some(ms), .. } if node == "broker-a" && *ms >= 300);
    let first = tape.actions.iter().filter(big).map(|a| times::time(&a.when)).min();
    let last = tape.actions.iter().filter(kill).map(|a| times::time(&a.when)).max();
    first.zip(last).is_some_and(|(first, last)| first <= last)
}

fn shrunk(tape: &Tape, watch: &mut Quiet) -> (Tape, usize) {
    let mut judge = Fake { fails, asked: 0 };
    let small = shrink(tape, &BTreeMap::new(), &mut judge, watch);
    assert!(fails(&small));
    (small, judge.asked)
}

#[test]
fn only_the_cause_is_left() {
    let all: Vec<Tape> = (0..240).map(swarm).filter(fails).take(3).collect();
    assert_eq!(all.len(), 3, "some seeds of the swarm have this bug");
    for tape in &all {
        let (small, asked) = shrunk(tape, &mut Quiet::default());
        assert_eq!((small.faults(), small.operations()), (1, 1), "{}", small.to_text());
        assert_eq!(small.header.config.nodes().collect::<Vec<_>>(), ["broker-a", "p1"]);
        let send = small.actions.iter().find(|a| a.what.fault().is_none()).unwrap();
        assert!(matches!(
            &send.what,
            What::Send {
                size: 100..112,
                batch: 1,
                mode: Mode::Sync,
                queue: QueuePick::Any,
                shard: None,
                tag: None,
                ..
            }
        ));
        let kill = small.actions.iter().find(|a| a.what.fault().is_some()).unwrap();
        assert!(matches!(kill.what, What::Kill { down_ms: Some(300..=500), .. }), "{kill:?}");
        let config = &small.header.config;
        assert!(config.brokers[0].properties.is_empty() && config.topics.len() <= 1 && config.groups.is_empty());
        let plain = [
            crate::tape::Config::default().network,
            crate::tape::Latency { min_us: 1, max_us: 1, slow_permille: 0, slow_us: 0 },
        ];
        assert!(config.buggify_permille == 0 && plain.contains(&config.network), "{config:?}");
        assert!(config.safety_ms <= 2_010, "{}", config.safety_ms);
        assert!(asked < 1_500, "{asked} candidates");
    }
}

#[test]
fn promises_stay_as_they_are() {
    let tape = (0..60).map(swarm).find(fails).unwrap();
    let (small, _) = shrunk(&tape, &mut Quiet::default());
    let (was, is) = (&tape.header, &small.header);
    assert_eq!((was.seed, &was.scenario, was.config.converge_ms), (is.seed, &is.scenario, is.config.converge_ms));
    assert_eq!(was.config.expect, is.config.expect);
    assert_eq!(was.config.brokers[0].flush, is.config.brokers[0].flush);
    assert_eq!(small.actions.iter().filter(|a| !tape.actions.iter().any(|b| b.id == a.id)).count(), 0);
}

#[test]
fn a_second_shrink_finds_nothing_more() {
    let tape = (0..60).map(swarm).find(fails).unwrap();
    let (small, _) = shrunk(&tape, &mut Quiet::default());
    let mut again = Quiet::default();
    assert_eq!(shrunk(&small, &mut again).0, small);
    assert_eq!(again.kept, 0);
}

#[test]
fn an_interrupted_shrink_still_fails() {
    let tape = (0..60).map(swarm).find(fails).unwrap();
    for patience in [1, 3, 10, 30] {
        let mut watch = Quiet { patience: Some(patience), ..Quiet::default() };
        let (small, _) = shrunk(&tape, &mut watch);
        assert!(small.actions.len() <= tape.actions.len());
    }
}

#[test]
fn phases_come_in_their_order() {
    let tape = (0..60).map(swarm).find(fails).unwrap();
    let mut watch = Quiet::default();
    shrunk(&tape, &mut watch);
    assert_eq!(watch.phases[..5], [Phase::Triggers, Phase::Faults, Phase::Nodes, Phase::Operations, Phase::Payload]);
}

const COUNTED: &str = r#"
[topics.T]
queues = 1
[groups.g]
topics = ["T"]
members = 1
[[workload]]
topic = "T"
[[faults]]
kind = "power-loss"
target = "broker"
on = "sync-in-flight"
n = 17
down-ms = 100
"#;

#[test]
fn a_trigger_counts_from_when_it_fired() {
    let tape = generate(&Scenario::parse("t", "t.toml", COUNTED).unwrap(), 1, &[]);
    let id = tape.actions.iter().find(|a| a.what.fault().is_some()).unwrap().id;
    let fires = |tape: &Tape| {
        tape.actions
            .iter()
            .any(|a| matches!(a.when, Trigger::On { n: 17, from: 0, .. } | Trigger::On { n: 1, from: 4_321, .. }))
    };
    let mut judge = Fake { fails: fires, asked: 0 };
    let small = shrink(&tape, &BTreeMap::from([(id, 4_321.7)]), &mut judge, &mut Quiet::default());
    assert_eq!(small.actions.len(), 1);
    assert!(matches!(small.actions[0].when, Trigger::On { n: 1, from: 4_321, .. }), "{:?}", small.actions[0].when);
}

#[test]
fn numbers_come_nearer_to_the_least() {
    assert_eq!(payload::numbers(13_487, 0), [0, 10_000, 6_743, 13_000]);
    assert_eq!(payload::numbers(3, 1), [1, 2]);
    assert_eq!(payload::numbers(1, 1), [] as [i64; 0]);
    assert_eq!(payload::numbers(-250, 0), [0, -200, -125]);
    assert_eq!(payload::numbers(0, 1), [] as [i64; 0], "zero stays");
}

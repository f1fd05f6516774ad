//! What a seed draws, and what it leaves alone.

use std::collections::BTreeSet;

use super::generate;
use crate::scenario::{self, Scenario};
use crate::tape::{Tape, Trigger, What};

const TEXT: &str = r#"
[cluster]
brokers = [1, 3]
flush = ["sync", "async"]
[cluster.properties]
mappedFileSizeCommitLog = [4096, 65536]
[topics.T]
queues = [1, 4]
[groups.g]
topics = ["T"]
members = [1, 3]
[[workload]]
topic = "T"
producers = [1, 3]
modes = { sync = 5, async = 3, batch = 1 }
[[faults]]
kind = "kill"
chance = 50
target = "broker"
down-ms = [100, 2000]
"#;

fn tape(text: &str, seed: u64) -> Tape {
    generate(&Scenario::parse("t", "t.toml", text).unwrap(), seed, &[])
}

fn sends(tape: &Tape) -> Vec<String> {
    tape.actions.iter().filter(|a| matches!(a.what, What::Send { .. })).map(crate::tape::Action::to_line).collect()
}

#[test]
fn a_seed_is_a_tape_and_its_text_reads_back() {
    let first = tape(TEXT, 7);
    assert_eq!(first, tape(TEXT, 7));
    assert_ne!(first, tape(TEXT, 8));
    assert_eq!(Tape::parse(&first.to_text()), Ok(first));
}

#[test]
fn seeds_draw_every_shape() {
    let tapes: Vec<Tape> = (0..60).map(|seed| tape(TEXT, seed)).collect();
    let shapes = |f: &dyn Fn(&Tape) -> String| tapes.iter().map(f).collect::<BTreeSet<_>>().len();
    assert_eq!(shapes(&|t| t.header.config.brokers.len().to_string()), 3);
    assert_eq!(shapes(&|t| format!("{:?}", t.header.config.brokers[0].flush)), 2);
    assert_eq!(shapes(&|t| format!("{:?}", t.header.config.brokers[0].properties)), 2);
    assert_eq!(shapes(&|t| format!("{:?}", t.header.config.topics["T"].queues)), 4);
    let faulty = tapes.iter().filter(|t| t.actions.iter().any(|a| a.what.fault().is_some())).count();
    assert!((15..45).contains(&faulty), "half of the seeds have the fault in play, found {faulty} of 60");
}

#[test]
fn a_later_workload_begins_later_and_lasts_as_long() {
    let later = TEXT.replace("producers = [1, 3]", "producers = [1, 3]\nfrom-seconds = 40\nseconds = 5");
    let times = |tape: &Tape| -> Vec<u64> {
        let sends = tape.actions.iter().filter(|action| matches!(action.what, What::Send { .. }));
        sends.map(|action| if let Trigger::At { at } = action.when { at } else { 0 }).collect()
    };
    let times = times(&tape(&later, 3));
    assert!(times.len() > 20 && times.iter().all(|at| (40_500..45_500).contains(at)), "{times:?}");
}

#[test]
fn one_more_fault_moves_no_send() {
    let more = format!("{TEXT}\n[[faults]]\nkind = \"pause\"\ntarget = \"broker\"\nfor-ms = 100\n");
    for seed in 0..10 {
        let (a, b) = (tape(TEXT, seed), tape(&more, seed));
        assert!(sends(&a).len() > 100);
        assert_eq!(sends(&a), sends(&b));
        assert!(a.actions.iter().all(|x| b.actions.contains(x)));
    }
}

#[test]
fn every_scenario_of_the_project_makes_valid_tapes() {
    for file in scenario::files(&scenario::directory()) {
        let scenario = Scenario::load(&file).unwrap();
        for seed in 0..5 {
            let tape = generate(&scenario, seed, &[]);
            assert_eq!(Tape::parse(&tape.to_text()).as_ref(), Ok(&tape), "{}", scenario.name);
            let end = tape.header.config.safety_ms;
            let late = tape.actions.iter().find(|a| matches!(a.when, Trigger::At { at } if at > end));
            assert!(
                late.is_none() || late.is_some_and(|a| a.what.fault().is_none()),
                "{}: {late:?} is after the safety phase",
                scenario.name
            );
        }
    }
}

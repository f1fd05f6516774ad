//! Random histories of a correct cluster are green; the same history with one thing wrong is red.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seedmq_reports::Oracle;

use super::tests::header;
use super::{Checker, check, check_stream};
use crate::history::{History, Op, Phase, Queue, Record};

/// A correct cluster: producers that send one after the other into `queues` queues, and members of one orderly group that
/// consume in order, each queue owned by one of them, with a hand-over (and a commit) in the middle.
#[derive(Clone, Debug)]
struct Plan {
    queues: u32,
    members: u32,
    sends: Vec<(u32, u32, u8)>,
    handover: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let sends = proptest::collection::vec((0..3u32, 0..4u32, 0..8u8), 8..60);
    (1..4u32, 1..4u32, sends, 0..60usize).prop_map(|(queues, members, sends, handover)| Plan {
        queues,
        members,
        sends: sends.into_iter().map(|(p, q, how)| (p, q % queues, how)).collect(),
        handover,
    })
}

struct Writer {
    history: History,
    t: f64,
    call: u64,
}

impl Writer {
    fn say(&mut self, client: &str, op: Op) {
        self.t += 1.0;
        self.history.records.push(Record { t: self.t, client: client.into(), op });
    }

    fn assign(&mut self, plan: &Plan, shift: u32) {
        for member in 0..plan.members {
            let mine = (0..plan.queues).filter(|q| (q + shift) % plan.members == member);
            let queues = mine.map(|q| Queue::on("a", q)).collect();
            self.say(&format!("c{member}"), Op::Assign { group: "o".into(), topic: "Q".into(), queues });
        }
    }

    fn send(&mut self, producer: u32, key: &str, at: (u32, u64), phase: Phase) {
        self.call += 1;
        let (client, call) = (format!("p{producer}"), self.call);
        let blank = |phase, topic: &str, key: &str, queue, offset| Op::Send {
            phase,
            call,
            topic: topic.into(),
            key: key.into(),
            shard: None,
            tag: None,
            queue,
            offset,
            error: None,
            attempts: None,
        };
        self.say(&client, blank(Phase::Invoke, "Q", key, None, None));
        let stored = (phase == Phase::Ok).then(|| Queue::on("a", at.0));
        let offset = stored.as_ref().map(|_| at.1);
        self.say(&client, blank(phase, "", "", stored, offset));
    }

    fn deliver(&mut self, member: u32, key: &str, at: (u32, u64)) {
        self.call += 1;
        let blank = |phase, queue, offset, key: &str| Op::Deliver {
            phase,
            call: self.call,
            group: "o".into(),
            topic: "Q".into(),
            queue,
            offset,
            key: key.into(),
            attempt: 0,
        };
        let (began, ended) =
            (blank(Phase::Invoke, Some(Queue::on("a", at.0)), Some(at.1), key), blank(Phase::Ok, None, None, ""));
        let client = format!("c{member}");
        self.say(&client, began);
        self.say(&client, ended);
        let commit = Op::Commit { group: "o".into(), topic: "Q".into(), queue: Queue::on("a", at.0), offset: at.1 + 1 };
        self.say(&client, commit);
    }
}

/// Writes the plan down as it would be seen. One send in eight is refused and one in eight has no known outcome.
fn write(plan: &Plan) -> History {
    let mut w = Writer { history: History { header: header(), records: vec![] }, t: 0.0, call: 0 };
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let mut shift = 0;
    w.assign(plan, shift);
    for (i, (producer, queue, how)) in plan.sends.iter().enumerate() {
        if i == plan.handover {
            w.t += 2_000.0;
            shift = 1;
            w.assign(plan, shift);
        }
        let key = format!("k{i}");
        let offset = *next.get(queue).unwrap_or(&0);
        let phase = [Phase::Ok, Phase::Fail, Phase::Info][usize::from(*how).saturating_sub(5)];
        w.send(*producer, &key, (*queue, offset), phase);
        if phase != Phase::Fail {
            next.insert(*queue, offset + 1);
            w.deliver((queue + shift) % plan.members, &key, (*queue, offset));
        }
    }
    w.say("", Op::End { drained: true, deserted: Vec::new() });
    w.history
}

/// The deliveries of acknowledged messages, as the index of their invocation.
fn deliveries(history: &History) -> Vec<usize> {
    let begins = |r: &Record| matches!(&r.op, Op::Deliver { phase: Phase::Invoke, .. });
    history.records.iter().enumerate().filter(|(_, r)| begins(r)).map(|(i, _)| i).collect()
}

/// What is wrong with a history; judged a second time with one page in memory, whatever is needed again comes from the file.
fn oracles(history: &History) -> Vec<Oracle> {
    let (at_once, mut paged) = (check(history), Checker::new(&history.header, 1));
    for (record, line) in history.records.iter().zip(2..) {
        paged.feed(line, record).expect("there is room for a temporary file");
    }
    let mut paged = paged.finish().expect("there is room for a temporary file");
    assert_eq!((&at_once.counts, at_once.acked, at_once.delivered), (&paged.counts, paged.acked, paged.delivered));
    let lines = history.to_lines();
    paged.quote(|n| lines.get(n as usize - 1).cloned());
    assert_eq!(at_once.violations, paged.violations);
    at_once.violations.iter().map(|v| v.oracle).collect()
}

/// Exchanges what two deliveries handed out, positions included.
fn swap(history: &mut History, a: usize, b: usize) {
    let (first, second) = (history.records[a].op.clone(), history.records[b].op.clone());
    let keep_call = |to: &mut Op, from: &Op| {
        if let (Op::Deliver { queue, offset, key, .. }, Op::Deliver { queue: q, offset: o, key: k, .. }) = (to, from) {
            (*queue, *offset, *key) = (q.clone(), *o, k.clone());
        }
    };
    keep_call(&mut history.records[a].op, &second);
    keep_call(&mut history.records[b].op, &first);
}

fn place(history: &History, i: usize) -> (Option<Queue>, u64) {
    match &history.records[i].op {
        Op::Deliver { queue, offset, .. } => (queue.clone(), offset.unwrap_or(0)),
        _ => (None, 0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_correct_cluster_is_green(plan in plan()) {
        let history = write(&plan);
        prop_assert_eq!(oracles(&history), vec![]);
        let streamed = check_stream(history.to_lines().join("\n").as_bytes()).unwrap();
        prop_assert_eq!(streamed.violations, vec![]);
        prop_assert_eq!(streamed.delivered, deliveries(&history).len() as u64);
    }

    #[test]
    fn a_dropped_delivery_is_lost(plan in plan(), pick in any::<prop::sample::Index>()) {
        let mut history = write(&plan);
        let all = deliveries(&history);
        prop_assume!(!all.is_empty());
        let at = all[pick.index(all.len())];
        let was_acked = matches!(history.records[at - 1].op, Op::Send { phase: Phase::Ok, .. });
        history.records.drain(at..at + 2);
        prop_assert_eq!(oracles(&history), if was_acked { vec![Oracle::Lost] } else { vec![] });
    }

    #[test]
    fn a_repeated_delivery_is_a_duplicate(plan in plan(), pick in any::<prop::sample::Index>()) {
        let mut history = write(&plan);
        let all = deliveries(&history);
        prop_assume!(!all.is_empty());
        let at = all[pick.index(all.len())];
        let mut again: Vec<Record> = history.records[at..at + 2].to_vec();
        for record in &mut again {
            record.t = history.records[at + 2].t;
        }
        history.records.splice(at + 3..at + 3, again);
        prop_assert_eq!(oracles(&history), vec![Oracle::Duplicate]);
    }

    #[test]
    fn two_swapped_deliveries_of_a_queue_break_its_order(plan in plan(), pick in any::<prop::sample::Index>()) {
        let mut history = write(&plan);
        let all = deliveries(&history);
        prop_assume!(!all.is_empty());
        let first = all[pick.index(all.len())];
        let (queue, offset) = place(&history, first);
        let next = all.iter().copied().find(|i| place(&history, *i) == (queue.clone(), offset + 1));
        prop_assume!(next.is_some());
        swap(&mut history, first, next.unwrap());
        let found = oracles(&history);
        // Handed out before it was sent, or out of order: never green.
        prop_assert!(found.contains(&Oracle::QueueOrder) || found.contains(&Oracle::Phantom), "{:?}", found);
    }

    #[test]
    fn a_changed_body_is_a_phantom(plan in plan(), pick in any::<prop::sample::Index>()) {
        let mut history = write(&plan);
        let all = deliveries(&history);
        prop_assume!(!all.is_empty());
        if let Op::Deliver { key, .. } = &mut history.records[all[pick.index(all.len())]].op {
            *key = "?0123456789abcdef".into();
        }
        prop_assert!(oracles(&history).contains(&Oracle::Phantom));
    }

    #[test]
    fn a_lower_commit_is_a_regression(plan in plan(), pick in any::<prop::sample::Index>()) {
        let mut history = write(&plan);
        let commits: Vec<usize> = (0..history.records.len())
            .filter(|i| matches!(&history.records[*i].op, Op::Commit { offset, .. } if *offset > 1))
            .collect();
        prop_assume!(!commits.is_empty());
        let at = commits[pick.index(commits.len())];
        let mut lower = history.records[at].clone();
        if let Op::Commit { offset, .. } = &mut lower.op {
            *offset -= 1;
        }
        history.records.insert(at + 1, lower);
        prop_assert_eq!(oracles(&history), vec![Oracle::OffsetRegression]);
    }
}

//! Writes a page about a made-up campaign, to look at while working on the page: `cargo run -p seedmq-reports --example sample
//! -- FILE [EVENTS]`.

use seedmq_reports::{Campaign, Curve, Event, Lane, Mark, Oracle, RunRecord, Timeline, Verdict, Violation, What, html};

fn lanes() -> Vec<Lane> {
    let names = [
        ("ns-0", "name-server"),
        ("ns-1", "name-server"),
        ("broker-a", "broker"),
        ("broker-b", "broker"),
        ("p1", "producer"),
        ("p2", "producer"),
        ("audit-1", "consumer"),
        ("audit-2", "consumer"),
    ];
    names.map(|(name, role)| Lane { name: name.into(), role: role.into() }).to_vec()
}

/// A cheap sequence of numbers that looks random.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn timeline(count: u64, us: u64) -> Timeline {
    let mut state = count;
    let mut events = Vec::new();
    let kinds: [(&str, [u16; 2], u16); 4] = [
        ("SEND_MESSAGE_V2", [4, 5], 2),
        ("PULL_MESSAGE", [6, 7], 2),
        ("HEART_BEAT", [4, 6], 3),
        ("REGISTER_BROKER", [2, 3], 0),
    ];
    for n in 0..count {
        let at_us = n * us / count;
        let (name, from, to) = kinds[[0, 0, 1, 1, 1, 2, 3][usize::try_from(next(&mut state) % 7).unwrap_or(0)]];
        let (lane, to) =
            (from[usize::from(next(&mut state).is_multiple_of(2))], to + u16::from(next(&mut state).is_multiple_of(2)));
        let arrived_us = (!next(&mut state).is_multiple_of(40)).then(|| at_us + 80 + next(&mut state) % 900);
        events.push(Event {
            at_us,
            lane,
            what: What::Message { to, arrived_us },
            text: format!("{name} #{}", n % 512),
        });
        if n.is_multiple_of(9) {
            events.push(Event {
                at_us,
                lane: 6 + u16::from(n.is_multiple_of(2)),
                what: What::Client { line: n + 2 },
                text: format!("deliver p1-{}", n % 300),
            });
        }
    }
    let mut mark = |at_us, lane, what, text: &str| events.push(Event { at_us, lane, what, text: text.into() });
    mark(us / 3, 2, What::Fault { until_us: Some(us / 3 + us / 8) }, "power-loss");
    mark(us / 3 + us / 8, 2, What::State, "recovering");
    mark(us / 3 + us / 7, 2, What::State, "ready");
    mark(us / 2, 4, What::Fault { until_us: Some(us * 6 / 10) }, "partition from broker-b");
    mark(us * 7 / 10, 6, What::State, "owns 4 queues");
    mark(us * 8 / 10, 0, What::Fault { until_us: None }, "clock-step +3600 s");
    events.sort_by_key(|e| e.at_us);
    let curves = [2, 3].into_iter().flat_map(|lane| curves(lane, us)).collect();
    Timeline { lanes: lanes(), events, left_out: 0, curves }
}

/// The log of a broker: durable a little behind, the first broker loses its power after a third; two groups, one slow.
fn curves(lane: u16, us: u64) -> Vec<Curve> {
    let away = |t: u64| lane == 2 && (us / 3..us / 3 + us / 7).contains(&t);
    let lost = |t: u64| if lane == 2 && t > us / 3 { us / 40 } else { 0 };
    let curve = |mark, value: &dyn Fn(u64) -> u64| {
        let at = |n: u64| us / 1_000 * n;
        Curve { lane, mark, points: (0..1_000).map(|n| (at(n), (!away(at(n))).then(|| value(at(n))))).collect() }
    };
    vec![
        curve(Mark::Appended, &|t| (t - lost(t)) / 20),
        curve(Mark::Durable, &|t| (t - lost(t)) / 20 / 40_000 * 40_000),
        curve(Mark::Consumed("audit".into()), &|t| (t - lost(t)) / 4_000),
        curve(Mark::Stored("audit".into()), &|t| (t - lost(t)) / 4_000),
        curve(Mark::Consumed("slow".into()), &|t| (t - lost(t)) / 9_000),
        curve(Mark::Stored("slow".into()), &|t| (t - lost(t)) / 4_000),
    ]
}

fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().unwrap_or_else(|| "target/sample.html".into());
    let count = args.next().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let green = |scenario: &str, seed| RunRecord {
        scenario: scenario.into(),
        seed,
        hash: "00112233445566778899aabbccddeeff".into(),
        events: 24_000,
        faults: [("kill".to_string(), 2), ("partition".to_string(), 1)].into(),
        virtual_ms: 60_000,
        cpu_ms: 25,
        acked: 812,
        delivered: 830,
        marks: [("recovery cut a torn tail".to_string(), 3)].into(),
        recovery_ms: Some(4_200),
        ..RunRecord::default()
    };
    let mut red = RunRecord {
        timeline: timeline(count, 60_000_000),
        tape: Some("target/sim-report/tapes/x-1.tape".into()),
        ..green("power-loss-sync-flush", 1)
    };
    red.object(Violation {
        oracle: Oracle::Lost,
        clause: "never-delivered".into(),
        role: "broker".into(),
        topic_kind: "normal".into(),
        text: "\"p1-17\" was acknowledged in ledger/broker-a:3 at 41, but to audit it never came".into(),
        at_ms: 20_100.0,
        lines: vec![3_062, 3_071, 3_080],
        proof: vec![
            r#"{"t":20100.5,"client":"p1","op":"send","type":"invoke","call":17,"topic":"ledger","key":"p1-17"}"#
                .into(),
            r#"{"t":20103.1,"client":"p1","op":"send","type":"ok","call":17,"queue":"broker-a:3","offset":41}"#.into(),
            r#"{"t":20103.2,"op":"fault","kind":"power","target":"broker-a"}"#.into(),
        ],
    });
    let dead = RunRecord {
        verdict: Verdict::Crashed,
        note: Some("the worker died (signal: 6, SIGABRT)".into()),
        ..green("partition", 9)
    };
    let mut records: Vec<RunRecord> = (0..40).map(|seed| green("broker-crash", seed)).collect();
    records.extend([red.clone(), RunRecord { seed: 2, timeline: Timeline::default(), ..red }, dead]);
    records[0].timeline = timeline(2_000, 30_000_000);
    let campaign = Campaign {
        records,
        wall_ms: 61_000,
        scenarios: vec![(
            "broker-crash".into(),
            "Two masters, one or the other is killed under load and comes back.".into(),
        )],
        unreached: vec!["slave truncated past an epoch end".into()],
        complaints: vec![],
    };
    std::fs::write(&file, html(&campaign)).expect("the file can be written");
    println!("{file}");
}

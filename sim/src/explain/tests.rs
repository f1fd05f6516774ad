//! An explanation as a whole, kept as a snapshot.

use seedmq_reports::{Oracle, Verdict};

use super::*;

const TAPE: &str = r#"{"tape":1,"scenario":"s","seed":7,"config":{"topics":{"T":{}},"brokers":[{"name":"broker-a"},{"name":"broker-b"}],"producers":[{"name":"p1"}],"consumers":[{"name":"g-1","group":"g","topics":["T"]},{"name":"g-2","group":"g","topics":["T"]}]}}
{"id":1,"when":{"at":0},"do":"join","client":"g-1"}
{"id":2,"when":{"at":700},"do":"send","client":"p1","topic":"T","key":"k","size":9,"batch":2,"mode":"async","tag":"x"}
{"id":3,"when":{"node":"broker-a","event":"sync-in-flight","n":1,"from":600},"do":"power-loss","node":"broker-a","down-ms":250}
{"id":4,"when":{"at":2000},"do":"partition","a":["p1"],"b":["broker-a","broker-b"],"oneway":true,"for-ms":1500}
"#;

const HISTORY: &str = r#"{"history":1}
{"t":900,"client":"g-1","op":"assign","group":"g","topic":"T","queues":["broker-a:0"]}
{"t":1700,"client":"p1","op":"send","type":"invoke","call":1,"topic":"T","key":"k"}
{"t":1702.5,"client":"p1","op":"send","type":"ok","call":1,"queue":"broker-a:0","offset":4}
{"t":1703,"op":"fault","kind":"power-loss","target":"broker-a","durable":{"T":{"0":4}}}
{"t":1953,"op":"fault","kind":"start","target":"broker-a"}
{"t":2100,"client":"g-2","op":"assign","group":"g","topic":"T","queues":["broker-b:0"]}
{"t":3000,"op":"fault","kind":"partition","target":"p1 | broker-a,broker-b"}
{"t":3100,"client":"g-2","op":"assign","group":"g","topic":"T","queues":["broker-a:0","broker-b:0"]}
{"t":3200,"client":"g-2","op":"commit","group":"g","topic":"T","queue":"broker-a:0","offset":5}
{"t":4500,"op":"fault","kind":"heal","target":"p1 | broker-a,broker-b"}
{"t":9000,"op":"end","drained":true}"#;

fn red() -> RunRecord {
    let mut record = RunRecord {
        history: HISTORY.lines().map(String::from).collect(),
        virtual_ms: 9_500,
        ready_ms: Some(1_000.0),
        ..RunRecord::default()
    };
    record.object(Violation {
        oracle: Oracle::Lost,
        clause: "never-delivered".into(),
        role: "broker".into(),
        topic_kind: "normal".into(),
        text: "\"k\" was acknowledged in T queue broker-a:0 at 4, but to g it never came".into(),
        at_ms: 1702.5,
        lines: vec![3, 4],
        proof: vec![],
    });
    record
}

#[test]
fn a_loss_is_told_from_send_to_verdict() {
    insta::assert_snapshot!(story(&Tape::parse(TAPE).unwrap(), &red(), "s:7"));
}

#[test]
fn what_only_a_white_box_saw_is_told_by_its_facts() {
    let mut record = RunRecord { history: red().history, virtual_ms: 9_500, ..RunRecord::default() };
    let text = "broker-b:0 of T has no owner in g".to_owned();
    record.object(Violation {
        oracle: Oracle::Owner,
        clause: "no-owner".into(),
        text: format!("still so at the end of the liveness phase: {text}"),
        lines: vec![],
        proof: vec![text],
        at_ms: 9_000.0,
        ..red().violations[0].clone()
    });
    let told = story(&Tape::parse(TAPE).unwrap(), &record, "s:7");
    assert!(told.contains("g-2 of g now owns broker-b:0 of T"), "{told}");
    assert!(told.contains("found  broker-b:0 of T has no owner in g"), "{told}");
    assert!(told.contains("owner: every queue has exactly one owner"), "{told}");
    assert!(told.contains("--state broker-b"), "{told}");
}

#[test]
fn a_green_run_has_no_proof() {
    let record = RunRecord { virtual_ms: 100, verdict: Verdict::Green, ..RunRecord::default() };
    let told = story(&Tape::parse(TAPE).unwrap(), &record, "s:7");
    assert!(told.starts_with("s:7 is green: no oracle objected\n"), "{told}");
    assert!(told.contains("No fault took effect.") && !told.contains("shrink"), "{told}");
}

#[test]
fn lanes_are_equally_wide_and_proofs_side_by_side() {
    let point = |ms, node: &str| Point { ms, node: node.into(), text: String::new(), proof: true };
    let spell = Spell { kind: "kill".into(), target: "p1".into(), from: 0.0, until: None };
    let window = lanes_of(&[spell], &[point(10.0, "p1"), point(10.0, "p1"), point(1_000.0, "p1")]);
    let lane = window.lines().find(|l| l.contains("p1 ┤")).unwrap();
    assert!(lane.contains("12") && lane.contains('3') && lane.contains('█'), "{window}");
}

fn lanes_of(spells: &[Spell], points: &[Point]) -> String {
    let record = RunRecord { virtual_ms: 2_000, ..RunRecord::default() };
    lanes::draw(&Tape::parse(TAPE).unwrap(), &record, spells, points)
}

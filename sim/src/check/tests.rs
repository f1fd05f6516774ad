//! Each clause of each checker: a small history that breaks it, and one that is just licensed.
//!
//! The histories are written in a shorthand, one line each, with the time first:
//! `1 p1 send 7 T k1 [shard] [#tag]`, `2 p1 ok 7 a:0@41`, `p1 fail 7`, `p1 info 7`; `3 c1 got 9 g T a:0@41 k1`, `c1 done 9`,
//! `c1 again 9`, `c1 died 9`; `c1 has g T a:0 a:1`; `c1 commit g T a:0 42`; `reset g T a:0 0`; `fault kill a`,
//! `fault power a 0@2` (in queue 0 of T and K everything below 2 is durable);
//! `end`, with the groups that nobody is a member of any more.

use std::collections::{BTreeMap, BTreeSet};

use super::check;
use crate::history::{GroupRules, Header, History, Op, Phase, Queue, Record};
use crate::tape::{Flush, Model, OrderKind, StartFrom};

pub(super) fn position(text: &str) -> (Option<Queue>, Option<u64>) {
    let (queue, offset) = text.split_once('@').expect("queue@offset");
    (Queue::parse(queue), offset.parse().ok())
}

fn op(client: &str, words: &[&str]) -> Op {
    let text = |i: usize| words.get(i).map_or(String::new(), ToString::to_string);
    let call = || text(1).parse().expect("a call number");
    let send = |phase| {
        let (queue, offset) = words.get(2).map_or((None, None), |w| position(w));
        Op::Send {
            phase,
            call: call(),
            topic: String::new(),
            key: String::new(),
            shard: None,
            tag: None,
            queue,
            offset,
            error: None,
            attempts: words.get(3).and_then(|tries| tries.strip_prefix("in")).map(|n| n.parse().expect("a number")),
        }
    };
    let deliver = |phase| Op::Deliver {
        phase,
        call: call(),
        group: String::new(),
        topic: String::new(),
        queue: None,
        offset: None,
        key: String::new(),
        attempt: 0,
    };
    match words[0] {
        "send" => Op::Send {
            phase: Phase::Invoke,
            call: call(),
            topic: text(2),
            key: text(3),
            shard: words[4..].iter().find(|w| !w.starts_with('#')).map(ToString::to_string),
            tag: words[4..].iter().find_map(|w| w.strip_prefix('#')).map(String::from),
            queue: None,
            offset: None,
            attempts: None,
            error: None,
        },
        "ok" => send(Phase::Ok),
        "fail" => send(Phase::Fail),
        "info" => send(Phase::Info),
        "got" => {
            let (queue, offset) = position(words[4]);
            Op::Deliver {
                phase: Phase::Invoke,
                call: call(),
                group: text(2),
                topic: text(3),
                queue,
                offset,
                key: text(5),
                attempt: 0,
            }
        }
        "done" => deliver(Phase::Ok),
        "again" => deliver(Phase::Fail),
        "died" => deliver(Phase::Info),
        "has" => {
            let queues = words[3..].iter().map(|q| Queue::parse(q).expect("a queue")).collect();
            Op::Assign { group: text(1), topic: text(2), queues }
        }
        "reads" => Op::Subscribe {
            group: text(1),
            topic: text(2),
            tags: Some(text(3)),
            version: words[4].parse().expect("a version"),
        },
        "commit" => Op::Commit {
            group: text(1),
            topic: text(2),
            queue: Queue::parse(words[3]).expect("a queue"),
            offset: words[4].parse().expect("an offset"),
        },
        other => panic!("unknown word {other} of {client}"),
    }
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let t = words[0].parse().expect("a time");
    let (client, op) = match words[1] {
        "end" => {
            let deserted = words[2..].iter().map(ToString::to_string).collect();
            ("", Op::End { drained: true, deserted })
        }
        "fault" => {
            let mut damage: BTreeMap<String, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
            for mark in words[4..].iter().filter(|_| words[2] == "misdirected-write") {
                let (queue, offset) = position(mark);
                let queues = damage.entry("T".to_owned()).or_default();
                queues.entry(queue.expect("a queue").id.to_string()).or_default().extend(offset);
            }
            let damage = (!damage.is_empty()).then_some(damage);
            let is_mark = |mark: &&&str| damage.is_none() && !["lied", "lasts"].contains(*mark);
            let durable = words.get(4).filter(is_mark).map(|mark| {
                let (queue, offset) = position(mark);
                let queue = queue.expect("a queue").id.to_string();
                let marks = BTreeMap::from([(queue, offset.expect("a mark"))]);
                BTreeMap::from(["T", "K"].map(|topic| (topic.to_string(), marks.clone())))
            });
            let (lied, lasts) = (words.last() == Some(&"lied"), words.last() == Some(&"lasts"));
            let (kind, target) = (words[2].into(), words[3].into());
            ("", Op::Fault { kind, target, of: None, durable, lied, damage, lasts })
        }
        "reset" => {
            let (queue, offset) = (Queue::parse(words[4]).expect("a queue"), words[5].parse().expect("an offset"));
            ("admin", Op::Reset { group: words[2].into(), topic: words[3].into(), queue, offset, asked: false })
        }
        client => (client, op(client, &words[2..])),
    };
    Record { t, client: client.into(), op }
}

/// Topic `T` is normal, `Q` ordered by queue, `K` by key; group `g` is ordinary, `o` orderly, `b` broadcasting, `l` starts at the
/// last position, `f` wants tag x.
pub(super) fn header() -> Header {
    let orderly = GroupRules { orderly: true, ..GroupRules::default() };
    let parallel = GroupRules { parallel: true, ..GroupRules::default() };
    let broadcast = GroupRules { model: Model::Broadcasting, ..GroupRules::default() };
    let last = GroupRules { from: StartFrom::Last, ..GroupRules::default() };
    let filtering = GroupRules { tags: BTreeMap::from([("T".into(), "x || y".into())]), ..GroupRules::default() };
    Header {
        flush: Flush::Sync,
        order: BTreeMap::from([("Q".into(), OrderKind::Queue), ("K".into(), OrderKind::Key)]),
        groups: [
            ("g", GroupRules::default()),
            ("p", parallel),
            ("o", orderly),
            ("b", broadcast),
            ("l", last),
            ("f", filtering),
        ]
        .map(|(name, rules)| (name.to_string(), rules))
        .into(),
        ..Header::default()
    }
}

fn found_in(header: Header, script: &str) -> Vec<String> {
    let records = script.lines().map(str::trim).filter(|l| !l.is_empty()).map(record).collect();
    let judgement = check(&History { header, records });
    for v in &judgement.violations {
        assert_eq!(v.proof.len(), v.lines.len(), "each proving line has its text: {v:?}");
        assert!(v.lines.iter().all(|l| *l > 1) && !v.lines.is_empty(), "{v:?}");
        assert!(!v.text.is_empty());
    }
    let clauses: BTreeSet<String> = judgement.violations.iter().map(|v| format!("{}/{}", v.oracle, v.clause)).collect();
    clauses.into_iter().collect()
}

#[track_caller]
fn broken(clause: &str, script: &str) {
    assert_eq!(found_in(header(), script), [clause]);
}

#[track_caller]
fn green(script: &str) {
    assert_eq!(found_in(header(), script), [] as [&str; 0]);
}

fn asynchronous() -> Header {
    Header { flush: Flush::Async, ..header() }
}

/// One message sent, delivered and handled.
const ONE: &str = "
    1 p1 send 1 T k1
    2 p1 ok 1 a:0@0
    3 c1 has g T a:0
    4 c1 got 1 g T a:0@0 k1
    5 c1 done 1
";

#[test]
fn a_plain_history_is_green() {
    green(&format!("{ONE} 9 end"));
    green(ONE);
}

#[test]
fn lost_never_delivered() {
    let sent = "1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n 3 c1 has g T a:0\n";
    broken("lost/never-delivered", &format!("{sent} 9 end"));
    green(sent);
    green("1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n 9 end");
    green("1 p1 send 1 T k1\n 2 p1 info 1\n 3 c1 has g T a:0\n 9 end");
    green("1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n 3 c1 has l T a:0\n 9 end");
    green(&format!("{sent} 4 fault kill a\n 9 end"));
    broken("lost/never-delivered", &format!("{sent} 4 fault kill a\n 5 fault heal a\n 9 end"));
    broken("lost/never-delivered", &format!("{sent} 4 fault kill b\n 9 end"));
    green(&format!("{sent} 9 end g"));
    broken("lost/never-delivered", &format!("{sent} 9 end p"));
    green(&format!("{sent} 4 fault pause a\n 5 fault kill a\n 6 fault heal a\n 9 end"));
    broken("lost/never-delivered", &format!("{sent} 4 fault pause a\n 5 fault kill a\n 6 fault start a\n 9 end"));
}

#[test]
fn lost_never_handled() {
    let died = "1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n 3 c1 got 1 g T a:0@0 k1\n 4 c1 died 1\n";
    broken("lost/never-handled", &format!("{died} 9 end"));
    green(&format!("{died} 5 c2 got 1 g T a:0@0 k1\n 6 c2 done 1\n 9 end"));
}

/// Two messages, of which the second is lost with the power of `a` at 10.
fn tail(cut: &str) -> String {
    format!(
        "1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n 3 p1 send 2 T k2\n 4 p1 ok 2 a:0@1\n 10 fault power a {cut}\n 11 fault heal a\n
         20 c1 has g T a:0\n 21 c1 got 1 g T a:0@0 k1\n 22 c1 done 1\n 30 end"
    )
}

#[test]
fn lost_with_the_power() {
    assert_eq!(found_in(asynchronous(), &tail("")), [] as [&str; 0]);
    assert_eq!(found_in(asynchronous(), &tail("0@1")), [] as [&str; 0]);
    assert_eq!(found_in(asynchronous(), &tail("0@2")), ["lost/durable-lost"]);
    broken("lost/never-delivered", &tail(""));
    assert_eq!(found_in(asynchronous(), &tail("").replace("power a", "kill a")), ["lost/never-delivered"]);
    assert_eq!(found_in(asynchronous(), &tail("").replace("power a", "power b")), ["lost/never-delivered"]);
    let hole = tail("").replace("1 g T a:0@0 k1", "1 g T a:0@1 k2");
    assert_eq!(found_in(asynchronous(), &hole), ["lost/hole-in-tail"]);
    let cached = hole.replace("20 c1 has g T a:0\n", "");
    assert_eq!(found_in(asynchronous(), &cached), [] as [&str; 0], "a client may still hold what it had pulled");
    let late = tail("")
        .replace("3 p1 send 2 T k2\n 4 p1 ok 2 a:0@1\n", "")
        .replace("30 end", "23 p1 send 2 T k2\n 24 p1 ok 2 a:0@1\n 30 end");
    assert_eq!(found_in(asynchronous(), &late), ["lost/never-delivered"]);
    let full = |kept: &str| tail("").replace("fault power a", &format!("fault retention a {kept}"));
    assert_eq!(found_in(asynchronous(), &full("0@2")), [] as [&str; 0], "a broker without room removed it");
    assert_eq!(found_in(asynchronous(), &full("0@1")), ["lost/never-delivered"], "it was kept");
    let under_way = |ack: &str| {
        let sent = tail("").replace("4 p1 ok 2 a:0@1\n", "").replace("3 p1 send 2", "9 p1 send 2");
        let (before, after) = (sent.replace("11 fault heal a", &format!("{ack}\n 11 fault heal a")), sent);
        (before, after.replace("20 c1 has", &format!("{ack}\n 20 c1 has")))
    };
    let (down, _) = under_way("10.5 p1 ok 2 a:0@1");
    assert_eq!(found_in(asynchronous(), &down), [] as [&str; 0], "the acknowledgement left before the power did");
    let (_, back) = under_way("12 p1 ok 2 a:0@1");
    assert_eq!(found_in(asynchronous(), &back), ["lost/never-delivered"], "it may be of the life after");
    let answer = |how: &str| {
        let sent = tail("").replace("4 p1 ok 2 a:0@1\n", "").replace("3 p1 send 2", "9 p1 send 2");
        found_in(
            asynchronous(),
            &sent.replace("20 c1 has", &format!("{how}\n 2000 c1 has")).replace("30 end", "3000 end"),
        )
    };
    assert_eq!(answer("900 p1 ok 2 a:0@1 in1"), [] as [&str; 0], "the answer was under way");
    assert_eq!(answer("1100 p1 ok 2 a:0@1 in1"), ["lost/never-delivered"], "nothing is under way for so long");
    assert_eq!(answer("900 p1 ok 2 a:0@1 in2"), ["lost/never-delivered"], "the second attempt came to the next life");
}

#[test]
fn lost_to_a_sync_that_lied() {
    green(&tail("0@1 lied"));
    green(&tail("lied"));
    broken("lost/durable-lost", &tail("0@2 lied"));
    broken("lost/hole-in-tail", &tail("lied").replace("1 g T a:0@0 k1", "1 g T a:0@1 k2"));
    broken("lost/never-delivered", &tail("0@1 lied").replace("power a", "power b"));
    broken("lost/never-delivered", &tail("0@1 lied").replace("power a", "kill a"));
}

#[test]
fn phantom_never_sent() {
    broken("phantom/never-sent", "1 c1 got 1 g T a:0@0 k1");
    broken("phantom/never-sent", "1 c1 got 1 g T a:0@0 k1\n 2 p1 send 1 T k1");
    green("1 p1 send 1 T k1\n 2 c1 got 1 g T a:0@0 k1");
}

#[test]
fn phantom_surely_not_stored() {
    let sent = |end: &str| format!("1 p1 send 1 T k1\n 2 p1 {end} 1\n 3 c1 got 1 g T a:0@0 k1");
    broken("phantom/surely-not-stored", &sent("fail"));
    green(&sent("info"));
    broken("phantom/surely-not-stored", "1 p1 send 1 T k1\n 2 c1 got 1 g T a:0@0 k1\n 3 p1 fail 1");
    green("1 p1 send 1 T k1\n 2 p1 fail 1\n 3 p1 send 2 T k1\n 4 c1 got 1 g T a:0@0 k1\n 5 p1 ok 2 a:0@0");
}

#[test]
fn phantom_other_topic() {
    broken("phantom/other-topic", "1 p1 send 1 T k1\n 3 c1 got 1 g S a:0@0 k1");
}

#[test]
fn phantom_position_reused() {
    let two = |between: &str| {
        format!(
            "1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n {between} 5 p1 send 2 T k2\n 6 p1 ok 2 a:0@0\n 7 c1 got 1 g T a:0@0 k2\n 8 c1 done 1"
        )
    };
    broken("phantom/position-reused", &two(""));
    broken("phantom/position-reused", &two("3 fault power b\n 4 fault heal b\n"));
    assert_eq!(found_in(asynchronous(), &two("3 fault power a\n 4 fault heal a\n")), [] as [&str; 0]);
}

#[test]
fn an_end_that_was_damaged_leaves_its_positions_to_the_next_messages() {
    let again = |hit: &str| {
        let before = "1 p1 send 1 T k1\n 2 p1 ok 1 a:0@0\n 3 p1 send 2 T k2\n 4 p1 ok 2 a:0@1\n";
        format!("{before} 5 fault misdirected-write a {hit}\n 6 p1 send 3 T k3\n 7 p1 ok 3 a:0@0")
    };
    green(&again("a:0@0 a:0@1"));
    broken("queue-order/stored-out-of-order", &again("a:0@0"));
    let both = ["phantom/position-reused", "queue-order/stored-out-of-order"];
    assert_eq!(found_in(header(), &again("a:0@1")), both, "the other position was not given up");
}

#[test]
fn what_is_stored_where_a_message_was_damaged_is_not_excused() {
    let hit = "5 fault misdirected-write a a:0@0\n";
    green(&format!("1 c1 has g T a:0\n 3 p1 send 1 T k1\n 4 p1 ok 1 a:0@0\n {hit} 9 end"));
    broken("lost/never-delivered", &format!("1 c1 has g T a:0\n {hit} 7 p1 send 1 T k1\n 8 p1 ok 1 a:0@0\n 9 end"));
}

#[test]
fn duplicate_with_the_same_owner() {
    broken("duplicate/same-owner", &format!("{ONE} 6 c1 got 2 g T a:0@0 k1\n 7 c1 done 2\n 9 end"));
    green(&format!("{} 6 c1 got 2 g T a:0@0 k1\n 7 c1 done 2\n 9 end", ONE.replace("done 1", "again 1")));
    green(&format!("{ONE} 6 fault partition c1|a\n 7 fault heal c1|a\n 8 c1 got 2 g T a:0@0 k1\n 9 c1 done 2"));
    broken(
        "duplicate/same-owner",
        &format!("{ONE} 6 fault partition c2|b\n 7 fault heal c2|b\n 8 c1 got 2 g T a:0@0 k1"),
    );
    let lasting = |t: u64, cut: &str| format!("{ONE} 6 fault partition {cut} lasts\n {t} c1 got 2 g T a:0@0 k1");
    green(&lasting(8, "n|c1"));
    broken("duplicate/same-owner", &lasting(40_000, "n|c1"));
    broken("duplicate/same-owner", &lasting(8, "n|a"));
    green(&lasting(40_000, "n|c1").replace(" lasts", ""));
    green(&format!("{ONE} 6 reset g T a:0 0\n 7 c1 got 2 g T a:0@0 k1\n 8 c1 done 2"));
    green(&format!("{ONE} 6 c1 has g T\n 7 c1 has g T a:0\n 8 c1 got 2 g T a:0@0 k1\n 9 c1 done 2"));
}

#[test]
fn duplicate_after_a_commit() {
    let moved = |committed: &str, then: &str| {
        format!(
            "{ONE} {committed} 2000 c1 has g T\n {then} 2001 c2 has g T a:0\n 2002 c2 got 1 g T a:0@0 k1\n 2003 c2 done 1"
        )
    };
    green(&moved("", ""));
    broken("duplicate/committed", &moved("6 c1 commit g T a:0 1\n", ""));
    green(&moved("1900 c1 commit g T a:0 1\n", ""));
    green(&moved("6 c1 commit g T a:0 1\n", "2000 fault kill a\n"));
    green(&moved("6 c1 commit g T a:0 1\n 7 reset g T a:0 0\n", ""));
    broken("duplicate/committed", &moved("6 c1 commit g T a:0 1\n", "2000 fault kill b\n"));
}

/// A member that leaves commits last when another one owns its queue already, which may tell a lower position with a pull.
#[test]
fn a_commit_of_one_owner_of_two_proves_nothing() {
    let then = |second: &str| {
        format!(
            "{ONE} {second} 1000 c1 commit g T a:0 1\n 2000 c1 has g T\n 2000 c2 has g T\n 2001 c3 has g T a:0\n
             2002 c3 got 1 g T a:0@0 k1\n 2003 c3 done 1\n 2004 c3 commit g T a:0 0"
        )
    };
    green(&then("500 c2 has g T a:0\n"));
    green(&then("").replace("2000 c1 has", "1000 c2 has g T a:0\n 2000 c1 has"));
    // One that gave the queue up just before may have told its position with its last pull.
    green(&then("500 c2 has g T a:0\n 600 c2 has g T\n"));
    let later = then("500 c2 has g T a:0\n 600 c2 has g T\n").replace("1000 c1", "1700 c1").replace(" 200", " 400");
    let found = found_in(header(), &later);
    assert_eq!(found, ["duplicate/committed", "offset-regression/new-owner"], "what it told has come by now");
    let found = found_in(header(), &then("500 c2 has g T a:1\n"));
    assert_eq!(found, ["duplicate/committed", "offset-regression/new-owner"]);
}

/// A group that was moved back gets everything again, once.
#[test]
fn a_reset_licenses_what_comes_again_until_it_shows() {
    let again = |t: u32, call: u32| format!("{t} c1 got {call} g T a:0@0 k1\n {} c1 done {call}\n", t + 1);
    let late = format!(
        "{ONE} 6 reset g T a:0 0\n 7 p1 send 2 T k2\n 8 p1 ok 2 a:0@1\n 9 c1 got 2 g T a:0@1 k2\n 9 c1 done 2\n"
    );
    green(&format!("{late}{} 22 c1 got 4 g T a:0@1 k2\n 23 c1 done 4", again(20, 3)));
    broken("duplicate/same-owner", &format!("{late}{}{}", again(20, 3), again(30, 4)));
    let twice = format!("{late} 10 reset g T a:0 0\n{}{}", again(20, 3), again(30, 4));
    green(&format!("{twice} 33 c1 got 6 g T a:0@1 k2\n 34 c1 done 6"));
    broken("duplicate/same-owner", &format!("{twice}{}", again(40, 5)));
    broken("duplicate/same-owner", &format!("{ONE} 6 reset g T a:1 0\n {}", again(7, 3)));
}

#[test]
fn duplicate_stored_twice() {
    let twice = |ok: &str| {
        format!(
            "1 p1 send 1 T k1\n {ok}\n 5000 c1 got 1 g T a:0@0 k1\n 5001 c1 done 1\n 5002 c1 got 2 g T a:0@1 k1\n 5003 c1 done 2\n 5004 end"
        )
    };
    broken("duplicate/stored-twice", &twice("2 p1 ok 1 a:0@0"));
    green(&twice("2 p1 info 1"));
    green(&twice("2500 p1 ok 1 a:0@1"));
    green(&twice("2 fault lost-response a|p1\n 3 p1 ok 1 a:0@1"));
    green(&twice("2 p1 ok 1 a:0@0\n 3 p1 send 2 T k1\n 4 p1 ok 2 a:0@1"));
}

#[test]
fn queue_order_of_positions() {
    let two = "1 p1 send 1 T k1\n 2 p1 ok 1 a:0@5\n 3 p1 send 2 T k2\n 4 p1 ok 2 a:0@4\n";
    broken("queue-order/stored-out-of-order", two);
    green("1 p1 send 1 T k1\n 2 p1 send 2 T k2\n 3 p1 ok 1 a:0@5\n 4 p1 ok 2 a:0@4\n");
    green(&two.replace("3 p1 send", "2 fault power a\n 3 fault heal a\n 3 p1 send"));
}

/// Messages k1, k2 at positions 0 and 1 of a topic.
fn pair(topic: &str) -> String {
    format!("1 p1 send 1 {topic} k1 s\n 2 p1 ok 1 a:0@0\n 3 p1 send 2 {topic} k2 s\n 4 p1 ok 2 a:0@1\n")
}

#[test]
fn queue_order_of_deliveries() {
    let swapped = |c: &str| {
        format!("{} 5 c1 got 1 g T a:0@1 k2\n 6 c1 done 1\n {c} 7 {{}} got 2 g T a:0@0 k1\n 8 {{}} done 2", pair("T"))
    };
    broken("queue-order/went-back", &swapped("").replace("{}", "c1"));
    green(&swapped("").replace("{}", "c2"));
    broken("queue-order/went-back", &swapped("").replace("{}", "c2").replace(" T ", " Q "));
    green(&swapped("6 reset g T a:0 0\n").replace("{}", "c1"));
    green(&swapped("").replace("{}", "c1").replace(" g ", " p "));
    broken("queue-order/went-back", &swapped("").replace("{}", "c1").replace(" g ", " p ").replace(" T ", " Q "));
    green(&format!(
        "{ONE} {} 9 end",
        "6 fault power a\n 7 fault heal a\n 7 p1 send 3 T k3\n 8 p1 ok 3 a:0@0\n 8 c1 got 3 g T a:0@0 k3\n 8 c1 done 3\n"
    ));
}

/// A member is sent back to what it passed over, and reads it by now.
#[test]
fn order_when_a_member_reads_more_than_before() {
    let back = |first: &str, then: &str, topic: &str| {
        format!(
            "0 c1 reads g {topic} {first} 1\n 1 p1 send 1 {topic} k1 s #y\n 2 p1 ok 1 a:0@0\n 3 p1 send 2 {topic} k2 s #x\n 4 p1 ok 2 a:0@1\n
             5 c1 got 1 g {topic} a:0@1 k2\n 6 c1 done 1\n 7 c1 reads g {topic} {then} 2\n 8 fault kill a\n 8 fault start a\n
             9 c1 got 2 g {topic} a:0@0 k1\n 9 c1 done 2"
        )
    };
    green(&back("x", "*", "T"));
    green(&back("x", "*", "K"));
    broken("queue-order/went-back", &back("x||y", "*", "T"));
    let both = ["key-order/overtaken", "queue-order/went-back"];
    assert_eq!(found_in(header(), &back("x||y", "*", "K")), both, "it was read all the time");
}

/// A member that tells a position of before a power cut was not past what is stored there since.
#[test]
fn lost_when_a_member_reads_less_after_a_power_cut() {
    let sent_back = |cut: &str, back: &str| {
        format!(
            "0 c1 reads g T x||y 1\n 0.1 c1 has g T a:0\n 1 fault {cut}\n 2 fault start a\n 3 p1 send 1 T k1 s #y\n 4 p1 ok 1 a:0@5\n
             5 c1 commit g T a:0 9\n 6 c1 reads g T x 2\n 7 c1 commit g T a:0 {back}\n 8 c1 commit g T a:0 9\n 99 end"
        )
    };
    let lost = |script: &str| found_in(asynchronous(), script);
    assert_eq!(lost(&sent_back("power a 0@2", "2")), [] as [&str; 0]);
    assert_eq!(lost(&sent_back("power a 0@2", "9")), ["lost/never-delivered"], "it was past it while it read it");
    let other = sent_back("power a 0@2", "9").replace("7 c1 commit", "7 c2 has g T a:0\n 7 c2 commit");
    assert_eq!(lost(&other), [] as [&str; 0], "the next owner begins where the broker says");
    assert_eq!(lost(&sent_back("kill a", "2")), ["lost/never-delivered"], "nothing was taken away");
    let after =
        sent_back("power a 0@2", "2").replace(" 0.1 c1 has g T a:0\n", "").replace("5 c1", "4.5 c1 has g T a:0\n 5 c1");
    assert_eq!(lost(&after), ["lost/never-delivered"], "it began after the cut, where the broker said");
    let cut_off = sent_back("power a 0@2", "9")
        .replace(" 7 c1", " 5 fault requests c1\n 40000 fault heal c1\n 41000 c1")
        .replace(" 8 c1 commit g T a:0 9", " 42000 c1 commit g T a:0 2");
    assert_eq!(lost(&cut_off), [] as [&str; 0], "it had no peace");
    let leaves = |at: &str| {
        let all = sent_back("power a 0@2", "2");
        let (before, _) = all.split_once("7 c1").expect("it commits again");
        format!("{before}{at} c1 has g T\n 99 end")
    };
    assert_eq!(lost(&leaves("6")), [] as [&str; 0], "it gave the queue up before the broker could send it back");
    assert_eq!(lost(&leaves("40000")), ["lost/never-delivered"], "the broker would have sent it back by then");
}

/// A member stands still with a message in its memory, a power cut takes it from the disk, and what is sent after that is
/// handed out first.
#[test]
fn order_across_a_power_cut() {
    let late = |cut: &str, at: &str| {
        format!(
            "1 p1 send 1 K k0 s\n 2 p1 ok 1 a:0@0\n 3 p1 send 2 K k1 s\n 4 p1 ok 2 a:0@1\n 10 fault {cut}\n 11 fault heal a\n
             20 p1 send 3 K k2 s\n 21 p1 ok 3 a:0@{at}\n 22 c2 got 1 o K a:0@{at} k2\n 23 c2 done 1\n
             24 c1 got 1 o K a:0@1 k1\n 25 c1 done 1"
        )
    };
    assert_eq!(found_in(asynchronous(), &late("power a 0@1", "1")), [] as [&str; 0]);
    assert_eq!(found_in(asynchronous(), &late("power a", "1")), [] as [&str; 0]);
    let both = ["key-order/overtaken", "queue-order/went-back"];
    assert_eq!(found_in(asynchronous(), &late("power a 0@2", "2")), both, "the cut left it in place");
    assert_eq!(found_in(asynchronous(), &late("kill a", "2")), both);
    let before = late("power a 0@1", "2").replace("20 p1 send 3", "5 p1 send 3").replace("21 p1 ok 3", "6 p1 ok 3");
    assert_eq!(found_in(asynchronous(), &before), both, "the cut did not part them");
}

#[test]
fn key_order() {
    let (apart, swapped) = ("a:1@7", "5 c1 got 1 g K a:1@7 k2\n 6 c1 done 1\n 7 c1 got 2 g K a:0@0 k1\n 8 c1 done 2");
    let sent = pair("K").replace("a:0@1", apart);
    broken("key-order/overtaken", &format!("{sent}{swapped}"));
    green(&format!("0 fault kill b\n 0 fault start b\n{sent}{swapped}"));
    broken("key-order/overtaken", &format!("0 c1 has g K a:0\n 0 fault pause c1\n 1 fault heal c1\n{sent}{swapped}"));
    let within = swapped.replace("a:1@7", "a:0@1");
    let found = found_in(header(), &format!("0 fault kill b\n{}{within}", pair("K")));
    assert_eq!(found, ["key-order/overtaken", "queue-order/went-back"], "within a queue nothing excuses it");
    green(&format!("{sent}{swapped}").replace(" K ", " T "));
    green(&format!("{}{swapped}", sent.replace("2 p1 ok 1 a:0@0", "2 p1 info 1")));
    green(&format!("{sent}{}", "5 c1 got 2 g K a:0@0 k1\n 6 c1 done 2\n 7 c1 got 1 g K a:1@7 k2\n 8 c1 done 1"));
}

#[test]
fn overlap_of_two_members() {
    let both = |between: &str| {
        format!("{} 5 c1 got 1 o T a:0@0 k1\n {between} 6 c2 got 1 o T a:0@1 k2\n 7 c1 done 1\n 8 c2 done 1", pair("T"))
    };
    broken("overlap/two-members", &both(""));
    green(&both("").replace(" o ", " g "));
    green(&both("5 fault kill a\n"));
    broken("overlap/two-members", &both("5 fault kill b\n"));
    green(&both("5 fault crash c1\n").replace("7 c1 done 1\n", ""));
    green(&both("5 c1 done 1\n").replace("7 c1 done 1\n", ""));
}

#[test]
fn overlap_within_a_member() {
    broken(
        "overlap/same-member",
        &format!("{} 5 c1 got 1 o T a:0@0 k1\n 6 c1 got 2 o T a:0@1 k2\n 7 c1 done 1\n 8 c1 done 2", pair("T")),
    );
}

#[test]
fn offset_regression() {
    let own = "1 c1 has g T a:0\n 2 c1 commit g T a:0 5\n";
    broken("offset-regression/same-owner", &format!("{own} 3 c1 commit g T a:0 4"));
    green(&format!("{own} 3 reset g T a:0 0\n 4 c1 commit g T a:0 4"));
    green(&format!("{own} 3 fault kill a\n 3 fault heal a\n 4 c1 commit g T a:0 4"));
    broken(
        "offset-regression/new-owner",
        &format!("{own} 3000 c1 has g T\n 3000 c2 has g T a:0\n 3001 c2 commit g T a:0 4"),
    );
    green(&format!("{own} 3 c2 has g T a:0\n 3001 c2 commit g T a:0 4"));
    green(&format!("{own} 2000 fault pause c1\n 3000 c2 has g T a:0\n 3001 c2 commit g T a:0 4"));
}

#[test]
fn broadcast() {
    let first = "1 c1 has b T a:0\n 1 c2 has b T a:0\n 2000 p1 send 1 T k1\n 2001 p1 ok 1 a:0@0\n 2002 c1 got 1 b T a:0@0 k1\n 2003 c1 done 1\n";
    broken("broadcast/member-missed", &format!("{first} 9000 end"));
    green(&format!("{first} 2004 c2 got 1 b T a:0@0 k1\n 2005 c2 done 1\n 9000 end"));
    green(&format!("{first} 2004 fault crash c2\n 9000 end"));
    green(
        &format!("{first} 9000 end")
            .replace("1 c2 has", "2002 c2 has")
            .replace("1 c1 has b T a:0\n 2002 c2 has b T a:0\n", "1 c1 has b T a:0\n"),
    );
}

#[test]
fn filter() {
    let tagged =
        |tag: &str| format!("1 p1 send 1 T k1 {tag}\n 2 p1 ok 1 a:0@0\n 3 c1 got 1 f T a:0@0 k1\n 4 c1 done 1\n 9 end");
    broken("filter/passed-wrong", &tagged("#z"));
    broken("filter/passed-wrong", &tagged(""));
    green(&tagged("#y"));
    let kept_back = |tag: &str| format!("1 p1 send 1 T k1 {tag}\n 2 p1 ok 1 a:0@0\n 3 c1 has f T a:0\n 9 end");
    green(&kept_back("#z"));
    broken("lost/never-delivered", &kept_back("#x"));
}

#[test]
fn the_four_controls_are_green() {
    let redelivery = format!(
        "{} 10 fault crash c1\n 11 c2 has g T a:0\n 12 c2 got 1 g T a:0@0 k1\n 13 c2 done 1\n 20 end",
        ONE.replace("5 c1 done 1", "5 c1 died 1")
    );
    green(&redelivery);
    green("1 p1 send 1 T k1\n 3001 p1 info 1\n 3002 c1 got 1 g T a:0@0 k1\n 3003 c1 done 1\n 9000 end");
    assert_eq!(found_in(asynchronous(), &tail("")), [] as [&str; 0]);
    green(&format!("{} 5 c1 has g T a:0\n 6 c1 got 1 g T a:0@0 k1\n 6 c2 has g T a:0\n 7 c2 got 1 g T a:0@0 k1\n 8 c1 done 1\n 8 c2 done 1\n
        9 c1 got 2 g T a:0@1 k2\n 9 c2 got 2 g T a:0@1 k2\n 10 c1 done 2\n 10 c2 done 2\n 11 end", pair("T")));
}

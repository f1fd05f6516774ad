//! Files that are no histories, or no honest ones: they are refused with the line at fault, or judged; nothing panics.

use proptest::prelude::*;

use super::{Judgement, check_stream};
use crate::history::{HistoryError, LINE_BYTES_MOST};

const SENT: &str = r#"{"history":1,"flush":"async","order":{"T":"key"},"groups":{"b":{"model":"broadcasting"},"g":{"orderly":true}}}
{"t":1,"client":"c","op":"assign","group":"g","topic":"T","queues":["a:0",1]}
{"t":1,"client":"p","op":"send","type":"invoke","call":1,"topic":"T","key":"k","shard":"s","tag":"x"}
{"t":2,"client":"p","op":"send","type":"ok","call":1,"queue":"a:0","offset":0,"attempts":1}
{"t":3,"client":"c","op":"deliver","type":"invoke","call":1,"group":"g","topic":"T","queue":"a:0","offset":0,"key":"k"}
{"t":3,"client":"d","op":"deliver","type":"invoke","call":1,"group":"b","topic":"T","queue":"a:0","offset":0,"key":"k"}
{"t":4,"client":"c","op":"deliver","type":"ok","call":1}
{"t":4,"client":"c","op":"commit","group":"g","topic":"T","queue":"a:0","offset":1}
{"t":5,"op":"fault","kind":"power","target":"a","durable":{"T":{"0":1}},"damage":{"T":{"0":[3]}}}
{"t":6,"op":"fault","kind":"heal","of":"power","target":"a"}
{"t":6,"client":"admin","op":"reset","group":"g","topic":"T","queue":"a:0","offset":0,"asked":true}
{"t":7,"op":"end","drained":true,"deserted":["b"]}
"#;

fn judge(history: &[u8]) -> Result<Judgement, HistoryError> {
    check_stream(history)
}

/// What is said of a line that comes after eight good ones.
fn refusal(line: &[u8]) -> String {
    let mut history: Vec<u8> = SENT.split_inclusive('\n').take(8).collect::<String>().into();
    history.extend_from_slice(line);
    judge(&history).map_or_else(|error| error.to_string(), |judgement| format!("{:?}", judgement.counts))
}

#[test]
fn what_is_no_record_is_refused_with_its_line() {
    let deep = format!(r#"{{"t":9,"op":"end","x":{}"#, "[".repeat(1_000_000));
    let long = format!(r#"{{"t":9,"op":"end","x":"{}"}}"#, "x".repeat(LINE_BYTES_MOST as usize));
    let commit = |queue: &str, offset: &str| {
        format!(r#"{{"t":9,"client":"c","op":"commit","group":"g","topic":"T","queue":{queue},"offset":{offset}}}"#)
    };
    let cases = [
        (deep.into_bytes(), "recursion limit"),
        (long.into_bytes(), "at most 4194304 bytes"),
        (b"{\"t\":9,\"op\":\"\xff\xfe\"}".to_vec(), "UTF-8 is expected, but byte 14"),
        (b"{\"t\":9,\"op\":\"e".to_vec(), "EOF"),
        (b"\0\0\0\0".to_vec(), "expected value"),
        (br#"{"t":1e999,"op":"end"}"#.to_vec(), "number out of range"),
        (br#"{"t":"9","op":"end"}"#.to_vec(), "f64"),
        (br#"{"t":-9,"op":"end"}"#.to_vec(), "time order"),
        (commit("4294967296", "1").into_bytes(), "below 2^32"),
        (commit("\"a:4294967296\"", "1").into_bytes(), "broker:number"),
        (commit("0", "-1").into_bytes(), "-1"),
        (commit("0", "18446744073709551616").into_bytes(), "u64"),
        (commit("0", "1.5").into_bytes(), "1.5"),
    ];
    for (line, expected) in cases {
        let said = refusal(&line);
        assert!(said.starts_with("line 9: ") && said.contains(expected), "{expected} in {said}");
    }
    assert_eq!(
        refusal(commit("4294967295", "18446744073709551615").as_bytes()),
        "{}",
        "the largest numbers are numbers"
    );
}

#[test]
fn the_longest_line_is_read() {
    let end = |pad: usize| format!("{{\"t\":9,\"op\":\"end\",\"x\":\"{}\"}}\n", "x".repeat(pad));
    let most = LINE_BYTES_MOST as usize - end(0).len() + 1;
    assert_eq!(refusal(end(most).as_bytes()), "{}");
    assert!(refusal(end(most + 1).as_bytes()).contains("line 9"));
}

/// Each of very many clients owns a queue, commits, and dies.
#[test]
fn a_hundred_thousand_clients() {
    let mut history = String::from("{\"history\":1}\n");
    let all = 0..100_000;
    for n in all.clone() {
        history += &format!(
            "{{\"t\":1,\"client\":\"c{n}\",\"op\":\"assign\",\"group\":\"g\",\"topic\":\"T\",\"queues\":[{n}]}}\n"
        );
    }
    for n in all.clone() {
        history += &format!(
            "{{\"t\":2,\"client\":\"c{n}\",\"op\":\"commit\",\"group\":\"g\",\"topic\":\"T\",\"queue\":{n},\"offset\":1}}\n"
        );
    }
    for n in all {
        history += &format!("{{\"t\":3,\"op\":\"fault\",\"kind\":\"crash\",\"target\":\"c{n}\"}}\n");
    }
    let judgement = judge(history.as_bytes()).expect("it is a history");
    assert!(judgement.violations.is_empty());
}

#[derive(Clone, Debug)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Twice(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Digits(prop::sample::Index, u64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(i, byte)| Damage::Byte(i, byte)),
        (at(), 1..20_usize).prop_map(|(i, len)| Damage::Cut(i, len)),
        at().prop_map(Damage::Twice),
        (at(), at()).prop_map(|(i, j)| Damage::Swap(i, j)),
        (at(), any::<u64>()).prop_map(|(i, n)| Damage::Digits(i, n)),
    ]
}

fn damaged(mut history: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = history.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    match damage {
        _ if history.is_empty() => history,
        Damage::Byte(i, byte) => {
            let i = i.index(history.len());
            history[i] = *byte;
            history
        }
        Damage::Cut(i, len) => {
            let from = i.index(history.len());
            let to = (from + len).min(history.len());
            history.drain(from..to);
            history
        }
        Damage::Twice(i) => {
            let mut lines = lines;
            let i = i.index(lines.len());
            lines.insert(i, lines[i].clone());
            lines.concat()
        }
        Damage::Swap(i, j) => {
            let mut lines = lines;
            let (i, j) = (i.index(lines.len()), j.index(lines.len()));
            lines.swap(i, j);
            lines.concat()
        }
        Damage::Digits(i, n) => {
            let digits: Vec<usize> = (0..history.len()).filter(|i| history[*i].is_ascii_digit()).collect();
            if digits.is_empty() {
                return history;
            }
            let at = digits[i.index(digits.len())];
            history.splice(at..=at, n.to_string().into_bytes());
            history
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn a_damaged_history_is_judged_or_refused_with_a_line(damages in proptest::collection::vec(damage(), 1..6)) {
        let history = damages.iter().fold(SENT.as_bytes().to_vec(), damaged);
        let lines = history.split(|byte| *byte == b'\n').count() as u64;
        match judge(&history) {
            Ok(judgement) => prop_assert!(judgement.lines().iter().all(|line| (1..=lines).contains(line))),
            Err(HistoryError::Line { line, .. }) => prop_assert!((1..=lines + 1).contains(&line)),
            Err(HistoryError::Io(error)) => prop_assert!(false, "{error}"),
        }
    }
}

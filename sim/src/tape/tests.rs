//! Tapes as text: what is written reads back, and whatever else is read is refused by line and column.

use proptest::prelude::*;

use super::*;

fn small() -> Tape {
    let config = Config { brokers: vec![BrokerShape::named("broker-a")], ..Config::default() };
    let when = Trigger::On { node: "broker-a".into(), event: Moment::SyncInFlight, code: None, n: 3, from: 100 };
    let kill = Action { id: 4, when, what: What::PowerLoss { node: "broker-a".into(), down_ms: Some(10) } };
    Tape { header: Header::new("s", 7, config), actions: vec![kill] }
}

/// The header of an old, short tape, with one line below it.
fn with(line: &str) -> Result<Tape, TapeError> {
    let header = r#"{"tape":1,"scenario":"s","seed":7,"config":{"brokers":[{"name":"broker-a"}],"producers":[{"name":"p1"}],"consumers":[{"name":"g-1","group":"g"}]}}"#;
    Tape::parse(&format!("{header}\n{line}\n"))
}

#[test]
fn text_and_back() {
    let text = small().to_text();
    assert!(
        text.contains(
            r#"{"id":4,"when":{"node":"broker-a","event":"sync-in-flight","n":3,"from":100},"do":"power-loss","node":"broker-a","down-ms":10}"#
        ),
        "{text}"
    );
    assert_eq!(Tape::parse(&text), Ok(small()));
}

#[test]
fn what_an_older_tape_does_not_say_takes_its_default() {
    let tape = with(r#"{"do":"send","client":"p1","topic":"T","key":"k","size":1,"when":{"at":5},"id":9}"#).unwrap();
    let config = &tape.header.config;
    assert_eq!((config.producers[0].send_timeout_ms, config.producers[0].retries), (3_000, 2));
    assert_eq!(config.consumers[0].handler, Handler::default());
    assert_eq!(config.converge_ms, 240_000);
    assert!(matches!(
        &tape.actions[0].what,
        What::Send { batch: 1, mode: Mode::Sync, queue: QueuePick::Any, shard: None, .. }
    ));
    assert_eq!(Tape::parse(&tape.to_text()), Ok(tape));
    assert_eq!(with("").unwrap().actions, []);
}

#[test]
fn a_wrong_line_is_refused_by_line_column_and_expectation() {
    // Line, the text at whose beginning the error is (anywhere when empty), and what it says.
    let kill = |rest: &str| format!(r#"{{"id":1,"when":{{"at":5}},"do":"kill"{rest}}}"#);
    let cases = [
        (kill(r#","node":"broker-a","down-ms":"x""#), "\"x\"", "in \"kill\": invalid type: string \"x\", expected u64"),
        (
            kill(r#","node":"broker-a","down":1"#),
            "\"down\"",
            "unknown field `down`, expected one of `node`, `silent`, `down-ms`",
        ),
        (kill(r#","node":["broker-a"]"#), "", "invalid type: sequence, expected a string"),
        (kill(""), "", "missing field `node`"),
        (kill("").replace("kill", "flood"), "\"flood\"", "unknown variant `flood`, expected one of `send`"),
        (
            kill(r#","node":"broker-a","count":1,"under":"logs","for-ms":9"#).replace("kill", "write-error"),
            "\"logs\"",
            "unknown variant `logs`, expected one of `commitlog`, `consumequeue`, `index`, `config`",
        ),
        (
            kill(r#","node":"broker-a","by-ms":5,"tick-ms":0"#).replace("kill", "clock-step"),
            "0",
            "\"tick-ms\" is expected to be at least 1, found 0",
        ),
        (
            kill(r#","node":"broker-z""#),
            "\"broker-z\"",
            "a node of the header is expected (ns-0, broker-a, p1, g-1), found \"broker-z\"",
        ),
        (
            r#"{"id":1,"when":{"at":5},"do":"join","client":"p1"}"#.into(),
            "\"p1\"",
            "a consumer is expected, but \"p1\" is a producer",
        ),
        (kill("").replace(":1", ":-1"), "-1", "invalid value: integer `-1`, expected u64"),
        (kill("").replace("5}", "5,\"n\":3}"), "", "a trigger is expected: {\"at\":…} or"),
        (
            kill(r#","node":"broker-a""#).replace("5}", "5000000000}"),
            "5000000000",
            "\"at\" is expected to be at most 1000000000",
        ),
        (
            r#"{"id":1,"when":{"at":5},"do":"partition","a":[],"b":["p1"],"for-ms":1}"#.into(),
            "[]",
            "at least one node is expected in \"a\"",
        ),
        (r#"{"id":1,"when":{"at":5}"#.into(), "", "an action like"),
        ("not json".into(), "", "an action like"),
    ];
    for (line, token, what) in cases {
        let error = with(&line).expect_err("it is refused");
        assert!(error.line == 2 && error.what.contains(what), "{line}\n{error}");
        let column = line.find(token).unwrap() + 1;
        assert!(token.is_empty() || error.column == column, "{line}\n{error}, not column {column}");
        assert!((1..=line.len()).contains(&error.column), "{line}\n{error}");
    }
    let twice = small().to_text() + small().to_text().lines().nth(1).unwrap();
    assert!(Tape::parse(&twice).unwrap_err().to_string().starts_with("line 3, column 7: an action id of its own"));
}

#[test]
fn a_wrong_header_is_refused_too() {
    let said = |text: &str| Tape::parse(text).expect_err("it is refused").to_string();
    assert!(said("").contains("line 1, column 1: a tape header"));
    assert!(said("\n\n{\"tape\":2,\"new\":{}}").starts_with("line 3, column 9: tape version 1 is expected, found 2"));
    let with = |config: &str| said(&format!(r#"{{"tape":1,"scenario":"s","seed":0,"config":{{{config}}}}}"#));
    assert!(with(r#""brokers":[{"name":"a"},{"name":"a"}]"#).contains("a name of its own, found \"a\" again"));
    assert!(with(r#""brokers":[{"name":"a","properties":{"nonsense":"1"}}]"#).contains("a setting of the broker"));
    assert!(with(r#""groups":{"g":{"strategy":"LUCK"}}"#).contains("AVG_BY_CIRCLE"));
    assert!(with(r#""topics":{"T":{"queues":0}}"#).contains("1 to 4096 queues"));
    assert!(with(r#""colour":1"#).contains("unknown field `colour`, expected one of"));
    let bytes = [small().to_text().as_bytes(), b"{\"id\":\xff}"].concat();
    assert_eq!(Tape::parse_bytes(&bytes).unwrap_err().to_string(), "line 3, column 7: text in UTF-8 is expected");
}

/// A tape whose bytes were changed a little: close enough to be read far, and wrong.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let text = small().to_text().into_bytes();
    let places = prop::collection::vec((0..text.len(), any::<u8>(), 0..3u8), 1..6);
    places.prop_map(move |places| {
        let mut bytes = text.clone();
        for (at, byte, how) in places {
            let at = at.min(bytes.len().saturating_sub(1));
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

fn read(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Err(error) = Tape::parse_bytes(bytes) {
        prop_assert!(error.line >= 1 && error.column >= 1 && !error.what.is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes)?;
    }

    #[test]
    fn no_damage_panics_the_reader(bytes in damaged()) {
        read(&bytes)?;
    }

    #[test]
    fn no_action_panics_the_reader(line in r#"\{"id":[0-9]{1,3},"when":\{"at":[0-9]{1,22}\},"do":"(kill|send|partition|x)"(,"(node|a|size|client|down-ms|é)":("broker-a"|\[\]|-?[0-9]{1,12}|\{\}|null)){0,3}\}?"#) {
        if let Err(error) = with(&line) {
            prop_assert!(error.line == 2 && error.column <= line.len() + 1, "{}", error);
        }
    }
}

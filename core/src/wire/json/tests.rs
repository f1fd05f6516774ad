//! Tests of the dialect of JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Queue {
    broker_name: Option<String>,
    queue_id: i32,
    topic: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    addrs: BTreeMap<i64, String>,
    flag: bool,
    offset_table: BTreeMap<Queue, i64>,
    queues: Vec<Queue>,
    tps: f64,
}

fn read(text: &str) -> Result<Sample, JsonError> {
    from_slice(text.as_bytes())
}

#[test]
fn what_java_writes_reads_and_writes_back() {
    let text = r#"{"addrs":{-1:"a:1",0:"b:2"},"flag":true,"offsetTable":{{"brokerName":"b","queueId":3,"topic":"T"}:5},"queues":[{"queueId":0,"topic":"标\u0001\n\""}],"tps":1.5}"#;
    let sample = read(text).unwrap();
    assert_eq!(sample.addrs[&-1], "a:1");
    assert_eq!(to_string(&sample, Style::Fastjson), text);
    let standard = to_string(&sample, Style::Standard);
    assert!(standard.starts_with(r#"{"addrs":{"-1":"a:1","0":"b:2"},"#), "{standard}");
}

#[test]
fn odd_forms_read_as_java_reads_them() {
    let queue = |queue_id, topic: &str| Queue { broker_name: None, queue_id, topic: topic.into() };
    let cases = [
        ("{'queues':[{'queueId':'2','topic':5,},],}", vec![queue(2, "5")]),
        ("{\"queues\":{\"queueId\":2.9}}", vec![queue(2, "")]),
        ("/* c */{\"queues\":[{\"queueId\":null,\"unknown\":{\"x\":[1]}}]} // d", vec![queue(0, "")]),
        ("{\"queues\":null,\"flag\":null}", vec![]),
        ("", vec![]),
        ("null", vec![]),
        ("{\"queues\":[{\"topic\":\"\\u5317\\/\\t\\ud83d\\ude00\"}]}", vec![queue(0, "北/\t😀")]),
    ];
    for (text, queues) in cases {
        assert_eq!(read(text), Ok(Sample { queues, ..Sample::default() }), "{text}");
    }
    assert_eq!(read("{\"addrs\":{0.0:\"a\",\"7\":\"b\"}}").unwrap().addrs.keys().copied().collect::<Vec<_>>(), [0, 7]);
}

#[test]
fn what_java_refuses_is_refused() {
    for text in [
        "{flag:true}",
        "{\"addrs\":{\"x\":\"a\"}}",
        "[]",
        "{\"flag\":true} x",
        "\u{feff}{}",
        "{\"offsetTable\":{\"{}\":5}}",
        "{\"queues\":[{\"queueId\":1099511627776}]}",
        "{\"flag\":true",
        "{\"queues\":[{\"topic\":\"\\",
        "{\"queues\":[{\"topic\":\"\\u12",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(from_slice::<serde_json::Value>(deep.as_bytes()), Err(JsonError::Depth));
    let deep = format!("{{\"x\":{}", "{\"x\":".repeat(100_000));
    assert_eq!(read(&deep), Err(JsonError::Depth));
}

proptest! {
    #[test]
    fn any_bytes_read_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_slice::<Sample>(&bytes);
        let _ = from_slice::<serde_json::Value>(&bytes);
    }

    #[test]
    fn any_json_like_text_reads_or_fails(text in "[{}\\[\\]:,\"'0-9a-z/*\\\\ un-]{0,60}") {
        let _ = read(&text);
        let _ = from_slice::<serde_json::Value>(text.as_bytes());
    }

    #[test]
    fn what_was_written_reads_back(
        addrs in proptest::collection::btree_map(any::<i64>(), any::<String>(), 0..4),
        table in proptest::collection::btree_map((any::<Option<String>>(), any::<i32>(), any::<String>()), any::<i64>(), 0..4),
        tps in -1e300..1e300f64,
        standard: bool,
    ) {
        let offset_table = table
            .into_iter()
            .map(|((broker_name, queue_id, topic), n)| (Queue { broker_name, queue_id, topic }, n))
            .collect();
        let sample = Sample { addrs, offset_table, tps, ..Sample::default() };
        let style = if standard { Style::Standard } else { Style::Fastjson };
        prop_assert_eq!(from_slice::<Sample>(&to_vec(&sample, style)), Ok(sample));
    }
}

//! What clients saw, as JSON lines: the one format from which the checkers judge the simulator, our processes and Apache
//! RocketMQ alike.
//!
//! Invariant: a line that this module writes it also reads; unknown fields are kept out of the way, an unknown `op` is an
//! error with its line number.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tape::{Flush, Model, OrderKind, StartFrom};

/// The version of the format.
pub const VERSION: u32 = 1;

/// The longest line, in bytes: an assignment of 100,000 queues fits.
pub const LINE_BYTES_MOST: u64 = 4 << 20;

/// How acknowledged messages are replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// One copy.
    #[default]
    None,
    /// After the acknowledgement.
    Async,
    /// Before the acknowledgement.
    Sync,
}

/// A group as the checkers need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRules {
    /// How its members share messages.
    pub model: Model,
    /// Whether its handlers are ordered.
    pub orderly: bool,
    /// Whether a member runs several handlers at once, as real clients do: the handlers of a queue then begin in any order.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub parallel: bool,
    /// Where it starts without a committed offset.
    pub from: StartFrom,
    /// The tags that it asks for, by topic (`A || B`); everything where a topic is missing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl GroupRules {
    /// Whether a message with this tag belongs to the group.
    pub fn accepts(&self, topic: &str, tag: Option<&str>) -> bool {
        self.tags.get(topic).is_none_or(|wanted| passes(wanted, tag))
    }
}

/// Whether an expression (`A || B`, `*`) lets a message with this tag pass.
pub fn passes(wanted: &str, tag: Option<&str>) -> bool {
    let all = matches!(wanted.trim(), "" | "*");
    all || tag.is_some_and(|tag| wanted.split("||").any(|w| w.trim() == tag))
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub history: u32,
    /// Flush policy of the brokers; `async` if only one has it.
    #[serde(default)]
    pub flush: Flush,
    /// Replication of the brokers.
    #[serde(default)]
    pub replication: Replication,
    /// Order that each topic promises; `none` where a topic is missing.
    #[serde(default)]
    pub order: BTreeMap<String, OrderKind>,
    /// Groups; clustering, concurrent, from the first message where one is missing.
    #[serde(default)]
    pub groups: BTreeMap<String, GroupRules>,
}

impl Default for Header {
    fn default() -> Self {
        Header {
            history: VERSION,
            flush: Flush::Async,
            replication: Replication::None,
            order: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}

/// A queue: a number, or `broker:number` where several brokers hold the topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// The broker's name, if told.
    pub broker: Option<String>,
    /// The queue id.
    pub id: u32,
}

impl Queue {
    /// `broker:id`.
    pub fn on(broker: &str, id: u32) -> Queue {
        Queue { broker: Some(broker.into()), id }
    }

    /// Reads `3` or `broker-a:3`.
    pub fn parse(text: &str) -> Option<Queue> {
        match text.rsplit_once(':') {
            Some((broker, id)) => Some(Queue { broker: Some(broker.into()), id: id.parse().ok()? }),
            None => Some(Queue { broker: None, id: text.parse().ok()? }),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.broker {
            Some(broker) => write!(f, "{broker}:{}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.broker.is_none() { to.serialize_u32(self.id) } else { to.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Queue, D::Error> {
        struct Q;
        impl Visitor<'_> for Q {
            type Value = Queue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a queue number or \"broker:number\"")
            }
            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Queue, E> {
                let id = u32::try_from(id).map_err(|_| E::custom("a queue number below 2^32 is expected"))?;
                Ok(Queue { broker: None, id })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Queue, E> {
                Queue::parse(text).ok_or_else(|| {
                    E::custom(format!("a queue number or \"broker:number\" is expected, found \"{text}\""))
                })
            }
        }
        from.deserialize_any(Q)
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It began.
    Invoke,
    /// It ended well.
    Ok,
    /// A send surely stored nothing; a handler asked for redelivery.
    Fail,
    /// A send's outcome is unknown; a handler died inside.
    Info,
}

/// One line: something that happened at `t`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since the start.
    pub t: f64,
    /// The client that saw it; empty for faults and the end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// What happened.
    #[serde(flatten)]
    pub op: Op,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// A message was sent. The invocation names it; the outcome refers to it by `call` (unique per client).
    Send {
        /// Phase.
        #[serde(rename = "type")]
        phase: Phase,
        /// Number that ties invocation and outcome, unique per client.
        call: u64,
        /// Topic (invoke).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        topic: String,
        /// Key that identifies the message (invoke).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        key: String,
        /// Business id whose messages stay in order (invoke).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shard: Option<String>,
        /// Tag (invoke).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        /// Queue: asked for (invoke), stored in (ok, info).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<Queue>,
        /// How often it was handed to a broker, if the client tells (ok, info).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempts: Option<u32>,
        /// Position in the queue (ok, info).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// Why (fail, info).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A message was handed to a handler.
    Deliver {
        /// Phase.
        #[serde(rename = "type")]
        phase: Phase,
        /// Number that ties invocation and outcome, unique per client.
        call: u64,
        /// Group (invoke).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        group: String,
        /// Topic (invoke).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        topic: String,
        /// Queue (invoke).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<Queue>,
        /// Position in the queue (invoke).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// Key of the message, as its body says (invoke).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        key: String,
        /// How often the broker says that it was consumed before (invoke).
        #[serde(default, skip_serializing_if = "is_zero")]
        attempt: u32,
    },
    /// A consumer reads of a topic what an expression says, or nothing, from now on. What it said when it last ran counts no more.
    Subscribe {
        /// Group.
        group: String,
        /// Topic.
        topic: String,
        /// Tags with `||` between them, or `*`; nothing when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<String>,
        /// Brokers prefer the higher.
        version: i64,
    },
    /// A consumer now has these queues of a topic, and no others.
    Assign {
        /// Group.
        group: String,
        /// Topic.
        topic: String,
        /// Queues.
        queues: Vec<Queue>,
    },
    /// A consumer told the broker how far it is.
    Commit {
        /// Group.
        group: String,
        /// Topic.
        topic: String,
        /// Queue.
        queue: Queue,
        /// Next position to consume.
        offset: u64,
    },
    /// The administrator moved a group.
    Reset {
        /// Group.
        group: String,
        /// Topic.
        topic: String,
        /// Queue.
        queue: Queue,
        /// Next position to consume; while it is only asked for, the first one that it may be.
        offset: u64,
        /// The request is under way; a line without this says that it was answered.
        #[serde(default, skip_serializing_if = "is_false")]
        asked: bool,
    },
    /// A fault took effect, or ended (`heal`).
    Fault {
        /// Kind (`kill`, `power`, `partition`, `pause`, `heal`, …).
        kind: String,
        /// Node or nodes concerned.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        target: String,
        /// Of a `heal`: the kind of fault that is over; every fault of the target when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        /// After a power cut: the first position of each queue (by topic and queue id) that the surviving image does not
        /// hold for certain. Absent where nobody could look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        durable: Option<BTreeMap<String, BTreeMap<String, u64>>>,
        /// Of a power cut: a sync had named durable what it took. `durable` is what there really was.
        #[serde(default, skip_serializing_if = "is_false")]
        lied: bool,
        /// The messages that were damaged on the disk: by topic and queue id, their positions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damage: Option<BTreeMap<String, BTreeMap<String, Vec<u64>>>>,
        /// Of a partition: it never ends, and cuts nodes off from some of several name servers only. Once they go by another one it excuses
        /// nothing.
        #[serde(default, skip_serializing_if = "is_false")]
        lasts: bool,
    },
    /// The history is over.
    End {
        /// Everything had time to arrive.
        #[serde(default)]
        drained: bool,
        /// Groups without a member at the end: what waits for them counts as neither lost nor delivered.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deserted: Vec<String>,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(yes: &bool) -> bool {
    !yes
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Record {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a record has only string keys")
    }
}

impl Header {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a header has only string keys")
    }
}

/// A whole history in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The first line.
    pub header: Header,
    /// The others, in time order; record `i` is line `i + 2`.
    pub records: Vec<Record>,
}

impl History {
    /// Every line.
    pub fn to_lines(&self) -> Vec<String> {
        std::iter::once(self.header.to_line()).chain(self.records.iter().map(Record::to_line)).collect()
    }
}

/// Why a text is not a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file could not be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A line says something else than expected.
    #[error("line {line}: {what}")]
    Line {
        /// Line number from 1.
        line: u64,
        /// What was expected.
        what: String,
    },
}

/// Reads a history line by line, so that its length does not matter; of a line, no more than [`LINE_BYTES_MOST`].
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    line: u64,
    last_t: f64,
    text: String,
}

impl<R: BufRead> Reader<R> {
    /// Starts with the header.
    pub fn new(from: R) -> Result<(Header, Reader<R>), HistoryError> {
        let mut reader = Reader { from, line: 0, last_t: f64::NEG_INFINITY, text: String::new() };
        if !reader.advance()? {
            return Err(HistoryError::Line { line: 1, what: "a history header is expected, the file is empty".into() });
        }
        let header: Header = reader.decode("a history header like {\"history\":1,…} is expected")?;
        if header.history != VERSION {
            return Err(reader.bad(format!("history version {VERSION} is expected, found {}", header.history)));
        }
        Ok((header, reader))
    }

    /// The next record with its line number and text; none at the end.
    #[allow(clippy::should_implement_trait, reason = "it lends its line")]
    pub fn next(&mut self) -> Result<Option<(u64, Record, &str)>, HistoryError> {
        if !self.advance()? {
            return Ok(None);
        }
        let record: Record = self.decode("a record is expected")?;
        if record.t < self.last_t || !record.t.is_finite() {
            return Err(
                self.bad(format!("records are expected in time order, but t {} follows {}", record.t, self.last_t))
            );
        }
        self.last_t = record.t;
        self.demand(&record)?;
        Ok(Some((self.line, record, self.text.trim())))
    }

    fn advance(&mut self) -> Result<bool, HistoryError> {
        loop {
            let mut bytes = std::mem::take(&mut self.text).into_bytes();
            bytes.clear();
            self.line += 1;
            let most = LINE_BYTES_MOST + 1;
            if self.from.by_ref().take(most).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(false);
            }
            if bytes.len() as u64 == most && !bytes.ends_with(b"\n") {
                return Err(self.bad(format!("a line of at most {LINE_BYTES_MOST} bytes is expected")));
            }
            self.text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to() + 1;
                self.bad(format!("UTF-8 is expected, but byte {at} of the line is none of it"))
            })?;
            if !self.text.trim().is_empty() {
                return Ok(true);
            }
        }
    }

    fn decode<T: for<'a> Deserialize<'a>>(&self, expected: &str) -> Result<T, HistoryError> {
        serde_json::from_str(&self.text).map_err(|e| self.bad(format!("{expected}: {e}")))
    }

    fn bad(&self, what: String) -> HistoryError {
        HistoryError::Line { line: self.line, what }
    }

    /// What an invocation must name.
    fn demand(&self, record: &Record) -> Result<(), HistoryError> {
        let missing = match &record.op {
            Op::Send { phase: Phase::Invoke, topic, key, .. } => {
                [("topic", topic.is_empty()), ("key", key.is_empty())].to_vec()
            }
            Op::Deliver { phase: Phase::Invoke, group, topic, queue, offset, key, .. } => [
                ("group", group.is_empty()),
                ("topic", topic.is_empty()),
                ("queue", queue.is_none()),
                ("offset", offset.is_none()),
                ("key", key.is_empty()),
            ]
            .to_vec(),
            _ => Vec::new(),
        };
        match missing.iter().find(|(_, absent)| *absent) {
            Some((field, _)) => Err(self.bad(format!("an invocation with \"{field}\" is expected"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"history":1,"flush":"sync","replication":"none","order":{"T":"queue"},"groups":{"g":{"model":"clustering","orderly":false,"from":"first"}}}
{"t":12.5,"client":"p1","op":"send","type":"invoke","call":1,"topic":"T","key":"p1-1","shard":"order-7","queue":3}
{"t":13.1,"client":"p1","op":"send","type":"ok","call":1,"queue":3,"offset":41}
{"t":14.0,"client":"c1","op":"deliver","type":"invoke","call":9,"group":"g","topic":"T","queue":3,"offset":41,"key":"p1-1","attempt":2}
{"t":14.2,"client":"c1","op":"deliver","type":"ok","call":9,"extra":{"x":1}}
{"t":15.0,"client":"c1","op":"assign","group":"g","topic":"T","queues":["a:0","a:1"]}
{"t":16.0,"client":"c1","op":"commit","group":"g","topic":"T","queue":3,"offset":42}
{"t":17.0,"client":"admin","op":"reset","group":"g","topic":"T","queue":3,"offset":0}
{"t":20.0,"op":"fault","kind":"power","target":"broker-a","durable":{"T":{"0":41}}}
{"t":99.0,"op":"end","drained":true}
"#;

    #[test]
    fn every_line_survives_reading_and_writing() {
        let (header, mut reader) = Reader::new(SAMPLE.as_bytes()).unwrap();
        let mut history = History { header, records: vec![] };
        while let Some((_, record, _)) = reader.next().unwrap() {
            history.records.push(record);
        }
        let expected: Vec<String> = SAMPLE.replace(",\"extra\":{\"x\":1}", "").lines().map(String::from).collect();
        assert_eq!(history.to_lines(), expected);
    }

    fn error_of(text: &str) -> String {
        let (_, mut reader) = match Reader::new(text.as_bytes()) {
            Ok(ok) => ok,
            Err(e) => return e.to_string(),
        };
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return String::new(),
                Err(e) => return e.to_string(),
            }
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        assert!(error_of("").contains("line 1"));
        assert!(error_of("{\"history\":2}").contains("version 1 is expected"));
        let with = |line: &str| error_of(&format!("{{\"history\":1}}\n\n{line}\n"));
        assert!(
            with(r#"{"t":1,"op":"dance"}"#).contains("line 3") && with(r#"{"t":1,"op":"dance"}"#).contains("dance")
        );
        assert!(with(r#"{"t":1,"op":"send","type":"invoke","call":1,"topic":"T"}"#).contains("\"key\""));
        assert!(
            with(r#"{"t":1,"op":"commit","group":"g","topic":"T","queue":"x:y","offset":1}"#).contains("broker:number")
        );
        assert!(with("{\"t\":2,\"op\":\"end\"}\n{\"t\":1,\"op\":\"end\"}").contains("time order"));
    }
}

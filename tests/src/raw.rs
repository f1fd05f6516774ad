//! Remoting frames by hand: a blocking connection and the few requests that the tests need beside the real clients.
//!
//! Invariant: written from the protocol's description alone, with JSON headers; it shares no code with the servers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// A version number that every server accepts (V5_5_0).
pub const VERSION: u32 = 513;

/// A connection that sends one request at a time.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    opaque: u32,
}

/// A response frame.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Response code, 0 for success.
    pub code: i32,
    /// The remark, empty when there is none.
    pub remark: String,
    /// The fields of the custom header.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A numeric field.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.fields.get(name)?.parse().ok()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// The bytes of a request with a JSON header.
pub fn frame(code: i32, opaque: u32, flag: u32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let fields: BTreeMap<&str, &str> = fields.iter().copied().collect();
    let header = json!({"code": code, "extFields": fields, "flag": flag, "language": "JAVA", "opaque": opaque,
        "serializeTypeCurrentRPC": "JSON", "version": VERSION});
    framed(&serde_json::to_vec(&header).expect("a JSON value can be written"), body)
}

/// Puts the lengths before a JSON header and a body.
pub fn framed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + header.len() + body.len());
    out.extend_from_slice(&(4 + header.len() as u32 + body.len() as u32).to_be_bytes());
    out.extend_from_slice(&(header.len() as u32).to_be_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    out
}

impl Raw {
    /// Connects to `host:port`; reads time out after 20 s.
    pub fn connect(addr: &str) -> io::Result<Raw> {
        let addr: SocketAddr = addr.parse().map_err(|_| io::Error::other("not an address"))?;
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(3))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Raw { stream, opaque: 0 })
    }

    /// Sends a request and waits for its response; frames that are not it are passed over.
    pub fn call(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let opaque = self.post(code, fields, body)?;
        loop {
            let (answered, reply) = self.answer()?;
            if answered == opaque {
                return Ok(reply);
            }
        }
    }

    /// Sends a request without waiting; its opaque. Opaques of one connection count up.
    pub fn post(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> io::Result<u32> {
        self.opaque += 1;
        self.stream.write_all(&frame(code, self.opaque, 0, fields, body))?;
        Ok(self.opaque)
    }

    /// The next response and its opaque; requests of the server are passed over.
    pub fn answer(&mut self) -> io::Result<(u32, Reply)> {
        loop {
            let (header, body) = self.read_frame()?;
            if header["flag"].as_u64().unwrap_or(0) & 1 == 1 {
                return Ok((header["opaque"].as_u64().unwrap_or(0) as u32, reply(&header, body)));
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<(Value, Vec<u8>)> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let header = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > 64 << 20 || header + 4 > length || head[4] != 0 {
            return Err(io::Error::other("not a frame with a JSON header"));
        }
        let mut rest = vec![0; length - 4];
        self.stream.read_exact(&mut rest)?;
        let body = rest.split_off(header);
        Ok((serde_json::from_slice(&rest)?, body))
    }
}

fn reply(header: &Value, body: Vec<u8>) -> Reply {
    let fields = header["extFields"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Reply {
        code: header["code"].as_i64().unwrap_or(-1) as i32,
        remark: header["remark"].as_str().unwrap_or_default().to_owned(),
        fields: fields.map(|(name, value)| (name.clone(), text(value))).collect(),
        body,
    }
}

/// One request on a connection of its own.
pub fn ask(addr: &str, code: i32, fields: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
    Raw::connect(addr)?.call(code, fields, body)
}

/// Creates or changes a topic on one broker (request 17).
pub fn create_topic(broker: &str, topic: &str, queues: u32) -> io::Result<()> {
    let queues = queues.to_string();
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues.as_str()),
        ("writeQueueNums", queues.as_str()),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    let reply = ask(broker, 17, &fields, &[])?;
    if reply.code == 0 { Ok(()) } else { Err(io::Error::other(format!("{}: {}", reply.code, reply.remark))) }
}

/// The route of a topic (request 105), null when there is none.
pub fn route(name_server: &str, topic: &str) -> Value {
    let asked = ask(name_server, 105, &[("topic", topic), ("acceptStandardJsonOnly", "true")], &[]);
    asked.map_or(Value::Null, |reply| if reply.code == 0 { reply.json() } else { Value::Null })
}

/// How many brokers the route of a topic names.
pub fn brokers_of(name_server: &str, topic: &str) -> usize {
    route(name_server, topic)["queueDatas"].as_array().map_or(0, Vec::len)
}

/// The names of the brokers that a name server knows (request 106).
pub fn cluster(name_server: &str) -> Vec<String> {
    let Ok(reply) = ask(name_server, 106, &[], &[]) else { return Vec::new() };
    // Java writes the inner table with unquoted numeric keys: the names are found without a parser.
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let mut names: Vec<String> = Vec::new();
    for part in text.split("\"brokerName\":\"").skip(1) {
        names.extend(part.split('"').next().map(str::to_owned));
    }
    names.sort();
    names
}

/// Minimum and maximum offset of a queue (requests 31 and 30).
pub fn offsets(raw: &mut Raw, topic: &str, queue: u32) -> io::Result<(i64, i64)> {
    let queue = queue.to_string();
    let fields = [("topic", topic), ("queueId", queue.as_str())];
    let low = raw.call(31, &fields, &[])?.number("offset").unwrap_or(-1);
    let high = raw.call(30, &fields, &[])?.number("offset").unwrap_or(-1);
    Ok((low, high))
}

/// The committed offset of a group (request 14); `None` when there is none.
pub fn committed(raw: &mut Raw, group: &str, topic: &str, queue: u32) -> io::Result<Option<i64>> {
    let queue = queue.to_string();
    let fields =
        [("consumerGroup", group), ("topic", topic), ("queueId", queue.as_str()), ("setZeroIfNotFound", "false")];
    let reply = raw.call(14, &fields, &[])?;
    Ok(if reply.code == 0 { reply.number("offset") } else { None })
}

/// Commits an offset of a group (request 15). A first pull makes the group known.
pub fn commit(raw: &mut Raw, group: &str, topic: &str, queue: u32, offset: i64) -> io::Result<()> {
    pull(raw, group, topic, queue, 0)?;
    let (queue, offset) = (queue.to_string(), offset.to_string());
    let fields = [("consumerGroup", group), ("topic", topic), ("queueId", &queue), ("commitOffset", &offset)];
    let reply = raw.call(15, &fields, &[])?;
    if reply.code == 0 { Ok(()) } else { Err(io::Error::other(format!("{}: {}", reply.code, reply.remark))) }
}

/// The client ids of a group's members (request 38).
pub fn members(broker: &str, group: &str) -> Vec<String> {
    let Ok(reply) = ask(broker, 38, &[("consumerGroup", group)], &[]) else { return Vec::new() };
    let list = reply.json()["consumerIdList"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// One stored message as a pull returns it: only what the tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Queue.
    pub queue: u32,
    /// Position in the queue.
    pub offset: i64,
    /// Position in the commit log.
    pub physical: i64,
    /// The whole record.
    pub record: Vec<u8>,
    /// The body as stored.
    pub body: Vec<u8>,
    /// The properties text.
    pub properties: String,
}

/// Cuts the body of a pull into records. `None` when the bytes are no sequence of records.
pub fn records(mut bytes: &[u8]) -> Option<Vec<Stored>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        out.push(record(bytes.get(..size)?)?);
        bytes = &bytes[size..];
    }
    Some(out)
}

fn record(bytes: &[u8]) -> Option<Stored> {
    let int = |at: usize| bytes.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().expect("four bytes")));
    let long =
        |at: usize| bytes.get(at..at + 8).map(|eight| i64::from_be_bytes(eight.try_into().expect("eight bytes")));
    let (magic, sys_flag) = (int(4)?, int(36)?);
    let born = if sys_flag & 16 != 0 { 20 } else { 8 };
    let store = if sys_flag & 32 != 0 { 20 } else { 8 };
    let body_at = 48 + born + 8 + store + 4 + 8;
    let body_len = int(body_at)? as usize;
    let topic_at = body_at + 4 + body_len;
    let (topic_len, wide) = match magic {
        0xDAA3_20AB => (usize::from(u16::from_be_bytes(bytes.get(topic_at..topic_at + 2)?.try_into().ok()?)), 2),
        _ => (usize::from(*bytes.get(topic_at)?), 1),
    };
    let properties_at = topic_at + wide + topic_len + 2;
    Some(Stored {
        queue: int(12)?,
        offset: long(20)?,
        physical: long(28)?,
        record: bytes.to_vec(),
        body: bytes.get(body_at + 4..topic_at)?.to_vec(),
        properties: String::from_utf8_lossy(bytes.get(properties_at..)?).into_owned(),
    })
}

/// Pulls a queue from `from` to its end, in batches of 32.
pub fn pull_all(raw: &mut Raw, group: &str, topic: &str, queue: u32, from: i64) -> io::Result<Vec<Stored>> {
    let (mut at, mut out) = (from, Vec::new());
    let (_, end) = offsets(raw, topic, queue)?;
    while at < end {
        let reply = pull(raw, group, topic, queue, at)?;
        let next = reply.number("nextBeginOffset").unwrap_or(at);
        match reply.code {
            0 => out.extend(records(&reply.body).ok_or_else(|| io::Error::other("a pull is no sequence of records"))?),
            19..=21 if next > at => {}
            _ => {
                return Err(io::Error::other(format!(
                    "pull of {topic}:{queue} at {at}: {} {}",
                    reply.code, reply.remark
                )));
            }
        }
        if next <= at {
            return Err(io::Error::other(format!("pull of {topic}:{queue} does not move on from {at}")));
        }
        at = next;
    }
    Ok(out)
}

/// One pull of at most 32 messages, without commit and without waiting, with the subscription in the request.
pub fn pull(raw: &mut Raw, group: &str, topic: &str, queue: u32, at: i64) -> io::Result<Reply> {
    let (queue, at) = (queue.to_string(), at.to_string());
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", queue.as_str()),
        ("queueOffset", at.as_str()),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    raw.call(11, &fields, &[])
}

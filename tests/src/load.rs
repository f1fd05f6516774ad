//! A load client that costs the server's machine as little as it can: frames encoded once, patched in place, answers
//! found by their opaque alone.
//!
//! Invariant: at most `in_flight` requests of a connection are unanswered, and each counted answer was code 0.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw;

/// Opaques start here, so that all of them have ten digits.
const FIRST_OPAQUE: u32 = 1_000_000_000;

/// What to send.
#[derive(Clone, Debug)]
pub struct Sending {
    /// `host:port` of the broker.
    pub addr: String,
    /// Connections.
    pub connections: usize,
    /// Unanswered requests of each.
    pub in_flight: usize,
    /// Body of each message in bytes.
    pub body: usize,
    /// How many topics, named `prefix` + four digits, are written in turn.
    pub topics: u32,
    /// Queues of each, at most ten, written in turn.
    pub queues: u32,
    /// First part of the topics' names.
    pub prefix: String,
    /// Messages in all.
    pub messages: u64,
    /// Stops after this, too.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers with code 0, or messages pulled.
    pub done: u64,
    /// Answers with another code.
    pub refused: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of each answer, in units of 100 ns, sorted.
    pub latencies: Vec<u32>,
}

impl Outcome {
    /// Done per second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// The latency that this share (0 to 1) of the answers did not exceed, in microseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        let at = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |&tenths| f64::from(tenths) / 10.0)
    }

    fn merge(outcomes: Vec<Outcome>, took: Duration) -> Outcome {
        let mut all = Outcome { took, ..Outcome::default() };
        for one in outcomes {
            all.done += one.done;
            all.refused += one.refused;
            all.latencies.extend(one.latencies);
        }
        all.latencies.sort_unstable();
        all
    }
}

/// Runs a load on a runtime of its own, on this thread.
pub fn send(sending: &Sending) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let share = sending.messages / sending.connections as u64;
        let tasks: Vec<_> = (0..sending.connections)
            .map(|n| tokio::spawn(send_on_one(sending.clone(), n as u32, share.max(1), started + sending.time)))
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.map_err(io::Error::other)??);
        }
        Ok(Outcome::merge(outcomes, started.elapsed()))
    })
}

/// A frame whose changing digits are known by place.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    topic: usize,
    queue: usize,
    unique: usize,
}

impl Template {
    fn new(sending: &Sending, opaque: u32) -> Template {
        let properties =
            r"UNIQ_KEY\u0001FD00000000000000000000000000000200000000000000000000000000000000\u0002WAIT\u0001true\u0002";
        let header = format!(
            "{{\"code\":310,\"extFields\":{{\"a\":\"P_LOAD\",\"b\":\"{}0000\",\"c\":\"TBW102\",\"d\":\"8\",\"e\":\"0\",\
             \"f\":\"0\",\"g\":\"1700000000000\",\"h\":\"0\",\"i\":\"{properties}\",\"j\":\"0\",\"k\":\"false\",\"m\":\"false\"}},\
             \"flag\":0,\"language\":\"JAVA\",\"opaque\":{opaque},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{}}}",
            sending.prefix,
            raw::VERSION
        );
        let body: Vec<u8> = (0..sending.body).map(|n| b"seedmq load "[n % 12]).collect();
        let bytes = raw::framed(header.as_bytes(), &body);
        let place = |text: &str| {
            let at = bytes.windows(text.len()).position(|part| part == text.as_bytes());
            at.expect("the template has the field") + text.len()
        };
        let topic = place(&format!("\"b\":\"{}", sending.prefix));
        let (queue, unique) = (place("\"e\":\""), place("FD000000000000000000000000000002"));
        Template { topic, queue, unique, bytes }
    }

    /// Makes it the `n`-th message: its topic, its queue, its unique key.
    fn patch(&mut self, sending: &Sending, connection: u32, n: u64) {
        let queue = n % u64::from(sending.queues);
        let topic = n / u64::from(sending.queues) % u64::from(sending.topics);
        self.bytes[self.queue] = b'0' + queue as u8;
        digits(&mut self.bytes[self.topic..self.topic + 4], topic);
        self.bytes[self.unique] = b'A' + (connection % 16) as u8;
        hex(&mut self.bytes[self.unique + 1..self.unique + 10], n);
    }
}

fn digits(into: &mut [u8], mut n: u64) {
    for byte in into.iter_mut().rev() {
        *byte = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

fn hex(into: &mut [u8], mut n: u64) {
    for byte in into.iter_mut().rev() {
        *byte = b"0123456789ABCDEF"[(n & 15) as usize];
        n >>= 4;
    }
}

async fn send_on_one(sending: Sending, connection: u32, messages: u64, until: Instant) -> io::Result<Outcome> {
    let mut stream = TcpStream::connect(&sending.addr).await?;
    stream.set_nodelay(true)?;
    let slots = sending.in_flight.min(messages as usize);
    let mut templates: Vec<Template> = (0..slots).map(|n| Template::new(&sending, FIRST_OPAQUE + n as u32)).collect();
    let mut sent_at = vec![Instant::now(); slots];
    let mut outcome = Outcome { latencies: Vec::with_capacity(messages.min(4 << 20) as usize), ..Outcome::default() };
    let (mut next, mut open) = (0, 0);
    let mut out = Vec::with_capacity(slots * (sending.body + 512));
    for template in &mut templates {
        template.patch(&sending, connection, next);
        out.extend_from_slice(&template.bytes);
        (next, open) = (next + 1, open + 1);
    }
    stream.write_all(&out).await?;
    let mut answers = Answers::default();
    while open > 0 {
        answers.fill(&mut stream).await?;
        let now = Instant::now();
        out.clear();
        while let Some((opaque, ok)) = answers.next()? {
            let slot = (opaque - FIRST_OPAQUE) as usize;
            let tenths = now.duration_since(sent_at[slot]).as_nanos() / 100;
            outcome.latencies.push(tenths.min(u128::from(u32::MAX)) as u32);
            if ok {
                outcome.done += 1
            } else {
                outcome.refused += 1
            }
            open -= 1;
            if next < messages && now < until {
                templates[slot].patch(&sending, connection, next);
                out.extend_from_slice(&templates[slot].bytes);
                sent_at[slot] = now;
                (next, open) = (next + 1, open + 1);
            }
        }
        stream.write_all(&out).await?;
    }
    Ok(outcome)
}

/// Bytes of a connection, cut into response frames.
#[derive(Debug, Default)]
struct Answers {
    bytes: Vec<u8>,
    at: usize,
    /// Where the last header had its opaque: the next one most likely has it there, too.
    hint: usize,
}

impl Answers {
    async fn fill(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.reserve(256 << 10);
        if stream.read_buf(&mut self.bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Header and body of the next whole frame.
    fn frame(&mut self) -> Option<(std::ops::Range<usize>, usize)> {
        let head = self.bytes.get(self.at..self.at + 8)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let header = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let end = self.at + 4 + length;
        if self.bytes.len() < end {
            return None;
        }
        let range = self.at + 8..self.at + 8 + header;
        self.at = end;
        Some((range, end))
    }

    /// Opaque of the next response, and whether its code is 0.
    fn next(&mut self) -> io::Result<Option<(u32, bool)>> {
        let Some((range, _)) = self.frame() else { return Ok(None) };
        let opaque = self.opaque(range.clone()).ok_or_else(|| io::Error::other("a response without an opaque"))?;
        let header = &self.bytes[range];
        Ok(Some((opaque, header.starts_with(b"{\"code\":0,") || find(header, b"\"code\":0,").is_some())))
    }

    fn opaque(&mut self, range: std::ops::Range<usize>) -> Option<u32> {
        const NAME: &[u8] = b"\"opaque\":";
        let header = &self.bytes[range];
        if !header.get(self.hint..).is_some_and(|rest| rest.starts_with(NAME)) {
            self.hint = find(header, NAME)?;
        }
        Some(number(&header[self.hint + NAME.len()..]) as u32)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The decimal number that a text begins with.
fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}

/// What to pull: every queue of `prefix0000` from its start, each by one connection, in batches of 32.
#[derive(Clone, Debug)]
pub struct Pulling {
    /// `host:port` of the broker.
    pub addr: String,
    /// Connections, each with two queues.
    pub connections: u32,
    /// First part of the topic's name.
    pub prefix: String,
    /// Messages in all; queues are read again from the start when they are at their end.
    pub messages: u64,
}

/// Pulls on a runtime of its own, on this thread. Latencies are of whole pulls.
pub fn pull(pulling: &Pulling) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let tasks: Vec<_> =
            (0..pulling.connections).map(|n| tokio::spawn(pull_on_one(pulling.clone(), [2 * n, 2 * n + 1]))).collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.map_err(io::Error::other)??);
        }
        Ok(Outcome::merge(outcomes, started.elapsed()))
    })
}

fn pull_frame(pulling: &Pulling, queue: u32, slot: u32, at: u64) -> Vec<u8> {
    let header = format!(
        "{{\"code\":11,\"extFields\":{{\"consumerGroup\":\"C_LOAD\",\"topic\":\"{}0000\",\"queueId\":\"{queue}\",\
         \"queueOffset\":\"{at}\",\"maxMsgNums\":\"32\",\"sysFlag\":\"4\",\"commitOffset\":\"0\",\"suspendTimeoutMillis\":\"0\",\
         \"subscription\":\"*\",\"subVersion\":\"0\",\"expressionType\":\"TAG\"}},\"flag\":0,\"language\":\"JAVA\",\
         \"opaque\":{},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{}}}",
        pulling.prefix,
        FIRST_OPAQUE + slot,
        raw::VERSION
    );
    raw::framed(header.as_bytes(), &[])
}

async fn pull_on_one(pulling: Pulling, queues: [u32; 2]) -> io::Result<Outcome> {
    let mut stream = TcpStream::connect(&pulling.addr).await?;
    stream.set_nodelay(true)?;
    let share = pulling.messages / u64::from(pulling.connections);
    let (mut at, mut sent_at) = ([0_u64; 2], [Instant::now(); 2]);
    let mut outcome = Outcome::default();
    for (slot, queue) in (0..).zip(queues) {
        stream.write_all(&pull_frame(&pulling, queue, slot, 0)).await?;
    }
    let (mut answers, mut open) = (Answers::default(), 2);
    while open > 0 {
        answers.fill(&mut stream).await?;
        let now = Instant::now();
        while let Some((range, _)) = answers.frame() {
            let opaque =
                answers.opaque(range.clone()).ok_or_else(|| io::Error::other("a response without an opaque"))?;
            let slot = (opaque - FIRST_OPAQUE) as usize;
            let header = &answers.bytes[range];
            let next = find(header, b"\"nextBeginOffset\":\"").map_or(0, |place| number(&header[place + 19..]));
            outcome
                .latencies
                .push((now.duration_since(sent_at[slot]).as_nanos() / 100).min(u128::from(u32::MAX)) as u32);
            let found = find(header, b"\"code\":0,").is_some();
            outcome.done += if found { next - at[slot] } else { 0 };
            outcome.refused += u64::from(!found);
            at[slot] = if found { next } else { 0 };
            if outcome.done < share && outcome.refused < 10_000 {
                stream.write_all(&pull_frame(&pulling, queues[slot], slot as u32, at[slot])).await?;
                sent_at[slot] = now;
            } else {
                open -= 1;
            }
        }
    }
    Ok(outcome)
}

//! Drives a whole broker over a disk in memory, as clients would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Broker, BrokerCommand, BrokerConfig, BrokerEvent};
use crate::node::{
    Addr, ConnId, Cx, DialId, Disk, DiskAsk, DiskDone, DiskError, Entry, FileId, Input, Instant, Node, Now, Open,
    Outbox, Output, Read, Rng, Usage,
};
use crate::store::StoreConfig;
use crate::wire::Frame;
use crate::wire::codes::request;

mod admin;
mod clients;
mod life;
mod probes;
mod pulls;
mod sends;

/// Files in memory. Everything that was written is readable; a sync only moves what [`MemoryDisk::lose_power`] keeps.
#[derive(Default)]
struct MemoryDisk {
    paths: BTreeMap<String, FileId>,
    files: BTreeMap<FileId, Vec<u8>>,
    /// Completions of syncs are held back while this is set.
    stalled: bool,
    refuse_replace: bool,
    fail_syncs: bool,
    /// Reads are answered from the device.
    cold: bool,
    asked: Vec<DiskAsk>,
}

impl MemoryDisk {
    fn file(&mut self, path: &str) -> FileId {
        let next = FileId(u32::try_from(self.paths.len()).unwrap());
        *self.paths.entry(path.to_owned()).or_insert(next)
    }
    fn content(&self, path: &str) -> Option<&Vec<u8>> {
        self.files.get(self.paths.get(path)?)
    }
    fn put(&mut self, path: &str, bytes: &[u8]) {
        let file = self.file(path);
        self.files.insert(file, bytes.to_vec());
    }
    /// Does what can be done now, in order; the rest stays.
    fn work(&mut self) -> Vec<DiskDone> {
        let asked = std::mem::take(&mut self.asked);
        let mut done = Vec::new();
        for ask in asked {
            match ask {
                DiskAsk::Sync { .. } if self.stalled => self.asked.push(ask),
                DiskAsk::Sync { file, through } => {
                    let result = if self.fail_syncs { Err(DiskError::Io("broken".into())) } else { Ok(()) };
                    done.push(DiskDone::Synced { file, through, result });
                }
                DiskAsk::Fetch { fetch, file, at, len } => {
                    let all = &self.files[&file];
                    let (from, to) = (all.len().min(at as usize), all.len().min(at as usize + len as usize));
                    done.push(DiskDone::Fetched { fetch, result: Ok(Bytes::copy_from_slice(&all[from..to])) });
                }
                DiskAsk::Allocate { path, len } => {
                    let file = self.file(&path);
                    self.files.entry(file).or_default().resize(len as usize, 0);
                    done.push(DiskDone::Allocated { path, result: Ok(file) });
                }
                DiskAsk::Replace { path, .. } if self.refuse_replace => {
                    done.push(DiskDone::Replaced { path, result: Err(DiskError::Full) });
                }
                DiskAsk::Replace { path, bytes } => {
                    if let Some(before) = self.content(&path).cloned() {
                        self.put(&format!("{path}.bak"), &before);
                    }
                    self.put(&path, &bytes);
                    done.push(DiskDone::Replaced { path, result: Ok(()) });
                }
                DiskAsk::Remove { path } => {
                    if let Some(file) = self.paths.remove(&*path) {
                        self.files.remove(&file);
                    }
                    done.push(DiskDone::Removed { path, result: Ok(()) });
                }
            }
        }
        done
    }
}

impl Disk for MemoryDisk {
    fn open(&mut self, path: &str, open: Open) -> Result<FileId, DiskError> {
        match open {
            Open::Existing => self.paths.get(path).copied().ok_or(DiskError::Missing),
            Open::Create { len } => {
                let file = self.file(path);
                self.files.entry(file).or_insert_with(|| vec![0; len as usize]);
                Ok(file)
            }
        }
    }
    fn close(&mut self, _: FileId) {}
    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.files.get(&file).map(|bytes| bytes.len() as u64).ok_or(DiskError::Missing)
    }
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, DiskError> {
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        for (path, file) in &self.paths {
            let Some(rest) = path.strip_prefix(&format!("{dir}/")).or((dir.is_empty()).then_some(path)) else {
                continue;
            };
            let (name, is_dir) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            let len = if is_dir { 0 } else { self.files[file].len() as u64 };
            found.insert(name.to_owned(), Entry { name: name.to_owned(), len, dir: is_dir, modified_ms: 0 });
        }
        Ok(found.into_values().collect())
    }
    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let all = self.files.get_mut(&file).ok_or(DiskError::Missing)?;
        let end = at as usize + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }
    fn read(&mut self, file: FileId, at: u64, len: usize) -> Result<Read, DiskError> {
        let all = self.files.get(&file).ok_or(DiskError::Missing)?;
        if self.cold {
            return Ok(Read::Cold);
        }
        let (from, to) = (all.len().min(at as usize), all.len().min(at as usize + len));
        Ok(Read::Hot(Bytes::copy_from_slice(&all[from..to])))
    }
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.files.get_mut(&file).ok_or(DiskError::Missing)?.truncate(len as usize);
        Ok(())
    }
    fn usage(&mut self) -> Usage {
        Usage { total: 1 << 40, free: 1 << 39 }
    }
}

/// A broker and its world.
struct World {
    broker: Broker,
    disk: MemoryDisk,
    rng: Rng,
    now: Now,
    sent: Vec<(ConnId, Frame)>,
    events: Vec<BrokerEvent>,
    closed: Vec<ConnId>,
    dials: Vec<(DialId, Addr)>,
    stopped: bool,
    opaque: i32,
}

const BORN: u64 = 1_700_000_000_000;

fn config() -> BrokerConfig {
    BrokerConfig {
        store: StoreConfig {
            log_file_bytes: 1 << 20,
            queue_file_entries: 1000,
            index_slots: 100,
            index_entries: 1000,
            ..StoreConfig::default()
        },
        ..BrokerConfig::default()
    }
}

impl World {
    fn new(config: BrokerConfig) -> World {
        World::on(config, MemoryDisk::default())
    }
    fn on(config: BrokerConfig, disk: MemoryDisk) -> World {
        let mut world = World {
            broker: Broker::new(config),
            disk,
            rng: Rng::from_seed(1),
            now: Now { mono: Instant(1_000_000_000), wall_ms: BORN },
            sent: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
            dials: Vec::new(),
            stopped: false,
            opaque: 0,
        };
        world.input(Input::Start);
        world.quiet();
        world
    }
    /// The same disk under a new broker: what a killed process leaves behind.
    fn restart(self, config: BrokerConfig) -> World {
        World::on(config, self.disk)
    }
    fn step(&mut self, input: Input<BrokerCommand>) {
        let mut out = Outbox::default();
        let mut cx = Cx { now: self.now, disk: &mut self.disk, rng: &mut self.rng, out: &mut out };
        self.broker.step(input, &mut cx);
        for output in out.0 {
            match output {
                Output::Send { conn, frame } => self.sent.push((conn, frame)),
                Output::Dial { dial, addr } => {
                    let names = &self.broker.config().name_servers;
                    assert!(names.contains(&addr), "a broker calls name servers and nobody else: {addr}");
                    self.dials.push((dial, addr));
                }
                Output::Close { conn } => self.closed.push(conn),
                Output::Disk(ask) => self.disk.asked.push(ask),
                Output::Event(event) => self.events.push(event),
                Output::Stopped => self.stopped = true,
            }
        }
    }
    /// One batch of one input.
    fn input(&mut self, input: Input<BrokerCommand>) {
        self.step(input);
        self.step(Input::Settle);
        self.broker.invariants();
    }
    /// Lets the disk work until nothing more happens at this moment.
    fn quiet(&mut self) {
        for _ in 0..10_000 {
            let done = self.disk.work();
            let due = self.broker.wake_at().is_some_and(|at| at <= self.now.mono);
            if done.is_empty() && !due {
                return;
            }
            for done in done {
                self.step(Input::Disk(done));
            }
            if due {
                self.step(Input::Wake);
            }
            self.step(Input::Settle);
            self.broker.invariants();
        }
        panic!("the broker does not come to rest");
    }
    /// Lets time pass, waking the broker whenever it asked for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            self.quiet();
            let next = self.broker.wake_at().filter(|at| *at <= end).unwrap_or(end).max(self.now.mono);
            self.now.wall_ms += u64::try_from(next.since(self.now.mono).as_millis()).unwrap();
            self.now.mono = next;
            if next == end {
                break;
            }
        }
        self.quiet();
    }
    fn connect(&mut self, conn: u64) -> ConnId {
        self.connect_at(conn, 10911)
    }
    fn connect_at(&mut self, conn: u64, port: u16) -> ConnId {
        self.open(conn, &format!("10.0.0.{conn}:40000"), port)
    }
    fn connect_from(&mut self, conn: u64, peer: &str) -> ConnId {
        self.open(conn, peer, 10911)
    }
    fn open(&mut self, conn: u64, peer: &str, port: u16) -> ConnId {
        let local = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        self.input(Input::Opened { conn: ConnId(conn), dial: None, peer: peer.parse().unwrap(), local });
        ConnId(conn)
    }
    /// Hands a request over without waiting for anything.
    fn post(&mut self, conn: ConnId, mut frame: Frame) -> i32 {
        self.opaque += 1;
        frame.opaque = self.opaque;
        self.input(Input::Frame { conn, frame });
        self.opaque
    }
    /// The answer to a request that was posted, if it came.
    fn answer(&mut self, conn: ConnId, opaque: i32) -> Option<Frame> {
        let is_it = |(to, frame): &(ConnId, Frame)| *to == conn && frame.opaque == opaque && frame.is_response();
        let at = self.sent.iter().position(is_it)?;
        Some(self.sent.remove(at).1)
    }
    /// Asks and waits for the disk, not for the clock.
    fn ask(&mut self, conn: ConnId, frame: Frame) -> Frame {
        let opaque = self.post(conn, frame);
        self.quiet();
        self.answer(conn, opaque).expect("an answer comes")
    }
    fn send(&mut self, conn: ConnId, topic: &str, properties: &str) -> Frame {
        self.ask(conn, send(topic, 0, properties, "body"))
    }
    fn pushes(&mut self, conn: ConnId) -> usize {
        let is_push = |(to, frame): &(ConnId, Frame)| {
            *to == conn && frame.code == request::NOTIFY_CONSUMER_IDS_CHANGED && !frame.is_response()
        };
        let before = self.sent.len();
        self.sent.retain(|sent| !is_push(sent));
        before - self.sent.len()
    }
    fn notices(&self) -> Vec<&str> {
        let mut notices = Vec::new();
        for event in &self.events {
            if let BrokerEvent::Notice(text) = event {
                notices.push(text.as_str());
            }
        }
        notices
    }
}

fn frame(code: i32, fields: &[(&str, &str)]) -> Frame {
    let mut frame = Frame::request(code);
    for (name, value) in fields {
        frame.fields.push_any(name, value);
    }
    frame
}

fn send(topic: &str, queue: i32, properties: &str, body: &str) -> Frame {
    let queue = queue.to_string();
    frame(
        request::SEND_MESSAGE_V2,
        &[
            ("a", "PG"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ],
    )
    .with_body(body.to_owned())
}

fn pull(topic: &str, queue: i32, offset: i64, flags: i32, tags: &str) -> Frame {
    pull_as("CG", topic, queue, offset, flags, tags)
}

fn pull_as(group: &str, topic: &str, queue: i32, offset: i64, flags: i32, tags: &str) -> Frame {
    let (queue, offset, flags) = (queue.to_string(), offset.to_string(), flags.to_string());
    frame(
        request::PULL_MESSAGE,
        &[
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", &flags),
            ("commitOffset", "3"),
            ("suspendTimeoutMillis", "15000"),
            ("subscription", tags),
            ("subVersion", "1"),
            ("expressionType", "TAG"),
        ],
    )
}

fn beat(client: &str, group: &str, topic: &str) -> Frame {
    beat_of_version(client, group, topic, 1)
}

fn beat_of_version(client: &str, group: &str, topic: &str, version: i64) -> Frame {
    let body = format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET",
        "consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"CLUSTERING","subscriptionDataSet":[
        {{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":{version},"tagsSet":[],
        "topic":"{topic}"}}],"unitMode":false}}],"heartbeatFingerprint":0,"producerDataSet":[],"withoutSub":false}}"#
    );
    frame(request::HEART_BEAT, &[]).with_body(body)
}

fn body_of(frame: &Frame) -> Bytes {
    let mut all = BytesMut::from(&frame.body[..]);
    for slice in &frame.rest {
        all.extend_from_slice(slice);
    }
    all.freeze()
}

fn field<'a>(frame: &'a Frame, name: &str) -> &'a str {
    frame.fields.get(name).unwrap_or_else(|| panic!("{name} is in {:?}", frame.fields))
}

//! A store directory that changes hands between SeedMQ and Apache's broker, and what can be seen of it from outside.
//!
//! Invariant: an [`View`] holds nothing that depends on who serves it: bytes of records, bounds of queues, keys, offsets.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::load::{self, Sending};
use crate::raw::{self, Raw};
use crate::server::{Make, Plan, Servers};
use crate::tools::Missing;

/// Topics of a filled store; each has eight queues.
const TOPICS: u32 = 4;

/// What a client can see of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Minimum and maximum offset of each queue.
    pub bounds: BTreeMap<(String, u32), (i64, i64)>,
    /// Number and digest of the records of each queue, as pulled.
    pub records: BTreeMap<(String, u32), (usize, u64)>,
    /// Committed offset of a group on each queue.
    pub committed: BTreeMap<(String, u32), Option<i64>>,
    /// Physical offsets of the messages that a few keys find.
    pub keys: BTreeMap<String, Vec<i64>>,
    /// Offset by time, at a few times.
    pub times: Vec<i64>,
}

fn servers(make: Make, store: &Path) -> Result<Servers, Missing> {
    let mut plan = Plan::cluster(1, 1).make(make);
    plan.store = Some(store.to_owned());
    plan.start()
}

/// Fills a store by one maker's broker, with `messages` in all, and looks at it.
pub fn fill(make: Make, store: &Path, messages: u64) -> Result<View, Missing> {
    let mut servers = servers(make, store)?;
    let addr = servers.brokers[0].addr.clone();
    for topic in 0..TOPICS {
        servers.create_topic(&format!("swap{topic:04}"), 8);
    }
    let sending = Sending {
        addr: addr.clone(),
        connections: 2,
        in_flight: 32,
        body: 300,
        topics: TOPICS,
        queues: 8,
        prefix: "swap".into(),
        messages: messages - 100,
        time: Duration::from_secs(300),
    };
    let outcome = load::send(&sending).expect("the broker answers");
    assert_eq!((outcome.done, outcome.refused), (messages - 100, 0));
    with_keys(&addr).expect("the broker answers");
    commit(&addr).expect("the broker answers");
    let view = look(&addr).expect("the broker answers");
    // Committed offsets are on the disk after a clean stop.
    servers.brokers[0].stop();
    Ok(view)
}

/// Opens the store by the other maker's broker and looks at it; then sends one more message and stops.
pub fn reopen(make: Make, store: &Path) -> Result<View, Missing> {
    let mut servers = servers(make, store)?;
    let addr = servers.brokers[0].addr.clone();
    let view = look(&addr).expect("the broker answers");
    let (fields, body) = (message("swap0000", "KEYS\u{1}after\u{2}"), b"one more");
    let reply = raw::ask(&addr, 310, &fields, body).expect("the broker answers");
    let next = view.bounds[&("swap0000".into(), 0)].1;
    assert_eq!((reply.code, reply.number("queueOffset")), (0, Some(next)), "the queue goes on where it ended");
    servers.brokers[0].stop();
    Ok(view)
}

fn message<'a>(topic: &'a str, properties: &'a str) -> Vec<(&'a str, &'a str)> {
    let fixed = [("a", "P"), ("c", "TBW102"), ("d", "8"), ("e", "0"), ("f", "0"), ("g", "1700000000000"), ("h", "0")];
    [&fixed[..], &[("b", topic), ("i", properties), ("j", "0"), ("k", "false"), ("m", "false")]].concat()
}

/// A hundred messages with two keys each, one of them shared.
fn with_keys(addr: &str) -> io::Result<()> {
    let mut raw = Raw::connect(addr)?;
    for n in 0..100 {
        let properties = format!("KEYS\u{1}swap-key-{n} shared\u{2}TAGS\u{1}tag{}\u{2}", n % 3);
        let reply = raw.call(310, &message("swap0000", &properties), format!("body {n}").as_bytes())?;
        assert_eq!(reply.code, 0, "{}", reply.remark);
    }
    Ok(())
}

fn commit(addr: &str) -> io::Result<()> {
    let mut raw = Raw::connect(addr)?;
    // A first pull makes the group known.
    raw::pull(&mut raw, "C_SWAP", "swap0000", 0, 0)?;
    for (topic, queue) in queues() {
        let (queue, offset) = (queue.to_string(), (10 + queue).to_string());
        let fields =
            [("consumerGroup", "C_SWAP"), ("topic", topic.as_str()), ("queueId", &queue), ("commitOffset", &offset)];
        let reply = raw.call(15, &fields, &[])?;
        assert_eq!(reply.code, 0, "{}", reply.remark);
    }
    Ok(())
}

fn queues() -> impl Iterator<Item = (String, u32)> {
    (0..TOPICS).flat_map(|topic| (0..8).map(move |queue| (format!("swap{topic:04}"), queue)))
}

/// Looks at everything.
pub fn look(addr: &str) -> io::Result<View> {
    let mut raw = Raw::connect(addr)?;
    let (mut bounds, mut records, mut committed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (topic, queue) in queues() {
        let (low, high) = raw::offsets(&mut raw, &topic, queue)?;
        let all = raw::pull_all(&mut raw, "C_LOOK", &topic, queue, low)?;
        let dense = all.iter().zip(low..).all(|(stored, offset)| stored.offset == offset);
        assert!(dense, "{topic}:{queue} has holes");
        let digest =
            all.iter().fold(0_u64, |sum, stored| sum.rotate_left(5) ^ u64::from(crc32fast::hash(&stored.record)));
        bounds.insert((topic.clone(), queue), (low, high));
        records.insert((topic.clone(), queue), (all.len(), digest));
        committed.insert((topic.clone(), queue), raw::committed(&mut raw, "C_SWAP", &topic, queue)?);
    }
    let mut keys = BTreeMap::new();
    for key in ["swap-key-0", "swap-key-57", "swap-key-99", "shared", "no such key"] {
        keys.insert(key.to_owned(), by_key(&mut raw, "swap0000", key)?);
    }
    let mut times = Vec::new();
    for stamp in ["0", "1700000000000", "9000000000000"] {
        let fields = [("topic", "swap0001"), ("queueId", "3"), ("timestamp", stamp)];
        times.push(raw.call(29, &fields, &[])?.number("offset").unwrap_or(-1));
    }
    Ok(View { bounds, records, committed, keys, times })
}

/// Physical offsets of the messages with a key, sorted (request 12).
fn by_key(raw: &mut Raw, topic: &str, key: &str) -> io::Result<Vec<i64>> {
    let fields =
        [("topic", topic), ("key", key), ("maxNum", "64"), ("beginTimestamp", "0"), ("endTimestamp", "9000000000000")];
    let reply = raw.call(12, &fields, &[])?;
    let mut found: Vec<i64> = match reply.code {
        0 => raw::records(&reply.body).unwrap_or_default().iter().map(|stored| stored.physical).collect(),
        _ => Vec::new(),
    };
    found.sort_unstable();
    Ok(found)
}

/// One direction: `first` fills, `second` must see the same, and then `first` again.
pub fn there_and_back(first: Make, second: Make, messages: u64) -> Result<(), Missing> {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let store: PathBuf = dir.path().join("store");
    let filled = fill(first, &store, messages)?;
    let total: usize = filled.records.values().map(|(count, _)| count).sum();
    assert_eq!(total as u64, messages, "everything is read back by {first:?}");
    assert_eq!(filled.keys["shared"].len(), 64, "a key of a hundred messages finds as many as were asked for");
    let seen = reopen(second, &store)?;
    compare(&filled, &seen, &format!("{second:?} reads what {first:?} wrote"));
    let again = reopen(first, &store)?;
    assert_eq!(again.bounds[&("swap0000".into(), 0)].1, filled.bounds[&("swap0000".into(), 0)].1 + 1);
    assert_eq!(again.records[&("swap0001".into(), 3)], filled.records[&("swap0001".into(), 3)]);
    Ok(())
}

fn compare(one: &View, other: &View, what: &str) {
    for (queue, bounds) in &one.bounds {
        assert_eq!(other.bounds.get(queue), Some(bounds), "{what}: bounds of {queue:?}");
    }
    for (queue, records) in &one.records {
        assert_eq!(other.records.get(queue), Some(records), "{what}: records of {queue:?}");
    }
    assert_eq!(other.committed, one.committed, "{what}: committed offsets");
    assert_eq!(other.keys, one.keys, "{what}: queries by key");
    assert_eq!(other.times, one.times, "{what}: offsets by time");
}

//! The store against stores that Apache RocketMQ 5.5.0 wrote: everything that Java reads from them is read here too, and
//! what Java recovers from damaged copies is recovered here too.
//!
//! Invariant: the copies are opened with the sizes that they were made with, and nothing but the store under test reads them.

mod golden;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use golden::{int, str};
use seedmq_core::message::record::Record;
use seedmq_core::node::{Disk, DiskAsk, Instant, Now, Open};
use seedmq_core::store::memdisk::MemDisk;
use seedmq_core::store::{Fault, Get, GetStatus, Hit, Label, Store, StoreConfig, StoreNews};

/// The files of a store in `tests/golden/NAME/store.tar.gz`, paths from the store root.
fn unpack(name: &str) -> MemDisk {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name).join("store.tar.gz");
    let packed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).expect("gzip");
    let (mut disk, mut at, mut long_name) = (MemDisk::new(), 0, None);
    let text = |bytes: &[u8]| {
        let text = bytes.split(|b| *b == 0).next().expect("a split has a first part");
        String::from_utf8(text.to_vec()).expect("names and numbers are text")
    };
    let mut files = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let head = &tar[at..at + 512];
        let len = usize::from_str_radix(text(&head[124..136]).trim(), 8).expect("octal length");
        let content = &tar[at + 512..at + 512 + len];
        let prefix = text(&head[345..500]);
        let short = if prefix.is_empty() { text(&head[..100]) } else { format!("{prefix}/{}", text(&head[..100])) };
        match head[156] {
            b'L' => long_name = Some(text(content)),
            b'0' | 0 => {
                let name = long_name.take().unwrap_or(short);
                // The timer wheel is 38 MB of zeros that no store looks at.
                if let Some(path) = name.strip_prefix("store/").filter(|path| *path != "timerwheel") {
                    disk.put(path, content);
                    files += 1;
                }
            }
            _ => long_name = None,
        }
        at += 512 + len.div_ceil(512) * 512;
    }
    assert!(files > 40, "{name} has {files} files");
    disk
}

fn config() -> StoreConfig {
    StoreConfig {
        log_file_bytes: 65_536,
        queue_file_entries: 50,
        index_slots: 100,
        index_entries: 400,
        // The disk of the golden broker was larger than a test should pretend.
        delete_at_hours: Vec::new(),
        ..StoreConfig::default()
    }
}

struct Opened {
    store: Store,
    disk: MemDisk,
    asks: Vec<DiskAsk>,
    now: Now,
    notes: Vec<String>,
}

impl Opened {
    fn open(disk: MemDisk) -> Result<Opened, String> {
        Opened::open_with(disk, config())
    }

    fn open_with(disk: MemDisk, config: StoreConfig) -> Result<Opened, String> {
        let now = Now { mono: Instant(1_000_000_000), wall_ms: 1_795_400_000_000 };
        let mut opened = Opened { store: Store::new(config), disk, asks: Vec::new(), now, notes: Vec::new() };
        let mut news = opened.store.start(now, &mut opened.disk, &mut opened.asks);
        for _ in 0..100_000 {
            for piece in news {
                match piece {
                    StoreNews::Ready(notes) => {
                        opened.notes = notes;
                        return Ok(opened);
                    }
                    StoreNews::Refused(why) => return Err(why),
                    _ => {}
                }
            }
            news = opened.step().expect("recovery goes on");
        }
        panic!("recovery does not end");
    }

    fn step(&mut self) -> Option<Vec<StoreNews>> {
        self.disk.ask(self.asks.drain(..));
        let news = if self.store.wake_at().is_some_and(|at| at <= self.now.mono) {
            self.store.wake(self.now, &mut self.disk, &mut self.asks)
        } else {
            let done = self.disk.answer(0)?;
            self.store.on_disk(self.now, done, &mut self.disk, &mut self.asks)
        };
        self.store.invariants();
        Some(news)
    }

    fn stop(mut self) -> MemDisk {
        self.store.stop(self.now, &mut self.disk, &mut self.asks);
        while !self.store.stopped() {
            self.store.settle(self.now, &mut self.disk, &mut self.asks, &mut Vec::new());
            if self.step().is_none() {
                self.now.mono = self.now.mono + Duration::from_millis(100);
            }
        }
        self.disk
    }

    fn ranges(&self) -> BTreeMap<String, Range<u64>> {
        let all = self.store.queues().filter(|(.., range)| range.end > 0);
        all.map(|(topic, id, range)| (format!("{topic}/{id}"), range)).collect()
    }

    fn entry(&mut self, topic: &str, queue_id: u32, offset: u64, tag: i32) -> Option<Bytes> {
        let get = Get { topic, queue_id, offset, max: 1, max_bytes: 1 << 20, tags: Some(&[tag]) };
        let got = self.store.get(&get, &mut self.disk, &mut self.asks);
        assert!(matches!(got.status, GetStatus::Found), "{topic}/{queue_id} at {offset}: {:?}", got.status);
        (got.next_offset > offset).then(|| got.records[0].clone())
    }

    fn by_key(&mut self, topic: &str, key: &str, max: usize, times: Range<i64>) -> Vec<u64> {
        let hits = self
            .store
            .by_label(topic, Label::Key(key), max, times, &mut self.disk, &mut self.asks)
            .expect("all is hot");
        hits.iter().map(|hit| hit.physical).collect()
    }

    fn by_position(&mut self, at: u64) -> Option<Hit> {
        self.store.by_position(at, &mut self.disk, &mut self.asks).expect("all is hot")
    }
}

/// Compares with everything in `expect.jsonl.gz`.
fn compare(opened: &mut Opened, name: &str, resurrected: &[&str]) {
    let expect = golden::lines(&format!("{name}/expect.jsonl"));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut queues: BTreeMap<String, Range<u64>> = BTreeMap::new();
    for line in &expect {
        let kind = str(line, "kind");
        *counts.entry(kind.to_owned()).or_default() += 1;
        let queue = || u32::try_from(int(line, "queueId")).expect("a queue");
        match kind {
            "store" => {
                assert_eq!(opened.store.marks().written, int(line, "maxPhyOffset") as u64);
                assert_eq!(opened.store.marks().begin, int(line, "minPhyOffset") as u64);
            }
            "queue" => {
                let range = int(line, "minOffset") as u64..int(line, "maxOffset") as u64;
                queues.insert(format!("{}/{}", str(line, "topic"), queue()), range.clone());
                let first = opened.store.store_time(
                    str(line, "topic"),
                    queue(),
                    range.start,
                    &mut opened.disk,
                    &mut opened.asks,
                );
                assert_eq!(first, Ok(Some(int(line, "earliestMessageTime"))), "{line}");
            }
            "entry" => compare_entry(opened, line, queue()),
            "offset_by_time" => {
                let (topic, ms) = (str(line, "topic"), int(line, "timestamp"));
                for (upper, name) in [(false, "lower"), (true, "upper")] {
                    let (disk, asks) = (&mut opened.disk, &mut opened.asks);
                    let found = opened.store.offset_by_time(topic, queue(), ms, upper, disk, asks);
                    assert_eq!(found, Ok::<u64, Fault>(int(line, name) as u64), "{name} of {line}");
                }
            }
            "query_key" => compare_keys(opened, line),
            "record" => compare_record(opened, line),
            "timer_slot" => {}
            other => panic!("unknown kind {other}"),
        }
    }
    let mut found = opened.ranges();
    found.retain(|queue, _| !resurrected.contains(&queue.as_str()));
    assert_eq!(found, queues);
    for kind in ["entry", "record", "query_key", "queue", "offset_by_time"] {
        assert!(counts[kind] >= 9, "{name} has {kind}: {counts:?}");
    }
}

fn compare_entry(opened: &mut Opened, line: &serde_json::Value, queue: u32) {
    let tag = int(line, "tagsCode") as i32;
    let offset = int(line, "queueOffset") as u64;
    let bytes = opened.entry(str(line, "topic"), queue, offset, tag).unwrap_or_else(|| panic!("{line}"));
    let record = Record::parse(&bytes).expect("a record");
    assert_eq!(record.physical, int(line, "physicOffset"), "{line}");
    assert_eq!(bytes.len() as i64, int(line, "size"), "{line}");
    assert_eq!((record.queue_offset as u64, record.store_ms), (offset, int(line, "storeTimestamp")), "{line}");
    assert_eq!((record.born_ms, i64::from(record.flag)), (int(line, "bornTimestamp"), int(line, "flag")), "{line}");
    assert_eq!(record.body.len() as i64, int(line, "bodyLen"), "{line}");
    assert_eq!(format!("/{}", record.born_host), str(line, "bornHost"), "{line}");
    assert_eq!(i64::from(record.sys_flag), int(line, "sysFlag"), "{line}");
}

fn compare_keys(opened: &mut Opened, line: &serde_json::Value) {
    let end = int(line, "end").saturating_add(1);
    let max = usize::try_from(int(line, "maxNum")).expect("a count");
    let mut found = opened.by_key(str(line, "topic"), str(line, "key"), max, int(line, "begin")..end);
    assert!(found.is_sorted_by(|a, b| a >= b), "newest first: {found:?}");
    found.sort_unstable();
    let mut expected: Vec<u64> =
        line["physicOffsets"].as_array().expect("a list").iter().map(|at| at.as_u64().expect("a position")).collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{line}");
}

fn compare_record(opened: &mut Opened, line: &serde_json::Value) {
    let at = int(line, "physicOffset") as u64;
    let hit = opened.by_position(at);
    if str(line, "magic") == "cbd43194" {
        assert_eq!(hit, None, "{line}");
        return;
    }
    let hit = hit.unwrap_or_else(|| panic!("{line}"));
    let record = Record::parse(&hit.record).expect("a record");
    assert_eq!(record.total as i64, int(line, "size"), "{line}");
    assert_eq!(record.topic, str(line, "topic"), "{line}");
    assert_eq!(i64::from(record.queue_id), int(line, "queueId"), "{line}");
}

#[test]
fn a_clean_java_store_reads_as_java_reads_it() {
    let mut opened = Opened::open(unpack("store-clean")).expect("opens");
    assert!(opened.notes.iter().any(|note| note.contains("SCHEDULE_TOPIC_XXXX")), "{:?}", opened.notes);
    assert!(opened.notes.iter().any(|note| note.contains("half messages")), "{:?}", opened.notes);
    compare(&mut opened, "store-clean", &[]);
}

#[test]
fn a_killed_java_store_recovers_to_what_java_recovers() {
    let mut opened = Opened::open(unpack("store-killed")).expect("opens");
    compare(&mut opened, "store-killed", &[]);
}

#[test]
fn the_store_of_a_java_slave_reads_as_java_reads_it() {
    let mut opened = Opened::open(unpack("store-slave")).expect("opens");
    compare(&mut opened, "store-slave", &[]);
}

#[test]
fn a_java_store_survives_our_stop_start_and_kill() {
    for name in ["store-clean", "store-killed"] {
        let disk = Opened::open(unpack(name)).expect("opens").stop();
        assert!(disk.content("abort").is_none() && disk.content("seedmq.snapshot").is_some());
        let mut again = Opened::open(disk).expect("opens again");
        compare(&mut again, name, &[]);
        // Without our own snapshot it is a clean store of another broker again: Java would see the same.
        let mut disk = again.stop();
        disk.remove_below("seedmq.");
        let mut again = Opened::open(disk).expect("opens without the snapshot");
        compare(&mut again, name, &[]);
        again.disk.kill();
        let mut again = Opened::open(again.disk).expect("opens after a kill");
        compare(&mut again, name, &[]);
    }
}

/// Topics that somebody had deleted: the log still holds them, and a rebuild, like Java's, brings them back.
const DELETED: [&str; 1] = ["TopicGoAuto/1"];

#[test]
fn queues_and_index_are_rebuilt_as_they_were() {
    for (name, what) in [
        ("store-clean", &["consumequeue/", "index/"][..]),
        ("store-clean", &["index/"]),
        ("store-killed", &["consumequeue/", "index/"]),
        ("store-killed", &["consumequeue/"]),
        ("store-slave", &["consumequeue/"]),
    ] {
        let mut disk = unpack(name);
        what.iter().for_each(|folder| disk.remove_below(folder));
        let mut opened = Opened::open(disk).expect("opens");
        compare(&mut opened, name, &DELETED);
    }
}

/// The contents of the index files, oldest first.
fn index(disk: &MemDisk) -> Vec<Bytes> {
    let mut paths: Vec<String> = disk.paths().into_iter().filter(|path| path.starts_with("index/")).collect();
    paths.sort();
    paths.iter().map(|path| disk.content(path).expect("a listed file")).collect()
}

#[test]
fn a_rebuilt_index_is_byte_for_byte_that_of_java() {
    let mut disk = unpack("store-clean");
    let java = index(&disk);
    disk.remove_below("index/");
    let ours = index(&Opened::open(disk).expect("opens").stop());
    assert!(java.len() >= 4);
    assert_eq!(ours.len(), java.len());
    for (nth, (ours, java)) in ours.iter().zip(&java).enumerate() {
        let at = ours.iter().zip(java).position(|(ours, java)| ours != java);
        assert_eq!((ours.len(), at), (java.len(), None), "file {nth} differs there");
    }
}

#[test]
fn removed_folders_are_rebuilt_after_our_own_stop_too() {
    let mut disk = Opened::open(unpack("store-clean")).expect("opens").stop();
    disk.remove_below("consumequeue/");
    disk.remove_below("index/");
    let mut opened = Opened::open(disk).expect("opens");
    compare(&mut opened, "store-clean", &DELETED);
}

fn change(disk: &mut MemDisk, at: u64, change: impl FnOnce(&mut Vec<u8>, usize)) {
    let (begin, path) = (at / 65_536 * 65_536, format!("commitlog/{:020}", at / 65_536 * 65_536));
    let mut bytes = disk.content(&path).expect("a log file").to_vec();
    change(&mut bytes, (at - begin) as usize);
    disk.put(&path, &bytes);
}

/// A count or an offset.
fn natural(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a natural number"))
}

/// Does to a copy what the case says.
fn damage(disk: &mut MemDisk, case: &serde_json::Value) {
    let pair = |value: &serde_json::Value| (natural(&value[0]), natural(&value[1]) as usize);
    let (last, last_len) = pair(&case["lastRecord"]);
    let mid = if case["damaged"].is_null() { last } else { pair(&case["damaged"]["mid"]).0 };
    let old = if case["damaged"].is_null() { last } else { pair(&case["damaged"]["old"]).0 };
    let flip_body = |disk: &mut MemDisk, at| change(disk, at, |bytes, at| bytes[at + 90] ^= 1);
    let name = str(case, "case").split_once(", ").expect("store, damage").1;
    match name {
        "unchanged" => {}
        "last 20 bytes of the last record zeroed" => {
            change(disk, last, |bytes, at| bytes[at + last_len - 20..at + last_len].fill(0));
        }
        "last record: everything after the first 50 bytes zeroed" => {
            change(disk, last, |bytes, at| bytes[at + 50..at + last_len].fill(0));
        }
        "last record: one body byte flipped" => flip_body(disk, last),
        "last record: total size set to 0" => change(disk, last, |bytes, at| bytes[at..at + 4].fill(0)),
        "record 40 before the end: one body byte flipped" => flip_body(disk, mid),
        "record 40 before the end: magic destroyed" => change(disk, mid, |bytes, at| bytes[at + 4..at + 8].fill(0x55)),
        "record 40 before the end: one byte of the physical offset field changed" => {
            change(disk, mid, |bytes, at| bytes[at + 35] ^= 1);
        }
        "record 40 before the end: one byte of the queue offset field changed" => {
            change(disk, mid, |bytes, at| bytes[at + 27] ^= 1);
        }
        "record 30 of the log (old file): one body byte flipped" => flip_body(disk, old),
        "100 random bytes after the last record" => change(disk, last, |bytes, at| {
            let garbage = (0..100u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
            bytes[at + last_len..].iter_mut().zip(garbage).for_each(|(byte, random)| *byte = random);
        }),
        "consumequeue folder removed" => disk.remove_below("consumequeue/"),
        "index folder removed" => disk.remove_below("index/"),
        "checkpoint removed" => disk.remove_below("checkpoint"),
        "checkpoint zeroed" => disk.put("checkpoint", &[0; 4096]),
        "last commit log file cut to 30000 bytes" => disk.put("commitlog/00000000000000589824", &[0; 30_000]),
        "last commit log file cut to 0 bytes" => disk.put("commitlog/00000000000000589824", &[]),
        "all files after the one with the last record removed" => disk.remove_below("commitlog/00000000000000589824"),
        "first commit log file removed" => disk.remove_below("commitlog/00000000000000000000"),
        "config folder removed" => disk.remove_below("config/"),
        "abort file added" => disk.put("abort", b""),
        "one topic (TopicHold) removed from consumequeue" => disk.remove_below("consumequeue/TopicHold/"),
        "last record: second half zeroed" => {
            change(disk, last, |bytes, at| bytes[at + last_len / 2..at + last_len].fill(0));
        }
        "all commit log files removed" => disk.remove_below("commitlog/"),
        other => panic!("unknown damage: {other}"),
    }
}

#[test]
fn at_least_what_java_recovers_is_recovered() {
    let cases = golden::lines("store-recovery.jsonl");
    assert_eq!(cases.len(), 28);
    let mut whole: BTreeMap<String, BTreeMap<String, Range<u64>>> = BTreeMap::new();
    for case in &cases {
        let (name, what) = (str(case, "store"), str(case, "case"));
        let mut disk = unpack(name);
        damage(&mut disk, case);
        let opened = Opened::open(disk);
        if what.ends_with("all commit log files removed") {
            // Java starts empty there, and throws the queues away.
            let why = opened.err().expect("refused");
            assert!(why.contains("commitlog") && why.contains("restore"), "{why}");
            continue;
        }
        let mut opened = opened.unwrap_or_else(|why| panic!("{what}: {why}"));
        let ranges = opened.ranges();
        if let Some(queues) = case["queues"].as_object() {
            let range = |range: &serde_json::Value| natural(&range[0])..natural(&range[1]);
            let java: BTreeMap<_, _> = queues.iter().map(|(queue, r)| (queue.clone(), range(r))).collect();
            assert_eq!(ranges, java, "{what}");
            whole.insert(name.to_owned(), java);
        }
        if !case["load"].as_bool().expect("whether Java loads it") {
            assert_eq!(ranges, whole[name], "{what}: Java does not open it, here nothing is lost");
            continue;
        }
        let marks = opened.store.marks();
        assert!(marks.written as i64 >= int(case, "maxPhyOffset"), "{what}: {marks:?}");
        assert_eq!(marks.begin as i64, int(case, "minPhyOffset"), "{what}");
        let differ = case["queuesThatDiffer"].as_object();
        let mut lost = 0;
        for (queue, all) in &whole[name] {
            let java = match differ.and_then(|differ| differ.get(queue)) {
                None => all.clone(),
                Some(serde_json::Value::Null) => 0..0,
                Some(range) => natural(&range[0])..natural(&range[1]),
            };
            let ours = ranges.get(queue).cloned().unwrap_or(0..0);
            let at_least = java.is_empty() || (ours.start <= java.start && ours.end >= java.end);
            assert!(at_least && ours.end >= java.end, "{what}: {queue} is {ours:?}, Java has {java:?}");
            for offset in ours {
                let (topic, id) = queue.rsplit_once('/').expect("topic/queue");
                let queue_id = id.parse().expect("a queue number");
                let get = Get { topic, queue_id, offset, max: 1, max_bytes: 1 << 20, tags: None };
                let got = opened.store.get(&get, &mut opened.disk, &mut opened.asks);
                // Java hands a damaged message out: a wrong body, or a number that moves the group to another place. Here it is named, and
                // readers are led past it.
                let is_damaged = what.contains("byte");
                let is_lost = is_damaged && matches!(got.status, GetStatus::MessageWasRemoving);
                let is_there = matches!(got.status, GetStatus::Found);
                assert!(is_there || is_lost, "{what}: {queue} at {offset}: {:?}", got.status);
                lost += usize::from(is_lost);
            }
        }
        assert!(lost <= 1, "{what}: {lost} messages are lost, one was damaged");
        let is_cut = marks.written < if name == "store-killed" { 545_898 } else { 281_644 };
        let says_so = opened.notes.iter().any(|note| note.contains("commitlog/") && note.contains("bytes"));
        assert!(
            !is_cut || says_so || opened.notes.iter().any(|note| note.contains("seedmq.cut")),
            "{what}: {:?}",
            opened.notes
        );
    }
}

#[test]
fn what_is_cut_though_sound_is_kept_aside() {
    let mut disk = unpack("store-killed");
    change(&mut disk, 524_497, |bytes, at| bytes[at + 90] ^= 1);
    let before = disk.content("commitlog/00000000000000524288").expect("a log file");
    let opened = Opened::open(disk).expect("opens");
    let aside = opened.disk.content("seedmq.cut/00000000000000524497").expect("a copy");
    assert_eq!(aside[..21_401], before[209..21_610]);
    let note = opened.notes.iter().find(|note| note.contains("seedmq.cut")).expect("a note");
    assert!(note.contains("524497") && note.contains("commitlog/00000000000000524288"), "{note}");
}

#[test]
fn a_store_that_is_not_understood_is_refused_and_left_alone() {
    let odd = |name: &str, spoil: &dyn Fn(&mut MemDisk), config: StoreConfig, says: &[&str]| {
        let mut disk = unpack("store-clean");
        spoil(&mut disk);
        let before: Vec<(String, Bytes)> =
            disk.paths().into_iter().map(|path| (path.clone(), disk.content(&path).expect("a listed file"))).collect();
        let mut found = disk.clone();
        // The refusal is asked of a copy, so that what it leaves can be compared.
        let why = {
            let now = Now { mono: Instant(1), wall_ms: 1_795_400_000_000 };
            let (mut store, mut asks) = (Store::new(config), Vec::new());
            let mut news = store.start(now, &mut found, &mut asks);
            for _ in 0..1000 {
                if store.stopped() {
                    break;
                }
                found.ask(asks.drain(..));
                let more = match store.wake_at() {
                    Some(_) => store.wake(now, &mut found, &mut asks),
                    None => {
                        let done = found.answer(0).expect("something to wait for");
                        store.on_disk(now, done, &mut found, &mut asks)
                    }
                };
                news.extend(more);
            }
            match news.pop() {
                Some(StoreNews::Refused(why)) => why,
                other => panic!("{name}: {other:?}"),
            }
        };
        says.iter().for_each(|part| assert!(why.contains(part), "{name}: {why}"));
        for (path, content) in before {
            assert_eq!(found.content(&path).as_ref(), Some(&content), "{name} changed {path}");
        }
    };
    odd(
        "other log size",
        &|_| {},
        StoreConfig { log_file_bytes: 1 << 20, ..config() },
        &["mappedFileSizeCommitLog=65536"],
    );
    odd(
        "other queue size",
        &|_| {},
        StoreConfig { queue_file_entries: 300, ..config() },
        &["consumequeue/", "mappedFileSizeConsumeQueue"],
    );
    odd("other index size", &|_| {}, StoreConfig { index_slots: 7, ..config() }, &["index/2026", "maxHashSlotNum"]);
    let remove = |disk: &mut MemDisk| disk.remove_below("commitlog/00000000000000065536");
    odd("a log file is missing", &remove, config(), &["commitlog/00000000000000065536 is missing", "restore"]);
    let stray = |disk: &mut MemDisk| disk.put("commitlog/backup.zip", b"x");
    odd("a stray file", &stray, config(), &["commitlog/backup.zip", "move it"]);
    let foreign = |disk: &mut MemDisk| disk.put("commitlog/00000000000000000000", &[0x5A; 65_536]);
    odd("a foreign format", &foreign, config(), &["commitlog/00000000000000000000", "storePathRootDir"]);
    let cut = |disk: &mut MemDisk| {
        let bytes = disk.content("commitlog/00000000000000262144").expect("a log file");
        disk.put("commitlog/00000000000000262144", &bytes[..30_000]);
    };
    odd("a short last file with messages", &cut, config(), &["00000000000000262144 has 30000 bytes", "restore"]);
    // Files that a store may hold and that are none of our business.
    let mut opened = Opened::open(unpack("store-clean")).expect("opens");
    let there = opened.disk.open("config/topics.json", Open::Existing);
    assert!(there.is_ok() && opened.disk.content("timerlog/00000000000000000000").is_some());
}

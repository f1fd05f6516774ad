//! The reader against stores that Apache RocketMQ wrote, and the oracles against small damages of them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use seedmq_reports::Oracle;

use super::*;

type Store = BTreeMap<String, Bytes>;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn unzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The regular files of a tar archive, below its first folder.
fn untar(bytes: &[u8]) -> Store {
    let mut files = Store::new();
    let (mut at, mut long) = (0, None);
    while at + 512 <= bytes.len() && bytes[at] != 0 {
        let head = &bytes[at..at + 512];
        let text = |range: std::ops::Range<usize>| {
            let part = &head[range];
            String::from_utf8(part[..part.iter().position(|b| *b == 0).unwrap_or(part.len())].to_vec()).unwrap()
        };
        let (prefix, name) = (text(345..500), text(0..100));
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let len = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        if head[156] == b'L' {
            let name = bytes[at + 512..at + 512 + len].split(|b| *b == 0).next().unwrap();
            long = Some(String::from_utf8(name.to_vec()).unwrap());
        } else if head[156] == b'0' || head[156] == 0 {
            let path = long.take().unwrap_or(path);
            let path = path.trim_start_matches("./").split_once('/').unwrap().1.to_owned();
            files.insert(path, Bytes::copy_from_slice(&bytes[at + 512..at + 512 + len]));
        }
        at += 512 + len.div_ceil(512) * 512;
    }
    files
}

fn store(name: &str) -> Store {
    untar(&unzip(&golden(name).join("store.tar.gz")))
}

fn expected(name: &str, kind: &str) -> Vec<serde_json::Value> {
    let text = String::from_utf8(unzip(&golden(name).join("expect.jsonl.gz"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

#[test]
fn reads_what_java_wrote() {
    for name in ["store-clean", "store-killed"] {
        let files = store(name);
        let log = read_log(&files, &[]);
        let queues = read_queues(&files);
        let entries = expected(name, "entry");
        assert!(entries.len() > 100);
        let by_place: BTreeMap<_, _> =
            log.records.iter().map(|r| ((r.topic.as_str(), r.queue, r.queue_offset), r)).collect();
        for entry in &entries {
            let (topic, queue) = (entry["topic"].as_str().unwrap(), entry["queueId"].as_u64().unwrap() as u32);
            let offset = entry["queueOffset"].as_u64().unwrap();
            let tags: i64 = entry["tagsCode"].as_str().unwrap().parse().unwrap();
            let place = (entry["physicOffset"].as_u64().unwrap(), entry["size"].as_u64().unwrap() as u32);
            if name == "store-clean" {
                let found = queues[&(topic.to_owned(), queue)][&offset];
                assert_eq!((found.physical, found.size, found.tags_code), (place.0, place.1, tags), "{entry}");
            }
            let record = by_place[&(topic, queue, offset)];
            assert_eq!((record.physical, record.size), place, "{entry}");
        }
    }
}

#[test]
fn a_store_of_java_passes_and_each_damage_is_found() {
    let mut files = store("store-clean");
    // A deleted topic has no queues any more, but its records are still in the log.
    let whole = judge_store("java", &files, Completeness::Whole, None, &Licence::default());
    assert!(whole.len() == 1 && whole[0].proof.iter().all(|p| p.contains("TopicGoAuto")), "{whole:?}");
    let record = read_log(&files, &[]).records.into_iter().find(|r| r.topic == "TopicGoAuto" && r.queue == 1).unwrap();
    let entry =
        [&record.physical.to_be_bytes()[..], &record.size.to_be_bytes(), &record.tags_code().to_be_bytes()].concat();
    files.insert("consumequeue/TopicGoAuto/1/00000000000000000000".to_owned(), entry.into());
    assert_eq!(judge_store("java", &files, Completeness::Whole, None, &Licence::default()), []);
    let queue = files.keys().find(|path| path.starts_with("consumequeue/Topic")).unwrap().clone();
    let mut damaged = files.clone();
    let mut bytes = damaged[&queue].to_vec();
    bytes[7] ^= 1;
    damaged.insert(queue.clone(), bytes.into());
    assert_eq!(
        judge_store("java", &damaged, Completeness::Whole, None, &Licence::default())[0].oracle,
        Oracle::Projection,
        "a wrong entry"
    );
    let mut damaged = files.clone();
    damaged.remove(&queue);
    assert_eq!(
        judge_store("java", &damaged, Completeness::Whole, None, &Licence::default())[0].oracle,
        Oracle::Projection,
        "missing entries"
    );
    assert_eq!(
        judge_store("java", &damaged, Completeness::Partial, None, &Licence::default()),
        [],
        "which a killed broker may leave"
    );
}

#[test]
fn a_hole_in_the_offsets_is_found() {
    let mut files = store("store-clean");
    let log = read_log(&files, &[]);
    let last = log.records.iter().rfind(|r| r.queue_offset > 1 && r.topic.starts_with("Topic")).unwrap();
    let (path, bytes) = files
        .iter()
        .find(|(path, bytes)| {
            let begin: Option<u64> = path.strip_prefix("commitlog/").and_then(|n| n.parse().ok());
            begin.is_some_and(|begin| (begin..begin + bytes.len() as u64).contains(&last.physical))
        })
        .map(|(path, bytes)| (path.clone(), bytes.to_vec()))
        .unwrap();
    let begin: u64 = path["commitlog/".len()..].parse().unwrap();
    let mut bytes = bytes;
    let at = (last.physical - begin) as usize + 20;
    bytes[at..at + 8].copy_from_slice(&(last.queue_offset + 1).to_be_bytes());
    files.insert(path, bytes.into());
    let found = judge_store("java", &files, Completeness::Partial, None, &Licence::default());
    assert!(found.iter().any(|violation| violation.oracle == Oracle::Dense), "{found:?}");
}

/// Slots of the index files of the recorded stores.
const SLOTS: u32 = 100;

#[test]
fn the_index_of_java_is_read_and_leads_where_java_says() {
    for name in ["store-clean", "store-killed"] {
        let files = read_index(&store(name), SLOTS);
        assert!(files.len() >= 4);
        let hash = |topic: &str, key: &str| {
            let text = format!("{topic}#{key}").encode_utf16().fold(0_i32, |h, u| h.wrapping_mul(31) + i32::from(u));
            text.unsigned_abs()
        };
        let queries = expected(name, "query_key");
        assert!(queries.len() > 50);
        for query in queries.iter().filter(|q| q["begin"] == 0 && q["end"] == "9223372036854775807") {
            let hash = hash(query["topic"].as_str().unwrap(), query["key"].as_str().unwrap());
            let mut found: Vec<u64> =
                files.iter().flat_map(|file| &file.entries).filter(|e| e.hash == hash).map(|e| e.physical).collect();
            let mut said: Vec<u64> =
                query["physicOffsets"].as_array().unwrap().iter().map(|at| at.as_u64().unwrap()).collect();
            found.sort_unstable();
            said.sort_unstable();
            assert_eq!(found, said, "{query}");
        }
    }
}

#[test]
fn the_index_of_java_passes_and_each_damage_is_found() {
    let files = store("store-clean");
    let judge = |files: &Store| {
        let found = judge_store("java", files, Completeness::Whole, Some(SLOTS), &Licence::default());
        found.into_iter().filter(|v| v.clause == "index-differs").map(|v| v.text).collect::<Vec<_>>()
    };
    assert_eq!(judge(&files), [] as [String; 0]);
    let path = files.keys().find(|path| path.starts_with("index/")).unwrap().clone();
    let (slots, first) = (40, 40 + 4 * SLOTS as usize + 20);
    let used = (slots..first - 20).step_by(4).find(|at| files[&path][at + 2..at + 4] != [0, 0]).unwrap();
    let places = [
        (3, "seconds"),
        (23, "begin"),
        (31, "end"),
        (35, "used slots"),
        (39, "count"),
        (used + 3, "a slot"),
        (first + 3, "a hash"),
        (first + 11, "a position"),
        (first + 13, "a time"),
    ];
    for (at, what) in places {
        let mut damaged = files.clone();
        let mut bytes = damaged[&path].to_vec();
        bytes[at] ^= 1;
        damaged.insert(path.clone(), bytes.into());
        assert_eq!(judge(&damaged).len(), 1, "{what}");
        let licence = Licence { index: true, ..Licence::default() };
        assert!(judge_store("java", &damaged, Completeness::Whole, Some(SLOTS), &licence).len() < 2, "{what}");
    }
    let mut damaged = files.clone();
    damaged.remove(&path);
    assert!(judge(&damaged)[0].contains("is not found"), "a file is missing");
    // Of a chain only its newest entry is left.
    let file = read_index(&files, SLOTS).remove(0);
    let number = file.entries.iter().position(|entry| entry.previous != 0).unwrap();
    let mut bytes = files[&path].to_vec();
    bytes[first + number * 20 + 16..first + number * 20 + 20].fill(0);
    let mut damaged = files.clone();
    damaged.insert(path, bytes.into());
    assert!(judge(&damaged)[0].contains("is not found"), "a chain is cut");
}

/// A store with some bytes of its log replaced.
fn with_log(files: &Store, at: u64, bytes: &[u8]) -> Store {
    let begin = |path: &String| path.strip_prefix("commitlog/")?.parse::<u64>().ok();
    let of = files.keys().filter_map(|path| Some((begin(path)?, path)));
    let (begin, path) = of.filter(|(begin, _)| *begin <= at).max().unwrap();
    let (mut log, at) = (files[path].to_vec(), (at - begin) as usize);
    log[at..at + bytes.len()].copy_from_slice(bytes);
    let mut files = files.clone();
    files.insert(path.clone(), log.into());
    files
}

#[test]
fn a_log_goes_on_behind_records_that_a_fault_took_and_ends_where_it_cut_its_end() {
    let files = store("store-clean");
    let log = read_log(&files, &[]);
    let range = |n: usize| log.records[n].physical..log.records[n].physical + u64::from(log.records[n].size);
    let blank = |n: usize| with_log(&files, range(n).start, &vec![0; log.records[n].size as usize]);
    let middle = log.records.len() / 2;
    assert_eq!(read_log(&blank(middle), &[]).records.len(), middle, "nothing is licensed");
    assert_eq!(read_log(&blank(middle), &[range(middle)]).records.len(), log.records.len() - 1);
    let last = log.records.len() - 1;
    let cut = read_log(&blank(last), &[range(last)]);
    assert_eq!((cut.records.len(), cut.end), (last, range(last).start));
}

#[test]
fn what_a_fault_wrote_behind_the_end_of_a_log_is_excused_to_the_byte() {
    let files = store("store-clean");
    let end = read_log(&files, &[]).end;
    let stray: Bytes = vec![7; 100].into();
    let strayed = with_log(&files, end, &stray[10..]);
    let torn = |files: &Store, strays: Vec<(u64, Bytes)>| {
        let licence = Licence { strays, ..Licence::default() };
        judge_store("java", files, Completeness::Whole, None, &licence).iter().any(|v| v.clause == "torn-log")
    };
    assert!(torn(&strayed, vec![]));
    assert!(!torn(&strayed, vec![(end - 10, stray.clone())]));
    assert!(torn(&with_log(&strayed, end + 89, &[8]), vec![(end - 10, stray)]), "other bytes are not");
}

#[test]
fn a_damaged_record_is_not_taken_for_one_of_a_topic_that_was_deleted() {
    let files = store("store-clean");
    let log = read_log(&files, &[]);
    // The second record of a queue says that it is the first, as after its topic was deleted and made again.
    let second = log.records.iter().find(|r| r.queue_offset == 1 && r.topic.starts_with("Topic")).unwrap();
    let first =
        log.records.iter().find(|r| (&r.topic, r.queue, r.queue_offset) == (&second.topic, second.queue, 0)).unwrap();
    let mut anew = with_log(&files, second.physical + 20, &0_u64.to_be_bytes());
    let path = format!("consumequeue/{}/{}/{:020}", second.topic, second.queue, 0);
    let mut queue = anew[&path].to_vec();
    let tail = queue[20..].to_vec();
    queue[..20].copy_from_slice(&tail[..20]);
    queue[20..].fill(0);
    anew.insert(path.clone(), queue.clone().into());
    let range = second.physical..second.physical + u64::from(second.size);
    let damaged = with_log(&anew, range.start, &[7; 40]);
    let judge = |files: &Store, licence: &Licence| {
        let found = judge_store("java", files, Completeness::Partial, None, licence);
        found.into_iter().filter(|v| v.clause == "differs").flat_map(|v| v.proof).collect::<Vec<_>>()
    };
    let place = (second.topic.clone(), second.queue, 0);
    let deleted = [second.topic.clone()].into();
    let licence = Licence { ranges: vec![range], offsets: [place.clone()].into(), deleted, ..Licence::default() };
    assert_eq!(judge(&damaged, &licence), [] as [&str; 0]);
    // An entry that leads to the record of before is wrong in any case.
    queue[..8].copy_from_slice(&(first.physical + 1).to_be_bytes());
    anew.insert(path, queue.into());
    assert_eq!(judge(&anew, &licence).len(), 1);
}

#[test]
fn queue_files_that_lead_before_the_log_are_found() {
    let entry = |physical: u64| [&physical.to_be_bytes()[..], &9_u32.to_be_bytes(), &[0; 8]].concat();
    let queue = |files: &[(u64, &[u64])]| -> Store {
        let file = |(begin, entries): &(u64, &[u64])| {
            let bytes: Vec<u8> = entries.iter().flat_map(|physical| entry(*physical)).collect();
            (format!("consumequeue/T/0/{begin:020}"), Bytes::from(bytes))
        };
        let log = [("commitlog/00000000000000001000".to_owned(), Bytes::from(vec![0; 1_000]))];
        files.iter().map(file).chain(log).collect()
    };
    let left = |files: &[(u64, &[u64])]| {
        let found = judge_store("a", &queue(files), Completeness::Whole, None, &Licence::default());
        found.iter().filter(|violation| violation.clause == "queue-file-left").count()
    };
    assert_eq!(left(&[(0, &[100, 200]), (40, &[300, 400]), (80, &[1_000])]), 1, "the first file leads to nothing");
    assert_eq!(left(&[(0, &[100, 200]), (40, &[300, 1_000])]), 0, "the queue ended there when the log let go");
    assert_eq!(left(&[(0, &[100, 1_000]), (40, &[1_100])]), 0, "its last entry leads to the log");
    assert_eq!(left(&[(0, &[100, 200])]), 0, "the last file of a queue stays");
    assert_eq!(left(&[(0, &[100, 200]), (40, &[])]), 0, "nothing was written behind it");
}

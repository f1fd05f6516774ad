//! The store against a tiny model: messages are put, settled and answered at random, the process dies or the power goes at
//! random points, and what was promised must be there, in order, in every projection.

mod behaviour;
mod crashes;
mod damage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;

use super::memdisk::MemDisk;
use super::*;
use crate::message::Draft;
use crate::message::record::Record;
use crate::node::Rng;

/// What was put: enough to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Put {
    topic: String,
    queue: u32,
    offset: u64,
    physical: u64,
    end: u64,
    id: u64,
}

struct Rig {
    store: Store,
    disk: MemDisk,
    rng: Rng,
    now: Now,
    config: StoreConfig,
    asks: Vec<DiskAsk>,
    news: Vec<StoreNews>,
    puts: Vec<Put>,
    next_id: u64,
    arrived: BTreeMap<(String, u32), u64>,
}

fn config(flush: Flush) -> StoreConfig {
    StoreConfig {
        flush,
        log_file_bytes: 4096,
        queue_file_entries: 7,
        index_slots: 5,
        index_entries: 16,
        body_bytes_max: 2000,
        boot: "first".to_owned(),
        ..StoreConfig::default()
    }
}

fn draft(topic: &str, queue: u32, id: u64, body: usize) -> Draft {
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let properties = format!("KEYS\u{1}k{id} all\u{2}TAGS\u{1}t{}\u{2}UNIQ_KEY\u{1}u{id}\u{2}", id % 3);
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.resize(body.max(8), 7);
    Draft {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        queue_id: queue as i32,
        flag: 0,
        sys_flag: 0,
        born_ms: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: bytes.into(),
        properties: properties.into(),
    }
}

impl Rig {
    fn new(config: StoreConfig, seed: u64) -> Rig {
        let now = Now { mono: Instant(1_000_000_000), wall_ms: 1_795_391_788_099 };
        let mut rig = Rig {
            store: Store::new(config.clone()),
            disk: MemDisk::new(),
            rng: Rng::from_seed(seed),
            now,
            config,
            asks: Vec::new(),
            news: Vec::new(),
            puts: Vec::new(),
            next_id: 0,
            arrived: BTreeMap::new(),
        };
        rig.disk.now_ms = now.wall_ms;
        rig.start();
        rig
    }

    /// Starts a new life; recovery may be cut short after some steps.
    fn start(&mut self) {
        self.begin();
        self.finish_recovery();
    }

    fn begin(&mut self) {
        self.store = Store::new(self.config.clone());
        self.asks.clear();
        self.news = self.store.start(self.now, &mut self.disk, &mut self.asks);
        self.disk.ask(self.asks.drain(..));
    }

    /// One step of whatever is due; false when nothing is.
    fn step(&mut self) -> bool {
        if self.store.wake_at().is_some_and(|at| at <= self.now.mono) {
            let news = self.store.wake(self.now, &mut self.disk, &mut self.asks);
            self.news.extend(news);
        } else if self.disk.waiting() > 0 {
            // Answers of one kind on one file come in order; the oldest is always right.
            let done = self.disk.answer(0).unwrap();
            let news = self.store.on_disk(self.now, done, &mut self.disk, &mut self.asks);
            self.news.extend(news);
        } else {
            return false;
        }
        self.disk.ask(self.asks.drain(..));
        self.store.invariants();
        true
    }

    fn is_open(&self) -> bool {
        self.news.iter().any(|news| matches!(news, StoreNews::Ready(_)))
    }

    fn finish_recovery(&mut self) {
        for _ in 0..100_000 {
            if self.is_open() {
                return;
            }
            assert!(
                self.step(),
                "recovery goes on: {:?}",
                self.news.iter().filter(|news| !matches!(news, StoreNews::Recovering { .. })).collect::<Vec<_>>()
            );
        }
        panic!("recovery does not end");
    }

    fn say(&self, what: &str) {
        eprintln!("{what}: {:?} boot {} files {:?}", self.store.marks(), self.config.boot, self.disk.paths().len());
    }

    fn settle(&mut self) {
        let mut arrivals = Vec::new();
        let news = self.store.settle(self.now, &mut self.disk, &mut self.asks, &mut arrivals);
        self.news.extend(news);
        self.disk.ask(self.asks.drain(..));
        for arrival in arrivals {
            let known = self.arrived.insert((arrival.topic.to_string(), arrival.queue_id), arrival.max_offset);
            assert!(known.is_none_or(|known| known < arrival.max_offset), "an arrival tells that a queue grew");
            assert_eq!(self.store.queue_range(&arrival.topic, arrival.queue_id).end, arrival.max_offset);
        }
        self.store.invariants();
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if !self.step() {
                self.now.mono = self.now.mono + Duration::from_millis(100);
                self.now.wall_ms += 100;
                self.disk.now_ms = self.now.wall_ms;
            }
            self.settle();
        }
    }

    fn put_one(&mut self) {
        let topic = format!("T{}", self.rng.below(3));
        let queue = self.rng.below(2) as u32;
        let count = if self.rng.below(5) == 0 { 1 + self.rng.below(3) } else { 1 };
        let drafts: Vec<Draft> = (0..count)
            .map(|_| {
                self.next_id += 1;
                let body = self.rng.below(300) as usize;
                draft(&topic, queue, self.next_id, body)
            })
            .collect();
        let first = self.next_id - count + 1;
        let placed = match &drafts[..] {
            [one] => self.store.put(self.now, one).map(|placed| vec![placed]),
            many => self.store.put_batch(self.now, many),
        };
        match placed {
            Ok(placed) => self.puts.extend(placed.iter().enumerate().map(|(n, placed)| Put {
                topic: topic.clone(),
                queue,
                offset: placed.queue_offset,
                physical: placed.physical,
                end: placed.end,
                id: first + n as u64,
            })),
            Err(PutError::Busy) => {}
            Err(why) => panic!("{why}"),
        }
    }

    /// What must have survived: everything below this.
    fn promised(&self, power: bool) -> u64 {
        let marks = self.store.marks();
        if power { marks.durable } else { marks.written }
    }

    /// Ends this life; gives what the next one has to hold.
    fn die(&mut self, power: bool, same_boot: bool) -> u64 {
        let promised = self.promised(power);
        self.say(if power { "power cut" } else { "killed" });
        if power {
            self.disk.cut(&mut self.rng);
        } else {
            self.disk.kill();
        }
        if power || !same_boot {
            self.config.boot = format!("boot{}", self.rng.next_u64());
        }
        let chill = self.rng.below(60);
        self.disk.chill(chill, &mut self.rng);
        self.arrived.clear();
        promised
    }

    fn get(&mut self, get: &Get<'_>) -> Got {
        for _ in 0..1000 {
            let got = self.store.get(get, &mut self.disk, &mut self.asks);
            self.disk.ask(self.asks.drain(..));
            match got.status {
                GetStatus::Cold(_) => assert!(self.step(), "what is cold is being read"),
                _ => return got,
            }
        }
        panic!("cold for ever")
    }

    fn warmly<T>(&mut self, mut ask: impl FnMut(&mut Store, &mut MemDisk, &mut Vec<DiskAsk>) -> Result<T, Fault>) -> T {
        for _ in 0..10_000 {
            let answer = ask(&mut self.store, &mut self.disk, &mut self.asks);
            self.disk.ask(self.asks.drain(..));
            match answer {
                Ok(answer) => return answer,
                Err(Fault::Cold(_)) => assert!(self.step(), "what is cold is being read"),
                Err(why) => panic!("{why}"),
            }
        }
        panic!("cold for ever")
    }

    /// Everything of a queue, by offset.
    fn read_queue(&mut self, topic: &str, queue_id: u32) -> Vec<Bytes> {
        let range = self.store.queue_range(topic, queue_id);
        let (mut all, mut offset) = (Vec::new(), range.start);
        while offset < range.end {
            let got = self.get(&Get { topic, queue_id, offset, max: 32, max_bytes: 1 << 20, tags: None });
            assert!(
                matches!(got.status, GetStatus::Found),
                "{topic}/{queue_id} at {offset} of {range:?}: {:?}",
                got.status
            );
            let records: Vec<Bytes> = got.records.iter().flat_map(split).collect();
            assert_eq!(records.len(), got.count as usize);
            assert_eq!(got.next_offset, offset + u64::from(got.count));
            offset = got.next_offset;
            all.extend(records);
        }
        all
    }

    /// The store holds a prefix of what was put that reaches `promised`, in every projection.
    fn check(&mut self, promised: u64) {
        let end = self.store.marks().written;
        assert!(end >= promised, "{end} is below what was promised, {promised}: {:?}", self.news);
        self.puts.retain(|put| put.physical < end);
        assert!(self.puts.iter().all(|put| put.end <= end), "the log ends between records");
        let mut queues: BTreeMap<(String, u32), Vec<Put>> = BTreeMap::new();
        for put in &self.puts {
            queues.entry((put.topic.clone(), put.queue)).or_default().push(put.clone());
        }
        let known: Vec<(String, u32)> = self
            .store
            .queues()
            .filter(|(.., range)| range.end > 0)
            .map(|(topic, id, _)| (topic.to_owned(), id))
            .collect();
        assert_eq!(known.len(), queues.len(), "queues are those that were put to: {known:?}");
        for ((topic, queue), puts) in &queues {
            assert_eq!(self.store.queue_range(topic, *queue), 0..puts.len() as u64, "{topic}/{queue}");
            let records = self.read_queue(topic, *queue);
            for (put, bytes) in puts.iter().zip(&records) {
                let record = Record::parse(bytes).unwrap();
                assert!(record.body_is_sound());
                assert_eq!((record.queue_offset as u64, record.physical as u64), (put.offset, put.physical));
                assert_eq!(record.body[..8], put.id.to_be_bytes(), "{put:?}");
            }
            assert_eq!(records.len(), puts.len());
        }
        self.check_keys();
    }

    fn check_keys(&mut self) {
        for put in self.puts.clone().iter().rev().take(60) {
            for key in [format!("k{}", put.id), format!("u{}", put.id)] {
                let hits = self.warmly(|store, disk, asks| {
                    store.by_label(&put.topic, Label::Key(&key), 10, 0..i64::MAX, disk, asks)
                });
                let found: Vec<u64> = hits.iter().map(|hit| hit.physical).collect();
                assert!(found.contains(&put.physical), "{key} of {put:?}: {found:?}");
            }
        }
        for topic in ["T0", "T1", "T2"] {
            let hits = self
                .warmly(|store, disk, asks| store.by_label(topic, Label::Key("all"), 10_000, 0..i64::MAX, disk, asks));
            let mut found: Vec<u64> = hits.iter().map(|hit| hit.physical).collect();
            assert!(found.is_sorted_by(|a, b| a > b), "newest first, none twice: {found:?}");
            found.reverse();
            let put: Vec<u64> = self.puts.iter().filter(|put| put.topic == topic).map(|put| put.physical).collect();
            assert_eq!(found, put, "keys of {topic}");
            for tag in 0..3 {
                let label = Label::Tag(&format!("t{tag}"));
                let hits =
                    self.warmly(|store, disk, asks| store.by_label(topic, label, 10_000, 0..i64::MAX, disk, asks));
                let found: Vec<u64> = hits.iter().rev().map(|hit| hit.physical).collect();
                let tagged = self.puts.iter().filter(|put| put.topic == topic && put.id % 3 == tag);
                assert_eq!(found, tagged.map(|put| put.physical).collect::<Vec<_>>(), "{label:?} of {topic}");
            }
        }
    }

    /// What a reader can see, to compare two recoveries.
    fn state(&mut self) -> (Marks, Vec<(String, u32, Range<u64>)>) {
        let queues = self.store.queues().map(|(topic, id, range)| (topic.to_owned(), id, range)).collect();
        (self.store.marks(), queues)
    }

    fn stop(&mut self) {
        self.settle();
        self.store.stop(self.now, &mut self.disk, &mut self.asks);
        self.disk.ask(self.asks.drain(..));
        for _ in 0..10_000 {
            if self.store.stopped() {
                assert!(self.disk.content("abort").is_none(), "a clean stop removes the abort mark");
                return;
            }
            assert!(self.step(), "a stop goes on: {:?}", self.store.phase);
            self.settle();
        }
        panic!("a stop does not end");
    }
}

fn split(bytes: &Bytes) -> Vec<Bytes> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let len = Record::parse(&bytes[at..]).unwrap().total;
        found.push(bytes.slice(at..at + len));
        at += len;
    }
    found
}

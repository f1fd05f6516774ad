//! What a put costs: `cargo run --release -p seedmq-core --example put_cost`. The disk swallows everything, so that only the
//! work of the store itself is counted.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, reason = "it measures real time")]

use std::time::Instant as Clock;

use bytes::Bytes;
use seedmq_core::message::Draft;
use seedmq_core::node::{Disk, DiskAsk, DiskDone, DiskError, Entry, FileId, Instant, Now, Open, Read, Usage};
use seedmq_core::store::{Flush, Store, StoreConfig, StoreNews};

#[derive(Default)]
struct Swallow {
    files: u32,
    writes: u64,
}

impl Disk for Swallow {
    fn open(&mut self, _path: &str, open: Open) -> Result<FileId, DiskError> {
        if open == Open::Existing {
            return Err(DiskError::Missing);
        }
        self.files += 1;
        Ok(FileId(self.files))
    }
    fn close(&mut self, _file: FileId) {}
    fn len(&mut self, _file: FileId) -> Result<u64, DiskError> {
        Ok(0)
    }
    fn list(&mut self, _dir: &str) -> Result<Vec<Entry>, DiskError> {
        Ok(Vec::new())
    }
    fn write(&mut self, _file: FileId, _at: u64, _bytes: &[u8]) -> Result<(), DiskError> {
        self.writes += 1;
        Ok(())
    }
    fn read(&mut self, _file: FileId, _at: u64, _len: usize) -> Result<Read, DiskError> {
        Ok(Read::Cold)
    }
    fn truncate(&mut self, _file: FileId, _len: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn usage(&mut self) -> Usage {
        Usage { total: 100, free: 90 }
    }
}

fn answer(ask: DiskAsk, files: &mut u32) -> DiskDone {
    match ask {
        DiskAsk::Sync { file, through } => DiskDone::Synced { file, through, result: Ok(()) },
        DiskAsk::Fetch { fetch, .. } => DiskDone::Fetched { fetch, result: Ok(Bytes::new()) },
        DiskAsk::Allocate { path, .. } => {
            *files += 1;
            DiskDone::Allocated { path, result: Ok(FileId(*files)) }
        }
        DiskAsk::Replace { path, .. } => DiskDone::Replaced { path, result: Ok(()) },
        DiskAsk::Remove { path } => DiskDone::Removed { path, result: Ok(()) },
    }
}

struct Run {
    queues: u64,
    body: usize,
    flush: Flush,
    index: bool,
}

fn run(run: &Run) {
    let config = StoreConfig { flush: run.flush, index: run.index, boot: "b".into(), ..StoreConfig::default() };
    let (mut store, mut disk, mut asks, mut files) = (Store::new(config), Swallow::default(), Vec::new(), 1 << 20);
    let mut now = Now { mono: Instant(0), wall_ms: 1_795_400_000_000 };
    let mut news = store.start(now, &mut disk, &mut asks);
    while !news.iter().any(|news| matches!(news, StoreNews::Ready(_))) {
        news.extend(store.wake(now, &mut disk, &mut asks));
        for ask in std::mem::take(&mut asks) {
            news.extend(store.on_disk(now, answer(ask, &mut files), &mut disk, &mut asks));
        }
    }
    let drafts: Vec<Draft> =
        (0..run.queues).map(|n| draft(&format!("BenchmarkTest{}", n / 8), n % 8, run.body)).collect();
    let (total, batch) = (2_000_000, 64);
    let (mut put, mut settle, mut other) = (0, 0, 0);
    let mut arrivals = Vec::new();
    for n in 0..total / batch {
        now.mono = Instant(now.mono.0 + 250_000);
        now.wall_ms = 1_795_400_000_000 + now.mono.0 / 1_000_000;
        let start = Clock::now();
        for k in 0..batch {
            store.put(now, &drafts[((n * batch + k) * 7919 % run.queues) as usize]).unwrap();
        }
        put += start.elapsed().as_nanos();
        let start = Clock::now();
        store.settle(now, &mut disk, &mut asks, &mut arrivals);
        arrivals.clear();
        settle += start.elapsed().as_nanos();
        let start = Clock::now();
        while store.wake_at().is_some_and(|at| at <= now.mono) {
            store.wake(now, &mut disk, &mut asks);
        }
        for ask in std::mem::take(&mut asks) {
            store.on_disk(now, answer(ask, &mut files), &mut disk, &mut asks);
        }
        other += start.elapsed().as_nanos();
    }
    let total = u128::from(total);
    println!(
        "{:6} queues, {:5} B, {:?}, index {:5}: put {:4} ns, settle {:4} ns, background {:4} ns a message; {} writes",
        run.queues,
        run.body,
        run.flush,
        run.index,
        put / total,
        settle / total,
        other / total,
        disk.writes
    );
}

fn draft(topic: &str, queue: u64, body: usize) -> Draft {
    let host = "127.0.0.1:10911".parse().unwrap();
    let properties = "UNIQ_KEY\u{1}7F00000100002A9F0000000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}CLUSTER\u{1}DefaultCluster\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}";
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
        body: vec![7; body].into(),
        properties: Bytes::from_static(properties.as_bytes()),
    }
}

fn main() {
    for (queues, body) in [(8, 1024), (8, 100), (16_000, 1024)] {
        for (flush, index) in [(Flush::Async, true), (Flush::Async, false), (Flush::Sync, true)] {
            run(&Run { queues, body, flush, index });
        }
    }
}

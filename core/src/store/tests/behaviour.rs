//! One behaviour at a time: reads, limits, full disks, failed syncs, retention, deleted topics.
//!
//! Invariant: time and answers of the disk move only when a test moves them.

use super::*;
use crate::node::Usage;

pub(super) fn rig(change: impl FnOnce(&mut StoreConfig)) -> Rig {
    let mut config = config(Flush::Async);
    change(&mut config);
    Rig::new(config, 1)
}

impl Rig {
    fn put(&mut self, topic: &str, queue: u32, body: usize) -> Result<Placed, PutError> {
        self.next_id += 1;
        let message = draft(topic, queue, self.next_id, body);
        self.store.put(self.now, &message)
    }

    /// Puts and settles, waiting for files.
    pub(super) fn add(&mut self, topic: &str, queue: u32, body: usize) -> Placed {
        for _ in 0..100 {
            match self.put(topic, queue, body) {
                Ok(placed) => {
                    self.settle();
                    return placed;
                }
                Err(PutError::Busy) => {
                    self.next_id -= 1;
                    self.run(1);
                }
                Err(why) => panic!("{why}"),
            }
        }
        panic!("the next file does not come")
    }

    fn add_many(&mut self, count: usize, topic: &str, queue: u32, body: usize) {
        for _ in 0..count {
            self.add(topic, queue, body);
        }
    }

    pub(super) fn ask(&mut self, topic: &str, queue_id: u32, offset: u64, max: u32) -> Got {
        self.get(&Get { topic, queue_id, offset, max, max_bytes: 1 << 20, tags: None })
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now.mono = self.now.mono + Duration::from_secs(seconds);
        self.now.wall_ms += seconds * 1000;
        self.disk.now_ms = self.now.wall_ms;
        while self.step() {}
        self.settle();
    }

    pub(super) fn said(&self, part: &str) -> bool {
        self.news.iter().any(|news| format!("{news:?}").contains(part))
    }
}

#[test]
fn a_reader_gets_the_answers_of_java() {
    let mut rig = rig(|_| {});
    assert!(matches!(rig.ask("T", 0, 0, 1).status, GetStatus::NoMatchedLogicQueue));
    rig.put("T", 0, 10).unwrap();
    assert!(matches!(rig.ask("T", 0, 0, 1).status, GetStatus::NoMessageInQueue), "what is not settled is not readable");
    rig.settle();
    rig.add_many(4, "T", 0, 10);
    let got = rig.ask("T", 0, 0, 3);
    assert!(matches!(got.status, GetStatus::Found));
    assert_eq!((got.count, got.next_offset, got.min_offset, got.max_offset), (3, 3, 0, 5));
    assert_eq!(got.records.len(), 1, "neighbours in the log share a slice");
    let got = rig.ask("T", 0, 5, 3);
    assert!(matches!(got.status, GetStatus::OffsetOverflowOne) && got.next_offset == 5);
    let got = rig.ask("T", 0, 9, 3);
    assert!(matches!(got.status, GetStatus::OffsetOverflowBadly) && got.next_offset == 5);
    assert_eq!(rig.ask("T", 0, 1, 0).count, 1, "the first message comes whatever is asked for");
    let got = rig.get(&Get { topic: "T", queue_id: 0, offset: 0, max: 9, max_bytes: 1, tags: None });
    assert_eq!(got.count, 1, "the first message comes whatever its size");
    let tag = entry::java_hash(0, b"t1");
    let got = rig.get(&Get { topic: "T", queue_id: 0, offset: 0, max: 9, max_bytes: 1 << 20, tags: Some(&[tag]) });
    assert_eq!((got.count, got.next_offset), (2, 5), "messages 1 and 4 have the tag t1");
    let got = rig.get(&Get { topic: "T", queue_id: 0, offset: 1, max: 9, max_bytes: 1 << 20, tags: Some(&[7]) });
    assert!(matches!(got.status, GetStatus::NoMatchedMessage) && got.next_offset == 5);
    assert!(rig.store.head_in_memory("T", 0, &mut rig.disk));
}

#[test]
fn illegal_messages_are_refused_with_the_limit() {
    let mut rig = rig(|config| config.body_bytes_max = 5000);
    let why = rig.put("T", 0, 5001).unwrap_err();
    assert_eq!(why, PutError::Illegal("the message body has 5001 bytes, at most 5000 are allowed".to_owned()));
    let why = rig.put("T", 0, 4096).unwrap_err();
    assert!(matches!(&why, PutError::Illegal(text) if text.contains("log file")), "{why}");
    assert!(matches!(rig.put(&"t".repeat(256), 0, 1), Err(PutError::Illegal(_))));
    let mut long = draft("T", 0, 1, 1);
    long.properties = vec![b'x'; 32_768].into();
    assert!(matches!(rig.store.put(rig.now, &long), Err(PutError::Illegal(_))));
    let batch = [draft("T", 0, 1, 100), draft("T", 0, 2, 5001)];
    assert!(rig.store.put_batch(rig.now, &batch).is_err());
    assert_eq!(rig.store.marks().appended, 0, "all or nothing");
}

#[test]
fn a_batch_moves_to_the_next_file_as_a_whole() {
    let mut rig = rig(|_| {});
    rig.add("T", 0, 1800);
    let last = rig.add("T", 0, 1000);
    rig.run(3);
    let batch: Vec<Draft> = (10..14).map(|id| draft("T", 1, id, 200)).collect();
    let placed = rig.store.put_batch(rig.now, &batch).unwrap();
    rig.settle();
    assert_eq!(placed[0].physical, 4096, "the whole batch stands in the second file");
    assert_eq!(placed.iter().map(|placed| placed.queue_offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let blank = rig.disk.content("commitlog/00000000000000000000").unwrap();
    let at = last.end;
    assert_eq!(blank[at as usize + 4..at as usize + 8], [0xCB, 0xD4, 0x31, 0x94], "a filler ends the first file");
    assert_eq!(rig.ask("T", 1, 0, 9).count, 4);
}

#[test]
fn with_synchronous_flush_nothing_is_read_before_it_is_durable() {
    let mut rig = rig(|config| config.flush = Flush::Sync);
    let first = rig.put("T", 0, 10).unwrap();
    rig.settle();
    assert_eq!((rig.store.marks().written, rig.store.marks().durable), (first.end, 0));
    assert_eq!(rig.store.queue_range("T", 0), 0..0);
    let second = rig.put("T", 0, 10).unwrap();
    rig.settle();
    let syncs = rig.asks.len() + rig.disk.waiting();
    while rig.disk.waiting() > 0 && rig.store.marks().durable < first.end {
        rig.step();
    }
    assert_eq!(rig.store.marks().durable, first.end, "a sync covers what was written when it was asked for ({syncs})");
    rig.settle();
    assert_eq!(rig.store.queue_range("T", 0), 0..1);
    rig.run(2);
    assert_eq!(rig.store.marks().durable, second.end);
    assert_eq!(rig.store.queue_range("T", 0), 0..2);
    assert!(rig.news.contains(&StoreNews::Durable));
}

#[test]
fn a_failed_sync_ends_writing_for_good() {
    let mut rig = rig(|config| config.flush = Flush::Sync);
    rig.add("T", 0, 10);
    rig.run(3);
    let durable = rig.store.marks().durable;
    rig.put("T", 0, 10).unwrap();
    rig.disk.fails = None;
    rig.settle();
    rig.disk.fails = Some(DiskError::Io("bad sector".to_owned()));
    while rig.step() {}
    rig.disk.fails = None;
    assert!(rig.said("Poisoned") && rig.said("bad sector"), "{:?}", rig.news);
    rig.pass(60);
    assert_eq!(rig.store.marks().durable, durable, "a failed sync is never tried again");
    assert!(matches!(rig.put("T", 0, 10), Err(PutError::Unavailable(why)) if why.contains("bad sector")));
    assert_eq!(rig.ask("T", 0, 0, 9).count, 1, "what was durable is still read");
    rig.store.stop(rig.now, &mut rig.disk, &mut rig.asks);
    assert!(rig.store.stopped() && rig.disk.content("abort").is_some(), "no clean end after a failure");
}

#[test]
fn what_a_failed_sync_covered_is_written_again_in_the_next_life() {
    let mut rig = rig(|config| config.flush = Flush::Sync);
    rig.add("T", 0, 10);
    rig.run(3);
    rig.put("T", 0, 10).unwrap();
    rig.settle();
    rig.disk.fails_syncs = Some(DiskError::Io("bad sector".to_owned()));
    while rig.step() {}
    rig.disk.fails_syncs = None;
    assert!(rig.said("Poisoned"), "{:?}", rig.news);
    rig.die(false, true);
    rig.start();
    assert_eq!(rig.store.queue_range("T", 0), 0..2, "it is in memory, and counts as if it were on the disk");
    rig.add("T", 0, 10);
    rig.run(3);
    rig.die(true, false);
    rig.start();
    assert_eq!(rig.store.queue_range("T", 0), 0..3, "and now it is there");
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    let mut rig = rig(|_| {});
    rig.add("T", 0, 1800);
    rig.disk.usage.free = 0;
    rig.run(5);
    let mut refused = String::new();
    for _ in 0..5 {
        match rig.put("T", 0, 1800) {
            Ok(_) => rig.settle(),
            Err(PutError::Unavailable(why)) => refused = why,
            Err(why) => panic!("{why}"),
        }
    }
    assert!(refused.contains("disk is full"), "{refused}: {:?}", rig.news);
    rig.pass(5);
    assert!(rig.store.refuses_writes().is_some());
    let told = |rig: &Rig, what| rig.news.iter().filter(|news| format!("{news:?}").contains(what)).count();
    assert_eq!((told(&rig, "disk is full"), told(&rig, "space again")), (1, 0), "told once: {:?}", rig.news);
    rig.disk.usage.free = 1 << 40;
    rig.pass(5);
    rig.pass(5);
    assert_eq!(rig.store.refuses_writes(), None, "{:?}", rig.news);
    assert_eq!((told(&rig, "disk is full"), told(&rig, "space again")), (1, 1), "{:?}", rig.news);
    rig.add("T", 0, 1800);
    assert_eq!(rig.ask("T", 0, 0, 9).max_offset, rig.store.queue_range("T", 0).end);
}

#[test]
fn writes_are_refused_at_the_limit_of_the_disk_and_taken_again_below() {
    let mut rig = rig(|_| {});
    rig.disk.usage = Usage { total: 100, free: 9 };
    rig.pass(11);
    assert!(rig.store.refuses_writes().is_some_and(|why| why.contains("91 %")), "{:?}", rig.news);
    rig.disk.usage.free = 50;
    rig.pass(2);
    assert_eq!(rig.store.refuses_writes(), None);
}

/// Fills some files; gives their paths.
fn filled(rig: &mut Rig, messages: usize) -> Vec<String> {
    for n in 0..messages {
        rig.add("T", u32::from(n % 2 == 1), 900);
    }
    rig.run(40);
    rig.disk.paths().into_iter().filter(|path| path.starts_with("commitlog/")).collect()
}

#[test]
fn old_files_go_at_their_hour_and_queues_begin_later() {
    // 1,795,391,788,099 is 23:56:28 UTC.
    let mut rig = rig(|config| config.delete_at_hours = vec![4]);
    let before = filled(&mut rig, 30);
    assert!(before.len() >= 9);
    let end = rig.store.queue_range("T", 0).end;
    rig.pass(10 * 3600);
    assert_eq!(rig.store.marks().begin, 0, "at the wrong hour nothing goes");
    rig.pass((72 + 18) * 3600 + 300);
    rig.pass(3600 * 24 - 10 * 3600);
    for _ in 0..24 {
        rig.pass(3600);
    }
    let marks = rig.store.marks();
    assert!(marks.begin > 0, "{marks:?} {:?}", rig.news);
    let left: Vec<String> = rig.disk.paths().into_iter().filter(|path| path.starts_with("commitlog/")).collect();
    assert!(left.len() < before.len() && !left.is_empty());
    let range = rig.store.queue_range("T", 0);
    assert_eq!(range.end, end);
    assert!(range.start > 0, "{range:?}");
    let got = rig.ask("T", 0, range.start - 1, 1);
    assert!(matches!(got.status, GetStatus::OffsetTooSmall) && got.next_offset == range.start);
    assert!(range.is_empty() || matches!(rig.ask("T", 0, range.start, 1).status, GetStatus::Found));
    // A later life knows the same, with and without the snapshot.
    for forget in [false, true] {
        rig.die(false, true);
        if forget {
            rig.disk.remove_below("seedmq.");
            rig.disk.remove_below("consumequeue/");
        }
        rig.start();
        let again = rig.store.queue_range("T", 0);
        assert_eq!(rig.store.marks().begin, marks.begin);
        assert!(again == range || (forget && range.is_empty()), "{again:?} {range:?}");
    }
}

#[test]
fn the_hour_at_which_old_files_go_is_a_local_one() {
    // 1,795,391,788,099 is 23:56:28 UTC, so after four days and some minutes it is past 00:00 UTC: 05:36 in India, 19:06 in New York.
    for (offset_s, hour, goes) in
        [(0, 0, true), (0, 5, false), (19_800, 5, true), (-18_000, 19, true), (-18_000, 0, false)]
    {
        let mut rig = rig(|config| (config.delete_at_hours, config.utc_offset_s) = (vec![hour], offset_s));
        filled(&mut rig, 30);
        rig.pass(60);
        rig.pass(4 * 24 * 3600);
        (0..60).for_each(|_| rig.pass(10));
        assert_eq!(rig.store.marks().begin > 0, goes, "{offset_s} s ahead of UTC, at {hour}: {:?}", rig.news);
    }
}

#[test]
fn a_nearly_full_disk_gives_up_files_of_any_age_but_the_last() {
    let mut rig = rig(|config| config.delete_at_hours = Vec::new());
    filled(&mut rig, 80);
    let before = rig.store.log.files().len();
    rig.disk.usage = Usage { total: 100, free: 14 };
    rig.pass(11);
    assert_eq!(rig.store.log.files().len(), before, "only the log tells where the queues end");
    rig.disk.usage.free = 90;
    (0..12).for_each(|_| rig.pass(1));
    rig.disk.usage.free = 14;
    rig.pass(11);
    assert_eq!(rig.store.log.files().len(), before - 10, "ten files a round: {:?}", rig.news);
    for _ in 0..10 {
        rig.pass(11);
    }
    let marks = rig.store.marks();
    assert!(rig.store.log.has_room() && marks.begin <= marks.written);
    let index_before = rig.disk.paths().iter().filter(|path| path.starts_with("index/")).count();
    assert!(index_before < 80 * 3 / 15, "index files below the log are gone");
    rig.disk.usage.free = 90;
    rig.pass(11);
    let placed = rig.add("T", 0, 100);
    assert_eq!(rig.ask("T", 0, placed.queue_offset, 1).count, 1);
    assert!(rig.disk.paths().iter().filter(|path| path.starts_with("consumequeue/T/0/")).count() < 7);
}

#[test]
fn a_deleted_topic_stays_deleted_and_begins_anew() {
    let mut rig = rig(|_| {});
    rig.add_many(20, "T", 0, 50);
    rig.add_many(5, "U", 0, 50);
    rig.pass(2);
    rig.put("T", 0, 10).unwrap();
    rig.store.delete_topic("T", &mut rig.disk, &mut rig.asks);
    rig.arrived.clear();
    rig.settle();
    assert_eq!(rig.store.queue_range("T", 0), 0..0);
    assert!(matches!(rig.ask("T", 0, 0, 1).status, GetStatus::NoMatchedLogicQueue));
    let placed = rig.add("T", 0, 10);
    assert_eq!(placed.queue_offset, 0, "a new topic of the same name begins at 0");
    rig.pass(3);
    rig.pass(3);
    assert_eq!(rig.ask("T", 0, 0, 9).count, 1);
    for power in [false, true] {
        rig.die(power, !power);
        rig.start();
        assert_eq!(rig.store.queue_range("T", 0), 0..1, "power {power}");
        assert_eq!(rig.store.queue_range("U", 0), 0..5);
        assert_eq!(rig.ask("T", 0, 0, 9).count, 1);
    }
}

#[test]
fn halves_of_transactions_are_stored_and_not_queued() {
    let mut rig = rig(|_| {});
    let mut half = draft("T", 0, 77, 10);
    half.sys_flag = 0x4;
    let placed = rig.store.put(rig.now, &half).unwrap();
    rig.settle();
    assert_eq!((placed.queue_offset, rig.store.queue_range("T", 0)), (0, 0..0));
    rig.add("T", 0, 10);
    assert_eq!(rig.store.queue_range("T", 0), 0..1);
    let hit = rig.warmly(|store, disk, asks| store.by_position(placed.physical, disk, asks)).unwrap();
    assert_eq!(Record::parse(&hit.record).unwrap().sys_flag, 0x4);
    assert_eq!(rig.warmly(|store, disk, asks| store.by_position(placed.physical + 1, disk, asks)), None);
    let hits = rig.warmly(|store, disk, asks| store.by_label("T", Label::Key("k77"), 9, 0..i64::MAX, disk, asks));
    assert_eq!(hits.len(), 1, "a prepared half is indexed");
}

#[test]
fn times_lead_to_offsets() {
    let mut rig = rig(|_| {});
    let mut times = Vec::new();
    for n in 0..30 {
        times.push(rig.now.wall_ms as i64);
        rig.add("T", 0, 10);
        if n % 3 == 2 {
            rig.pass(10);
        }
    }
    let mut ask = |ms, upper| rig.warmly(|store, disk, asks| store.offset_by_time("T", 0, ms, upper, disk, asks));
    for (offset, ms) in times.iter().enumerate() {
        let first = times.iter().position(|other| other == ms).unwrap() as u64;
        let last = times.iter().rposition(|other| other == ms).unwrap() as u64;
        assert_eq!((ask(*ms, false), ask(*ms, true)), (first, last), "{offset}");
        assert_eq!((ask(*ms + 1, false), ask(*ms - 1, true)), (last + 1, first.saturating_sub(1)), "{offset}");
    }
    assert_eq!((ask(0, false), ask(0, true), ask(i64::MAX, false), ask(i64::MAX, true)), (0, 0, 30, 29));
    let ms = rig.warmly(|store, disk, asks| store.store_time("T", 0, 7, disk, asks));
    assert_eq!(ms, Some(times[7]));
    assert_eq!(rig.warmly(|store, disk, asks| store.store_time("T", 0, 30, disk, asks)), None);
}

#[test]
fn the_crc_property_is_stored_and_the_record_stays_sound() {
    let mut rig = rig(|config| config.append_prop_crc = true);
    rig.add("T", 0, 10);
    let got = rig.ask("T", 0, 0, 1);
    let record = Record::parse(&got.records[0]).unwrap();
    assert!(record.body_is_sound() && record.properties.windows(8).any(|text| text == b"__CRC32#"));
    rig.die(false, false);
    rig.start();
    assert_eq!(rig.ask("T", 0, 0, 1).count, 1);
}

#[test]
fn a_clean_stop_is_found_and_nothing_is_scanned() {
    let mut rig = rig(|_| {});
    rig.add_many(40, "T", 3, 200);
    let before = rig.state();
    rig.stop();
    rig.die(true, false);
    rig.start();
    assert!(!rig.said("Recovering"), "{:?}", rig.news);
    assert_eq!(rig.state().1, before.1);
    assert_eq!(rig.store.marks().durable, before.0.written);
    // A later record is not overlooked although the abort mark is gone.
    let placed = rig.add("T", 3, 10);
    rig.die(false, true);
    rig.disk.remove_below("abort");
    rig.start();
    assert_eq!(rig.store.queue_range("T", 3).end, placed.queue_offset + 1);
}

#[test]
fn a_killed_process_costs_a_scan_from_its_last_snapshot_only() {
    let mut rig = rig(|_| {});
    rig.add_many(60, "T", 0, 200);
    rig.pass(2);
    rig.pass(2);
    let from = rig.store.marks().written;
    rig.add("T", 0, 200);
    rig.die(false, true);
    rig.start();
    let scanned = rig.news.iter().find_map(|news| match news {
        StoreNews::Recovering { total, .. } => Some(*total),
        _ => None,
    });
    let end = rig.store.log.files().back().unwrap().begin + 4096;
    assert!(scanned.is_some_and(|total| total <= end - from), "{scanned:?} of {end}, written {from}");
    assert_eq!(rig.store.queue_range("T", 0), 0..61);
}

#[test]
fn damage_in_the_middle_loses_one_message_when_the_process_was_killed() {
    let mut rig = rig(|_| {});
    let placed: Vec<Placed> = (0..12).map(|_| rig.add("T", 0, 200)).collect();
    rig.die(false, true);
    let path = "commitlog/00000000000000000000";
    let mut bytes = rig.disk.content(path).unwrap().to_vec();
    bytes[placed[5].physical as usize + 4] ^= 0xFF;
    rig.disk.put(path, &bytes);
    rig.disk.remove_below("seedmq.snapshot.");
    rig.start();
    let said = format!("{:?}", rig.news);
    let kept = rig.store.queue_range("T", 0).end;
    assert!(said.contains(&placed[5].physical.to_string()), "{said}");
    assert!(said.contains("seedmq.cut") || kept == 12, "{said}");
}

impl Rig {
    /// Messages for eight queues of each topic in turn, a thousand to a batch.
    fn spread(&mut self, messages: u32, queues: u32) {
        for n in 0..messages {
            self.put(&format!("Topic{}", n % queues / 8), n % 8, 10).unwrap();
            if n % 1000 == 999 {
                self.settle();
            }
        }
    }

    fn until_queues_are_written(&mut self) {
        for _ in 0..2000 {
            if self.store.queues.dirty() == 0 {
                return;
            }
            self.run(1);
        }
        panic!("every queue is written in the end");
    }
}

/// What must not grow with the number of queues: writes to the log, writes of one queue in a cycle, open files, the scan of a restart.
#[test]
fn fifty_thousand_queues_cost_a_write_each_in_a_cycle_and_nothing_else() {
    const QUEUES: u32 = 50_000;
    let mut rig = rig(|config| {
        config.log_file_bytes = 1 << 28;
        config.queue_file_entries = 300_000;
        config.index = false;
    });
    rig.spread(QUEUES, QUEUES);
    rig.until_queues_are_written();
    rig.pass(2);
    let before = rig.disk.writes;
    rig.spread(4 * QUEUES, QUEUES);
    assert_eq!(rig.disk.writes - before, u64::from(4 * QUEUES / 1000), "one write a batch, to the log");
    rig.until_queues_are_written();
    let of_queues = rig.disk.writes - before - u64::from(4 * QUEUES / 1000);
    assert!(
        (u64::from(QUEUES)..u64::from(QUEUES) + 100).contains(&of_queues),
        "{of_queues} writes for four entries each"
    );
    rig.pass(2);
    let from = rig.store.marks().written;
    rig.add("Topic0", 0, 10);
    rig.disk.kill();
    rig.start();
    let scanned = rig.news.iter().find_map(|news| match news {
        StoreNews::Recovering { total, .. } => Some(*total),
        _ => None,
    });
    let rest = (1 << 28) - from;
    assert!(scanned.is_some_and(|total| total <= rest), "{scanned:?}, but queues are complete to {from}");
    assert_eq!(rig.store.queues().filter(|(.., range)| range.end >= 5).count(), QUEUES as usize);
    assert_eq!(rig.store.queue_range("Topic0", 0).end, 6);
}

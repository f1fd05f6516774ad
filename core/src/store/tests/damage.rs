//! Damage to files of the store: what it costs, and what is said of it.

use super::behaviour::rig;
use super::*;
use crate::store::checkpoint::Snapshot;
use crate::store::entry::ENTRY;

const LOG: &str = "commitlog/00000000000000000000";
const QUEUE: &str = "consumequeue/T/0/00000000000000000000";

/// Ten messages in one log file, all of them in files, and a store that has them cold.
fn filled() -> (Rig, Vec<Placed>) {
    let mut rig = rig(|config| {
        config.log_file_bytes = 1 << 16;
        config.queue_file_entries = 100;
    });
    let placed = (0..10).map(|_| rig.add("T", 0, 200)).collect();
    rig.pass(30);
    rig.pass(30);
    rig.die(false, true);
    (rig, placed)
}

fn flip(rig: &mut Rig, path: &str, at: u64, bit: u8) {
    let mut bytes = rig.disk.content(path).unwrap().to_vec();
    bytes[at as usize] ^= 1 << bit;
    rig.disk.put(path, &bytes);
}

/// The offsets that a reader of a queue gets below an end.
fn read(rig: &mut Rig, queue_id: u32, end: u64, tags: Option<&[i32]>) -> Vec<i64> {
    let (mut offset, mut found) = (0, Vec::new());
    while offset < end {
        let got = rig.get(&Get { topic: "T", queue_id, offset, max: 3, max_bytes: 1 << 20, tags });
        assert!(got.next_offset > offset, "a reader is led on: {:?}", got.status);
        offset = got.next_offset;
        for bytes in &got.records {
            found.extend(crate::message::record::records(bytes).map(|record| record.queue_offset));
        }
    }
    found
}

#[test]
fn a_record_that_is_wrong_about_its_position_is_handed_out() {
    let (mut rig, placed) = filled();
    flip(&mut rig, LOG, placed[4].physical + 28, 3);
    rig.start();
    assert_eq!(read(&mut rig, 0, 10, None), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_damaged_record_costs_itself_and_is_named() {
    for at in [0, 3, 4, 8, 12, 20, 84, 88, 150] {
        let (mut rig, placed) = filled();
        flip(&mut rig, LOG, placed[4].physical + at, 3);
        rig.start();
        assert_eq!(read(&mut rig, 0, 10, None), [0, 1, 2, 3, 5, 6, 7, 8, 9], "byte {at}");
        rig.settle();
        assert!(rig.said("the message 4 of T/0 is damaged") && rig.said(LOG), "byte {at}: {:?}", rig.news);
        assert_eq!(rig.store.damage(), (1, 0), "it is found once");
        if [12, 20].contains(&at) {
            continue; // No checksum covers queue and number.
        }
        let hit = rig.store.by_position(placed[4].physical, &mut rig.disk, &mut rig.asks);
        assert!(!matches!(hit, Ok(Some(_))), "nor is it found by its position");
        assert_eq!(rig.add("T", 0, 10).queue_offset, 10);
    }
}

#[test]
fn damage_before_a_torn_end_ends_the_log_only_if_the_torn_end_is_torn() {
    for is_torn in [true, false] {
        let (mut rig, _) = filled();
        rig.start();
        let mut last = rig.add("T", 0, 200);
        let noted = |rig: &Rig| rig.disk.content(names::SNAPSHOT).and_then(|bytes| Snapshot::from_bytes(&bytes));
        while noted(&rig).is_none_or(|snapshot| snapshot.durable < last.end) {
            last = rig.add("T", 0, 200);
            rig.pass(30);
        }
        let durable = last.end;
        let behind: Vec<Placed> = (0..3).map(|_| rig.add("T", 0, 200)).collect();
        assert_eq!(behind[0].physical, durable);
        rig.die(false, false);
        // Without its queues, recovery reads the log from its begin.
        rig.disk.remove_below("consumequeue");
        flip(&mut rig, LOG, last.physical, 3);
        if is_torn {
            overwrite(&mut rig, LOG, durable, &vec![0; (behind[0].end - durable) as usize]);
        }
        rig.start();
        assert_eq!(rig.said(&format!("torn behind {durable}")), is_torn, "{:?}", rig.news);
        let end = last.queue_offset;
        assert_eq!(rig.store.queue_range("T", 0).end, if is_torn { end } else { end + 4 });
        assert_eq!(rig.disk.content(&format!("seedmq.cut/{:020}", last.physical)).is_some(), is_torn);
    }
}

#[test]
fn a_damaged_entry_is_put_right_from_the_log() {
    for (at, bit) in [(0, 7), (3, 1), (7, 0), (7, 6), (6, 0), (8, 6), (11, 2), (11, 0)] {
        for n in [0, 4, 9] {
            let (mut rig, _) = filled();
            let before = rig.disk.content(QUEUE).unwrap();
            flip(&mut rig, QUEUE, n * ENTRY + at, bit);
            rig.start();
            assert_eq!(read(&mut rig, 0, 10, None), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "byte {at} bit {bit} of entry {n}");
            assert_eq!(rig.store.damage(), (0, 1));
            assert_eq!(rig.disk.content(QUEUE).unwrap(), before, "the file is as it was");
        }
    }
}

#[test]
fn damage_at_the_begin_or_in_a_snapshot_does_not_keep_a_store_closed() {
    for (path, at) in
        [(LOG, 4), ("seedmq.snapshot", 50), ("seedmq.snapshot.0", 3), ("seedmq.snapshot.1", 3), ("checkpoint", 2)]
    {
        let (mut rig, _) = filled();
        if rig.disk.content(path).is_none() {
            continue;
        }
        flip(&mut rig, path, at, 0);
        rig.start();
        let lost = usize::from(path == LOG);
        assert_eq!(read(&mut rig, 0, 10, None).len(), 10 - lost, "{path}");
        assert!(path == LOG || path == "checkpoint" || rig.said(path), "{:?}", rig.news);
    }
}

/// Forty messages of each of two queues, one queue after the other, in files; the store has them cold.
fn two_queues() -> Rig {
    let mut rig = rig(|config| {
        config.log_file_bytes = 1 << 16;
        config.queue_file_entries = 100;
    });
    for queue in 0..2 {
        for _ in 0..40 {
            rig.add("T", queue, 20);
        }
    }
    rig.pass(30);
    rig.pass(30);
    rig.die(false, true);
    rig
}

/// Writes over a part of a file.
fn overwrite(rig: &mut Rig, path: &str, at: u64, with: &[u8]) {
    let mut bytes = rig.disk.content(path).unwrap().to_vec();
    bytes[at as usize..at as usize + with.len()].copy_from_slice(with);
    rig.disk.put(path, &bytes);
}

#[test]
fn a_sector_of_entries_of_another_queue_is_put_right_from_the_log() {
    let (other, mine) = (QUEUE, "consumequeue/T/1/00000000000000000000");
    for (from, at) in [(0, 0), (0, 200), (100, 0), (280, 280)] {
        let mut rig = two_queues();
        let before = rig.disk.content(mine).unwrap();
        let sector = rig.disk.content(other).unwrap()[from..from + 512].to_vec();
        overwrite(&mut rig, mine, at, &sector);
        rig.start();
        assert_eq!(read(&mut rig, 1, 40, None), (0..40).collect::<Vec<_>>(), "{from} to {at}");
        assert_eq!(rig.store.damage().0, 0, "nothing is lost");
        assert!(rig.disk.content(mine).unwrap() == before, "the file is as it was");
    }
}

#[test]
fn a_sector_without_entries_is_put_right_for_readers_of_some_tags_too() {
    // Hashes of t0, t1 and t2.
    for tags in [None, Some(&[3644, 3645, 3646][..])] {
        for at in [0, 120, 288] {
            let mut rig = two_queues();
            overwrite(&mut rig, QUEUE, at, &[0; 512]);
            rig.start();
            assert_eq!(read(&mut rig, 0, 40, tags), (0..40).collect::<Vec<_>>(), "from byte {at}");
            assert_eq!(rig.store.damage().0, 0, "nothing is lost");
        }
    }
}

#[test]
fn a_record_at_the_place_of_another_is_not_taken_for_it() {
    let (mut rig, _) = filled();
    rig.start();
    let placed: Vec<Placed> = (0..10).map(|_| rig.add("T", 0, 200)).collect();
    rig.die(false, true);
    let of = |n: usize| placed[n].physical as usize..placed[n + 1].physical as usize;
    let copy = rig.disk.content(LOG).unwrap()[of(2)].to_vec();
    assert_eq!(copy.len(), of(6).len(), "it fits into the place of the other");
    overwrite(&mut rig, LOG, placed[6].physical, &copy);
    rig.start();
    assert!(rig.said(&format!("belongs to {}", placed[2].physical)), "{:?}", rig.news);
    assert_eq!(rig.store.queue_range("T", 0), 0..20, "no number is given twice");
    let mut found = Vec::new();
    for offset in 10..20 {
        let got = rig.ask("T", 0, offset, 1);
        found.extend(
            got.records.iter().flat_map(|bytes| crate::message::record::records(bytes)).map(|r| r.queue_offset),
        );
    }
    assert_eq!(found, [10, 11, 12, 13, 14, 15, 17, 18, 19], "only the one is lost, and none comes twice");
}

#[test]
fn entries_that_are_missing_do_not_hide_messages_when_old_ones_are_removed() {
    let mut rig = rig(|config| {
        config.delete_at_hours = Vec::new();
        config.queue_file_entries = 400;
    });
    let placed: Vec<Placed> = (0..300).map(|_| rig.add("T", 0, 100)).collect();
    rig.pass(30);
    rig.pass(30);
    rig.die(false, true);
    overwrite(&mut rig, QUEUE, 180 * ENTRY, &[0; 512]);
    rig.start();
    rig.disk.usage = crate::node::Usage { total: 100, free: 14 };
    for _ in 0..100 {
        rig.pass(11);
        if rig.store.marks().begin > 0 {
            break;
        }
    }
    let begin = rig.store.marks().begin;
    let first = placed.iter().position(|placed| placed.physical >= begin).expect("some are kept") as u64;
    assert!((151..180).contains(&first), "the search for it meets the damage: {first}");
    assert_eq!(rig.store.queue_range("T", 0), first..300);
    assert_eq!(rig.ask("T", 0, 190, 1).count, 1, "it is put right");
}

//! Damage to files of the store: what it costs, and what is said of it.

use super::behaviour::rig;
use super::*;
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

/// Everything that a reader gets from offset 0 on, by offset.
fn read_all(rig: &mut Rig) -> Vec<i64> {
    let (mut offset, mut found) = (0, Vec::new());
    while offset < 10 {
        let got = rig.ask("T", 0, offset, 3);
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
    assert_eq!(read_all(&mut rig), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_damaged_record_costs_itself_and_is_named() {
    for at in [0, 3, 4, 8, 12, 20, 84, 88, 150] {
        let (mut rig, placed) = filled();
        flip(&mut rig, LOG, placed[4].physical + at, 3);
        rig.start();
        assert_eq!(read_all(&mut rig), [0, 1, 2, 3, 5, 6, 7, 8, 9], "byte {at}");
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
fn a_damaged_entry_is_put_right_from_the_log() {
    for (at, bit) in [(0, 7), (3, 1), (7, 0), (7, 6), (6, 0), (8, 6), (11, 2), (11, 0)] {
        for n in [0, 4, 9] {
            let (mut rig, _) = filled();
            let before = rig.disk.content(QUEUE).unwrap();
            flip(&mut rig, QUEUE, n * ENTRY + at, bit);
            rig.start();
            assert_eq!(read_all(&mut rig), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "byte {at} bit {bit} of entry {n}");
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
        assert_eq!(read_all(&mut rig).len(), 10 - lost, "{path}");
        assert!(path == LOG || path == "checkpoint" || rig.said(path), "{:?}", rig.news);
    }
}

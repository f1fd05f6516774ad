//! Lives that end at random points, again and again on the same disk.
//!
//! Invariant: the draws come from the seed alone, so that a failing seed fails again.

use std::ops::Range;

use super::*;

fn crashes(flush: Flush, seed: u64, lives: usize) {
    let mut rig = Rig::new(config(flush), seed);
    for _ in 0..lives {
        for _ in 0..rig.rng.below(60) {
            for _ in 0..rig.rng.below(4) {
                rig.put_one();
            }
            rig.settle();
            let steps = rig.rng.below(6) as usize;
            rig.run(steps);
        }
        let power = rig.rng.below(2) == 0;
        let mut promised = if rig.rng.below(4) == 0 {
            rig.stop();
            rig.die(power, true);
            rig.store.marks().written
        } else {
            let same_boot = rig.rng.below(2) == 0;
            rig.die(power, same_boot)
        };
        let mut durable = rig.store.marks().durable;
        // Sometimes recovery itself is cut short.
        while rig.rng.below(3) == 0 {
            rig.begin();
            for _ in 0..rig.rng.below(12) {
                if rig.is_open() || !rig.step() {
                    break;
                }
            }
            let power = rig.rng.below(2) == 0;
            let before = if power { durable } else { promised };
            if rig.is_open() {
                promised = rig.promised(power);
                durable = rig.store.marks().durable;
                assert!(promised >= before, "{promised} after {before}");
            } else if power {
                promised = durable;
            }
            rig.die(power, true);
        }
        rig.start();
        eprintln!("{:?}", rig.news.last());
        rig.say("started");
        rig.check(promised);
        let first = rig.state();
        rig.die(false, true);
        rig.start();
        assert_eq!(rig.state(), first, "recovering twice gives the same");
        rig.check(promised);
    }
}

fn many(flush: Flush, seeds: Range<u64>) {
    for seed in seeds {
        eprintln!("seed {seed}");
        crashes(flush, seed, 5);
    }
}

#[test]
fn what_was_promised_survives_with_synchronous_flush() {
    many(Flush::Sync, 0..40);
}

#[test]
fn what_was_promised_survives_with_asynchronous_flush() {
    many(Flush::Async, 0..40);
}

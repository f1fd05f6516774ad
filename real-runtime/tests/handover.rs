//! The hand-over to the disk threads, under every interleaving with at most three preemptions. The file itself is compiled here against
//! loom's primitives, so no special build is needed.

mod sync {
    pub use loom::sync::{Condvar, Mutex};
}
#[path = "../src/real/disk/handover.rs"]
mod handover;

use handover::Handover;
use loom::sync::Arc;
use loom::thread;

fn check(body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(body);
}

#[test]
fn two_takers_share_all_jobs_and_both_hear_the_end() {
    check(|| {
        let queue = Arc::new(Handover::new());
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || std::iter::from_fn(|| queue.take()).collect::<Vec<i32>>())
            })
            .collect();
        queue.push(1);
        queue.push(2);
        queue.end();
        let mut taken: Vec<i32> = takers.into_iter().flat_map(|taker| taker.join().expect("a taker ends")).collect();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn one_taker_takes_in_order() {
    check(|| {
        let queue = Arc::new(Handover::new());
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || std::iter::from_fn(|| queue.take()).collect::<Vec<i32>>())
        };
        (0..3).for_each(|job| queue.push(job));
        queue.end();
        assert_eq!(taker.join().expect("the taker ends"), [0, 1, 2]);
    });
}

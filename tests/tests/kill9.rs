//! A short form of `kill9`: a few kills of the real broker under load.
//!
//! Invariant: no acknowledged message is lost, with either flush policy.

use seedmq_tests::judged::judge;
use seedmq_tests::or_skip;
use seedmq_tests::server::Plan;
use seedmq_tests::torture::{Torture, run};

fn six_kills(flush: &'static str) {
    let path = tempfile::NamedTempFile::new().expect("a scratch file");
    let torture = Torture { kills: 6, connections: 4, burst: 8, flush, seed: 7 };
    let report = or_skip!(run(&torture, Plan::cluster(1, 1), path.path()));
    let judgement = judge(path.path());
    assert!(judgement.violations.is_empty(), "{:?}: {:?}", judgement.counts, judgement.violations);
    assert!(judgement.acked > 100 && judgement.delivered >= judgement.acked, "{report:?}");
}

#[test]
fn kills_lose_nothing_with_asynchronous_flush() {
    six_kills("ASYNC_FLUSH");
}

#[test]
fn kills_lose_nothing_with_synchronous_flush() {
    six_kills("SYNC_FLUSH");
}

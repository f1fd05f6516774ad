//! A broker can be swapped in place, in both directions: Apache's on our store, ours on Apache's.
//!
//! Invariant: queues, offsets, records, committed offsets and queries by key are the same to a client, whoever wrote them.

use seedmq_tests::or_skip;
use seedmq_tests::server::Make;
use seedmq_tests::swap::there_and_back;

/// Enough for several index slots and queue pages; `store-swap` does it with 100,000.
const MESSAGES: u64 = 5_000;

#[test]
fn apache_reads_our_store() {
    or_skip!(there_and_back(Make::Ours, Make::Apache, MESSAGES));
}

#[test]
fn we_read_the_store_of_apache() {
    or_skip!(there_and_back(Make::Apache, Make::Ours, MESSAGES));
}

//! The long form of the test `store_swap`: 100,000 messages each way between SeedMQ and Apache RocketMQ 5.5.0.
//!
//! Invariant: it ends well only when both sides saw the same.

use clap::Parser;
use seedmq_tests::server::Make;
use seedmq_tests::swap::there_and_back;

/// Lets one broker open the other's store, both ways, and compares what clients see
#[derive(Parser)]
struct Arguments {
    /// Messages in each store
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Only Apache with itself (to try the harness)
    #[arg(long)]
    apache_only: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let ways = if arguments.apache_only {
        vec![(Make::Apache, Make::Apache)]
    } else {
        vec![(Make::Ours, Make::Apache), (Make::Apache, Make::Ours)]
    };
    for (first, second) in ways {
        there_and_back(first, second, arguments.messages).expect("Java and Maven are there");
        println!(
            "{second:?} sees {} messages of {first:?} as they were written, and {first:?} goes on after it",
            arguments.messages
        );
    }
}

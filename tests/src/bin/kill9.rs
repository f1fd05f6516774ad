//! kill -9 of a real broker under load, again and again; the history is judged by the checkers.
//!
//! Invariant: exit 0 only when at least one message was acknowledged between any two kills and none of them was lost.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use seedmq_tests::judged::judge;
use seedmq_tests::server::{Make, Plan};
use seedmq_tests::torture::{Torture, run};

/// Kills a broker under load and proves that it loses nothing that it acknowledged.
#[derive(Parser)]
struct Arguments {
    /// How often
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Connections that send
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in flight on each
    #[arg(long, default_value_t = 8)]
    burst: usize,
    /// Seed of the times between kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Torture Apache RocketMQ 5.5.0 instead
    #[arg(long)]
    apache: bool,
    /// Where the histories go
    #[arg(long, default_value = "target/kill9")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.out).expect("the output directory can be made");
    let mut broken = false;
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let Arguments { kills, connections, burst, seed, .. } = arguments;
        let torture = Torture { kills, connections, burst, flush, seed };
        let make = if arguments.apache { Make::Apache } else { Make::Ours };
        let path = arguments.out.join(format!("{}.jsonl", flush.to_lowercase()));
        let report = run(&torture, Plan::cluster(1, 1).make(make), &path).expect("the servers can be started");
        let judgement = judge(&path);
        let mut recoveries = report.recoveries.clone();
        recoveries.sort_unstable();
        let ms = |time: Option<&Duration>| time.map_or("-".to_owned(), |time| format!("{} ms", time.as_millis()));
        let rules: Vec<String> = judgement.counts.iter().map(|(rule, count)| format!("{count} × {rule}")).collect();
        println!(
            "{flush}: {kills} kills, {} acknowledged, {} unknown, {} found; restart to first acknowledgement: median {}, \
             longest {}; broken rules: {}",
            report.acknowledged,
            report.unknown,
            report.found,
            ms(recoveries.get(recoveries.len() / 2)),
            ms(recoveries.last()),
            if rules.is_empty() { "none".to_owned() } else { rules.join(", ") }
        );
        broken |= !judgement.violations.is_empty() || judgement.acked == 0;
        for violation in judgement.violations.iter().take(5) {
            println!("  {}\n  {}", violation.text, violation.proof.join("\n  "));
        }
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

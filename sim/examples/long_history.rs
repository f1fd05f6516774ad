//! Writes a history of a correct cluster, as long as wanted: `cargo run --release -p seedmq-sim --example long_history -- LINES > FILE`.
//!
//! Invariant: each message is sent, acknowledged, handed to both groups, handled and committed, so that the history is green.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

const QUEUES: u64 = 64;
const CLIENTS: u64 = 16;

fn main() -> ExitCode {
    let lines = std::env::args().nth(1).and_then(|lines| lines.parse::<u64>().ok());
    match lines.map(|lines| write(&mut BufWriter::new(io::stdout().lock()), lines)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("the history cannot be written: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("how many lines? A number is expected");
            ExitCode::from(2)
        }
    }
}

/// Each message has eight lines: two of its sending, two of each handling, and a commit of each group.
pub fn write(out: &mut impl Write, lines: u64) -> io::Result<()> {
    writeln!(
        out,
        r#"{{"history":1,"flush":"sync","order":{{"trades":"key"}},"groups":{{"audit":{{"orderly":true}}}}}}"#
    )?;
    for group in ["billing", "audit"] {
        for member in 0..CLIENTS {
            let queues: Vec<String> =
                (member..QUEUES).step_by(CLIENTS as usize).map(|q| format!("\"a:{q}\"")).collect();
            let queues = queues.join(",");
            writeln!(
                out,
                r#"{{"t":0,"client":"{group}-{member}","op":"assign","group":"{group}","topic":"trades","queues":[{queues}]}}"#
            )?;
        }
    }
    for n in 0..lines.saturating_sub(2 + 2 * CLIENTS) / 8 {
        let (t, queue, offset) = (n + 1, n % QUEUES, n / QUEUES);
        let (p, member) = (n % CLIENTS, queue % CLIENTS);
        let send = format!(r#""t":{t},"client":"p{p}","op":"send","call":{n}"#);
        writeln!(out, r#"{{{send},"type":"invoke","topic":"trades","key":"p{p}-{n}","shard":"account-{queue}"}}"#)?;
        writeln!(out, r#"{{{send},"type":"ok","queue":"a:{queue}","offset":{offset}}}"#)?;
        for group in ["billing", "audit"] {
            let who = format!(r#""t":{t}.5,"client":"{group}-{member}""#);
            let place = format!(r#""group":"{group}","topic":"trades","queue":"a:{queue}""#);
            let deliver = format!(r#"{who},"op":"deliver","call":{n}"#);
            writeln!(out, r#"{{{deliver},"type":"invoke",{place},"offset":{offset},"key":"p{p}-{n}"}}"#)?;
            writeln!(out, r#"{{{deliver},"type":"ok"}}"#)?;
            writeln!(out, r#"{{{who},"op":"commit",{place},"offset":{}}}"#, offset + 1)?;
        }
    }
    writeln!(out, r#"{{"t":{lines},"op":"end","drained":true}}"#)?;
    out.flush()
}

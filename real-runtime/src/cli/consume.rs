//! `seedmq consume`.
//!
//! Invariant: a message is acknowledged only after it was printed.

use std::io::{self, BufWriter, Write};
use std::time::Instant;

use seedmq::{Delivery, PushConsumer};

use super::args::{Consume, From};
use super::servers::Signals;
use super::{Failure, client_name_servers};

pub async fn run(args: Consume) -> Result<(), Failure> {
    let mut signals = Signals::take();
    let builder = PushConsumer::builder(&*args.group)
        .find_name_servers(client_name_servers(&args.name_servers).await?)
        .subscribe(&*args.topic, &*args.tags)
        .delivery_messages(32);
    let builder = match args.from {
        From::First => builder.from_first(),
        From::Last => builder,
    };
    let consumer = builder.start().await.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut printer = Printer { out: BufWriter::new(io::stdout()), verbose: args.verbose, quiet: args.quiet };
    let (mut count, mut began) = (0, None);
    while args.count.is_none_or(|most| count < most) {
        let delivery = tokio::select! {
            biased;
            () = signals.next() => break,
            delivery = consumer.next() => delivery,
        };
        let Some(delivery) = delivery else { break };
        began.get_or_insert_with(Instant::now);
        // A reader that went away ends the command like a signal.
        if printer.print(&delivery).is_err() {
            break;
        }
        count += delivery.messages().len() as u64;
        delivery.ack().await;
    }
    let seconds = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    consumer.shutdown().await;
    if args.quiet {
        println!("{count} messages in {seconds:.2} s");
    }
    Ok(())
}

struct Printer {
    out: BufWriter<io::Stdout>,
    verbose: bool,
    quiet: bool,
}

impl Printer {
    fn print(&mut self, delivery: &Delivery) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        for message in delivery.messages() {
            if self.verbose {
                let (tag, keys) = (message.tag().unwrap_or("-"), message.keys().unwrap_or("-"));
                write!(self.out, "{} {}@{} tag={tag} keys={keys} ", message.msg_id, message.queue, message.offset)?;
            }
            self.out.write_all(&message.body)?;
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }
}

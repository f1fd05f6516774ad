//! `seedmq produce`.
//!
//! Invariant: the exit status is 0 only when every message was stored.

use std::io::BufRead;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use seedmq::{Message, Producer, SendError, SendStatus};
use tokio::sync::mpsc;

use super::args::Produce;
use super::{Failure, client_name_servers};

pub async fn run(args: Produce) -> Result<(), Failure> {
    let builder = Producer::builder(&*args.group).find_name_servers(client_name_servers(&args.name_servers).await?);
    let producer = Rc::new(builder.start().map_err(|error| Failure::Usage(error.to_string()))?);
    let began = Instant::now();
    let bulk = args.size.is_some() || args.count > 1;
    let tally = send_all(&args, &producer, bulk).await;
    producer.shutdown().await;
    tally.report(began, bulk)
}

#[derive(Debug, Default)]
struct Tally {
    stored: u64,
    failed: u64,
    first: Option<SendError>,
}

impl Tally {
    fn report(self, began: Instant, bulk: bool) -> Result<(), Failure> {
        let seconds = began.elapsed().as_secs_f64();
        if bulk {
            let rate = self.stored as f64 / seconds.max(1e-9);
            println!("{} messages stored in {seconds:.2} s: {rate:.0} messages/s", self.stored);
        }
        match self.first {
            None => Ok(()),
            Some(error) => Err(Failure::Failed(format!(
                "{} of {} messages failed: {error}",
                self.failed,
                self.failed + self.stored
            ))),
        }
    }
}

/// Sends with `in_flight` tasks that take bodies from one queue.
async fn send_all(args: &Produce, producer: &Rc<Producer>, bulk: bool) -> Tally {
    let (bodies_in, bodies) = mpsc::channel::<Bytes>(args.in_flight.max(1));
    let bodies = Rc::new(tokio::sync::Mutex::new(bodies));
    let feeder = tokio::task::spawn_local(feed(bodies_of(args), args.count, bodies_in));
    let senders: Vec<_> = (0..args.in_flight.max(1))
        .map(|_| tokio::task::spawn_local(send_some(Rc::clone(producer), Rc::clone(&bodies), template(args), bulk)))
        .collect();
    let mut tally = Tally::default();
    for sender in senders {
        let one = sender.await.expect("a sender does not panic");
        tally.stored += one.stored;
        tally.failed += one.failed;
        tally.first = tally.first.or(one.first);
    }
    feeder.abort();
    tally
}

/// Topic, tag and keys of every message.
fn template(args: &Produce) -> (String, Message) {
    let mut message = Message::default();
    if let Some(tag) = &args.tag {
        message = message.with_tag(tag);
    }
    if let Some(key) = &args.key {
        message = message.with_keys(key);
    }
    (args.topic.clone(), message)
}

async fn send_some(
    producer: Rc<Producer>,
    bodies: Rc<tokio::sync::Mutex<mpsc::Receiver<Bytes>>>,
    (topic, template): (String, Message),
    bulk: bool,
) -> Tally {
    let mut tally = Tally::default();
    let topic: std::sync::Arc<str> = topic.into();
    loop {
        let Some(body) = bodies.lock().await.recv().await else { return tally };
        match producer.send(std::sync::Arc::clone(&topic), Message { body, ..template.clone() }).await {
            Ok(receipt) => {
                tally.stored += 1;
                if !bulk {
                    let status = if receipt.status == SendStatus::SendOk {
                        String::new()
                    } else {
                        format!(" ({:?})", receipt.status)
                    };
                    println!("{} stored in {} at {}{status}", receipt.msg_id, receipt.queue, receipt.queue_offset);
                }
            }
            Err(error) => {
                tally.failed += 1;
                tally.first.get_or_insert(error);
                if tally.failed > 100 {
                    return tally;
                }
            }
        }
    }
}

/// Where the bodies come from.
enum Bodies {
    Given(Vec<Bytes>),
    Lines,
}

fn bodies_of(args: &Produce) -> Bodies {
    match args.size {
        Some(size) => Bodies::Given(vec![Bytes::from(vec![b'x'; size])]),
        None if args.messages.is_empty() => Bodies::Lines,
        None => Bodies::Given(args.messages.iter().map(|text| Bytes::from(text.clone())).collect()),
    }
}

async fn feed(bodies: Bodies, count: u64, into: mpsc::Sender<Bytes>) {
    match bodies {
        Bodies::Given(bodies) => {
            for _ in 0..count {
                for body in &bodies {
                    if into.send(body.clone()).await.is_err() {
                        return;
                    }
                }
            }
        }
        Bodies::Lines => {
            // The standard input waits, so it has a thread of its own.
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                    let body = Bytes::from(line);
                    for _ in 0..count {
                        if into.blocking_send(body.clone()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    }
}

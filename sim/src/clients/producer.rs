//! What stands behind a producer.
//!
//! Invariant: a call of a batch is one call per message; all of them end together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use seedmq::driver::Handle;
use seedmq_core::client::Queue as CoreQueue;
use seedmq_core::producer::{
    Mode as CoreMode, OutMessage, Pick, ProducerCommand, ProducerEvent, Receipt, SendError, SendRequest, SendStatus,
    Stored,
};

use crate::history::{Op, Phase, Queue};
use crate::tape::{Mode, QueuePick, What};
use crate::workload;

/// A send without an outcome.
#[derive(Debug)]
struct Open {
    /// Calls of the messages, in order.
    calls: Vec<u64>,
    /// When it was asked for, ns.
    began_ns: u64,
    topic: String,
    /// Key of the message, or of the batch.
    key: String,
    /// Whether the client chooses the broker.
    chooses: bool,
    /// Whether the client may choose another broker for a retry.
    free: bool,
}

/// A send that ended, and for which the client chose the broker.
#[derive(Debug)]
pub(crate) struct Ended {
    pub began_ns: u64,
    pub topic: String,
    pub key: String,
    /// Whether the client may repeat it elsewhere.
    pub free: bool,
    /// The broker that took it, or why none did.
    pub result: Result<String, String>,
    /// When a send of the topic was last acknowledged to this process, if one ever was, ns.
    pub acked_ns: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ProducerAgent {
    handle: Option<Handle<ProducerCommand>>,
    next_call: u64,
    next_ticket: u64,
    open: BTreeMap<u64, Open>,
    /// When a send of each topic was last acknowledged to this process, ns.
    acked_ns: BTreeMap<String, u64>,
}

fn blank(phase: Phase, call: u64) -> Op {
    Op::Send {
        phase,
        call,
        topic: String::new(),
        key: String::new(),
        shard: None,
        tag: None,
        queue: None,
        offset: None,
        error: None,
        attempts: None,
    }
}

/// Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

impl ProducerAgent {
    /// A process of the client runs now.
    pub fn started(&mut self, handle: Handle<ProducerCommand>) {
        self.handle = Some(handle);
    }
    /// Its process is gone, and with it everything that was under way.
    pub fn died(&mut self) {
        self.handle = None;
        self.open.clear();
        self.acked_ns.clear();
    }
    /// Sends without an outcome.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }
    pub fn handle(&self) -> Option<&Handle<ProducerCommand>> {
        self.handle.as_ref()
    }

    /// The lines that a send begins with, and its command; nothing when the client does not run.
    pub fn send(&mut self, what: &What, timeout: Duration, now_ns: u64) -> Option<(Vec<Op>, ProducerCommand)> {
        let What::Send { topic, key, shard, tag, size, batch, mode, queue, .. } = what else { return None };
        self.handle.as_ref()?;
        let keys: Vec<String> =
            if *batch > 1 { (0..*batch).map(|n| format!("{key}/{n}")).collect() } else { vec![key.clone()] };
        let asked = match queue {
            QueuePick::Queue(broker, id) => Some(Queue::on(broker, *id)),
            _ => None,
        };
        let mut ops = Vec::new();
        let mut calls = Vec::new();
        for key in &keys {
            self.next_call += 1;
            calls.push(self.next_call);
            let mut op = blank(Phase::Invoke, self.next_call);
            if let Op::Send { topic: t, key: k, shard: s, tag: g, queue: q, .. } = &mut op {
                (*t, *k, *s, *g, *q) = (topic.clone(), key.clone(), shard.clone(), tag.clone(), asked.clone());
            }
            ops.push(op);
        }
        let messages = keys.iter().map(|key| message(key, *size as usize, tag.as_deref())).collect();
        self.next_ticket += 1;
        let chooses = !matches!(queue, QueuePick::Queue(..));
        let free = *queue == QueuePick::Any && *mode != Mode::Oneway;
        let (topic_name, key) = (topic.clone(), key.clone());
        let open = Open { calls, began_ns: now_ns, topic: topic_name, key, chooses, free };
        self.open.insert(self.next_ticket, open);
        let request = SendRequest {
            ticket: self.next_ticket,
            topic: Arc::from(topic.as_str()),
            messages,
            queue: pick(queue, shard.as_deref()),
            mode: match mode {
                Mode::Sync => CoreMode::Sync,
                Mode::Async => CoreMode::Async,
                Mode::Oneway => CoreMode::Oneway,
            },
            timeout: Some(timeout),
        };
        Some((ops, ProducerCommand::Send(request)))
    }

    /// The lines of a send that the process did not take: surely nothing was stored.
    pub fn turned_away(&mut self, command: &ProducerCommand) -> Vec<Op> {
        let ProducerCommand::Send(request) = command else { return Vec::new() };
        let open = self.open.remove(&request.ticket).map(|open| open.calls).unwrap_or_default();
        let refused = |call: &u64| {
            let mut op = blank(Phase::Fail, *call);
            if let Op::Send { error, .. } = &mut op {
                *error = Some("the client does not take it".to_owned());
            }
            op
        };
        open.iter().map(refused).collect()
    }

    /// The lines that an event adds, how many messages it acknowledged, and what ended.
    pub fn event(&mut self, event: &ProducerEvent, now_ns: u64) -> (Vec<Op>, u64, Option<Ended>) {
        let ProducerEvent::Sent { ticket, result } = event else { return (Vec::new(), 0, None) };
        let Some(open) = self.open.remove(ticket) else { return (Vec::new(), 0, None) };
        let outcome = |(n, call): (usize, &u64)| match result {
            Ok(receipt) => taken(*call, n, receipt),
            Err(error) => failed(*call, error),
        };
        let ops = open.calls.iter().enumerate().map(outcome).collect();
        let acked = matches!(result, Ok(Receipt { status: SendStatus::SendOk, .. }));
        if acked {
            self.acked_ns.insert(open.topic.clone(), now_ns);
        }
        let messages = if acked { open.calls.len() as u64 } else { 0 };
        let ended = open.chooses.then(|| Ended {
            began_ns: open.began_ns,
            acked_ns: self.acked_ns.get(&open.topic).copied(),
            topic: open.topic,
            key: open.key,
            free: open.free,
            result: match result {
                Ok(receipt) => Ok(receipt.queue.broker.to_string()),
                Err(error) => Err(error.text.clone()),
            },
        });
        (ops, messages, ended)
    }
}

fn message(key: &str, size: usize, tag: Option<&str>) -> OutMessage {
    let message = OutMessage::new(workload::body(key, size)).with_keys(key);
    match tag {
        Some(tag) => message.with_tag(tag),
        None => message,
    }
}

fn pick(queue: &QueuePick, shard: Option<&str>) -> Pick {
    match queue {
        QueuePick::Any => Pick::RoundRobin,
        QueuePick::Shard => Pick::Hash(java_hash(shard.unwrap_or_default())),
        QueuePick::Queue(broker, id) => Pick::Queue(CoreQueue::new(broker.as_str(), *id as i32)),
    }
}

fn taken(call: u64, nth: usize, receipt: &Receipt) -> Op {
    let phase = if receipt.status == SendStatus::SendOk { Phase::Ok } else { Phase::Info };
    let mut op = blank(phase, call);
    if let Op::Send { queue, offset, error, attempts, .. } = &mut op {
        *attempts = Some(receipt.attempts);
        *queue = u32::try_from(receipt.queue.id).ok().map(|id| Queue::on(&receipt.queue.broker, id));
        *offset = u64::try_from(receipt.queue_offset).ok().map(|first| first + nth as u64);
        *error = (receipt.status != SendStatus::SendOk).then(|| format!("{:?}", receipt.status));
    }
    op
}

fn failed(call: u64, failure: &SendError) -> Op {
    let phase = if failure.stored == Stored::No { Phase::Fail } else { Phase::Info };
    let mut op = blank(phase, call);
    if let Op::Send { error, .. } = &mut op {
        *error = Some(failure.text.clone());
    }
    op
}

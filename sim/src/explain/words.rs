//! Actions of a tape and lines of a history as sentences.
//!
//! Invariant: a sentence names who, what and where with the names that tape and history use.

use std::collections::BTreeMap;

use crate::history::{Op, Phase, Queue, Record};
use crate::tape::{Action, Folder, Mode, Moment, QueuePick, StoreFile, Tape, Trigger, What};

/// Every action of a tape, in the order of their times.
pub fn actions_in_words(tape: &Tape) -> Vec<String> {
    let time = |action: &Action| match action.when {
        Trigger::At { at } => at,
        Trigger::On { from, .. } => from,
    };
    let mut actions: Vec<&Action> = tape.actions.iter().collect();
    actions.sort_by_key(|action| time(action));
    actions
        .iter()
        .map(|action| format!("{:>8}  {}{}", short(time(action)), event(&action.when), what(&action.what)))
        .collect()
}

/// Milliseconds as seconds, without zeros at the end.
fn short(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn ordinal(n: u64) -> String {
    match n {
        1 => "next".into(),
        2 => "second".into(),
        3 => "third".into(),
        n => format!("{n}th"),
    }
}

fn event(when: &Trigger) -> String {
    let Trigger::On { node, event, code, n, .. } = when else { return String::new() };
    let nth = ordinal(*n);
    let code = code.map_or(String::new(), |code| format!(" {code}"));
    match event {
        Moment::SyncInFlight => format!("at the {nth} sync of {node} under way, "),
        Moment::Recovery => format!("at the {nth} step of a recovery of {node}, "),
        Moment::Ready => format!("when {node} is ready for the {nth} time, "),
        Moment::RequestReceived => format!("at the {nth} request{code} that {node} gets, "),
        Moment::ResponseSent => format!("at the {nth} response{code} that {node} sends, "),
        Moment::Rebalance => format!("at the {nth} rebalance of {node}, "),
        Moment::Delivery => format!("at the {nth} delivery to {node}, "),
    }
}

fn what(what: &What) -> String {
    let back = |ms: &Option<u64>| ms.map_or("for good".into(), |ms| format!("for {}", short(ms)));
    match what {
        What::Send { .. } => send(what),
        What::Join { client } => format!("{client} joins"),
        What::Leave { client } => format!("{client} leaves"),
        What::Subscribe { client, topic, tags: Some(tags) } => format!("{client} subscribes to {topic}: {tags}"),
        What::Subscribe { client, topic, tags: None } => format!("{client} reads {topic} no longer"),
        What::Crash { client, down_ms } => format!("{client} crashes {}", back(down_ms)),
        What::Topic { topic, queues, brokers } if brokers.is_empty() => {
            format!("{topic} gets {queues} queues on every broker")
        }
        What::Topic { topic, queues, brokers } => format!("{topic} gets {queues} queues on {}", brokers.join(", ")),
        What::ResetOffsets { group, topic, back_ms } => {
            let to = back_ms.map_or("the first message".into(), |ms| format!("what was stored {} ago", short(ms)));
            format!("{group} is moved back to {to} of {topic}")
        }
        What::QueryKey { topic, key } => format!("every broker is asked for {key} of {topic}"),
        What::WriteKv { key, value } => format!("{key} is set to {value} at every name server"),
        What::DeleteTopic { topic } => format!("{topic} is deleted"),
        What::Drain { node, for_ms } => format!("producers may not use {node} for {}", short(*for_ms)),
        What::BrokerJoin { node } => format!("{node} joins the cluster"),
        What::Kill { node, silent: Some(true), down_ms } => format!("{node} vanishes {}", back(down_ms)),
        What::Kill { node, down_ms, .. } => format!("{node} is killed {}", back(down_ms)),
        What::PowerLoss { node, down_ms } => format!("{node} loses power {}", back(down_ms)),
        What::Restart { node, down_ms } => format!("{node} is restarted, down for {}", short(*down_ms)),
        What::Pause { node, for_ms } => format!("{node} stands still for {}", short(*for_ms)),
        What::HeartbeatLoss { from, to, codes, for_ms } => {
            let to = to.as_ref().map_or("everybody", String::as_str);
            format!("requests {codes:?} of {from} to {to} are dropped for {}", short(*for_ms))
        }
        What::Partition { a, b, oneway, for_ms } => {
            let arrow = if *oneway { "→" } else { "↔" };
            format!("nothing passes {} {arrow} {} {}", a.join(", "), b.join(", "), back(for_ms))
        }
        What::LostResponse { from, to, code } => {
            let to = to.as_ref().map_or("anybody", String::as_str);
            format!("the next response of {from} to {to} for a request {code} is lost with its connection")
        }
        What::SlowDisk { node, extra_ms, for_ms } => {
            format!("the disk of {node} takes {} longer for {}", short(*extra_ms), short(*for_ms))
        }
        What::SyncError { node, count, under, names, for_ms } => {
            let what = if *names { "syncs of directories" } else { "syncs" };
            format!("{count} {what} of {node}{} fail within {}", files("of", *under), short(*for_ms))
        }
        What::SyncLie { node, for_ms } => {
            format!("syncs of {node} only say that they are done for {}", short(*for_ms))
        }
        What::ReadError { node, count, under, sectors, for_ms } => {
            let (files, within) = (files("of", *under), short(*for_ms));
            format!("{count} reads of {node}{files} fail, and {sectors} sectors cannot be read, within {within}")
        }
        What::WriteError { node, count, under, for_ms } => {
            format!("{count} writes of {node}{} fail within {}", files("to", *under), short(*for_ms))
        }
        What::StuckHandler { node, count, for_ms } => {
            let count = if *count == 1 { "next handler".into() } else { format!("next {count} handlers") };
            format!("the {count} of {node} within {} never return", short(*for_ms))
        }
        What::BitRot { node, file } => format!("a bit of {} of {node} flips on the disk", store_file(*file)),
        What::MisdirectedWrite { node, file } => {
            format!("a sector of {} of {node} was written to another place of the disk", store_file(*file))
        }
        What::DiskReplaced { node, down_ms } => {
            format!("{node} goes down for {} and comes back with an empty disk", short(*down_ms))
        }
        What::DiskFull { node, left_bytes, for_ms } => {
            let left = if *left_bytes > 0 { format!(" but for {left_bytes} bytes") } else { String::new() };
            format!("the disk of {node} is full{left} for {}", short(*for_ms))
        }
        What::DiskStalled { node, for_ms } => {
            format!("nothing comes back from the disk of {node} for {}", short(*for_ms))
        }
        What::ClockDrift { node, ppm, for_ms } => {
            format!("the wall clock of {node} is off by {ppm} in a million for {}", short(*for_ms))
        }
        What::SlowCpu { node, extra_us, for_ms } => {
            format!("each batch of {node} takes {extra_us} µs longer for {}", short(*for_ms))
        }
        What::SlowLink { a, b, extra_ms, for_ms } => {
            let (a, b) = (a.join(", "), b.join(", "));
            format!("what passes {a} ↔ {b} takes {} longer for {}", short(*extra_ms), short(*for_ms))
        }
        What::ThinLink { a, b, bytes_per_s, for_ms } => {
            let (a, b) = (a.join(", "), b.join(", "));
            format!("between {a} and {b} pass {bytes_per_s} bytes a second for {}", short(*for_ms))
        }
        What::HalfClose { a, b } => format!("what {} write to {} ends", a.join(", "), b.join(", ")),
        What::Reset { a, b } => format!("connections {} ↔ {} are reset", a.join(", "), b.join(", ")),
        What::HeartbeatDelay { from, to, codes, extra_ms, for_ms } => {
            let (to, late) = (to.as_ref().map_or("everybody", String::as_str), short(*extra_ms));
            format!("requests {codes:?} of {from} to {to} come {late} late for {}", short(*for_ms))
        }
        What::ClockStep { node, by_ms, tick_ms } => {
            let sign = if *by_ms < 0 { "-" } else { "+" };
            let tick = tick_ms.map_or(String::new(), |tick| format!(" and on to the next multiple of {}", short(tick)));
            format!("the wall clock of {node} jumps by {sign}{}{tick}", short(by_ms.unsigned_abs()))
        }
    }
}

fn send(what: &What) -> String {
    let What::Send { client, topic, key, shard, tag, size, batch, mode, queue } = what else { return String::new() };
    let mut more = vec![format!("{size} bytes")];
    more.extend((*batch > 1).then(|| format!("a batch of {batch}")));
    more.extend(match mode {
        Mode::Sync => None,
        Mode::Async => Some("asynchronous".to_owned()),
        Mode::Oneway => Some("one way".to_owned()),
    });
    more.extend(shard.as_ref().map(|shard| format!("shard {shard}")));
    more.extend(tag.as_ref().map(|tag| format!("tag {tag}")));
    if let QueuePick::Queue(broker, id) = queue {
        more.push(format!("queue {broker}:{id}"));
    }
    format!("{client} sends \"{key}\" to {topic} ({})", more.join(", "))
}

/// The invocation behind each call, so that outcomes can be told with what they are about.
pub(super) type Calls = BTreeMap<(String, bool, u64), Record>;

/// Whose call a record belongs to: client, whether it is a delivery, number.
pub(super) fn call_of(record: &Record) -> Option<(String, bool, u64)> {
    match &record.op {
        Op::Send { call, .. } => Some((record.client.clone(), false, *call)),
        Op::Deliver { call, .. } => Some((record.client.clone(), true, *call)),
        _ => None,
    }
}

fn place(queue: Option<&Queue>, offset: Option<u64>) -> String {
    let queue = queue.map_or("an unnamed queue".to_owned(), |q| format!("queue {q}"));
    offset.map_or(queue.clone(), |offset| format!("{queue} at offset {offset}"))
}

/// A line of the history as a sentence.
pub(super) fn sentence(record: &Record, calls: &Calls) -> String {
    let who = &record.client;
    let begun = call_of(record).and_then(|call| calls.get(&call));
    match &record.op {
        Op::Send { phase, queue, offset, error, .. } => {
            let (topic, key) = begun.and_then(sent).unwrap_or_default();
            let why = error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
            match phase {
                Phase::Invoke => format!("{who} sends \"{key}\" to {topic}"),
                Phase::Ok => format!("{who} is told that \"{key}\" is stored in {}", place(queue.as_ref(), *offset)),
                Phase::Fail => format!("{who} is told that \"{key}\" is not stored{why}"),
                Phase::Info => format!("{who} does not learn whether \"{key}\" is stored{why}"),
            }
        }
        Op::Deliver { phase, .. } => {
            let (group, key, at) = begun.and_then(delivered).unwrap_or_default();
            match phase {
                Phase::Invoke => format!("{who} of {group} is handed \"{key}\" from {at}"),
                Phase::Ok => format!("{who} of {group} is done with \"{key}\""),
                Phase::Fail => format!("{who} of {group} asks for \"{key}\" again"),
                Phase::Info => format!("{who} of {group} dies while it handles \"{key}\""),
            }
        }
        Op::Subscribe { topic, tags, .. } => match tags {
            Some(tags) => format!("reads {topic} from now on: {tags}"),
            None => format!("reads {topic} no longer"),
        },
        Op::Assign { group, topic, queues } => {
            let queues: Vec<String> = queues.iter().map(ToString::to_string).collect();
            let queues = if queues.is_empty() { "nothing".to_owned() } else { queues.join(" ") };
            format!("{who} of {group} now owns {queues} of {topic}")
        }
        Op::Commit { group, topic, queue, offset } => {
            format!("{who} of {group} commits offset {offset} of {topic} queue {queue}")
        }
        Op::Reset { group, topic, queue, asked: true, .. } => {
            format!("the administrator asks for {group} to be moved back on {topic} queue {queue}")
        }
        Op::Reset { group, topic, queue, offset, .. } => {
            format!("{group} is reset to offset {offset} of {topic} queue {queue}")
        }
        Op::Fault { kind, target, .. } => fault(kind, target),
        Op::End { drained: true, .. } => "everything had time to arrive".to_owned(),
        Op::End { drained: false, .. } => "the run ends before everything had time to arrive".to_owned(),
    }
}

/// A fault, or its end.
pub(super) fn fault(kind: &str, target: &str) -> String {
    match kind {
        "kill" => format!("{target} is killed"),
        "crash" => format!("{target} crashes"),
        "power-loss" => format!("{target} loses power"),
        "restart" => format!("{target} is restarted"),
        "pause" => format!("{target} stands still"),
        "partition" => format!("nothing passes between {}", target.replace(" | ", " and ")),
        "heartbeat-loss" => format!("requests are dropped between {target}"),
        "lost-response" => format!("a response is lost with its connection: {target}"),
        "heartbeat-delay" => format!("requests are late between {target}"),
        "slow-link" => format!("what passes between {} is slow", target.replace(" | ", " and ")),
        "thin-link" => format!("little passes between {}", target.replace(" | ", " and ")),
        "half-close" => format!("connections are closed in one direction: {}", target.replace(" | ", " to ")),
        "reset" => format!("connections between {} are reset", target.replace(" | ", " and ")),
        "sync-error" => format!("a sync of {target} fails"),
        "sync-lie" => format!("a sync of {target} says that it is done, and is not"),
        "read-error" => format!("a read of {target} fails"),
        "write-error" => format!("a write of {target} fails"),
        "bit-rot" => format!("a bit flips on the disk of {target}"),
        "misdirected-write" => format!("a sector of {target} was written to another place of its disk"),
        "disk-replaced" => format!("{target} goes down, and its disk is replaced by an empty one"),
        "disk-stalled" => format!("nothing comes back from the disk of {target}"),
        "disk-full" => format!("the disk of {target} is full"),
        "clock-drift" => format!("the wall clock of {target} is off"),
        "slow-cpu" => format!("{target} is slow"),
        "slow-disk" => format!("the disk of {target} is slow"),
        "clock-step" => format!("the wall clock of {target} jumps"),
        "topic-deleted" => format!("{target} is deleted"),
        "drain" => format!("producers may not use {target}"),
        "start" => format!("{target} starts again"),
        "heal" => format!("the fault of {target} is over"),
        other => format!("{other} {target}"),
    }
}

/// The files in a folder, if a fault is about one.
fn files(word: &str, folder: Option<Folder>) -> String {
    folder.map_or(String::new(), |folder| format!(" {word} files in {}", folder.name()))
}

fn store_file(file: StoreFile) -> &'static str {
    match file {
        StoreFile::Log => "the commit log",
        StoreFile::Queue => "a consume queue",
        StoreFile::Index => "the index",
        StoreFile::Checkpoint => "the checkpoint",
    }
}

fn sent(record: &Record) -> Option<(String, String)> {
    match &record.op {
        Op::Send { topic, key, .. } => Some((topic.clone(), key.clone())),
        _ => None,
    }
}

fn delivered(record: &Record) -> Option<(String, String, String)> {
    match &record.op {
        Op::Deliver { group, topic, key, queue, offset, .. } => {
            Some((group.clone(), key.clone(), format!("{topic} {}", place(queue.as_ref(), *offset))))
        }
        _ => None,
    }
}

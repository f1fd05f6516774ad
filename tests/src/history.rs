//! Collects what several clients saw into one history, and answers the simplest questions about it.
//!
//! Invariant: lines stand in time order, and no two clients of a history share a name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Clock;

/// A growing history.
#[derive(Clone, Debug)]
pub struct History {
    /// Time zero.
    pub clock: Clock,
    header: Value,
    lines: Vec<Value>,
    clients: BTreeSet<String>,
}

impl History {
    /// An empty history of a topic whose consumers run several handlers at once, so that order is not theirs to keep.
    pub fn start(clock: Clock, topic: &str, group: &str) -> History {
        let header = json!({"history": 1, "flush": "async", "replication": "none", "order": {topic: "none"},
            "groups": {group: {"parallel": true}}});
        History { clock, header, lines: Vec::new(), clients: BTreeSet::new() }
    }

    /// Adds what one client printed; lines that are none of the format's are left out.
    pub fn add(&mut self, lines: Vec<Value>) {
        let names: BTreeSet<String> = lines.iter().filter_map(|l| l["client"].as_str().map(str::to_owned)).collect();
        for name in names {
            assert!(self.clients.insert(name.clone()), "two clients of one history are called {name}");
        }
        let known = |line: &Value| matches!(line["op"].as_str(), Some("send" | "deliver" | "assign" | "commit"));
        self.lines.extend(lines.into_iter().filter(known));
    }

    /// Records something that was done to a process.
    pub fn fault(&mut self, kind: &str, target: &str) {
        self.lines.push(json!({"t": self.clock.now(), "op": "fault", "kind": kind, "target": target}));
    }

    /// Records the end; `drained` = everything had time to arrive.
    pub fn end(&mut self, drained: bool) {
        self.lines.push(json!({"t": self.clock.now(), "op": "end", "drained": drained}));
    }

    /// The lines so far.
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// Writes header and lines in time order. Of lines of one instant the invocations of sends come first: clients with coarse
    /// clocks cannot tell that a message which arrived in the same millisecond had been sent before.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut sorted: Vec<&Value> = self.lines.iter().collect();
        let sends = |line: &Value| line["op"] == "send" && line["type"] == "invoke";
        let time = |line: &Value| line["t"].as_f64().unwrap_or(0.0);
        sorted.sort_by(|a, b| time(a).total_cmp(&time(b)).then(sends(b).cmp(&sends(a))));
        let mut out = io::BufWriter::new(std::fs::File::create(path)?);
        writeln!(out, "{}", self.header)?;
        for line in sorted {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

/// Every send was acknowledged, as many as this; otherwise the failure says what the clients were told.
#[track_caller]
pub fn check_all_acknowledged(lines: &[Value], count: usize) {
    let told: BTreeSet<&str> = lines.iter().filter_map(|line| line["error"].as_str()).collect();
    assert_eq!(acknowledged(lines).len(), count, "acknowledged sends; the clients were told {told:#?}");
}

/// Keys whose send was acknowledged.
pub fn acknowledged(lines: &[Value]) -> BTreeSet<String> {
    let mut open: BTreeMap<(String, u64), String> = BTreeMap::new();
    let mut out = BTreeSet::new();
    for line in lines.iter().filter(|line| line["op"] == "send") {
        let call = (text(&line["client"]), line["call"].as_u64().unwrap_or(0));
        match line["type"].as_str() {
            Some("invoke") => {
                open.insert(call, text(&line["key"]));
            }
            Some("ok") => out.extend(open.remove(&call)),
            _ => {}
        }
    }
    out
}

/// Keys of all sends.
pub fn sent(lines: &[Value]) -> BTreeSet<String> {
    keys(lines, "send")
}

/// Keys of all deliveries to `group`.
pub fn delivered(lines: &[Value], group: &str) -> BTreeSet<String> {
    let of_group: Vec<Value> = deliveries(lines).filter(|line| line["group"] == group).cloned().collect();
    keys(&of_group, "deliver")
}

/// The invocations of handlers.
pub fn deliveries(lines: &[Value]) -> impl Iterator<Item = &Value> {
    lines.iter().filter(|line| line["op"] == "deliver" && line["type"] == "invoke")
}

fn keys(lines: &[Value], op: &str) -> BTreeSet<String> {
    lines.iter().filter(|line| line["op"] == op && line["type"] == "invoke").map(|line| text(&line["key"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

//! Simpler values: numbers towards a small one, optional fields and list entries away.
//!
//! Invariant: edits work on the text form of the tape, so that a new field of any action shrinks without a line here; those
//! that would change what the cluster promises, or how long it has to keep it, are left alone by name.

use serde_json::Value;

use super::times::Shift;
use crate::tape::Tape;

/// Fields that say what is promised (a looser promise is another failure), who is who, or when.
const PROMISES: [&str; 22] = [
    "tape",
    "scenario",
    "seed",
    "plants",
    "about",
    "breaks",
    "name",
    "group",
    "flush",
    "order",
    "orderly",
    "model",
    "expect",
    "converge-ms",
    "safety-ms",
    "id",
    "at",
    "client",
    "topic",
    "key",
    "event",
    "do",
];
/// Fields whose absence means more, not less: for ever, everybody, both ways.
const MORE_WHEN_ABSENT: [&str; 6] = ["down-ms", "for-ms", "to", "oneway", "silent", "conditions"];
/// Lists of nodes are shrunk with the nodes.
const NODES: [&str; 4] = ["name-servers", "brokers", "producers", "consumers"];
/// Numbers that end at one.
const AT_LEAST_ONE: [&str; 5] = ["n", "batch", "queues", "min-us", "max-us"];
/// Numbers whose size means nothing.
const NAMES: [&str; 3] = ["code", "codes", "send-timeout-ms"];

/// One small change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit {
    /// A part of the text form becomes another value, or goes away. Line 0 is the header.
    Value { line: usize, pointer: String, to: Option<Value> },
    /// Times move.
    Times(Shift),
}

impl Edit {
    /// The tape after the change; as it was if that would be no tape.
    pub fn apply(&self, tape: &Tape) -> Tape {
        match self {
            Edit::Times(shift) => Some(shift.apply(tape)),
            Edit::Value { line: 0, pointer, to } => header(tape, pointer, to.as_ref()),
            Edit::Value { line, pointer, to } => action(tape, line - 1, pointer, to.as_ref()),
        }
        .unwrap_or_else(|| tape.clone())
    }
}

fn header(tape: &Tape, pointer: &str, to: Option<&Value>) -> Option<Tape> {
    let mut text = value(&bare(tape));
    change(&mut text, pointer, to);
    let header = Tape::parse(&text.to_string()).ok()?.header;
    let actions: String = tape.actions.iter().map(|action| action.to_line() + "\n").collect();
    // Every action must still fit: its nodes may be gone.
    Tape::parse(&format!("{}\n{actions}", Tape { header, actions: Vec::new() }.to_text().trim_end())).ok()
}

fn action(tape: &Tape, at: usize, pointer: &str, to: Option<&Value>) -> Option<Tape> {
    let mut text = value(&tape.actions.get(at)?.to_line());
    change(&mut text, pointer, to);
    let changed = Tape::parse(&format!("{}\n{text}", bare(tape))).ok()?.actions.pop()?;
    let mut tape = tape.clone();
    tape.actions[at] = changed;
    Some(tape)
}

/// The first line alone.
fn bare(tape: &Tape) -> String {
    Tape { header: tape.header.clone(), actions: Vec::new() }.to_text().trim_end().to_owned()
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).expect("a tape is written as JSON")
}

fn change(root: &mut Value, pointer: &str, to: Option<&Value>) {
    if let Some(to) = to {
        if let Some(value) = root.pointer_mut(pointer) {
            value.clone_from(to);
        }
        return;
    }
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    match root.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(list)) => drop(key.parse().map(|at: usize| list.remove(at))),
        _ => {}
    }
}

/// Every edit of this tape that makes it simpler and leaves it one that can be run.
pub(super) fn edits(tape: &Tape) -> Vec<Edit> {
    let lines: Vec<String> = tape.to_text().lines().map(String::from).collect();
    let mut all = Vec::new();
    for (line, text) in lines.iter().enumerate() {
        let mut here = Vec::new();
        let was = value(text);
        walk(&Place { line, pointer: String::new(), key: "", tape }, &was, &mut here);
        // A field that goes away takes its default, which may be more than it was.
        here.retain(|edit| {
            let now = edit.apply(tape);
            let now = if line == 0 { bare(&now) } else { now.actions[line - 1].to_line() };
            size(&value(&now), "") < size(&was, "")
        });
        all.append(&mut here);
    }
    all
}

/// How much a value says: the sum of its numbers, as far as they can shrink, then the length of its text.
fn size(value: &Value, key: &str) -> (u64, usize) {
    let number = match value {
        Value::Object(map) => map.iter().map(|(key, value)| size(value, key).0).sum(),
        Value::Array(list) => list.iter().map(|value| size(value, key).0).sum(),
        Value::Number(n) if is_free(key) => n.as_i64().map_or(0, |n| (n - least(key)).unsigned_abs()),
        _ => 0,
    };
    (number, value.to_string().len())
}

/// Whether a number with this name shrinks by itself.
fn is_free(key: &str) -> bool {
    !NAMES.contains(&key) && !PROMISES.contains(&key) && key != "from"
}

fn least(key: &str) -> i64 {
    i64::from(AT_LEAST_ONE.contains(&key))
}

struct Place<'a> {
    line: usize,
    pointer: String,
    key: &'a str,
    tape: &'a Tape,
}

impl Place<'_> {
    fn below<'b>(&'b self, key: &'b str, own: bool) -> Place<'b> {
        let pointer = format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"));
        Place { line: self.line, pointer, key: if own { key } else { self.key }, tape: self.tape }
    }
    fn edit(&self, to: Option<Value>) -> Edit {
        Edit::Value { line: self.line, pointer: self.pointer.clone(), to }
    }
    /// Whether a client still refers to this topic or group.
    fn in_use(&self) -> bool {
        let config = &self.tape.header.config;
        let name = self.pointer.rsplit('/').next().unwrap_or_default();
        match self.pointer.strip_prefix("/config/").and_then(|rest| rest.split_once('/')) {
            Some(("topics", rest)) if !rest.contains('/') => {
                let sent = |topic: &String| topic == name;
                self.tape
                    .actions
                    .iter()
                    .any(|a| matches!(&a.what, crate::tape::What::Send { topic, .. } if sent(topic)))
                    || config.consumers.iter().any(|c| c.topics.iter().any(sent))
            }
            Some(("groups", rest)) if !rest.contains('/') => config.consumers.iter().any(|c| c.group == name),
            _ => false,
        }
    }
}

fn walk(at: &Place<'_>, value: &Value, into: &mut Vec<Edit>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !PROMISES.contains(&key.as_str())) {
                let place = at.below(key, true);
                let fixed = MORE_WHEN_ABSENT.contains(&key.as_str()) || NODES.contains(&key.as_str());
                if !fixed && !place.in_use() {
                    into.push(place.edit(None));
                }
                walk(&place, value, into);
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate() {
                let number = n.to_string();
                let place = at.below(&number, false);
                let nodes = NODES.contains(&at.key) && at.pointer.matches('/').count() == 2;
                if list.len() > 1 && !nodes {
                    into.push(place.edit(None));
                }
                if value.is_object() {
                    walk(&place, value, into);
                }
            }
        }
        Value::Number(number) if is_free(at.key) => {
            let smaller = number.as_i64().map(|n| numbers(n, least(at.key)));
            into.extend(smaller.into_iter().flatten().map(|n| at.edit(Some(n.into()))));
        }
        _ => {}
    }
}

/// Numbers to try in place of this one: the least, then rounder ones and the half way, each nearer to the least.
pub(super) fn numbers(n: i64, least: i64) -> Vec<i64> {
    if (0..=least).contains(&n) {
        return Vec::new();
    }
    let digits = |keep: i64| {
        let mut unit = 1;
        while n.abs() / unit >= keep {
            unit *= 10;
        }
        n / unit * unit
    };
    let mut all = vec![least, digits(10), least + (n - least) / 2, digits(100)];
    all.retain(|m| (m - least).abs() < (n - least).abs() && (*m >= least || n < least));
    let mut seen = Vec::new();
    all.retain(|m| {
        !seen.contains(m) && {
            seen.push(*m);
            true
        }
    });
    all
}

//! What a run came to, as a text that a person can read and a snapshot test can keep.
//!
//! Invariant: the text depends on the history alone; it holds no wall time, path or hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::history::{HistoryError, Op, Queue, Reader};

/// How the groups of a history shared their queues over time: a line for each change of a member's share, and the shares at
/// the end. Times are in virtual seconds.
pub fn rebalances(history: &[String]) -> Result<String, HistoryError> {
    let text = history.join("\n");
    let (_, mut reader) = Reader::new(text.as_bytes())?;
    let mut owned: BTreeMap<(String, String), BTreeMap<String, Vec<Queue>>> = BTreeMap::new();
    let mut told = String::new();
    while let Some((_, record, _)) = reader.next()? {
        match record.op {
            Op::Assign { group, topic, mut queues } => {
                queues.sort();
                let members = owned.entry((group.clone(), topic.clone())).or_default();
                if members.get(&record.client).unwrap_or(&Vec::new()) != &queues {
                    let share = share(&queues);
                    writeln!(told, "{:>7.1} s  {} of {group}/{topic}: {share}", record.t / 1_000.0, record.client)
                        .expect("a string takes any text");
                    members.insert(record.client, queues);
                }
            }
            Op::Fault { kind, target, .. } => {
                writeln!(told, "{:>7.1} s  ({kind} {target})", record.t / 1_000.0).expect("a string takes any text");
                if matches!(kind.as_str(), "crash" | "kill" | "leave") {
                    owned.values_mut().for_each(|members| drop(members.remove(&target)));
                }
            }
            _ => {}
        }
    }
    for ((group, topic), members) in owned {
        writeln!(told, "at the end {group}/{topic}:").expect("a string takes any text");
        for (member, queues) in members.iter().filter(|(_, queues)| !queues.is_empty()) {
            writeln!(told, "  {member}: {}", share(queues)).expect("a string takes any text");
        }
    }
    Ok(told)
}

fn share(queues: &[Queue]) -> String {
    let names: Vec<String> = queues.iter().map(ToString::to_string).collect();
    if names.is_empty() { "nothing".into() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_the_end_are_told() {
        let lines = [
            r#"{"history":1}"#,
            r#"{"t":10,"client":"g-1","op":"assign","group":"g","topic":"T","queues":["a:1","a:0"]}"#,
            r#"{"t":2010,"client":"g-1","op":"assign","group":"g","topic":"T","queues":["a:0"]}"#,
            r#"{"t":2020,"client":"g-2","op":"assign","group":"g","topic":"T","queues":["a:1"]}"#,
            r#"{"t":2030,"client":"g-2","op":"assign","group":"g","topic":"T","queues":["a:1"]}"#,
            r#"{"t":3000,"op":"fault","kind":"crash","target":"g-2"}"#,
            r#"{"t":3100,"client":"g-1","op":"assign","group":"g","topic":"T","queues":["a:0","a:1"]}"#,
        ];
        let told = rebalances(&lines.map(String::from)).unwrap();
        insta::assert_snapshot!(told, @r"
            0.0 s  g-1 of g/T: a:0 a:1
            2.0 s  g-1 of g/T: a:0
            2.0 s  g-2 of g/T: a:1
            3.0 s  (crash g-2)
            3.1 s  g-1 of g/T: a:0 a:1
        at the end g/T:
          g-1: a:0 a:1
        ");
    }
}

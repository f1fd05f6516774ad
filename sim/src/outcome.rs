//! What a run came to, as texts that a person can read and a snapshot test can keep; for tests of other projects too
//! (`scenarios/example` is one).
//!
//! Invariant: the texts depend on the run alone; they hold no wall time, path or hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use seedmq_reports::{EndState, RunRecord};

use crate::history::{HistoryError, Op, Queue, Reader};

/// The program that runs scenarios. It is another build of this crate, and each run has a process of its own.
#[derive(Clone, Debug)]
pub enum Simulator {
    /// This program.
    Program(PathBuf),
    /// `cargo sim` in the checkout that this crate was built from; the first call builds it.
    Checkout(PathBuf),
}

impl Simulator {
    /// The program that `SEEDMQ_SIM` names, or else the checkout of this crate.
    pub fn find() -> Simulator {
        match std::env::var_os("SEEDMQ_SIM") {
            Some(program) => Simulator::Program(program.into()),
            None => Simulator::Checkout(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")),
        }
    }

    fn command(&self) -> Command {
        match self {
            Simulator::Program(program) => Command::new(program),
            Simulator::Checkout(folder) => {
                let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                command.arg("sim").current_dir(folder);
                // Flags of the caller would replace the one that makes it a simulator.
                command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
                command
            }
        }
    }

    /// Runs one seed of a scenario: the path of a `.toml` file, or the name of one that comes with the simulator. A run in which an
    /// oracle objects is an outcome too; an error is a text that says why there was no run.
    pub fn run(&self, scenario: &Path, seed: u64) -> Result<Outcome, String> {
        let scenario = if scenario.exists() { std::path::absolute(scenario) } else { Ok(scenario.to_owned()) };
        let scenario = scenario.map_err(|e| e.to_string())?;
        let scratch = Scratch::new()?;
        let (json, report) = (scratch.0.join("record.json"), scratch.0.join("report"));
        let mut command = self.command();
        command.arg("replay").arg(format!("{}:{seed}", scenario.display()));
        command.arg("--json").arg(&json).arg("--report").arg(report);
        let output = command.output().map_err(|e| format!("{command:?} cannot be started: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let text = std::fs::read_to_string(&json).map_err(|_| format!("{command:?} made no run: {}", said.trim()))?;
        let record = serde_json::from_str(&text).map_err(|e| format!("{command:?} is of another version: {e}"))?;
        Ok(Outcome { record })
    }
}

/// A folder that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, String> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let nth = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("seedmq-outcome-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it in the system's folder for such files harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it left behind: verdict, counts, faults that took effect, history.
    pub record: RunRecord,
}

impl Outcome {
    /// See [`rebalances`].
    pub fn rebalances(&self) -> String {
        rebalances(&self.record.history).unwrap_or_else(|error| error.to_string())
    }
    /// What each name server had at the end: topics, brokers, queues.
    pub fn routes(&self) -> String {
        self.ends(|end| &end.routes)
    }
    /// How far each broker was at the end: log, queues, committed offsets.
    pub fn watermarks(&self) -> String {
        self.ends(|end| &end.watermarks)
    }
    fn ends(&self, part: impl Fn(&EndState) -> &Vec<String>) -> String {
        let mut text = String::new();
        for (node, end) in self.record.ends.iter().filter(|(_, end)| !part(end).is_empty()) {
            writeln!(text, "{node}").expect("a string takes any text");
            part(end).iter().for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }
}

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

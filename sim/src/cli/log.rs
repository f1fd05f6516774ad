//! The text form of a run's canonical log, and where two of them part.
//!
//! Invariant: one event is one line, so that the number of a line is the number of its event, in every command.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Characters of an event that a terminal shows.
const SHOWN: usize = 400;

/// One event: its number from 1 and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// From 1.
    pub number: u64,
    line: String,
}

impl Event {
    fn part(&self, nth: usize) -> &str {
        self.line.splitn(4, ' ').nth(nth).unwrap_or("")
    }
    /// Virtual time in microseconds.
    pub fn us(&self) -> u64 {
        self.part(0).parse().unwrap_or(0)
    }
    /// The node's name.
    pub fn node(&self) -> &str {
        self.part(1)
    }
    /// `Input`, `Output`, `History`, `Fault`, `Disk` or `Final`.
    pub fn kind(&self) -> &str {
        self.part(2)
    }
    /// What happened.
    pub fn what(&self) -> &str {
        self.part(3)
    }
    /// A line for a person.
    pub fn text(&self) -> String {
        let (s, us, what) = (self.us() / 1_000_000, self.us() % 1_000_000, self.what());
        let end = what.char_indices().nth(SHOWN).map_or(what.len(), |(at, _)| at);
        let more = if end < what.len() { " …" } else { "" };
        format!("#{:<7} {s:>6}.{us:06} {:<10} {:<7} {}{more}", self.number, self.node(), self.kind(), &what[..end])
    }
}

/// The events of a log file.
pub fn events(path: &Path) -> std::io::Result<impl Iterator<Item = Event> + use<>> {
    let lines = BufReader::new(File::open(path)?).lines().map_while(Result::ok);
    Ok((1..).zip(lines).map(|(number, line)| Event { number, line }))
}

/// A directory for the logs of one command, gone when it is done.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    pub fn new(name: &str) -> std::io::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("sim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map(|()| Scratch(dir))
    }
    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Where two logs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The last events that both have.
    pub before: Vec<Event>,
    /// The first events that differ and what follows them, of both; one side is empty when its log is over.
    pub then: [Vec<Event>; 2],
    /// The last input that the differing node had taken, in both.
    pub input: [Option<Event>; 2],
    /// The last fault before, which both have.
    pub fault: Option<Event>,
}

/// Finds the first event that differs, with so many events before and after it.
pub fn difference(a: &Path, b: &Path, context: usize) -> std::io::Result<Option<Difference>> {
    let (mut a, mut b) = (events(a)?, events(b)?);
    let mut before: VecDeque<Event> = VecDeque::new();
    let mut inputs: BTreeMap<String, Event> = BTreeMap::new();
    let mut fault = None;
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ok(None),
            (Some(x), Some(y)) if x == y => {
                match x.kind() {
                    "Input" => drop(inputs.insert(x.node().to_owned(), x.clone())),
                    "Fault" => fault = Some(x.clone()),
                    _ => {}
                }
                before.push_back(x);
                while before.len() > context {
                    before.pop_front();
                }
            }
            (x, y) => {
                let last = |event: &Option<Event>| inputs.get(event.as_ref()?.node()).cloned();
                let input = [last(&x), last(&y)];
                let then =
                    [x.into_iter().chain(a.take(context)).collect(), y.into_iter().chain(b.take(context)).collect()];
                return Ok(Some(Difference { before: before.into(), then, input, fault }));
            }
        }
    }
}

impl Difference {
    /// The first event that differs: the earlier one of both.
    pub fn first(&self) -> &Event {
        let firsts = self.then.iter().filter_map(|side| side.first());
        firsts.min_by_key(|event| event.us()).expect("one side goes on, or nothing would differ")
    }

    /// In words; `names` are what both sides are called.
    pub fn text(&self, names: [&str; 2]) -> String {
        let first = self.first();
        let (number, node, us) = (first.number, first.node(), first.us());
        let mut text = format!(
            "the first event that differs is number {number}, at {node}, at {}.{:06} s\n",
            us / 1_000_000,
            us % 1_000_000
        );
        self.before.iter().for_each(|event| text += &format!("    {}\n", event.text()));
        for (name, side) in names.iter().zip(&self.then) {
            text += &format!("  {name}:\n");
            match side.as_slice() {
                [] => text += "    (its log is over)\n",
                [first, rest @ ..] => {
                    text += &format!("  > {}\n", first.text());
                    rest.iter().for_each(|event| text += &format!("    {}\n", event.text()));
                }
            }
        }
        text + &self.cause(names)
    }

    fn cause(&self, names: [&str; 2]) -> String {
        let mut text = String::new();
        for ((name, input), side) in names.iter().zip(&self.input).zip(&self.then) {
            let Some(first) = side.first() else { continue };
            if first.kind() == "Input" {
                text += &format!("cause ({name}): {} reached {}\n", origin(first.what()), first.node());
            } else if let Some(input) = input {
                text += &format!("cause ({name}): {} had last taken\n    {}\n", first.node(), input.text());
            } else {
                text += &format!("cause ({name}): {} had not taken any input\n", first.node());
            }
        }
        if let Some(fault) = &self.fault {
            text += &format!("the last fault before:\n    {}\n", fault.text());
        }
        text
    }
}

/// Where an input comes from, by the name of its kind.
fn origin(input: &str) -> &'static str {
    let kind = input.split_once(" }, ").map_or(input, |(_, kind)| kind);
    match kind.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("") {
        "Frame" => "a frame from the network",
        "Command" => "a command, from the tape or from whoever owns the node,",
        "Wake" => "the timer that it had set",
        "Disk" => "an answer of its disk",
        "Opened" | "Closed" | "DialFailed" => "news of a connection",
        "Start" => "its start",
        "Stop" => "the request to stop",
        _ => "this input",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(a: &str, b: &str) -> Option<Difference> {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        difference(&write("a", a), &write("b", b), 2).unwrap()
    }

    const A: &str = "1 p Input Start\n2000001 b Fault (\"kill\", \"b\")\n2000002 p Input Wake\n2000003 b Input x\n2000004 p Output y\n9000000 p Output z\n";

    #[test]
    fn equal_logs_have_no_difference() {
        assert_eq!(logs(A, A), None);
    }

    #[test]
    fn the_first_difference_is_told_with_node_time_and_cause() {
        let found = logs(A, &A.replace("p Output y", "p Output w")).unwrap();
        assert_eq!((found.first().number, found.first().node(), found.first().us()), (5, "p", 2_000_004));
        assert_eq!(found.before.len(), 2);
        let told = found.text(["one", "two"]);
        assert!(told.starts_with("the first event that differs is number 5, at p, at 2.000004 s\n"), "{told}");
        assert!(told.contains("cause (two): p had last taken\n    #3 "), "{told}");
        assert!(told.contains("the last fault before:\n    #2 "), "{told}");
    }

    #[test]
    fn a_log_that_ends_early_differs_too() {
        let found = logs(A, A.split_inclusive('\n').take(4).collect::<String>().as_str()).unwrap();
        assert_eq!(found.first().number, 5);
        assert!(found.text(["one", "two"]).contains("two:\n    (its log is over)"));
    }

    #[test]
    fn an_input_that_only_one_has_came_from_outside() {
        let told = logs(A, &A.replace("p Input Wake", "p Input Wave")).unwrap().text(["one", "two"]);
        assert!(told.contains("cause (one): the timer that it had set reached p"), "{told}");
    }
}

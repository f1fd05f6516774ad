//! `replay --step`: the events of a run one by one, as a person asks for them.
//!
//! Invariant: the run is over before the first event is shown; stepping reads its log, so it cannot change it.

use std::io::{BufRead, Write};

use super::log::Event;

const HELP: &str =
    "Enter: next event; a number: so many; /TEXT: up to an event with this text; s NODE: its state here; q: end";

/// Shows events as `commands` ask for them. `state` gives the inside of a node after an event.
pub fn step(
    events: impl Iterator<Item = Event>,
    mut commands: impl BufRead,
    mut out: impl Write,
    state: impl Fn(u64, &str) -> Vec<String>,
) -> std::io::Result<()> {
    let mut events = events.peekable();
    let mut at = 0;
    writeln!(out, "{HELP}")?;
    while events.peek().is_some() {
        write!(out, "> ")?;
        out.flush()?;
        let mut command = String::new();
        if commands.read_line(&mut command)? == 0 {
            return Ok(());
        }
        let (mut left, mut text) = (1, None);
        match command.trim() {
            "" => {}
            "q" => return Ok(()),
            command => match (command.strip_prefix('/'), command.strip_prefix("s "), command.parse()) {
                (Some(wanted), _, _) => (left, text) = (u64::MAX, Some(wanted.to_owned())),
                (_, Some(node), _) => {
                    left = 0;
                    state(at, node.trim()).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
                }
                (_, _, Ok(number)) => left = number,
                _ => {
                    left = 0;
                    writeln!(out, "{HELP}")?;
                }
            },
        }
        for event in events.by_ref().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            at = event.number;
            let hit = text.as_ref().is_none_or(|text| event.text().contains(text));
            if hit {
                writeln!(out, "{}", event.text())?;
            }
            if hit && text.is_some() {
                break;
            }
        }
    }
    writeln!(out, "the run is over")
}

#[cfg(test)]
mod tests {
    use super::super::log;
    use super::*;

    fn session(commands: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "1 p Input a\n2 b Output b\n3 p Input c\n4 b Fault d\n").unwrap();
        let mut out = Vec::new();
        let state = |event: u64, node: &str| vec![format!("{node} after {event}")];
        step(log::events(&path).unwrap(), commands.as_bytes(), &mut out, state).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn numbers(commands: &str) -> Vec<String> {
        session(commands).split('#').skip(1).map(|t| t.split(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn enter_is_one_event_a_number_so_many() {
        assert_eq!(numbers("\n"), ["1"]);
        assert_eq!(numbers("\n2\n"), ["1", "2", "3"]);
        assert_eq!(numbers("9\n\n"), ["1", "2", "3", "4"]);
        assert!(session("9\n").ends_with("the run is over\n"));
        assert_eq!(numbers("1\nq\n\n"), ["1"]);
    }

    #[test]
    fn a_text_is_searched_for() {
        assert_eq!(numbers("/Fault\n"), ["4"]);
        assert_eq!(numbers("/Input\n/Input\n"), ["1", "3"]);
    }

    #[test]
    fn the_state_is_that_after_the_last_event_shown() {
        assert!(session("2\ns broker-a\n").contains("  broker-a after 2\n"));
        assert!(session("what\n").matches("Enter: next").count() == 2);
    }
}

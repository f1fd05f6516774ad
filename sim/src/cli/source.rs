//! Where a tape comes from: `SCENARIO:SEED`, the path of a tape, or the name of a kept one (`bugs/NAME`).
//!
//! Invariant: whatever a command takes as a run, it takes in all of these forms, and says the same when it cannot.

use std::fs;
use std::path::{Path, PathBuf};

use seedmq_sim::generate::generate;
use seedmq_sim::tape::Tape;
use seedmq_sim::{plants, scenario};

/// The tape behind what a person wrote, with further plants.
pub fn tape(what: &str, with: &[String]) -> Result<Tape, String> {
    known_plants(with)?;
    let kept = bug(what);
    if let Some(path) = kept.as_deref().or(Some(Path::new(what)).filter(|path| is_tape(path))) {
        let mut tape = read(path)?;
        let new = with.iter().filter(|plant| !tape.header.plants.contains(plant)).cloned().collect::<Vec<_>>();
        tape.header.plants.extend(new);
        return Ok(tape);
    }
    let expected = || format!("SCENARIO:SEED, the path of a tape or bugs/NAME is expected, found \"{what}\"");
    let (name, seed) = what.rsplit_once(':').ok_or_else(expected)?;
    let seed = seed.parse().map_err(|_| expected())?;
    Ok(generate(&scenario::find(name).map_err(|e| e.to_string())?, seed, with))
}

/// Refuses a plant that does not exist.
pub fn known_plants(names: &[String]) -> Result<(), String> {
    match names.iter().find(|name| plants::find(name).is_none()) {
        Some(name) => Err(format!("a plant is expected (see `list`), found \"{name}\"")),
        None => Ok(()),
    }
}

/// Reads a tape; an error begins with the path.
pub fn read(path: &Path) -> Result<Tape, String> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
    Tape::parse_bytes(&bytes).map_err(|e| format!("{shown}: {e}"))
}

/// The kept tapes, by name.
pub fn bugs() -> Vec<PathBuf> {
    let entries = fs::read_dir(scenario::directory().join("bugs")).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|x| x == "tape")).collect();
    all.sort();
    all
}

fn bug(name: &str) -> Option<PathBuf> {
    let name = name.strip_prefix("bugs/")?;
    Some(scenario::directory().join("bugs").join(format!("{name}.tape"))).filter(|path| path.is_file())
}

fn is_tape(path: &Path) -> bool {
    path.is_file() && path.extension().is_none_or(|x| x != "toml")
}

/// How a tape is called on a command line: as it was written, with the plants that it does not hold itself.
pub fn handle(what: &str, with: &[String]) -> String {
    with.iter().fold(what.to_owned(), |text, plant| format!("{text} --plant {plant}"))
}

/// A file name for a tape.
pub fn file_name(tape: &Tape) -> String {
    let name = format!("{}-{}", tape.header.scenario.replace('/', "-"), tape.header.seed);
    tape.header.plants.iter().fold(name, |name, plant| format!("{name}-{plant}"))
}

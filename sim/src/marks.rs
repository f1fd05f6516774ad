//! The names of marks and plants as they stand in the source of the core.
//!
//! Invariant: the catalogue is the source itself, so that a mark that was never reached cannot be forgotten.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|x| x == "rs") {
            into.push(path);
        }
    }
}

/// The names in all calls of a macro (`sometimes`, `planted`, `buggify`) in the core, doc comments aside; none where the
/// source is not at hand.
pub fn named_in_source(mark: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src"), &mut files);
    let call = format!("{mark}!(");
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|f| !f.ends_with("marks.rs")) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
        let calls = code.split(&call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
        names.extend(calls.filter_map(|rest| rest.split('"').next()).map(String::from));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plants::PLANTS;

    #[test]
    fn every_plant_of_the_core_is_in_the_catalogue() {
        let known: BTreeSet<String> = PLANTS.iter().map(|p| p.name.to_string()).collect();
        let missing: Vec<String> = named_in_source("planted").difference(&known).cloned().collect();
        assert_eq!(missing, [] as [&str; 0], "planted! in core/src, but not in sim/src/plants.rs");
    }

    #[test]
    fn every_plant_names_scenarios_that_exist() {
        for plant in PLANTS {
            assert!(!plant.oracles.is_empty() && !plant.scenarios.is_empty());
            plant.scenarios.iter().for_each(|name| drop(crate::scenario::find(name).unwrap()));
        }
    }
}

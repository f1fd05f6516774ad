//! The names of marks and plants as they stand in the source of core and driver.
//!
//! Invariant: the catalogue is the source itself (`build.rs` reads it), so that a mark that was never reached cannot be forgotten,
//! also where the source is not at hand.

use std::collections::BTreeSet;

/// A macro and a name in a line.
const NAMED: &str = include_str!(concat!(env!("OUT_DIR"), "/marks.txt"));

/// The names in all calls of a macro (`sometimes`, `planted`, `buggify`) in core and driver, doc comments aside.
pub fn named_in_source(mark: &str) -> BTreeSet<String> {
    let pairs = NAMED.lines().filter_map(|line| line.split_once(' '));
    pairs.filter(|(of, _)| *of == mark).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plants::{PLANTS, SHOW_WITHOUT_FAULTS};

    #[test]
    fn every_plant_of_the_core_is_in_the_catalogue() {
        let known: BTreeSet<String> = PLANTS.iter().map(|p| p.name.to_string()).collect();
        let missing: Vec<String> = named_in_source("planted").difference(&known).cloned().collect();
        assert_eq!(missing, [] as [&str; 0], "planted! in the source, but not in sim/src/plants.rs");
    }

    #[test]
    fn what_shows_without_faults_is_a_plant() {
        let known = |name: &&str| PLANTS.iter().any(|plant| plant.name == *name);
        assert!(SHOW_WITHOUT_FAULTS.iter().all(known), "a name in SHOW_WITHOUT_FAULTS is not in PLANTS");
    }

    #[test]
    fn every_plant_names_scenarios_that_exist() {
        for plant in PLANTS {
            assert!(!plant.oracles.is_empty() && !plant.scenarios.is_empty());
            for name in plant.scenarios {
                let tape = crate::scenario::directory().join(format!("{name}.tape"));
                assert!(tape.is_file() || crate::scenario::find(name).is_ok(), "{name}");
            }
        }
    }
}

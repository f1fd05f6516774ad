//! What the marks of the core ask: plants, rare states, legal deviations.
//!
//! Invariant: what a site draws depends on the tape's seed, on its name and on how often it was passed in this run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use seedmq_core::marks::{self, Context};
use seedmq_reports::PlantTrace;

use crate::dice::{Dice, entity};
use crate::tape::Tape;

#[derive(Debug)]
struct Site {
    /// Whether this run uses the site at all.
    on: bool,
    /// How often it then fires, in a million.
    ppm: u32,
    dice: Dice,
}

#[derive(Debug, Default)]
struct Marks {
    seed: u64,
    permille: u32,
    planted: BTreeSet<String>,
    plants: BTreeMap<&'static str, PlantTrace>,
    reached: BTreeMap<&'static str, u64>,
    sites: BTreeMap<&'static str, Site>,
}

/// The marks of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimMarks(Arc<Mutex<Marks>>);

impl SimMarks {
    /// Installs the marks for a run of `tape` (once per process) and sets them to its start.
    pub fn install(tape: &Tape) -> SimMarks {
        static INSTALLED: OnceLock<SimMarks> = OnceLock::new();
        let marks = INSTALLED.get_or_init(|| {
            let marks = SimMarks::default();
            marks::install(Box::new(marks.clone()));
            marks
        });
        *marks.lock() = Marks {
            seed: tape.header.seed,
            permille: tape.header.config.buggify_permille,
            planted: tape.header.plants.iter().cloned().collect(),
            ..Marks::default()
        };
        marks.clone()
    }
    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().expect("no task panics while it holds the marks")
    }
    /// Rare states that were reached, with counts.
    pub fn reached(&self) -> BTreeMap<String, u64> {
        self.lock().reached.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }
    /// Plants that were passed.
    pub fn plants(&self) -> BTreeMap<String, PlantTrace> {
        self.lock().plants.iter().map(|(name, trace)| ((*name).to_owned(), *trace)).collect()
    }
}

impl Context for SimMarks {
    fn planted(&self, name: &'static str) -> bool {
        let mut marks = self.lock();
        let on = marks.planted.contains(name);
        let trace = marks.plants.entry(name).or_default();
        trace.reached += 1;
        trace.taken += u64::from(on);
        on
    }
    fn sometimes(&self, name: &'static str) {
        *self.lock().reached.entry(name).or_default() += 1;
    }
    fn buggify(&self, site: &'static str) -> bool {
        let mut marks = self.lock();
        let (seed, permille) = (marks.seed, marks.permille);
        if permille == 0 {
            return false;
        }
        let site = marks.sites.entry(site).or_insert_with(|| {
            let mut dice = Dice::new(seed, entity(site, &[0xb0]));
            Site { on: dice.chance(permille * 1000), ppm: dice.between(1_000, 250_000) as u32, dice }
        });
        site.on && site.dice.chance(site.ppm)
    }
}

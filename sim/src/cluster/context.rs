//! What the marks of the core ask: plants, rare states, legal deviations.
//!
//! Invariant: what a site draws depends on the tape's seed, on its name and on how often it was passed in this run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use seedmq_core::marks::{self, Context, Place};
use seedmq_reports::PlantTrace;

use crate::dice::{Dice, entity};
use crate::tape::Tape;

/// Names of marks for which there is room; the core has a third of it.
const NAMES_MAX: usize = 512;

#[derive(Debug)]
struct Site {
    /// Whether this run uses the site at all.
    on: bool,
    /// How often it then fires, in a million.
    ppm: u32,
    dice: Dice,
}

/// What is counted of one name. One thread counts: atomic only so that every thread may ask.
#[derive(Debug, Default)]
struct Count {
    /// It is a plant, and switched on.
    on: AtomicBool,
    passed: AtomicU64,
}

impl Count {
    fn pass(&self) {
        self.passed.store(self.passed.load(Relaxed) + 1, Relaxed);
    }
}

#[derive(Debug, Default)]
struct Marks {
    seed: u64,
    permille: u32,
    planted: BTreeSet<String>,
    /// The kinds and names that were passed, with the numbers of their counts. Numbers stay when the tape changes.
    numbers: BTreeMap<(Mark, &'static str), u32>,
    sites: BTreeMap<&'static str, Site>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Plant,
    Sometimes,
}

/// The marks of this process.
#[derive(Clone, Debug)]
pub(crate) struct SimMarks(Arc<(Mutex<Marks>, Vec<Count>)>);

impl Default for SimMarks {
    fn default() -> Self {
        SimMarks(Arc::new((Mutex::default(), (0..NAMES_MAX).map(|_| Count::default()).collect())))
    }
}

impl SimMarks {
    /// Installs the marks for a run of `tape` (once per process) and sets them to its start.
    pub fn install(tape: &Tape) -> SimMarks {
        static INSTALLED: OnceLock<SimMarks> = OnceLock::new();
        let marks = INSTALLED.get_or_init(|| {
            let marks = SimMarks::default();
            marks::install(Box::new(marks.clone()));
            marks
        });
        let mut state = marks.lock();
        let numbers = std::mem::take(&mut state.numbers);
        *state = Marks {
            seed: tape.header.seed,
            permille: tape.header.config.buggify_permille,
            planted: tape.header.plants.iter().cloned().collect(),
            numbers,
            ..Marks::default()
        };
        for ((mark, name), number) in &state.numbers {
            let count = &marks.0.1[*number as usize];
            count.on.store(*mark == Mark::Plant && state.planted.contains(*name), Relaxed);
            count.passed.store(0, Relaxed);
        }
        drop(state);
        marks.clone()
    }
    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.0.0.lock().expect("no task panics while it holds the marks")
    }
    /// The count of the name of a place, which gets its number when it is passed for the first time.
    fn count(&self, mark: Mark, place: &Place) -> &Count {
        let mut number = place.number.load(Relaxed);
        if number == 0 {
            let mut state = self.lock();
            let next = u32::try_from(state.numbers.len()).expect("few names") + 1;
            number = *state.numbers.entry((mark, place.name)).or_insert(next);
            let is_on = mark == Mark::Plant && state.planted.contains(place.name);
            self.0.1[number as usize].on.store(is_on, Relaxed);
            place.number.store(number, Relaxed);
        }
        &self.0.1[number as usize]
    }
    fn passed(&self, mark: Mark) -> Vec<(String, u64, bool)> {
        let state = self.lock();
        let counts = state.numbers.iter().filter(|((of, _), _)| *of == mark).map(|((_, name), number)| {
            let count = &self.0.1[*number as usize];
            ((*name).to_owned(), count.passed.load(Relaxed), count.on.load(Relaxed))
        });
        counts.filter(|(_, passed, _)| *passed > 0).collect()
    }
    /// Rare states that were reached, with counts.
    pub fn reached(&self) -> BTreeMap<String, u64> {
        self.passed(Mark::Sometimes).into_iter().map(|(name, passed, _)| (name, passed)).collect()
    }
    /// Plants that were passed.
    pub fn plants(&self) -> BTreeMap<String, PlantTrace> {
        let trace = |passed, on| PlantTrace { reached: passed, taken: if on { passed } else { 0 } };
        self.passed(Mark::Plant).into_iter().map(|(name, passed, on)| (name, trace(passed, on))).collect()
    }
}

impl Context for SimMarks {
    fn planted(&self, place: &Place) -> bool {
        let count = self.count(Mark::Plant, place);
        count.pass();
        count.on.load(Relaxed)
    }
    fn sometimes(&self, place: &Place) {
        self.count(Mark::Sometimes, place).pass();
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

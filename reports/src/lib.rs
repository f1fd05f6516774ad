//! Turns the records of simulated runs into a terminal table, JSON, JUnit and a self-contained HTML page.
//!
//! Invariant: every report is a function of [`RunRecord`]s alone, so that a red run looks the same wherever it ran.

mod record;
mod timeline;

pub use record::{Oracle, PlantTrace, RunRecord, Verdict, Violation};
pub use timeline::{Event, Lane, Timeline, What};

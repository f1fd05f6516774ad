//! Turns the records of simulated runs into a terminal table, JSON, JUnit and a self-contained HTML page.
//!
//! Invariant: every report is a function of [`RunRecord`]s alone, so that a red run looks the same wherever it ran.

mod campaign;
mod html;
mod junit;
mod record;
mod shrunk;
mod table;
mod timeline;

pub use campaign::{Campaign, Found};
pub use html::html;
pub use junit::junit;
pub use record::{EndState, Oracle, PlantTrace, RunRecord, Verdict, Violation};
pub use shrunk::{ShrinkPhase, Shrunk, shrunk_table};
pub use table::{hunt_table, table};
pub use timeline::{Curve, Event, Lane, Mark, Timeline, What};

/// The list of records that `run --json` writes: without histories and pictures.
pub fn json(records: &[RunRecord]) -> String {
    let brief: Vec<RunRecord> = records.iter().map(RunRecord::brief).collect();
    serde_json::to_string_pretty(&brief).expect("records have only string keys") + "\n"
}

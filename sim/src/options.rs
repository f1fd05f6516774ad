//! What the person who starts a run may ask of it beside its tape.
//!
//! Invariant: no option changes what happens in the run, only what is written down about it and when it ends. The one exception,
//! [`RunOptions::extra_draws`], stands for a change of the code that draws more random numbers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Options of one run: `sim::cluster::run(&tape, &options)`. A worker process gets them as one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// Fill [`seedmq_reports::RunRecord::timeline`].
    pub timeline: bool,
    /// Write every hashed event as a line `MICROSECONDS NODE KIND WHAT` here, in order. Two runs of one tape are compared by it.
    pub log: Option<PathBuf>,
    /// End the run at this virtual time, in milliseconds; nothing then counts as not converged or lost.
    pub until_ms: Option<u64>,
    /// End the run once so many events were recorded, and then as with `until_ms`.
    pub until_event: Option<u64>,
    /// Fill [`seedmq_reports::RunRecord::state`] with the inside of this node as it was at the end, or when its process died.
    pub state: Option<String>,
    /// Seed of the executor, which must not matter; drawn from the tape's seed when absent.
    pub executor: Option<u64>,
    /// Every process draws so many random numbers at its start and throws them away.
    pub extra_draws: u32,
    /// Leave history and marks out of the record.
    pub brief: bool,
}

impl RunOptions {
    /// Whether the run may end before it is over.
    pub fn cut(&self) -> bool {
        self.until_ms.is_some() || self.until_event.is_some()
    }
}

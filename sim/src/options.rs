//! What the person who starts a run may ask of it beside its tape.
//!
//! Invariant: no option changes what happens in the run, only what is written down about it and when it ends.

use std::path::PathBuf;

/// Options of one run: `sim::cluster::run(&tape, &options)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Fill [`seedmq_reports::RunRecord::timeline`].
    pub timeline: bool,
    /// Write every hashed event as a line `MILLISECONDS HOST WHAT` here, in order; hosts are numbered as the tape names them. Two runs of one tape are compared by it.
    pub log: Option<PathBuf>,
    /// End the run at this virtual time, in milliseconds; nothing then counts as not converged or lost.
    pub until_ms: Option<u64>,
}

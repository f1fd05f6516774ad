//! The seeded simulator of SeedMQ: world, faults, workloads, oracles, tapes.
//!
//! Invariant: tapes, histories and their checkers compile without `--cfg madsim`; only what runs a cluster needs it.

pub mod check;
pub mod history;
pub mod tape;
pub mod workload;

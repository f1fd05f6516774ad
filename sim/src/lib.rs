//! The seeded simulator of SeedMQ: world, faults, workloads, oracles, tapes.
//!
//! Invariant: tapes, histories and their checkers compile without `--cfg madsim`; only what runs a cluster needs it.

pub mod check;
pub mod dice;
pub mod explain;
pub mod generate;
pub mod history;
pub mod marks;
pub mod options;
pub mod outcome;
pub mod plants;
pub mod scenario;
pub mod shrink;
pub mod tape;
pub mod verdict;
pub mod whitebox;
pub mod workload;

#[cfg(madsim)]
pub mod clients;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod disk;
#[cfg(madsim)]
pub mod net;
#[cfg(madsim)]
pub mod tap;
#[cfg(madsim)]
pub mod world;

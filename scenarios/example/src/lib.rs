//! An example of a project that uses SeedMQ and keeps what its scenarios come to as snapshots. There is nothing in this library:
//! `payments.toml` is the scenario, `tests/outcome.rs` has the snapshots.
//!
//! Invariant: it uses only what a crate outside of this workspace can use, `seedmq-sim` and insta.

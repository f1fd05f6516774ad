//! What the tests of the outside world share: real processes, real clients, raw frames, load, histories.
//!
//! Invariant: nothing here uses the codec, the store or the client of SeedMQ, so that a mistake there cannot hide itself;
//! every process and connection stays on the loopback interface and ends with the value that started it.

pub mod cargo;
pub mod client;
pub mod figures;
pub mod history;
pub mod judged;
pub mod load;
pub mod mutants;
pub mod process;
pub mod raw;
pub mod scenes;
pub mod server;
pub mod swap;
pub mod tools;
pub mod torture;

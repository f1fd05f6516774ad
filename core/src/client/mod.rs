//! What every machine that asks others for something shares: outgoing calls, routes, the choice of a name server, heartbeats.
//!
//! Invariant: nothing here knows what a caller wants with an answer; a caller's own tag comes back with each outcome.

pub mod calls;
mod queue;

pub use calls::{CallError, Calls};
pub use queue::Queue;

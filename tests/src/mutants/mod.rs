//! Small random changes of the core's logic, and whether a campaign of the simulator notices them.
//!
//! Invariant: a change counts as caught only by a run that is green without it.

pub mod campaign;
pub mod draw;
pub mod outcome;
pub mod patch;
pub mod tree;

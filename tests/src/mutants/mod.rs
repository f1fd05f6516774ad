//! Small random changes of the core's logic, and whether a campaign of the simulator notices them.
//!
//! Building takes longer than running. So changes are written into one program, each behind a switch (`schema`); what cannot be
//! written so has a build of its own.
//!
//! Invariant: a change counts as caught only by a run that is green without it.

pub mod campaign;
pub mod draw;
pub mod outcome;
pub mod patch;
pub mod schema;
pub mod tree;

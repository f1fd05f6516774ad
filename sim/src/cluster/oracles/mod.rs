//! Oracles that look at a cluster while it runs: at what nodes are handed and answer, and at what is inside them.
//!
//! Invariant: while clients run they only look and ask; what they find is told to the scene (`Scene::broken`).

pub(super) mod drained;
pub(super) mod full;
pub(super) mod needless;
pub(super) mod questions;
pub(super) mod recovery;
pub(super) mod route;
pub(super) mod settle;
pub(super) mod shown;
pub(super) mod stale;
pub(super) mod stores;
pub(super) mod topics;

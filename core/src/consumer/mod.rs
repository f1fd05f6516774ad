//! The push consumer: shares the queues of its topics with the other members of its group, pulls, delivers, commits.
//!
//! Invariant: an offset is committed only when everything below it was consumed.

pub mod allocate;

//! The people behind the clients: they turn actions of the tape into commands, and events into history.
//!
//! Invariant: every invocation is in the history before its command is given; an outcome refers to an invocation of the same
//! life of the client.

mod consumer;
mod producer;

pub(crate) use consumer::{ConsumerAgent, Fate, Running, Stuck, fate};
pub(crate) use producer::{Ended, ProducerAgent};

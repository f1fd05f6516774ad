//! The pure machines of SeedMQ.
//!
//! Every role of a RocketMQ cluster is a [`node::Node`]: it takes an input, changes its state and writes outputs, and
//! does nothing else. Invariant: nothing in this crate reads a clock, draws randomness of its own, opens a file or a
//! socket, or starts a thread; a recorded list of inputs replays a machine exactly.

pub mod broker;
mod checked;
pub mod client;
pub mod consumer;
pub mod marks;
pub mod message;
pub mod meter;
pub mod namesrv;
pub mod node;
pub mod producer;
pub mod store;
pub mod wire;

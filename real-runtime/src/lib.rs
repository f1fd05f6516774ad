//! SeedMQ as real processes: the driver, the network, the disk, configuration and the client API.

#[cfg(not(madsim))]
pub mod config;
pub mod driver;
#[cfg(not(madsim))]
pub mod real;
#[cfg(not(madsim))]
pub mod roles;
#[cfg(not(madsim))]
mod sdk;

#[cfg(not(madsim))]
pub use config::AddressServer;
#[cfg(not(madsim))]
pub use roles::StartError;
#[cfg(not(madsim))]
pub use sdk::{ClientError, Delivery, Producer, ProducerBuilder, PushConsumer, PushConsumerBuilder, Standalone};
pub use seedmq_core::client::Queue;
/// A message that was received.
pub use seedmq_core::consumer::Message as Received;
pub use seedmq_core::consumer::Outcome;
/// A message to be sent.
pub use seedmq_core::producer::OutMessage as Message;
pub use seedmq_core::producer::{Receipt, SendError, SendErrorKind, SendStatus, Stored};

/// What README.md shows of the client API compiles.
#[cfg(all(doctest, not(madsim)))]
#[doc = include_str!("../../README.md")]
struct Readme;

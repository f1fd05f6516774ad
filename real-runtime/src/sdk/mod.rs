//! The client API: the core's producer and consumer machines behind async calls.
//!
//! Invariant: every call of a user's ends with exactly one outcome, also when the client is shut down meanwhile.

mod consumer;
mod hosted;
mod producer;
mod standalone;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use seedmq_core::client::Identity;

pub use consumer::{Delivery, PushConsumer, PushConsumerBuilder};
pub use producer::{Producer, ProducerBuilder};
pub use standalone::Standalone;

use crate::config::AddressServer;
use crate::config::broker::own_ip;
use crate::config::name_servers::{ENV, NameServers, Said};

/// Why a client did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody said where the name servers are.
    #[error(
        "no name server is known: call `name_servers` or `address_server`, or set the environment variable NAMESRV_ADDR to host:port;host:port"
    )]
    NoNameServer,
    /// A group, topic or subscription is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The client was shut down.
    #[error("the client was shut down")]
    Stopped,
}

/// What a builder was told about name servers.
#[derive(Clone, Debug, Default)]
struct Told {
    addrs: Option<String>,
    endpoint: Option<AddressServer>,
}

impl Told {
    fn take(&mut self, found: NameServers) {
        match found {
            NameServers::Known(addrs) => self.addrs = Some(addrs.join(";")),
            NameServers::Ask(server) => self.endpoint = Some(server),
            NameServers::Unknown => {}
        }
    }

    /// The first way that says something: the list, the environment, the endpoint.
    fn choose(self) -> Result<NameServers, ClientError> {
        let environment = std::env::var(ENV).ok();
        let said = Said {
            flag: self.addrs.as_deref(),
            environment: environment.as_deref(),
            endpoint: self.endpoint,
            ..Said::default()
        };
        match said.choose() {
            NameServers::Unknown => Err(ClientError::NoNameServer),
            found => Ok(found),
        }
    }
}

/// An identity that no other client of this machine has.
fn identity() -> Identity {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // Process numbers have at most 22 bits on Linux.
    Identity { ip: own_ip(), process: pid ^ (number << 22), instance: format!("{pid}#{nanos}{number}") }
}

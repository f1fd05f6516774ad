//! Who a client is: its id at brokers, and the stamp in the ids of its messages.
//!
//! Invariant: two clients that run at the same time have different ids; in tests and in the simulator ids are given, nothing
//! is read from the machine.

use std::net::{IpAddr, Ipv4Addr};

/// Identity of one client of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Address that brokers and people know this machine by.
    pub ip: IpAddr,
    /// Tells producers at this address apart: it is part of the ids of their messages. A process with several producers
    /// gives each its own.
    pub process: u32,
    /// What comes behind `ip@` in the client id. Must differ between clients of one group at one address.
    pub instance: String,
}

impl Identity {
    /// Java `ClientConfig.buildMQClientId`.
    pub fn client_id(&self) -> String {
        format!("{}@{}", self.ip, self.instance)
    }
}

impl Default for Identity {
    /// An identity for tests; a process sets its own.
    fn default() -> Self {
        Identity { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), process: 1, instance: "1#1".into() }
    }
}

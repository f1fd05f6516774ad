//! Who there is: hosts, roles, addresses.
//!
//! Invariant: the numbers of hosts follow the order of the tape's header, so that taking an action away moves nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use seedmq_core::node::Addr;

use crate::tape::Config;
use crate::world::{HostId, World};

/// What runs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    NameServer,
    /// By its index in the configuration.
    Broker(usize),
    Producer(usize),
    Consumer(usize),
    Admin,
}

impl Role {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::NameServer => "name-server",
            Role::Broker(_) => "broker",
            Role::Producer(_) => "producer",
            Role::Consumer(_) => "consumer",
            Role::Admin => "admin",
        }
    }
}

/// Port of name servers.
pub(crate) const NAME_SERVER_PORT: u16 = 9876;
/// Port of brokers; pulls are not served two below (the "VIP" port).
pub(crate) const BROKER_PORT: u16 = 10911;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    hosts: Vec<(String, Role, std::net::IpAddr)>,
    by_name: BTreeMap<String, HostId>,
}

impl Cast {
    /// Adds a host for everybody in the header, and one for the administrator.
    pub fn new(world: &Arc<World>, config: &Config) -> Cast {
        let servers = config.name_servers.iter().map(|name| (name.clone(), Role::NameServer));
        let brokers = config.brokers.iter().enumerate().map(|(n, b)| (b.name.clone(), Role::Broker(n)));
        let producers = config.producers.iter().enumerate().map(|(n, p)| (p.name.clone(), Role::Producer(n)));
        let consumers = config.consumers.iter().enumerate().map(|(n, c)| (c.name.clone(), Role::Consumer(n)));
        let admin = [("admin".to_owned(), Role::Admin)];
        let mut cast = Cast::default();
        for (name, role) in servers.chain(brokers).chain(producers).chain(consumers).chain(admin) {
            let host = world.add_host();
            cast.by_name.insert(name.clone(), host);
            cast.hosts.push((name, role, world.ip(host)));
        }
        cast
    }
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[usize::from(host.0)].0
    }
    pub fn role(&self, host: HostId) -> Role {
        self.hosts[usize::from(host.0)].1
    }
    pub fn ip(&self, host: HostId) -> std::net::IpAddr {
        self.hosts[usize::from(host.0)].2
    }
    /// The host of a name of the tape, which was checked when it was read.
    pub fn host(&self, name: &str) -> HostId {
        self.by_name[name]
    }
    pub fn by_ip(&self, ip: std::net::IpAddr) -> Option<HostId> {
        self.hosts.iter().position(|(_, _, own)| *own == ip).map(|at| HostId(at as u16))
    }
    pub fn all(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len() as u16).map(HostId)
    }
    pub fn with_role(&self, test: impl Fn(Role) -> bool) -> Vec<HostId> {
        self.all().filter(|host| test(self.role(*host))).collect()
    }
    pub fn brokers(&self) -> Vec<HostId> {
        self.with_role(|role| matches!(role, Role::Broker(_)))
    }
    pub fn name_servers(&self) -> Vec<HostId> {
        self.with_role(|role| role == Role::NameServer)
    }
    pub fn is_client(&self, host: HostId) -> bool {
        matches!(self.role(host), Role::Producer(_) | Role::Consumer(_))
    }
    pub fn admin(&self) -> HostId {
        self.host("admin")
    }
    /// Index of the host's lane in the picture.
    pub fn lane(&self, host: HostId) -> u16 {
        host.0
    }
    pub fn broker_addr(&self, host: HostId) -> Addr {
        format!("{}:{BROKER_PORT}", self.ip(host)).into()
    }
    pub fn name_server_addrs(&self) -> Vec<Addr> {
        self.name_servers().iter().map(|host| format!("{}:{NAME_SERVER_PORT}", self.ip(*host)).into()).collect()
    }
}

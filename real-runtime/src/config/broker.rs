//! `broker.conf`: what the machine is told, and what only this process needs.
//!
//! Invariant: the machine's properties are mapped by [`BrokerConfig::set`] alone; the keys here are those that no machine
//! can know about: directories, addresses to bind, where to ask for name servers.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use seedmq_core::broker::{BrokerConfig, PROPERTIES, PropertyError};

use super::properties::Property;
use super::{AddressServer, ConfigError, SUBGROUP, Verdict, java, read_properties, set, set_path};
use crate::real::disk::StorePaths;

/// Settings of a broker process.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Of the machine.
    pub config: BrokerConfig,
    /// Directories of the store.
    pub paths: StorePaths,
    /// Address to bind (`bindAddress`).
    pub bind: IpAddr,
    /// Whether the file says which address clients are told (`brokerIP1`).
    pub ip_given: bool,
    /// Where to ask for name servers (`rmqAddressServerDomain`, when `fetchNamesrvAddrByAddressServer` is on).
    pub address_server: Option<AddressServer>,
}

/// Java's default of `rmqAddressServerDomain` and `rocketmq.namesrv.domain`.
pub const ADDRESS_DOMAIN: &str = "jmenv.tbsite.net";

impl BrokerSettings {
    /// Java's defaults, with the store below `root`.
    pub fn new(root: impl Into<PathBuf>) -> BrokerSettings {
        BrokerSettings {
            config: BrokerConfig::default(),
            paths: StorePaths::below(root),
            bind: Ipv4Addr::UNSPECIFIED.into(),
            ip_given: false,
            address_server: None,
        }
    }

    /// Takes the entries of a file; returns warnings.
    pub fn read(&mut self, path: &Path) -> Result<Vec<String>, ConfigError> {
        let mut endpoint = Endpoint::default();
        let warnings = read_properties(path, |entry| self.take(entry, &mut endpoint))?;
        if endpoint.wanted {
            let Endpoint { domain, subgroup, .. } = endpoint;
            self.address_server = Some(AddressServer { subgroup, ..AddressServer::new(domain) });
        }
        Ok(warnings)
    }

    fn take(&mut self, entry: &Property, endpoint: &mut Endpoint) -> Verdict {
        match &*entry.key {
            "storePathRootDir" => set_path(&mut self.paths.root, entry),
            "storePathCommitLog" => set_path(self.paths.commit_log.get_or_insert_default(), entry),
            "storePathConsumeQueue" => set_path(self.paths.consume_queue.get_or_insert_default(), entry),
            "storePathIndex" => set_path(self.paths.index.get_or_insert_default(), entry),
            "bindAddress" => set(&mut self.bind, entry, "an IP address"),
            "rmqAddressServerDomain" => taken(&mut endpoint.domain, entry.value.trim().to_owned()),
            "rmqAddressServerSubGroup" => taken(&mut endpoint.subgroup, entry.value.trim().to_owned()),
            "fetchNamesrvAddrByAddressServer" => set(&mut endpoint.wanted, entry, "true or false"),
            key => {
                self.ip_given |= key == "brokerIP1";
                match self.config.set(key, &entry.value) {
                    Ok(()) => Verdict::Taken,
                    Err(PropertyError::Unknown(_)) => java::judge(entry, java::BROKER, names()),
                    Err(wrong @ PropertyError::Invalid { .. }) => Verdict::Wrong(wrong.to_string()),
                }
            }
        }
    }
}

/// Names that the Java lists need not have.
fn names() -> impl Iterator<Item = &'static str> {
    PROPERTIES.iter().map(|property| property.name)
}

struct Endpoint {
    domain: String,
    subgroup: String,
    wanted: bool,
}

impl Default for Endpoint {
    fn default() -> Self {
        Endpoint { domain: ADDRESS_DOMAIN.into(), subgroup: SUBGROUP.into(), wanted: false }
    }
}

fn taken<T>(into: &mut T, value: T) -> Verdict {
    *into = value;
    Verdict::Taken
}

/// The address that clients are told when nobody says one: the first IPv4 address of this machine that is not loopback.
pub fn own_ip() -> IpAddr {
    let found = if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|interface| interface.ip());
    found
        .filter(|ip| ip.is_ipv4() && !ip.is_loopback())
        .find(|ip| !matches!(ip, IpAddr::V4(ip) if ip.is_link_local() || ip.is_unspecified()))
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (BrokerSettings, Result<Vec<String>, ConfigError>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("broker.conf");
        std::fs::write(&path, text).expect("it is written");
        let mut settings = BrokerSettings::new("/store");
        let result = settings.read(&path);
        (settings, result)
    }

    #[test]
    fn a_broker_conf_of_the_quick_start_is_taken_without_a_warning() {
        let (settings, result) = read(
            "brokerClusterName = DefaultCluster\nbrokerName=broker-b\nbrokerId=0\ndeleteWhen=04\nfileReservedTime=48\n\
             brokerRole=ASYNC_MASTER\nflushDiskType=ASYNC_FLUSH\nlistenPort=10921\nbrokerIP1=10.1.2.3\n\
             storePathRootDir=/data/store\nstorePathCommitLog=/fast/log\nnamesrvAddr=a:9876;b:9876\nautoCreateTopicEnable=false\n",
        );
        assert_eq!(result, Ok(vec![]));
        assert_eq!(
            (&*settings.config.name, settings.config.port, &*settings.config.ip),
            ("broker-b", 10921, "10.1.2.3")
        );
        assert_eq!(settings.config.name_servers.len(), 2);
        assert_eq!(settings.paths.root, Path::new("/data/store"));
        assert_eq!(settings.paths.commit_log.as_deref(), Some(Path::new("/fast/log")));
        assert!(settings.ip_given && !settings.config.auto_create_topic && settings.address_server.is_none());
    }

    #[test]
    fn wrong_and_unknown_entries_are_told_with_their_lines() {
        let (_, result) = read("brokerName=b\nlistenPort=many\n");
        let text = result.expect_err("many").to_string();
        assert!(text.contains("broker.conf:2: listenPort=many: expected a whole number from 0 to 65535. "), "{text}");
        let (_, result) = read("brokerNmae=b\n");
        let text = result.expect_err("a slip").to_string();
        assert!(text.contains("broker.conf:1: brokerNmae=b: there is no setting brokerNmae. Did you mean brokerName?"));
        let (_, result) = read("storePathRootDir=\n");
        assert!(result.expect_err("empty").to_string().contains("expected one directory"));
        let (_, result) = read("haListenPort=10912\n");
        let warnings = result.expect("it is usable");
        assert!(warnings[0].ends_with("broker.conf:1: haListenPort has no meaning here, ignored"), "{warnings:?}");
    }

    #[test]
    fn the_address_server_is_asked_only_when_the_file_says_so() {
        let (settings, _) = read("rmqAddressServerDomain=ns.example:80\n");
        assert_eq!(settings.address_server, None);
        let (settings, _) = read("rmqAddressServerDomain=ns.example:80\nfetchNamesrvAddrByAddressServer=true\n");
        assert_eq!(settings.address_server.expect("it is").url(), "http://ns.example:80/rocketmq/nsaddr");
    }

    #[test]
    fn the_own_address_is_one_that_others_can_reach_if_there_is_any() {
        assert!(own_ip().is_ipv4() && !own_ip().is_unspecified());
    }
}

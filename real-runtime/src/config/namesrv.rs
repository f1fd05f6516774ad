//! `namesrv.conf`: what the machine is told, and what only this process needs.
//!
//! Invariant: the machine's properties are mapped by [`NameServerConfig::set`] alone.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use seedmq_core::namesrv::{NameServerConfig, PROPERTIES};
use seedmq_core::node::Addr;

use super::name_servers::split_addrs;
use super::properties::Property;
use super::{ConfigError, Verdict, java, read_properties, set};

/// Settings of a name server process.
#[derive(Clone, Debug)]
pub struct NamesrvSettings {
    /// Of the machine. Its [`NameServerConfig::kv_path`] is relative to [`NamesrvSettings::dir`].
    pub config: NameServerConfig,
    /// Directory of the key-value configuration (`kvConfigPath` without its last part).
    pub dir: PathBuf,
    /// The file that [`NamesrvSettings::read`] took last: what is changed while the name server runs is written there (Java
    /// `configStorePath`, which `-c` sets).
    pub file: Option<PathBuf>,
    /// Address to bind (`bindAddress`).
    pub bind: IpAddr,
    /// Port on which the addresses of name servers are told over HTTP (`addressServerPort`, ours); `None` for nowhere. Clients
    /// ask port 8080 when nobody tells them another.
    pub address_port: Option<u16>,
    /// What is told there: `host:port;host:port` (`addressServerList`, ours); without it, this name server.
    pub address_list: Option<String>,
}

/// Names that are ours.
const OURS: [&str; 2] = ["addressServerPort", "addressServerList"];

impl NamesrvSettings {
    /// Java's defaults, with the key-value configuration in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> NamesrvSettings {
        NamesrvSettings {
            config: NameServerConfig::default(),
            dir: dir.into(),
            file: None,
            bind: Ipv4Addr::UNSPECIFIED.into(),
            address_port: None,
            address_list: None,
        }
    }

    /// Another port. With a file path that nobody chose, each port has a file of its own, so that several name servers can
    /// run on one machine.
    pub fn use_port(&mut self, port: u16) {
        if self.config.kv_path == NameServerConfig::default().kv_path && port != self.config.port {
            self.config.kv_path = format!("kvConfig-{port}.json").into();
        }
        self.config.port = port;
    }

    /// Takes the entries of a file; returns warnings.
    pub fn read(&mut self, path: &Path) -> Result<Vec<String>, ConfigError> {
        let warnings = read_properties(path, |entry| self.take(entry))?;
        self.file = Some(path.to_owned());
        Ok(warnings)
    }

    fn take(&mut self, entry: &Property) -> Verdict {
        match &*entry.key {
            "bindAddress" => set(&mut self.bind, entry, "an IP address"),
            "kvConfigPath" => self.take_kv_path(entry),
            "addressServerPort" => self.take_address_port(entry),
            "addressServerList" => self.take_address_list(entry),
            key => match self.config.set(key, &entry.value) {
                Ok(true) => Verdict::Taken,
                Ok(false) => {
                    java::judge(entry, java::NAMESRV, PROPERTIES.iter().map(|property| property.name).chain(OURS))
                }
                Err(why) => Verdict::Wrong(format!("{key}={}: {why}", entry.value)),
            },
        }
    }

    /// 0 stands for none.
    fn take_address_port(&mut self, entry: &Property) -> Verdict {
        let mut port = 0_u16;
        let verdict = set(&mut port, entry, "a port from 1 to 65535, or 0 for none");
        self.address_port = Some(port).filter(|port| *port != 0);
        verdict
    }

    fn take_address_list(&mut self, entry: &Property) -> Verdict {
        let addrs = split_addrs(&entry.value);
        let port_of = |addr: &Addr| addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if addrs.is_empty() || !addrs.iter().all(|addr| port_of(addr).is_some()) {
            return Verdict::Wrong(format!("{}={}: expected host:port;host:port", entry.key, entry.value));
        }
        self.address_list = Some(addrs.join(";"));
        Verdict::Taken
    }

    fn take_kv_path(&mut self, entry: &Property) -> Verdict {
        let path = Path::new(entry.value.trim());
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Verdict::Wrong(format!("{}={}: expected the path of a file", entry.key, entry.value));
        };
        self.dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() };
        self.config.kv_path = name.into();
        Verdict::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_off_until_it_has_a_port() {
        let take = |key: &str, value: &str| {
            let mut settings = NamesrvSettings::new("/x");
            let verdict = settings.take(&Property { line: 1, key: key.into(), value: value.into() });
            (verdict, settings.address_port, settings.address_list)
        };
        assert_eq!(NamesrvSettings::new("/x").address_port, None);
        assert_eq!(take("addressServerPort", "8080"), (Verdict::Taken, Some(8080), None));
        assert_eq!(take("addressServerPort", "0"), (Verdict::Taken, None, None));
        let list = "10.0.0.1:9876;10.0.0.2:9876".to_owned();
        assert_eq!(take("addressServerList", " 10.0.0.1:9876; 10.0.0.2:9876"), (Verdict::Taken, None, Some(list)));
        for (key, value) in [("addressServerPort", "http"), ("addressServerList", ""), ("addressServerList", "ns-1")] {
            assert!(matches!(take(key, value).0, Verdict::Wrong(_)), "{key}={value}");
        }
        assert_eq!(take("adressServerPort", "1").0, Verdict::Unknown(Some("addressServerPort")));
    }

    #[test]
    fn a_namesrv_conf_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("namesrv.conf");
        let text = "listenPort=9877\nbindAddress=127.0.0.3\nkvConfigPath=/data/ns/kv.json\nclusterTest=true\n";
        std::fs::write(&path, text).expect("it is written");
        let mut settings = NamesrvSettings::new("/x");
        let warnings = settings.read(&path).expect("it is usable");
        assert!(warnings[0].ends_with("namesrv.conf:4: clusterTest has no meaning here, ignored"), "{warnings:?}");
        assert_eq!((settings.config.port, settings.bind.to_string()), (9877, "127.0.0.3".into()));
        assert_eq!((&*settings.dir, &*settings.config.kv_path), (Path::new("/data/ns"), "kv.json"));
        std::fs::write(&path, "listenProt=9877").expect("it is written");
        let error = settings.read(&path).expect_err("a slip").to_string();
        assert!(
            error.contains("namesrv.conf:1: listenProt=9877: there is no setting listenProt. Did you mean listenPort?")
        );
        std::fs::write(&path, "listenPort=x").expect("it is written");
        let error = settings.read(&path).expect_err("x").to_string();
        assert!(error.contains("namesrv.conf:1: listenPort=x: expected a port"), "{error}");
    }
}

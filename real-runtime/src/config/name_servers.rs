//! Where the name servers are: the four ways in which RocketMQ users say it.
//!
//! Invariant: the ways are tried in Java's order (command line, configuration file, system property, environment, HTTP
//! endpoint), and the first that says something wins.

use seedmq_core::node::Addr;

use super::http::AddressServer;

/// Environment variable, as in Java.
pub const ENV: &str = "NAMESRV_ADDR";
/// System property, as in Java: `-D rocketmq.namesrv.addr=…`.
pub const PROPERTY: &str = "rocketmq.namesrv.addr";

/// A list, or somebody to ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameServers {
    /// These.
    Known(Vec<Addr>),
    /// Ask, now and again and again.
    Ask(AddressServer),
    /// Nobody said anything.
    Unknown,
}

/// What the ways say, each in its own words.
#[derive(Clone, Debug, Default)]
pub struct Said<'a> {
    /// `-n`.
    pub flag: Option<&'a str>,
    /// `namesrvAddr` in the configuration file.
    pub file: Option<&'a str>,
    /// `-D rocketmq.namesrv.addr`.
    pub property: Option<&'a str>,
    /// `NAMESRV_ADDR`.
    pub environment: Option<&'a str>,
    /// The HTTP endpoint.
    pub endpoint: Option<AddressServer>,
}

impl Said<'_> {
    /// The first that says something.
    pub fn choose(self) -> NameServers {
        let texts = [self.flag, self.file, self.property, self.environment];
        let known = texts.into_iter().flatten().map(split_addrs).find(|addrs| !addrs.is_empty());
        match (known, self.endpoint) {
            (Some(addrs), _) => NameServers::Known(addrs),
            (None, Some(endpoint)) => NameServers::Ask(endpoint),
            (None, None) => NameServers::Unknown,
        }
    }
}

/// `host:port;host:port`. Java's clients also write a scheme in front, which says nothing here.
pub fn split_addrs(text: &str) -> Vec<Addr> {
    let addrs = text.split([';', ',']).map(|addr| addr.trim().trim_start_matches("http://").trim_end_matches('/'));
    addrs.filter(|addr| !addr.is_empty()).map(Addr::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_way_that_says_something_wins() {
        let endpoint = AddressServer::new("jmenv");
        let all = Said {
            flag: Some("a:1"),
            file: Some("b:1;b:2"),
            property: Some("c:1"),
            environment: Some("d:1"),
            endpoint: Some(endpoint.clone()),
        };
        let known = |text: &str| NameServers::Known(split_addrs(text));
        assert_eq!(all.clone().choose(), known("a:1"));
        assert_eq!(Said { flag: Some(" ; "), ..all.clone() }.choose(), known("b:1;b:2"));
        assert_eq!(Said { flag: None, file: None, ..all.clone() }.choose(), known("c:1"));
        assert_eq!(Said { flag: None, file: None, property: None, ..all.clone() }.choose(), known("d:1"));
        let endpoint_only = Said { endpoint: Some(endpoint.clone()), ..Said::default() };
        assert_eq!(endpoint_only.choose(), NameServers::Ask(endpoint.clone()));
        assert_eq!(Said::default().choose(), NameServers::Unknown);
        assert_eq!(endpoint.url(), "http://jmenv:8080/rocketmq/nsaddr");
        let with_port = AddressServer { domain: "jmenv:81".into(), ..endpoint };
        assert_eq!(with_port.url(), "http://jmenv:81/rocketmq/nsaddr");
    }

    #[test]
    fn lists_are_split_as_users_write_them() {
        assert_eq!(split_addrs(" a:1 ;b:2; "), [Addr::from("a:1"), Addr::from("b:2")]);
        assert_eq!(split_addrs("http://a:1/"), [Addr::from("a:1")]);
        assert!(split_addrs("").is_empty());
    }
}

//! Settings of a name server, and their names in Java's `namesrv.conf` (`NamesrvConfig`, `NettyServerConfig`).
//!
//! Invariant: a field that a property sets is written back by [`NameServerConfig::to_properties`] under the same name.

use std::str::FromStr;

use crate::node::Addr;

/// Settings of a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServerConfig {
    /// `listenPort`: for the owner, the machine does not listen itself.
    pub port: u16,
    /// `kvConfigPath`, relative to the root of the disk.
    pub kv_path: Addr,
    /// `scanNotActiveBrokerInterval`: how often silent brokers and connections are looked for, ms.
    pub scan_ms: u64,
    /// How long a broker may be silent that does not say itself, ms (Java `DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`).
    pub broker_expires_ms: u64,
    /// `serverChannelMaxIdleTimeSeconds`: how long a connection may be idle.
    pub idle_close_secs: u64,
    /// `orderMessageEnable`: routes carry `ORDER_TOPIC_CONFIG`.
    pub order_message: bool,
    /// `returnOrderTopicConfigToBroker`: registrations are answered with `ORDER_TOPIC_CONFIG`.
    pub return_order_config: bool,
    /// `supportActingMaster`: a slave without its master appears as master.
    pub acting_master: bool,
    /// `deleteTopicWithBrokerRegistration`: a topic that a registration no longer names is taken out.
    pub delete_topic_with_registration: bool,
    /// `enableAllTopicList`: 206 is answered.
    pub all_topic_list: bool,
    /// `enableTopicList`: 224, 304 and 311 to 313 are answered.
    pub topic_list: bool,
    /// `configBlackList`: properties that a request may not change.
    pub config_black_list: Vec<String>,
    /// Most connections; more are closed at once.
    pub connections_max: usize,
    /// Most broker addresses.
    pub brokers_max: usize,
    /// Most topics, counted once for each broker name.
    pub topics_max: usize,
    /// Most bytes of the key-value configuration, names and values together.
    pub kv_bytes_max: usize,
}

impl Default for NameServerConfig {
    fn default() -> Self {
        NameServerConfig {
            port: 9876,
            kv_path: "kvConfig.json".into(),
            scan_ms: 5_000,
            broker_expires_ms: 120_000,
            idle_close_secs: 120,
            order_message: false,
            return_order_config: true,
            acting_master: false,
            delete_topic_with_registration: false,
            all_topic_list: true,
            topic_list: true,
            config_black_list: ["configBlackList", "configStorePath", "kvConfigPath"].map(String::from).into(),
            connections_max: 65_536,
            brokers_max: 10_000,
            topics_max: 2_000_000,
            kv_bytes_max: 4 << 20,
        }
    }
}

/// One property.
#[derive(Debug)]
pub struct Property {
    /// Java's name.
    pub name: &'static str,
    get: fn(&NameServerConfig) -> String,
    set: fn(&mut NameServerConfig, &str) -> Result<(), String>,
}

fn parse<T: FromStr>(value: &str, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected {expected}, found {value:?}"))
}

macro_rules! property {
    ($name:literal, $field:ident, $expected:literal) => {
        Property {
            name: $name,
            get: |config| config.$field.to_string(),
            set: |config, value| {
                config.$field = parse(value, $expected)?;
                Ok(())
            },
        }
    };
}

/// The properties, by name.
pub const PROPERTIES: &[Property] = &[
    Property {
        name: "configBlackList",
        get: |config| config.config_black_list.join(";"),
        set: |config, value| {
            config.config_black_list = value.split(';').map(|name| name.trim().to_owned()).collect();
            Ok(())
        },
    },
    property!("deleteTopicWithBrokerRegistration", delete_topic_with_registration, "true or false"),
    property!("enableAllTopicList", all_topic_list, "true or false"),
    property!("enableTopicList", topic_list, "true or false"),
    Property {
        name: "kvConfigPath",
        get: |config| config.kv_path.to_string(),
        set: |config, value| {
            config.kv_path = value.into();
            Ok(())
        },
    },
    property!("listenPort", port, "a port"),
    property!("orderMessageEnable", order_message, "true or false"),
    property!("returnOrderTopicConfigToBroker", return_order_config, "true or false"),
    Property {
        name: "scanNotActiveBrokerInterval",
        get: |config| config.scan_ms.to_string(),
        set: |config, value| {
            config.scan_ms = Some(parse(value, "milliseconds")?).filter(|&ms| ms > 0).ok_or("expected more than 0")?;
            Ok(())
        },
    },
    property!("serverChannelMaxIdleTimeSeconds", idle_close_secs, "seconds"),
    property!("supportActingMaster", acting_master, "true or false"),
];

impl NameServerConfig {
    /// Sets a property by Java's name; `Ok(false)` when there is none of this name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let Some(property) = PROPERTIES.iter().find(|property| property.name == name) else { return Ok(false) };
        (property.set)(self, value.trim())?;
        Ok(true)
    }

    /// The settings as the text of a Java properties file.
    pub fn to_properties(&self) -> String {
        PROPERTIES.iter().map(|property| format!("{}={}\n", property.name, (property.get)(self))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_sets_the_same() {
        let mut config = NameServerConfig { port: 1, order_message: true, scan_ms: 7, ..NameServerConfig::default() };
        config.config_black_list.push("x".into());
        let mut other = NameServerConfig::default();
        for line in config.to_properties().lines() {
            let (name, value) = line.split_once('=').expect("name=value");
            assert_eq!(other.set(name, value), Ok(true), "{line}");
        }
        assert_eq!(other, config);
        assert_eq!(other.set("noSuchThing", "1"), Ok(false));
        assert!(other.set("listenPort", "x").is_err() && other.set("scanNotActiveBrokerInterval", "0").is_err());
    }
}

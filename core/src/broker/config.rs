//! Settings of a broker, and the one table that maps Java's property names to them.
//!
//! Invariant: every field that a user can set has exactly one row in [`PROPERTIES`], and a row reads back what it set.

use std::fmt;
use std::str::FromStr;

use crate::node::Addr;
use crate::store::{Flush, StoreConfig};

/// Settings; Java `BrokerConfig` and `MessageStoreConfig`. Times are milliseconds.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub name: String,
    /// `brokerId`; 0 is the master, the only role so far.
    pub id: i64,
    /// `brokerIP1`: the address that routes and message ids name. Must be an IP address.
    pub ip: String,
    /// `listenPort`. Connections that arrive at this port − 2 are on the fast (VIP) port.
    pub port: u16,
    /// `namesrvAddr`, split at `;`.
    pub name_servers: Vec<Addr>,
    /// `brokerPermission`: 4 read, 2 write.
    pub permission: i32,
    /// `defaultTopicQueueNums`.
    pub default_topic_queues: i32,
    /// `autoCreateTopicEnable`.
    pub auto_create_topic: bool,
    /// `autoCreateSubscriptionGroup`.
    pub auto_create_group: bool,
    /// `clusterTopicEnable`.
    pub cluster_topic: bool,
    /// `brokerTopicEnable`.
    pub broker_topic: bool,
    /// `traceTopicEnable`.
    pub trace_topic: bool,
    /// `msgTraceTopicName`.
    pub trace_topic_name: String,
    /// `regionId`.
    pub region: String,
    /// `traceOn`.
    pub trace_on: bool,
    /// `registerNameServerPeriod`, kept within 10 to 60 s as Java does.
    pub register_ms: u64,
    /// `registerBrokerTimeoutMills`.
    pub register_timeout_ms: u64,
    /// `brokerHeartbeatInterval`: period of BROKER_HEARTBEAT, sent only with `enableSlaveActingMaster`.
    pub heartbeat_ms: u64,
    /// `enableSlaveActingMaster`.
    pub acting_master: bool,
    /// `longPollingEnable`.
    pub long_polling: bool,
    /// `shortPollingTimeMills`, used when long polling is off.
    pub short_polling_ms: u64,
    /// `flushConsumerOffsetInterval`.
    pub offsets_persist_ms: u64,
    /// `channelExpiredTimeout`: a client that says nothing for this long is disconnected.
    pub client_expires_ms: u64,
    /// `serverChannelMaxIdleTimeSeconds`: a connection that carries nothing for this long is closed.
    pub idle_close_secs: u64,
    /// `notifyConsumerIdsChangedEnable`.
    pub notify_ids_changed: bool,
    /// `startAcceptSendRequestTimeStamp`: sends before this time are refused.
    pub accept_sends_from_ms: u64,
    /// `syncFlushTimeout`.
    pub sync_flush_timeout_ms: u64,
    /// `compressedRegister`.
    pub compressed_register: bool,
    /// `maxMsgsNumBatch`: most messages of one query.
    pub query_max: usize,
    /// `configBlackList`, split at `;`: properties that requests may not change.
    pub config_black_list: Vec<String>,
    /// `heldPullsMax` (ours): pulls that may wait at once; beyond it clients are told that the broker is busy.
    pub held_pulls_max: usize,
    /// `coldReadsMax` (ours): requests that may wait for the disk at once; beyond it they are told that the broker is busy.
    pub cold_reads_max: usize,
    /// `pendingAckBytesMax` (ours): bytes of answers that may wait for the disk; beyond it senders are told to back off.
    pub pending_ack_bytes_max: usize,
    /// `connectionsMax` (ours): beyond it new connections are closed.
    pub connections_max: usize,
    /// The store.
    pub store: StoreConfig,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            cluster: "DefaultCluster".into(),
            name: "broker-a".into(),
            id: 0,
            ip: "127.0.0.1".into(),
            port: 10911,
            name_servers: Vec::new(),
            permission: 6,
            default_topic_queues: 8,
            auto_create_topic: true,
            auto_create_group: true,
            cluster_topic: true,
            broker_topic: true,
            trace_topic: false,
            trace_topic_name: "RMQ_SYS_TRACE_TOPIC".into(),
            region: "DefaultRegion".into(),
            trace_on: true,
            register_ms: 30_000,
            register_timeout_ms: 24_000,
            heartbeat_ms: 1000,
            acting_master: false,
            long_polling: true,
            short_polling_ms: 1000,
            offsets_persist_ms: 5000,
            client_expires_ms: 120_000,
            idle_close_secs: 120,
            notify_ids_changed: true,
            accept_sends_from_ms: 0,
            sync_flush_timeout_ms: 5000,
            compressed_register: false,
            query_max: 64,
            config_black_list: vec!["configBlackList".into(), "brokerConfigPath".into()],
            held_pulls_max: 100_000,
            cold_reads_max: 10_000,
            pending_ack_bytes_max: 256 << 20,
            connections_max: 50_000,
            store: StoreConfig::default(),
        }
    }
}

impl BrokerConfig {
    /// Address in routes: `ip:port`.
    pub fn address(&self) -> String {
        host_port(&self.ip, self.port)
    }
    /// Address of the replication port, which routes name although nothing listens there yet: port + 1.
    pub fn ha_address(&self) -> String {
        host_port(&self.ip, self.port.wrapping_add(1))
    }
    /// Sets a property from its Java name and text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PropertyError> {
        let row = find(name).ok_or_else(|| PropertyError::Unknown(name.to_owned()))?;
        let value = value.trim();
        let mut next = self.clone();
        (row.set)(&mut next, value).and_then(|()| next.check()).map_err(|why| PropertyError::Invalid {
            name: row.name,
            value: value.to_owned(),
            why,
        })?;
        *self = next;
        Ok(())
    }
    /// All properties as `name=value`, sorted by name: the answer to GET_BROKER_CONFIG.
    pub fn to_properties(&self) -> String {
        let mut rows: Vec<&Property> = PROPERTIES.iter().collect();
        rows.sort_by_key(|row| row.name);
        rows.iter().map(|row| format!("{}={}\n", row.name, (row.get)(self))).collect()
    }
    /// What is wrong with the combination of values, if anything.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("mappedFileSizeConsumeQueue", self.store.queue_file_entries),
            ("maxIndexNum", u64::from(self.store.index_entries)),
            ("maxHashSlotNum", u64::from(self.store.index_slots)),
            ("flushConsumerOffsetInterval", self.offsets_persist_ms),
            ("brokerHeartbeatInterval", self.heartbeat_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be more than 0"));
        }
        if self.ip.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("brokerIP1 must be an IP address, not {:?}", self.ip));
        }
        if self.id != 0 {
            return Err("only masters (brokerId=0) are supported so far".into());
        }
        if !(1..=1024).contains(&self.default_topic_queues) {
            return Err("defaultTopicQueueNums must be within 1..=1024".into());
        }
        if self.permission & !0b110 != 0 {
            return Err("brokerPermission is a sum of 4 (read) and 2 (write)".into());
        }
        if self.store.log_file_bytes < 4096 {
            return Err("mappedFileSizeCommitLog must be at least 4096".into());
        }
        for (what, name) in [("brokerName", &self.name), ("brokerClusterName", &self.cluster)] {
            super::names::check_group(name).map_err(|why| format!("{what}: {why}"))?;
        }
        Ok(())
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn host_port(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Why a property was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// No such property here; it may be one of Java's that has no meaning in this broker.
    #[error("unknown property {0}")]
    Unknown(String),
    /// The value does not parse or is out of range.
    #[error("{name}={value}: {why}")]
    Invalid {
        /// The property.
        name: &'static str,
        /// What was given.
        value: String,
        /// What was expected.
        why: String,
    },
}

/// One property.
pub struct Property {
    /// Java's name.
    pub name: &'static str,
    /// Whether a change takes effect in a running broker.
    pub live: bool,
    get: fn(&BrokerConfig) -> String,
    set: fn(&mut BrokerConfig, &str) -> Result<(), String>,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The row of a property.
pub fn find(name: &str) -> Option<&'static Property> {
    PROPERTIES.iter().find(|row| row.name == name)
}

fn parse<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected {}", expected::<T>()))
}

fn expected<T>() -> &'static str {
    match std::any::type_name::<T>() {
        "bool" => "true or false",
        "alloc::string::String" => "text",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 up",
        _ => "a whole number",
    }
}

fn split(value: &str) -> impl Iterator<Item = &str> {
    value.split(';').map(str::trim).filter(|part| !part.is_empty())
}

/// A row whose text is the field's own.
macro_rules! plain {
    ($name:literal, $live:literal, $($field:tt).+) => {
        Property {
            name: $name,
            live: $live,
            get: |config| config.$($field).+.to_string(),
            set: |config, value| {
                config.$($field).+ = parse(value)?;
                Ok(())
            },
        }
    };
}

/// Java's property names and the fields that they set.
pub const PROPERTIES: &[Property] = &[
    plain!("brokerClusterName", false, cluster),
    plain!("brokerName", false, name),
    plain!("brokerId", false, id),
    plain!("brokerIP1", false, ip),
    plain!("listenPort", false, port),
    Property {
        name: "namesrvAddr",
        live: true,
        get: |config| config.name_servers.join(";"),
        set: |config, value| {
            config.name_servers = split(value).map(Addr::from).collect();
            Ok(())
        },
    },
    plain!("brokerPermission", true, permission),
    plain!("defaultTopicQueueNums", true, default_topic_queues),
    plain!("autoCreateTopicEnable", true, auto_create_topic),
    plain!("autoCreateSubscriptionGroup", true, auto_create_group),
    plain!("clusterTopicEnable", false, cluster_topic),
    plain!("brokerTopicEnable", false, broker_topic),
    plain!("traceTopicEnable", false, trace_topic),
    plain!("msgTraceTopicName", false, trace_topic_name),
    plain!("regionId", true, region),
    plain!("traceOn", true, trace_on),
    plain!("registerNameServerPeriod", true, register_ms),
    plain!("registerBrokerTimeoutMills", true, register_timeout_ms),
    plain!("brokerHeartbeatInterval", true, heartbeat_ms),
    plain!("enableSlaveActingMaster", true, acting_master),
    plain!("longPollingEnable", true, long_polling),
    plain!("shortPollingTimeMills", true, short_polling_ms),
    plain!("maxTransferCountOnMessageInMemory", true, store.pull_in_memory.0),
    plain!("maxTransferBytesOnMessageInMemory", true, store.pull_in_memory.1),
    plain!("maxTransferCountOnMessageInDisk", true, store.pull_on_disk.0),
    plain!("maxTransferBytesOnMessageInDisk", true, store.pull_on_disk.1),
    plain!("flushConsumerOffsetInterval", true, offsets_persist_ms),
    plain!("channelExpiredTimeout", true, client_expires_ms),
    plain!("serverChannelMaxIdleTimeSeconds", true, idle_close_secs),
    plain!("notifyConsumerIdsChangedEnable", true, notify_ids_changed),
    plain!("startAcceptSendRequestTimeStamp", true, accept_sends_from_ms),
    plain!("syncFlushTimeout", true, sync_flush_timeout_ms),
    plain!("compressedRegister", true, compressed_register),
    plain!("maxMsgsNumBatch", true, query_max),
    plain!("heldPullsMax", false, held_pulls_max),
    plain!("coldReadsMax", true, cold_reads_max),
    plain!("pendingAckBytesMax", false, pending_ack_bytes_max),
    plain!("connectionsMax", true, connections_max),
    Property {
        name: "configBlackList",
        live: true,
        get: |config| config.config_black_list.join(";"),
        set: |config, value| {
            config.config_black_list = split(value).map(str::to_owned).collect();
            Ok(())
        },
    },
    Property {
        name: "brokerRole",
        live: false,
        get: |_| "ASYNC_MASTER".into(),
        set: |_, value| match value {
            "ASYNC_MASTER" => Ok(()),
            _ => Err("only ASYNC_MASTER is supported so far".into()),
        },
    },
    Property {
        name: "flushDiskType",
        live: true,
        get: |config| match config.store.flush {
            Flush::Async => "ASYNC_FLUSH".into(),
            Flush::Sync => "SYNC_FLUSH".into(),
        },
        set: |config, value| {
            config.store.flush = match value {
                "ASYNC_FLUSH" => Flush::Async,
                "SYNC_FLUSH" => Flush::Sync,
                _ => return Err("expected ASYNC_FLUSH or SYNC_FLUSH".into()),
            };
            Ok(())
        },
    },
    plain!("mappedFileSizeCommitLog", false, store.log_file_bytes),
    Property {
        name: "mappedFileSizeConsumeQueue",
        live: false,
        get: |config| (config.store.queue_file_entries * 20).to_string(),
        set: |config, value| {
            let bytes: u64 = parse(value)?;
            config.store.queue_file_entries = bytes.div_ceil(20);
            Ok(())
        },
    },
    plain!("maxHashSlotNum", false, store.index_slots),
    plain!("maxIndexNum", false, store.index_entries),
    plain!("maxMessageSize", true, store.body_bytes_max),
    plain!("flushIntervalCommitLog", true, store.flush_ms),
    plain!("flushIntervalConsumeQueue", true, store.queue_flush_ms),
    plain!("fileReservedTime", true, store.reserved_hours),
    Property {
        name: "deleteWhen",
        live: true,
        get: |config| {
            config.store.delete_at_hours.iter().map(|hour| format!("{hour:02}")).collect::<Vec<_>>().join(";")
        },
        set: |config, value| {
            let hours: Vec<u8> = split(value).map(parse).collect::<Result<_, _>>()?;
            if hours.iter().any(|hour| *hour > 23) {
                return Err("expected hours of the day, 00 to 23, separated by ;".into());
            }
            config.store.delete_at_hours = hours;
            Ok(())
        },
    },
    plain!("diskMaxUsedSpaceRatio", true, store.disk_clean_percent),
    plain!("diskSpaceCleanForciblyRatio", true, store.disk_force_percent),
    plain!("diskSpaceWarningLevelRatio", true, store.disk_refuse_percent),
    plain!("messageIndexEnable", false, store.index),
    plain!("enabledAppendPropCRC", false, store.append_prop_crc),
    plain!("storeWasLost", false, store.was_lost),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_reads_back_what_it_set() {
        let mut config = BrokerConfig::default();
        for row in PROPERTIES {
            let text = (row.get)(&config);
            config.set(row.name, &text).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!((row.get)(&config), text, "{}", row.name);
        }
        let names: std::collections::BTreeSet<&str> = PROPERTIES.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), PROPERTIES.len(), "one row a property");
    }

    #[test]
    fn a_broker_conf_of_java_sets_what_it_says() {
        let mut config = BrokerConfig::default();
        for (name, value) in [
            ("brokerName", "broker-b"),
            ("flushDiskType", "SYNC_FLUSH"),
            ("deleteWhen", "04"),
            ("fileReservedTime", "48"),
            ("namesrvAddr", "a:9876; b:9876"),
            ("mappedFileSizeConsumeQueue", "6000000"),
            ("listenPort", " 20911 "),
        ] {
            config.set(name, value).unwrap();
        }
        assert_eq!((config.name.as_str(), config.port, config.store.reserved_hours), ("broker-b", 20911, 48));
        assert_eq!(config.store.flush, Flush::Sync);
        assert_eq!(config.store.queue_file_entries, 300_000);
        assert_eq!(config.name_servers, [Addr::from("a:9876"), Addr::from("b:9876")]);
        assert!(config.to_properties().contains("namesrvAddr=a:9876;b:9876\n"));
    }

    #[test]
    fn bad_values_change_nothing_and_say_why() {
        let mut config = BrokerConfig::default();
        for (name, value, says) in [
            ("noSuchKey", "1", "unknown property noSuchKey"),
            ("listenPort", "abc", "listenPort=abc: expected a whole number from 0 to 65535"),
            ("autoCreateTopicEnable", "yes", "true or false"),
            ("flushDiskType", "LAZY", "ASYNC_FLUSH or SYNC_FLUSH"),
            ("brokerIP1", "localhost", "must be an IP address"),
            ("fileReservedTime", "-1", "a whole number from 0"),
            ("brokerRole", "SLAVE", "only ASYNC_MASTER"),
            ("deleteWhen", "25", "hours of the day"),
            ("defaultTopicQueueNums", "0", "within"),
            ("brokerPermission", "99", "sum of"),
        ] {
            let before = config.to_properties();
            let text = config.set(name, value).unwrap_err().to_string();
            assert!(text.contains(says), "{text}");
            assert_eq!(config.to_properties(), before, "{name}");
        }
    }
}

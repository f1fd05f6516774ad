//! Which brokers are alive and which topics they have (Java `RouteInfoManager`).
//!
//! Invariant: the addresses of the broker table and the live table are the same set: a broker that is not heard of leaves
//! both, and its topics go with the last of its replicas. Queue data only ever names brokers of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::node::{ConnId, Instant};
use crate::wire::register::{DataVersion, RegisterBrokerHeader, TopicConfigSerializeWrapper, TopicQueueMappingInfo};
use crate::wire::route::{BrokerData, MASTER_ID, PERM_READ, PERM_WRITE, QueueData};
use crate::wire::topic::TopicConfig;
use crate::{planted, sometimes};

/// A broker address that registered.
#[derive(Clone, Debug)]
pub struct Live {
    /// Broker name.
    pub name: String,
    /// Broker id.
    pub id: i64,
    /// Where its slaves connect to.
    pub ha_addr: String,
    /// The connection that it registered on.
    pub conn: ConnId,
    /// Its topics when it registered.
    pub version: DataVersion,
    /// When it was last heard of.
    pub heard: Instant,
    /// How long it may be silent.
    pub timeout: Duration,
}

/// The brokers and their topics.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Queue data by topic and broker name.
    topics: BTreeMap<String, BTreeMap<String, QueueData>>,
    /// How many pairs of topic and broker name there are.
    entries: usize,
    /// Static topics, by topic and broker name.
    mappings: BTreeMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
    brokers: BTreeMap<String, BrokerData>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    /// By cluster and address.
    live: BTreeMap<(String, String), Live>,
}

/// How a registration went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is in.
    Done {
        /// This id had no address before.
        first: bool,
        /// Topics that are new or different.
        changed: usize,
        /// Address and HA address of the master, for a slave.
        master: Option<(String, String)>,
        /// Addresses that it took the place of.
        replaced: Vec<Removed>,
    },
    /// It is refused: it holds one topic only, and the broker itself is not known yet.
    Incomplete,
    /// It is ignored: a broker of a newer epoch has this id.
    Outdated,
    /// It is ignored: the broker has registered on a newer connection since it sent this.
    Late,
    /// It is refused: a table is full.
    Full(&'static str),
}

/// A broker address that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Cluster.
    pub cluster: String,
    /// Broker name.
    pub name: String,
    /// Address.
    pub addr: String,
    /// The connection that it had registered on.
    pub conn: ConnId,
}

/// What a table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Broker addresses.
    pub brokers: usize,
    /// Pairs of topic and broker name.
    pub entries: usize,
}

/// When and how a registration came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The connection.
    pub conn: ConnId,
    /// Now.
    pub now: Instant,
    /// How long the broker may be silent.
    pub timeout: Duration,
    /// Topics that are not in the registration are taken out.
    pub delete_missing: bool,
}

impl RouteTable {
    /// Takes a registration.
    pub fn register(
        &mut self,
        header: &RegisterBrokerHeader,
        topics: &TopicConfigSerializeWrapper,
        arrival: Arrival,
        limits: Limits,
    ) -> Registered {
        let (name, addr, id) = (&header.broker_name, &header.broker_addr, header.broker_id);
        let version = topics.data_version.clone().unwrap_or_default();
        if self.is_late(&header.cluster_name, addr, arrival.conn) {
            return Registered::Late;
        }
        if let Some(refusal) = self.refuses(header, topics, &version, limits) {
            return refusal;
        }
        let mut replaced = self.displace(header);
        let broker = self.brokers.entry(name.clone()).or_insert_with(|| BrokerData {
            broker_name: name.clone(),
            cluster: header.cluster_name.clone(),
            ..BrokerData::default()
        });
        broker.enable_acting_master = header.enable_acting_master == Some(true);
        broker.zone_name.clone_from(&header.zone_name);
        let first = broker.broker_addrs.insert(id, addr.clone()).is_none();
        self.clusters.entry(header.cluster_name.clone()).or_default().insert(name.clone());
        let changed = if first && planted!("topics-of-first-registration-ignored") {
            0
        } else {
            self.take_topics(header, topics, &version, first, arrival.delete_missing)
        };
        let key = (header.cluster_name.clone(), addr.clone());
        let ha_addr = header.ha_server_addr.clone();
        let Arrival { conn, now, timeout, .. } = arrival;
        self.live.insert(key, Live { name: name.clone(), id, ha_addr, conn, version, heard: now, timeout });
        replaced.retain(|gone| !(gone.name == *name && gone.addr == *addr));
        Registered::Done { first, changed, master: self.master_of(header), replaced }
    }

    fn refuses(
        &mut self,
        header: &RegisterBrokerHeader,
        topics: &TopicConfigSerializeWrapper,
        version: &DataVersion,
        limits: Limits,
    ) -> Option<Registered> {
        let (cluster, addr) = (&header.cluster_name, &header.broker_addr);
        let known = self.brokers.get(&header.broker_name).and_then(|data| data.broker_addrs.get(&header.broker_id));
        if let Some(known) = known.filter(|known| *known != addr) {
            let other = self.live.get(&(cluster.clone(), known.clone()));
            if other.is_some_and(|other| other.version.state_version > version.state_version) {
                sometimes!("a broker of an older epoch registers under a taken id");
                return Some(Registered::Outdated);
            }
        } else if known.is_none() && topics.topic_config_table.len() == 1 {
            return Some(Registered::Incomplete);
        }
        if self.live.len() >= limits.brokers && !self.live.contains_key(&(cluster.clone(), addr.clone())) {
            return Some(Registered::Full("it has as many brokers as it takes"));
        }
        if self.entries + topics.topic_config_table.len() > limits.entries {
            let name = &header.broker_name;
            let is_new = |topic: &&String| self.topics.get(*topic).is_none_or(|queues| !queues.contains_key(name));
            let new = topics.topic_config_table.keys().filter(is_new).count();
            if self.entries + new > limits.entries {
                return Some(Registered::Full("it has as many topics as it takes"));
            }
        }
        None
    }

    /// Takes out what this registration replaces: the same address under another id or name, another address under the same
    /// id.
    fn displace(&mut self, header: &RegisterBrokerHeader) -> Vec<Removed> {
        let (cluster, name, addr) = (&header.cluster_name, &header.broker_name, &header.broker_addr);
        let mut gone = Vec::new();
        if let Some(live) = self.live.get(&(cluster.clone(), addr.clone())) {
            let (old_name, old_id) = (live.name.clone(), live.id);
            if old_name != *name || old_id != header.broker_id {
                sometimes!("a broker re-registers under another id or name");
                // The name stays when only the id changes: its topics are about to be confirmed.
                gone.extend(if old_name == *name { self.take_addr(name, addr) } else { self.remove(&old_name, addr) });
            }
        }
        let known = self.brokers.get(name).and_then(|data| data.broker_addrs.get(&header.broker_id));
        if let Some(known) = known.filter(|known| *known != addr).cloned() {
            sometimes!("another address takes over a broker id");
            gone.extend(self.take_addr(name, &known));
        }
        gone
    }

    fn take_topics(
        &mut self,
        header: &RegisterBrokerHeader,
        topics: &TopicConfigSerializeWrapper,
        version: &DataVersion,
        first: bool,
        delete_missing: bool,
    ) -> usize {
        let name = &header.broker_name;
        let data = &self.brokers[name];
        let smallest = data.broker_addrs.keys().next() == Some(&header.broker_id);
        let prime_slave = header.enable_acting_master.is_some() && header.broker_id != MASTER_ID && smallest;
        if header.broker_id != MASTER_ID && !prime_slave {
            return 0;
        }
        let mask = if prime_slave && data.enable_acting_master { !PERM_WRITE } else { !0 };
        if delete_missing && topics.topic_queue_mapping_info_map.is_empty() {
            self.delete_missing(name, &topics.topic_config_table);
        }
        let all = first || self.version(&header.cluster_name, &header.broker_addr) != Some(version);
        let mut changed = 0;
        for topic in topics.topic_config_table.values() {
            let known = self.topics.get(&topic.topic_name).is_some_and(|queues| queues.contains_key(name));
            if all || !known {
                changed += usize::from(self.put_queue(&topic.topic_name, queue_data(name, topic, mask)));
            }
        }
        if all {
            for (topic, mapping) in &topics.topic_queue_mapping_info_map {
                self.mappings.entry(topic.clone()).or_default().insert(name.clone(), mapping.clone());
            }
        }
        changed
    }

    fn delete_missing(&mut self, name: &str, kept: &BTreeMap<String, TopicConfig>) {
        let mut lost = 0;
        self.topics.retain(|topic, queues| {
            if !kept.contains_key(topic) {
                lost += usize::from(queues.remove(name).is_some());
            }
            !queues.is_empty()
        });
        self.entries -= lost;
    }

    /// Whether it is new or different.
    fn put_queue(&mut self, topic: &str, queue: QueueData) -> bool {
        let queues = match self.topics.get_mut(topic) {
            Some(queues) => queues,
            None => self.topics.entry(topic.to_owned()).or_default(),
        };
        if let Some(known) = queues.get(&queue.broker_name) {
            if known.perm != queue.perm && known.perm & PERM_WRITE == 0 && queue.perm & PERM_WRITE != 0 {
                sometimes!("a registration restores a wiped write permission");
            }
            if *known == queue {
                return false;
            }
        } else {
            self.entries += 1;
        }
        queues.insert(queue.broker_name.clone(), queue);
        true
    }

    fn master_of(&self, header: &RegisterBrokerHeader) -> Option<(String, String)> {
        if header.broker_id == MASTER_ID {
            return None;
        }
        let addr = self.brokers.get(&header.broker_name)?.broker_addrs.get(&MASTER_ID)?;
        let live = self.live.get(&(header.cluster_name.clone(), addr.clone()))?;
        Some((addr.clone(), live.ha_addr.clone()))
    }

    /// The version of the topics that a broker registered.
    pub fn version(&self, cluster: &str, addr: &str) -> Option<&DataVersion> {
        self.live.get(&(cluster.to_owned(), addr.to_owned())).map(|live| &live.version)
    }

    /// Whether what a broker says was under way since before it opened the connection on which it registered: it has given this one up,
    /// and what comes of it, its end above all, is no news of the broker. (In Java the late one wins, and the broker is
    /// gone until it registers again.)
    pub fn is_late(&self, cluster: &str, addr: &str, conn: ConnId) -> bool {
        let newer = self.live.get(&(cluster.to_owned(), addr.to_owned())).is_some_and(|live| conn < live.conn);
        if newer {
            sometimes!("a broker is heard on a connection that it has given up");
        }
        newer && !planted!("late-registration-taken")
    }

    /// A broker showed that it lives, on this connection: the one that it registered on may be long dead without our
    /// knowing, and its end is no news of the broker then. (Java keeps the old one until the next registration.)
    pub fn heard(&mut self, cluster: &str, addr: &str, conn: ConnId, now: Instant) {
        if self.is_late(cluster, addr, conn) {
            return;
        }
        if let Some(live) = self.live.get_mut(&(cluster.to_owned(), addr.to_owned())) {
            if live.conn != conn {
                sometimes!("a broker is heard on another connection");
            }
            (live.heard, live.conn) = (now, conn);
        }
    }

    /// Takes a broker address out, and its topics when it was the last replica.
    pub fn remove(&mut self, name: &str, addr: &str) -> Option<Removed> {
        let removed = self.take_addr(name, addr)?;
        let data = self.brokers.get(name).expect("an address stays in the table of its name until it is swept");
        if data.broker_addrs.is_empty() {
            self.sweep(name);
        } else if data.enable_acting_master && !data.broker_addrs.contains_key(&MASTER_ID) {
            // The slaves serve reads until a master is back.
            self.operate_perm(name, |perm| perm & !PERM_WRITE);
        }
        Some(removed)
    }

    /// Takes an address out of both tables; the name stays although it may have no address now.
    fn take_addr(&mut self, name: &str, addr: &str) -> Option<Removed> {
        let data = self.brokers.get_mut(name)?;
        let before = data.broker_addrs.len();
        data.broker_addrs.retain(|_, known| known != addr);
        if data.broker_addrs.len() == before {
            return None;
        }
        let key = self.live.iter().find(|(key, live)| key.1 == addr && live.name == name).map(|(key, _)| key.clone());
        let key = key.expect("an address of the broker table is in the live table");
        let live = self.live.remove(&key).expect("found just now");
        Some(Removed { cluster: key.0, name: live.name, addr: key.1, conn: live.conn })
    }

    /// Takes a broker name out that has no address any more.
    fn sweep(&mut self, name: &str) {
        self.brokers.remove(name);
        self.clusters.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
        let mut lost = 0;
        self.topics.retain(|_, queues| {
            lost += usize::from(queues.remove(name).is_some());
            !queues.is_empty()
        });
        self.entries -= lost;
        self.mappings.retain(|_, mappings| {
            mappings.remove(name);
            !mappings.is_empty()
        });
    }

    /// Takes out every broker that registered on a connection.
    pub fn close(&mut self, conn: ConnId) -> Vec<Removed> {
        self.remove_where(|live| live.conn == conn)
    }

    /// Takes out every broker that was silent for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Removed> {
        let silent = |live: &Live| live.heard + live.timeout < now;
        self.remove_where(silent)
    }

    fn remove_where(&mut self, gone: impl Fn(&Live) -> bool) -> Vec<Removed> {
        if planted!("route-keeps-dead-broker") {
            return Vec::new();
        }
        let gone: Vec<(String, String)> = self
            .live
            .iter()
            .filter(|(_, live)| gone(live))
            .map(|(key, live)| (live.name.clone(), key.1.clone()))
            .collect();
        gone.iter().filter_map(|(name, addr)| self.remove(name, addr)).collect()
    }

    /// Changes the permission of every topic of a broker; how many there were.
    pub fn operate_perm(&mut self, name: &str, change: impl Fn(i32) -> i32) -> usize {
        let queues = self.topics.values_mut().filter_map(|queues| queues.get_mut(name));
        queues.map(|queue| queue.perm = change(queue.perm)).count()
    }

    /// Takes a topic out, at all brokers or at those of one cluster.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) -> bool {
        let Some(queues) = self.topics.get_mut(topic) else { return false };
        let before = queues.len();
        match cluster {
            None => queues.clear(),
            Some(cluster) => {
                let Some(names) = self.clusters.get(cluster) else { return false };
                queues.retain(|name, _| !names.contains(name));
            }
        }
        let left = queues.len();
        self.entries -= before - left;
        if left == 0 {
            self.topics.remove(topic);
            self.mappings.remove(topic);
        }
        left < before
    }

    /// Adds a single topic (217); brokers that are not known are left out.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>, limits: Limits) -> bool {
        let known: Vec<QueueData> =
            queues.into_iter().filter(|queue| self.brokers.contains_key(&queue.broker_name)).collect();
        if self.entries + known.len() > limits.entries {
            return false;
        }
        for queue in known {
            self.put_queue(topic, queue);
        }
        true
    }

    /// Queue data by broker name.
    pub fn queues(&self, topic: &str) -> Option<&BTreeMap<String, QueueData>> {
        self.topics.get(topic)
    }
    /// Every topic with its queue data.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, QueueData>)> {
        self.topics.iter().map(|(topic, queues)| (topic.as_str(), queues))
    }
    /// Static topics by broker name.
    pub fn mappings(&self, topic: &str) -> Option<&BTreeMap<String, TopicQueueMappingInfo>> {
        self.mappings.get(topic)
    }
    /// The replicas of a name.
    pub fn broker(&self, name: &str) -> Option<&BrokerData> {
        self.brokers.get(name)
    }
    /// Every broker name.
    pub fn brokers(&self) -> &BTreeMap<String, BrokerData> {
        &self.brokers
    }
    /// Broker names by cluster.
    pub fn clusters(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.clusters
    }
    /// Every address that is thought to be alive, with its cluster.
    pub fn live(&self) -> impl Iterator<Item = (&str, &str, &Live)> {
        self.live.iter().map(|((cluster, addr), live)| (cluster.as_str(), addr.as_str(), live))
    }

    /// Panics when the tables contradict each other.
    pub fn invariants(&self) {
        for ((_, addr), live) in &self.live {
            let known = self.brokers.get(&live.name).and_then(|data| data.broker_addrs.get(&live.id));
            assert_eq!(known, Some(addr), "a live broker is in the table of its name under its id");
        }
        let addrs: usize = self.brokers.values().map(|data| data.broker_addrs.len()).sum();
        assert_eq!(addrs, self.live.len(), "an address that is in no live broker is gone");
        assert!(self.brokers.values().all(|data| !data.broker_addrs.is_empty()), "a name without address is gone");
        assert!(self.topics.values().all(|queues| !queues.is_empty()), "a topic without queues is gone");
        let names = self.topics.values().flat_map(BTreeMap::keys);
        assert!(names.clone().all(|name| self.brokers.contains_key(name)), "queues belong to brokers that are known");
        assert_eq!(names.count(), self.entries, "pairs of topic and broker are counted");
        let in_clusters = self.clusters.values().flatten();
        assert!(in_clusters.clone().all(|name| self.brokers.contains_key(name)), "clusters hold known brokers");
    }
}

fn queue_data(broker: &str, topic: &TopicConfig, mask: i32) -> QueueData {
    QueueData {
        broker_name: broker.to_owned(),
        perm: topic.perm & mask,
        read_queue_nums: topic.read_queue_nums,
        topic_sys_flag: topic.topic_sys_flag,
        write_queue_nums: topic.write_queue_nums,
    }
}

/// What ADD_WRITE_PERM_OF_BROKER sets, whatever was there.
pub const PERM_RESTORED: i32 = PERM_READ | PERM_WRITE;

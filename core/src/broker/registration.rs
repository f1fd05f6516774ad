//! Telling every name server who this broker is and which topics it has (Java `BrokerOuterAPI.registerBrokerAll`).
//!
//! Invariant: a name server is believed to know a version of the topic table only after it answered a full registration of
//! that version on this side of its last failure; until then it gets another one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::BrokerConfig;
use super::topics::Topics;
use super::{Broker, BrokerEvent};
use crate::client::CallError;
use crate::node::{Addr, Cx, Instant};
use crate::wire::codes::{request, response};
use crate::wire::json::{self, Style};
use crate::wire::register::{
    BrokerHeartbeatHeader, QueryDataVersionHeader, QueryDataVersionResponseHeader, RegisterBrokerBody,
    RegisterBrokerHeader, TopicConfigSerializeWrapper, UnregisterBrokerHeader,
};
use crate::wire::{Frame, Header};

/// Pause after a registration that failed. Java waits for its next period; a route should not be missing that long.
const RETRY: Duration = Duration::from_secs(5);
/// Pause before a name server is asked whose connection went. It forgot this broker with it, or has restarted; Java leaves the routes
/// without the broker until its next period.
const SOON: Duration = Duration::from_secs(1);
/// A table of more topics is packed, as if `compressedRegister` said so: it is a megabyte of JSON, ten times as long or more. At some 80,000
/// topics the plain form does not fit into a frame, and on a thin link it does not arrive in time long before; Java's broker, which leaves it
/// to its operator, is then dropped and never comes back. Every Java name server since 4.3 reads the packed form.
const PLAIN_TOPICS_MAX: usize = 5_000;
/// Patience with the name servers at the end.
pub const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a call to a name server was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallTag {
    /// REGISTER_BROKER with this version of the topic table.
    Register(Asked),
    /// QUERY_DATA_VERSION while it was thought to know this version.
    QueryVersion(Asked),
    /// BROKER_HEARTBEAT.
    Heartbeat,
    /// UNREGISTER_BROKER.
    Unregister,
}

/// A question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    server: Addr,
    /// Version of the topic table.
    version: u64,
    /// Number of the question: a name server that left and came back may still answer an old one.
    number: u64,
}

/// One name server, as the broker sees it.
#[derive(Clone, Debug)]
struct Server {
    /// The version of the topic table that it is known to have.
    known: Option<u64>,
    /// Number of the registration or query that is under way.
    asked: Option<u64>,
    /// When it is to be asked again although nothing changed.
    due: Instant,
    /// Nothing is sent before: after a failure, or soon after the last registration of a large table.
    not_before: Instant,
}

/// All name servers.
#[derive(Debug, Default)]
pub struct Registration {
    servers: BTreeMap<Addr, Server>,
    questions: u64,
    heartbeat_due: Instant,
}

/// What a name server is to be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Register,
    QueryVersion,
}

impl Registration {
    /// Replaces the set of name servers. Returns those that are new to forget this broker: they left the set.
    pub fn set_servers(&mut self, servers: &[Addr], now: Instant) -> Vec<Addr> {
        let gone: Vec<Addr> = self.servers.keys().filter(|addr| !servers.contains(addr)).cloned().collect();
        self.servers.retain(|addr, _| servers.contains(addr));
        for addr in servers {
            let new = Server { known: None, asked: None, due: now, not_before: now };
            self.servers.entry(addr.clone()).or_insert(new);
        }
        gone
    }
    /// The connection to a name server went: it is asked soon whether it still knows this broker.
    pub fn lost(&mut self, server: &str, now: Instant) {
        if let Some(server) = self.servers.get_mut(server) {
            crate::sometimes!("name server asked again after its connection went");
            if !crate::planted!("lost-name-server-left") {
                server.due = server.due.min(now + SOON);
            }
        }
    }
    /// The name servers.
    pub fn servers(&self) -> impl Iterator<Item = &Addr> {
        self.servers.keys()
    }
    /// Whether a name server is known to have this version of the topic table.
    pub fn knows(&self, server: &str, version: u64) -> bool {
        self.servers.get(server).is_some_and(|server| server.known == Some(version))
    }
    /// When something is due, given the version of the topic table.
    pub fn wake_at(&self, version: u64) -> Option<Instant> {
        let due = |server: &Server| if server.known == Some(version) { server.due } else { server.not_before };
        self.servers.values().filter(|server| server.asked.is_none()).map(due).min()
    }

    fn asks(&mut self, version: u64, now: Instant, period: Duration) -> Vec<(Asked, Ask)> {
        let mut asks = Vec::new();
        for (addr, server) in &mut self.servers {
            let current = server.known == Some(version);
            let due = if current { server.due } else { server.not_before };
            if server.asked.is_some() || due > now {
                continue;
            }
            self.questions += 1;
            server.asked = Some(self.questions);
            server.due = now + period;
            let asked = Asked { server: addr.clone(), version, number: self.questions };
            asks.push((asked, if current { Ask::QueryVersion } else { Ask::Register }));
        }
        asks
    }
    /// A question ended: the name server is known to have the version that it was about, or not.
    fn answered(&mut self, asked: &Asked, knows: bool, not_before: Instant) {
        assert!(asked.number <= self.questions, "an answer follows a question");
        let Some(server) = self.servers.get_mut(&asked.server) else { return };
        if server.asked != Some(asked.number) {
            return;
        }
        server.asked = None;
        server.known = knows.then_some(asked.version);
        server.not_before = not_before;
    }
}

impl Broker {
    /// Asks every name server that is due.
    pub(super) fn register(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        let period = Duration::from_millis(self.config.register_ms.clamp(10_000, 60_000));
        let version = self.topics.version();
        let asks = self.registration.asks(version, now, period);
        let full = asks.iter().any(|(_, ask)| *ask == Ask::Register).then(|| registration(&self.config, &self.topics));
        let deadline = now + Duration::from_millis(self.config.register_timeout_ms);
        for (asked, ask) in asks {
            let addr = asked.server.clone();
            let (frame, tag) = match (ask, &full) {
                (Ask::Register, Some(full)) => (full.clone(), CallTag::Register(asked)),
                _ => (version_query(&self.config, &self.topics), CallTag::QueryVersion(asked)),
            };
            self.calls.call(now, &addr, frame, deadline, tag, cx.out);
        }
        self.beat(cx);
    }

    /// The short heartbeat of brokers whose slaves may act as master.
    fn beat(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        if !self.config.acting_master || self.registration.heartbeat_due > now {
            return;
        }
        self.registration.heartbeat_due = now + Duration::from_millis(self.config.heartbeat_ms);
        let header = BrokerHeartbeatHeader {
            cluster_name: self.config.cluster.clone(),
            broker_addr: self.config.address(),
            broker_name: self.config.name.clone(),
            broker_id: Some(self.config.id),
            ..BrokerHeartbeatHeader::default()
        };
        let servers: Vec<Addr> = self.registration.servers().cloned().collect();
        for addr in servers {
            let frame = Frame::request(request::BROKER_HEARTBEAT).with_header(&header);
            self.calls.call(now, &addr, frame, now + Duration::from_secs(1), CallTag::Heartbeat, cx.out);
        }
    }

    /// When [`Broker::register`] has something to do.
    pub(super) fn register_at(&self) -> Option<Instant> {
        let beat = (self.config.acting_master && self.registration.servers().next().is_some())
            .then_some(self.registration.heartbeat_due);
        self.registration.wake_at(self.topics.version()).into_iter().chain(beat).min()
    }

    pub(super) fn on_call_answered(&mut self, tag: CallTag, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        match tag {
            CallTag::Register(asked) if frame.code == response::SUCCESS => {
                // A large table is not sent again and again while topics are being created by the hundred.
                let pause = Duration::from_millis(self.topics.len() as u64 / 10);
                self.registration.answered(&asked, true, now + pause);
                cx.out.event(BrokerEvent::Registered { name_server: asked.server });
            }
            CallTag::Register(asked) => {
                let text = frame.remark.as_deref().unwrap_or("no reason given");
                let notice = format!("name server {} refused the registration: {text}", asked.server);
                cx.out.event(BrokerEvent::Notice(notice));
                self.registration.answered(&asked, false, now + RETRY);
            }
            CallTag::QueryVersion(asked) => {
                let header = QueryDataVersionResponseHeader::read(&frame.fields);
                let current = frame.code == response::SUCCESS && header.is_ok_and(|header| !header.changed);
                self.registration.answered(&asked, current, now);
            }
            CallTag::Heartbeat | CallTag::Unregister => {}
        }
    }

    pub(super) fn on_call_failed(&mut self, tag: CallTag, error: CallError, cx: &mut Cx<'_, BrokerEvent>) {
        match tag {
            CallTag::Register(asked) | CallTag::QueryVersion(asked) => {
                crate::sometimes!("registration with a name server failed");
                // What was not answered in all that time was lost, and the name server forgot this broker with the connection.
                let pause = if error == (CallError::Timeout { sent: true }) { SOON } else { RETRY };
                self.registration.answered(&asked, false, cx.now.mono + pause);
            }
            CallTag::Heartbeat | CallTag::Unregister => {}
        }
    }

    /// The owner names other name servers.
    pub(super) fn set_name_servers(&mut self, servers: Vec<Addr>, cx: &mut Cx<'_, BrokerEvent>) {
        let gone = self.registration.set_servers(&servers, cx.now.mono);
        self.config.name_servers = servers;
        self.unregister(&gone, cx);
    }

    /// Takes leave of some name servers.
    pub(super) fn unregister(&mut self, servers: &[Addr], cx: &mut Cx<'_, BrokerEvent>) {
        let header = UnregisterBrokerHeader {
            broker_name: self.config.name.clone(),
            broker_addr: self.config.address(),
            cluster_name: self.config.cluster.clone(),
            broker_id: self.config.id,
        };
        let now = cx.now.mono;
        for addr in servers {
            let frame = Frame::request(request::UNREGISTER_BROKER).with_header(&header);
            self.calls.call(now, addr, frame, now + UNREGISTER_TIMEOUT, CallTag::Unregister, cx.out);
        }
    }
}

/// REGISTER_BROKER with all topics.
fn registration(config: &BrokerConfig, topics: &Topics) -> Frame {
    let mut topic_config_table = topics.configs();
    for topic in topic_config_table.values_mut() {
        topic.perm &= config.permission | super::topics::PERM_INHERIT;
    }
    let body = RegisterBrokerBody {
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version: Some(topics.data_version().clone()),
            topic_config_table,
            ..TopicConfigSerializeWrapper::default()
        },
        ..RegisterBrokerBody::default()
    };
    let is_large = topics.len() > PLAIN_TOPICS_MAX && !crate::planted!("large-registration-plain");
    let compressed = config.compressed_register || is_large;
    if is_large {
        crate::sometimes!("a large registration is packed");
    }
    let (bytes, crc) = body.encode(compressed);
    let header = RegisterBrokerHeader {
        broker_name: config.name.clone(),
        broker_addr: config.address(),
        cluster_name: config.cluster.clone(),
        ha_server_addr: config.ha_address(),
        broker_id: config.id,
        heartbeat_timeout_millis: config.acting_master.then_some(10_000),
        enable_acting_master: Some(config.acting_master),
        compressed,
        body_crc32: Some(crc),
        zone_name: None,
    };
    Frame::request(request::REGISTER_BROKER).with_header(&header).with_body(bytes)
}

/// QUERY_DATA_VERSION.
fn version_query(config: &BrokerConfig, topics: &Topics) -> Frame {
    let header = QueryDataVersionHeader {
        broker_name: config.name.clone(),
        broker_addr: config.address(),
        cluster_name: config.cluster.clone(),
        broker_id: config.id,
    };
    let body = json::to_vec(topics.data_version(), Style::Fastjson);
    Frame::request(request::QUERY_DATA_VERSION).with_header(&header).with_body(body)
}

#[cfg(test)]
mod tests {
    use super::super::topics::TopicsFile;
    use super::*;
    use crate::wire::MAX_FRAME;
    use crate::wire::register::body_crc;
    use crate::wire::topic::TopicConfig;

    const PERIOD: Duration = Duration::from_secs(30);

    fn at(secs: u64) -> Instant {
        Instant(secs * 1_000_000_000)
    }

    /// The registration of a broker with so many topics more than its own.
    fn registration_of(more: u32) -> Frame {
        let mut topics = Topics::load(TopicsFile::default()).0;
        for n in 0..more {
            topics.set(TopicConfig::new(format!("a-topic-of-usual-length-{n:06}"), 8, 6), 1);
        }
        registration(&BrokerConfig::default(), &topics)
    }

    #[test]
    fn the_largest_table_fits_into_a_frame_and_reads_back() {
        for (more, packed) in [(5_000, false), (10_000, true), (60_000, true), (100_000, true), (200_000, true)] {
            let frame = registration_of(more);
            assert!(
                frame.body.len() < if packed { more as usize * 16 } else { 2 << 20 },
                "{} for {more}",
                frame.body.len()
            );
            assert!(frame.body.len() < MAX_FRAME, "{} for {more}", frame.body.len());
            let header = RegisterBrokerHeader::read(&frame.fields).unwrap();
            assert_eq!((header.compressed, header.body_crc32), (packed, Some(body_crc(&frame.body))));
            let body = RegisterBrokerBody::decode(&frame.body, packed, frame.version).unwrap();
            let table = body.topic_config_serialize_wrapper.topic_config_table;
            assert_eq!(table.len(), more as usize);
            assert_eq!(table["a-topic-of-usual-length-000007"].write_queue_nums, 8);
        }
    }

    /// The one question that is due.
    fn ask(registration: &mut Registration, version: u64, secs: u64) -> Option<(Asked, Ask)> {
        let mut asks = registration.asks(version, at(secs), PERIOD);
        assert!(asks.len() <= 1);
        asks.pop()
    }

    #[test]
    fn a_full_registration_then_queries_then_a_full_one_on_change() {
        let mut registration = Registration::default();
        assert!(registration.set_servers(&["a:9876".into()], at(0)).is_empty());
        let (asked, kind) = ask(&mut registration, 1, 0).unwrap();
        assert_eq!(kind, Ask::Register);
        assert_eq!(ask(&mut registration, 2, 1), None, "one question at a time");
        registration.answered(&asked, true, at(1));
        assert!(registration.knows("a:9876", 1));
        assert_eq!(registration.wake_at(1), Some(at(30)));
        assert_eq!(registration.wake_at(2), Some(at(1)), "a change is told at once");
        assert_eq!(ask(&mut registration, 1, 29), None);
        let (asked, kind) = ask(&mut registration, 1, 30).unwrap();
        assert_eq!(kind, Ask::QueryVersion);
        registration.answered(&asked, false, at(30));
        let (asked, kind) = ask(&mut registration, 1, 30).unwrap();
        assert_eq!(kind, Ask::Register, "it has forgotten us");
        registration.answered(&asked, false, at(36));
        assert_eq!(ask(&mut registration, 1, 35), None, "a pause after a failure");
        assert_eq!(ask(&mut registration, 1, 36).unwrap().1, Ask::Register);
    }

    #[test]
    fn a_name_server_whose_connection_went_is_asked_soon() {
        let mut registration = Registration::default();
        registration.set_servers(&["a:9876".into()], at(0));
        let (asked, _) = ask(&mut registration, 1, 0).unwrap();
        registration.answered(&asked, true, at(0));
        registration.lost("a:9876", at(3));
        registration.lost("b:9876", at(3));
        assert_eq!((ask(&mut registration, 1, 3), registration.wake_at(1)), (None, Some(at(4))));
        assert_eq!(ask(&mut registration, 1, 4).unwrap().1, Ask::QueryVersion);
    }

    #[test]
    fn servers_come_and_go_and_come_back() {
        let mut registration = Registration::default();
        let (a, b): (Addr, Addr) = ("a:1".into(), "b:1".into());
        registration.set_servers(std::slice::from_ref(&a), at(0));
        let (old, _) = ask(&mut registration, 1, 0).unwrap();
        assert_eq!(registration.set_servers(std::slice::from_ref(&b), at(1)), std::slice::from_ref(&a));
        registration.answered(&old, true, at(1));
        assert!(!registration.knows("a:1", 1), "an answer that comes too late changes nothing");
        assert_eq!(ask(&mut registration, 1, 1).unwrap().0.server, b);
        registration.set_servers(&[a], at(2));
        let (new, _) = ask(&mut registration, 1, 2).unwrap();
        registration.answered(&old, true, at(2));
        assert!(!registration.knows("a:1", 1), "nor does the answer to a question of an earlier time");
        registration.answered(&new, true, at(2));
        assert!(registration.knows("a:1", 1));
    }
}

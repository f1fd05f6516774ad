//! The name server as a whole node: registrations, routes, expiry, permissions, keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::node::{Disk, Entry, FileId, Now, Outbox, Rng, Usage};
use crate::wire::json::{self, Style};
use crate::wire::register::{DataVersion, RegisterBrokerBody, RegisterBrokerHeader, UnregisterBrokerHeader, body_crc};
use crate::wire::route::{ClusterInfo, TopicRouteData};
use crate::wire::topic::{TopicConfig, TopicList};
use crate::wire::{Encoding, FLAG_ONEWAY, FLAG_RESPONSE};

/// A disk that holds one file, hot or cold.
#[derive(Default)]
struct OneFile {
    content: Option<Bytes>,
    cold: bool,
}

impl Disk for OneFile {
    fn open(&mut self, _: &str, _: Open) -> Result<FileId, DiskError> {
        if self.content.is_some() { Ok(FileId(1)) } else { Err(DiskError::Missing) }
    }
    fn close(&mut self, _: FileId) {}
    fn len(&mut self, _: FileId) -> Result<u64, DiskError> {
        Ok(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
    fn list(&mut self, _: &str) -> Result<Vec<Entry>, DiskError> {
        Ok(Vec::new())
    }
    fn write(&mut self, _: FileId, _: u64, _: &[u8]) -> Result<(), DiskError> {
        panic!("a name server writes nothing by itself")
    }
    fn read(&mut self, _: FileId, _: u64, _: usize) -> Result<Read, DiskError> {
        if self.cold { Ok(Read::Cold) } else { Ok(Read::Hot(self.content.clone().expect("it is open"))) }
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        panic!("a name server truncates nothing")
    }
    fn usage(&mut self) -> Usage {
        Usage::default()
    }
}

/// A name server with its surroundings.
struct Desk {
    server: NameServer,
    disk: OneFile,
    now: Now,
}

impl Desk {
    fn new(config: NameServerConfig) -> Desk {
        Desk::on(config, OneFile::default())
    }
    fn on(config: NameServerConfig, disk: OneFile) -> Desk {
        let mut desk = Desk { server: NameServer::new(config), disk, now: Now::default() };
        desk.step(Input::Start);
        desk
    }
    fn step(&mut self, input: Input<NameServerCommand>) -> Vec<Output<NameServerEvent>> {
        let (mut out, mut rng) = (Outbox::default(), Rng::from_seed(1));
        self.server.step(input, &mut Cx { now: self.now, disk: &mut self.disk, rng: &mut rng, out: &mut out });
        self.server.invariants();
        assert!(!out.0.iter().any(|output| matches!(output, Output::Dial { .. })), "a name server calls nobody");
        out.0
    }
    fn open(&mut self, conn: u64) -> Vec<Output<NameServerEvent>> {
        let addr: SocketAddr = "10.0.0.9:1".parse().unwrap();
        self.step(Input::Opened { conn: ConnId(conn), dial: None, peer: addr, local: addr })
    }
    /// All outputs of a request.
    fn request(&mut self, conn: u64, frame: Frame) -> Vec<Output<NameServerEvent>> {
        if !self.server.conns.contains_key(&ConnId(conn)) {
            self.open(conn);
        }
        self.step(Input::Frame { conn: ConnId(conn), frame })
    }
    /// The answer to a request.
    fn ask(&mut self, conn: u64, frame: Frame) -> Frame {
        let out = self.request(conn, frame);
        answers(&out).first().cloned().expect("an answer")
    }
    /// Time goes on, and the alarms ring.
    fn pass(&mut self, ms: u64) -> Vec<Output<NameServerEvent>> {
        let end = self.now.mono + Duration::from_millis(ms);
        let mut out = Vec::new();
        while let Some(at) = self.server.wake_at().filter(|&at| at <= end) {
            self.now.mono = at;
            out.extend(self.step(Input::Wake));
        }
        self.now.mono = end;
        out
    }
    fn route(&mut self, topic: &str) -> Result<TopicRouteData, i32> {
        let answer = self.ask(900, named(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]));
        if answer.code == 0 { Ok(json::from_slice(&answer.body).unwrap()) } else { Err(answer.code) }
    }
    fn perm(&mut self, topic: &str) -> i32 {
        self.route(topic).unwrap().queue_datas[0].perm
    }
}

fn answers(out: &[Output<NameServerEvent>]) -> Vec<Frame> {
    let frame = |output: &Output<NameServerEvent>| match output {
        Output::Send { frame, .. } => Some(frame.clone()),
        _ => None,
    };
    out.iter().filter_map(frame).collect()
}

fn events(out: &[Output<NameServerEvent>]) -> Vec<NameServerEvent> {
    let event = |output: &Output<NameServerEvent>| match output {
        Output::Event(event) => Some(event.clone()),
        _ => None,
    };
    out.iter().filter_map(event).collect()
}

fn reasons(out: &[Output<NameServerEvent>]) -> Vec<Gone> {
    let reason = |event: NameServerEvent| match event {
        NameServerEvent::BrokerRemoved { reason, .. } => Some(reason),
        _ => None,
    };
    events(out).into_iter().filter_map(reason).collect()
}

fn named(code: i32, fields: &[(&str, &str)]) -> Frame {
    let mut frame = Frame::request(code);
    frame.opaque = 7;
    fields.iter().for_each(|(name, value)| frame.fields.push_any(name, value));
    frame
}

/// A broker that registers.
#[derive(Clone)]
struct Registration {
    header: RegisterBrokerHeader,
    topics: Vec<TopicConfig>,
    version: DataVersion,
    compressed: bool,
}

fn registration(name: &str, id: i64, addr: &str, topics: &[&str]) -> Registration {
    let header = RegisterBrokerHeader {
        broker_name: name.into(),
        broker_addr: addr.into(),
        cluster_name: "C".into(),
        ha_server_addr: format!("{addr}2"),
        broker_id: id,
        ..RegisterBrokerHeader::default()
    };
    let version = DataVersion { counter: 1, state_version: 0, timestamp: 5 };
    let topics = topics.iter().map(|topic| TopicConfig::new(*topic, 4, 6)).collect();
    Registration { header, topics, version, compressed: false }
}

impl Registration {
    fn frame(&self) -> Frame {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = Some(self.version.clone());
        wrapper.topic_config_table = self.topics.iter().map(|t| (t.topic_name.clone(), t.clone())).collect();
        let (bytes, crc) = body.encode(self.compressed);
        let header = RegisterBrokerHeader { body_crc32: Some(crc), ..self.header.clone() };
        let mut frame = Frame::request(request::REGISTER_BROKER).with_header(&header).with_body(bytes);
        frame.opaque = 8;
        frame
    }
    fn query(&self, version: &DataVersion) -> Frame {
        let RegisterBrokerHeader { broker_name, broker_addr, cluster_name, broker_id, .. } = self.header.clone();
        let header =
            crate::wire::register::QueryDataVersionHeader { broker_name, broker_addr, cluster_name, broker_id };
        Frame::request(request::QUERY_DATA_VERSION)
            .with_header(&header)
            .with_body(json::to_vec(version, Style::Fastjson))
    }
    fn unregister(&self) -> Frame {
        let RegisterBrokerHeader { broker_name, broker_addr, cluster_name, broker_id, .. } = self.header.clone();
        let header = UnregisterBrokerHeader { broker_name, broker_addr, cluster_name, broker_id };
        Frame::request(request::UNREGISTER_BROKER).with_header(&header)
    }
}

fn two_topics() -> Registration {
    registration("a", 0, "10.0.0.1:10911", &["T", "U"])
}

#[test]
fn a_registration_makes_a_route() {
    let mut desk = Desk::new(NameServerConfig::default());
    assert_eq!(desk.route("T"), Err(17));
    let out = desk.request(1, two_topics().frame());
    assert_eq!(answers(&out)[0].code, 0);
    assert!(matches!(&events(&out)[..], [NameServerEvent::BrokerRegistered { first: true, changed: 2, .. }]));
    let mut ask = named(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]);
    let modern = r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
    assert_eq!(desk.ask(2, ask.clone()).body, modern);
    ask.version = 317;
    assert_eq!(desk.ask(2, ask.clone()).body, modern.replace("\"0\"", "0"));
    ask.fields.push_str("acceptStandardJsonOnly", "true");
    assert_eq!(desk.ask(2, ask).body, modern);
    assert_eq!(
        desk.server.routes().map(|(topic, name, _)| (topic, name)).collect::<Vec<_>>(),
        [("T", "a"), ("U", "a")]
    );
    let again = desk.request(1, two_topics().frame());
    assert!(events(&again).is_empty(), "nothing is new");
}

#[test]
fn a_registration_that_does_not_read_changes_nothing() {
    let mut desk = Desk::new(NameServerConfig::default());
    let refused = |desk: &mut Desk, frame: Frame| {
        let answer = desk.ask(1, frame);
        assert_eq!((answer.code, desk.server.live_brokers().count()), (1, 0));
        answer.remark.unwrap()
    };
    let single = registration("a", 0, "10.0.0.1:10911", &["T"]);
    assert_eq!(refused(&mut desk, single.frame()), "register broker failed");
    let mut frame = two_topics().frame();
    frame.fields.push("bodyCrc32", 12_345);
    assert_eq!(refused(&mut desk, frame.clone()), "crc32 not match");
    frame.body = Bytes::from_static(b"{");
    frame.fields.push("bodyCrc32", 0);
    assert!(refused(&mut desk, frame.clone()).starts_with("Failed to decode RegisterBrokerBody"));
    frame.fields.push("brokerName", "");
    assert!(refused(&mut desk, frame).contains("1 to 255 bytes"));
    let missing = refused(&mut desk, named(request::REGISTER_BROKER, &[("topic", "T")]));
    assert_eq!(missing, "the custom field <brokerName> is null");
    let mut empty = two_topics().frame();
    empty.body = Bytes::new();
    empty.fields.push("bodyCrc32", 0);
    assert_eq!(desk.ask(1, empty).code, 0, "Java takes a broker without a body");
}

#[test]
fn a_compressed_body_reads_even_when_the_header_denies_it() {
    for said in [true, false] {
        let mut desk = Desk::new(NameServerConfig::default());
        let mut registration = Registration { compressed: true, ..two_topics() };
        registration.header.compressed = said;
        assert_eq!(desk.ask(1, registration.frame()).code, 0);
        assert!(desk.route("U").is_ok());
    }
}

#[test]
fn a_silent_broker_leaves_after_its_time() {
    let mut desk = Desk::new(NameServerConfig::default());
    desk.request(1, two_topics().frame());
    let mut quick = registration("b", 0, "10.0.0.2:10911", &["T", "V"]);
    quick.header.heartbeat_timeout_millis = Some(9_000);
    desk.request(2, quick.frame());
    assert_eq!(reasons(&desk.pass(9_999)), []);
    let out = desk.pass(1);
    assert_eq!(reasons(&out), [Gone::Expired], "9 s of its own, seen by the scan at 10 s");
    assert!(out.iter().any(|output| matches!(output, Output::Close { conn: ConnId(2) })));
    assert_eq!(desk.route("T").unwrap().broker_datas.len(), 1);
    assert_eq!(desk.route("V"), Err(17));
    desk.pass(100_000);
    assert!(desk.route("U").is_ok());
    assert_eq!(reasons(&desk.pass(10_000)), []);
    assert_eq!(reasons(&desk.pass(5_000)), [Gone::Expired], "120 s, and the next scan");
    assert_eq!(desk.server.live_brokers().count(), 0);
}

#[test]
fn a_sign_of_life_keeps_a_broker() {
    let broker = two_topics();
    let version = broker.version.clone();
    let heartbeat = || {
        let fields = [("clusterName", "C"), ("brokerAddr", "10.0.0.1:10911"), ("brokerName", "a")];
        named(request::BROKER_HEARTBEAT, &fields)
    };
    for sign in [0, 1] {
        let mut desk = Desk::new(NameServerConfig::default());
        desk.request(1, broker.frame());
        for _ in 0..10 {
            assert_eq!(reasons(&desk.pass(100_000)), []);
            assert_eq!(desk.ask(1, if sign == 0 { heartbeat() } else { broker.query(&version) }).code, 0);
        }
        assert_eq!(reasons(&desk.pass(130_000)), [Gone::Expired]);
    }
}

#[test]
fn a_version_is_compared_and_sent_back() {
    let mut desk = Desk::new(NameServerConfig::default());
    let broker = two_topics();
    let unknown = desk.ask(1, broker.query(&broker.version));
    assert_eq!((unknown.fields.get("changed"), unknown.body.len()), (Some("true"), 0));
    desk.request(1, broker.frame());
    let same = desk.ask(1, broker.query(&broker.version));
    assert_eq!(same.fields.get("changed"), Some("false"));
    assert_eq!(same.body, "{\"counter\":1,\"stateVersion\":0,\"timestamp\":5}");
    let newer = DataVersion { counter: 2, ..broker.version.clone() };
    assert_eq!(desk.ask(1, broker.query(&newer)).fields.get("changed"), Some("true"));
}

#[test]
fn a_closed_connection_takes_its_broker_at_once() {
    let mut desk = Desk::new(NameServerConfig::default());
    desk.request(1, two_topics().frame());
    let slave = registration("a", 1, "10.0.0.2:10911", &["T", "U"]);
    let answer = desk.ask(2, slave.frame());
    assert_eq!(answer.fields.get("masterAddr"), Some("10.0.0.1:10911"));
    assert_eq!(answer.fields.get("haServerAddr"), Some("10.0.0.1:109112"));
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(1) })), [Gone::Closed]);
    let route = desk.route("T").unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs, BTreeMap::from([(1, "10.0.0.2:10911".to_owned())]));
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(2) })), [Gone::Closed]);
    assert_eq!(desk.route("T"), Err(17));
}

#[test]
fn the_end_of_an_old_connection_is_no_news() {
    let mut desk = Desk::new(NameServerConfig::default());
    let broker = two_topics();
    desk.request(1, broker.frame());
    desk.request(2, broker.frame());
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(1) })), []);
    desk.request(3, broker.query(&broker.version));
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(2) })), []);
    assert!(desk.route("T").is_ok());
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(3) })), [Gone::Closed]);
}

#[test]
fn what_comes_late_on_a_connection_that_its_broker_gave_up_changes_nothing() {
    let mut desk = Desk::new(NameServerConfig::default());
    let (old, new) = (registration("a", 0, "10.0.0.1:10911", &["T", "U"]), two_topics());
    desk.request(1, old.frame());
    let mut new = Registration { version: DataVersion { counter: 2, ..new.version.clone() }, ..new };
    new.topics[0].read_queue_nums = 8;
    desk.request(2, new.frame());
    let reads = |desk: &mut Desk| desk.route("T").map(|route| route.queue_datas[0].read_queue_nums);
    for late in [old.frame(), old.query(&old.version), old.unregister()] {
        let out = desk.request(1, late);
        assert_eq!((answers(&out)[0].code, events(&out).len()), (0, 0));
        assert_eq!(reads(&mut desk), Ok(8));
    }
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(1) })), []);
    assert_eq!(reads(&mut desk), Ok(8), "the broker is there, on the connection that it opened last");
    assert_eq!(reasons(&desk.step(Input::Closed { conn: ConnId(2) })), [Gone::Closed]);
    desk.request(1, old.frame());
    assert_eq!(reads(&mut desk), Ok(4), "nobody else is known at that address now");
}

#[test]
fn unregistration_takes_the_topics_of_the_last_replica() {
    let mut desk = Desk::new(NameServerConfig::default());
    let (a, b) = (two_topics(), registration("b", 0, "10.0.0.2:10911", &["T", "V"]));
    desk.request(1, a.frame());
    desk.request(2, b.frame());
    assert_eq!(reasons(&desk.request(2, b.unregister())), [Gone::Unregistered]);
    assert_eq!(reasons(&desk.request(2, b.unregister())), []);
    assert_eq!((desk.route("V"), desk.route("T").unwrap().queue_datas.len()), (Err(17), 1));
    let info: ClusterInfo = json::from_slice(&desk.ask(9, named(request::GET_BROKER_CLUSTER_INFO, &[])).body).unwrap();
    assert_eq!(info.cluster_addr_table, BTreeMap::from([("C".to_owned(), vec!["a".to_owned()])]));
}

#[test]
fn a_wiped_permission_comes_back_with_the_next_change() {
    let mut desk = Desk::new(NameServerConfig::default());
    let mut broker = two_topics();
    desk.request(1, broker.frame());
    let wipe = desk.ask(9, named(request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "a")]));
    assert_eq!((wipe.fields.get("wipeTopicCount"), desk.perm("T")), (Some("2"), 4));
    desk.request(1, broker.frame());
    assert_eq!(desk.perm("T"), 4, "the same version changes nothing");
    broker.version.counter += 1;
    desk.request(1, broker.frame());
    assert_eq!(desk.perm("T"), 6);
    desk.request(9, named(request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "a")]));
    let add = desk.ask(9, named(request::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "a")]));
    assert_eq!((add.fields.get("addTopicCount"), desk.perm("T")), (Some("2"), 6));
}

#[test]
fn ids_and_addresses_move_as_java_moves_them() {
    let mut desk = Desk::new(NameServerConfig::default());
    desk.request(1, registration("a", 1, "x:1", &["T", "U"]).frame());
    assert_eq!(desk.route("T"), Err(17), "a slave brings no topics");
    let out = desk.request(1, registration("a", 0, "x:1", &["T", "U"]).frame());
    assert_eq!(reasons(&out), [], "it is the same broker");
    assert_eq!(desk.route("T").unwrap().broker_datas[0].broker_addrs, BTreeMap::from([(0, "x:1".to_owned())]));
    let out = desk.request(2, registration("a", 0, "y:1", &["T", "U"]).frame());
    assert_eq!(reasons(&out), [Gone::Replaced]);
    let mut newer = registration("a", 0, "y:1", &["T", "U"]);
    newer.version.state_version = 3;
    desk.request(2, newer.frame());
    let out = desk.request(1, registration("a", 0, "x:1", &["T", "U"]).frame());
    assert_eq!((answers(&out)[0].code, reasons(&out)), (0, vec![]), "an older epoch is ignored");
    assert_eq!(desk.route("T").unwrap().broker_datas[0].broker_addrs[&0], "y:1");
    let out = desk.request(2, registration("renamed", 0, "y:1", &["T", "W"]).frame());
    assert_eq!(reasons(&out), [Gone::Replaced]);
    assert_eq!(desk.route("U"), Err(17));
}

#[test]
fn an_acting_master_may_be_read_only() {
    let config = NameServerConfig { acting_master: true, ..NameServerConfig::default() };
    let mut desk = Desk::new(config);
    let acting = |id, addr| {
        let mut broker = registration("a", id, addr, &["T", "U"]);
        broker.header.enable_acting_master = Some(true);
        broker
    };
    desk.request(1, acting(0, "m:1").frame());
    desk.request(2, acting(1, "s:1").frame());
    assert_eq!(desk.perm("T"), 6);
    desk.step(Input::Closed { conn: ConnId(1) });
    let route = desk.route("T").unwrap();
    assert_eq!((route.queue_datas[0].perm, &*route.broker_datas[0].broker_addrs[&0]), (4, "s:1"));
}

#[test]
fn topics_are_listed_and_deleted() {
    let mut desk = Desk::new(NameServerConfig::default());
    desk.request(1, two_topics().frame());
    desk.request(2, registration("b", 0, "10.0.0.2:10911", &["T", "V"]).frame());
    let list = |desk: &mut Desk, code, fields: &[(&str, &str)]| -> Vec<String> {
        json::from_slice::<TopicList>(&desk.ask(9, named(code, fields)).body).unwrap().topic_list
    };
    assert_eq!(list(&mut desk, request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]), ["T", "U", "V"]);
    assert_eq!(list(&mut desk, request::GET_TOPICS_BY_CLUSTER, &[("cluster", "C")]).len(), 3);
    assert_eq!(list(&mut desk, request::GET_TOPICS_BY_CLUSTER, &[("cluster", "no")]).len(), 0);
    assert_eq!(list(&mut desk, request::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]), ["C", "a", "b"]);
    assert_eq!(list(&mut desk, request::GET_UNIT_TOPIC_LIST, &[]).len(), 0);
    desk.ask(9, named(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "T"), ("clusterName", "no")]));
    assert!(desk.route("T").is_ok());
    desk.ask(9, named(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "T")]));
    assert_eq!(desk.route("T"), Err(17));
    let body =
        br#"{"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":2,"writeQueueNums":2},{"brokerName":"no"}]}"#;
    let single = named(request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "W")]).with_body(&body[..]);
    assert_eq!(desk.ask(1, single).code, 0);
    assert_eq!(desk.route("W").unwrap().queue_datas.len(), 1);
}

#[test]
fn a_key_is_answered_when_it_is_in_the_file() {
    let mut desk = Desk::new(NameServerConfig::default());
    let fields = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "a:4")];
    let get = || named(request::GET_KV_CONFIG, &fields[..2]);
    assert_eq!(desk.ask(9, get()).code, 22);
    let out = desk.request(9, named(request::PUT_KV_CONFIG, &fields));
    let [Output::Disk(DiskAsk::Replace { path, bytes })] = &out[..] else { panic!("{out:?}") };
    assert_eq!(desk.ask(9, get()).code, 22);
    let done = DiskDone::Replaced { path: path.clone(), result: Ok(()) };
    let file = bytes.clone();
    assert_eq!(answers(&desk.step(Input::Disk(done)))[0].opaque, 7);
    assert_eq!(desk.ask(9, get()).fields.get("value"), Some("a:4"));
    let answer = desk.ask(1, two_topics().frame());
    assert_eq!(answer.body, "{\"table\":{\"T\":\"a:4\"}}");
    desk.request(9, named(request::DELETE_KV_CONFIG, &fields[..2]));
    let done = DiskDone::Replaced { path: path.clone(), result: Err(DiskError::Full) };
    assert_eq!(answers(&desk.step(Input::Disk(done)))[0].code, 1);
    assert_eq!(desk.ask(9, get()).code, 0, "what could not be written did not happen");
    assert_eq!(desk.ask(9, named(request::PUT_KV_CONFIG, &fields[1..])).remark.unwrap(), "namespace or key is null");

    let mut next = Desk::on(NameServerConfig::default(), OneFile { content: Some(file.clone()), cold: false });
    assert_eq!(next.ask(9, get()).code, 0, "another life reads it");
    let mut cold = Desk::on(NameServerConfig::default(), OneFile { content: Some(file.clone()), cold: true });
    assert_eq!(cold.ask(9, get()).code, 1);
    let out = cold.step(Input::Disk(DiskDone::Fetched { fetch: KV_FETCH, result: Ok(file) }));
    assert_eq!(events(&out), [NameServerEvent::Ready]);
    let list = named(request::GET_KVLIST_BY_NAMESPACE, &fields[..1]);
    assert_eq!(cold.ask(9, list).body, "{\"table\":{\"T\":\"a:4\"}}");
}

#[test]
fn a_stop_waits_for_the_file() {
    let mut desk = Desk::new(NameServerConfig::default());
    desk.request(9, named(request::PUT_KV_CONFIG, &[("namespace", "N"), ("key", "k"), ("value", "v")]));
    assert!(desk.step(Input::Stop).is_empty());
    let path = desk.server.config.kv_path.clone();
    let out = desk.step(Input::Disk(DiskDone::Replaced { path, result: Ok(()) }));
    assert!(matches!(&out[..], [Output::Send { .. }, Output::Stopped]), "{out:?}");
}

#[test]
fn what_is_unknown_is_refused_and_one_way_is_silent() {
    let mut desk = Desk::new(NameServerConfig::default());
    let answer = desk.ask(1, named(9999, &[]));
    assert_eq!((answer.code, answer.remark.as_deref()), (3, Some(" request type 9999 not supported")));
    assert_eq!((answer.opaque, answer.flag, answer.encoding), (7, FLAG_RESPONSE, Encoding::Json));
    for flag in [FLAG_ONEWAY, FLAG_RESPONSE, 3, -1] {
        let mut frame = named(9999, &[]);
        frame.flag = flag;
        assert!(desk.request(1, frame).is_empty());
    }
    let missing = desk.ask(1, named(request::GET_ROUTEINFO_BY_TOPIC, &[]));
    assert!(missing.code == 17 && missing.remark.unwrap().contains("for the topic: null\n"));
}

#[test]
fn settings_are_told_and_changed() {
    let mut desk = Desk::new(NameServerConfig::default());
    let body = desk.ask(1, named(request::GET_NAMESRV_CONFIG, &[])).body;
    assert!(std::str::from_utf8(&body).unwrap().contains("orderMessageEnable=false\n"));
    let update = |text: &'static str| named(request::UPDATE_NAMESRV_CONFIG, &[]).with_body(text.as_bytes());
    let out = desk.step(Input::Frame { conn: ConnId(1), frame: update(" orderMessageEnable = true\nunknown=1\n") });
    let changed = NameServerEvent::ConfigChanged(vec![("orderMessageEnable".into(), "true".into())]);
    assert!(
        matches!(&out[..], [Output::Event(event), Output::Send { frame, .. }] if *event == changed && frame.code == 0)
    );
    assert!(desk.server.config.order_message);
    let refused = desk.ask(1, update("orderMessageEnable=false\nkvConfigPath=x\n"));
    assert_eq!((refused.code, desk.server.config.order_message), (16, true));
    assert_eq!(desk.ask(1, update("scanNotActiveBrokerInterval=x")).code, 1);
}

#[test]
fn everything_is_bounded() {
    let config = NameServerConfig { connections_max: 3, brokers_max: 1, topics_max: 3, ..NameServerConfig::default() };
    let mut desk = Desk::new(config);
    (1..=3).for_each(|conn| assert!(desk.open(conn).is_empty()));
    assert!(matches!(&desk.open(4)[..], [Output::Close { conn: ConnId(4) }]));
    assert!(desk.step(Input::Frame { conn: ConnId(4), frame: two_topics().frame() }).is_empty());
    assert_eq!(desk.ask(1, two_topics().frame()).code, 0);
    assert_eq!(desk.ask(2, registration("b", 0, "y:1", &["T", "V"]).frame()).code, 1, "one broker");
    assert_eq!(desk.ask(1, registration("a", 0, "10.0.0.1:10911", &["T", "U", "V", "W"]).frame()).code, 1);
    assert_eq!(desk.ask(1, registration("a", 0, "10.0.0.1:10911", &["T", "U", "V"]).frame()).code, 0);
    let out = desk.pass(130_000);
    let closed = out.iter().filter(|output| matches!(output, Output::Close { .. })).count();
    assert!((3..=4).contains(&closed), "silent connections are closed: {closed}");
}

/// What may happen to a name server.
#[derive(Clone, Debug)]
enum Act {
    Register { conn: u64, name: usize, id: i64, addr: usize, topics: usize, counter: i64, acting: bool },
    Unregister { conn: u64, name: usize, addr: usize },
    Query { conn: u64, name: usize, addr: usize },
    Close(u64),
    Pass(u64),
    Wipe(usize),
    Delete(usize),
}

const NAMES: [&str; 2] = ["a", "b"];
const ADDRS: [&str; 3] = ["x:1", "y:1", "z:1"];
const TOPICS: [&str; 3] = ["T", "U", "V"];

fn act() -> impl Strategy<Value = Act> {
    let register = (0..3_u64, 0..2_usize, 0..3_i64, 0..3_usize, 0..4_usize, 0..3_i64, any::<bool>()).prop_map(
        |(conn, name, id, addr, topics, counter, acting)| Act::Register {
            conn,
            name,
            id,
            addr,
            topics,
            counter,
            acting,
        },
    );
    prop_oneof![
        6 => register,
        1 => (0..3_u64, 0..2_usize, 0..3_usize).prop_map(|(conn, name, addr)| Act::Unregister { conn, name, addr }),
        2 => (0..3_u64, 0..2_usize, 0..3_usize).prop_map(|(conn, name, addr)| Act::Query { conn, name, addr }),
        2 => (0..3_u64).prop_map(Act::Close),
        2 => (0..90_000_u64).prop_map(Act::Pass),
        1 => (0..2_usize).prop_map(Act::Wipe),
        1 => (0..3_usize).prop_map(Act::Delete),
    ]
}

fn perform(desk: &mut Desk, act: &Act) {
    match *act {
        Act::Register { conn, name, id, addr, topics, counter, acting } => {
            let mut broker = registration(NAMES[name], id, ADDRS[addr], &TOPICS[..topics]);
            broker.version.counter = counter;
            broker.header.enable_acting_master = acting.then_some(acting);
            desk.request(conn, broker.frame());
        }
        Act::Unregister { conn, name, addr } => {
            desk.request(conn, registration(NAMES[name], 0, ADDRS[addr], &[]).unregister());
        }
        Act::Query { conn, name, addr } => {
            let broker = registration(NAMES[name], 0, ADDRS[addr], &[]);
            desk.request(conn, broker.query(&broker.version));
        }
        Act::Close(conn) => drop(desk.step(Input::Closed { conn: ConnId(conn) })),
        Act::Pass(ms) => drop(desk.pass(ms)),
        Act::Wipe(name) => {
            desk.request(0, named(request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", NAMES[name])]));
        }
        Act::Delete(topic) => {
            desk.request(0, named(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", TOPICS[topic])]));
        }
    }
}

proptest! {
    /// The tables agree after every step, and silence empties them.
    #[test]
    fn no_sequence_leaves_a_ghost(acts in proptest::collection::vec(act(), 0..60)) {
        let mut desk = Desk::new(NameServerConfig::default());
        for act in &acts {
            perform(&mut desk, act);
            let in_time = desk.server.live_brokers().all(|(.., live)| desk.now.mono.since(live.heard).as_secs() <= 125);
            prop_assert!(in_time);
        }
        desk.pass(130_000);
        prop_assert_eq!((desk.server.live_brokers().count(), desk.server.routes().count()), (0, 0));
        prop_assert!(desk.server.table().clusters().is_empty());
    }
}

#[test]
fn the_checksum_is_of_the_body_as_it_is_sent() {
    let frame = Registration { compressed: true, ..two_topics() }.frame();
    assert_eq!(frame.fields.get("bodyCrc32"), Some(&*body_crc(&frame.body).to_string()));
}

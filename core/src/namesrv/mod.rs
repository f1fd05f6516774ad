//! The name server: which brokers live and which topics they have, told by the brokers, asked by everyone.
//!
//! Invariant: a route names only brokers that were heard of within their time on a connection that is still open; nothing
//! but the key-value configuration is stored, so that an empty name server is full again after one round of registrations.

mod config;
mod kv;
mod queries;
mod registration;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

pub use self::config::{NameServerConfig, PROPERTIES, Property};
use self::kv::{Change, KvConfig};
pub use self::routes::{Live, RouteTable};
use crate::checked::Checked;
use crate::node::{
    ConnId, Cx, DiskAsk, DiskDone, DiskError, FetchId, Holding, Input, Instant, Node, Open, Output, Read,
};
use crate::sometimes;
use crate::wire::codes::{request, response};
use crate::wire::kv::{
    DeleteKVConfigHeader, GetKVConfigHeader, GetKVConfigResponseHeader, GetKVListByNamespaceHeader, KVTable,
    PutKVConfigHeader,
};
use crate::wire::route::BrokerData;
use crate::wire::{FieldError, Frame, Header};

/// The only read that this machine waits for.
const KV_FETCH: FetchId = FetchId(1);

/// What the owner can ask: nothing beside what the wire asks.
#[derive(Clone, Debug, Hash)]
pub enum NameServerCommand {}

/// Why a broker is no longer in the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gone {
    /// It said so.
    Unregistered,
    /// It was silent for too long.
    Expired,
    /// Its connection closed.
    Closed,
    /// Another registration took its address or its id.
    Replaced,
}

/// News for the owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NameServerEvent {
    /// The key-value configuration is read: every request can be answered.
    Ready,
    /// A broker registered for the first time, or with other topics.
    BrokerRegistered {
        /// Cluster.
        cluster: String,
        /// Broker name.
        name: String,
        /// Broker id.
        id: i64,
        /// Address.
        addr: String,
        /// It was not there before.
        first: bool,
        /// Topics that are new or different.
        changed: usize,
    },
    /// A broker address left the routes.
    BrokerRemoved {
        /// Cluster.
        cluster: String,
        /// Broker name.
        name: String,
        /// Address.
        addr: String,
        /// Why.
        reason: Gone,
    },
    /// Someone changed a topic or permissions by hand.
    TopicChanged {
        /// The topic; empty when it is every topic of a broker.
        topic: String,
    },
    /// A request changed these settings, by Java's names. The answer leaves behind this event: the owner has a chance to keep
    /// them before (Java `Configuration.persist`).
    ConfigChanged(Vec<(String, String)>),
    /// Something the operator should read.
    Notice(String),
}

/// An open connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// When something came or went last.
    active: Instant,
}

/// Who waits for the file of the key-value configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiter {
    conn: ConnId,
    opaque: i32,
    oneway: bool,
}

/// The machine.
#[derive(Debug)]
pub struct NameServer {
    config: NameServerConfig,
    routes: Checked<RouteTable>,
    kv: KvConfig<Waiter>,
    conns: BTreeMap<ConnId, Peer>,
    /// When silent brokers and connections are looked for next; `None` before the start.
    next_scan: Option<Instant>,
    stopping: bool,
}

/// The answer to a request; `Ok(None)` when it comes later.
type Handled = Result<Option<Frame>, Fault>;

/// A refusal.
#[derive(Debug)]
struct Fault(i32, String);

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Fault(response::SYSTEM_ERROR, error.to_string())
    }
}

impl NameServer {
    /// A name server that knows nobody.
    pub fn new(config: NameServerConfig) -> NameServer {
        let kv = KvConfig::new(config.kv_path.clone(), config.kv_bytes_max);
        let (routes, conns) = (Checked::new(RouteTable::default()), BTreeMap::new());
        NameServer { config, routes, kv, conns, next_scan: None, stopping: false }
    }

    /// Its settings.
    pub fn config(&self) -> &NameServerConfig {
        &self.config
    }
    /// Everything it knows of brokers and topics.
    pub fn table(&self) -> &RouteTable {
        &self.routes
    }
    /// Each topic with each broker that holds it: topic, broker name, replicas.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &str, &BrokerData)> {
        let pairs = self.routes.topics().flat_map(|(topic, queues)| queues.keys().map(move |name| (topic, name)));
        pairs.filter_map(|(topic, name)| Some((topic, name.as_str(), self.routes.broker(name)?)))
    }
    /// Each address that it thinks alive: cluster, address, what is known of it.
    pub fn live_brokers(&self) -> impl Iterator<Item = (&str, &str, &Live)> {
        self.routes.live()
    }
    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    fn on_start(&mut self, cx: &mut Cx<'_, NameServerEvent>) {
        self.next_scan = Some(cx.now.mono + Duration::from_millis(self.config.scan_ms));
        if let Some(content) = self.find_kv(cx) {
            self.on_kv_read(content, cx);
        }
    }

    /// The file of the key-value configuration; `None` when it is cold and has been asked for.
    fn find_kv(&self, cx: &mut Cx<'_, NameServerEvent>) -> Option<Result<Option<Bytes>, DiskError>> {
        let file = match cx.disk.open(&self.config.kv_path, Open::Existing) {
            Ok(file) => file,
            Err(DiskError::Missing) => return Some(Ok(None)),
            Err(error) => return Some(Err(error)),
        };
        // A longer file is cut here, does not read, and is left alone.
        let limit = 2 * self.config.kv_bytes_max as u64 + 1024;
        let len = match cx.disk.len(file) {
            Ok(len) => u32::try_from(len.min(limit)).expect("the configuration is far below 4 GiB"),
            Err(error) => return Some(Err(error)),
        };
        match cx.disk.read(file, 0, len as usize) {
            Ok(Read::Hot(bytes)) => Some(Ok(Some(bytes))),
            Ok(Read::Cold) => {
                cx.out.disk(DiskAsk::Fetch { fetch: KV_FETCH, file, at: 0, len });
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn on_kv_read(&mut self, content: Result<Option<Bytes>, DiskError>, cx: &mut Cx<'_, NameServerEvent>) {
        match self.kv.loaded(content) {
            Ok(()) => cx.out.event(NameServerEvent::Ready),
            Err(why) => cx.out.event(NameServerEvent::Notice(why)),
        }
    }

    fn on_disk(&mut self, done: DiskDone, cx: &mut Cx<'_, NameServerEvent>) {
        match done {
            DiskDone::Fetched { fetch: KV_FETCH, result } => self.on_kv_read(result.map(Some), cx),
            DiskDone::Replaced { path, result } if self.kv.is_at(&path) => {
                for waiter in self.kv.replaced(&result) {
                    self.answer_kv(waiter, &result, cx);
                }
                self.write_kv(cx);
                if let Err(why) = result {
                    cx.out.event(NameServerEvent::Notice(format!("{path} could not be written: {why}")));
                }
            }
            _ => {}
        }
    }

    fn answer_kv(&mut self, waiter: Waiter, result: &Result<(), DiskError>, cx: &mut Cx<'_, NameServerEvent>) {
        if waiter.oneway || !self.conns.contains_key(&waiter.conn) {
            return;
        }
        let mut frame = match result {
            Ok(()) => Frame::request(response::SUCCESS),
            Err(why) => Frame::request(response::SYSTEM_ERROR).with_remark(format!("not written: {why}")),
        };
        (frame.opaque, frame.flag) = (waiter.opaque, crate::wire::FLAG_RESPONSE);
        self.send(waiter.conn, frame, cx);
    }

    fn write_kv(&mut self, cx: &mut Cx<'_, NameServerEvent>) {
        if let Some(ask) = self.kv.ask() {
            cx.out.disk(ask);
        }
        if self.stopping && !self.kv.is_busy() {
            self.stopping = false;
            cx.out.0.push(Output::Stopped);
        }
    }

    fn on_opened(&mut self, conn: ConnId, cx: &mut Cx<'_, NameServerEvent>) {
        if self.conns.len() >= self.config.connections_max {
            sometimes!("a name server has too many connections");
            cx.out.close(conn);
            return;
        }
        self.conns.insert(conn, Peer { active: cx.now.mono });
    }

    fn on_closed(&mut self, conn: ConnId, cx: &mut Cx<'_, NameServerEvent>) {
        if self.conns.remove(&conn).is_some() {
            let gone = self.routes.close(conn);
            tell_removed(gone, Gone::Closed, cx);
        }
    }

    fn on_wake(&mut self, cx: &mut Cx<'_, NameServerEvent>) {
        let now = cx.now.mono;
        if self.next_scan.is_none_or(|at| now < at) {
            return;
        }
        self.next_scan = Some(now + Duration::from_millis(self.config.scan_ms));
        let expired = self.routes.expire(now);
        for gone in &expired {
            if self.conns.contains_key(&gone.conn) {
                sometimes!("a broker expires while connected");
                cx.out.close(gone.conn);
            }
        }
        tell_removed(expired, Gone::Expired, cx);
        let idle = Duration::from_secs(self.config.idle_close_secs);
        for (conn, peer) in self.conns.iter_mut().filter(|(_, peer)| peer.active + idle < now) {
            // Asked for once, not at every scan until it is done.
            peer.active = now;
            cx.out.close(*conn);
        }
    }

    fn on_frame(&mut self, conn: ConnId, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) {
        let Some(peer) = self.conns.get_mut(&conn) else { return };
        peer.active = cx.now.mono;
        if frame.is_response() {
            return;
        }
        let answer = match self.handle(conn, frame, cx) {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(Fault(code, text)) => Frame::response(frame, code).with_remark(text),
        };
        if !frame.is_oneway() {
            self.send(conn, answer, cx);
        }
    }

    fn send(&mut self, conn: ConnId, frame: Frame, cx: &mut Cx<'_, NameServerEvent>) {
        if let Some(peer) = self.conns.get_mut(&conn) {
            peer.active = cx.now.mono;
        }
        cx.out.send(conn, frame);
    }

    fn handle(&mut self, conn: ConnId, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        match frame.code {
            request::GET_ROUTEINFO_BY_TOPIC => self.on_route(frame),
            request::REGISTER_BROKER => self.on_register(conn, frame, cx),
            request::QUERY_DATA_VERSION => self.on_query_version(conn, frame, cx),
            request::BROKER_HEARTBEAT => self.on_broker_heartbeat(conn, frame, cx),
            request::UNREGISTER_BROKER => self.on_unregister(conn, frame, cx),
            request::GET_BROKER_MEMBER_GROUP => self.on_member_group(frame),
            request::GET_BROKER_CLUSTER_INFO => self.on_cluster_info(frame),
            request::WIPE_WRITE_PERM_OF_BROKER | request::ADD_WRITE_PERM_OF_BROKER => self.on_write_perm(frame, cx),
            request::DELETE_TOPIC_IN_NAMESRV => self.on_delete_topic(frame, cx),
            request::REGISTER_TOPIC_IN_NAMESRV => self.on_register_topic(frame, cx),
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER
            | request::GET_TOPICS_BY_CLUSTER
            | request::GET_SYSTEM_TOPIC_LIST_FROM_NS
            | request::GET_UNIT_TOPIC_LIST
            | request::GET_HAS_UNIT_SUB_TOPIC_LIST
            | request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => self.on_topic_list(frame),
            request::UPDATE_NAMESRV_CONFIG => self.on_update_config(frame, cx),
            request::GET_NAMESRV_CONFIG => {
                Ok(Some(Frame::response(frame, response::SUCCESS).with_body(self.config.to_properties())))
            }
            request::PUT_KV_CONFIG | request::DELETE_KV_CONFIG => self.on_change_kv(conn, frame, cx),
            request::GET_KV_CONFIG | request::GET_KVLIST_BY_NAMESPACE => self.on_read_kv(frame),
            code => {
                let text = format!(" request type {code} not supported");
                Err(Fault(response::REQUEST_CODE_NOT_SUPPORTED, text))
            }
        }
    }

    fn on_change_kv(&mut self, conn: ConnId, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let null = |_| Fault(response::SYSTEM_ERROR, "namespace or key is null".into());
        let change = if frame.code == request::PUT_KV_CONFIG {
            let PutKVConfigHeader { namespace, key, value } = PutKVConfigHeader::read(&frame.fields).map_err(null)?;
            Change { namespace, key, value: Some(value) }
        } else {
            let DeleteKVConfigHeader { namespace, key } = DeleteKVConfigHeader::read(&frame.fields).map_err(null)?;
            Change { namespace, key, value: None }
        };
        let waiter = Waiter { conn, opaque: frame.opaque, oneway: frame.is_oneway() };
        match self.kv.change(change, waiter) {
            Ok(Some(_)) => Ok(Some(Frame::response(frame, response::SUCCESS))),
            Ok(None) => {
                self.write_kv(cx);
                Ok(None)
            }
            Err((why, _)) => Err(Fault(response::SYSTEM_ERROR, why)),
        }
    }

    fn on_read_kv(&mut self, frame: &Frame) -> Handled {
        if let Some(why) = self.kv.refuses() {
            return Err(Fault(response::SYSTEM_ERROR, why.into()));
        }
        let missing = |what: String| Fault(response::QUERY_NOT_FOUND, format!("No config item, Namespace: {what}"));
        let answer = Frame::response(frame, response::SUCCESS);
        if frame.code == request::GET_KV_CONFIG {
            let GetKVConfigHeader { namespace, key } = GetKVConfigHeader::read(&frame.fields)?;
            let value = self.kv.get(&namespace, &key).ok_or_else(|| missing(format!("{namespace} Key: {key}")))?;
            return Ok(Some(answer.with_header(&GetKVConfigResponseHeader { value: Some(value.to_owned()) })));
        }
        let GetKVListByNamespaceHeader { namespace } = GetKVListByNamespaceHeader::read(&frame.fields)?;
        let table = self.kv.namespace(&namespace).ok_or_else(|| missing(namespace.clone()))?;
        Ok(Some(answer.with_body(json_body(&KVTable { table: table.clone() }))))
    }

    /// Properties as lines `name=value`; those that are unknown are ignored, as in Java.
    fn on_update_config(&mut self, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let broken = |why: String| Fault(response::SYSTEM_ERROR, why);
        let text = std::str::from_utf8(&frame.body).map_err(|error| broken(error.to_string()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
        let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
        let name_of = |&(name, _): &(&str, &str)| name.trim().to_owned();
        if pairs.iter().map(name_of).any(|name| self.config.config_black_list.contains(&name)) {
            return Err(Fault(response::NO_PERMISSION, "Can not update config in black list.".into()));
        }
        let (mut config, mut changes) = (self.config.clone(), Vec::new());
        for (name, value) in pairs.into_iter().map(|(name, value)| (name.trim(), value.trim())) {
            if config.set(name, value).map_err(|why| broken(format!("{name}: {why}")))? {
                changes.push((name.to_owned(), value.to_owned()));
            }
        }
        self.config = config;
        if !changes.is_empty() {
            cx.out.event(NameServerEvent::ConfigChanged(changes));
        }
        Ok(Some(Frame::response(frame, response::SUCCESS)))
    }
}

/// A body in Java's form.
fn json_body(value: &impl Serialize) -> Vec<u8> {
    crate::wire::json::to_vec(value, crate::wire::json::Style::Fastjson)
}

fn tell_removed(gone: Vec<routes::Removed>, reason: Gone, cx: &mut Cx<'_, NameServerEvent>) {
    for routes::Removed { cluster, name, addr, .. } in gone {
        cx.out.event(NameServerEvent::BrokerRemoved { cluster, name, addr, reason });
    }
}

impl Node for NameServer {
    type Command = NameServerCommand;
    type Event = NameServerEvent;

    fn step(&mut self, input: Input<NameServerCommand>, cx: &mut Cx<'_, NameServerEvent>) {
        match input {
            Input::Frame { conn, frame } => self.on_frame(conn, &frame, cx),
            Input::Wake => self.on_wake(cx),
            Input::Opened { conn, .. } => self.on_opened(conn, cx),
            Input::Closed { conn } => self.on_closed(conn, cx),
            Input::Disk(done) => self.on_disk(done, cx),
            Input::Start => self.on_start(cx),
            Input::Stop => {
                self.stopping = true;
                self.write_kv(cx);
            }
            Input::DialFailed { .. } | Input::Settle => {}
            Input::Command(nothing) => match nothing {},
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.next_scan
    }

    fn invariants(&self) {
        self.routes.check(RouteTable::invariants);
        assert!(self.conns.len() <= self.config.connections_max.max(1), "connections are bounded");
        let open = |live: &Live| self.conns.contains_key(&live.conn);
        assert!(self.routes.live().all(|(.., live)| open(live)), "a live broker has an open connection");
    }

    fn holdings(&self) -> Vec<Holding> {
        let (conns, most) = (self.conns.len(), self.config.connections_max.max(1));
        vec![
            Holding { what: "connections", held: conns, most },
            Holding { what: "brokers taken for alive", held: self.routes.live().count(), most: conns },
        ]
    }
}

/// How long a broker may be silent.
fn patience(config: &NameServerConfig, said_ms: Option<i64>) -> Duration {
    Duration::from_millis(said_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(config.broker_expires_ms))
}

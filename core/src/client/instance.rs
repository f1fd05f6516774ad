//! One client of a cluster: keeps routes fresh, says that it lives, and carries its owner's calls.
//!
//! Invariant: every call of the owner comes back once as [`News::Answer`]; a route that was asked for comes back once as
//! [`News::Route`], and again whenever it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::client::routes::{Route, Routes};
use crate::client::{CallError, Calls, NameServers};
use crate::node::{Addr, ConnId, Cx, Input, Instant, Outbox};
use crate::wire::Frame;
use crate::wire::codes::{request, response};
use crate::wire::heartbeat::{HeartbeatData, UnregisterClientHeader};
use crate::wire::json::{self, Style};
use crate::wire::route::{GetRouteInfoHeader, TopicRouteData};
use crate::{planted, sometimes};

/// How often routes are asked for (Java `ClientConfig.pollNameServerInterval`).
pub const POLL_EVERY: Duration = Duration::from_secs(30);
/// How often brokers are told that this client lives (Java `ClientConfig.heartbeatBrokerInterval`).
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// Time for a small request (Java `ClientConfig.mqClientApiTimeout`).
pub const API_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a route is asked for again that a reader needs and nobody knows. (Java waits for the next poll.)
const MISSING_RETRY: Duration = Duration::from_secs(3);
/// How long a leaving client waits for brokers to confirm.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who the owner is to its brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// What every heartbeat says.
    pub heartbeat: HeartbeatData,
    /// Producers are only known to masters.
    pub masters_only: bool,
}

/// What a route is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Writing. A topic that does not exist takes the route of the default topic, with at most so many queues a broker; one
    /// that has no route at all is not asked for again until somebody writes.
    Publish {
        /// `TBW102`.
        default_topic: Arc<str>,
        /// Queues a broker.
        queues: i32,
    },
    /// Reading: a topic without a route is asked for again and again.
    Subscribe,
}

/// What happened to a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteNews {
    /// It is known and differs from before.
    Changed,
    /// It is known and as before.
    Same,
    /// The name server does not know the topic.
    Missing,
    /// No name server answers.
    Unreachable,
}

/// What the owner is to know or do.
#[derive(Debug)]
pub enum News<T> {
    /// A call of the owner ended.
    Answer {
        /// As given.
        tag: T,
        /// The response, whatever its code.
        result: Result<Frame, CallError>,
    },
    /// A route was learnt or could not be.
    Route {
        /// Of which topic.
        topic: Arc<str>,
        /// What happened.
        news: RouteNews,
    },
    /// A broker asks this client.
    Request {
        /// Where the answer goes.
        conn: ConnId,
        /// The request.
        frame: Frame,
    },
    /// [`Client::leave`] is done.
    Left,
}

/// A few news; most inputs have none or one.
pub type NewsList<T> = SmallVec<[News<T>; 1]>;

#[derive(Debug)]
enum Tag<T> {
    Route {
        topic: Arc<str>,
        server: Addr,
        default: bool,
        left: usize,
    },
    Heartbeat {
        addr: Addr,
        /// Sent because the one before met a dead connection.
        again: bool,
    },
    Goodbye,
    Own(T),
}

#[derive(Debug)]
struct Wanted {
    want: Want,
    asking: bool,
    retry_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Client<T> {
    calls: Calls<Tag<T>>,
    names: NameServers,
    routes: Routes,
    wanted: BTreeMap<Arc<str>, Wanted>,
    presence: Presence,
    heartbeat: Bytes,
    /// Brokers that heartbeats go to; whether one is on its way.
    brokers: BTreeMap<Addr, bool>,
    poll_at: Instant,
    heartbeat_at: Instant,
    goodbyes: Option<usize>,
    news: NewsList<T>,
}

impl<T> Client<T> {
    /// A client that knows nothing yet.
    pub fn new(name_servers: Vec<Addr>, presence: Presence) -> Client<T> {
        let mut client = Client {
            calls: Calls::new(),
            names: NameServers::new(name_servers),
            routes: Routes::default(),
            wanted: BTreeMap::new(),
            presence: Presence::default(),
            heartbeat: Bytes::new(),
            brokers: BTreeMap::new(),
            poll_at: Instant(0),
            heartbeat_at: Instant(0),
            goodbyes: None,
            news: NewsList::new(),
        };
        client.set_presence(presence);
        client
    }

    /// Begins the periods.
    pub fn start(&mut self, now: Instant) {
        self.poll_at = now + POLL_EVERY;
        self.heartbeat_at = now + HEARTBEAT_EVERY;
    }

    /// What is known of routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What the next heartbeats say.
    pub fn set_presence(&mut self, presence: Presence) {
        self.heartbeat = json::to_vec(&presence.heartbeat, Style::Fastjson).into();
        self.presence = presence;
    }

    /// Another list of name servers. Connections to those that are gone are given up.
    pub fn set_name_servers<E>(&mut self, addrs: Vec<Addr>, cx: &mut Cx<'_, E>) {
        for gone in self.names.replace(addrs) {
            if !self.brokers.contains_key(&gone) {
                self.calls.close(&gone, cx.out);
            }
        }
        self.poll(cx);
    }

    /// The name servers that may be asked.
    pub fn name_servers(&self) -> &[Addr] {
        self.names.addrs()
    }

    /// Whether there is any name server to ask.
    pub fn has_name_servers(&self) -> bool {
        !self.names.is_empty()
    }

    /// Answers a request of a broker that this client has no handler for.
    pub fn refuse<E>(&self, conn: ConnId, frame: &Frame, out: &mut Outbox<E>) {
        if !frame.is_oneway() {
            let text = format!(" request type {} not supported", frame.code);
            out.send(conn, Frame::response(frame, response::REQUEST_CODE_NOT_SUPPORTED).with_remark(text));
        }
    }

    /// Asks for the route of a topic now, and from now on with every poll. Its news come even if it is known.
    pub fn want<E>(&mut self, topic: &Arc<str>, want: Want, cx: &mut Cx<'_, E>) {
        let fresh = || Wanted { want: want.clone(), asking: false, retry_at: None };
        let wanted = self.wanted.entry(topic.clone()).or_insert_with(fresh);
        if !wanted.asking {
            self.ask_route(topic.clone(), cx);
        }
    }

    /// Is not interested in a topic any more.
    pub fn forget<E>(&mut self, topic: &str, cx: &mut Cx<'_, E>) {
        self.wanted.remove(topic);
        self.routes.forget(topic);
        self.meet_brokers(cx);
    }

    /// Sends a request of the owner.
    pub fn call<E>(&mut self, addr: &Addr, frame: Frame, timeout: Duration, tag: T, cx: &mut Cx<'_, E>) {
        let now = cx.now.mono;
        self.calls.call(now, addr, frame, now + timeout, Tag::Own(tag), cx.out);
    }

    /// Sends a one-way request of the owner.
    pub fn oneway<E>(&mut self, addr: &Addr, frame: Frame, cx: &mut Cx<'_, E>) {
        self.calls.oneway(cx.now.mono, addr, frame, cx.out);
    }

    /// Tells every broker at once what the presence is.
    pub fn heartbeat_all<E>(&mut self, cx: &mut Cx<'_, E>) {
        self.meet_brokers(cx);
        let addrs: Vec<Addr> = self.brokers.keys().cloned().collect();
        for addr in addrs {
            self.heartbeat(&addr, cx);
        }
    }

    /// Tells one broker at once, for instance because it does not know this client.
    pub fn heartbeat<E>(&mut self, addr: &Addr, cx: &mut Cx<'_, E>) {
        self.beat(addr, false, cx);
    }

    fn beat<E>(&mut self, addr: &Addr, again: bool, cx: &mut Cx<'_, E>) {
        let Some(on_its_way) = self.brokers.get_mut(addr) else { return };
        *on_its_way = true;
        let frame = Frame::request(request::HEART_BEAT).with_body(self.heartbeat.clone());
        let now = cx.now.mono;
        self.calls.call(now, addr, frame, now + API_TIMEOUT, Tag::Heartbeat { addr: addr.clone(), again }, cx.out);
    }

    /// Says goodbye to every broker that is connected; [`News::Left`] when they know or [`GOODBYE_TIMEOUT`] is over.
    pub fn leave<E>(&mut self, header: &UnregisterClientHeader, cx: &mut Cx<'_, E>) {
        let connected = self.brokers.keys().filter(|addr| self.calls.conn_of(addr).is_some());
        let addrs: Vec<Addr> = connected.cloned().collect();
        self.goodbyes = Some(addrs.len());
        let now = cx.now.mono;
        for addr in &addrs {
            let frame = Frame::request(request::UNREGISTER_CLIENT).with_header(header);
            self.calls.call(now, addr, frame, now + GOODBYE_TIMEOUT, Tag::Goodbye, cx.out);
        }
        if addrs.is_empty() {
            self.news.push(News::Left);
        }
    }

    /// Closes every connection.
    pub fn close_all<E>(&mut self, out: &mut Outbox<E>) {
        self.calls.close_all(out);
    }

    /// Takes what is meant for this client of an input. What happened inside [`Client::want`] and the like is in the next
    /// list.
    pub fn take<C, E>(&mut self, input: Input<C>, cx: &mut Cx<'_, E>) -> NewsList<T> {
        match input {
            Input::Opened { conn, dial: Some(dial), .. } => {
                self.calls.opened(cx.now.mono, conn, dial, cx.out);
                self.greet(conn, cx);
            }
            Input::DialFailed { dial } => {
                let ended = self.calls.dial_failed(dial);
                self.failed(ended, cx);
            }
            Input::Closed { conn } => {
                let ended = self.calls.closed(conn);
                self.failed(ended, cx);
            }
            Input::Frame { conn, frame } if frame.is_response() => {
                if let Some(tag) = self.calls.response(conn, &frame) {
                    self.ended(tag, Ok(frame), cx);
                }
            }
            Input::Frame { conn, frame } => self.news.push(News::Request { conn, frame }),
            Input::Wake => self.wake(cx),
            _ => {}
        }
        std::mem::take(&mut self.news)
    }

    /// When [`Input::Wake`] has something to do here.
    pub fn wake_at(&self) -> Option<Instant> {
        let retry = self.wanted.values().filter_map(|wanted| wanted.retry_at).min();
        let poll = (!self.wanted.is_empty()).then_some(self.poll_at);
        let heartbeat = (!self.brokers.is_empty()).then_some(self.heartbeat_at);
        let news = (!self.news.is_empty()).then_some(Instant(0));
        Instant::first(&[self.calls.wake_at(), retry, poll, heartbeat, news])
    }

    /// Panics when the tables contradict each other.
    pub fn invariants(&self) {
        self.calls.invariants();
    }

    fn wake<E>(&mut self, cx: &mut Cx<'_, E>) {
        let now = cx.now.mono;
        let ended = self.calls.expired(now, cx.out);
        self.failed(ended, cx);
        if now >= self.poll_at {
            self.poll(cx);
        }
        let due = |wanted: &Wanted| wanted.retry_at.is_some_and(|at| at <= now);
        let again: Vec<Arc<str>> = self.wanted.iter().filter(|(_, w)| due(w)).map(|(topic, _)| topic.clone()).collect();
        for topic in again {
            self.ask_route(topic, cx);
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + HEARTBEAT_EVERY;
            self.heartbeat_all(cx);
        }
    }

    fn poll<E>(&mut self, cx: &mut Cx<'_, E>) {
        self.poll_at = cx.now.mono + POLL_EVERY;
        let topics = self.wanted.iter().filter(|(_, wanted)| !wanted.asking).map(|(topic, _)| topic.clone());
        for topic in topics.collect::<Vec<_>>() {
            self.ask_route(topic, cx);
        }
    }

    fn ask_route<E>(&mut self, topic: Arc<str>, cx: &mut Cx<'_, E>) {
        let wanted = self.wanted.get_mut(&topic).expect("only wanted routes are asked for");
        (wanted.asking, wanted.retry_at) = (true, None);
        self.ask_server(topic, false, self.names.len(), cx);
    }

    /// Asks the name server in use; `left` more may be asked if it fails.
    fn ask_server<E>(&mut self, topic: Arc<str>, default: bool, left: usize, cx: &mut Cx<'_, E>) {
        let server = if left == 0 { None } else { self.names.current(cx.rng) };
        let (Some(server), Some(wanted)) = (server, self.wanted.get(&topic)) else {
            return self.route_ended(topic, RouteNews::Unreachable, cx);
        };
        let asked = match &wanted.want {
            Want::Publish { default_topic, .. } if default => default_topic.to_string(),
            _ => topic.to_string(),
        };
        let header = GetRouteInfoHeader { topic: asked, accept_standard_json_only: Some(true), ..Default::default() };
        let frame = Frame::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let tag = Tag::Route { topic, server: server.clone(), default, left: left - 1 };
        let now = cx.now.mono;
        self.calls.call(now, &server, frame, now + API_TIMEOUT, tag, cx.out);
    }

    fn route_ended<E>(&mut self, topic: Arc<str>, news: RouteNews, cx: &mut Cx<'_, E>) {
        let Some(wanted) = self.wanted.get_mut(&topic) else { return };
        wanted.asking = false;
        if matches!(news, RouteNews::Unreachable) && crate::planted!("route-forgotten") {
            self.routes.forget(&topic);
        }
        if matches!(news, RouteNews::Missing | RouteNews::Unreachable) && self.routes.get(&topic).is_none() {
            match wanted.want {
                Want::Subscribe => wanted.retry_at = Some(cx.now.mono + MISSING_RETRY),
                Want::Publish { .. } => {
                    self.wanted.remove(&topic);
                }
            }
        }
        self.news.push(News::Route { topic, news });
    }

    fn failed<E>(&mut self, ended: Vec<(Tag<T>, CallError)>, cx: &mut Cx<'_, E>) {
        for (tag, error) in ended {
            self.ended(tag, Err(error), cx);
        }
    }

    fn ended<E>(&mut self, tag: Tag<T>, result: Result<Frame, CallError>, cx: &mut Cx<'_, E>) {
        match tag {
            Tag::Own(tag) => self.news.push(News::Answer { tag, result }),
            Tag::Route { topic, server, default, left } => match result {
                Ok(frame) if frame.code == response::SUCCESS => self.route_came(topic, default, &frame, cx),
                Ok(frame) if frame.code == response::TOPIC_NOT_EXIST => self.route_missing(topic, default, cx),
                _ => {
                    self.names.failed(&server);
                    self.ask_server(topic, default, left, cx);
                }
            },
            Tag::Heartbeat { addr, again } => {
                if let Some(on_its_way) = self.brokers.get_mut(&addr) {
                    *on_its_way = false;
                }
                // The connection was dead: its broker has restarted, perhaps, and does not know this client. (Java leaves it so
                // for another period.)
                let dead = matches!(result, Err(CallError::Closed | CallError::Timeout { sent: true }));
                if dead && !again && self.goodbyes.is_none() && !planted!("dead-heartbeat-not-repeated") {
                    sometimes!("heartbeat met a dead connection");
                    self.beat(&addr, true, cx);
                }
            }
            Tag::Goodbye => {
                let left = self.goodbyes.as_mut().expect("goodbyes are counted");
                *left -= 1;
                if *left == 0 {
                    self.news.push(News::Left);
                }
            }
        }
    }

    fn route_came<E>(&mut self, topic: Arc<str>, default: bool, frame: &Frame, cx: &mut Cx<'_, E>) {
        let Some(wanted) = self.wanted.get(&topic) else { return };
        let Ok(data) = json::from_slice::<TopicRouteData>(&frame.body) else {
            return self.route_ended(topic, RouteNews::Missing, cx);
        };
        let route = match &wanted.want {
            Want::Publish { queues, .. } if default => Route::of_default_topic(data, *queues),
            _ => Route::new(data),
        };
        let changed = self.routes.learn(topic.clone(), route);
        if changed {
            self.meet_brokers(cx);
        }
        self.route_ended(topic, if changed { RouteNews::Changed } else { RouteNews::Same }, cx);
    }

    fn route_missing<E>(&mut self, topic: Arc<str>, default: bool, cx: &mut Cx<'_, E>) {
        let known = self.routes.get(&topic).is_some();
        let publish = self.wanted.get(&topic).is_some_and(|wanted| matches!(wanted.want, Want::Publish { .. }));
        if publish && !default && !known {
            return self.ask_server(topic, true, self.names.len(), cx);
        }
        if known {
            sometimes!("a known route was kept although the name server forgot the topic");
        }
        self.route_ended(topic, RouteNews::Missing, cx);
    }

    /// Brokers that are new in the routes get a heartbeat at once; those that are gone get none any more.
    fn meet_brokers<E>(&mut self, cx: &mut Cx<'_, E>) {
        let addrs: BTreeSet<Addr> = self.routes.addrs(self.presence.masters_only);
        self.brokers.retain(|addr, _| addrs.contains(addr));
        for addr in addrs {
            if !self.brokers.contains_key(&addr) {
                self.brokers.insert(addr.clone(), false);
                self.heartbeat(&addr, cx);
            }
        }
    }

    /// A broker forgets its clients when their connection closes, so a new connection begins with a heartbeat. (Java leaves
    /// the client unknown until the next one is due.)
    fn greet<E>(&mut self, conn: ConnId, cx: &mut Cx<'_, E>) {
        let Some(addr) = self.calls.addr_of(conn).cloned() else { return };
        if self.brokers.get(&addr) == Some(&false) && self.goodbyes.is_none() {
            self.heartbeat(&addr, cx);
        }
    }
}

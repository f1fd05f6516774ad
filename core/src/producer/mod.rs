//! The producer: finds a queue for each message, sends it, and tries another broker when one fails.
//!
//! Invariant: every send has exactly one outcome, and an error that says "not stored" is true.

mod config;
mod pick;
mod prepare;
mod request;
mod sending;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use config::ProducerConfig;
pub use pick::{RoundRobin, index_by_hash};
use prepare::{CODE_NONE, prepare};
pub use request::{
    Mode, OutMessage, Pick, ProducerCommand, ProducerEvent, Receipt, SendError, SendErrorKind, SendRequest, SendStatus,
    Stored,
};
use sending::{CODE_NO_NAME_SERVER, CODE_TIMEOUT, Sending, Verdict};

use crate::client::names::check_producer_group;
use crate::client::{Client, News, Presence, Queue, RouteNews, Want};
use crate::message::ids::UniqueIds;
use crate::node::{Cx, Holding, Input, Instant, Node, Output};
use crate::wire::codes::request as code;
use crate::wire::heartbeat::{HeartbeatData, ProducerData, UnregisterClientHeader};
use crate::wire::route::MASTER_ID;
use crate::wire::send::SendMessageHeader;
use crate::wire::{Fields, Frame};
use crate::{planted, sometimes};

/// Number of a send within this producer.
type SendId = u64;
type Out<'a, 'b> = &'a mut Cx<'b, ProducerEvent>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// The configuration is wrong.
    Refused,
    /// Ends when the sends under way have ended.
    Stopping,
    /// Waits for the brokers' goodbye.
    Leaving,
    Stopped,
}

/// A producer as a state machine.
#[derive(Debug)]
pub struct Producer {
    config: ProducerConfig,
    client: Client<SendId>,
    ids: UniqueIds,
    sends: BTreeMap<SendId, Sending>,
    /// Sends that wait for a route, by topic.
    waiting: BTreeMap<Arc<str>, Vec<SendId>>,
    robins: BTreeMap<Arc<str>, RoundRobin>,
    next: SendId,
    stage: Stage,
}

impl Node for Producer {
    type Command = ProducerCommand;
    type Event = ProducerEvent;

    fn step(&mut self, input: Input<ProducerCommand>, cx: &mut Cx<'_, ProducerEvent>) {
        let news = match input {
            Input::Start => {
                self.start(cx);
                return;
            }
            Input::Command(command) => {
                self.command(command, cx);
                return;
            }
            Input::Stop => {
                self.stage = Stage::Stopping;
                self.stop_when_idle(cx);
                return;
            }
            Input::Wake => {
                self.expire_waiting(cx);
                self.client.take(Input::<()>::Wake, cx)
            }
            other => self.client.take(other, cx),
        };
        for one in news {
            self.on_news(one, cx);
        }
        self.stop_when_idle(cx);
    }

    fn wake_at(&self) -> Option<Instant> {
        let waiting = self.waiting.values().flatten().map(|id| self.sends[id].deadline()).min();
        self.client.wake_at().into_iter().chain(waiting).min()
    }

    fn invariants(&self) {
        self.client.invariants();
        assert!(self.sends.len() <= self.config.sends_max, "sends are bounded");
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        let parked = self.sends.values().filter(|send| send.at.is_none()).count();
        assert_eq!(waiting, parked, "a send either waits for a route or is under way");
    }

    fn holdings(&self) -> Vec<Holding> {
        vec![Holding { what: "sends without an outcome", held: self.sends.len(), most: self.config.sends_max }]
    }
}

impl Producer {
    /// A producer that does nothing before [`Input::Start`].
    pub fn new(config: ProducerConfig) -> Producer {
        let groups = vec![ProducerData { group_name: config.group.to_string() }];
        let client_id = config.identity.client_id();
        let heartbeat = HeartbeatData { client_id, producer_data_set: groups, ..HeartbeatData::default() };
        let presence = Presence { heartbeat, masters_only: true };
        Producer {
            client: Client::new(config.name_servers.clone(), presence),
            ids: UniqueIds::new(config.identity.ip, config.identity.process),
            sends: BTreeMap::new(),
            waiting: BTreeMap::new(),
            robins: BTreeMap::new(),
            next: 0,
            stage: Stage::Running,
            config,
        }
    }

    /// How many sends have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.sends.len()
    }

    /// What it knows of where topics are.
    pub fn routes(&self) -> &crate::client::routes::Routes {
        self.client.routes()
    }

    /// How many sends wait for a route, by topic.
    pub fn waiting_for_route(&self) -> impl Iterator<Item = (&str, usize)> {
        self.waiting.iter().map(|(topic, sends)| (&**topic, sends.len()))
    }

    fn start(&mut self, cx: Out<'_, '_>) {
        self.client.start(cx.now.mono);
        if let Err(error) = check_producer_group(&self.config.group) {
            self.stage = Stage::Refused;
            cx.out.event(ProducerEvent::Refused(error.to_string()));
        }
    }

    fn command(&mut self, command: ProducerCommand, cx: Out<'_, '_>) {
        match command {
            ProducerCommand::Send(request) => self.send(request, cx),
            ProducerCommand::NameServers(addrs) => self.client.set_name_servers(addrs, cx),
            ProducerCommand::FetchRoute(topic) => self.want(&topic, cx),
        }
    }

    fn send(&mut self, request: SendRequest, cx: Out<'_, '_>) {
        let ticket = request.ticket;
        match self.begin(request, cx) {
            Ok(send) => {
                let id = self.next;
                self.next += 1;
                self.sends.insert(id, send);
                self.attempt(id, cx);
            }
            Err(error) => cx.out.event(ProducerEvent::Sent { ticket, result: Err(error) }),
        }
    }

    fn begin(&mut self, request: SendRequest, cx: Out<'_, '_>) -> Result<Sending, SendError> {
        let SendRequest { ticket, topic, messages, queue, mode, timeout } = request;
        let refuse =
            |kind, text: &str| SendError { kind, stored: Stored::No, code: CODE_NONE, text: text.into(), attempts: 0 };
        if self.stage != Stage::Running {
            return Err(refuse(SendErrorKind::Stopped, "The producer service state not OK"));
        }
        if self.sends.len() >= self.config.sends_max {
            return Err(refuse(SendErrorKind::Busy, "too many messages are being sent already"));
        }
        let prepared = prepare(&self.config, &topic, &messages, &mut self.ids, cx.now.wall_ms)?;
        let further = match (&queue, mode) {
            (Pick::RoundRobin, Mode::Sync) => self.config.retries,
            (Pick::RoundRobin, Mode::Async) => self.config.retries_async,
            _ => 0,
        };
        Ok(Sending {
            ticket,
            topic,
            pick: queue,
            mode,
            prepared,
            began: cx.now.mono,
            timeout: timeout.unwrap_or(self.config.send_timeout),
            born_ms: cx.now.wall_ms,
            attempts_max: 1 + further,
            brokers: Vec::new(),
            attempts: 0,
            stored: Stored::No,
            at: None,
        })
    }

    /// Sends once more, or waits for a route first.
    fn attempt(&mut self, id: SendId, cx: Out<'_, '_>) {
        let send = &self.sends[&id];
        let topic = send.topic.clone();
        let publish = self.client.routes().get(&topic).map(|route| route.publish()).unwrap_or_default();
        let robin = self.robins.entry(topic.clone()).or_insert_with(|| RoundRobin::new(cx.rng.next_u64() >> 32));
        let known = |broker: &str| self.client.routes().addr(broker, MASTER_ID).is_some();
        match choose(send, publish, robin, known) {
            Some(queue) => self.transmit(id, queue, cx),
            None if self.waiting.get(&topic).is_some_and(|ids| !ids.is_empty()) => self.park(id, topic),
            None => {
                sometimes!("send waited for a route");
                self.park(id, topic.clone());
                self.want(&topic, cx);
            }
        }
    }

    fn park(&mut self, id: SendId, topic: Arc<str>) {
        self.waiting.entry(topic).or_default().push(id);
    }

    fn want(&mut self, topic: &Arc<str>, cx: Out<'_, '_>) {
        let default_topic = self.config.default_topic.clone();
        let want = Want::Publish { default_topic, queues: self.config.default_topic_queues };
        self.client.want(topic, want, cx);
    }

    fn transmit(&mut self, id: SendId, queue: Queue, cx: Out<'_, '_>) {
        let send = self.sends.get_mut(&id).expect("a send that is under way");
        send.attempts += 1;
        if send.brokers.last().is_some_and(|last| *last != queue.broker) {
            sometimes!("send was tried again at another broker");
        }
        send.brokers.push(queue.broker.clone());
        let Some(addr) = self.client.routes().addr(&queue.broker, MASTER_ID) else {
            let verdict = send.judge_unroutable(cx.now.mono, &queue);
            return self.obey(id, verdict, cx);
        };
        let frame = frame(&self.config, send, &queue);
        if send.prepared.batch && planted!("batch-sent-twice") {
            self.client.oneway(&addr, frame.clone(), cx);
        }
        if send.mode == Mode::Oneway {
            self.client.oneway(&addr, frame, cx);
            let receipt = Receipt {
                status: SendStatus::Unconfirmed,
                msg_id: send.prepared.msg_id.clone(),
                offset_msg_id: String::new(),
                queue,
                queue_offset: -1,
                attempts: 1,
            };
            return self.finish(id, Ok(receipt), cx);
        }
        let left = send.deadline().since(cx.now.mono);
        send.at = Some(queue);
        self.client.call(&addr, frame, left, id, cx);
    }

    fn obey(&mut self, id: SendId, verdict: Verdict, cx: Out<'_, '_>) {
        match verdict {
            Verdict::Done(receipt) => self.finish(id, Ok(receipt), cx),
            Verdict::Failed(error) => self.finish(id, Err(error), cx),
            Verdict::Retry { why } => {
                let send = &self.sends[&id];
                let broker = send.brokers.last().cloned().unwrap_or_else(|| Arc::from(""));
                cx.out.event(ProducerEvent::Retrying { ticket: send.ticket, broker, why });
                self.attempt(id, cx);
            }
        }
    }

    fn finish(&mut self, id: SendId, result: Result<Receipt, SendError>, cx: Out<'_, '_>) {
        let send = self.sends.remove(&id).expect("a send ends once");
        cx.out.event(ProducerEvent::Sent { ticket: send.ticket, result });
    }

    fn on_news(&mut self, news: News<SendId>, cx: Out<'_, '_>) {
        match news {
            News::Answer { tag, result } => {
                let send = self.sends.get_mut(&tag).expect("an attempt belongs to a send");
                let verdict = send.judge(cx.now.mono, result);
                self.obey(tag, verdict, cx);
            }
            News::Route { topic, news } => self.on_route(&topic, &news, cx),
            // A producer has nothing to answer yet: transactions and request-reply are not offered.
            News::Request { conn, frame } => self.client.refuse(conn, &frame, cx.out),
            News::Left => self.close(cx),
        }
    }

    fn on_route(&mut self, topic: &Arc<str>, news: &RouteNews, cx: Out<'_, '_>) {
        let queues = self.client.routes().get(topic).map(|route| route.publish().to_vec()).unwrap_or_default();
        if *news == RouteNews::Missing && queues.is_empty() || *news == RouteNews::Unreachable {
            let why = if *news == RouteNews::Missing { "no such topic" } else { "no name server answers" };
            cx.out.event(ProducerEvent::NoRoute { topic: topic.clone(), why: why.into() });
        } else {
            cx.out.event(ProducerEvent::Route { topic: topic.clone(), queues: queues.clone() });
        }
        for id in self.waiting.remove(topic).unwrap_or_default() {
            if queues.is_empty() {
                let error = self.route_error(&self.sends[&id], news);
                self.finish(id, Err(error), cx);
            } else {
                self.attempt(id, cx);
            }
        }
    }

    fn route_error(&self, send: &Sending, news: &RouteNews) -> SendError {
        if *news == RouteNews::Unreachable && !self.client.has_name_servers() {
            return send.error(SendErrorKind::NoRoute, CODE_NO_NAME_SERVER, "No name server address, please set it.");
        }
        send.no_route()
    }

    /// Sends that waited for a route until their time was over.
    fn expire_waiting(&mut self, cx: Out<'_, '_>) {
        let over = |id: &SendId| self.sends[id].deadline() <= cx.now.mono;
        let ended: Vec<SendId> = self.waiting.values().flatten().copied().filter(over).collect();
        for id in ended {
            for ids in self.waiting.values_mut() {
                ids.retain(|other| *other != id);
            }
            let send = &self.sends[&id];
            let text = format!("sendDefaultImpl call timeout; {}", send.no_route().text);
            let error = send.error(SendErrorKind::Timeout, CODE_TIMEOUT, text);
            self.finish(id, Err(error), cx);
        }
        self.waiting.retain(|_, ids| !ids.is_empty());
    }

    fn stop_when_idle(&mut self, cx: Out<'_, '_>) {
        if self.stage != Stage::Stopping || !self.sends.is_empty() {
            return;
        }
        self.stage = Stage::Leaving;
        let header = UnregisterClientHeader {
            client_id: self.config.identity.client_id(),
            producer_group: Some(self.config.group.to_string()),
            consumer_group: None,
        };
        self.client.leave(&header, cx);
    }

    fn close(&mut self, cx: Out<'_, '_>) {
        if self.stage == Stage::Leaving {
            self.stage = Stage::Stopped;
            self.client.close_all(cx.out);
            cx.out.0.push(Output::Stopped);
        }
    }
}

/// The queue for the next attempt.
fn choose(send: &Sending, publish: &[Queue], robin: &mut RoundRobin, known: impl Fn(&str) -> bool) -> Option<Queue> {
    match &send.pick {
        Pick::RoundRobin if planted!("retry-reuses-dead-broker") && !send.brokers.is_empty() => {
            publish.iter().find(|queue| send.brokers.last() == Some(&queue.broker)).or(publish.first()).cloned()
        }
        Pick::RoundRobin => robin.pick(publish, send.brokers.last().map(|broker| &**broker)),
        // Whoever names a queue may name one that is closed for writing (Java checks nothing here either).
        Pick::Queue(queue) => (!publish.is_empty() || known(&queue.broker)).then(|| queue.clone()),
        Pick::Hash(hash) if planted!("shard-moves") => {
            let moved = hash.wrapping_add(i32::try_from(send.born_ms / 1_000 % 7).unwrap_or(0));
            Some(publish[index_by_hash(moved, publish.len())?].clone())
        }
        Pick::Hash(hash) => Some(publish[index_by_hash(*hash, publish.len())?].clone()),
    }
}

fn frame(config: &ProducerConfig, send: &Sending, queue: &Queue) -> Frame {
    let prepared = &send.prepared;
    let header = SendMessageHeader {
        producer_group: &config.group,
        topic: &send.topic,
        default_topic: &config.default_topic,
        default_topic_queue_nums: config.default_topic_queues,
        queue_id: queue.id,
        sys_flag: prepared.sys_flag,
        born_timestamp: i64::try_from(send.born_ms).unwrap_or(i64::MAX),
        flag: prepared.flag,
        properties: &prepared.properties,
        reconsume_times: Some(0),
        unit_mode: false,
        max_reconsume_times: None,
        batch: prepared.batch,
        broker_name: Some(&queue.broker),
    };
    let mut fields = Fields::with_capacity(240 + prepared.properties.len());
    header.write_v2(&mut fields);
    let code = if prepared.batch { code::SEND_BATCH_MESSAGE } else { code::SEND_MESSAGE_V2 };
    Frame { fields, body: prepared.body.clone(), ..Frame::request(code) }
}

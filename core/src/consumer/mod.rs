//! The push consumer: shares the queues of its topics with the other members of its group, pulls, delivers, commits.
//!
//! Invariant: an offset is committed only when everything below it was consumed, or lay below the offset at which the queue was begun.

pub mod allocate;
mod config;
mod decode;
mod deliver;
mod inside;
mod locks;
mod offsets;
mod owned;
mod process_queue;
mod pull;
mod rebalance;
mod request;
mod running;
mod subscription;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use config::{ConsumerConfig, FromWhere, Model};
use deliver::Delivery;
pub use inside::QueueProgress;
use offsets::{COMMIT_EVERY, Seek};
use owned::{Key, Owned, Request, Stage};
use rebalance::{REBALANCE_EVERY, Topic};
pub use request::{ConsumerCommand, ConsumerEvent, Message, Outcome};
use running::TopicStats;
pub use subscription::{ALL, Subscription, SubscriptionError};

use self::locks::LOCK_EVERY;
use crate::client::names::check_consumer_group;
use crate::client::{CallError, Client, News, Presence, Queue, RouteNews, Want};
use crate::message::names::RETRY_PREFIX;
use crate::node::{ConnId, Cx, Holding, Input, Instant, Node, Output};
use crate::sometimes;
use crate::wire::codes::request as code;
use crate::wire::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, NotifyConsumerIdsChangedHeader,
    UnregisterClientHeader,
};
use crate::wire::{Frame, Header as _};

type Out<'a, 'b> = &'a mut Cx<'b, ConsumerEvent>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Created,
    Running,
    /// The configuration is wrong.
    Refused,
    /// Waits until then for outcomes of deliveries.
    Stopping(Instant),
    /// Waits for the brokers' goodbye.
    Leaving,
    Stopped,
}

/// What a call of the consumer was for.
#[derive(Clone, Debug)]
enum Ask {
    Members { topic: Arc<str>, addr: crate::node::Addr },
    Lock { keys: Vec<(Key, u64)>, at: Instant },
    Seek { key: Key, generation: u64, seek: Seek },
    Pull { key: Key, generation: u64, addr: crate::node::Addr },
}

/// A push consumer as a state machine.
#[derive(Debug)]
pub struct PushConsumer {
    config: ConsumerConfig,
    client_id: String,
    retry_topic: Arc<str>,
    client: Client<Ask>,
    life: Life,
    subscriptions: BTreeMap<Arc<str>, Subscription>,
    topics: BTreeMap<Arc<str>, Topic>,
    /// Rates by topic, for operators.
    stats: BTreeMap<Arc<str>, TopicStats>,
    owned: BTreeMap<Key, Owned>,
    /// Queues with something to deliver.
    ready: BTreeSet<Key>,
    /// The queue that was served last.
    served: Option<Key>,
    /// When to look at a queue again.
    alarms: BTreeSet<(Instant, Key)>,
    alarm_of: BTreeMap<Key, Instant>,
    deliveries: BTreeMap<u64, Delivery>,
    /// Queues with a delivery under way, of whatever generation, and how many.
    busy: BTreeMap<Key, usize>,
    next_delivery: u64,
    next_generation: u64,
    rebalance_at: Instant,
    commit_at: Instant,
    lock_at: Instant,
    sample_at: Instant,
    /// When it started, ms since 1970.
    started_ms: u64,
    /// Said once that failed messages stay here.
    said_local: bool,
}

impl Node for PushConsumer {
    type Command = ConsumerCommand;
    type Event = ConsumerEvent;

    fn step(&mut self, input: Input<ConsumerCommand>, cx: &mut Cx<'_, ConsumerEvent>) {
        match input {
            Input::Start => self.start(cx),
            Input::Stop => self.stop(cx),
            Input::Command(command) => self.command(command, cx),
            other => {
                let wake = matches!(other, Input::Wake);
                for news in self.client.take(other, cx) {
                    self.on_news(news, cx);
                }
                if wake {
                    self.wake(cx);
                }
            }
        }
        self.deliver(cx);
        self.leave_when_done(cx);
    }

    fn wake_at(&self) -> Option<Instant> {
        let own = match self.life {
            Life::Running => Some(self.rebalance_at.min(self.commit_at)),
            Life::Stopping(until) => Some(until),
            _ => None,
        };
        let lock = (self.life == Life::Running && self.config.orderly).then_some(self.lock_at);
        let alarm = self.alarms.first().map(|(at, _)| *at).filter(|_| self.life == Life::Running);
        let retry = self.topics.values().filter_map(Topic::retry_at).min().filter(|_| self.life == Life::Running);
        Instant::first(&[self.client.wake_at(), own, lock, alarm, retry])
    }

    fn invariants(&self) {
        self.client.invariants();
        assert!(self.deliveries.len() <= self.config.deliveries_max, "deliveries are bounded");
        assert_eq!(self.alarms.len(), self.alarm_of.len(), "a queue has one alarm");
        assert_eq!(self.busy.values().sum::<usize>(), self.deliveries.len(), "every delivery makes its queue busy");
        for (key, owned) in &self.owned {
            owned.messages.invariants();
            assert!(
                owned.positioned || owned.messages.len() == 0,
                "{} holds messages before its offset is known",
                key.queue
            );
        }
        if self.config.orderly {
            assert!(
                crate::planted!("orderly-overlap") || self.busy.values().all(|count| *count == 1),
                "one delivery at a time for each queue"
            );
        }
    }

    fn holdings(&self) -> Vec<Holding> {
        let messages = self.owned.values().map(|owned| owned.messages.len()).max().unwrap_or(0);
        let batch = usize::try_from(self.config.pull_messages).unwrap_or(0);
        vec![
            Holding { what: "messages of a queue", held: messages, most: self.config.queue_messages_max + batch },
            Holding { what: "deliveries", held: self.deliveries.len(), most: self.config.deliveries_max },
        ]
    }
}

impl PushConsumer {
    /// A consumer that does nothing before [`Input::Start`].
    pub fn new(config: ConsumerConfig) -> PushConsumer {
        PushConsumer {
            client_id: config.identity.client_id(),
            retry_topic: format!("{RETRY_PREFIX}{}", config.group).into(),
            client: Client::new(config.name_servers.clone(), Presence::default()),
            life: Life::Created,
            subscriptions: BTreeMap::new(),
            topics: BTreeMap::new(),
            stats: BTreeMap::new(),
            owned: BTreeMap::new(),
            ready: BTreeSet::new(),
            served: None,
            alarms: BTreeSet::new(),
            alarm_of: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            busy: BTreeMap::new(),
            next_delivery: 0,
            next_generation: 0,
            rebalance_at: Instant(0),
            commit_at: Instant(0),
            lock_at: Instant(0),
            sample_at: Instant(0),
            started_ms: 0,
            said_local: false,
            config,
        }
    }

    /// Its name among the members of its group.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The queues that it reads or is about to read, by topic and queue.
    pub fn owned(&self) -> impl Iterator<Item = (&Arc<str>, &Queue)> {
        let staying = self.owned.iter().filter(|(_, owned)| owned.stage != Stage::Leaving);
        staying.map(|(key, _)| (&key.topic, &key.queue))
    }

    /// How many deliveries have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.deliveries.len()
    }

    /// How many messages were pulled and are not consumed.
    pub fn unfinished(&self) -> usize {
        self.owned.values().map(|owned| owned.messages.len()).sum()
    }

    fn start(&mut self, cx: Out<'_, '_>) {
        let now = cx.now.mono;
        let wrong = if self.config.model == Model::Broadcasting {
            Some("broadcasting is not offered yet: use clustering, or one group for each member".to_owned())
        } else {
            check_consumer_group(&self.config.group).err().map(|error| error.to_string())
        };
        if let Some(why) = wrong {
            self.life = Life::Refused;
            cx.out.event(ConsumerEvent::Refused(why));
            return;
        }
        self.client.start(now);
        self.life = Life::Running;
        self.rebalance_at = now + REBALANCE_EVERY;
        self.commit_at = now + COMMIT_EVERY;
        self.lock_at = now + LOCK_EVERY;
        self.started_ms = cx.now.wall_ms;
        cx.out.event(ConsumerEvent::Started { client_id: self.client_id.clone() });
        self.subscribe(self.retry_topic.clone(), ALL, cx);
        for topic in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
            self.client.want(&topic, Want::Subscribe, cx);
        }
    }

    fn command(&mut self, command: ConsumerCommand, cx: Out<'_, '_>) {
        match command {
            ConsumerCommand::Subscribe { topic, tags } => self.subscribe(topic, &tags, cx),
            ConsumerCommand::Unsubscribe(topic) => self.unsubscribe(&topic, cx),
            ConsumerCommand::Consumed { delivery, outcome } => self.consumed(delivery, outcome, cx),
            ConsumerCommand::NameServers(addrs) => self.client.set_name_servers(addrs, cx),
        }
    }

    fn subscribe(&mut self, topic: Arc<str>, tags: &str, cx: Out<'_, '_>) {
        let wall = i64::try_from(cx.now.wall_ms).unwrap_or(i64::MAX);
        let version = self.subscriptions.get(&topic).map_or(wall, |old| wall.max(old.version + 1));
        match Subscription::new(topic.clone(), tags, version) {
            Err(error) => cx.out.event(ConsumerEvent::Refused(format!("subscription of {topic}: {error}"))),
            Ok(subscription) => {
                if self.subscriptions.contains_key(&topic) {
                    sometimes!("a running consumer changed its subscription");
                }
                self.subscriptions.insert(topic.clone(), subscription);
                let (topic_name, tags) = (topic.clone(), Some(tags.to_owned()));
                cx.out.event(ConsumerEvent::Subscribed { topic: topic_name, tags, version });
                self.topics.entry(topic.clone()).or_default();
                self.stats.entry(topic.clone()).or_insert_with(|| TopicStats::new(cx.now.mono));
                self.announce(cx);
                if self.life == Life::Running {
                    self.client.want(&topic, Want::Subscribe, cx);
                }
            }
        }
    }

    fn unsubscribe(&mut self, topic: &Arc<str>, cx: Out<'_, '_>) {
        if *topic == self.retry_topic || self.subscriptions.remove(topic).is_none() {
            return;
        }
        let version = i64::try_from(cx.now.wall_ms).unwrap_or(i64::MAX);
        cx.out.event(ConsumerEvent::Subscribed { topic: topic.clone(), tags: None, version });
        self.topics.remove(topic);
        self.stats.remove(topic);
        self.announce(cx);
        let keys: Vec<Key> = self.owned.keys().filter(|key| key.topic == *topic).cloned().collect();
        for key in keys {
            self.give_back(&key, cx);
        }
        self.client.forget(topic, cx);
        self.tell_assigned(topic, cx);
    }

    /// Tells every broker what this consumer reads now.
    fn announce(&mut self, cx: Out<'_, '_>) {
        let from = match self.config.from {
            FromWhere::Last => ConsumeFromWhere::LastOffset,
            FromWhere::First => ConsumeFromWhere::FirstOffset,
            FromWhere::Timestamp(_) => ConsumeFromWhere::Timestamp,
        };
        let data = ConsumerData {
            consume_from_where: Some(from),
            consume_type: Some(ConsumeType::Passively),
            group_name: self.config.group.to_string(),
            message_model: Some(MessageModel::Clustering),
            subscription_data_set: self.subscriptions.values().map(Subscription::data).collect(),
            unit_mode: false,
        };
        let heartbeat = HeartbeatData {
            client_id: self.client_id.clone(),
            consumer_data_set: vec![data],
            ..HeartbeatData::default()
        };
        self.client.set_presence(Presence { heartbeat, masters_only: false });
        if self.life == Life::Running {
            self.client.heartbeat_all(cx);
        }
    }

    fn on_news(&mut self, news: News<Ask>, cx: Out<'_, '_>) {
        match news {
            News::Answer { tag, result } => self.on_answer(tag, result, cx),
            News::Route { topic, news: RouteNews::Changed } => self.rebalance(&topic, cx),
            News::Route { .. } => {}
            News::Request { conn, frame } => self.on_request(conn, &frame, cx),
            News::Left => self.close(cx),
        }
    }

    fn on_answer(&mut self, ask: Ask, result: Result<Frame, CallError>, cx: Out<'_, '_>) {
        match ask {
            Ask::Members { topic, addr } => self.on_members(&topic, &addr, result, cx),
            Ask::Lock { keys, at } => self.on_locks(keys, at, result, cx),
            Ask::Seek { key, generation, seek } => self.on_seek(&key, generation, seek, result, cx),
            Ask::Pull { key, generation, addr } => self.on_pull(&key, generation, &addr, result, cx),
        }
    }

    /// A broker asks: members have changed, an operator wants to know how it is, or something that is not offered.
    fn on_request(&mut self, conn: ConnId, frame: &Frame, cx: Out<'_, '_>) {
        match frame.code {
            code::NOTIFY_CONSUMER_IDS_CHANGED => {
                let header = NotifyConsumerIdsChangedHeader::read(&frame.fields);
                if header.is_ok_and(|header| *header.consumer_group == *self.config.group) {
                    self.rebalance_all(cx);
                }
            }
            code::GET_CONSUMER_RUNNING_INFO => self.on_running_info(conn, frame, cx),
            _ => self.client.refuse(conn, frame, cx.out),
        }
    }

    fn wake(&mut self, cx: Out<'_, '_>) {
        let now = cx.now.mono;
        if self.life != Life::Running {
            return;
        }
        self.sample(now);
        if now >= self.rebalance_at {
            self.rebalance_all(cx);
        }
        self.rebalance_again(cx);
        if now >= self.commit_at {
            self.commit_at = now + COMMIT_EVERY;
            if !crate::buggify!("commit a round later") {
                self.commit_all(cx);
            }
        }
        if self.config.orderly && now >= self.lock_at {
            self.lock_at = now + LOCK_EVERY;
            self.lock_all(cx);
        }
        while let Some((at, key)) = self.alarms.first().cloned() {
            if at > now {
                break;
            }
            self.alarms.pop_first();
            self.alarm_of.remove(&key);
            self.refresh(&key, cx);
        }
    }

    /// Brings a queue forward after anything about it has changed: its next request, whether it has something to deliver, and
    /// when to look again.
    fn refresh(&mut self, key: &Key, cx: Out<'_, '_>) {
        let now = cx.now.mono;
        let Some(owned) = self.owned.get_mut(key) else {
            self.forget(key);
            return;
        };
        owned.messages.ripen(now);
        if owned.stage == Stage::Leaving && !self.busy.contains_key(key) {
            self.let_go(key, cx);
            return;
        }
        if owned.request == Request::UnderWay || self.life != Life::Running {
            // Nothing to ask for.
        } else if matches!(owned.request, Request::Idle(at) if at <= now) {
            match owned.stage {
                Stage::Locking => self.lock(std::slice::from_ref(key), cx),
                Stage::Seeking => self.seek(key, Seek::Committed, cx),
                Stage::Pulling => self.pull(key, cx),
                Stage::Leaving => {}
            }
        }
        self.set_ready(key, now);
        self.set_alarm(key, now);
    }

    /// The queue is nothing to this consumer any more.
    fn forget(&mut self, key: &Key) {
        self.ready.remove(key);
        if let Some(at) = self.alarm_of.remove(key) {
            self.alarms.remove(&(at, key.clone()));
        }
    }

    fn set_ready(&mut self, key: &Key, now: Instant) {
        let owned = &self.owned[key];
        let free = !self.config.orderly
            || (owned.locked(now)
                && owned.suspended_until <= now
                && (!self.busy.contains_key(key) || crate::planted!("orderly-overlap")));
        if owned.stage == Stage::Pulling && free && owned.messages.has_ready() {
            self.ready.insert(key.clone());
        } else {
            self.ready.remove(key);
        }
    }

    fn set_alarm(&mut self, key: &Key, now: Instant) {
        let owned = &self.owned[key];
        let request = match owned.request {
            Request::Idle(at) if at > now => Some(at),
            _ => None,
        };
        let suspended = Some(owned.suspended_until).filter(|at| *at > now);
        let alarm = Instant::first(&[request, suspended, owned.messages.ripe_at()]);
        if self.alarm_of.get(key).copied() == alarm {
            return;
        }
        if let Some(at) = self.alarm_of.remove(key) {
            self.alarms.remove(&(at, key.clone()));
        }
        if let Some(at) = alarm {
            self.alarm_of.insert(key.clone(), at);
            self.alarms.insert((at, key.clone()));
        }
    }

    fn stop(&mut self, cx: Out<'_, '_>) {
        match self.life {
            Life::Running => self.life = Life::Stopping(cx.now.mono + self.config.stop_wait),
            Life::Created | Life::Refused => {
                self.life = Life::Leaving;
                self.close(cx);
            }
            _ => {}
        }
    }

    /// Goes on with a stop when nothing is under way or the time is over: commits, gives every queue back, says goodbye.
    fn leave_when_done(&mut self, cx: Out<'_, '_>) {
        let Life::Stopping(until) = self.life else { return };
        if !self.deliveries.is_empty() && cx.now.mono < until {
            return;
        }
        if !self.deliveries.is_empty() {
            sometimes!("member left before its handlers returned");
        }
        self.life = Life::Leaving;
        for key in self.owned.keys().cloned().collect::<Vec<_>>() {
            self.let_go(&key, cx);
        }
        let header = UnregisterClientHeader {
            client_id: self.client_id.clone(),
            producer_group: None,
            consumer_group: Some(self.config.group.to_string()),
        };
        self.client.leave(&header, cx);
    }

    fn close(&mut self, cx: Out<'_, '_>) {
        if self.life == Life::Leaving {
            self.life = Life::Stopped;
            self.client.close_all(cx.out);
            cx.out.0.push(Output::Stopped);
        }
    }
}

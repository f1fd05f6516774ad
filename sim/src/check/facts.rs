//! What a history says so far: messages, who owns which queue, and what is still open.
//!
//! Invariant: facts only grow; every checker reads them after the line was noted, so that all see the same past.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::IN_FLIGHT_MS;
use super::faults::{Fault, Faults, Known};
use super::kept::{Column, Map, Pages, Texts};
use super::subscriptions::Subscriptions;
use crate::history::{GroupRules, Header, Op, Phase, Queue, Record};
use crate::tape::{Flush, Model, OrderKind};

/// Faults that leave a server up and may still hide it, or keep it from taking messages, for a while.
const TROUBLES: [&str; 15] = [
    "pause",
    "partition",
    "heartbeat-loss",
    "heartbeat-delay",
    "slow-cpu",
    "slow-link",
    "thin-link",
    "half-close",
    "reset",
    "sync-error",
    "read-error",
    "write-error",
    "disk-full",
    "disk-stalled",
    "drain",
];

/// How often a producer looks at the routes, and some slack.
const ROUTE_POLL_MS: f64 = 35_000.0;

/// An interned text.
pub type Name = u32;
/// A queue of a topic.
pub type QueueId = u32;
/// A business id or tag.
pub type Label = u64;
/// A message, in the order of first invocation: the number of its key.
pub type MessageId = u64;
/// A line and its time.
pub type At = (u64, f64);

/// A queue as a group (or one member of a broadcasting group) sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group, or the member of a broadcasting group: whoever should see each message once.
    pub audience: Name,
    /// The queue.
    pub queue: QueueId,
}

/// A message that a producer tried to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// Its topic.
    pub topic: Name,
    /// Its business id.
    pub shard: Option<Label>,
    /// Its tag.
    pub tag: Option<Label>,
    /// First invocation.
    pub invoked: At,
    /// How the sending ended; none while it is open.
    pub outcome: Option<Phase>,
    /// When it ended.
    pub ended: At,
    /// When the answer may have left the broker at the earliest: a client that stood still reads it late.
    pub answered: f64,
    /// How often the client handed it to a broker, if it tells.
    pub attempts: Option<u32>,
    /// Where the acknowledgement says that it is.
    pub stored: Option<(QueueId, u64)>,
    /// How often the application asked for it to be sent.
    pub asks: u32,
    /// Its first delivery to anybody.
    pub delivered: Option<At>,
}

/// One handing of a message to a handler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// Where.
    pub place: Place,
    /// Position in the queue.
    pub offset: u64,
    /// Which message; none when nobody sent it.
    pub message: Option<MessageId>,
    /// To whom.
    pub client: Name,
    /// The client's ownership of the queue.
    pub session: Session,
    /// Line and time.
    pub at: At,
}

/// How long a client has owned a queue without a break.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Session {
    /// The assignment that began it; line 0 when the history does not tell.
    pub since: At,
}

/// What a line meant.
#[derive(Clone, Debug)]
pub enum Noted {
    /// A message was acknowledged.
    Acked(MessageId),
    /// The sender was told that nothing was stored.
    Refused(MessageId),
    /// A message was handed out.
    Delivered(Visit),
    /// A handler ended.
    Handled {
        /// Which delivery.
        visit: Visit,
        /// How.
        phase: Phase,
    },
    /// A client told its position.
    Committed {
        /// Where.
        place: Place,
        /// Who.
        client: Name,
        /// Next position.
        offset: u64,
    },
    /// A client died or left: its handlers are no more.
    Gone(Name),
    /// Nothing that a checker waits for.
    Nothing,
}

/// The administrator moved a group back. The broker does it when the request comes, and the owner of the queue learns of it with a later
/// pull, which is first seen when a message comes again.
#[derive(Clone, Copy, Debug, Default)]
struct Reset {
    /// Requests without an answer.
    asked: u32,
    /// How many have not shown yet: a second one may come before the first one shows.
    open: u32,
    /// When a message came again because of it, or of the one before it.
    taken: Option<At>,
}

impl Reset {
    fn covers(&self, seen: At) -> bool {
        self.taken.is_some_and(|taken| taken.0 > seen.0)
    }
}

/// Everything known so far.
#[derive(Debug)]
pub struct Facts {
    /// The first line.
    pub header: Header,
    /// Faults.
    pub faults: Faults,
    /// Of groups that the header does not name.
    usual: GroupRules,
    /// What members read.
    pub subscriptions: Subscriptions,
    /// Acknowledged messages.
    pub acked: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Audiences of each topic, with the time at which each was first seen there.
    pub audiences: BTreeMap<Name, BTreeMap<Name, f64>>,
    resets: BTreeMap<Place, Reset>,
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, Name>,
    queues: Vec<(Name, Queue)>,
    by_queue: HashMap<Name, HashMap<Queue, QueueId>>,
    messages: Column<Message>,
    keys: Texts,
    labels: Texts,
    sends: Map<MessageId>,
    visits: Map<Visit>,
    /// By client, audience and topic.
    owned: BTreeMap<(Name, Name, Name), BTreeMap<QueueId, Session>>,
    /// The clients behind `owned`, by place.
    owners: HashMap<Place, BTreeSet<Name>>,
    /// The last two clients that gave a place up, and when.
    left: HashMap<Place, Vec<(Name, f64)>>,
    members: BTreeMap<Name, (Name, Name)>,
    clients: BTreeSet<Name>,
}

impl Facts {
    /// No facts but the header; those of messages will be in `pages`.
    pub fn new(header: Header, pages: &Pages) -> Facts {
        Facts {
            header,
            faults: Faults::default(),
            usual: GroupRules::default(),
            subscriptions: Subscriptions::default(),
            acked: 0,
            delivered: 0,
            audiences: BTreeMap::new(),
            resets: BTreeMap::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            queues: Vec::new(),
            by_queue: HashMap::new(),
            messages: Column::new(pages),
            keys: Texts::new(pages),
            labels: Texts::new(pages),
            sends: Map::new(pages, 0),
            visits: Map::new(pages, 0),
            owned: BTreeMap::new(),
            owners: HashMap::new(),
            left: HashMap::new(),
            members: BTreeMap::new(),
            clients: BTreeSet::new(),
        }
    }

    /// The text of a name.
    pub fn name(&self, name: Name) -> &str {
        &self.names[name as usize]
    }

    /// The topic and queue behind a number.
    pub fn queue(&self, queue: QueueId) -> (Name, &Queue) {
        let (topic, queue) = &self.queues[queue as usize];
        (*topic, queue)
    }

    /// The queue in words: `T/broker-a:3`.
    pub fn queue_text(&self, queue: QueueId) -> String {
        let (topic, queue) = self.queue(queue);
        format!("{}/{queue}", self.name(topic))
    }

    /// A message.
    pub fn message(&self, message: MessageId) -> Message {
        self.messages.get(message)
    }

    /// How many messages there are.
    pub fn messages(&self) -> u64 {
        self.messages.len()
    }

    /// The first message that was asked for after a time.
    pub fn first_after(&self, t: f64) -> MessageId {
        self.messages.partition_point(|message| message.invoked.1 <= t)
    }

    /// The key of a message.
    pub fn key(&self, message: MessageId) -> String {
        self.keys.text(message)
    }

    /// The text of a business id or tag.
    pub fn label(&self, label: Label) -> String {
        self.labels.text(label)
    }

    /// The order that a topic promises.
    pub fn order(&self, topic: Name) -> OrderKind {
        self.header.order.get(self.name(topic)).copied().unwrap_or_default()
    }

    /// `normal` or `ordered`, for signatures.
    pub fn topic_kind(&self, topic: Name) -> String {
        if self.order(topic) == OrderKind::None { "normal".into() } else { "ordered".into() }
    }

    /// The rules of the group behind an audience.
    pub fn rules(&self, audience: Name) -> &GroupRules {
        self.header.groups.get(self.name(self.group(audience))).unwrap_or(&self.usual)
    }

    /// The group behind an audience.
    pub fn group(&self, audience: Name) -> Name {
        self.members.get(&audience).map_or(audience, |(group, _)| *group)
    }

    /// The member, when the audience is one of a broadcasting group.
    pub fn member(&self, audience: Name) -> Option<Name> {
        self.members.get(&audience).map(|(_, client)| *client)
    }

    /// Whether brokers acknowledge before the disk has it.
    pub fn flush_is_async(&self) -> bool {
        self.header.flush == Flush::Async
    }

    /// Whether the list of a topic's queues may have changed for a producer: a server was down, paused or cut off. A broker that a name
    /// server lost is back with its next registration, and producers learn of it with their next look at the routes.
    pub fn routes_may_change(&self, from: f64, to: f64) -> bool {
        let kinds = |f: &Fault| f.is_down() || TROUBLES.contains(&f.kind.as_str());
        let client =
            |target: &String| self.by_name.get(target.as_str()).is_some_and(|name| self.clients.contains(name));
        self.faults
            .during(from - ROUTE_POLL_MS, to)
            .any(|f| kinds(f) && (f.targets.is_empty() || !f.targets.iter().all(client)))
    }

    /// The number of a text, given out at first sight.
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.by_name.get(text) {
            return *name;
        }
        let name = Name::try_from(self.names.len()).expect("a history names fewer than 2^32 things");
        let text: Arc<str> = text.into();
        self.names.push(text.clone());
        self.by_name.insert(text, name);
        name
    }

    fn queue_id(&mut self, topic: Name, queue: &Queue) -> QueueId {
        if let Some(id) = self.by_queue.get(&topic).and_then(|queues| queues.get(queue)) {
            return *id;
        }
        let id = QueueId::try_from(self.queues.len()).expect("a history names fewer than 2^32 queues");
        self.queues.push((topic, queue.clone()));
        self.by_queue.entry(topic).or_default().insert(queue.clone(), id);
        id
    }

    /// The place of a clustering group at a queue.
    pub fn place(&mut self, group: &str, topic: &str, queue: &Queue) -> Place {
        let (audience, topic) = (self.intern(group), self.intern(topic));
        Place { audience, queue: self.queue_id(topic, queue) }
    }

    /// The group itself, or the member of a broadcasting group.
    fn audience(&mut self, group: &str, client: Name) -> Name {
        let broadcasting = self.header.groups.get(group).is_some_and(|g| g.model == Model::Broadcasting);
        let whole = self.intern(group);
        if !broadcasting {
            return whole;
        }
        let member = self.intern(&format!("{group} @ {}", self.name(client)));
        self.members.insert(member, (whole, client));
        member
    }

    /// The client's present ownership of a queue.
    pub fn session(&self, audience: Name, client: Name, queue: QueueId) -> Session {
        let key = (client, audience, self.queue(queue).0);
        self.owned.get(&key).and_then(|queues| queues.get(&queue)).copied().unwrap_or_default()
    }

    /// Whether another client owns a queue as well at the moment, or gave it up so shortly before that what it said may still be on its
    /// way.
    pub fn is_shared(&self, place: Place, client: Name, now: f64) -> bool {
        let owns = self.owners.get(&place).is_some_and(|owners| owners.iter().any(|owner| *owner != client));
        let mut left = self.left.get(&place).into_iter().flatten();
        owns || left.any(|(other, at)| *other != client && at + IN_FLIGHT_MS >= now)
    }

    /// When a client last gave a place up, if it was one of the last two that did.
    pub fn gave_up(&self, place: Place, client: Name) -> Option<f64> {
        self.left.get(&place)?.iter().find(|(other, _)| *other == client).map(|(_, at)| *at)
    }

    /// Takes a line.
    pub fn note(&mut self, line: u64, record: &Record) -> Noted {
        let at = (line, record.t);
        let client = self.intern(&record.client);
        if !record.client.is_empty() {
            self.clients.insert(client);
            self.faults.alive(&record.client, record.t);
        }
        match &record.op {
            Op::Send { phase: Phase::Invoke, .. } => self.invoked(at, client, &record.op),
            Op::Send { phase, call, queue, offset, attempts, .. } => {
                self.sent(at, (client, *call), *phase, (queue.as_ref(), *offset), *attempts)
            }
            Op::Deliver { phase: Phase::Invoke, .. } => self.visit(at, client, &record.op),
            Op::Deliver { phase, call, .. } => match self.visits.remove((client.into(), *call)) {
                Some(visit) => Noted::Handled { visit, phase: *phase },
                None => Noted::Nothing,
            },
            Op::Subscribe { group, topic, tags, version } => {
                let who = (self.intern(group), self.intern(topic), client);
                self.subscriptions.note(who, tags.as_deref(), *version, at.1);
                Noted::Nothing
            }
            Op::Assign { group, topic, queues } => self.assign(at, client, group, topic, queues),
            Op::Commit { group, topic, queue, offset } => {
                let topic = self.intern(topic);
                let place = Place { audience: self.audience(group, client), queue: self.queue_id(topic, queue) };
                Noted::Committed { place, client, offset: *offset }
            }
            Op::Reset { group, topic, queue, asked, .. } => {
                let place = self.place(group, topic, queue);
                self.reset(place, *asked);
                Noted::Nothing
            }
            Op::Fault { kind, target, of, durable, lied, damage, lasts } => {
                let known = Known { durable: durable.as_ref(), lied: *lied, damage: damage.as_ref(), lasts: *lasts };
                self.faults.note(at.0, at.1, kind, target, of.as_deref(), known);
                self.fault(kind, target, at.1)
            }
            Op::End { .. } => Noted::Nothing,
        }
    }

    fn invoked(&mut self, at: At, client: Name, op: &Op) -> Noted {
        let Op::Send { call, topic, key, shard, tag, queue, .. } = op else { unreachable!("called for sends") };
        let topic = self.intern(topic);
        if let Some(queue) = queue {
            self.queue_id(topic, queue);
        }
        let mut label = |text: &Option<String>| text.as_ref().map(|text| self.labels.number(text).0);
        let (shard, tag) = (label(shard), label(tag));
        let (id, new) = self.keys.number(key);
        if new {
            self.messages.push(Message {
                topic,
                shard,
                tag,
                invoked: at,
                outcome: None,
                ended: at,
                answered: at.1,
                attempts: None,
                stored: None,
                asks: 1,
                delivered: None,
            });
        } else {
            let mut message = self.message(id);
            message.asks = message.asks.saturating_add(1);
            message.outcome = message.outcome.filter(|o| *o == Phase::Ok);
            self.messages.set(id, message);
        }
        self.sends.insert((client.into(), *call), id);
        Noted::Nothing
    }

    fn sent(
        &mut self,
        at: At,
        call: (Name, u64),
        phase: Phase,
        position: (Option<&Queue>, Option<u64>),
        attempts: Option<u32>,
    ) -> Noted {
        let Some(id) = self.sends.remove((call.0.into(), call.1)) else { return Noted::Nothing };
        let mut message = self.message(id);
        let stored = match position {
            (Some(queue), Some(offset)) => Some((self.queue_id(message.topic, queue), offset)),
            _ => None,
        };
        let answered = self.faults.delayed_since(&self.names[call.0 as usize], position.0, at.1);
        if message.outcome == Some(Phase::Ok) || (message.asks > 1 && phase == Phase::Fail) {
            return Noted::Nothing;
        }
        (message.outcome, message.ended) = (Some(phase), at);
        (message.answered, message.attempts) = (answered, attempts);
        if phase == Phase::Ok {
            message.stored = stored;
            self.acked += 1;
        }
        self.messages.set(id, message);
        match phase {
            Phase::Ok => Noted::Acked(id),
            Phase::Fail => Noted::Refused(id),
            _ => Noted::Nothing,
        }
    }

    fn visit(&mut self, at: At, client: Name, op: &Op) -> Noted {
        let Op::Deliver { call, group, topic, queue: Some(queue), offset: Some(offset), key, .. } = op else {
            unreachable!("the reader demands queue and offset of an invocation")
        };
        let (audience, topic) = (self.audience(group, client), self.intern(topic));
        let place = Place { audience, queue: self.queue_id(topic, queue) };
        self.audiences.entry(topic).or_default().entry(audience).or_insert(at.1);
        let session = self.session(audience, client, place.queue);
        let message = self.keys.find(key);
        let visit = Visit { place, offset: *offset, message, client, session, at };
        if let Some(id) = message {
            let mut message = self.message(id);
            if message.delivered.is_none() {
                message.delivered = Some(at);
                self.messages.set(id, message);
            }
        }
        self.delivered += 1;
        self.visits.insert((client.into(), *call), visit);
        Noted::Delivered(visit)
    }

    fn assign(&mut self, at: At, client: Name, group: &str, topic: &str, queues: &[Queue]) -> Noted {
        let (audience, topic) = (self.audience(group, client), self.intern(topic));
        self.audiences.entry(topic).or_default().entry(audience).or_insert(at.1);
        let ids: BTreeSet<QueueId> = queues.iter().map(|q| self.queue_id(topic, q)).collect();
        let before = self.owned.remove(&(client, audience, topic)).unwrap_or_default();
        before
            .keys()
            .filter(|queue| !ids.contains(queue))
            .for_each(|queue| self.disown(client, audience, *queue, at.1));
        let mut owned = BTreeMap::new();
        for queue in ids {
            self.owners.entry(Place { audience, queue }).or_default().insert(client);
            owned.insert(queue, before.get(&queue).copied().unwrap_or(Session { since: at }));
        }
        if !owned.is_empty() {
            self.owned.insert((client, audience, topic), owned);
        }
        Noted::Nothing
    }

    fn disown(&mut self, client: Name, audience: Name, queue: QueueId, now: f64) {
        let place = Place { audience, queue };
        let left = self.left.entry(place).or_default();
        left.retain(|(other, _)| *other != client);
        left.push((client, now));
        if left.len() > 2 {
            left.remove(0);
        }
        let Some(owners) = self.owners.get_mut(&place) else { return };
        owners.remove(&client);
        if owners.is_empty() {
            self.owners.remove(&place);
        }
    }

    fn reset(&mut self, place: Place, asked: bool) {
        let reset = self.resets.entry(place).or_default();
        match (asked, reset.asked) {
            (true, _) => (reset.asked, reset.open) = (reset.asked + 1, reset.open + 1),
            (false, 0) => reset.open += 1,
            (false, _) => reset.asked -= 1,
        }
    }

    /// Whether what was seen of a place in a line may come again because the administrator moved the group.
    pub fn was_reset(&self, place: Place, seen: At) -> bool {
        self.resets.get(&place).is_some_and(|reset| reset.open > 0 || reset.covers(seen))
    }

    /// A message that had been seen came again: if the group was moved since, this is how it shows.
    pub fn came_again(&mut self, place: Place, seen: At, at: At) {
        let open = |reset: &&mut Reset| reset.open > 0 && !reset.covers(seen);
        if let Some(reset) = self.resets.get_mut(&place).filter(open) {
            (reset.open, reset.taken) = (reset.open - 1, Some(at));
        }
    }

    fn fault(&mut self, kind: &str, target: &str, t: f64) -> Noted {
        let down =
            matches!(kind, "crash" | "kill" | "power" | "power-loss" | "disk-replaced" | "stop" | "restart" | "leave");
        match self.by_name.get(target) {
            Some(client) if down => {
                let client = *client;
                let of_it = self.owned.range((client, 0, 0)..=(client, Name::MAX, Name::MAX));
                let of_it: Vec<_> = of_it.map(|(key, _)| *key).collect();
                for key in of_it {
                    let queues = self.owned.remove(&key).unwrap_or_default();
                    queues.into_keys().for_each(|queue| self.disown(client, key.1, queue, t));
                }
                self.subscriptions.gone(client, t);
                Noted::Gone(client)
            }
            _ => Noted::Nothing,
        }
    }
}

//! Who is connected: producers and consumers by group, with what they subscribe (Java `ProducerManager`,
//! `ConsumerManager`).
//!
//! Invariant: a member is listed in its group if and only if the group is listed with its connection, so that a closed
//! connection takes all its memberships with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::node::{ConnId, Instant, Now};
use crate::wire::Language;
use crate::wire::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData};

/// One client in one group.
#[derive(Clone, Debug)]
pub struct Member {
    /// The id that the client gave itself.
    pub client_id: Arc<str>,
    /// What it is written in.
    pub language: Language,
    /// Its release.
    pub version: i32,
    /// Its last heartbeat.
    pub last: Instant,
    /// The same on the wall clock, ms since 1970.
    pub last_ms: u64,
}

/// The consumers of one group.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    /// By connection: a client that reconnects before its old connection is gone is here twice.
    pub members: BTreeMap<ConnId, Member>,
    /// By topic.
    pub subscriptions: BTreeMap<String, SubscriptionData>,
    /// Of the last heartbeat, like the two below.
    pub consume_type: Option<ConsumeType>,
    /// Whether the members share the queues.
    pub message_model: Option<MessageModel>,
    /// Where the group begins.
    pub consume_from_where: Option<ConsumeFromWhere>,
}

impl ConsumerGroup {
    /// Whether every member gets every message.
    pub fn is_broadcasting(&self) -> bool {
        self.message_model == Some(MessageModel::Broadcasting)
    }
    /// The client ids, each once.
    pub fn client_ids(&self) -> BTreeSet<&str> {
        self.members.values().map(|member| &*member.client_id).collect()
    }
    /// The connection of a client.
    pub fn conn_of(&self, client_id: &str) -> Option<ConnId> {
        self.members.iter().rev().find(|(_, member)| &*member.client_id == client_id).map(|(conn, _)| *conn)
    }
    fn connections(&self) -> Vec<ConnId> {
        self.members.keys().copied().collect()
    }
}

/// A consumer group whose members must be told to share the queues anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The group.
    pub group: String,
    /// Whom to tell.
    pub members: Vec<ConnId>,
}

/// Groups of one connection.
#[derive(Clone, Debug, Default)]
struct Presence {
    producers: BTreeSet<String>,
    consumers: BTreeSet<String>,
    /// Hash of the last full heartbeat of the second version; 0 is none.
    fingerprint: i32,
}

impl Presence {
    fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.consumers.is_empty()
    }
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    producers: BTreeMap<String, BTreeMap<ConnId, Member>>,
    consumers: BTreeMap<String, ConsumerGroup>,
    by_conn: BTreeMap<ConnId, Presence>,
}

/// Who sent a heartbeat.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The connection it came over.
    pub conn: ConnId,
    /// The client's own id.
    pub client_id: Arc<str>,
    /// From the frame.
    pub language: Language,
    /// From the frame.
    pub version: i32,
}

impl Sender {
    fn member(&self, now: Now) -> Member {
        Member {
            client_id: Arc::clone(&self.client_id),
            language: self.language,
            version: self.version,
            last: now.mono,
            last_ms: now.wall_ms,
        }
    }
}

impl Clients {
    /// A producer says that it lives.
    pub fn producer_beat(&mut self, group: &str, sender: &Sender, now: Now) {
        let members = entry(&mut self.producers, group);
        members.insert(sender.conn, sender.member(now));
        entry_set(&mut self.by_conn.entry(sender.conn).or_default().producers, group);
    }
    /// A consumer says that it lives and what it wants. Returns whether the group's members or subscriptions changed.
    pub fn consumer_beat(&mut self, data: &ConsumerData, sender: &Sender, now: Now) -> bool {
        let new_member = self.refresh(&data.group_name, sender, now);
        let group = self.consumers.get_mut(&data.group_name).expect("it was just refreshed");
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        new_member | subscribe(&mut group.subscriptions, &data.subscription_data_set)
    }
    /// A consumer says that it lives and that nothing has changed. Returns whether it is new.
    pub fn refresh(&mut self, group: &str, sender: &Sender, now: Now) -> bool {
        let members = &mut entry(&mut self.consumers, group).members;
        let new_member = match members.insert(sender.conn, sender.member(now)) {
            None => true,
            Some(before) => before.client_id != sender.client_id,
        };
        entry_set(&mut self.by_conn.entry(sender.conn).or_default().consumers, group);
        new_member
    }
    /// Remembers the hash of the last full heartbeat of a connection.
    pub fn set_fingerprint(&mut self, conn: ConnId, fingerprint: i32) {
        if let Some(presence) = self.by_conn.get_mut(&conn) {
            presence.fingerprint = fingerprint;
        }
    }
    /// Whether a connection is in a group with just this set of subscriptions, as hashed by the client.
    pub fn is_same(&self, group: &str, conn: ConnId, fingerprint: i32) -> bool {
        let presence = self.by_conn.get(&conn);
        presence.is_some_and(|p| p.fingerprint == fingerprint && p.consumers.contains(group))
    }
    /// A producer leaves.
    pub fn producer_leaves(&mut self, group: &str, conn: ConnId) {
        remove_member(&mut self.producers, group, conn);
        self.forget_presence(conn, |presence| presence.producers.remove(group));
    }
    /// A consumer leaves. Returns whom to tell.
    pub fn consumer_leaves(&mut self, group: &str, conn: ConnId) -> Option<Changed> {
        self.forget_presence(conn, |presence| presence.consumers.remove(group));
        let members = self.consumers.get_mut(group)?;
        members.members.remove(&conn)?;
        let changed = Changed { group: group.to_owned(), members: members.connections() };
        if members.members.is_empty() {
            self.consumers.remove(group);
        }
        Some(changed)
    }
    /// A connection is gone, with all its memberships. Returns the consumer groups that lost a member.
    pub fn closed(&mut self, conn: ConnId) -> Vec<Changed> {
        let Some(presence) = self.by_conn.remove(&conn) else { return Vec::new() };
        for group in &presence.producers {
            remove_member(&mut self.producers, group, conn);
        }
        presence.consumers.iter().filter_map(|group| self.consumer_leaves(group, conn)).collect()
    }
    /// Connections with a member that has been silent for longer than `patience`.
    pub fn silent(&self, now: Instant, patience: Duration) -> Vec<ConnId> {
        let silent = |member: &Member| now.since(member.last) > patience;
        let producers = self.producers.values().flatten();
        let consumers = self.consumers.values().flat_map(|group| &group.members);
        let conns: BTreeSet<ConnId> =
            producers.chain(consumers).filter(|(_, member)| silent(member)).map(|(conn, _)| *conn).collect();
        conns.into_iter().collect()
    }
    /// The consumers of a group.
    pub fn consumers(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }
    /// All consumer groups.
    pub fn consumer_groups(&self) -> impl Iterator<Item = (&str, &ConsumerGroup)> {
        self.consumers.iter().map(|(name, group)| (name.as_str(), group))
    }
    /// The producers of a group.
    pub fn producers(&self, group: &str) -> Option<&BTreeMap<ConnId, Member>> {
        self.producers.get(group)
    }
    /// All producer groups.
    pub fn producer_groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<ConnId, Member>)> {
        self.producers.iter().map(|(name, members)| (name.as_str(), members))
    }
    /// Whether a connection has said which client it is.
    pub fn is_known(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }
    /// Connections that have memberships.
    pub fn conns(&self) -> impl Iterator<Item = &ConnId> {
        self.by_conn.keys()
    }
    /// How many connections have memberships.
    pub fn len(&self) -> usize {
        self.by_conn.len()
    }
    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.by_conn.is_empty()
    }
    /// Panics when groups and connections disagree.
    pub fn invariants(&self) {
        for (conn, presence) in &self.by_conn {
            assert!(!presence.is_empty(), "a connection without memberships is not kept");
            let produces = |group| self.producers.get(group).is_some_and(|members| members.contains_key(conn));
            let consumes = |group| self.consumers.get(group).is_some_and(|group| group.members.contains_key(conn));
            assert!(presence.producers.iter().all(produces), "every producer presence is a membership");
            assert!(presence.consumers.iter().all(consumes), "every consumer presence is a membership");
        }
        let memberships: usize = self.producers.values().map(BTreeMap::len).sum::<usize>()
            + self.consumers.values().map(|group| group.members.len()).sum::<usize>();
        let presences: usize = self.by_conn.values().map(|p| p.producers.len() + p.consumers.len()).sum();
        assert_eq!(memberships, presences, "every membership is a presence");
    }

    fn forget_presence(&mut self, conn: ConnId, forget: impl FnOnce(&mut Presence) -> bool) {
        let Some(presence) = self.by_conn.get_mut(&conn) else { return };
        forget(presence);
        if presence.is_empty() {
            self.by_conn.remove(&conn);
        }
    }
}

/// Takes the subscriptions of a heartbeat over (Java `ConsumerGroupInfo.updateSubscription`). Returns whether a topic
/// came or went.
fn subscribe(known: &mut BTreeMap<String, SubscriptionData>, wanted: &[SubscriptionData]) -> bool {
    let mut changed = false;
    for subscription in wanted {
        match known.get_mut(&subscription.topic) {
            None => {
                changed = true;
                known.insert(subscription.topic.clone(), subscription.clone());
            }
            Some(_) if crate::planted!("newer-subscription-ignored") => {}
            Some(before) if subscription.sub_version > before.sub_version => *before = subscription.clone(),
            Some(_) => {}
        }
    }
    let before = known.len();
    known.retain(|topic, _| wanted.iter().any(|subscription| subscription.topic == *topic));
    changed || known.len() != before
}

fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), T::default());
    }
    map.get_mut(name).expect("it is there or was just put there")
}

fn entry_set(set: &mut BTreeSet<String>, name: &str) {
    if !set.contains(name) {
        set.insert(name.to_owned());
    }
}

fn remove_member(table: &mut BTreeMap<String, BTreeMap<ConnId, Member>>, group: &str, conn: ConnId) {
    let Some(members) = table.get_mut(group) else { return };
    members.remove(&conn);
    if members.is_empty() {
        table.remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(conn: u64) -> Sender {
        Sender { conn: ConnId(conn), client_id: format!("c{conn}").into(), language: Language::Java, version: 513 }
    }

    fn now(secs: u64) -> Now {
        Now { mono: Instant(secs * 1_000_000_000), wall_ms: secs * 1000 }
    }

    fn data(topics: &[(&str, i64)]) -> ConsumerData {
        ConsumerData {
            group_name: "g".into(),
            consume_type: Some(ConsumeType::Passively),
            message_model: Some(MessageModel::Clustering),
            subscription_data_set: topics
                .iter()
                .map(|(topic, version)| SubscriptionData {
                    topic: (*topic).into(),
                    sub_string: "*".into(),
                    sub_version: *version,
                    ..SubscriptionData::default()
                })
                .collect(),
            ..ConsumerData::default()
        }
    }

    #[test]
    fn changes_are_new_members_and_new_or_lost_topics() {
        let mut clients = Clients::default();
        assert!(clients.consumer_beat(&data(&[("T", 1)]), &sender(1), now(0)), "a new member");
        assert!(!clients.consumer_beat(&data(&[("T", 1)]), &sender(1), now(1)));
        assert!(!clients.consumer_beat(&data(&[("T", 2)]), &sender(1), now(2)), "a newer version is no new topic");
        assert_eq!(clients.consumers("g").unwrap().subscriptions["T"].sub_version, 2);
        assert!(!clients.consumer_beat(&data(&[("T", 1)]), &sender(1), now(2)));
        assert_eq!(clients.consumers("g").unwrap().subscriptions["T"].sub_version, 2, "an older version is ignored");
        assert!(clients.consumer_beat(&data(&[("T", 2), ("U", 1)]), &sender(1), now(3)));
        assert!(clients.consumer_beat(&data(&[("U", 1)]), &sender(1), now(3)));
        assert!(clients.consumer_beat(&data(&[("U", 1)]), &sender(2), now(3)));
        clients.invariants();
    }

    #[test]
    fn a_closed_connection_takes_its_memberships_along() {
        let mut clients = Clients::default();
        clients.consumer_beat(&data(&[("T", 1)]), &sender(1), now(0));
        clients.consumer_beat(&data(&[("T", 1)]), &sender(2), now(0));
        clients.producer_beat("p", &sender(1), now(0));
        let changed = clients.closed(ConnId(1));
        assert_eq!(changed, [Changed { group: "g".into(), members: vec![ConnId(2)] }]);
        assert!(clients.producers("p").is_none());
        assert_eq!(clients.closed(ConnId(1)), []);
        assert_eq!(clients.closed(ConnId(2)), [Changed { group: "g".into(), members: vec![] }]);
        assert!(clients.consumers("g").is_none() && clients.is_empty());
        clients.invariants();
    }

    #[test]
    fn silence_is_noticed() {
        let mut clients = Clients::default();
        clients.consumer_beat(&data(&[("T", 1)]), &sender(1), now(0));
        clients.producer_beat("p", &sender(2), now(100));
        let patience = Duration::from_secs(120);
        assert_eq!(clients.silent(now(120).mono, patience), []);
        assert_eq!(clients.silent(now(121).mono, patience), [ConnId(1)]);
        clients.refresh("g", &sender(1), now(121));
        assert_eq!(clients.silent(now(221).mono, patience), [ConnId(2)]);
    }

    #[test]
    fn leaving_a_group_keeps_the_others() {
        let mut clients = Clients::default();
        clients.consumer_beat(&data(&[("T", 1)]), &sender(1), now(0));
        clients.producer_beat("p", &sender(1), now(0));
        assert_eq!(clients.consumer_leaves("g", ConnId(1)).unwrap().members, []);
        assert_eq!(clients.consumer_leaves("g", ConnId(1)), None);
        clients.invariants();
        assert!(clients.is_known(ConnId(1)));
        clients.producer_leaves("p", ConnId(1));
        assert!(!clients.is_known(ConnId(1)));
    }
}

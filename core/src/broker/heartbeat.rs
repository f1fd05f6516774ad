//! HEART_BEAT, UNREGISTER_CLIENT and what follows from members coming and going (Java `ClientManageProcessor`).
//!
//! Invariant: whenever the members or subscriptions of a consumer group change, every other member is told at once, unless the
//! group or the broker is set not to.

use std::collections::BTreeSet;
use std::time::Duration;

use super::clients::{Changed, Sender};
use super::dispatch::{Caller, Fault, Handled};
use super::filter::{FilterError, TagFilter};
use super::topics::{self, PERM_READ, PERM_WRITE};
use super::{Broker, BrokerEvent, names};
use crate::node::{ConnId, Cx, Outbox};
use crate::wire::codes::{request, response};
use crate::wire::heartbeat::{
    CheckClientBody, ConsumerData, ConsumerListBody, GetConsumerListByGroupHeader, HeartbeatData, MessageModel,
};
use crate::wire::json::{self, Style};
use crate::wire::topic::TopicConfig;
use crate::wire::{FLAG_ONEWAY, Frame, Header};
use crate::{planted, sometimes};

/// Most groups that one heartbeat may name.
const GROUPS_OF_ONE_CLIENT_MAX: usize = 10_000;

impl Broker {
    pub(super) fn on_heartbeat(&mut self, caller: &Caller, frame: &Frame, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        if frame.body.is_empty() {
            return Err(Fault::new(response::SYSTEM_ERROR, "the heartbeat has no body"));
        }
        let beat: HeartbeatData = self.body_of(frame)?;
        if beat.consumer_data_set.len() + beat.producer_data_set.len() > GROUPS_OF_ONE_CLIENT_MAX {
            return Err(Fault::new(response::SYSTEM_ERROR, "the heartbeat names too many groups"));
        }
        let sender = Sender {
            conn: caller.conn,
            client_id: beat.client_id.as_str().into(),
            language: caller.language,
            version: caller.version,
        };
        let mut subscriptions_differ = beat.heartbeat_fingerprint == 0;
        for data in &beat.consumer_data_set {
            subscriptions_differ |= self.consumer_beat(data, &beat, &sender, cx);
        }
        for data in &beat.producer_data_set {
            if names::check_group(&data.group_name).is_ok() {
                self.clients.producer_beat(&data.group_name, &sender, cx.now);
            }
        }
        let mut answer = caller.success();
        answer.fields.push_str("IS_SUPPORT_HEART_BEAT_V2", "true");
        answer.fields.push("IS_SUB_CHANGE", subscriptions_differ);
        Ok(answer.into())
    }

    /// One group of a heartbeat. Returns whether the client must send its subscriptions in full.
    fn consumer_beat(
        &mut self,
        data: &ConsumerData,
        beat: &HeartbeatData,
        sender: &Sender,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> bool {
        let group = &data.group_name;
        let Some(config) = self.find_or_create_group(group, cx.now) else { return false };
        let (notify, retry_queues) = (config.notify_consumer_ids_changed_enable, config.retry_queue_nums);
        if beat.without_sub {
            let same = self.clients.is_same(group, sender.conn, beat.heartbeat_fingerprint);
            if same {
                self.clients.refresh(group, sender, cx.now);
            }
            return !same;
        }
        self.make_retry_topic(group, retry_queues, data.unit_mode, cx);
        let changed = self.clients.consumer_beat(data, sender, cx.now);
        self.clients.set_fingerprint(sender.conn, beat.heartbeat_fingerprint);
        if changed && notify && data.message_model != Some(MessageModel::Broadcasting) {
            self.ids_changed(group, cx.out);
        }
        changed
    }

    /// A group that consumes gets a topic for what it fails to consume.
    fn make_retry_topic(&mut self, group: &str, queues: i32, unit: bool, cx: &mut Cx<'_, BrokerEvent>) {
        let topic = names::retry_topic(group);
        let is_missing = self.topics.get(&topic).is_none() || planted!("retry-topic-made-again");
        let wanted = queues > 0 && is_missing && self.topics.len() < topics::TOPICS_MAX;
        if wanted {
            let mut config = TopicConfig::new(&topic, queues.min(topics::QUEUES_MAX), PERM_READ | PERM_WRITE);
            config.topic_sys_flag = if unit { 2 } else { 0 };
            self.topics.set(config, cx.now.wall_ms);
        }
    }

    pub(super) fn on_unregister_client(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        // What leaves is the connection: Java wants a client id in the header, and does without it too.
        let named = |name| frame.fields.get(name).filter(|group| !group.is_empty());
        if let Some(group) = named("producerGroup") {
            self.clients.producer_leaves(group, caller.conn);
        }
        let group = named("consumerGroup");
        if let Some(changed) = group.and_then(|group| self.clients.consumer_leaves(group, caller.conn)) {
            let config = self.groups.get(&changed.group).map(|group| &group.config);
            if config.is_none_or(|config| config.notify_consumer_ids_changed_enable) {
                self.tell(&changed, cx.out);
            }
        }
        Ok(caller.success().into())
    }

    pub(super) fn on_check_client_config(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let body: CheckClientBody = self.body_of(frame)?;
        let subscription = body.subscription_data.unwrap_or_default();
        let kind = Some(subscription.expression_type.as_str());
        match TagFilter::parse(kind, Some(&subscription.sub_string)) {
            Ok(_) => Ok(caller.success().into()),
            Err(FilterError::Parse) => {
                Err(Fault::new(response::SUBSCRIPTION_PARSE_FAILED, "parse the consumer's subscription failed"))
            }
            Err(FilterError::Sql) => {
                let text = "The broker does not support consumer to filter message by SQL92";
                Err(Fault::new(response::SYSTEM_ERROR, text))
            }
        }
    }

    pub(super) fn on_consumer_list(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = GetConsumerListByGroupHeader::read(&frame.fields)?;
        let Some(group) = self.clients.consumers(&header.consumer_group) else {
            let text = format!("no consumer for this group, {}", header.consumer_group);
            return Err(Fault::new(response::SYSTEM_ERROR, text));
        };
        let list = ConsumerListBody { consumer_id_list: group.client_ids().into_iter().map(str::to_owned).collect() };
        Ok(caller.success().with_body(json::to_vec(&list, Style::Fastjson)).into())
    }

    /// A connection is gone: its members leave and the others hear of it, also in a group with
    /// `notifyConsumerIdsChangedEnable=false`, as in Java (`ConsumerManager.doChannelCloseEvent`).
    pub(super) fn forget_client(&mut self, conn: ConnId, out: &mut Outbox<BrokerEvent>) {
        for changed in self.clients.closed(conn) {
            self.tell(&changed, out);
        }
    }

    /// Closes the connections of clients that have been silent for too long.
    pub(super) fn expire_clients(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        let patience = Duration::from_millis(self.config.client_expires_ms);
        let mut over: BTreeSet<ConnId> = self.clients.silent(now, patience).into_iter().collect();
        for conn in &over {
            sometimes!("client expired while connected");
            cx.out.event(BrokerEvent::Expired(*conn));
        }
        let patience = Duration::from_secs(self.config.idle_close_secs);
        let idle = |peer: &super::Peer| !peer.dialled && now.since(peer.last) > patience;
        over.extend(self.conns.iter().filter(|(_, peer)| idle(peer)).map(|(conn, _)| *conn));
        for conn in over {
            cx.out.close(conn);
            self.forget_client(conn, cx.out);
            if let Some(peer) = self.conns.get_mut(&conn) {
                // It is asked to close once, not in every scan until it has.
                peer.last = now;
            }
        }
    }

    fn ids_changed(&mut self, group: &str, out: &mut Outbox<BrokerEvent>) {
        let Some(members) = self.clients.consumers(group).map(|group| group.members.keys().copied().collect()) else {
            return;
        };
        self.tell(&Changed { group: group.to_owned(), members }, out);
    }

    fn tell(&mut self, changed: &Changed, out: &mut Outbox<BrokerEvent>) {
        if !self.config.notify_ids_changed || planted!("ids-change-not-pushed") {
            return;
        }
        for conn in &changed.members {
            let mut push = Frame::request(request::NOTIFY_CONSUMER_IDS_CHANGED);
            push.flag = FLAG_ONEWAY;
            push.opaque = self.next_opaque();
            push.fields.push_str("consumerGroup", &changed.group);
            out.send(*conn, push);
        }
    }
}

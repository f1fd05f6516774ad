//! Who is connected (203, 204, 328).
//!
//! Invariant: the lists show what heartbeats said, and nothing else.

use std::collections::BTreeMap;

use crate::broker::Broker;
use crate::broker::clients::Member;
use crate::broker::dispatch::{Caller, Fault, Handled};
use crate::node::ConnId;
use crate::wire::codes::response;
use crate::wire::heartbeat::{
    Connection, ConsumerConnection, GetConsumerConnectionListHeader, GetProducerConnectionListHeader,
    ProducerConnection, ProducerInfo, ProducerTableInfo,
};
use crate::wire::json::{self, Style};
use crate::wire::{Frame, Header};

impl Broker {
    pub(in crate::broker) fn on_consumer_connections(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let name = GetConsumerConnectionListHeader::read(&frame.fields)?.consumer_group;
        let Some(group) = self.clients.consumers(&name) else {
            let text = format!("the consumer group[{name}] not online");
            return Err(Fault::new(response::CONSUMER_NOT_ONLINE, text));
        };
        let listed = group.members.iter().skip(usize::from(crate::planted!("member-not-listed")));
        let body = ConsumerConnection {
            connection_set: listed.map(|(conn, member)| self.connection(*conn, member)).collect(),
            subscription_table: group.subscriptions.clone(),
            consume_type: group.consume_type,
            message_model: group.message_model,
            consume_from_where: group.consume_from_where,
        };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_producer_connections(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let name = GetProducerConnectionListHeader::read(&frame.fields)?.producer_group;
        let Some(members) = self.clients.producers(&name) else {
            let text = format!("the producer group[{name}] not exist");
            return Err(Fault::new(response::SYSTEM_ERROR, text));
        };
        let connection_set = members.iter().map(|(conn, member)| self.connection(*conn, member)).collect();
        let body = ProducerConnection { connection_set };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_all_producers(&mut self, caller: &Caller) -> Handled {
        let describe = |(conn, member): (&ConnId, &Member)| ProducerInfo {
            client_id: member.client_id.to_string(),
            remote_ip: format!("/{}", self.peer_of(*conn)),
            language: member.language.name().to_owned(),
            version: member.version,
            last_update_timestamp: i64::try_from(member.last_ms).unwrap_or(i64::MAX),
        };
        let data: BTreeMap<String, Vec<ProducerInfo>> = self
            .clients
            .producer_groups()
            .map(|(name, members)| (name.to_owned(), members.iter().map(describe).collect()))
            .collect();
        Ok(caller.success().with_body(json::to_vec(&ProducerTableInfo { data }, Style::Fastjson)).into())
    }

    fn connection(&self, conn: ConnId, member: &Member) -> Connection {
        Connection {
            client_id: member.client_id.to_string(),
            client_addr: self.peer_of(conn).to_string(),
            language: member.language.name().to_owned(),
            version: member.version,
        }
    }
}

//! What brokers say: 103, 104, 322, 904, 217.
//!
//! Invariant: only a whole registration changes the tables; one that does not read, or whose checksum is wrong, changes
//! nothing.

use super::routes::{Arrival, Limits, Registered};
use super::{Fault, Gone, Handled, NameServer, NameServerEvent, json_body, patience, tell_removed};
use crate::node::{ConnId, Cx};
use crate::wire::codes::response;
use crate::wire::json;
use crate::wire::kv::{KVTable, ORDER_TOPIC_CONFIG};
use crate::wire::register::{
    BrokerHeartbeatHeader, DataVersion, QueryDataVersionHeader, QueryDataVersionResponseHeader, RegisterBrokerBody,
    RegisterBrokerHeader, RegisterBrokerResponseHeader, UnregisterBrokerHeader, body_crc,
};
use crate::wire::route::TopicRouteData;
use crate::wire::topic::RegisterTopicHeader;
use crate::wire::{Frame, Header};

/// Longest name or address.
const NAME_MAX: usize = 255;
/// The first byte of a zlib stream.
const ZLIB: u8 = 0x78;

fn refused(text: impl Into<String>) -> Fault {
    Fault(response::SYSTEM_ERROR, text.into())
}

/// The body of a registration. A Java broker with `compressedRegister` says that its compressed body is none: the first
/// byte tells.
fn body_of(frame: &Frame, header: &RegisterBrokerHeader) -> Result<RegisterBrokerBody, Fault> {
    if header.body_crc32.is_some_and(|crc| crc != 0 && crc != body_crc(&frame.body)) {
        return Err(refused("crc32 not match"));
    }
    if frame.body.is_empty() {
        return Ok(RegisterBrokerBody::default());
    }
    let compressed = header.compressed || frame.body[0] == ZLIB;
    RegisterBrokerBody::decode(&frame.body, compressed, frame.version)
        .map_err(|error| refused(format!("Failed to decode RegisterBrokerBody: {error}")))
}

impl NameServer {
    fn limits(&self) -> Limits {
        Limits { brokers: self.config.brokers_max, entries: self.config.topics_max }
    }

    pub(super) fn on_register(&mut self, conn: ConnId, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let header = RegisterBrokerHeader::read(&frame.fields)?;
        let named = [&header.broker_name, &header.broker_addr, &header.cluster_name];
        if !named.iter().all(|name| (1..=NAME_MAX).contains(&name.len())) {
            return Err(refused(format!("names and addresses have 1 to {NAME_MAX} bytes")));
        }
        let body = body_of(frame, &header)?;
        let timeout = patience(&self.config, header.heartbeat_timeout_millis);
        let delete_missing = self.config.delete_topic_with_registration;
        let arrival = Arrival { conn, now: cx.now.mono, timeout, delete_missing };
        let limits = self.limits();
        let mut answer = RegisterBrokerResponseHeader::default();
        match self.routes.register(&header, &body.topic_config_serialize_wrapper, arrival, limits) {
            Registered::Incomplete => return Err(refused("register broker failed")),
            Registered::Full(why) => {
                cx.out.event(NameServerEvent::Notice(format!("{} was refused: {why}", header.broker_addr)));
                return Err(refused(format!("register broker failed: {why}")));
            }
            Registered::Outdated => {
                let text = format!("{} has the id of a broker of a newer epoch and is ignored", header.broker_addr);
                cx.out.event(NameServerEvent::Notice(text));
            }
            Registered::Late => {}
            Registered::Done { first, changed, master, replaced } => {
                tell_removed(replaced, Gone::Replaced, cx);
                if first || changed > 0 {
                    let RegisterBrokerHeader { cluster_name: cluster, broker_name: name, .. } = header;
                    let (id, addr) = (header.broker_id, header.broker_addr);
                    cx.out.event(NameServerEvent::BrokerRegistered { cluster, name, id, addr, first, changed });
                }
                if let Some((addr, ha)) = master {
                    (answer.master_addr, answer.ha_server_addr) = (Some(addr), Some(ha));
                }
            }
        }
        let mut frame = Frame::response(frame, response::SUCCESS).with_header(&answer);
        if self.config.return_order_config
            && let Some(table) = self.kv.namespace(ORDER_TOPIC_CONFIG)
        {
            frame.body = json_body(&KVTable { table: table.clone() }).into();
        }
        Ok(Some(frame))
    }

    /// Says whether the broker's topics are others than those it registered, and counts as a sign of life.
    pub(super) fn on_query_version(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        cx: &mut Cx<'_, NameServerEvent>,
    ) -> Handled {
        let header = QueryDataVersionHeader::read(&frame.fields)?;
        let asked: DataVersion = json::from_slice(&frame.body).map_err(|error| refused(error.to_string()))?;
        let known = self.routes.version(&header.cluster_name, &header.broker_addr).cloned();
        self.routes.heard(&header.cluster_name, &header.broker_addr, conn, cx.now.mono);
        let changed = known.as_ref() != Some(&asked);
        let mut answer =
            Frame::response(frame, response::SUCCESS).with_header(&QueryDataVersionResponseHeader { changed });
        if let Some(known) = known {
            answer.body = json_body(&known).into();
        }
        Ok(Some(answer))
    }

    pub(super) fn on_broker_heartbeat(
        &mut self,
        conn: ConnId,
        frame: &Frame,
        cx: &mut Cx<'_, NameServerEvent>,
    ) -> Handled {
        let header = BrokerHeartbeatHeader::read(&frame.fields)?;
        self.routes.heard(&header.cluster_name, &header.broker_addr, conn, cx.now.mono);
        Ok(Some(Frame::response(frame, response::SUCCESS)))
    }

    pub(super) fn on_unregister(&mut self, conn: ConnId, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let header = UnregisterBrokerHeader::read(&frame.fields)?;
        if self.routes.is_late(&header.cluster_name, &header.broker_addr, conn) {
            return Ok(Some(Frame::response(frame, response::SUCCESS)));
        }
        let gone = self.routes.remove(&header.broker_name, &header.broker_addr);
        tell_removed(gone.into_iter().collect(), Gone::Unregistered, cx);
        Ok(Some(Frame::response(frame, response::SUCCESS)))
    }

    pub(super) fn on_register_topic(&mut self, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let RegisterTopicHeader { topic } = RegisterTopicHeader::read(&frame.fields)?;
        let body: TopicRouteData = json::from_slice(&frame.body).map_err(|error| refused(error.to_string()))?;
        let limits = self.limits();
        if !self.routes.register_topic(&topic, body.queue_datas, limits) {
            return Err(refused("it has as many topics as it takes"));
        }
        cx.out.event(NameServerEvent::TopicChanged { topic });
        Ok(Some(Frame::response(frame, response::SUCCESS)))
    }
}

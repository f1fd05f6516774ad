//! What everyone asks: 105, 106, 205, 206, 216, 224, 304, 311 to 313, 327, 901.
//!
//! Invariant: an answer is made from the tables of this moment; nothing is cached that a registration would have to undo.

use std::collections::BTreeMap;

use super::routes::PERM_RESTORED;
use super::{Fault, Handled, NameServer, NameServerEvent, json_body};
use crate::node::Cx;
use crate::wire::codes::{request, response};
use crate::wire::json::{self, Style};
use crate::wire::kv::ORDER_TOPIC_CONFIG;
use crate::wire::register::{
    AddWritePermResponseHeader, BrokerMemberGroup, GetBrokerMemberGroupBody, GetBrokerMemberGroupHeader,
    WipeWritePermResponseHeader, WritePermOfBrokerHeader,
};
use crate::wire::route::{
    ClusterInfo, GetRouteInfoHeader, MASTER_ID, PERM_WRITE, QueueData, TopicRouteData, VERSION_STANDARD_JSON,
};
use crate::wire::topic::{DeleteTopicFromNamesrvHeader, GetTopicsByClusterHeader, TopicList};
use crate::wire::{Frame, Header};

/// Where Java sends people who ask for a topic that is not there.
const FAQ: &str = "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
/// Prefix of the topics that replicas of a broker use among themselves.
const SYNC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// `TopicSysFlag`: the topic belongs to a unit.
const FLAG_UNIT: i32 = 1;
/// `TopicSysFlag`: a unit subscribes to it.
const FLAG_UNIT_SUB: i32 = 2;

impl NameServer {
    pub(super) fn on_route(&self, frame: &Frame) -> Handled {
        let missing = |topic: &str| {
            let text = format!("No topic route info in name server for the topic: {topic}\n{FAQ}");
            Fault(response::TOPIC_NOT_EXIST, text)
        };
        let header = GetRouteInfoHeader::read(&frame.fields).map_err(|_| missing("null"))?;
        let mut route = self.route(&header.topic).ok_or_else(|| missing(&header.topic))?;
        if header.zone_mode == Some(true)
            && let Some(zone) = header.zone_name.as_deref().filter(|zone| !zone.is_empty())
        {
            keep_zone(&mut route, zone);
        }
        let standard = frame.version >= VERSION_STANDARD_JSON || header.accept_standard_json_only == Some(true);
        let style = if standard { Style::Standard } else { Style::Fastjson };
        Ok(Some(Frame::response(frame, response::SUCCESS).with_body(json::to_vec(&route, style))))
    }

    /// The route of a topic, `None` when no broker has it.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = self.routes.queues(topic)?;
        let broker_datas: Vec<_> = queues.keys().filter_map(|name| self.routes.broker(name)).cloned().collect();
        if broker_datas.is_empty() {
            return None;
        }
        let mapping =
            self.routes.mappings(topic).map(|all| serde_json::to_value(all).expect("a mapping has a JSON form"));
        let order = self.config.order_message.then(|| self.kv.get(ORDER_TOPIC_CONFIG, topic)).flatten();
        let mut route = TopicRouteData {
            broker_datas,
            filter_server_table: BTreeMap::new(),
            order_topic_conf: order.map(str::to_owned),
            queue_datas: queues.values().cloned().collect(),
            topic_queue_mapping_by_broker: mapping,
        };
        if self.config.acting_master && !topic.starts_with(SYNC_PREFIX) {
            let writable = |name: &str| queues.get(name).is_some_and(|queue| queue.perm & PERM_WRITE != 0);
            route.broker_datas.iter_mut().filter(|data| !writable(&data.broker_name)).for_each(act_as_master);
        }
        Some(route)
    }

    pub(super) fn on_cluster_info(&self, frame: &Frame) -> Handled {
        let names = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect();
        let info = ClusterInfo {
            broker_addr_table: self.routes.brokers().clone(),
            cluster_addr_table: self.routes.clusters().iter().map(|(name, all)| (name.clone(), names(all))).collect(),
        };
        Ok(Some(Frame::response(frame, response::SUCCESS).with_body(json_body(&info))))
    }

    pub(super) fn on_member_group(&self, frame: &Frame) -> Handled {
        let GetBrokerMemberGroupHeader { cluster_name: cluster, broker_name } =
            GetBrokerMemberGroupHeader::read(&frame.fields)?;
        let broker_addrs = self.routes.broker(&broker_name).map(|data| data.broker_addrs.clone()).unwrap_or_default();
        let body =
            GetBrokerMemberGroupBody { broker_member_group: BrokerMemberGroup { broker_addrs, broker_name, cluster } };
        Ok(Some(Frame::response(frame, response::SUCCESS).with_body(json_body(&body))))
    }

    pub(super) fn on_write_perm(&mut self, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let WritePermOfBrokerHeader { broker_name } = WritePermOfBrokerHeader::read(&frame.fields)?;
        let wipe = frame.code == request::WIPE_WRITE_PERM_OF_BROKER;
        let count = self.routes.operate_perm(&broker_name, |perm| match wipe {
            true if crate::planted!("wipe-forgotten") => perm,
            true => perm & !PERM_WRITE,
            false => PERM_RESTORED,
        });
        cx.out.event(NameServerEvent::TopicChanged { topic: String::new() });
        let count = i32::try_from(count).expect("topics are bounded");
        let answer = Frame::response(frame, response::SUCCESS);
        Ok(Some(if wipe {
            answer.with_header(&WipeWritePermResponseHeader { wipe_topic_count: count })
        } else {
            answer.with_header(&AddWritePermResponseHeader { add_topic_count: count })
        }))
    }

    pub(super) fn on_delete_topic(&mut self, frame: &Frame, cx: &mut Cx<'_, NameServerEvent>) -> Handled {
        let header = DeleteTopicFromNamesrvHeader::read(&frame.fields)?;
        let cluster = header.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
        if self.routes.delete_topic(&header.topic, cluster) {
            cx.out.event(NameServerEvent::TopicChanged { topic: header.topic });
        }
        Ok(Some(Frame::response(frame, response::SUCCESS)))
    }

    pub(super) fn on_topic_list(&self, frame: &Frame) -> Handled {
        let all = frame.code == request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER;
        if !(if all { self.config.all_topic_list } else { self.config.topic_list }) {
            return Err(Fault(response::SYSTEM_ERROR, "disable".into()));
        }
        let list = match frame.code {
            request::GET_TOPICS_BY_CLUSTER => {
                let GetTopicsByClusterHeader { cluster } = GetTopicsByClusterHeader::read(&frame.fields)?;
                let names = self.routes.clusters().get(&cluster);
                self.topics_where(|queues| names.is_some_and(|names| queues.keys().any(|name| names.contains(name))))
            }
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.system_topics(),
            request::GET_UNIT_TOPIC_LIST => self.topics_where(|queues| flags(queues) & FLAG_UNIT != 0),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => self.topics_where(|queues| flags(queues) & FLAG_UNIT_SUB != 0),
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.topics_where(|queues| flags(queues) & (FLAG_UNIT | FLAG_UNIT_SUB) == FLAG_UNIT_SUB)
            }
            _ => self.topics_where(|_| true),
        };
        Ok(Some(Frame::response(frame, response::SUCCESS).with_body(json_body(&list))))
    }

    fn topics_where(&self, keep: impl Fn(&BTreeMap<String, QueueData>) -> bool) -> TopicList {
        let topics = self.routes.topics().filter(|(_, queues)| keep(queues));
        TopicList { broker_addr: None, topic_list: topics.map(|(topic, _)| topic.to_owned()).collect() }
    }

    /// The names of clusters and brokers are topics too, and any broker knows the others.
    fn system_topics(&self) -> TopicList {
        let names = self.routes.clusters().iter().flat_map(|(cluster, names)| std::iter::once(cluster).chain(names));
        let broker_addr = self.routes.brokers().values().find_map(|data| data.broker_addrs.values().next());
        TopicList { broker_addr: broker_addr.cloned(), topic_list: names.cloned().collect() }
    }
}

fn flags(queues: &BTreeMap<String, QueueData>) -> i32 {
    queues.values().next().map_or(0, |queue| queue.topic_sys_flag)
}

/// The smallest slave takes the place of a master that is away.
fn act_as_master(data: &mut crate::wire::route::BrokerData) {
    if data.enable_acting_master
        && !data.broker_addrs.contains_key(&MASTER_ID)
        && let Some((_, addr)) = data.broker_addrs.pop_first()
    {
        data.broker_addrs.insert(MASTER_ID, addr);
    }
}

/// Leaves out what is in another zone, but for brokers without master: their slaves are better than nothing.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    route.broker_datas.retain(|data| {
        !data.broker_addrs.contains_key(&MASTER_ID)
            || data.zone_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(zone))
    });
    let datas = &route.broker_datas;
    route.queue_datas.retain(|queue| datas.iter().any(|data| data.broker_name == queue.broker_name));
}

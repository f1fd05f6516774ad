//! How far groups are (208, 300, 303, 315, 317, 343, 345) and the copying of offsets (43, 314).
//!
//! Invariant: a lag is computed from the committed offset and the end of the queue at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::broker::dispatch::{Caller, Fault, Handled};
use crate::broker::offset_requests::signed;
use crate::broker::{Broker, BrokerEvent};
use crate::meter::{Meter, Window};
use crate::node::Cx;
use crate::wire::admin::{BrokerStatsData, BrokerStatsItem, ViewBrokerStatsDataHeader};
use crate::wire::codes::response;
use crate::wire::group::{
    CloneGroupOffsetHeader, ConsumeStats, ConsumeStatsList, GetBrokerConsumeStatsHeader, GetConsumeStatsHeader,
    GroupList, OffsetWrapper, QueryConsumeTimeSpanBody, QueryConsumeTimeSpanHeader, QuerySubscriptionByConsumerHeader,
    QuerySubscriptionResponseBody, QueryTopicConsumeByWhoHeader, QueryTopicsByConsumerHeader, QueueTimeSpan,
};
use crate::wire::json::{self, Style};
use crate::wire::topic::TopicList;
use crate::wire::{Frame, Header};

/// Between the topics of a list (Java `GetConsumeStatsRequestHeader.TOPIC_NAME_SEPARATOR`).
const TOPIC_SEPARATOR: char = ';';

impl From<Window> for BrokerStatsItem {
    fn from(window: Window) -> BrokerStatsItem {
        BrokerStatsItem {
            avgpt: window.average,
            sum: i64::try_from(window.sum).unwrap_or(i64::MAX),
            tps: window.per_second,
        }
    }
}

impl Broker {
    pub(in crate::broker) fn on_consume_stats(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = GetConsumeStatsHeader::read(&frame.fields)?;
        let list = header.topic_list.as_deref().unwrap_or("");
        let mut topics: BTreeSet<String> =
            list.split(TOPIC_SEPARATOR).filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
        if topics.is_empty() {
            topics = match header.topic.as_deref() {
                None | Some("") => self.offsets.topics_of(&header.consumer_group).map(str::to_owned).collect(),
                Some(topic) => BTreeSet::from([topic.to_owned()]),
            };
        }
        let mut stats = ConsumeStats::default();
        for topic in topics {
            self.add_consume_stats(&header.consumer_group, &topic, &mut stats, cx)?;
        }
        Ok(caller.success().with_body(json::to_vec(&stats, Style::Fastjson)).into())
    }

    fn add_consume_stats(
        &mut self,
        group: &str,
        topic: &str,
        stats: &mut ConsumeStats,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Result<(), Fault> {
        let Some(queues) = self.topics.get(topic).map(|topic| topic.config.read_queue_nums) else { return Ok(()) };
        for queue_id in 0..queues {
            let end = signed(self.range_of(topic, queue_id).end);
            let consumed = self.offsets.committed(group, topic, queue_id).unwrap_or(0).max(0);
            let last_timestamp = match u64::try_from(consumed - 1) {
                Ok(last) => self.time_of(topic, queue_id, last, cx)?,
                Err(_) => 0,
            };
            let offsets = OffsetWrapper {
                broker_offset: end,
                consumer_offset: consumed,
                pull_offset: self.offsets.pulled(group, topic, queue_id).unwrap_or(0),
                last_timestamp,
            };
            stats.offset_table.insert(self.message_queue(topic, queue_id), offsets);
        }
        let gets = self.groups.get(group).map(|group| group.gets.window(Duration::from_secs(60)).per_second);
        stats.consume_tps = gets.unwrap_or(0.0);
        Ok(())
    }

    pub(in crate::broker) fn on_broker_consume_stats(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let ordered_only = GetBrokerConsumeStatsHeader::read(&frame.fields)?.is_order;
        let groups: Vec<String> = self.groups.iter().map(|(name, _)| name.to_owned()).collect();
        let mut list = ConsumeStatsList { broker_addr: self.config.address(), ..ConsumeStatsList::default() };
        for group in groups {
            let topics: Vec<String> = self.offsets.topics_of(&group).map(str::to_owned).collect();
            let mut of_group = Vec::new();
            for topic in topics {
                if ordered_only && !self.topics.get(&topic).is_some_and(|topic| topic.config.order) {
                    continue;
                }
                let mut stats = ConsumeStats::default();
                self.add_consume_stats(&group, &topic, &mut stats, cx)?;
                if !stats.offset_table.is_empty() {
                    of_group.push(stats);
                }
            }
            list.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
        }
        Ok(caller.success().with_body(json::to_vec(&list, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_who_consumes(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let topic = QueryTopicConsumeByWhoHeader::read(&frame.fields)?.topic;
        let online = self
            .clients
            .consumer_groups()
            .filter(|(_, group)| group.subscriptions.contains_key(&topic))
            .map(|(name, _)| name.to_owned());
        let groups: BTreeSet<String> = online.chain(self.offsets.groups_of(&topic).map(str::to_owned)).collect();
        let body = GroupList { group_list: groups.into_iter().collect() };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_topics_by_consumer(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let group = QueryTopicsByConsumerHeader::read(&frame.fields)?.group;
        let topic_list = self.offsets.topics_of(&group).map(str::to_owned).collect();
        let body = TopicList { topic_list, broker_addr: Some(self.config.address()) };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_subscription_by_consumer(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = QuerySubscriptionByConsumerHeader::read(&frame.fields)?;
        let group = self.clients.consumers(&header.group);
        let body = QuerySubscriptionResponseBody {
            subscription_data: group.and_then(|group| group.subscriptions.get(&header.topic)).cloned(),
            group: header.group,
            topic: header.topic,
        };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_consume_time_span(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = QueryConsumeTimeSpanHeader::read(&frame.fields)?;
        let (group, topic) = (&header.group, &header.topic);
        let missing = || Fault::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist"));
        let queues = self.topics.get(topic).ok_or_else(missing)?.config.write_queue_nums;
        let mut body = QueryConsumeTimeSpanBody::default();
        for queue_id in 0..queues {
            let range = self.range_of(topic, queue_id);
            let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else { continue };
            let consumed = self.offsets.committed(group, topic, queue_id).unwrap_or(0);
            let consume_time_stamp = match u64::try_from(consumed - 1) {
                Ok(last) => self.time_of(topic, queue_id, last, cx)?,
                Err(_) => self.time_of(topic, queue_id, range.start, cx)?,
            };
            let waiting = signed(range.end) > consumed;
            let now_ms = i64::try_from(cx.now.wall_ms).unwrap_or(i64::MAX);
            body.consume_time_span_set.push(QueueTimeSpan {
                consume_time_stamp,
                delay_time: if waiting { now_ms - consume_time_stamp } else { 0 },
                min_time_stamp: self.time_of(topic, queue_id, range.start, cx)?,
                max_time_stamp: self.time_of(topic, queue_id, last, cx)?,
                message_queue: self.message_queue(topic, queue_id),
            });
        }
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_view_stats(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = ViewBrokerStatsDataHeader::read(&frame.fields)?;
        let key = header.stats_key.as_str();
        let meter: Option<&Meter> = match header.stats_name.as_str() {
            "TOPIC_PUT_NUMS" => self.topics.get(key).map(|topic| &topic.puts),
            "TOPIC_PUT_SIZE" => self.topics.get(key).map(|topic| &topic.put_bytes),
            "GROUP_GET_NUMS" => {
                key.split_once('@').and_then(|(_, group)| self.groups.get(group)).map(|group| &group.gets)
            }
            "BROKER_PUT_NUMS" => Some(&self.stats.put),
            "BROKER_GET_NUMS" => Some(&self.stats.transferred),
            _ => None,
        };
        let Some(meter) = meter.filter(|meter| meter.times > 0) else {
            let text = format!("The stats <{}> <{key}> not exist", header.stats_name);
            return Err(Fault::new(response::SYSTEM_ERROR, text));
        };
        // One minute is what a topic's counter remembers; longer windows would only repeat it.
        let body = BrokerStatsData {
            stats_minute: meter.window(Duration::from_secs(60)).into(),
            stats_hour: meter.window(Duration::from_secs(3600)).into(),
            stats_day: Window::default().into(),
        };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_clone_group_offset(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = CloneGroupOffsetHeader::read(&frame.fields)?;
        let topics: Vec<String> = match header.topic.as_deref() {
            None | Some("") => self.offsets.topics_of(&header.src_group).map(str::to_owned).collect(),
            Some(topic) => vec![topic.to_owned()],
        };
        for topic in topics {
            self.offsets.clone_group(&header.src_group, &header.dest_group, &topic);
        }
        self.files.offsets.want(self.offsets.version());
        Ok(caller.success().into())
    }

    pub(in crate::broker) fn on_all_consumer_offsets(&mut self, caller: &Caller) -> Handled {
        Ok(caller.success().with_body(self.offsets.to_file()).into())
    }
}

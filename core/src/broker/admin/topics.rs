//! Topics: create, change, delete, list, statistics (17, 18, 21, 202, 215, 305, 351).
//!
//! Invariant: no request makes a topic that clients cannot use: bad queue counts and permissions are refused, which Java
//! does not do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Kept;
use crate::broker::dispatch::{Caller, Fault, Handled};
use crate::broker::offset_requests::signed;
use crate::broker::topics::{PERM_INHERIT, PERM_READ, PERM_WRITE, QUEUES_MAX, TOPICS_MAX};
use crate::broker::{Broker, BrokerEvent, Removal, names};
use crate::node::Cx;
use crate::wire::codes::response;
use crate::wire::json::{self, Style};
use crate::wire::lock::MessageQueue;
use crate::wire::register::TopicConfigSerializeWrapper;
use crate::wire::topic::{
    CreateTopicHeader, CreateTopicListBody, DeleteTopicHeader, GetAllTopicConfigHeader, GetTopicConfigHeader,
    GetTopicStatsInfoHeader, TopicConfig, TopicFilterType, TopicList, TopicOffset, TopicStatsTable,
};
use crate::wire::{Frame, Header};

/// Attributes that this broker keeps. `message.type` is checked by clients of the gRPC protocol only.
const ATTRIBUTES: [&str; 3] = ["message.type", "queue.type", "cleanup.policy"];

impl Broker {
    pub(in crate::broker) fn on_update_topic(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = CreateTopicHeader::read(&frame.fields)?;
        let before = self.topics.get(&header.topic).map(|topic| topic.config.attributes.clone());
        let config = TopicConfig {
            attributes: attributes(before.unwrap_or_default(), header.attributes.as_deref().unwrap_or(""))?,
            topic_name: header.topic,
            read_queue_nums: header.read_queue_nums,
            write_queue_nums: header.write_queue_nums,
            perm: header.perm,
            topic_filter_type: Some(filter_type(header.topic_filter_type.as_deref())?),
            topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
            order: header.order,
        };
        self.check_config(&config)?;
        self.topics.set(config, cx.now.wall_ms);
        self.confirm_when_saved(Kept::Topics, caller, caller.success())
    }

    pub(in crate::broker) fn on_update_topic_list(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let body: CreateTopicListBody = self.body_of(frame)?;
        for config in &body.topic_config_list {
            self.check_config(config)?;
        }
        for config in body.topic_config_list {
            self.topics.set(config, cx.now.wall_ms);
        }
        self.confirm_when_saved(Kept::Topics, caller, caller.success())
    }

    fn check_config(&self, config: &TopicConfig) -> Result<(), Fault> {
        let invalid = |text: String| Err(Fault::new(response::INVALID_PARAMETER, text));
        let name = &config.topic_name;
        if let Err(why) = names::check_topic(name) {
            return invalid(why);
        }
        if names::is_system_topic(name) {
            return invalid(format!("The topic[{name}] is conflict with system topic."));
        }
        let queues = 0..=QUEUES_MAX;
        let (read, write) = (config.read_queue_nums, config.write_queue_nums);
        if !queues.contains(&read) || !queues.contains(&write) || read.max(write) == 0 {
            return invalid(format!("topic {name}: {read} read and {write} write queues; expected 1 to {QUEUES_MAX}"));
        }
        if config.perm & !(PERM_READ | PERM_WRITE | PERM_INHERIT) != 0 {
            return invalid(format!("topic {name}: perm {}; expected a sum of 4 (read) and 2 (write)", config.perm));
        }
        if self.topics.get(name).is_none() && self.topics.len() >= TOPICS_MAX {
            return Err(Fault::new(response::SYSTEM_ERROR, format!("there are {TOPICS_MAX} topics already")));
        }
        Ok(())
    }

    pub(in crate::broker) fn on_delete_topic(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let topic = DeleteTopicHeader::read(&frame.fields)?.topic;
        if topic.trim().is_empty() {
            return Err(Fault::new(response::INVALID_PARAMETER, "The specified topic is blank."));
        }
        if names::is_system_topic(&topic) {
            let text = format!("The topic[{topic}] is conflict with system topic.");
            return Err(Fault::new(response::INVALID_PARAMETER, text));
        }
        if self.topics.remove(&topic, cx.now.wall_ms) {
            self.offsets.remove_topic(&topic);
            self.fence.remove_topic(&topic);
            self.files.offsets.want(self.offsets.version());
            self.store.delete_topic(&topic, cx.disk, &mut self.asks);
            let removed = self.last_removal.removed + 1;
            self.files.removed.want(removed);
            self.last_removal = Removal { topics: self.topics.version(), offsets: self.offsets.version(), removed };
        }
        self.confirm_when_saved(Kept::Topics, caller, caller.success())
    }

    pub(in crate::broker) fn on_all_topic_config(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = GetAllTopicConfigHeader::read(&frame.fields)?;
        let first = usize::try_from(header.topic_seq.unwrap_or(0)).unwrap_or(0);
        let most = header.max_topic_num.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let page = self.topics.iter().skip(first).take(most);
        let body = TopicConfigSerializeWrapper {
            data_version: Some(self.topics.data_version().clone()),
            topic_config_table: page.map(|(name, topic)| (name.to_owned(), topic.config.clone())).collect(),
            ..TopicConfigSerializeWrapper::default()
        };
        let mut answer = caller.success().with_body(json::to_vec(&body, Style::Fastjson));
        answer.fields.push("totalTopicNum", self.topics.len());
        Ok(answer.into())
    }

    pub(in crate::broker) fn on_topic_config(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let name = GetTopicConfigHeader::read(&frame.fields)?.topic;
        let missing = || Fault::new(response::TOPIC_NOT_EXIST, format!("No topic in this broker. topic: {name}"));
        let topic = self.topics.get(&name).ok_or_else(missing)?;
        Ok(caller.success().with_body(json::to_vec(&topic.config, Style::Fastjson)).into())
    }

    pub(in crate::broker) fn on_topic_stats(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let name = GetTopicStatsInfoHeader::read(&frame.fields)?.topic;
        let missing = || Fault::new(response::TOPIC_NOT_EXIST, format!("topic[{name}] not exist"));
        let topic = self.topics.get(&name).ok_or_else(missing)?;
        let topic_put_tps = topic.puts.window(Duration::from_secs(60)).per_second;
        let queues = topic.config.read_queue_nums.max(topic.config.write_queue_nums);
        let mut offset_table = BTreeMap::new();
        for queue_id in 0..queues {
            let mut range = self.range_of(&name, queue_id);
            if crate::planted!("stats-end-short") {
                range.end = range.end.saturating_sub(1).max(range.start);
            }
            let last_update_timestamp = match range.end.checked_sub(1) {
                Some(last) => self.time_of(&name, queue_id, last, cx)?,
                None => 0,
            };
            let offsets =
                TopicOffset { min_offset: signed(range.start), max_offset: signed(range.end), last_update_timestamp };
            offset_table.insert(self.message_queue(&name, queue_id), offsets);
        }
        let body = json::to_vec(&TopicStatsTable { offset_table, topic_put_tps }, Style::Fastjson);
        Ok(caller.success().with_body(body).into())
    }

    pub(in crate::broker) fn on_system_topics(&mut self, caller: &Caller) -> Handled {
        let own = [&self.config.name, &self.config.cluster];
        let known = self.topics.iter().map(|(name, _)| name).filter(|name| names::is_system_topic(name));
        let mut list: std::collections::BTreeSet<String> = known.map(str::to_owned).collect();
        list.extend(names::system_topics().map(str::to_owned));
        list.extend(own.into_iter().cloned());
        let body = TopicList { topic_list: list.into_iter().collect(), ..TopicList::default() };
        Ok(caller.success().with_body(json::to_vec(&body, Style::Fastjson)).into())
    }

    /// Store time of a message; 0 when it is not there any more.
    pub(super) fn time_of(
        &mut self,
        topic: &str,
        queue_id: i32,
        offset: u64,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Result<i64, Fault> {
        let Ok(queue) = u32::try_from(queue_id) else { return Ok(0) };
        Ok(self.store.store_time(topic, queue, offset, cx.disk, &mut self.asks)?.unwrap_or(0))
    }

    pub(super) fn message_queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: topic.to_owned(), broker_name: self.config.name.clone(), queue_id }
    }
}

fn filter_type(text: Option<&str>) -> Result<TopicFilterType, Fault> {
    let Some(text) = text else { return Ok(TopicFilterType::SingleTag) };
    let bad = || {
        Fault::new(response::INVALID_PARAMETER, format!("topicFilterType {text} is neither SINGLE_TAG nor MULTI_TAG"))
    };
    TopicFilterType::from_name(text).ok_or_else(bad)
}

/// Applies `+name=value,-name` to the attributes of a topic.
fn attributes(mut known: BTreeMap<String, String>, changes: &str) -> Result<BTreeMap<String, String>, Fault> {
    let bad = |text: String| Fault::new(response::SYSTEM_ERROR, text);
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        let (name, value) = match change.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (change, None),
        };
        let plain = name.trim_start_matches(['+', '-']);
        if !ATTRIBUTES.contains(&plain) {
            return Err(bad(format!("unsupported key: {plain}")));
        }
        match (name.strip_prefix('+'), name.strip_prefix('-'), value) {
            (Some(_), _, Some(value)) => {
                check_attribute(plain, value)?;
                known.insert(plain.to_owned(), value.to_owned());
            }
            (_, Some(_), None) => {
                known.remove(plain);
            }
            _ => return Err(bad(format!("expected +name=value or -name, not {change:?}"))),
        }
    }
    Ok(known)
}

fn check_attribute(name: &str, value: &str) -> Result<(), Fault> {
    let allowed: &[&str] = match name {
        "message.type" => &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"],
        "queue.type" => &["SimpleCQ"],
        _ => &["DELETE"],
    };
    if allowed.contains(&value) {
        return Ok(());
    }
    let text = format!("{name}={value} is not supported; this broker takes {}", allowed.join(", "));
    Err(Fault::new(response::INVALID_PARAMETER, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_added_and_taken_away() {
        let known = BTreeMap::from([("message.type".to_owned(), "FIFO".to_owned())]);
        let changed = attributes(known.clone(), "+queue.type=SimpleCQ, -message.type").unwrap();
        assert_eq!(changed, BTreeMap::from([("queue.type".to_owned(), "SimpleCQ".to_owned())]));
        assert_eq!(attributes(known.clone(), "").unwrap(), known);
        assert_eq!(attributes(known.clone(), "+no.such=1").unwrap_err().text, "unsupported key: no.such");
        assert_eq!(attributes(known.clone(), "+cleanup.policy=COMPACTION").unwrap_err().code, 29);
        assert_eq!(attributes(known, "message.type=FIFO").unwrap_err().code, 1);
    }
}

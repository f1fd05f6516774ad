//! Settings of consumer groups (Java `SubscriptionGroupManager`, `config/subscriptionGroup.json`).
//!
//! Invariant: every group has a valid name, and every change moves the data version.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::names;
use crate::meter::Meter;
use crate::node::Instant;
use crate::wire::group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use crate::wire::json::{self, Style};
use crate::wire::register::DataVersion;

/// Most groups of one broker.
pub const GROUPS_MAX: usize = 1_000_000;

/// Topics that a group may not read, by group and topic: bit 0 set means forbidden (Java `forbiddenTable`).
pub type Forbidden = BTreeMap<String, BTreeMap<String, i32>>;

/// One group.
#[derive(Clone, Debug)]
pub struct Group {
    /// As it stands in the file.
    pub config: SubscriptionGroupConfig,
    /// Messages handed out.
    pub gets: Meter,
}

/// All groups.
#[derive(Debug)]
pub struct Groups {
    table: BTreeMap<String, Group>,
    forbidden: Forbidden,
    data_version: DataVersion,
    version: u64,
}

impl Groups {
    /// The groups of a file; entries that break the invariant are left out and named.
    pub fn load(file: SubscriptionGroupWrapper) -> (Groups, Vec<String>) {
        let mut groups = Groups {
            table: BTreeMap::new(),
            forbidden: file.forbidden_table,
            data_version: file.data_version,
            version: 0,
        };
        let mut notices = Vec::new();
        for (name, mut config) in file.subscription_group_table {
            config.group_name.clone_from(&name);
            match names::check_group(&name) {
                Ok(()) => {
                    groups.table.insert(name, Group { config, gets: Meter::default() });
                }
                Err(why) => notices.push(format!("subscriptionGroup.json: {why}; the entry is ignored")),
            }
        }
        (groups, notices)
    }
    /// The file as it should be now.
    pub fn to_file(&self) -> Bytes {
        let file = SubscriptionGroupWrapper {
            data_version: self.data_version.clone(),
            forbidden_table: self.forbidden.clone(),
            subscription_group_table: self.configs(),
        };
        json::to_vec(&file, Style::Fastjson).into()
    }
    /// Group settings by name.
    pub fn configs(&self) -> BTreeMap<String, SubscriptionGroupConfig> {
        self.table.iter().map(|(name, group)| (name.clone(), group.config.clone())).collect()
    }
    /// See [`Forbidden`].
    pub fn forbidden(&self) -> &Forbidden {
        &self.forbidden
    }
    /// Changes with every change of the table.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// What slaves and tools compare.
    pub fn data_version(&self) -> &DataVersion {
        &self.data_version
    }
    /// One group.
    pub fn get(&self, name: &str) -> Option<&Group> {
        self.table.get(name)
    }
    /// One group, to count what it gets.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.table.get_mut(name)
    }
    /// All groups by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.table.iter().map(|(name, group)| (name.as_str(), group))
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
    /// Creates a group or changes its settings. Returns whether anything changed.
    pub fn set(&mut self, config: SubscriptionGroupConfig, now_ms: u64) -> bool {
        assert!(names::check_group(&config.group_name).is_ok(), "only valid names enter the table");
        if self.table.get(&config.group_name).is_some_and(|group| group.config == config) {
            return false;
        }
        self.touch(now_ms);
        match self.table.get_mut(&config.group_name) {
            Some(group) => group.config = config,
            None => {
                self.table.insert(config.group_name.clone(), Group { config, gets: Meter::default() });
            }
        }
        true
    }
    /// Deletes a group. Returns whether it was there.
    pub fn remove(&mut self, name: &str, now_ms: u64) -> bool {
        let there = self.table.remove(name).is_some();
        if there {
            self.forbidden.remove(name);
            self.touch(now_ms);
        }
        there
    }
    /// Takes samples of the counters.
    pub fn sample(&mut self, now: Instant) {
        for group in self.table.values_mut().filter(|group| group.gets.times > 0) {
            group.gets.sample(now);
        }
    }
    /// Whether a group may not read a topic.
    pub fn is_forbidden(&self, group: &str, topic: &str) -> bool {
        self.forbidden.get(group).and_then(|topics| topics.get(topic)).is_some_and(|bits| bits & 1 != 0)
    }
    /// Forbids a group to read a topic, or allows it again.
    pub fn forbid(&mut self, group: &str, topic: &str, forbidden: bool, now_ms: u64) {
        if self.is_forbidden(group, topic) == forbidden {
            return;
        }
        let bits = self.forbidden.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default();
        *bits ^= 1;
        self.forbidden.retain(|_, topics| {
            topics.retain(|_, bits| *bits != 0);
            !topics.is_empty()
        });
        self.touch(now_ms);
        assert_eq!(self.is_forbidden(group, topic), forbidden, "what was asked for is so");
    }
    /// Creates the groups of the system that are not there.
    pub fn create_system_groups(&mut self, now_ms: u64) {
        for name in names::SYSTEM_GROUPS {
            if !self.table.contains_key(name) {
                self.set(plain(name), now_ms);
            }
        }
    }

    fn touch(&mut self, now_ms: u64) {
        self.version += 1;
        self.data_version.advance(now_ms);
    }
}

/// A group with Java's default settings.
pub fn plain(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.to_owned(), ..SubscriptionGroupConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_change_and_go() {
        let (mut groups, _) = Groups::load(SubscriptionGroupWrapper::default());
        groups.create_system_groups(1000);
        assert_eq!(groups.len(), 8);
        assert!(groups.set(plain("g"), 2000));
        assert!(!groups.set(plain("g"), 3000));
        assert!(groups.set(SubscriptionGroupConfig { consume_enable: false, ..plain("g") }, 4000));
        assert!(!groups.get("g").unwrap().config.consume_enable);
        let file: SubscriptionGroupWrapper = json::from_slice(&groups.to_file()).unwrap();
        let (again, notices) = Groups::load(file);
        assert_eq!((again.configs(), notices.len()), (groups.configs(), 0));
        assert_eq!(again.data_version(), groups.data_version());
        assert!(groups.remove("g", 5000) && !groups.remove("g", 5000));
    }

    #[test]
    fn reading_a_topic_can_be_forbidden() {
        let (mut groups, _) = Groups::load(SubscriptionGroupWrapper::default());
        let before = groups.version();
        groups.forbid("g", "T", false, 1);
        assert_eq!(groups.version(), before, "it was allowed");
        groups.forbid("g", "T", true, 2);
        assert!(groups.is_forbidden("g", "T") && !groups.is_forbidden("g", "U"));
        groups.forbid("g", "T", false, 3);
        assert!(!groups.is_forbidden("g", "T") && groups.forbidden().is_empty());
    }

    #[test]
    fn the_defaults_are_those_of_java() {
        let config = plain("g");
        assert!(config.consume_enable && config.consume_broadcast_enable && config.notify_consumer_ids_changed_enable);
        assert_eq!((config.retry_queue_nums, config.retry_max_times), (1, 16));
    }
}

//! GET_BROKER_CONFIG and UPDATE_BROKER_CONFIG (26, 25).
//!
//! Invariant: a change is all or nothing: one bad line and nothing changes. What was changed survives a restart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;

use super::Kept;
use crate::broker::config::{self, BrokerConfig, PropertyError};
use crate::broker::dispatch::{Caller, Fault, Handled};
use crate::broker::load::Loading;
use crate::broker::{Broker, BrokerEvent, persist};
use crate::node::Cx;
use crate::wire::Frame;
use crate::wire::codes::response;
use crate::wire::json::{self, Style};
use crate::wire::register::DataVersion;

impl Broker {
    pub(in crate::broker) fn on_get_config(&mut self, caller: &Caller) -> Handled {
        let mut answer = caller.success().with_body(self.config.to_properties());
        let version = DataVersion {
            counter: i64::try_from(self.overrides_version).unwrap_or(i64::MAX),
            state_version: 0,
            timestamp: i64::try_from(self.stats.started_ms).unwrap_or(i64::MAX),
        };
        answer.fields.push_str("version", &json::to_string(&version, Style::Fastjson));
        Ok(answer.into())
    }

    pub(in crate::broker) fn on_update_config(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let text = std::str::from_utf8(&frame.body)
            .map_err(|_| Fault::new(response::INVALID_PARAMETER, "the properties are not UTF-8 text"))?;
        let changes = parse(text).map_err(|why| Fault::new(response::INVALID_PARAMETER, why))?;
        if changes.iter().any(|(name, _)| self.config.config_black_list.contains(name)) {
            return Err(Fault::new(response::NO_PERMISSION, "Can not update config in black list."));
        }
        let mut next = self.config.clone();
        let mut needs_restart = Vec::new();
        for (name, value) in &changes {
            next.set(name, value).map_err(|why| Fault::new(response::INVALID_PARAMETER, why.to_string()))?;
            if config::find(name).is_some_and(|row| !row.live) {
                needs_restart.push(name.as_str());
            }
        }
        if !needs_restart.is_empty() {
            let text = format!("{} can only be changed in the configuration file", needs_restart.join(", "));
            return Err(Fault::new(response::INVALID_PARAMETER, text));
        }
        self.apply(next, cx);
        if !changes.is_empty() {
            self.overrides.extend(changes);
            self.overrides_version += 1;
        }
        self.confirm_when_saved(Kept::Overrides, caller, caller.success())
    }

    /// Takes new settings in a running broker.
    fn apply(&mut self, next: BrokerConfig, cx: &mut Cx<'_, BrokerEvent>) {
        let permission_changed = next.permission != self.config.permission;
        let servers = (next.name_servers != self.config.name_servers).then(|| next.name_servers.clone());
        self.config = next;
        self.store.reconfigure(self.config.store.clone());
        if permission_changed {
            // Routes carry the permission: the name servers must hear.
            self.topics.touch(cx.now.wall_ms);
        }
        if let Some(servers) = servers {
            self.set_name_servers(servers, cx);
        }
    }

    /// Applies the changes of earlier lives. One that no longer fits is named and left out.
    pub(in crate::broker) fn take_overrides(&mut self, loading: &Loading, cx: &mut Cx<'_, BrokerEvent>) {
        let Some(bytes) = loading.text(persist::OVERRIDES) else { return };
        let text = String::from_utf8_lossy(bytes);
        let changes = parse(&text).unwrap_or_default();
        for (name, value) in changes {
            let result: Result<(), PropertyError> = self.config.set(&name, &value);
            let notice = match result {
                Ok(()) => format!("{name}={value} is in force: it was set by request ({})", persist::OVERRIDES),
                Err(why) => format!("{}: {why}; the line is ignored", persist::OVERRIDES),
            };
            cx.out.event(BrokerEvent::Notice(notice));
            self.overrides.insert(name, value);
        }
        self.store.reconfigure(self.config.store.clone());
    }
}

/// `name=value` lines; blank lines and comments are skipped.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').ok_or_else(|| format!("expected name=value, not {line:?}"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// The file that keeps the changes.
pub fn overrides_text(overrides: &BTreeMap<String, String>) -> Bytes {
    let mut text = String::from("# Properties that were changed by request; they outweigh the configuration file.\n");
    for (name, value) in overrides {
        writeln!(text, "{name}={value}").expect("writing to a string cannot fail");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let pairs = parse("# c\n\n a = 1 \nb=\n").unwrap();
        assert_eq!(pairs, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        assert!(parse("novalue").unwrap_err().contains("novalue"));
        let text = overrides_text(&pairs.into_iter().collect());
        assert_eq!(parse(std::str::from_utf8(&text).unwrap()).unwrap().len(), 2);
    }
}

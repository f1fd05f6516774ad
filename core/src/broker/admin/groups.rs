//! Consumer groups: create, change, delete, list (200, 201, 207, 225, 352).
//!
//! Invariant: a group that was deleted leaves nothing behind that a new group of the same name would inherit, when its
//! offsets were to go too.

use super::Kept;
use crate::broker::dispatch::{Caller, Fault, Handled};
use crate::broker::groups::GROUPS_MAX;
use crate::broker::{Broker, BrokerEvent, names};
use crate::node::Cx;
use crate::wire::codes::response;
use crate::wire::group::{
    DeleteSubscriptionGroupHeader, GetAllSubscriptionGroupHeader, GetSubscriptionGroupConfigHeader, GroupForbidden,
    SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper, UpdateGroupForbiddenHeader,
};
use crate::wire::json::{self, Style};
use crate::wire::{Frame, Header};

impl Broker {
    pub(in crate::broker) fn on_update_group(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let config: SubscriptionGroupConfig = self.body_of(frame)?;
        self.check_group(&config)?;
        self.groups.set(config, cx.now.wall_ms);
        self.confirm_when_saved(Kept::Groups, caller, caller.success())
    }

    pub(in crate::broker) fn on_update_group_list(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let list: SubscriptionGroupList = self.body_of(frame)?;
        for config in &list.group_config_list {
            self.check_group(config)?;
        }
        for config in list.group_config_list {
            self.groups.set(config, cx.now.wall_ms);
        }
        self.confirm_when_saved(Kept::Groups, caller, caller.success())
    }

    fn check_group(&self, config: &SubscriptionGroupConfig) -> Result<(), Fault> {
        names::check_group(&config.group_name).map_err(|why| Fault::new(response::INVALID_PARAMETER, why))?;
        if config.retry_queue_nums < 0 {
            let text = format!("group {}: retryQueueNums must not be negative", config.group_name);
            return Err(Fault::new(response::INVALID_PARAMETER, text));
        }
        if self.groups.get(&config.group_name).is_none() && self.groups.len() >= GROUPS_MAX {
            return Err(Fault::new(response::SYSTEM_ERROR, format!("there are {GROUPS_MAX} groups already")));
        }
        Ok(())
    }

    pub(in crate::broker) fn on_delete_group(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = DeleteSubscriptionGroupHeader::read(&frame.fields)?;
        self.groups.remove(&header.group_name, cx.now.wall_ms);
        if header.clean_offset {
            self.offsets.remove_group(&header.group_name);
            self.files.offsets.want(self.offsets.version());
        }
        self.confirm_when_saved(Kept::Groups, caller, caller.success())
    }

    pub(in crate::broker) fn on_group_forbidden(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let header = UpdateGroupForbiddenHeader::read(&frame.fields)?;
        names::check_group(&header.group).map_err(|why| Fault::new(response::INVALID_PARAMETER, why))?;
        names::check_topic(&header.topic).map_err(|why| Fault::new(response::INVALID_PARAMETER, why))?;
        if let Some(readable) = header.readable {
            self.groups.forbid(&header.group, &header.topic, !readable, cx.now.wall_ms);
        }
        let body = GroupForbidden {
            readable: Some(!self.groups.is_forbidden(&header.group, &header.topic)),
            group: header.group,
            topic: header.topic,
        };
        let answer = caller.success().with_remark("").with_body(json::to_vec(&body, Style::Fastjson));
        self.confirm_when_saved(Kept::Groups, caller, answer)
    }

    pub(in crate::broker) fn on_all_group_config(&mut self, caller: &Caller, frame: &Frame) -> Handled {
        let header = GetAllSubscriptionGroupHeader::read(&frame.fields)?;
        let first = usize::try_from(header.group_seq.unwrap_or(0)).unwrap_or(0);
        let most = header.max_group_num.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let page = self.groups.iter().skip(first).take(most);
        let body = SubscriptionGroupWrapper {
            data_version: self.groups.data_version().clone(),
            forbidden_table: self.groups.forbidden().clone(),
            subscription_group_table: page.map(|(name, group)| (name.to_owned(), group.config.clone())).collect(),
        };
        let mut answer = caller.success().with_body(json::to_vec(&body, Style::Fastjson));
        answer.fields.push("totalGroupNum", self.groups.len());
        Ok(answer.into())
    }

    pub(in crate::broker) fn on_group_config(
        &mut self,
        caller: &Caller,
        frame: &Frame,
        cx: &mut Cx<'_, BrokerEvent>,
    ) -> Handled {
        let name = GetSubscriptionGroupConfigHeader::read(&frame.fields)?.group;
        let missing =
            || Fault::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("No group in this broker. group: {name}"));
        let config = self.find_or_create_group(&name, cx.now).ok_or_else(missing)?;
        Ok(caller.success().with_body(json::to_vec(config, Style::Fastjson)).into())
    }
}

//! Which queues are this consumer's: asks a broker who the members are and shares the queues by the strategy.
//!
//! Invariant: queues change hands only by an allocation over a list of members that a broker gave; a broker that does not
//! answer changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::allocate::Ask as Question;
use super::owned::{Key, Owned, Stage};
use super::request::ConsumerEvent;
use super::{Ask, Life, Out, PushConsumer};
use crate::client::{API_TIMEOUT, CallError, Queue};
use crate::node::{Addr, Instant};
use crate::sometimes;
use crate::wire::Frame;
use crate::wire::codes::{request as code, response};
use crate::wire::heartbeat::{ConsumerListBody, GetConsumerListByGroupHeader};
use crate::wire::json;
use crate::wire::route::MASTER_ID;

/// How often queues are shared anew without a reason (Java `RebalanceService.waitInterval`).
pub(super) const REBALANCE_EVERY: Duration = Duration::from_secs(20);
/// How soon a broker is asked again that gave no list of members (Java `RebalanceService.minInterval`).
const RETRY: Duration = Duration::from_secs(1);

/// The sharing of one topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Topic {
    asking: bool,
    /// Something changed while it was being asked.
    again: bool,
    retry_at: Option<Instant>,
    /// The last list lacked this very member.
    missed: bool,
}

impl Topic {
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl PushConsumer {
    /// Shares the queues of every topic anew.
    pub(super) fn rebalance_all(&mut self, cx: Out<'_, '_>) {
        if self.life != Life::Running {
            return;
        }
        self.rebalance_at = cx.now.mono + REBALANCE_EVERY;
        for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
            self.rebalance(&topic, cx);
        }
    }

    /// Topics whose last attempt failed.
    pub(super) fn rebalance_again(&mut self, cx: Out<'_, '_>) {
        let now = cx.now.mono;
        let due = |topic: &Topic| topic.retry_at.is_some_and(|at| at <= now);
        let topics: Vec<Arc<str>> = self.topics.iter().filter(|(_, t)| due(t)).map(|(name, _)| name.clone()).collect();
        for topic in topics {
            self.rebalance(&topic, cx);
        }
    }

    /// Shares the queues of one topic anew: first it asks one of its brokers for the members.
    pub(super) fn rebalance(&mut self, topic: &Arc<str>, cx: Out<'_, '_>) {
        let Some(state) = self.topics.get_mut(topic).filter(|_| self.life == Life::Running) else { return };
        if state.asking {
            state.again = true;
            return;
        }
        state.retry_at = None;
        let Some(route) = self.client.routes().get(topic) else { return };
        let brokers: Vec<&str> = route.brokers().iter().map(|broker| broker.broker_name.as_str()).collect();
        if brokers.is_empty() {
            return;
        }
        let broker = brokers[usize::try_from(cx.rng.below(brokers.len() as u64)).expect("below a length")];
        let Some((_, addr)) = self.client.routes().addr_near(broker, MASTER_ID) else { return };
        state.asking = true;
        let header = GetConsumerListByGroupHeader { consumer_group: self.config.group.to_string() };
        let frame = Frame::request(code::GET_CONSUMER_LIST_BY_GROUP).with_header(&header);
        let ask = Ask::Members { topic: topic.clone(), addr: addr.clone() };
        self.client.call(&addr, frame, API_TIMEOUT, ask, cx);
    }

    pub(super) fn on_members(
        &mut self,
        topic: &Arc<str>,
        addr: &Addr,
        result: Result<Frame, CallError>,
        cx: Out<'_, '_>,
    ) {
        let Some(state) = self.topics.get_mut(topic).filter(|_| self.life == Life::Running) else { return };
        state.asking = false;
        if std::mem::take(&mut state.again) {
            return self.rebalance(topic, cx);
        }
        let Some(mut members) = members(&result) else {
            state.retry_at = Some(cx.now.mono + RETRY);
            return;
        };
        let lacks_me = !members.contains(&self.client_id);
        if lacks_me && !std::mem::replace(&mut state.missed, lacks_me) {
            // The broker may have restarted and not have heard of this member yet: tell it and ask again, before queues are
            // given away for nothing.
            sometimes!("list of members lacked the member that asked");
            state.retry_at = Some(cx.now.mono + RETRY);
            return self.client.heartbeat(addr, cx);
        }
        state.missed = lacks_me;
        members.sort();
        self.share(topic, &members, cx);
    }

    fn share(&mut self, topic: &Arc<str>, members: &[String], cx: Out<'_, '_>) {
        let Some(route) = self.client.routes().get(topic) else { return };
        let question = Question { topic, me: &self.client_id, queues: route.subscribe(), members };
        match self.config.strategy.allocate(question) {
            Ok(mine) => self.own(topic, mine, cx),
            Err(error) => {
                let text = format!("queues of {topic} stay as they are: {error}");
                cx.out.event(ConsumerEvent::Notice(text));
            }
        }
    }

    /// From now on exactly these queues of a topic are to be read.
    fn own(&mut self, topic: &Arc<str>, mine: Vec<Queue>, cx: Out<'_, '_>) {
        let before: Vec<Queue> = self.assigned(topic);
        let mine: BTreeSet<Queue> = mine.into_iter().collect();
        for queue in before.iter().filter(|queue| !mine.contains(queue)) {
            if !self.deliveries.is_empty() {
                sometimes!("queue moved away while messages were in flight");
            }
            self.give_back(&Key { topic: topic.clone(), queue: queue.clone() }, cx);
        }
        let mut fresh = Vec::new();
        for queue in mine.iter().filter(|queue| !before.contains(queue)) {
            let key = Key { topic: topic.clone(), queue: queue.clone() };
            let first = if self.config.orderly { Stage::Locking } else { Stage::Seeking };
            if let Some(leaving) = self.owned.get_mut(&key) {
                sometimes!("queue came back before it was given back");
                leaving.stage = if leaving.positioned { Stage::Pulling } else { first };
            } else {
                self.begin(&key, first, cx.now.mono);
            }
            fresh.push(key);
        }
        if self.config.orderly {
            self.lock(&fresh, cx);
        }
        for key in &fresh {
            self.refresh(key, cx);
        }
        if !before.iter().eq(mine.iter()) {
            self.tell_assigned(topic, cx);
        }
    }

    /// A new life of a queue.
    pub(super) fn begin(&mut self, key: &Key, stage: Stage, now: Instant) {
        self.next_generation += 1;
        self.owned.insert(key.clone(), Owned::new(stage, self.next_generation, now));
    }

    /// A queue is not this consumer's any more. In orderly mode it stays until the delivery under way has an outcome, so
    /// that the next owner cannot overlap with it.
    pub(super) fn give_back(&mut self, key: &Key, cx: Out<'_, '_>) {
        let Some(owned) = self.owned.get_mut(key) else { return };
        if owned.messages.len() > 0 {
            sometimes!("queue dropped with unfinished messages");
        }
        if self.config.orderly && self.busy.contains_key(key) {
            owned.stage = Stage::Leaving;
            self.ready.remove(key);
            return;
        }
        self.let_go(key, cx);
    }

    /// Commits, unlocks and forgets a queue. The lock of one in which a handler still runs is left to run out, so that the next owner
    /// cannot overlap with it (Java gives it back).
    pub(super) fn let_go(&mut self, key: &Key, cx: Out<'_, '_>) {
        self.commit(key, cx);
        let owned = self.owned.remove(key).expect("only owned queues are let go");
        let runs = self.busy.contains_key(key) && !crate::planted!("unlocked-under-handler");
        if owned.locked_at.is_some() && !runs {
            self.unlock(key, cx);
        }
        self.forget(key);
    }

    /// The queues of a topic that are this consumer's, sorted.
    fn assigned(&self, topic: &Arc<str>) -> Vec<Queue> {
        self.owned().filter(|(name, _)| *name == topic).map(|(_, queue)| queue.clone()).collect()
    }

    pub(super) fn tell_assigned(&mut self, topic: &Arc<str>, cx: Out<'_, '_>) {
        let queues = self.assigned(topic);
        cx.out.event(ConsumerEvent::Assigned { topic: topic.clone(), queues });
    }
}

fn members(result: &Result<Frame, CallError>) -> Option<Vec<String>> {
    let frame = result.as_ref().ok().filter(|frame| frame.code == response::SUCCESS)?;
    let body: ConsumerListBody = json::from_slice(&frame.body).ok()?;
    Some(body.consumer_id_list).filter(|list| !list.is_empty())
}

//! Consumers on their hosts: what they are built from, and how their events become history.
//!
//! Invariant: a message is in the history as delivered before its handler begins, and as handled before the machine hears of
//! it.

use std::collections::BTreeMap;
use std::rc::Rc;

use seedmq::driver::NoDisk;
use seedmq_core::consumer::allocate::Strategy;
use seedmq_core::consumer::{
    ALL, ConsumerCommand, ConsumerConfig, ConsumerEvent, FromWhere, Message, Outcome, PushConsumer,
};
use seedmq_core::message::names::RETRY_PREFIX;

use super::act::client_line;
use super::boot::{Body, identity, run};
use super::cast::Role;
use super::scene::{Job, Scene};
use crate::clients::{Fate, Running, Stuck, fate};
use crate::history::{Op, Phase, Queue};
use crate::tape::{ConsumerShape, Moment, StartFrom};
use crate::workload;
use crate::world::HostId;

type CoreQueue = seedmq_core::client::Queue;

/// The life of a consumer's process.
pub(super) async fn consumer(scene: &Rc<Scene>, host: HostId, n: usize) {
    let shape = scene.tape.header.config.consumers[n].clone();
    let group = scene.tape.header.config.groups.get(&shape.group).cloned().unwrap_or_default();
    let config = ConsumerConfig {
        group: shape.group.as_str().into(),
        identity: identity(scene, host),
        name_servers: scene.cast.name_server_addrs(),
        strategy: strategy(&group.strategy),
        from: if group.from == StartFrom::First { FromWhere::First } else { FromWhere::Last },
        orderly: group.orderly,
        ..ConsumerConfig::default()
    };
    let seen_by = Rc::clone(scene);
    let events = Box::new(move |event| consumer_event(&seen_by, host, n, event));
    let body = Body { node: PushConsumer::new(config), fast: Box::new(NoDisk), slow: NoDisk, ports: vec![], events };
    let keep = Rc::clone(scene);
    let started = move |handle: seedmq::driver::Handle<ConsumerCommand>| {
        let wanted = subscriptions(&keep, host);
        // Of these it read something when it last ran, and says nothing about them now.
        for topic in shape.topics.iter().filter(|topic| !wanted.contains_key(*topic)) {
            let (group, topic, version) = (shape.group.clone(), topic.clone(), i64::MIN);
            client_line(&keep, host, Op::Subscribe { group, topic, tags: None, version });
        }
        for (topic, tags) in wanted {
            let subscribe = ConsumerCommand::Subscribe { topic: topic.into(), tags };
            handle.try_command(subscribe).expect("a new mailbox has room");
        }
        keep.seen(|seen| seen.consumers.entry(host).or_default().started(handle));
    };
    run(scene, host, body, started).await;
}

/// What the application of a consumer asks for now: tags by topic.
pub(super) fn subscriptions(scene: &Scene, host: HostId) -> BTreeMap<String, String> {
    let Role::Consumer(n) = scene.cast.role(host) else { unreachable!("only consumers subscribe") };
    let config = &scene.tape.header.config;
    let (shape, group) = (&config.consumers[n], config.groups.get(&config.consumers[n].group));
    let tags =
        |topic: &String| group.and_then(|group| group.tags.get(topic)).cloned().unwrap_or_else(|| ALL.to_owned());
    let first = shape.topics.iter().map(|topic| (topic.clone(), tags(topic))).collect();
    scene.seen(|seen| seen.consumers.entry(host).or_default().wishes(first))
}

/// The application of a consumer asks for something else of a topic; a process that is down does so when it starts.
pub(super) fn subscribe(scene: &Scene, host: HostId, topic: &str, tags: Option<&String>) {
    let handle = scene.seen(|seen| {
        seen.rerouted_ns = Some(scene.now());
        let agent = seen.consumers.entry(host).or_default();
        agent.wish(topic, tags.cloned());
        agent.handle().cloned()
    });
    let (Some(handle), topic) = (handle, topic.into()) else { return };
    let command = match tags {
        Some(tags) => ConsumerCommand::Subscribe { topic, tags: tags.clone() },
        None => ConsumerCommand::Unsubscribe(topic),
    };
    // A process that stands still takes only so much.
    let told = handle.try_command(command);
    assert!(told.is_ok() || handle.has_ended() || scene.world.is_paused(host), "a consumer that runs has room");
}

/// By Java's name of the strategy, or of its class.
fn strategy(name: &str) -> Strategy {
    match name {
        "" | "AVG" => Strategy::Averagely,
        "AVG_BY_CIRCLE" => Strategy::AveragelyByCircle,
        "CONSISTENT_HASH" => Strategy::ConsistentHash { virtual_nodes: seedmq_core::consumer::allocate::VIRTUAL_NODES },
        other => panic!("the scenario names an allocation strategy that is known, not {other}"),
    }
}

fn queue(of: &CoreQueue) -> Queue {
    Queue::on(&of.broker, u32::try_from(of.id).expect("queues are counted from 0"))
}

fn consumer_event(scene: &Rc<Scene>, host: HostId, n: usize, event: ConsumerEvent) {
    let shape = &scene.tape.header.config.consumers[n];
    let (now, lane) = (scene.now(), scene.cast.lane(host));
    match event {
        ConsumerEvent::Deliver { delivery, topic, queue: of, messages } => {
            deliver(scene, (host, shape), delivery, (&topic, &queue(&of)), &messages);
            scene.moment(host, Moment::Delivery, None);
        }
        ConsumerEvent::Subscribed { topic, tags, version } if !topic.starts_with(RETRY_PREFIX) => {
            let (group, topic) = (shape.group.clone(), topic.to_string());
            client_line(scene, host, Op::Subscribe { group, topic, tags, version });
        }
        ConsumerEvent::Assigned { topic, queues } => {
            let queues: Vec<Queue> = queues.iter().map(queue).collect();
            let pairs = queues.iter().filter_map(|q| Some((q.broker.clone()?, q.id))).collect();
            let is_orderly = scene.tape.header.config.groups.get(&shape.group).is_some_and(|group| group.orderly);
            scene.seen(|seen| seen.consumers.entry(host).or_default().assign(&topic, pairs, is_orderly));
            client_line(scene, host, Op::Assign { group: shape.group.clone(), topic: topic.to_string(), queues });
            scene.moment(host, Moment::Rebalance, None);
        }
        ConsumerEvent::Committed { topic, queue: of, offset } => {
            let offset = u64::try_from(offset).expect("offsets are counted from 0");
            let (group, topic, queue) = (shape.group.clone(), topic.to_string(), queue(&of));
            client_line(scene, host, Op::Commit { group, topic, queue, offset });
        }
        ConsumerEvent::Malformed { topic, queue: of, offset, why } => {
            malformed(scene, host, &format!("{topic} {}:{} at {offset:?}: {why}", of.broker, of.id));
        }
        other => scene.seen(|seen| seen.picture.state(now, lane, || format!("{other:?}"))),
    }
}

fn deliver(
    scene: &Rc<Scene>,
    (host, shape): (HostId, &ConsumerShape),
    delivery: u64,
    (topic, queue): (&str, &Queue),
    messages: &[Message],
) {
    let mut calls = Vec::new();
    let mut whole = Fate { after_ns: 0, good: true };
    for message in messages {
        let call = scene.seen(|seen| seen.consumers.entry(host).or_default().call());
        let offset = u64::try_from(message.offset).expect("offsets are counted from 0");
        let attempt = u32::try_from(message.reconsume_times).unwrap_or(0);
        let key = workload::key_of(&message.body).unwrap_or_else(|foreign| foreign);
        client_line(scene, host, delivered(call, (&shape.group, topic, queue), (offset, key, attempt)));
        let tries = scene.seen(|seen| seen.consumers.entry(host).or_default().tries(topic, queue, offset));
        let one = fate(scene.tape.header.seed, &shape.handler, (topic, queue, offset, tries));
        whole = Fate { after_ns: whole.after_ns + one.after_ns, good: whole.good && one.good };
        calls.push(call);
    }
    let stuck = scene.seen(|seen| {
        seen.delivered += messages.len() as u64;
        let agent = seen.consumers.entry(host).or_default();
        let sticks = agent.sticks().then(|| Stuck {
            topic: topic.to_owned(),
            queue: (queue.broker.clone().unwrap_or_default(), queue.id),
            offset: messages.iter().map(|message| message.offset.unsigned_abs()).min().unwrap_or(0),
            holds: true,
        });
        agent.begin(delivery, Running { calls, fate: whole, stuck: sticks.clone() });
        sticks.is_some()
    });
    if stuck {
        return scene.fault("stuck-handler", host, scene.cast.name(host), None);
    }
    scene.remind(scene.now() + whole.after_ns, Job::Handled(host, delivery, scene.world.life(host)));
}

fn delivered(call: u64, (group, topic, queue): (&str, &str, &Queue), (offset, key, attempt): (u64, String, u32)) -> Op {
    Op::Deliver {
        phase: Phase::Invoke,
        call,
        group: group.to_owned(),
        topic: topic.to_owned(),
        queue: Some(queue.clone()),
        offset: Some(offset),
        key,
        attempt,
    }
}

/// A handler is done, unless its process died or stands still.
pub(super) fn handled(scene: &Rc<Scene>, host: HostId, delivery: u64, life: crate::world::Life) {
    if scene.world.life(host) != life {
        return;
    }
    if scene.world.is_paused(host) {
        return scene.remind(scene.now() + 20_000_000, Job::Handled(host, delivery, life));
    }
    let Some(Running { calls, fate, .. }) = scene.seen(|seen| seen.consumers.get_mut(&host)?.end(delivery)) else {
        return;
    };
    let (phase, outcome) = if fate.good { (Phase::Ok, Outcome::Success) } else { (Phase::Fail, Outcome::Later) };
    for call in calls {
        let (group, topic, key) = Default::default();
        client_line(scene, host, Op::Deliver { phase, call, group, topic, queue: None, offset: None, key, attempt: 0 });
    }
    let handle = scene.seen(|seen| seen.consumers.get(&host).and_then(|agent| agent.handle().cloned()));
    if let Some(handle) = handle {
        let told = handle.try_command(ConsumerCommand::Consumed { delivery, outcome });
        assert!(told.is_ok() || handle.has_ended(), "a consumer that runs has room for an outcome");
    }
}

/// A message came that does not decode.
fn malformed(scene: &Scene, host: HostId, what: &str) {
    let Role::Consumer(_) = scene.cast.role(host) else { unreachable!("only consumers read messages") };
    let text = format!("{} was handed bytes that are no message: {what}", scene.cast.name(host));
    scene.broken(seedmq_reports::Oracle::Phantom, "malformed", "broker", text, vec![what.to_owned()]);
}

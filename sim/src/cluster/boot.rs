//! What runs on each host: the machine of its role under the production driver.
//!
//! Invariant: a process is built from the tape's header, its host's disk and its life's own seed, and from nothing else.

use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

use seedmq::driver::{self, Handle, Limits, NoDisk, Setup, SlowDisk, mailbox};
use seedmq_core::broker::{Broker, BrokerConfig, BrokerEvent};
use seedmq_core::client::Identity;
use seedmq_core::namesrv::{NameServer, NameServerConfig, NameServerEvent};
use seedmq_core::node::{Disk, Node};
use seedmq_core::producer::{Producer, ProducerConfig, ProducerEvent};

use super::admin::Admin;
use super::cast::{BROKER_PORT, NAME_SERVER_PORT, Role};
use super::look::Inside;
use super::scene::Scene;
use super::tap::RoleTap;
use crate::net::SimNet;
use crate::tape::{BrokerShape, Flush, Moment};
use crate::world::{Death, HostId, Process};

/// The whole life of a process.
pub(crate) async fn live(host: HostId) {
    let scene = Scene::current();
    match scene.cast.role(host) {
        Role::NameServer => name_server(&scene, host).await,
        Role::Broker(n) => broker(&scene, host, n).await,
        Role::Producer(n) => producer(&scene, host, n).await,
        Role::Consumer(n) => super::boot_consumer::consumer(&scene, host, n).await,
        Role::Admin => admin(&scene, host).await,
    }
    scene.world.die(host, Death::Killed);
    super::lives::exited(&scene, host);
}

/// What differs between processes.
pub(super) struct Body<N: Node, S> {
    pub node: N,
    pub fast: Box<dyn Disk>,
    pub slow: S,
    pub ports: Vec<u16>,
    pub events: Box<dyn FnMut(N::Event)>,
}

/// Runs a machine until it stops; `started` gets its handle first.
pub(super) async fn run<N, S>(
    scene: &Rc<Scene>,
    host: HostId,
    body: Body<N, S>,
    started: impl FnOnce(Handle<N::Command>),
) where
    N: Node + Inside,
    N::Command: Hash + Debug + 'static,
    N::Event: Hash + Debug,
    S: SlowDisk,
{
    let process = Process::new(&scene.world, host, body.slow, scene.cpu);
    let net = SimNet::new(&scene.world, host);
    let bind = |port: &u16| {
        net.bind((scene.cast.ip(host), *port).into()).expect("a host has one process, and ports of its own")
    };
    let listeners = body.ports.iter().map(bind).collect();
    let (mail, handle) = mailbox();
    started(handle);
    let mut limits = Limits { connections: 1_000, ..Limits::default() };
    if let Some(bytes) = scene.tape.header.config.conditions.and_then(|conditions| conditions.unsent_bytes) {
        limits.unsent_high = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    let setup = Setup {
        disk: body.fast,
        seed: process.seed(),
        listeners,
        tap: RoleTap::new(scene, host),
        events: body.events,
        limits,
    };
    driver::drive(body.node, process, mail, setup).await;
}

async fn broker(scene: &Rc<Scene>, host: HostId, n: usize) {
    let config = broker_config(scene, host, &scene.tape.header.config.brokers[n]);
    let (fast, slow) = scene.disks[&host].open();
    let seen_by = Rc::clone(scene);
    let events = Box::new(move |event| broker_event(&seen_by, host, &event));
    let ports = vec![BROKER_PORT, BROKER_PORT - 2];
    let body = Body { node: Broker::new(config), fast: Box::new(fast), slow, ports, events };
    let keep = Rc::clone(scene);
    run(scene, host, body, move |handle| keep.seen(|seen| drop(seen.brokers.insert(host, handle)))).await;
}

fn broker_config(scene: &Scene, host: HostId, shape: &BrokerShape) -> BrokerConfig {
    let mut config = BrokerConfig {
        name: shape.name.clone(),
        ip: scene.cast.ip(host).to_string(),
        port: BROKER_PORT,
        name_servers: scene.cast.name_server_addrs(),
        ..BrokerConfig::default()
    };
    config.store.flush = match shape.flush {
        Flush::Sync => seedmq_core::store::Flush::Sync,
        Flush::Async => seedmq_core::store::Flush::Async,
    };
    config.store.boot = super::damage::boot_of(scene, host);
    config.store.was_lost = scene.seen(|seen| seen.atlas.is_new(host));
    config.store.log_file_bytes = 1 << 20;
    config.store.queue_file_entries = 1000;
    config.store.index_slots = 500;
    config.store.index_entries = 2000;
    for (name, value) in &shape.properties {
        config.set(name, value).expect("the scenario names properties of a broker");
    }
    config
}

/// Slots of each index file of a broker; none when it keeps no index.
pub(super) fn index_slots(scene: &Scene, host: HostId) -> Option<u32> {
    let Role::Broker(n) = scene.cast.role(host) else { return None };
    let store = broker_config(scene, host, &scene.tape.header.config.brokers[n]).store;
    store.index.then_some(store.index_slots)
}

/// From which percentage on a broker takes no message, if it is one.
pub(super) fn refuse_percent(scene: &Scene, host: HostId) -> Option<u64> {
    let Role::Broker(n) = scene.cast.role(host) else { return None };
    Some(broker_config(scene, host, &scene.tape.header.config.brokers[n]).store.disk_refuse_percent.into())
}

fn broker_event(scene: &Scene, host: HostId, event: &BrokerEvent) {
    let (now, lane) = (scene.now(), scene.cast.lane(host));
    match event {
        BrokerEvent::Recovering { .. } => scene.moment(host, Moment::Recovery, None),
        BrokerEvent::Ready => {
            scene.seen(|seen| seen.ready.insert(host));
            scene.moment(host, Moment::Ready, None);
        }
        BrokerEvent::Refused(why) => super::lives::refused(scene, host, why),
        _ => {}
    }
    scene.seen(|seen| seen.picture.state(now, lane, || format!("{event:?}")));
}

async fn producer(scene: &Rc<Scene>, host: HostId, n: usize) {
    let shape = &scene.tape.header.config.producers[n];
    let config = ProducerConfig {
        group: format!("group-{}", shape.name).into(),
        identity: identity(scene, host),
        name_servers: scene.cast.name_server_addrs(),
        send_timeout: Duration::from_millis(shape.send_timeout_ms),
        retries: shape.retries,
        retries_async: shape.retries,
        ..ProducerConfig::default()
    };
    let seen_by = Rc::clone(scene);
    let events = Box::new(move |event| producer_event(&seen_by, host, &event));
    let body = Body { node: Producer::new(config), fast: Box::new(NoDisk), slow: NoDisk, ports: vec![], events };
    let keep = Rc::clone(scene);
    run(scene, host, body, move |handle| keep.seen(|seen| seen.producers.entry(host).or_default().started(handle)))
        .await;
}

/// A client's identity: of its own in each life, as a process id is.
pub(super) fn identity(scene: &Scene, host: HostId) -> Identity {
    let life = scene.world.life(host).0;
    Identity { ip: scene.cast.ip(host), process: 1000 + life, instance: format!("{}#{life}", 1000 + life) }
}

fn producer_event(scene: &Scene, host: HostId, event: &ProducerEvent) {
    let now = scene.now();
    let (ops, ended) = scene.seen(|seen| {
        let (ops, acked, ended) =
            seen.producers.get_mut(&host).map(|agent| agent.event(event, now)).unwrap_or_default();
        seen.acked += acked;
        (ops, ended)
    });
    ops.into_iter().for_each(|op| super::act::client_line(scene, host, op));
    if let Some(ended) = &ended {
        super::oracles::needless::judge(scene, host, ended);
        super::oracles::drained::used(scene, host, ended);
    }
}

async fn admin(scene: &Rc<Scene>, host: HostId) {
    let seen_by = Rc::clone(scene);
    let events = Box::new(move |event| super::operate::admin_event(&seen_by, event));
    let body = Body { node: Admin::new(), fast: Box::new(NoDisk), slow: NoDisk, ports: vec![], events };
    let keep = Rc::clone(scene);
    run(scene, host, body, move |handle| keep.seen(|seen| seen.admin = Some(handle))).await;
}

async fn name_server(scene: &Rc<Scene>, host: HostId) {
    let (fast, slow) = scene.disks[&host].open();
    let node = NameServer::new(NameServerConfig { port: NAME_SERVER_PORT, ..NameServerConfig::default() });
    let seen_by = Rc::clone(scene);
    let events = Box::new(move |event: NameServerEvent| {
        let (now, lane) = (seen_by.now(), seen_by.cast.lane(host));
        if event == NameServerEvent::Ready {
            seen_by.moment(host, Moment::Ready, None);
        }
        seen_by.seen(|seen| seen.picture.state(now, lane, || format!("{event:?}")));
    });
    let body = Body { node, fast: Box::new(fast), slow, ports: vec![NAME_SERVER_PORT], events };
    let keep = Rc::clone(scene);
    run(scene, host, body, move |handle| drop(keep.seen(|seen| seen.name_servers.insert(host, handle)))).await;
}

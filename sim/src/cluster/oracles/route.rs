//! What name servers say about topics, asked by the administrator.
//!
//! Invariant: a route counts only when it was asked for after the question came up; old answers are thrown away first.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_core::wire::Frame;
use seedmq_core::wire::codes::{request, response};
use seedmq_core::wire::json;
use seedmq_core::wire::route::{GetRouteInfoHeader, PERM_WRITE, TopicRouteData};

use crate::cluster::admin::AdminCommand;
use crate::cluster::cast::NAME_SERVER_PORT;
use crate::cluster::scene::Scene;
use crate::world::HostId;

/// The brokers of a topic with their read queues; nothing when the name server did not answer with a route.
pub(crate) type Route = Option<BTreeMap<String, u32>>;

/// Asks every name server that runs for a topic.
pub(in crate::cluster) fn ask_all(scene: &Scene, topic: &str) {
    for host in scene.cast.name_servers() {
        scene.seen(|seen| seen.routes.remove(&(host, topic.to_owned())));
        if scene.world.is_up(host) {
            let header = GetRouteInfoHeader { topic: topic.to_owned(), ..GetRouteInfoHeader::default() };
            let frame = Frame::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
            let addr = format!("{}:{NAME_SERVER_PORT}", scene.cast.ip(host)).into();
            crate::cluster::operate::ask(scene, addr, frame, false);
        }
    }
}

/// Takes an answer of whatever kind.
pub(in crate::cluster) fn answer(scene: &Scene, command: &AdminCommand, answer: Option<&Frame>) {
    if let (request::INVOKE_BROKER_TO_RESET_OFFSET, Some(answer)) = (command.frame.code, answer)
        && answer.code == response::SUCCESS
    {
        return crate::cluster::operate::was_reset(scene, command, answer);
    }
    if command.frame.code != request::GET_ROUTEINFO_BY_TOPIC {
        return super::questions::answer(scene, command, answer);
    }
    let Some((host, topic)) = question(scene, command) else { return };
    let data =
        answer.filter(|frame| frame.code == response::SUCCESS).and_then(|frame| json::from_slice(&frame.body).ok());
    if let Some(data) = &data {
        super::drained::answered(scene, host, &topic, &writable(data));
    }
    let route = data.map(route_of);
    let now = scene.now();
    scene.seen(|seen| {
        let listed = route.as_ref();
        seen.routed_ns.retain(|(t, broker), _| *t != topic || listed.is_some_and(|route| route.contains_key(broker)));
        for broker in listed.into_iter().flat_map(BTreeMap::keys) {
            seen.routed_ns.entry((topic.clone(), broker.clone())).or_insert(now);
        }
        seen.routes.insert((host, topic), route);
    });
}

fn question(scene: &Scene, command: &AdminCommand) -> Option<(HostId, String)> {
    let ip = command.addr.parse::<std::net::SocketAddr>().ok()?.ip();
    let topic = command.frame.fields.get("topic")?.to_owned();
    Some((scene.cast.by_ip(ip)?, topic))
}

fn route_of(data: TopicRouteData) -> BTreeMap<String, u32> {
    data.queue_datas.into_iter().map(|q| (q.broker_name, q.read_queue_nums.max(0) as u32)).collect()
}

fn writable(data: &TopicRouteData) -> BTreeSet<String> {
    data.queue_datas.iter().filter(|q| q.perm & PERM_WRITE != 0).map(|q| q.broker_name.clone()).collect()
}

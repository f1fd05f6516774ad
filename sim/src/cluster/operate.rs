//! What an operator does to a cluster that runs: makes topics, moves a group back, takes a broker out of the routes of producers.
//!
//! Invariant: what changes for clients stands in the history from the moment it is asked for, because nobody knows when it takes effect.

use std::rc::Rc;

use seedmq_core::wire::admin::{ResetOffsetBody, ResetOffsetHeader};
use seedmq_core::wire::codes::{request, response};
use seedmq_core::wire::json;
use seedmq_core::wire::register::WritePermOfBrokerHeader;
use seedmq_core::wire::topic::{CreateTopicHeader, DeleteTopicFromNamesrvHeader, DeleteTopicHeader};
use seedmq_core::wire::{Frame, Header as _};

use super::admin::{AdminCommand, AdminEvent};
use super::cast::{NAME_SERVER_PORT, Role};
use super::scene::{Job, Scene};
use crate::history::{Op, Queue};
use crate::world::HostId;

/// Pause before a request that did not succeed is sent again.
const RETRY_NS: u64 = 500_000_000;

/// Moves a group back to what was stored so long ago, or to the first message, on every broker that runs; never forward.
pub(super) fn reset_offsets(scene: &Rc<Scene>, group: &str, topic: &str, back_ms: Option<u64>) {
    for host in scene.cast.with_role(|role| matches!(role, Role::Broker(_))) {
        let running =
            scene.world.is_up(host).then(|| scene.seen(|seen| seen.looks.broker(host).map(|(_, look)| look.clone())));
        let Some(look) = running.flatten() else { continue };
        let Some(queues) = look.topics.get(topic).copied() else { continue };
        let now = i64::try_from(scene.world.wall_ms(host)).unwrap_or(i64::MAX);
        let timestamp = back_ms.map_or(0, |back| (now - i64::try_from(back).unwrap_or(i64::MAX)).max(0));
        let (group, topic) = (group.to_owned(), topic.to_owned());
        for id in 0..queues {
            let queue = Queue::on(scene.cast.name(host), id);
            let (group, topic) = (group.clone(), topic.clone());
            scene.history(scene.cast.admin(), Op::Reset { group, topic, queue, offset: 0, asked: true });
        }
        let header = ResetOffsetHeader { group, topic, timestamp, is_force: false, queue_id: None, offset: None };
        let frame = Frame::request(request::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header);
        ask(scene, scene.cast.broker_addr(host), frame, false);
    }
}

/// A broker has answered that it moved a group. No answer, and a refusal, leave open whether it did.
pub(super) fn was_reset(scene: &Scene, command: &AdminCommand, answer: &Frame) {
    let field = |name: &str| command.frame.fields.get(name).map(ToOwned::to_owned).unwrap_or_default();
    let (group, topic) = (field("group"), field("topic"));
    let Ok(body) = json::from_slice::<ResetOffsetBody>(&answer.body) else { return };
    for (queue, offset) in body.offset_table {
        let id = u32::try_from(queue.queue_id).expect("queues are counted from 0");
        let (group, topic, queue) = (group.clone(), topic.clone(), Queue::on(&queue.broker_name, id));
        let offset = u64::try_from(offset).expect("offsets are counted from 0");
        scene.history(scene.cast.admin(), Op::Reset { group, topic, queue, offset, asked: false });
    }
}

/// Deletes a topic on every broker and name server that runs, as `mqadmin deleteTopic` does.
pub(super) fn delete_topic(scene: &Scene, topic: &str) {
    scene.seen(|seen| {
        seen.atlas.topic_deleted(topic);
        seen.told.deleted(topic);
    });
    scene.operated("topic-deleted", scene.cast.admin(), topic);
    let up = |host: &HostId| scene.world.is_up(*host);
    for host in scene.cast.brokers().into_iter().filter(up) {
        let header = DeleteTopicHeader { topic: topic.to_owned() };
        let frame = Frame::request(request::DELETE_TOPIC_IN_BROKER).with_header(&header);
        ask(scene, scene.cast.broker_addr(host), frame, false);
    }
    for host in scene.cast.name_servers().into_iter().filter(up) {
        let header = DeleteTopicFromNamesrvHeader { topic: topic.to_owned(), cluster_name: None };
        let frame = Frame::request(request::DELETE_TOPIC_IN_NAMESRV).with_header(&header);
        ask(scene, format!("{}:{NAME_SERVER_PORT}", scene.cast.ip(host)).into(), frame, false);
    }
}

/// Tells every name server that producers may no longer use a broker, or may again.
pub(super) fn write_permission(scene: &Scene, broker: &str, given: bool) {
    let code = if given { request::ADD_WRITE_PERM_OF_BROKER } else { request::WIPE_WRITE_PERM_OF_BROKER };
    let up = |host: &HostId| scene.world.is_up(*host);
    for host in scene.cast.name_servers().into_iter().filter(up) {
        let header = WritePermOfBrokerHeader { broker_name: broker.to_owned() };
        let addr = format!("{}:{NAME_SERVER_PORT}", scene.cast.ip(host)).into();
        ask(scene, addr, Frame::request(code).with_header(&header), false);
    }
}

/// Asks brokers to create a topic, until they did.
pub(super) fn topic_at(scene: &Scene, topic: &str, queues: u32, brokers: &[HostId]) {
    let header = CreateTopicHeader {
        topic: topic.to_owned(),
        default_topic: Some("TBW102".to_owned()),
        read_queue_nums: queues as i32,
        write_queue_nums: queues as i32,
        perm: 6,
        topic_filter_type: Some("SINGLE_TAG".to_owned()),
        topic_sys_flag: Some(0),
        ..CreateTopicHeader::default()
    };
    for host in brokers {
        scene.seen(|seen| seen.told.asked(*host, topic, queues));
        let frame = Frame::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header);
        ask(scene, scene.cast.broker_addr(*host), frame, true);
    }
}

/// Sends a request as the administrator; `insist` repeats it until it succeeds. Its number.
pub(super) fn ask(scene: &Scene, addr: seedmq_core::node::Addr, frame: Frame, insist: bool) -> u64 {
    let (command, handle) = scene.seen(|seen| {
        seen.next_ticket += 1;
        let command = AdminCommand { ticket: seen.next_ticket, addr, frame };
        seen.asked.insert(command.ticket, (command.clone(), insist));
        (command, seen.admin.clone())
    });
    let ticket = command.ticket;
    // The administrator is never killed, and asks little.
    if let Some(handle) = handle {
        let _ = handle.try_command(command);
    }
    ticket
}

/// The administrator has an answer.
pub(super) fn admin_event(scene: &Scene, event: AdminEvent) {
    let Some((command, insist)) = scene.seen(|seen| seen.asked.remove(&event.ticket)) else { return };
    let good = event.answer.as_ref().is_some_and(|frame| frame.code == response::SUCCESS);
    if command.frame.code == request::UPDATE_AND_CREATE_TOPIC {
        note_topic(scene, &command, good);
    }
    if insist && !good {
        scene.remind(scene.now() + RETRY_NS, Job::Ask(Box::new(command)));
        return;
    }
    if !super::oracles::shown::answer(scene, event.ticket, event.answer.as_ref()) {
        super::oracles::route::answer(scene, &command, event.answer.as_ref());
    }
}

/// A broker has answered whether it made a topic, or has not answered.
fn note_topic(scene: &Scene, command: &AdminCommand, is_done: bool) {
    let Ok(header) = CreateTopicHeader::read(&command.frame.fields) else { return };
    let host = scene.cast.brokers().into_iter().find(|host| scene.cast.broker_addr(*host) == command.addr);
    if let (Some(host), Ok(queues)) = (host, u32::try_from(header.write_queue_nums)) {
        scene.seen(|seen| seen.told.answered(host, command.ticket, &header.topic, queues, is_done));
    }
}

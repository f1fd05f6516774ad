//! What an operator does to a cluster that runs: moves a group back, takes a broker out of the routes of producers.
//!
//! Invariant: what changes for clients stands in the history from the moment it is asked for, because nobody knows when it takes effect.

use std::rc::Rc;

use seedmq_core::wire::Frame;
use seedmq_core::wire::admin::{ResetOffsetBody, ResetOffsetHeader};
use seedmq_core::wire::codes::request;
use seedmq_core::wire::json;
use seedmq_core::wire::register::WritePermOfBrokerHeader;

use super::admin::AdminCommand;
use super::cast::{NAME_SERVER_PORT, Role};
use super::scene::Scene;
use crate::history::{Op, Queue};
use crate::world::HostId;

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
        super::act::ask(scene, scene.cast.broker_addr(host), frame, false);
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

/// Tells every name server that producers may no longer use a broker, or may again.
pub(super) fn write_permission(scene: &Scene, broker: &str, given: bool) {
    let code = if given { request::ADD_WRITE_PERM_OF_BROKER } else { request::WIPE_WRITE_PERM_OF_BROKER };
    let up = |host: &HostId| scene.world.is_up(*host);
    for host in scene.cast.name_servers().into_iter().filter(up) {
        let header = WritePermOfBrokerHeader { broker_name: broker.to_owned() };
        let addr = format!("{}:{NAME_SERVER_PORT}", scene.cast.ip(host)).into();
        super::act::ask(scene, addr, Frame::request(code).with_header(&header), false);
    }
}

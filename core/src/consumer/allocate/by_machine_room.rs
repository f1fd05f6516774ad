//! Only the queues of chosen machine rooms, in blocks.
//!
//! Invariant: a broker whose name is not `room@name` with exactly one `@` belongs to no room.

use std::collections::BTreeSet;

use super::{Ask, place};
use crate::client::Queue;

/// `AllocateMessageQueueByMachineRoom`: the remainder goes one by one to the first members, behind the blocks.
pub(super) fn allocate(ask: Ask<'_>, rooms: &BTreeSet<String>) -> Vec<Queue> {
    let near: Vec<&Queue> = ask.queues.iter().filter(|queue| room(queue).is_some_and(|r| rooms.contains(r))).collect();
    let (each, more, me) = (near.len() / ask.members.len(), near.len() % ask.members.len(), place(ask));
    let block = near[me * each..(me + 1) * each].iter();
    let rest = near[ask.members.len() * each..].iter().skip(me).take(usize::from(me < more));
    block.chain(rest).map(|queue| (*queue).clone()).collect()
}

fn room(queue: &Queue) -> Option<&str> {
    let (room, name) = queue.broker.split_once('@')?;
    (!name.contains('@') && !name.is_empty()).then_some(room)
}

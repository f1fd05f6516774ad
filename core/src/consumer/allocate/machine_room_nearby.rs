//! Queues stay in their machine room as long as a member lives there.
//!
//! Invariant: a queue is shared either among the members of its room or, when there are none, among all.

use std::collections::BTreeMap;

use super::{AllocateError, Ask, Strategy};
use crate::client::Queue;

/// `AllocateMachineRoomNearby`, with the text before a separator as the room.
pub(super) fn allocate(ask: Ask<'_>, inner: &Strategy, separator: char) -> Result<Vec<Queue>, AllocateError> {
    let mut queues: BTreeMap<&str, Vec<Queue>> = BTreeMap::new();
    for queue in ask.queues {
        let room = room_of(&queue.broker, separator);
        let room = room.ok_or_else(|| AllocateError::NoRoomOfQueue(queue.java_name(ask.topic)))?;
        queues.entry(room).or_default().push(queue.clone());
    }
    let mut members: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for member in ask.members {
        let room = room_of(member, separator).ok_or_else(|| AllocateError::NoRoomOfMember(member.clone()))?;
        members.entry(room).or_default().push(member.clone());
    }
    let mine = room_of(ask.me, separator).ok_or_else(|| AllocateError::NoRoomOfMember(ask.me.to_owned()))?;
    let mut taken = match queues.get(mine) {
        Some(here) => inner.allocate(Ask { queues: here, members: &members[mine], ..ask })?,
        None => Vec::new(),
    };
    for (_, deserted) in queues.iter().filter(|(room, _)| !members.contains_key(*room)) {
        taken.extend(inner.allocate(Ask { queues: deserted, ..ask })?);
    }
    Ok(taken)
}

fn room_of(name: &str, separator: char) -> Option<&str> {
    name.split(separator).next().filter(|room| !room.is_empty())
}

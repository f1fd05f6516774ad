//! Which member of a group reads which queues: the six strategies of the Java client.
//!
//! Invariant: an allocation is a function of topic, queues and members alone, so that members who see the same lists agree
//! without talking to each other. Both lists are sorted by the caller.

mod averagely;
mod averagely_by_circle;
mod by_config;
mod by_machine_room;
mod consistent_hash;
mod machine_room_nearby;

use std::collections::BTreeSet;
use std::fmt;

use crate::client::Queue;
use crate::planted;

pub use consistent_hash::ring_hash;

/// Virtual nodes a member has on the ring by default (Java `AllocateMessageQueueConsistentHash`).
pub const VIRTUAL_NODES: u32 = 10;

/// One question: which of `queues` are mine?
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The topic of the queues.
    pub topic: &'a str,
    /// The client id that asks.
    pub me: &'a str,
    /// All readable queues, sorted.
    pub queues: &'a [Queue],
    /// All members of the group, sorted; a list that lacks `me` gives nothing.
    pub members: &'a [String],
}

/// How queues are shared (Java `AllocateMessageQueueStrategy`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Blocks of neighbours, the first members one more (`AVG`). The default of every client.
    #[default]
    Averagely,
    /// Dealt out one by one (`AVG_BY_CIRCLE`).
    AveragelyByCircle,
    /// A fixed list, whoever asks (`CONFIG`).
    Config(Vec<Queue>),
    /// Only queues of brokers that are named `room@broker`, of these rooms, dealt in blocks (`MACHINE_ROOM`).
    MachineRoom(BTreeSet<String>),
    /// Queues of a room among the members of that room; those of rooms without members among all (`MACHINE_ROOM_NEARBY-…`).
    /// The room is the text before the first `separator` in a broker name or client id.
    MachineRoomNearby {
        /// How the queues of one room are shared.
        inner: Box<Strategy>,
        /// Ends the room's name.
        separator: char,
    },
    /// By position on a hash ring (`CONSISTENT_HASH`).
    ConsistentHash {
        /// Positions a member has on the ring.
        virtual_nodes: u32,
    },
}

/// Why nothing can be allocated; the texts are those of the Java client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The asker has no name.
    #[error("currentCID is empty")]
    NoMe,
    /// The topic has no readable queue.
    #[error("mqAll is null or mqAll empty")]
    NoQueues,
    /// The group has no member.
    #[error("cidAll is null or cidAll empty")]
    NoMembers,
    /// A broker's name begins with the separator.
    #[error("Machine room is null for mq {0}")]
    NoRoomOfQueue(String),
    /// A client id begins with the separator.
    #[error("Machine room is null for consumer id {0}")]
    NoRoomOfMember(String),
}

impl Strategy {
    /// The queues that `ask.me` is to read, in the order of the Java client.
    pub fn allocate(&self, ask: Ask<'_>) -> Result<Vec<Queue>, AllocateError> {
        if planted!("queue-owned-twice") && !ask.queues.is_empty() && ask.members.len() > 1 {
            return Ok(overlapping(ask));
        }
        if let Strategy::Config(queues) = self {
            return Ok(by_config::allocate(queues));
        }
        if !known(ask)? {
            return Ok(Vec::new());
        }
        Ok(match self {
            Strategy::Averagely => averagely::allocate(ask),
            Strategy::AveragelyByCircle => averagely_by_circle::allocate(ask),
            Strategy::Config(queues) => by_config::allocate(queues),
            Strategy::MachineRoom(rooms) => by_machine_room::allocate(ask, rooms),
            Strategy::MachineRoomNearby { inner, separator } => machine_room_nearby::allocate(ask, inner, *separator)?,
            Strategy::ConsistentHash { virtual_nodes } => consistent_hash::allocate(ask, *virtual_nodes),
        })
    }
}

impl fmt::Display for Strategy {
    /// The name that a Java client gives it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strategy::Averagely => f.write_str("AVG"),
            Strategy::AveragelyByCircle => f.write_str("AVG_BY_CIRCLE"),
            Strategy::Config(_) => f.write_str("CONFIG"),
            Strategy::MachineRoom(_) => f.write_str("MACHINE_ROOM"),
            Strategy::MachineRoomNearby { inner, .. } => write!(f, "MACHINE_ROOM_NEARBY-{inner}"),
            Strategy::ConsistentHash { .. } => f.write_str("CONSISTENT_HASH"),
        }
    }
}

/// Whether `me` is among the members.
fn known(ask: Ask<'_>) -> Result<bool, AllocateError> {
    if ask.me.is_empty() {
        return Err(AllocateError::NoMe);
    }
    if ask.queues.is_empty() {
        return Err(AllocateError::NoQueues);
    }
    if ask.members.is_empty() {
        return Err(AllocateError::NoMembers);
    }
    Ok(ask.members.iter().any(|member| member == ask.me))
}

/// Where `me` first stands among the members.
fn place(ask: Ask<'_>) -> usize {
    ask.members.iter().position(|member| member == ask.me).expect("`known` was asked first")
}

/// The known bug that the plant switches on: every member also takes the first queue.
fn overlapping(ask: Ask<'_>) -> Vec<Queue> {
    let mut queues = if known(ask) == Ok(true) { averagely::allocate(ask) } else { Vec::new() };
    if !queues.contains(&ask.queues[0]) {
        queues.push(ask.queues[0].clone());
    }
    queues
}

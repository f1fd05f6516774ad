//! Members stand on a hash ring; a queue belongs to the next member clockwise.
//!
//! Invariant: a member that joins or leaves moves only queues to or from itself.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::Ask;
use crate::client::Queue;

/// `AllocateMessageQueueConsistentHash`.
pub(super) fn allocate(ask: Ask<'_>, virtual_nodes: u32) -> Vec<Queue> {
    let ring = ring(ask.members, virtual_nodes);
    let owner = |queue: &Queue| {
        let hash = ring_hash(&queue.java_name(ask.topic));
        ring.range(hash..).next().or_else(|| ring.first_key_value()).map(|(_, member)| *member)
    };
    ask.queues.iter().filter(|queue| owner(queue) == Some(ask.me)).cloned().collect()
}

/// A member that is listed twice stands twice as often, and a later member takes a position over, as in the Java client.
fn ring(members: &[String], virtual_nodes: u32) -> BTreeMap<u32, &str> {
    let mut ring: BTreeMap<u32, &str> = BTreeMap::new();
    for member in members {
        let before = ring.values().filter(|m| **m == member).count();
        for node in 0..virtual_nodes as usize {
            ring.insert(ring_hash(&format!("{member}-{}", before + node)), member);
        }
    }
    ring
}

/// The position of a name: the first four bytes of its MD5 (Java `ConsistentHashRouter.MD5Hash`).
pub fn ring_hash(name: &str) -> u32 {
    let digest: [u8; 16] = Md5::digest(name.as_bytes()).into();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

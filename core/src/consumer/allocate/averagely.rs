//! Blocks of neighbours; when the queues do not divide evenly, the first members have one more.
//!
//! Invariant: blocks are disjoint and cover all queues.

use super::{Ask, place};
use crate::client::Queue;

/// `AllocateMessageQueueAveragely`.
pub(super) fn allocate(ask: Ask<'_>) -> Vec<Queue> {
    let (queues, members, me) = (ask.queues.len(), ask.members.len(), place(ask));
    let (each, more) = (queues / members, queues % members);
    let begin = me * each + me.min(more);
    let end = begin + each + usize::from(me < more);
    ask.queues[begin..end].to_vec()
}

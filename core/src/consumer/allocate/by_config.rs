//! A fixed list of queues.
//!
//! Invariant: the list is what was configured, whoever asks; who configures two members alike lets both read.

use crate::client::Queue;

/// `AllocateMessageQueueByConfig`.
pub(super) fn allocate(queues: &[Queue]) -> Vec<Queue> {
    queues.to_vec()
}

//! Queues dealt out like cards.
//!
//! Invariant: queue n belongs to member n modulo the number of members.

use super::{Ask, place};
use crate::client::Queue;

/// `AllocateMessageQueueAveragelyByCircle`.
pub(super) fn allocate(ask: Ask<'_>) -> Vec<Queue> {
    ask.queues.iter().skip(place(ask)).step_by(ask.members.len()).cloned().collect()
}

//! What logs and the simulator may look at in a consumer.
//!
//! Invariant: looking changes nothing.

use super::owned::Stage;
use super::{Life, PushConsumer};
use crate::client::Queue;
use crate::client::routes::Routes;

/// How far a consumer is in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueProgress<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue: &'a Queue,
    /// What the queue waits for: `locking`, `seeking`, `pulling`, `leaving`.
    pub stage: &'static str,
    /// Offset of the next pull.
    pub next: i64,
    /// Offset up to which everything is consumed.
    pub consumed: i64,
    /// Offset that was last committed.
    pub committed: Option<i64>,
    /// Messages that were pulled and are not consumed.
    pub unfinished: usize,
}

impl PushConsumer {
    /// Every queue that it has, by topic and queue.
    pub fn progress(&self) -> impl Iterator<Item = QueueProgress<'_>> {
        self.owned.iter().map(|(key, owned)| QueueProgress {
            topic: &key.topic,
            queue: &key.queue,
            stage: match owned.stage {
                Stage::Locking => "locking",
                Stage::Seeking => "seeking",
                Stage::Pulling => "pulling",
                Stage::Leaving => "leaving",
            },
            next: owned.messages.next(),
            consumed: owned.messages.commit_offset(),
            committed: owned.committed.map(|(offset, _)| offset),
            unfinished: owned.messages.len(),
        })
    }

    /// What it knows of where topics are.
    pub fn routes(&self) -> &Routes {
        self.client.routes()
    }

    /// Where it is in its life: `created`, `running`, `refused`, `stopping`, `leaving`, `stopped`.
    pub fn phase(&self) -> &'static str {
        match self.life {
            Life::Created => "created",
            Life::Running => "running",
            Life::Refused => "refused",
            Life::Stopping(_) => "stopping",
            Life::Leaving => "leaving",
            Life::Stopped => "stopped",
        }
    }
}

//! The one timer of a node.
//!
//! Invariant: the timer is armed anew only when the deadline gets earlier; one that got later is found out when the old
//! one rings. A timer that was armed under madsim cannot be cancelled, so arming it for every batch would pile them up.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use seedmq_core::node::Instant;

use super::World;
use super::signal::Signal;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    deadline: Cell<Option<Instant>>,
    earlier: Signal,
    over: Cell<bool>,
    /// Raised when the deadline has come.
    pub(super) bell: Signal,
}

impl Alarm {
    /// Makes sure that the bell rings at `deadline` or before.
    pub(super) fn ring_by(&self, deadline: Instant) {
        if self.deadline.get().is_none_or(|armed| deadline < armed) {
            self.deadline.set(Some(deadline));
            self.earlier.raise();
        }
    }
    /// Ends [`Alarm::run`].
    pub(super) fn end(&self) {
        self.over.set(true);
        self.earlier.raise();
    }
    /// The task that waits.
    pub(super) async fn run(&self, world: impl World) {
        while !self.over.get() {
            let Some(deadline) = self.deadline.get() else {
                self.earlier.wait().await;
                continue;
            };
            let now = world.now().mono;
            if deadline <= now {
                self.deadline.set(None);
                self.bell.raise();
                continue;
            }
            let mut sleep = pin!(world.sleep_until(deadline));
            poll_fn(|cx| if self.earlier.poll(cx).is_ready() { Poll::Ready(()) } else { sleep.as_mut().poll(cx) })
                .await;
        }
    }
}

//! The one timer of a node.
//!
//! Invariant: the timer is armed anew only when the deadline gets earlier; one that got later is found out when the old
//! one rings. A timer that was armed under madsim cannot be cancelled, so arming it for every batch would pile them up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use seedmq_core::node::Instant;

use super::World;

/// See the module.
pub(super) struct Alarm<W> {
    world: W,
    armed: Option<Armed>,
}

struct Armed {
    at: Instant,
    sleep: Pin<Box<dyn Future<Output = ()>>>,
}

impl<W: World> Alarm<W> {
    pub(super) fn new(world: W) -> Alarm<W> {
        Alarm { world, armed: None }
    }
    /// Ready when `deadline` has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            let armed = match &mut self.armed {
                Some(armed) if armed.at <= deadline => armed,
                other => {
                    let world = self.world.clone();
                    let sleep = Box::pin(async move { world.sleep_until(deadline).await });
                    other.insert(Armed { at: deadline, sleep })
                }
            };
            ready!(armed.sleep.as_mut().poll(cx));
            let rang = armed.at;
            self.armed = None;
            if rang >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

//! The real world: this machine's clock, TCP, files.
//!
//! Invariant: everything of a node lives on one thread and one current-thread runtime; only waiting for the disk happens
//! on other threads.

pub mod disk;
mod net;
mod zone;

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Instant as StdInstant, SystemTime};

use seedmq_core::node::{Instant, Now};

pub use net::{TcpAcceptor, TcpNet};
pub use zone::utc_offset_s;

use crate::driver::{NoDisk, SlowDisk, World};

/// This machine.
#[derive(Debug)]
pub struct RealWorld<S> {
    slow: Rc<S>,
}

impl<S> Clone for RealWorld<S> {
    fn clone(&self) -> Self {
        RealWorld { slow: Rc::clone(&self.slow) }
    }
}

impl<S> RealWorld<S> {
    /// A world with the slow side of a disk.
    pub fn new(slow: S) -> Self {
        RealWorld { slow: Rc::new(slow) }
    }
}

impl RealWorld<NoDisk> {
    /// A world for nodes that keep nothing.
    pub fn without_disk() -> Self {
        RealWorld::new(NoDisk)
    }
}

/// Both clocks of this machine; the monotonic one counts from the first call in this process.
pub fn now() -> Now {
    static START: OnceLock<StdInstant> = OnceLock::new();
    let mono = START.get_or_init(StdInstant::now).elapsed();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: Instant(u64::try_from(mono.as_nanos()).unwrap_or(u64::MAX)),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Gives the tasks that are ready a turn, without a look at the sockets: connections hand over what they have read, and write what
/// their sockets did not take at once.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<S: SlowDisk> World for RealWorld<S> {
    type Net = TcpNet;
    type Slow = S;
    fn now(&self) -> Now {
        now()
    }
    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep(at.since(now().mono)).await;
    }
    async fn breathe(&self, inputs: usize, more: bool) {
        if more {
            tokio::task::yield_now().await;
        } else if inputs > 0 {
            let_others_run().await;
        }
    }
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }
    fn net(&self) -> &TcpNet {
        &TcpNet
    }
    fn slow(&self) -> &S {
        &self.slow
    }
}

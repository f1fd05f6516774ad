//! Nodes of this process: a machine, its listeners and its disk under the driver.
//!
//! Invariant: a role either starts as a whole (directory locked, ports bound, machine ready) or says why not and leaves
//! nothing behind.

mod addresses;
mod broker;
mod namesrv;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;

use seedmq_core::node::{Disk, Node};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use broker::{BrokerRole, start_broker};
pub use namesrv::{NamesrvRole, start_namesrv};

use crate::driver::{Handle, Limits, Net, Setup, SlowDisk, World, drive, mailbox};
use crate::real::disk::StoreDirError;
use crate::real::{RealWorld, TcpAcceptor};

/// Why a role did not start. The text names the cause and the cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store directory cannot be taken.
    #[error(transparent)]
    Store(#[from] StoreDirError),
    /// A port cannot be bound.
    #[error(
        "cannot listen on {at}: {error}. Is another broker or name server running here? Stop it, or choose another port"
    )]
    Listen {
        /// Address and port.
        at: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The machine refused what it found on the disk.
    #[error("{0}")]
    Refused(String),
    /// The settings contradict each other.
    #[error("{0}")]
    Config(String),
    /// It ended before it was ready.
    #[error("it ended before it was ready")]
    Ended,
}

/// A running node of this process. Dropping it does not stop the node.
#[derive(Debug)]
pub struct Role<C> {
    /// Asks it for things.
    pub handle: Handle<C>,
    /// Where it listens.
    pub local: SocketAddr,
    /// Where it tells the addresses of name servers over HTTP (`addressServerPort` of a name server), if it was asked to.
    pub addresses: Option<SocketAddr>,
    ended: JoinHandle<()>,
    ready: Option<oneshot::Receiver<Result<(), String>>>,
}

impl<C> Role<C> {
    /// Waits until it takes requests.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        match self.ready.take() {
            None => Ok(()),
            Some(ready) => match ready.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(why)) => Err(StartError::Refused(why)),
                Err(_) => Err(StartError::Ended),
            },
        }
    }
    /// Asks it to end gracefully, and waits until it has.
    pub async fn stop(self) {
        let _ = self.handle.stop().await;
        let _ = self.ended.await;
    }
    /// Waits until it ends by itself.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

/// Tells the owner of a [`Role`] once whether it is ready.
struct Boot(Option<oneshot::Sender<Result<(), String>>>);

impl Boot {
    fn new() -> (Boot, oneshot::Receiver<Result<(), String>>) {
        let (sender, receiver) = oneshot::channel();
        (Boot(Some(sender)), receiver)
    }
    /// Whether somebody waited for it.
    fn tell(&mut self, how: Result<(), String>) -> bool {
        self.0.take().is_some_and(|sender| sender.send(how).is_ok())
    }
}

/// What a node needs beside itself to be put under the driver.
struct Serve<S> {
    world: RealWorld<S>,
    disk: Box<dyn Disk>,
    listeners: Vec<TcpAcceptor>,
    limits: Limits,
}

/// Starts a node on this thread's runtime.
fn serve<N, S>(node: N, parts: Serve<S>, events: impl FnMut(N::Event) + 'static) -> (Handle<N::Command>, JoinHandle<()>)
where
    N: Node + 'static,
    S: SlowDisk,
{
    let (mailbox, handle) = mailbox();
    let setup = Setup {
        disk: parts.disk,
        seed: random_seed(),
        listeners: parts.listeners,
        tap: (),
        events: Box::new(events),
        limits: parts.limits,
    };
    let world = parts.world;
    let task = tokio::task::spawn_local(async move {
        drive(node, world, mailbox, setup).await;
    });
    (handle, task)
}

async fn listen(world: &impl World<Net = crate::real::TcpNet>, at: SocketAddr) -> Result<TcpAcceptor, StartError> {
    world.net().listen(at).await.map_err(|error| StartError::Listen { at, error })
}

/// The only randomness that comes from outside: the seed of a node.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

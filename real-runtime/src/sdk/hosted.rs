//! A client machine on a thread of its own, so that its user's runtime may be of any kind.
//!
//! Invariant: the thread ends when the machine has stopped, and the machine is told to stop when its user lets go of it.

use seedmq_core::node::Node;

use crate::driver::{Ended, Handle, Limits, NoDisk, Setup, drive, mailbox};
use crate::real::RealWorld;
use crate::roles::random_seed;

/// See the module.
#[derive(Debug)]
pub(super) struct Hosted<C: Send + 'static> {
    handle: Handle<C>,
}

impl<C: Send + 'static> Hosted<C> {
    pub(super) fn start<N, E>(name: &str, node: N, events: impl FnMut(E) + Send + 'static) -> Hosted<C>
    where
        N: Node<Command = C, Event = E> + Send + 'static,
    {
        let (mailbox, handle) = mailbox();
        let body = move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
            let setup = Setup {
                disk: Box::new(NoDisk),
                seed: random_seed(),
                listeners: Vec::new(),
                tap: (),
                events: Box::new(events),
                limits: Limits::default(),
            };
            let runtime = runtime.expect("the system gives us an event queue");
            runtime.block_on(drive(node, RealWorld::without_disk(), mailbox, setup));
        };
        std::thread::Builder::new().name(name.into()).spawn(body).expect("the system gives us a thread");
        Hosted { handle }
    }

    pub(super) async fn command(&self, command: C) -> Result<(), Ended> {
        self.handle.command(command).await
    }

    /// Asks for a graceful end and waits for it.
    pub(super) async fn stop(&self) {
        let _ = self.handle.stop().await;
        self.handle.ended().await;
    }

    pub(super) fn handle(&self) -> &Handle<C> {
        &self.handle
    }
}

impl<C: Send + 'static> Drop for Hosted<C> {
    fn drop(&mut self) {
        if !self.handle.is_ended() && self.handle.try_stop().is_err() {
            let handle = self.handle.clone();
            std::thread::spawn(move || handle.blocking_stop());
        }
    }
}

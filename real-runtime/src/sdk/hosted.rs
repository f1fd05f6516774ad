//! A client machine on a thread of its own, so that its user's runtime may be of any kind.
//!
//! Invariant: the thread ends when the machine has stopped, and the machine is told to stop when its user lets go of it.

use seedmq_core::node::{Addr, Node};

use crate::config::name_servers::NameServers;
use crate::config::{AddressServer, follow};
use crate::driver::{Ended, Handle, Limits, NoDisk, Setup, drive, mailbox};
use crate::real::RealWorld;
use crate::roles::random_seed;

/// See the module.
#[derive(Debug)]
pub(super) struct Hosted<C: Send + 'static> {
    handle: Handle<C>,
}

impl<C: Send + 'static> Hosted<C> {
    /// Starts the machine that `build` makes of a list of name servers. Those of an endpoint are asked for first, so that
    /// what is sent meanwhile waits for them; later changes reach the machine as `told` puts them.
    pub(super) fn start<N, E>(
        name: &str,
        name_servers: NameServers,
        build: impl FnOnce(Vec<Addr>) -> N + Send + 'static,
        told: fn(Vec<Addr>) -> C,
        events: impl FnMut(E) + Send + 'static,
    ) -> Hosted<C>
    where
        N: Node<Command = C, Event = E> + 'static,
    {
        let (mailbox, handle) = mailbox();
        let teller = handle.clone();
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
            runtime.block_on(async move {
                let addrs = match name_servers {
                    NameServers::Known(addrs) => addrs,
                    NameServers::Ask(server) => ask_and_follow(server, teller, told).await,
                    NameServers::Unknown => Vec::new(),
                };
                drive(build(addrs), RealWorld::without_disk(), mailbox, setup).await;
            });
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

/// What an endpoint says now, nothing if it does not answer. From then on it is followed as long as this thread lives.
async fn ask_and_follow<C: 'static>(server: AddressServer, handle: Handle<C>, told: fn(Vec<Addr>) -> C) -> Vec<Addr> {
    let first = match server.fetch().await {
        Ok(addrs) => addrs,
        Err(error) => {
            tracing::warn!(url = server.url(), %error, "name servers could not be fetched");
            Vec::new()
        }
    };
    let known = first.clone();
    tokio::task::spawn_local(follow(server, known, async move |addrs| {
        // A machine that has ended needs no name server.
        let _ = handle.command(told(addrs)).await;
    }));
    first
}

impl<C: Send + 'static> Drop for Hosted<C> {
    fn drop(&mut self) {
        if !self.handle.has_ended() && self.handle.try_stop().is_err() {
            let handle = self.handle.clone();
            std::thread::spawn(move || handle.blocking_stop());
        }
    }
}

//! The loop around one node.
//!
//! Invariant: this file holds the only caller of [`Node::step`] outside tests. After a batch of at most
//! [`Limits::batch`] inputs (and the frames of the last socket read) comes [`Input::Wake`] if it is due, then
//! [`Input::Settle`], then all outputs in the order in which they were put.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use seedmq_core::node::{Addr, ConnId, Cx, DialId, Disk, Input, Instant, Node, Now, Outbox, Output, Rng};
use tokio::sync::mpsc;

use super::alarm::Alarm;
use super::conn::{self, Conn, Registry, Shared};
use super::inbox::{Delivery, Mailbox};
use super::lanes::Lanes;
use super::{Limits, Listener, Net, Tap, World, encode, within};

/// What [`drive`] needs beside node and world.
pub struct Setup<L, P, E> {
    /// The synchronous side of the disk.
    pub disk: Box<dyn Disk>,
    /// Seed of the node's random draws.
    pub seed: u64,
    /// Listeners to accept from.
    pub listeners: Vec<L>,
    /// Sees everything.
    pub tap: P,
    /// Hears the node's events, in order.
    pub events: Box<dyn FnMut(E)>,
    /// Limits.
    pub limits: Limits,
}

/// Runs a node until it says [`Output::Stopped`], then sends what its connections still owe and gives the node back.
pub async fn drive<N, W, P>(
    node: N,
    world: W,
    mailbox: Mailbox<N::Command>,
    setup: Setup<<W::Net as Net>::Listener, P, N::Event>,
) -> N
where
    N: Node,
    N::Command: 'static,
    W: World,
    P: Tap<N>,
{
    let Mailbox { receiver, sender } = mailbox;
    let shared = Rc::new(Shared { registry: Registry::default(), inbox: sender, limits: setup.limits });
    for listener in setup.listeners {
        world.spawn(accept(world.clone(), listener, Rc::clone(&shared)));
    }
    let lanes = Lanes::start(&world, &shared.limits, &shared.inbox);
    let mut running = Running {
        node,
        disk: setup.disk,
        rng: Rng::from_seed(setup.seed),
        outbox: Outbox::default(),
        tap: setup.tap,
        events: setup.events,
        dirty: Vec::new(),
        stopped: false,
        lanes,
        world,
        shared,
    };
    running.run(receiver).await;
    running.farewell().await;
    running.lanes.end();
    running.node
}

struct Running<N: Node, W, P> {
    node: N,
    world: W,
    disk: Box<dyn Disk>,
    rng: Rng,
    outbox: Outbox<N::Event>,
    tap: P,
    events: Box<dyn FnMut(N::Event)>,
    lanes: Lanes,
    shared: Rc<Shared<N::Command>>,
    /// Connections that got something to send in this batch.
    dirty: Vec<Rc<Conn>>,
    stopped: bool,
}

impl<N, W, P> Running<N, W, P>
where
    N: Node,
    N::Command: 'static,
    W: World,
    P: Tap<N>,
{
    async fn run(&mut self, mut inbox: mpsc::Receiver<Delivery<N::Command>>) {
        let mut alarm = Alarm::new(self.world.clone());
        let mut sweep = Sweep::new(self.shared.limits.idle, self.world.now().mono);
        let mut next = Some(Delivery::one(Input::Start));
        loop {
            let now = self.world.now();
            let inputs = self.batch(now, next, &mut inbox);
            sweep.pass(now.mono, &self.shared.registry);
            if self.stopped {
                return;
            }
            let wake = self.node.wake_at();
            // More work of its own is recovery, say: everybody else gets a turn, then comes the next batch.
            let more = wake.is_some_and(|at| at <= now.mono);
            self.world.breathe(inputs, more).await;
            if more {
                next = None;
                continue;
            }
            let deadline = wake.map_or(sweep.due, |at| at.min(sweep.due));
            next = poll_fn(|cx| match inbox.poll_recv(cx) {
                Poll::Ready(delivery) => Poll::Ready(Some(delivery.expect("the loop holds a sender"))),
                Poll::Pending => alarm.poll(cx, deadline).map(|()| None),
            })
            .await;
        }
    }

    fn batch(
        &mut self,
        now: Now,
        first: Option<Delivery<N::Command>>,
        inbox: &mut mpsc::Receiver<Delivery<N::Command>>,
    ) -> usize {
        let (mut count, mut seen, mut bytes) = (0, 0, 0);
        let mut next = first.or_else(|| inbox.try_recv().ok());
        while let Some(delivery) = next {
            count += delivery.count();
            match delivery {
                Delivery::One(input) => self.step(now, *input),
                Delivery::Frames(conn, frames) => {
                    frames.into_iter().for_each(|frame| self.step(now, Input::Frame { conn, frame }));
                }
            }
            bytes += self.outbox.0[seen..].iter().map(answer_cost).sum::<usize>();
            seen = self.outbox.0.len();
            let has_room = count < self.shared.limits.batch && bytes < self.shared.limits.batch_bytes;
            next = if has_room { inbox.try_recv().ok() } else { None };
        }
        if self.node.wake_at().is_some_and(|at| at <= now.mono) {
            self.step(now, Input::Wake);
        }
        self.step(now, Input::Settle);
        self.carry_out();
        self.tap.settled(&self.node);
        count
    }

    fn step(&mut self, now: Now, input: Input<N::Command>) {
        self.tap.input(&now, &input);
        let mut cx = Cx { now, disk: &mut *self.disk, rng: &mut self.rng, out: &mut self.outbox };
        self.node.step(input, &mut cx);
    }

    fn carry_out(&mut self) {
        let mut last: Option<(ConnId, Rc<Conn>)> = None;
        for output in self.outbox.0.drain(..) {
            self.tap.output(&output);
            match output {
                Output::Send { conn, frame } => {
                    if last.as_ref().is_none_or(|(id, _)| *id != conn) {
                        last = self.shared.registry.get(conn).map(|found| (conn, found));
                    }
                    if let Some((_, conn)) = &last
                        && conn.push(frame, &self.shared.limits)
                    {
                        self.dirty.push(Rc::clone(conn));
                    }
                }
                Output::Close { conn } => self.shared.registry.get(conn).iter().for_each(|conn| conn.close()),
                Output::Dial { dial, addr } => {
                    self.world.spawn(connect(self.world.clone(), Rc::clone(&self.shared), dial, addr));
                }
                Output::Disk(ask) => self.lanes.ask(ask),
                Output::Event(event) => (self.events)(event),
                Output::Stopped => self.stopped = true,
            }
        }
        self.dirty.drain(..).for_each(|conn| conn.flush());
    }

    /// Lets the connections send what they owe; the inbox is gone, so nothing more is read.
    async fn farewell(&self) {
        self.shared.registry.close_all();
        let patience = self.world.now().mono + self.shared.limits.linger;
        while !self.shared.registry.is_empty() && self.world.now().mono < patience {
            self.world.sleep_until(self.world.now().mono + Duration::from_millis(5)).await;
        }
    }
}

fn answer_cost<E>(output: &Output<E>) -> usize {
    if let Output::Send { frame, .. } = output { encode::cost(frame) } else { 0 }
}

/// When silent connections are looked for next.
struct Sweep {
    every: Duration,
    due: Instant,
}

/// Sweeps within the time that a connection may be silent.
const SWEEPS: u32 = 8;

impl Sweep {
    fn new(idle: Duration, now: Instant) -> Sweep {
        Sweep { every: idle / SWEEPS, due: now + idle / SWEEPS }
    }
    fn pass(&mut self, now: Instant, registry: &Registry) {
        if now >= self.due {
            registry.sweep(SWEEPS);
            self.due = now + self.every;
        }
    }
}

/// Accepts until the node has ended.
async fn accept<W: World, C: 'static>(world: W, mut listener: <W::Net as Net>::Listener, shared: Rc<Shared<C>>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.inbox.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) if shared.registry.accepted() < shared.limits.connections => {
                conn::start(&world, &shared, stream, None);
            }
            Ok(stream) => tracing::warn!(peer = %stream.peer, "refused: too many connections"),
            Err(error) => {
                // Out of descriptors, or the peer was gone before it was accepted: the listener itself is sound.
                tracing::warn!(%error, "a connection could not be accepted");
                world.sleep_until(world.now().mono + Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connect<W: World, C: 'static>(world: W, shared: Rc<Shared<C>>, dial: DialId, addr: Addr) {
    match within(&world, shared.limits.dial, world.net().dial(&addr)).await {
        Some(Ok(stream)) => conn::start(&world, &shared, stream, Some(dial)),
        failed => {
            let why = failed.and_then(Result::err).map_or_else(|| "timed out".to_owned(), |error| error.to_string());
            tracing::debug!(%addr, why, "dial failed");
            let _ = shared.inbox.send(Delivery::one(Input::DialFailed { dial })).await;
        }
    }
}

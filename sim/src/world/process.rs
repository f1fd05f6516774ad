//! A process on a simulated host, as the driver sees its world.
//!
//! Invariant: everything that a driver can wait for goes over the world's agenda; nothing in a process reads madsim's clock.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use seedmq::driver::{self, NoDisk, SlowDisk, Stream};
use seedmq_core::node::{Addr, Instant, Now};

use super::{Dice, HostId, World, entity};
use crate::net::{SimListener, SimNet, SimReader, SimWriter};

/// How fast a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CpuSpec {
    /// Batches after which the process is busy for a while, in a million.
    pub busy_ppm: u32,
    /// For how long on average, microseconds.
    pub busy_us: u32,
    /// Time of a batch of a node's own work (a slice of recovery), microseconds.
    pub slice_us: u32,
}

impl Default for CpuSpec {
    fn default() -> Self {
        CpuSpec { busy_ppm: 60_000, busy_us: 300, slice_us: 800 }
    }
}

/// See the module. `S` is the slow side of the disk.
#[derive(Debug)]
pub struct Process<S = NoDisk> {
    world: Arc<World>,
    host: HostId,
    net: SimNet,
    slow: Rc<S>,
    cpu: CpuSpec,
    dice: Rc<RefCell<Dice>>,
}

impl<S> Clone for Process<S> {
    fn clone(&self) -> Self {
        Process {
            world: Arc::clone(&self.world),
            host: self.host,
            net: self.net.clone(),
            slow: Rc::clone(&self.slow),
            cpu: self.cpu,
            dice: Rc::clone(&self.dice),
        }
    }
}

impl<S> Process<S> {
    /// The process that just started on `host`.
    pub fn new(world: &Arc<World>, host: HostId, slow: S, cpu: CpuSpec) -> Self {
        let (seed, life, extra) = {
            let state = world.lock();
            (state.seed, state.host(host).life, state.extra_draws)
        };
        let mut dice = Dice::new(seed, entity("cpu", &[u64::from(host.0), u64::from(life.0)]));
        for _ in 0..extra {
            dice.bits();
        }
        let net = SimNet::new(world, host);
        let dice = Rc::new(RefCell::new(dice));
        Process { world: Arc::clone(world), host, net, slow: Rc::new(slow), cpu, dice }
    }
    /// A seed for the machine of this process, of its own in each life.
    pub fn seed(&self) -> u64 {
        self.dice.borrow_mut().bits()
    }
    async fn busy(&self, ns: u64) {
        let at = self.world.now_ns() + ns;
        self.world.sleep(self.host, entity("busy", &[u64::from(self.host.0)]), at).await;
    }
}

impl<S: SlowDisk> driver::World for Process<S> {
    type Net = SimNet;
    type Slow = S;
    fn now(&self) -> Now {
        let state = self.world.lock();
        let now = state.now();
        Now { mono: Instant(now), wall_ms: state.host(self.host).wall_ms(now) }
    }
    async fn sleep_until(&self, at: Instant) {
        self.world.sleep(self.host, entity("alarm", &[u64::from(self.host.0)]), at.0).await;
    }
    async fn breathe(&self, _inputs: usize, more: bool) {
        let busy = {
            let extra = self.world.lock().host(self.host).extra_ns;
            let mut dice = self.dice.borrow_mut();
            let slowed = (extra > 0).then(|| dice.tail(extra));
            let busy = dice.chance(self.cpu.busy_ppm).then(|| dice.tail(u64::from(self.cpu.busy_us) * 1000));
            let busy = busy.or(more.then(|| u64::from(self.cpu.slice_us) * 1000));
            slowed.map(|slowed| slowed + busy.unwrap_or(0)).or(busy)
        };
        if let Some(ns) = busy {
            self.busy(ns).await;
        }
    }
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }
    fn net(&self) -> &SimNet {
        &self.net
    }
    fn slow(&self) -> &S {
        &self.slow
    }
}

fn stream((reader, writer, peer, local): crate::net::Halves) -> Stream<SimReader, SimWriter> {
    Stream { reader, writer, peer, local }
}

impl driver::Net for SimNet {
    type Listener = SimListener;
    type Reader = SimReader;
    type Writer = SimWriter;
    async fn listen(&self, at: SocketAddr) -> io::Result<SimListener> {
        self.bind(at)
    }
    async fn dial(&self, addr: &Addr) -> io::Result<Stream<SimReader, SimWriter>> {
        self.connect(addr).await.map(stream)
    }
}

impl driver::Listener for SimListener {
    type Reader = SimReader;
    type Writer = SimWriter;
    fn local(&self) -> SocketAddr {
        self.local()
    }
    async fn accept(&mut self) -> io::Result<Stream<SimReader, SimWriter>> {
        self.accept().await.map(stream)
    }
}

//! The simulated world: virtual time, hosts, and everything between them.
//!
//! Invariant: between two entries of the agenda every ready task runs until it waits again, and all of them see the time
//! of the entry, so that neither the order in which tasks are polled nor madsim's jitter reaches a node.

mod agenda;
mod host;
mod process;

use std::cell::{RefCell, RefMut};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fragile::Fragile;

pub use crate::dice::{Dice, entity};
pub(crate) use agenda::{Agenda, Due};
pub(crate) use host::{Host, Power};
pub use process::{CpuSpec, Process};

use crate::net::{Filter, LinkSpec, Net};

/// A simulated machine: an index into the world's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct HostId(pub u16);

/// How often a host was started before: the processes of one host over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Life(pub u32);

/// How a process ends without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process is killed, the kernel closes its connections.
    Killed,
    /// The process vanishes with its network address (its container is torn down): silence. The page cache survives.
    Vanished,
    /// The machine loses power: silence, and what was not synced is at risk.
    PowerLost,
}

/// What everybody in the world shares.
#[derive(Debug)]
pub(crate) struct State {
    pub seed: u64,
    pub agenda: Agenda,
    pub hosts: Vec<Host>,
    pub net: Net,
    /// See [`World::draw_more`].
    pub extra_draws: u32,
}

impl State {
    /// The current virtual time, ns.
    pub fn now(&self) -> u64 {
        self.agenda.now()
    }
    pub fn host(&self, id: HostId) -> &Host {
        &self.hosts[usize::from(id.0)]
    }
    pub fn host_mut(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[usize::from(id.0)]
    }
    /// Wakes a task of a host, or remembers to when the host is paused.
    pub fn wake(&mut self, host: HostId, life: Life, waker: Waker) {
        let host = self.host_mut(host);
        if host.paused {
            host.deferred.push((life, waker));
        } else if host.life == life {
            waker.wake();
        }
    }
}

/// The world; see the module. Registered with madsim as a simulator, so that a node that madsim kills falls silent.
#[derive(Debug)]
pub struct World {
    /// One thread runs a world; madsim only asks that it might be another.
    state: Fragile<RefCell<State>>,
}

impl madsim::plugin::Simulator for World {
    fn new(_: &madsim::rand::GlobalRng, _: &madsim::time::TimeHandle, _: &madsim::Config) -> Self {
        World::empty(0)
    }
    fn reset_node(&self, id: madsim::task::NodeId) {
        let mut state = self.lock();
        if let Some(host) = state.hosts.iter_mut().find(|host| host.node == Some(id) && host.power == Power::Up) {
            host.power = Power::Dark;
        }
    }
}

impl World {
    fn empty(seed: u64) -> World {
        let state = State { seed, agenda: Agenda::default(), hosts: Vec::new(), net: Net::default(), extra_draws: 0 };
        World { state: Fragile::new(RefCell::new(state)) }
    }

    /// The world of the running madsim runtime, with `seed` as the root of all its draws.
    pub fn current(seed: u64) -> Arc<World> {
        let world = madsim::plugin::simulator::<World>();
        world.lock().seed = seed;
        world
    }

    pub(crate) fn lock(&self) -> RefMut<'_, State> {
        self.state.get().borrow_mut()
    }

    /// Adds a host that is switched off. Its address is 10.0.x.y, by its number.
    pub fn add_host(&self) -> HostId {
        let mut state = self.lock();
        let id = HostId(u16::try_from(state.hosts.len()).expect("fewer hosts than addresses"));
        let number = id.0 + 1;
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, (number >> 8) as u8, (number & 255) as u8));
        state.hosts.push(Host::new(ip));
        state.net.links.grow();
        id
    }

    /// The address of a host.
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.lock().host(host).ip
    }

    /// Every process that starts from now on draws so many numbers first and throws them away, as it would after a change of
    /// the code that draws more.
    pub fn draw_more(&self, numbers: u32) {
        self.lock().extra_draws = numbers;
    }

    /// Virtual time since the start of the run, ns.
    pub fn now_ns(&self) -> u64 {
        self.lock().now()
    }

    /// The wall clock of a host, ms since 1970.
    pub fn wall_ms(&self, host: HostId) -> u64 {
        let state = self.lock();
        state.host(host).wall_ms(state.now())
    }

    /// Lets the wall clock of a host jump, and from there on to the next multiple of `tick_ms` since 1970.
    pub fn step_clock(&self, host: HostId, by_ms: i64, tick_ms: Option<u64>) {
        let mut state = self.lock();
        let now = state.now();
        state.host_mut(host).step(now, by_ms, tick_ms);
    }

    /// The wall clock of a host runs fast (or slow) by so many parts in a million from now on.
    pub fn drift_clock(&self, host: HostId, ppm: i64) {
        let mut state = self.lock();
        let now = state.now();
        state.host_mut(host).drift(now, ppm);
    }

    /// Each batch of the process of a host takes so much longer on average.
    pub fn slow_cpu(&self, host: HostId, extra_ns: u64) {
        self.lock().host_mut(host).extra_ns = extra_ns;
    }

    /// What one host sends to another takes so much longer, from now on; negative takes it back.
    pub fn slow_link(&self, from: HostId, to: HostId, by_us: i64) {
        self.lock().net.links.slow_down(from, to, by_us);
    }

    /// Only so many bytes a second pass from one host to another, from now on.
    pub fn thin_link(&self, from: HostId, to: HostId, bytes_per_s: u64) {
        self.lock().net.links.thin(from, to, bytes_per_s);
    }

    /// Such a limit is over.
    pub fn thicken_link(&self, from: HostId, to: HostId, bytes_per_s: u64) {
        self.lock().net.links.thicken(from, to, bytes_per_s);
    }

    /// What one host writes to another ends on every connection, while the other direction stays open; how many.
    pub fn half_close(&self, from: HostId, to: HostId) -> usize {
        self.lock().half_close(from, to)
    }

    /// Hosts to which a host has a connection that they closed without its knowing.
    pub fn deserted(&self, host: HostId) -> Vec<HostId> {
        self.lock().deserted(host).collect()
    }

    /// Every connection between two hosts is reset; how many.
    pub fn reset_between(&self, a: HostId, b: HostId) -> usize {
        self.lock().sever_between(a, b)
    }

    /// Puts a number on the agenda that [`World::next`] will hand back at that time.
    pub fn remind(&self, at_ns: u64, number: u64) {
        self.lock().agenda.add(at_ns, entity("owner", &[number]), Due::Owner(number));
    }

    /// Carries out the next entry of the agenda; its number when it was one of [`World::remind`], `None` when nothing is
    /// due before `until_ns`.
    pub fn next(&self, until_ns: u64) -> Option<Option<u64>> {
        let mut state = self.lock();
        if state.agenda.next_at()? > until_ns {
            return None;
        }
        let (_, due) = state.agenda.take()?;
        Some(match due {
            Due::Owner(number) => Some(number),
            due => {
                state.perform(due);
                None
            }
        })
    }

    /// Waits until no task is ready. madsim's own clock follows the agenda loosely: it never drives anything.
    pub async fn quiet(&self) {
        let clock = madsim::time::TimeHandle::current();
        // Longer than any chain of polls (50 to 100 ns each) that one entry of the agenda sets off.
        let mut sleep = madsim::time::sleep(Duration::ZERO);
        Pin::new(&mut sleep).reset(clock.now_instant() + Duration::from_micros(200));
        sleep.await;
        let ahead = Duration::from_nanos(self.now_ns()).saturating_sub(clock.elapsed());
        if !ahead.is_zero() {
            clock.advance(ahead);
        }
    }

    /// A wait until `at_ns` for a task of the current life of `host`.
    pub fn sleep(self: &Arc<Self>, host: HostId, name: u64, at_ns: u64) -> Sleep {
        Sleep { world: Arc::clone(self), host, name, at_ns, armed: false }
    }

    /// The next life of a host begins.
    pub fn start(&self, host: HostId, node: madsim::task::NodeId) -> Life {
        let mut state = self.lock();
        let host = state.host_mut(host);
        assert!(host.power != Power::Up, "a host that runs is not started");
        host.node = Some(node);
        host.power = Power::Up;
        host.paused = false;
        host.life
    }

    /// A life of a host ends. The caller kills the madsim node right after.
    pub fn die(&self, host: HostId, how: Death) {
        let mut state = self.lock();
        let life = state.host(host).life;
        if state.host(host).power == Power::Up {
            state.abandon(host, life, how == Death::Killed);
        }
        let host = state.host_mut(host);
        host.power = if how == Death::Killed { Power::Idle } else { Power::Dark };
        host.life = Life(life.0 + 1);
        host.paused = false;
        host.deferred.clear();
    }

    /// The process of a host stands still; its kernel goes on.
    pub fn pause(&self, host: HostId) {
        self.lock().host_mut(host).paused = true;
    }

    /// It goes on: what would have woken it does so now, one after the other.
    pub fn resume(&self, id: HostId) {
        let mut state = self.lock();
        let host = state.host_mut(id);
        host.paused = false;
        let (now, deferred) = (state.now(), std::mem::take(&mut state.host_mut(id).deferred));
        let name = entity("resume", &[u64::from(id.0)]);
        for (life, waker) in deferred {
            state.agenda.add(now, name, Due::Wake(id, life, waker));
        }
    }

    /// How links behave that are not set on their own.
    pub fn set_links(&self, spec: LinkSpec) {
        self.lock().net.links.set_default(spec);
    }
    /// How one direction between two hosts behaves.
    pub fn set_link(&self, from: HostId, to: HostId, spec: LinkSpec) {
        self.lock().net.links.set(from, to, spec);
    }
    /// What `from` sends no longer reaches `to`. Cuts of one link add up.
    pub fn cut_link(&self, from: HostId, to: HostId) {
        self.lock().net.links.cut(from, to);
    }
    /// Takes one cut back.
    pub fn mend_link(&self, from: HostId, to: HostId) {
        self.lock().net.links.mend(from, to);
    }
    /// Follows frames on all connections from now on, so that filters can be added later; filters of responses only for those that
    /// these hosts give.
    pub fn watch_frames(&self, answering: impl IntoIterator<Item = HostId>) {
        let mut state = self.lock();
        state.net.filters.watching = true;
        state.net.filters.answering.extend(answering);
    }
    /// Adds a filter.
    pub fn add_filter(&self, filter: Filter) {
        self.lock().net.filters.add(filter);
    }
    /// Takes a filter away; how many frames it hit.
    pub fn remove_filter(&self, id: u64) -> u64 {
        let mut state = self.lock();
        state.net.filters.remove(id);
        state.net.filters.hits.get(&id).copied().unwrap_or_default()
    }
    /// How many frames a filter hit so far.
    pub fn filter_hits(&self, id: u64) -> u64 {
        self.lock().net.filters.hits.get(&id).copied().unwrap_or_default()
    }
    /// Segments delivered, resets sent, connections not over.
    pub fn net_counts(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (state.net.segments, state.net.resets, state.net.open_conns() as u64)
    }

    /// Filters that hit their first frame since this was asked last.
    pub fn fresh_hits(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().net.filters.fresh)
    }
    /// Which process of a host runs, or will run next.
    pub fn life(&self, host: HostId) -> Life {
        self.lock().host(host).life
    }

    /// Whether the process of a host stands still.
    pub fn is_paused(&self, host: HostId) -> bool {
        self.lock().host(host).paused
    }
    /// Whether a host has a running process.
    pub fn is_up(&self, host: HostId) -> bool {
        self.lock().host(host).power == Power::Up
    }
}

/// See [`World::sleep`].
#[derive(Debug)]
pub struct Sleep {
    world: Arc<World>,
    host: HostId,
    name: u64,
    at_ns: u64,
    armed: bool,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.world.lock();
        if state.now() >= this.at_ns {
            return Poll::Ready(());
        }
        if !this.armed {
            this.armed = true;
            let life = state.host(this.host).life;
            state.agenda.add(this.at_ns, this.name, Due::Wake(this.host, life, cx.waker().clone()));
        }
        Poll::Pending
    }
}

/// Runs a future in a fresh world on this thread. `seed` is the root of the world's draws; `executor` shuffles the order in
/// which madsim polls ready tasks, which must not matter.
pub fn run<F: Future>(seed: u64, executor: u64, body: impl FnOnce(Arc<World>) -> F) -> F::Output {
    let runtime = madsim::runtime::Runtime::with_seed_and_config(executor, madsim::Config::default());
    runtime.add_simulator::<World>();
    runtime.block_on(async { body(World::current(seed)).await })
}

#[cfg(test)]
mod tests;

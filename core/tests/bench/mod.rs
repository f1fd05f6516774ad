//! A small cluster of real machines on one thread: frames travel in a millisecond, disks answer in one, processes can die.
//!
//! Invariant: events happen in the order of their times, equal times in the order of their causes.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use seedmq_core::node::{ConnId, Cx, DialId, DiskDone, Input, Instant, Node, Now, Outbox, Output, Rng};
use seedmq_core::store::memdisk::MemDisk;
use seedmq_core::wire::Frame;

const HOP: Duration = Duration::from_millis(1);

/// An input without a command: what the network, the disk and the clock bring.
#[derive(Clone, Debug)]
pub enum Happening {
    Start,
    Stop,
    Opened { conn: ConnId, dial: Option<DialId> },
    DialFailed { dial: DialId },
    Closed { conn: ConnId },
    Frame { conn: ConnId, frame: Frame },
    Disk(DiskDone),
    Wake,
}

/// What a machine wants of the network.
pub enum Wish {
    Send { conn: ConnId, frame: Frame },
    Dial { dial: DialId, addr: String },
    Close { conn: ConnId },
    Stopped,
}

/// A machine of any role, as the network sees it.
pub trait Machine {
    fn happen(&mut self, what: Happening, now: Now) -> Vec<Wish>;
    fn settle(&mut self, now: Now) -> Vec<Wish>;
    fn answer_disk(&mut self) -> Option<DiskDone>;
    fn disk_waits(&self) -> usize;
    fn wake_at(&self) -> Option<Instant>;
    /// The process is killed and begins anew; its files stay.
    fn renew(&mut self);
    fn any(&mut self) -> &mut dyn Any;
}

/// A machine with its disk and what it told its owner.
pub struct Host<N: Node> {
    pub node: N,
    pub events: Vec<N::Event>,
    make: Box<dyn Fn() -> N>,
    disk: MemDisk,
    rng: Rng,
}

impl<N: Node> Host<N> {
    pub fn new(seed: u64, make: impl Fn() -> N + 'static) -> Host<N> {
        let (node, disk) = (make(), MemDisk::new());
        Host { node, events: Vec::new(), make: Box::new(make), disk, rng: Rng::from_seed(seed) }
    }

    fn step(&mut self, input: Input<N::Command>, now: Now) -> Vec<Wish> {
        let mut out = Outbox::default();
        let mut cx = Cx { now, disk: &mut self.disk, rng: &mut self.rng, out: &mut out };
        self.node.step(input, &mut cx);
        let mut wishes = Vec::new();
        for output in out.0 {
            match output {
                Output::Send { conn, frame } => wishes.push(Wish::Send { conn, frame }),
                Output::Dial { dial, addr } => wishes.push(Wish::Dial { dial, addr: addr.to_string() }),
                Output::Close { conn } => wishes.push(Wish::Close { conn }),
                Output::Disk(ask) => self.disk.ask([ask]),
                Output::Event(event) => self.events.push(event),
                Output::Stopped => wishes.push(Wish::Stopped),
            }
        }
        wishes
    }
}

impl<N: Node + 'static> Machine for Host<N>
where
    N::Event: 'static,
{
    fn happen(&mut self, what: Happening, now: Now) -> Vec<Wish> {
        let here = SocketAddr::from(([127, 0, 0, 1], 1));
        let input = match what {
            Happening::Start => Input::Start,
            Happening::Stop => Input::Stop,
            Happening::Opened { conn, dial } => Input::Opened { conn, dial, peer: here, local: here },
            Happening::DialFailed { dial } => Input::DialFailed { dial },
            Happening::Closed { conn } => Input::Closed { conn },
            Happening::Frame { conn, mut frame } => {
                // A decoded frame has one body.
                if !frame.rest.is_empty() {
                    let rest = std::mem::take(&mut frame.rest);
                    frame.body = [frame.body.clone()].into_iter().chain(rest).collect::<Vec<_>>().concat().into();
                }
                Input::Frame { conn, frame }
            }
            Happening::Disk(done) => Input::Disk(done),
            Happening::Wake => Input::Wake,
        };
        self.step(input, now)
    }
    fn settle(&mut self, now: Now) -> Vec<Wish> {
        let wishes = self.step(Input::Settle, now);
        self.node.invariants();
        wishes
    }
    fn answer_disk(&mut self) -> Option<DiskDone> {
        self.disk.answer(0)
    }
    fn disk_waits(&self) -> usize {
        self.disk.waiting()
    }
    fn wake_at(&self) -> Option<Instant> {
        self.node.wake_at()
    }
    fn renew(&mut self) {
        self.disk.kill();
        self.node = (self.make)();
    }
    fn any(&mut self) -> &mut dyn Any {
        self
    }
}

type End = (usize, ConnId);

struct Place {
    machine: Box<dyn Machine>,
    addr: String,
    up: bool,
    life: u32,
    /// Disk answers on their way.
    disk_due: usize,
}

/// See the module.
pub struct Cluster {
    places: Vec<Place>,
    queue: BTreeMap<(Instant, u64), (usize, u32, Happening)>,
    peers: BTreeMap<End, End>,
    next: u64,
    pub now: Now,
}

impl Cluster {
    pub fn new() -> Cluster {
        let now = Now { mono: Instant(1_000_000_000_000), wall_ms: 1_700_000_000_000 };
        Cluster { places: Vec::new(), queue: BTreeMap::new(), peers: BTreeMap::new(), next: 1, now }
    }

    /// Starts a machine at an address.
    pub fn add<N: Node + 'static>(&mut self, addr: &str, host: Host<N>) -> usize
    where
        N::Event: 'static,
    {
        self.places.push(Place { machine: Box::new(host), addr: addr.into(), up: true, life: 0, disk_due: 0 });
        let at = self.places.len() - 1;
        self.now_at(at, Happening::Start);
        at
    }

    pub fn host<N: Node + 'static>(&mut self, at: usize) -> &mut Host<N>
    where
        N::Event: 'static,
    {
        self.places[at].machine.any().downcast_mut().expect("the role of that place")
    }

    pub fn command<N: Node + 'static>(&mut self, at: usize, command: N::Command)
    where
        N::Event: 'static,
    {
        let now = self.now;
        let wishes = self.host::<N>(at).step(Input::Command(command), now);
        self.grant(at, wishes);
        self.settle(at);
    }

    pub fn stop(&mut self, at: usize) {
        self.now_at(at, Happening::Stop);
    }

    /// Kills a process: its connections close at the other ends.
    pub fn kill(&mut self, at: usize) {
        self.places[at].up = false;
        self.places[at].life += 1;
        self.places[at].disk_due = 0;
        let ends: Vec<End> = self.peers.keys().filter(|(place, _)| *place == at).copied().collect();
        for end in ends {
            self.close(end);
        }
    }

    /// Starts a killed process again, with its files.
    pub fn restart(&mut self, at: usize) {
        self.places[at].up = true;
        self.places[at].machine.renew();
        self.now_at(at, Happening::Start);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let up = self.places.iter().enumerate().filter(|(_, place)| place.up);
            let wake = up.filter_map(|(at, place)| Some((place.machine.wake_at()?, at))).min();
            match (event, wake) {
                (Some(event), wake) if event <= end && wake.is_none_or(|(at, _)| event <= at) => {
                    let ((at, _), (place, life, what)) = self.queue.pop_first().expect("it was just there");
                    self.set_time(at);
                    if self.places[place].life == life {
                        self.now_at(place, what);
                    }
                }
                (_, Some((at, place))) if at <= end => {
                    self.set_time(at.max(self.now.mono));
                    self.now_at(place, Happening::Wake);
                }
                _ => break,
            }
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Instant) {
        self.now.wall_ms += at.0 / 1_000_000 - self.now.mono.0 / 1_000_000;
        self.now.mono = at;
    }

    fn now_at(&mut self, at: usize, what: Happening) {
        if matches!(what, Happening::Disk(_)) {
            self.places[at].disk_due -= 1;
        }
        let wishes = self.places[at].machine.happen(what, self.now);
        self.grant(at, wishes);
        self.settle(at);
    }

    fn settle(&mut self, at: usize) {
        let wishes = self.places[at].machine.settle(self.now);
        self.grant(at, wishes);
        while let Some(done) = self.places[at].machine.answer_disk() {
            self.places[at].disk_due += 1;
            self.later(at, Happening::Disk(done));
        }
        assert_eq!(self.places[at].machine.disk_waits(), 0);
    }

    fn later(&mut self, place: usize, what: Happening) {
        let key = (self.now.mono + HOP, self.next);
        self.next += 1;
        self.queue.insert(key, (place, self.places[place].life, what));
    }

    fn grant(&mut self, from: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send { conn, frame } => {
                    if let Some((place, conn)) = self.peers.get(&(from, conn)).copied() {
                        self.later(place, Happening::Frame { conn, frame });
                    }
                }
                Wish::Dial { dial, addr } => self.dial(from, dial, &addr),
                Wish::Close { conn } => {
                    if self.peers.contains_key(&(from, conn)) {
                        self.close((from, conn));
                        self.later(from, Happening::Closed { conn });
                    }
                }
                Wish::Stopped => self.kill(from),
            }
        }
    }

    fn dial(&mut self, from: usize, dial: DialId, addr: &str) {
        let Some(to) = self.places.iter().position(|place| place.addr == addr && place.up) else {
            return self.later(from, Happening::DialFailed { dial });
        };
        let (here, there) = (ConnId(self.next), ConnId(self.next + 1));
        self.next += 2;
        self.peers.insert((from, here), (to, there));
        self.peers.insert((to, there), (from, here));
        self.later(to, Happening::Opened { conn: there, dial: None });
        self.later(from, Happening::Opened { conn: here, dial: Some(dial) });
    }

    /// One end is gone: the other hears of it.
    fn close(&mut self, end: End) {
        let Some(peer) = self.peers.remove(&end) else { return };
        self.peers.remove(&peer);
        self.later(peer.0, Happening::Closed { conn: peer.1 });
    }
}

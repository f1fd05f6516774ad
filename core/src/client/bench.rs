//! A bench for client machines: one node, a scripted cluster that answers at once, and a clock that is set by hand.
//!
//! Invariant: everything the node puts out is handled before the clock moves, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::node::{
    Addr, ConnId, Cx, Disk, DiskError, Entry, FileId, Input, Instant, Node, Now, Open, Outbox, Output, Read, Rng, Usage,
};
use crate::wire::{FLAG_RESPONSE, Frame};

/// What a server does with a request.
pub(crate) enum Answer {
    Reply(Frame),
    Silence,
    Close,
}

/// Answers by address and request.
pub(crate) type Script = Box<dyn FnMut(&str, &Frame) -> Answer>;

/// See the module.
pub(crate) struct Bench<N: Node> {
    pub node: N,
    pub now: Now,
    pub script: Script,
    pub events: Vec<N::Event>,
    /// Everything that was sent: address and frame.
    pub sent: Vec<(String, Frame)>,
    pub stopped: bool,
    /// Addresses that refuse connections.
    pub down: BTreeSet<String>,
    conns: BTreeMap<ConnId, Addr>,
    next_conn: u64,
    rng: Rng,
    out: Outbox<N::Event>,
    inputs: VecDeque<Input<N::Command>>,
}

pub(crate) fn reply(request: &Frame, code: i32) -> Frame {
    Frame::response(request, code)
}

impl<N: Node> Bench<N> {
    /// Starts the node at 1,000 s and a fixed wall time.
    pub fn new(node: N, script: impl FnMut(&str, &Frame) -> Answer + 'static) -> Bench<N> {
        let mut bench = Bench {
            node,
            now: Now { mono: Instant(1_000_000_000_000), wall_ms: 1_700_000_000_000 },
            script: Box::new(script),
            events: Vec::new(),
            sent: Vec::new(),
            stopped: false,
            down: BTreeSet::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            rng: Rng::from_seed(7),
            out: Outbox::default(),
            inputs: VecDeque::new(),
        };
        bench.step(Input::Start);
        bench
    }

    pub fn command(&mut self, command: N::Command) {
        self.step(Input::Command(command));
    }

    pub fn step(&mut self, input: Input<N::Command>) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            self.step_one(input);
        }
        self.node.invariants();
    }

    /// Lets time pass, with every wake-up on the way.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono + Duration::from_millis(ms);
        let mut rounds = 0;
        while let Some(at) = self.node.wake_at().filter(|at| *at <= end) {
            rounds += 1;
            assert!(rounds < 100_000, "the node wakes without end");
            self.set_time(at.max(self.now.mono));
            self.step(Input::Wake);
        }
        self.set_time(end);
    }

    /// Cuts every connection to an address.
    pub fn cut(&mut self, addr: &str) {
        let cut: Vec<ConnId> = self.conns.iter().filter(|(_, a)| &***a == addr).map(|(conn, _)| *conn).collect();
        for conn in cut {
            self.conns.remove(&conn);
            self.step(Input::Closed { conn });
        }
    }

    /// Cuts every connection to an address, which refuses new ones from now on.
    pub fn crash(&mut self, addr: &str) {
        self.down.insert(addr.into());
        self.cut(addr);
    }

    /// A frame from a server on every connection to it.
    pub fn push(&mut self, addr: &str, frame: &Frame) {
        let conns: Vec<ConnId> = self.conns.iter().filter(|(_, a)| &***a == addr).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.step(Input::Frame { conn, frame: frame.clone() });
        }
    }

    /// The requests with a code that were sent since they were last taken.
    pub fn taken(&mut self, code: i32) -> Vec<(String, Frame)> {
        let (taken, rest) = std::mem::take(&mut self.sent).into_iter().partition(|(_, frame)| frame.code == code);
        self.sent = rest;
        taken
    }

    pub fn events(&mut self) -> Vec<N::Event> {
        std::mem::take(&mut self.events)
    }

    fn set_time(&mut self, at: Instant) {
        let ms = |instant: Instant| instant.0 / 1_000_000;
        self.now.wall_ms += ms(at) - ms(self.now.mono);
        self.now.mono = at;
    }

    fn step_one(&mut self, input: Input<N::Command>) {
        let mut cx = Cx { now: self.now, disk: &mut NoDisk, rng: &mut self.rng, out: &mut self.out };
        self.node.step(input, &mut cx);
        for output in std::mem::take(&mut self.out.0) {
            self.on_output(output);
        }
    }

    fn on_output(&mut self, output: Output<N::Event>) {
        match output {
            Output::Event(event) => self.events.push(event),
            Output::Stopped => self.stopped = true,
            Output::Dial { dial, addr } if self.down.contains(&*addr) => {
                self.inputs.push_back(Input::DialFailed { dial });
            }
            Output::Dial { dial, addr } => {
                let conn = ConnId(self.next_conn);
                self.next_conn += 1;
                self.conns.insert(conn, addr);
                let here = SocketAddr::from(([127, 0, 0, 1], 1));
                self.inputs.push_back(Input::Opened { conn, dial: Some(dial), peer: here, local: here });
            }
            Output::Close { conn } => {
                if self.conns.remove(&conn).is_some() {
                    self.inputs.push_back(Input::Closed { conn });
                }
            }
            Output::Send { conn, frame } => self.on_send(conn, frame),
            Output::Disk(_) => panic!("a client has no disk"),
        }
    }

    fn on_send(&mut self, conn: ConnId, frame: Frame) {
        let Some(addr) = self.conns.get(&conn).cloned() else { return };
        self.sent.push((addr.to_string(), frame.clone()));
        match (self.script)(&addr, &frame) {
            Answer::Reply(_) if frame.is_oneway() => {}
            Answer::Reply(answer) => {
                let frame = Frame { opaque: frame.opaque, flag: FLAG_RESPONSE, ..answer };
                self.inputs.push_back(Input::Frame { conn, frame });
            }
            Answer::Silence => {}
            Answer::Close => {
                self.conns.remove(&conn);
                self.inputs.push_back(Input::Closed { conn });
            }
        }
    }
}

/// Client machines keep nothing.
struct NoDisk;

impl Disk for NoDisk {
    fn open(&mut self, _: &str, _: Open) -> Result<FileId, DiskError> {
        Err(DiskError::Missing)
    }
    fn close(&mut self, _: FileId) {}
    fn len(&mut self, _: FileId) -> Result<u64, DiskError> {
        Err(DiskError::Missing)
    }
    fn list(&mut self, _: &str) -> Result<Vec<Entry>, DiskError> {
        Err(DiskError::Missing)
    }
    fn write(&mut self, _: FileId, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    fn read(&mut self, _: FileId, _: u64, _: usize) -> Result<Read, DiskError> {
        Err(DiskError::Missing)
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    fn usage(&mut self) -> Usage {
        Usage::default()
    }
}

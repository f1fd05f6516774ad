//! A connection, and what reaches its ends.
//!
//! Invariant: every segment that is neither delivered, nor on the agenda to be delivered or sent again, was given up for a
//! reason that a real kernel has: the receiver answered with a reset, or the sender is no more.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

use super::filter::Tracker;
use super::pipe::{Payload, Pipe};
use super::{ConnSerial, LinkSpec, Listening, Net, Side};
use crate::world::{Dice, Due, HostId, Life, Power, State, entity};

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    pub host: HostId,
    pub life: Life,
    pub addr: SocketAddr,
    /// The process (or its kernel on its behalf) still cares.
    pub open: bool,
    /// It went without a word: nothing is sent again.
    vanished: bool,
    /// What a read or write answers from now on.
    pub broken: Option<io::ErrorKind>,
}

impl End {
    pub fn new(host: HostId, life: Life, addr: SocketAddr) -> End {
        End { host, life, addr, open: true, vanished: false, broken: None }
    }
}

/// See the module. `pipes[side]` carries what `ends[side]` writes.
#[derive(Debug)]
pub(crate) struct Conn {
    pub name: u64,
    pub ends: [End; 2],
    pub pipes: [Pipe; 2],
    pub trackers: [Tracker; 2],
    dice: Dice,
}

impl Conn {
    pub fn new(seed: u64, name: u64, ends: [End; 2], window: [u32; 2]) -> Conn {
        let pipe = |n: u64| Pipe::new(Dice::new(seed, entity("pipe", &[name, n])), window[n as usize] as usize);
        let dice = Dice::new(seed, entity("conn", &[name]));
        Conn { name, ends, pipes: [pipe(0), pipe(1)], trackers: Default::default(), dice }
    }
    fn entity(&self, side: Side) -> u64 {
        self.name.wrapping_mul(2).wrapping_add(side as u64)
    }
    fn joins(&self, a: HostId, b: HostId) -> bool {
        let (one, other) = (self.ends[0].host, self.ends[1].host);
        (one, other) == (a, b) || (one, other) == (b, a)
    }
    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.open) && self.pipes.iter().all(|pipe| pipe.flight.is_empty())
    }
}

/// What becomes of a segment that is due.
enum Fate {
    Lost,
    Reset,
    Delivered,
}

impl State {
    /// Carries out an entry of the agenda.
    pub fn perform(&mut self, due: Due) {
        match due {
            Due::Wake(host, life, waker) => self.wake(host, life, waker),
            Due::Arrive(conn, side) => self.arrive(conn, side),
            Due::Room(conn, side) => self.room(conn, side),
            Due::Release(conn, side) => self.release(conn, side),
            Due::Reset(conn, side) => self.break_end(conn, side, io::ErrorKind::ConnectionReset),
            Due::Syn(dial) => self.syn(dial),
            Due::SynAck(dial) => self.syn_ack(dial),
            Due::Owner(_) => unreachable!("the owner of the world takes its own entries"),
        }
    }

    fn link(&self, conn: ConnSerial, side: Side) -> Option<(LinkSpec, bool)> {
        let ends = &self.net.conns.get(&conn)?.ends;
        let (from, to) = (ends[side as usize].host, ends[side.other() as usize].host);
        Some((self.net.links.spec(from, to), self.net.links.is_cut(from, to)))
    }

    /// Sends a payload from `side` and makes sure that its arrival is on the agenda.
    pub fn send(&mut self, serial: ConnSerial, side: Side, payload: Payload) {
        let Some((link, _)) = self.link(serial, side) else { return };
        let mut now = self.now();
        let conn = self.net.conns.get_mut(&serial).expect("its link was just found");
        if let Payload::Data(bytes) = &payload {
            let (from, to) = (conn.ends[side as usize].host, conn.ends[side.other() as usize].host);
            now = self.net.links.carry(from, to, bytes.len(), now);
        }
        conn.pipes[side as usize].send(payload, now, &link);
        self.arm(serial, side);
    }

    fn arm(&mut self, serial: ConnSerial, side: Side) {
        let Some(conn) = self.net.conns.get_mut(&serial) else { return };
        if let Some(at) = conn.pipes[side as usize].arm() {
            let entity = conn.entity(side);
            self.agenda.add(at, entity, Due::Arrive(serial, side));
        }
    }

    fn fate(&self, serial: ConnSerial, side: Side) -> Option<Fate> {
        let conn = self.net.conns.get(&serial)?;
        let (from, to) = (&conn.ends[side as usize], &conn.ends[side.other() as usize]);
        let host = self.host(to.host);
        if self.net.links.is_cut(from.host, to.host) || host.power == Power::Dark {
            return Some(Fate::Lost);
        }
        let fin = matches!(conn.pipes[side as usize].flight.front()?.payload, Payload::Fin);
        let known = host.life == to.life && host.power == Power::Up && to.open && to.broken.is_none();
        if known || (fin && !to.vanished) {
            return Some(Fate::Delivered);
        }
        Some(if self.net.links.is_cut(to.host, from.host) { Fate::Lost } else { Fate::Reset })
    }

    fn arrive(&mut self, serial: ConnSerial, side: Side) {
        let Some(conn) = self.net.conns.get_mut(&serial) else { return };
        conn.pipes[side as usize].armed = false;
        match self.fate(serial, side) {
            None => {}
            Some(Fate::Delivered) => self.deliver(serial, side),
            Some(Fate::Lost) => self.lose(serial, side),
            Some(Fate::Reset) => {
                let conn = self.net.conns.get_mut(&serial).expect("its fate was just told");
                conn.pipes[side as usize].clear();
                self.send_reset(serial, side);
            }
        }
        self.arm(serial, side);
        self.bury(serial);
    }

    fn deliver(&mut self, serial: ConnSerial, side: Side) {
        let now = self.now();
        let conn = self.net.conns.get_mut(&serial).expect("its fate was just told");
        let pipe = &mut conn.pipes[side as usize];
        let mut opened = false;
        while let Some(payload) = pipe.take_due(now) {
            self.net.segments += 1;
            match payload {
                Payload::Open => opened = true,
                Payload::Data(bytes) => pipe.deliver(bytes),
                Payload::Fin => pipe.ended = true,
            }
        }
        let to = &conn.ends[side.other() as usize];
        let (host, life, addr) = (to.host, to.life, to.addr);
        if let Some(reader) = pipe.reader.take() {
            self.wake(host, life, reader);
        }
        if opened {
            self.accept_queue(serial, (host, life, addr));
        }
    }

    fn accept_queue(&mut self, serial: ConnSerial, (host, life, addr): (HostId, Life, SocketAddr)) {
        let listening = self.net.listeners.get_mut(&addr).filter(|l| (l.host, l.life) == (host, life));
        let Some(Listening { backlog, waker, .. }) = listening else {
            return self.close_end(serial, Side::Acceptor, true);
        };
        backlog.push_back(serial);
        if let Some(waker) = waker.take() {
            self.wake(host, life, waker);
        }
    }

    fn lose(&mut self, serial: ConnSerial, side: Side) {
        let now = self.now();
        let Some((link, _)) = self.link(serial, side) else { return };
        let conn = self.net.conns.get_mut(&serial).expect("its link was just found");
        let pipe = &mut conn.pipes[side as usize];
        if conn.ends[side as usize].vanished {
            pipe.clear();
        } else if !pipe.lose_head(now, &link) {
            self.break_end(serial, side, io::ErrorKind::TimedOut);
        }
    }

    /// The kernel at the far end answers what `side` sent with a reset.
    fn send_reset(&mut self, serial: ConnSerial, side: Side) {
        let Some((link, cut)) = self.link(serial, side.other()) else { return };
        if cut {
            return;
        }
        let now = self.now();
        let conn = self.net.conns.get_mut(&serial).expect("its link was just found");
        let behind = conn.pipes[side.other() as usize].flight.back().map_or(0, |last| last.arrives);
        let at = (now + link.latency(&mut conn.dice)).max(behind);
        let entity = conn.entity(side);
        self.net.resets += 1;
        self.agenda.add(at, entity, Due::Reset(serial, side));
    }

    /// This end learns that the connection is no more.
    fn break_end(&mut self, serial: ConnSerial, side: Side, why: io::ErrorKind) {
        let Some(conn) = self.net.conns.get_mut(&serial) else { return };
        let end = &mut conn.ends[side as usize];
        let (host, life) = (end.host, end.life);
        if end.open && end.broken.is_none() {
            end.broken = Some(why);
        }
        conn.pipes.iter_mut().for_each(Pipe::clear);
        let reader = conn.pipes[side.other() as usize].reader.take();
        let writer = conn.pipes[side as usize].writer.take();
        for waker in [reader, writer].into_iter().flatten() {
            self.wake(host, life, waker);
        }
        self.bury(serial);
    }

    fn room(&mut self, serial: ConnSerial, side: Side) {
        let Some((_, cut)) = self.link(serial, side.other()) else { return };
        let now = self.now();
        let conn = self.net.conns.get_mut(&serial).expect("its link was just found");
        let entity = conn.entity(side);
        if cut {
            // The writer probes the closed window from time to time.
            return self.agenda.add(now + 500_000_000, entity, Due::Room(serial, side));
        }
        let pipe = &mut conn.pipes[side as usize];
        pipe.starved = false;
        let (host, life) = (conn.ends[side as usize].host, conn.ends[side as usize].life);
        if let Some(writer) = pipe.writer.take() {
            self.wake(host, life, writer);
        }
    }

    /// After a read at `side`: a writer that waits is told that there is room.
    pub fn made_room(&mut self, serial: ConnSerial, side: Side) {
        let Some((link, _)) = self.link(serial, side) else { return };
        let now = self.now();
        let conn = self.net.conns.get_mut(&serial).expect("its link was just found");
        let writer = side.other();
        let pipe = &mut conn.pipes[writer as usize];
        if pipe.starved && pipe.writer.is_some() {
            pipe.starved = false;
            let at = now + link.latency(&mut conn.dice);
            let entity = conn.entity(writer);
            self.agenda.add(at, entity, Due::Room(serial, writer));
        }
    }

    /// The process at `side` is done with the connection, or its kernel closes it. Bytes that nobody read, or `abort`,
    /// turn the farewell into a reset.
    pub fn close_end(&mut self, serial: ConnSerial, side: Side, abort: bool) {
        let Some(conn) = self.net.conns.get_mut(&serial) else { return };
        let end = &mut conn.ends[side as usize];
        if !std::mem::replace(&mut end.open, false) {
            return;
        }
        let broken = end.broken.is_some();
        conn.pipes[side.other() as usize].deaf = true;
        let rude = abort || conn.pipes[side.other() as usize].unread() > 0;
        if !broken && rude {
            self.send_reset(serial, side.other());
        } else if !broken && !conn.pipes[side as usize].shut {
            self.send(serial, side, Payload::Fin);
        }
        self.bury(serial);
    }

    /// The connection is cut in both directions, as by a middle box: both ends are reset.
    pub fn sever(&mut self, serial: ConnSerial) {
        self.send_reset(serial, Side::Dialler);
        self.send_reset(serial, Side::Acceptor);
    }

    /// Every connection between two hosts is cut so; how many.
    pub fn sever_between(&mut self, a: HostId, b: HostId) -> usize {
        let between: Vec<ConnSerial> =
            self.net.conns.iter().filter(|(_, conn)| conn.joins(a, b)).map(|(s, _)| *s).collect();
        between.iter().for_each(|serial| self.sever(*serial));
        between.len()
    }

    /// What `from` writes to `to` ends on every connection between them, while the other direction stays open; how many. The process
    /// there does not know until it writes.
    pub fn half_close(&mut self, from: HostId, to: HostId) -> usize {
        let sides = [Side::Dialler, Side::Acceptor];
        let ends = self.net.conns.iter().flat_map(|(serial, conn)| sides.map(|side| (*serial, side, conn)));
        let found = ends.filter(|(_, side, conn)| {
            let (end, other) = (&conn.ends[*side as usize], &conn.ends[side.other() as usize]);
            let open = end.open && end.broken.is_none() && !conn.pipes[*side as usize].shut;
            open && (end.host, other.host) == (from, to)
        });
        let found: Vec<(ConnSerial, Side)> = found.map(|(serial, side, _)| (serial, side)).collect();
        for (serial, side) in &found {
            self.send(*serial, *side, Payload::Fin);
            let conn = self.net.conns.get_mut(serial).expect("it was just found");
            // A writer that waits for room learns of it.
            if let Some(writer) = conn.pipes[*side as usize].writer.take() {
                let (host, life) = (conn.ends[*side as usize].host, conn.ends[*side as usize].life);
                self.wake(host, life, writer);
            }
        }
        found.len()
    }

    /// The other ends of connections of a host that are closed although nothing has told it: what was said through a cut link, or was not
    /// said at all.
    pub fn deserted(&self, host: HostId) -> impl Iterator<Item = HostId> {
        let ends = self.net.conns.values().flat_map(|conn| [Side::Dialler, Side::Acceptor].map(|side| (conn, side)));
        ends.filter_map(move |(conn, side)| {
            let (end, other) = (&conn.ends[side as usize], &conn.ends[side.other() as usize]);
            let untold = end.open && end.broken.is_none() && !conn.pipes[side.other() as usize].ended;
            (end.host == host && untold && !other.open).then_some(other.host)
        })
    }

    /// A life of a host ended: its kernel closes its connections, or nothing more comes from it.
    pub fn abandon(&mut self, host: HostId, life: Life, kernel: bool) {
        self.net.listeners.retain(|_, l| (l.host, l.life) != (host, life));
        self.net.dials.retain(|_, dial| (dial.host, dial.life) != (host, life));
        for (serial, side) in self.net.ends_of(host, life) {
            if kernel {
                self.close_end(serial, side, false);
                continue;
            }
            let conn = self.net.conns.get_mut(&serial).expect("it was just listed");
            conn.ends[side as usize].open = false;
            conn.ends[side as usize].vanished = true;
            conn.pipes[side as usize].orphan();
            self.bury(serial);
        }
    }

    fn bury(&mut self, serial: ConnSerial) {
        if self.net.conns.get(&serial).is_some_and(Conn::is_over) {
            self.net.conns.remove(&serial);
        }
    }

    /// Bytes written by `side`, through the filters.
    pub fn write(&mut self, serial: ConnSerial, side: Side, bytes: Bytes) {
        let passed = if self.net.filters.watching { self.sift(serial, side, bytes) } else { bytes };
        if !passed.is_empty() {
            self.send(serial, side, Payload::Data(passed));
        }
    }
}

impl Net {
    pub fn conn(&mut self, serial: ConnSerial) -> Option<&mut Conn> {
        self.conns.get_mut(&serial)
    }
    pub fn add_conn(&mut self, conn: Conn) -> ConnSerial {
        self.next_conn += 1;
        let serial = ConnSerial(self.next_conn);
        self.conns.insert(serial, conn);
        serial
    }
    fn ends_of(&self, host: HostId, life: Life) -> Vec<(ConnSerial, Side)> {
        let sides = [Side::Dialler, Side::Acceptor];
        let all =
            self.conns.iter().flat_map(|(serial, conn)| sides.map(|side| (*serial, side, &conn.ends[side as usize])));
        all.filter(|(_, _, end)| (end.host, end.life) == (host, life)).map(|(serial, side, _)| (serial, side)).collect()
    }
    /// Connections that are not over.
    pub fn open_conns(&self) -> usize {
        self.conns.len()
    }
}

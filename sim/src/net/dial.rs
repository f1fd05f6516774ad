//! Connecting: a request, its repetition when it is lost, the answer, a time limit.
//!
//! Invariant: the one who dialled learns of success or refusal only by an answer that got through.

use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use super::conn::{Conn, End};
use super::pipe::Payload;
use super::{BACKLOG, ConnSerial, DialSerial, Side};
use crate::world::{Dice, Due, HostId, Life, Power, State, entity};

/// See the module.
#[derive(Debug)]
pub(crate) struct Dial {
    name: u64,
    pub host: HostId,
    pub life: Life,
    to: SocketAddr,
    dice: Dice,
    tries: u32,
    /// The answer that is on its way.
    answer: Option<Result<ConnSerial, io::ErrorKind>>,
    /// The answer that arrived.
    pub outcome: Option<Result<ConnSerial, io::ErrorKind>>,
    pub waker: Option<Waker>,
}

/// Requests are repeated after 1, 2, 4, … s; this many are sent in all (Linux `tcp_syn_retries` = 6).
const SYNS: u32 = 7;

impl State {
    /// Begins to connect.
    pub fn dial(&mut self, host: HostId, life: Life, to: SocketAddr) -> DialSerial {
        let nth = self.net.dialled.entry((host, to)).or_default();
        *nth += 1;
        let std::net::IpAddr::V4(ip) = to.ip() else { panic!("simulated hosts have IPv4 addresses") };
        let name = entity("dial", &[u64::from(host.0), u64::from(ip.to_bits()), u64::from(to.port()), *nth]);
        let dice = Dice::new(self.seed, name);
        self.net.next_dial += 1;
        let serial = DialSerial(self.net.next_dial);
        let dial = Dial { name, host, life, to, dice, tries: 0, answer: None, outcome: None, waker: None };
        self.net.dials.insert(serial, dial);
        self.send_syn(serial, 0);
        serial
    }

    fn send_syn(&mut self, serial: DialSerial, delay: u64) {
        let target = self.target(serial);
        let now = self.now();
        let dial = self.net.dials.get_mut(&serial).expect("only a dial that is there goes on");
        let link = self.net.links.spec(dial.host, target.unwrap_or(dial.host));
        let at = now + delay + link.latency(&mut dial.dice);
        self.agenda.add(at, dial.name, Due::Syn(serial));
    }

    fn target(&self, serial: DialSerial) -> Option<HostId> {
        let ip = self.net.dials.get(&serial)?.to.ip();
        let at = self.hosts.iter().position(|host| host.ip == ip)?;
        Some(HostId(at as u16))
    }

    pub(super) fn syn(&mut self, serial: DialSerial) {
        if !self.net.dials.contains_key(&serial) {
            return;
        }
        let Some(target) = self.target(serial) else { return self.syn_lost(serial) };
        let dial = &self.net.dials[&serial];
        let (from, to) = (dial.host, dial.to);
        let cut = self.net.links.is_cut(from, target) || self.net.links.is_cut(target, from);
        let (power, life) = (self.host(target).power, self.host(target).life);
        if cut || power == Power::Dark {
            return self.syn_lost(serial);
        }
        let listening = self.net.listeners.get(&to).filter(|l| (l.host, l.life) == (target, life));
        let answer = match listening {
            Some(l) if l.backlog.len() >= BACKLOG => return self.syn_lost(serial),
            Some(_) => Ok(self.establish(serial, target, life)),
            None => Err(io::ErrorKind::ConnectionRefused),
        };
        let back = self.net.links.spec(target, from);
        let now = self.now();
        let dial = self.net.dials.get_mut(&serial).expect("it was there a moment ago");
        dial.answer = Some(answer);
        let at = now + back.latency(&mut dial.dice);
        self.agenda.add(at, dial.name, Due::SynAck(serial));
    }

    fn establish(&mut self, serial: DialSerial, target: HostId, life: Life) -> ConnSerial {
        let dial = &self.net.dials[&serial];
        let (name, from, from_life, to) = (dial.name, dial.host, dial.life, dial.to);
        let local = SocketAddr::new(self.host(from).ip, self.host_mut(from).take_port());
        let (there, back) = (self.net.links.spec(from, target), self.net.links.spec(target, from));
        let ends = [End::new(from, from_life, local), End::new(target, life, to)];
        self.net.add_conn(Conn::new(self.seed, name, ends, [there.window_bytes, back.window_bytes]))
    }

    fn syn_lost(&mut self, serial: DialSerial) {
        let dial = self.net.dials.get_mut(&serial).expect("only a dial that is there goes on");
        dial.tries += 1;
        if dial.tries < SYNS {
            let delay = 1_000_000_000 << (dial.tries - 1);
            return self.send_syn(serial, delay);
        }
        self.conclude(serial, Err(io::ErrorKind::TimedOut));
    }

    pub(super) fn syn_ack(&mut self, serial: DialSerial) {
        let Some(dial) = self.net.dials.get_mut(&serial) else { return };
        let answer = dial.answer.take().expect("an answer was sent");
        self.conclude(serial, answer);
        if let Ok(conn) = answer {
            self.send(conn, Side::Dialler, Payload::Open);
        }
    }

    fn conclude(&mut self, serial: DialSerial, outcome: Result<ConnSerial, io::ErrorKind>) {
        let dial = self.net.dials.get_mut(&serial).expect("only a dial that is there ends");
        dial.outcome = Some(outcome);
        let (host, life, waker) = (dial.host, dial.life, dial.waker.take());
        if let Some(waker) = waker {
            self.wake(host, life, waker);
        }
    }

    /// The one who dialled no longer waits.
    pub fn hang_up(&mut self, serial: DialSerial) {
        let Some(dial) = self.net.dials.remove(&serial) else { return };
        if let Some(Ok(conn)) = dial.outcome.or(dial.answer) {
            self.close_end(conn, Side::Dialler, true);
        }
    }
}

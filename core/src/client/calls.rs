//! Outgoing requests of a machine: one connection an address, dialled on demand.
//!
//! Invariant: every call ends exactly once, as a response, or in the list that [`Calls::dial_failed`], [`Calls::closed`] or
//! [`Calls::expired`] returns; outcomes that fall together come in the order of the calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::node::{Addr, ConnId, DialId, Instant, Outbox, Output};
use crate::sometimes;
use crate::wire::{FLAG_ONEWAY, FLAG_RESPONSE, Frame};

/// How long a connection may take to open (Java `NettyClientConfig.connectTimeoutMillis`).
pub const DIAL_TIMEOUT: Duration = Duration::from_millis(3000);
/// Calls in flight, over all connections (Java `NettySystemConfig.CLIENT_ASYNC_SEMAPHORE_VALUE`).
pub const CALLS_MAX: usize = 65_535;
/// One-way requests that wait for one connection to open; more are dropped, as a one-way request may always be.
pub const ONEWAYS_WAITING_MAX: usize = 1024;
/// A call with less time than this never closes its connection (Java `NettyRemotingClient.MIN_CLOSE_TIMEOUT_MILLIS`).
const CLOSE_AFTER_MIN: Duration = Duration::from_millis(100);
const OPAQUES: u64 = 1 << 31;

/// Why a call has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CallError {
    /// No connection within [`DIAL_TIMEOUT`]. The request was not sent.
    #[error("connect failed")]
    Connect,
    /// [`CALLS_MAX`] calls are in flight. The request was not sent.
    #[error("too many requests in flight")]
    Busy,
    /// The connection closed first. The other end may have acted on the request.
    #[error("connection closed before the response")]
    Closed,
    /// The deadline passed. The other end may have acted on the request, or may yet, if it was sent.
    #[error("no response within the timeout")]
    Timeout {
        /// Whether the request was handed to an open connection.
        sent: bool,
    },
}

impl CallError {
    /// Whether the other end surely never saw the request.
    pub fn never_sent(self) -> bool {
        matches!(self, CallError::Connect | CallError::Busy | CallError::Timeout { sent: false })
    }
}

/// Position of a call among all calls of this machine; its opaque number is its remainder.
type Seq = u64;

#[derive(Debug)]
struct Call<T> {
    tag: T,
    deadline: Instant,
    sent_at: Instant,
    state: CallState,
}

#[derive(Debug)]
enum CallState {
    Queued { addr: Addr, frame: Box<Frame> },
    Sent { conn: ConnId },
}

#[derive(Debug)]
enum Queued {
    Call(Seq),
    Oneway(Box<Frame>),
}

#[derive(Debug)]
enum Link {
    Dialling { dial: DialId, until: Instant, queue: Vec<Queued> },
    Open { conn: ConnId },
}

#[derive(Debug)]
struct Opened {
    addr: Addr,
    /// The sequence that the next call had when a response last came: a call at or beyond it has heard nothing since.
    heard: Seq,
}

/// See the module.
#[derive(Debug)]
pub struct Calls<T> {
    links: BTreeMap<Addr, Link>,
    dials: BTreeMap<DialId, Addr>,
    /// Open connections, those that were asked to close included.
    conns: BTreeMap<ConnId, Opened>,
    calls: BTreeMap<Seq, Call<T>>,
    deadlines: BTreeSet<(Instant, Seq)>,
    failed: Vec<(T, CallError)>,
    next_seq: Seq,
    next_dial: u64,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Calls::new()
    }
}

impl<T> Calls<T> {
    /// No connection, no call.
    pub fn new() -> Self {
        Calls {
            links: BTreeMap::new(),
            dials: BTreeMap::new(),
            conns: BTreeMap::new(),
            calls: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            failed: Vec::new(),
            next_seq: 0,
            next_dial: 0,
        }
    }

    /// Sends a request, now or when the connection is open. `tag` comes back with its outcome, which is never reported by
    /// this very call: a call that cannot even be queued is in the next [`Calls::expired`].
    pub fn call<E>(&mut self, now: Instant, addr: &Addr, frame: Frame, deadline: Instant, tag: T, out: &mut Outbox<E>) {
        if self.calls.len() >= CALLS_MAX {
            self.failed.push((tag, CallError::Busy));
            return;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let frame = Frame { opaque: opaque_of(seq), flag: 0, ..frame };
        let state = match self.link(now, addr, out) {
            Link::Open { conn } => {
                let conn = *conn;
                out.send(conn, frame);
                CallState::Sent { conn }
            }
            Link::Dialling { queue, .. } => {
                queue.push(Queued::Call(seq));
                CallState::Queued { addr: addr.clone(), frame: Box::new(frame) }
            }
        };
        self.calls.insert(seq, Call { tag, deadline, sent_at: now, state });
        self.deadlines.insert((deadline, seq));
    }

    /// Sends a request that nobody answers; it is lost silently if there is no connection in time.
    pub fn oneway<E>(&mut self, now: Instant, addr: &Addr, frame: Frame, out: &mut Outbox<E>) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let frame = Frame { opaque: opaque_of(seq), flag: FLAG_ONEWAY, ..frame };
        match self.link(now, addr, out) {
            Link::Open { conn } => out.send(*conn, frame),
            Link::Dialling { queue, .. } if queue.len() < ONEWAYS_WAITING_MAX => {
                queue.push(Queued::Oneway(Box::new(frame)));
            }
            Link::Dialling { .. } => {}
        }
    }

    /// Takes [`crate::node::Input::Opened`] of a dialled connection; false when the dial is not of these calls. A connection
    /// that opens after its time is closed again.
    pub fn opened<E>(&mut self, now: Instant, conn: ConnId, dial: DialId, out: &mut Outbox<E>) -> bool {
        if dial.0 >= self.next_dial {
            return false;
        }
        let Some(addr) = self.dials.remove(&dial) else {
            sometimes!("connection opened after its dial timed out");
            out.close(conn);
            return true;
        };
        let link = self.links.insert(addr.clone(), Link::Open { conn });
        let Some(Link::Dialling { queue, .. }) = link else {
            unreachable!("a dial in the table belongs to a link that is dialling");
        };
        self.conns.insert(conn, Opened { addr, heard: 0 });
        for queued in queue {
            match queued {
                Queued::Oneway(frame) => out.send(conn, *frame),
                Queued::Call(seq) => self.send_queued(now, seq, conn, out),
            }
        }
        true
    }

    /// Takes [`crate::node::Input::DialFailed`]; the calls that waited for the connection, none when it is not ours.
    pub fn dial_failed(&mut self, dial: DialId) -> Vec<(T, CallError)> {
        let Some(addr) = self.dials.remove(&dial) else { return Vec::new() };
        self.give_up_dial(&addr)
    }

    /// Takes [`crate::node::Input::Closed`]; the calls that were in flight on it, none when it is not ours.
    pub fn closed(&mut self, conn: ConnId) -> Vec<(T, CallError)> {
        let Some(opened) = self.conns.remove(&conn) else { return Vec::new() };
        if matches!(self.links.get(&opened.addr), Some(Link::Open { conn: c }) if *c == conn) {
            self.links.remove(&opened.addr);
        }
        let on_it = |call: &Call<T>| matches!(call.state, CallState::Sent { conn: c } if c == conn);
        let seqs: Vec<Seq> = self.calls.iter().filter(|(_, call)| on_it(call)).map(|(seq, _)| *seq).collect();
        seqs.into_iter().map(|seq| (self.forget(seq).tag, CallError::Closed)).collect()
    }

    /// The tag of the call that a response answers; nothing when it comes too late or is nobody's.
    pub fn response(&mut self, conn: ConnId, frame: &Frame) -> Option<T> {
        if frame.flag & FLAG_RESPONSE == 0 {
            return None;
        }
        let opened = self.conns.get_mut(&conn)?;
        opened.heard = self.next_seq;
        let seq = seq_of(self.next_seq, frame.opaque)?;
        match self.calls.get(&seq) {
            Some(Call { state: CallState::Sent { conn: c }, .. }) if *c == conn => Some(self.forget(seq).tag),
            _ => {
                sometimes!("response came after the timeout");
                None
            }
        }
    }

    /// The calls whose time is over. A connection on which nothing came since such a call was sent is taken for dead and
    /// closed (Java `clientCloseSocketIfTimeout`, which closes even a connection that answers other calls).
    pub fn expired<E>(&mut self, now: Instant, out: &mut Outbox<E>) -> Vec<(T, CallError)> {
        let mut ended = std::mem::take(&mut self.failed);
        for dial in self.dials_over(now) {
            ended.extend(self.dial_failed(dial));
        }
        let mut unsent = BTreeSet::new();
        while let Some(&(deadline, seq)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let call = self.forget(seq);
            let sent = match call.state {
                CallState::Queued { addr, .. } => {
                    unsent.insert(addr);
                    false
                }
                CallState::Sent { conn } => {
                    self.close_if_dead(conn, seq, deadline.since(call.sent_at), out);
                    true
                }
            };
            ended.push((call.tag, CallError::Timeout { sent }));
        }
        for addr in unsent {
            self.unqueue(&addr);
        }
        ended
    }

    /// When [`Calls::expired`] has something to say.
    pub fn wake_at(&self) -> Option<Instant> {
        if !self.failed.is_empty() {
            return Some(Instant(0));
        }
        let dial = self.dials.values().map(|addr| self.dial_until(addr)).min();
        let call = self.deadlines.first().map(|(deadline, _)| *deadline);
        dial.into_iter().chain(call).min()
    }

    /// The open connection to an address.
    pub fn conn_of(&self, addr: &Addr) -> Option<ConnId> {
        match self.links.get(addr) {
            Some(Link::Open { conn }) => Some(*conn),
            _ => None,
        }
    }

    /// Where a connection of ours leads, until it is closed.
    pub fn addr_of(&self, conn: ConnId) -> Option<&Addr> {
        self.conns.get(&conn).map(|opened| &opened.addr)
    }

    /// Gives up the connection to an address: what is in flight on it ends with [`Calls::closed`], what waits for it is in the
    /// next [`Calls::expired`], and the next call dials anew.
    pub fn close<E>(&mut self, addr: &Addr, out: &mut Outbox<E>) {
        match self.links.get(addr) {
            Some(Link::Open { conn }) => {
                out.close(*conn);
                self.links.remove(addr);
            }
            Some(Link::Dialling { dial, .. }) => {
                self.dials.remove(&dial.clone());
                let waiting = self.give_up_dial(addr);
                self.failed.extend(waiting);
            }
            None => {}
        }
    }

    /// Gives up every connection, as [`Calls::close`] does.
    pub fn close_all<E>(&mut self, out: &mut Outbox<E>) {
        let addrs: Vec<Addr> = self.links.keys().cloned().collect();
        for addr in addrs {
            self.close(&addr, out);
        }
    }

    /// The addresses with a connection, open or being dialled.
    pub fn addrs(&self) -> impl Iterator<Item = &Addr> {
        self.links.keys()
    }

    /// How many calls have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.calls.len() + self.failed.len()
    }

    /// Panics when the tables contradict each other.
    pub fn invariants(&self) {
        assert_eq!(self.calls.len(), self.deadlines.len(), "every call has one deadline");
        assert!(self.calls.len() <= CALLS_MAX, "calls are bounded");
        let dialling = self.links.values().filter(|link| matches!(link, Link::Dialling { .. })).count();
        assert_eq!(dialling, self.dials.len(), "every dial belongs to one link");
        for call in self.calls.values() {
            match &call.state {
                CallState::Queued { addr, .. } => {
                    assert!(
                        matches!(self.links.get(addr), Some(Link::Dialling { .. })),
                        "a queued call waits for a dial"
                    );
                }
                CallState::Sent { conn } => assert!(self.conns.contains_key(conn), "a sent call is on a connection"),
            }
        }
    }

    fn link<E>(&mut self, now: Instant, addr: &Addr, out: &mut Outbox<E>) -> &mut Link {
        if !self.links.contains_key(addr) {
            let dial = DialId(self.next_dial);
            self.next_dial += 1;
            self.dials.insert(dial, addr.clone());
            out.0.push(Output::Dial { dial, addr: addr.clone() });
            let link = Link::Dialling { dial, until: now + DIAL_TIMEOUT, queue: Vec::new() };
            self.links.insert(addr.clone(), link);
        }
        self.links.get_mut(addr).expect("the link was just made")
    }

    fn send_queued<E>(&mut self, now: Instant, seq: Seq, conn: ConnId, out: &mut Outbox<E>) {
        let call = self.calls.get_mut(&seq).expect("a queued call has no outcome yet");
        call.sent_at = now;
        match std::mem::replace(&mut call.state, CallState::Sent { conn }) {
            CallState::Queued { frame, .. } => out.send(conn, *frame),
            CallState::Sent { .. } => unreachable!("a call is sent once"),
        }
    }

    fn forget(&mut self, seq: Seq) -> Call<T> {
        let call = self.calls.remove(&seq).expect("a call ends once");
        self.deadlines.remove(&(call.deadline, seq));
        call
    }

    /// Takes the calls that have ended out of the queue of a connection.
    fn unqueue(&mut self, addr: &Addr) {
        let Calls { links, calls, .. } = self;
        if let Some(Link::Dialling { queue, .. }) = links.get_mut(addr) {
            queue.retain(|queued| match queued {
                Queued::Call(seq) => calls.contains_key(seq),
                Queued::Oneway(_) => true,
            });
        }
    }

    fn give_up_dial(&mut self, addr: &Addr) -> Vec<(T, CallError)> {
        let Some(Link::Dialling { queue, .. }) = self.links.remove(addr) else {
            unreachable!("a dial in the table belongs to a link that is dialling");
        };
        let seqs = queue.into_iter().filter_map(|queued| match queued {
            Queued::Call(seq) => Some(seq),
            Queued::Oneway(_) => None,
        });
        seqs.map(|seq| (self.forget(seq).tag, CallError::Connect)).collect()
    }

    fn dial_until(&self, addr: &Addr) -> Instant {
        match self.links.get(addr) {
            Some(Link::Dialling { until, .. }) => *until,
            _ => unreachable!("a dial in the table belongs to a link that is dialling"),
        }
    }

    fn dials_over(&self, now: Instant) -> Vec<DialId> {
        self.dials.iter().filter(|(_, addr)| self.dial_until(addr) <= now).map(|(dial, _)| *dial).collect()
    }

    fn close_if_dead<E>(&mut self, conn: ConnId, seq: Seq, had: Duration, out: &mut Outbox<E>) {
        let opened = self.conns.get(&conn).expect("a sent call is on a connection");
        let current = matches!(self.links.get(&opened.addr), Some(Link::Open { conn: c }) if *c == conn);
        if current && opened.heard <= seq && had > CLOSE_AFTER_MIN {
            sometimes!("silent connection closed after a timeout");
            self.links.remove(&opened.addr);
            out.close(conn);
        }
    }
}

fn opaque_of(seq: Seq) -> i32 {
    i32::try_from(seq % OPAQUES).expect("a remainder by 2^31 fits")
}

/// The last sequence before `next` that has this opaque number.
fn seq_of(next: Seq, opaque: i32) -> Option<Seq> {
    let opaque = u64::try_from(opaque).ok()?;
    let last = next.checked_sub(1)?;
    let back = (last % OPAQUES + OPAQUES - opaque) % OPAQUES;
    last.checked_sub(back)
}

#[cfg(test)]
mod tests;

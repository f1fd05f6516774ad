//! One direction of a connection: what is in flight, what has arrived, how much room is left.
//!
//! Invariant: bytes come out in the order in which they went in, a FIN behind them; `flight + inbox` never holds more than
//! the window.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use super::LinkSpec;
use crate::world::Dice;

/// What one segment carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The third step of the handshake: the acceptor learns of the connection.
    Open,
    /// Bytes.
    Data(Bytes),
    /// No more bytes will come.
    Fin,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub payload: Payload,
    /// When it reaches the other end, ns; never before the segment ahead of it.
    pub arrives: u64,
    /// How often it was lost because the link was cut or the host dark.
    pub tries: u32,
}

/// First retransmission after 200 ms, then doubling to at most 30 s (Linux: 120 s; less keeps runs short).
pub(crate) fn retransmission_ns(tries: u32) -> u64 {
    (200_000_000_u64 << tries.min(8)).min(30_000_000_000)
}

/// A sender gives up after this many retransmissions of one segment (Linux `tcp_retries2`).
pub(crate) const RETRIES_MAX: u32 = 15;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pipe {
    dice: Dice,
    pub flight: VecDeque<Segment>,
    flight_bytes: usize,
    pub inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    window: usize,
    /// The FIN was sent.
    pub shut: bool,
    /// The FIN arrived.
    pub ended: bool,
    /// Nobody will read any more.
    pub deaf: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    /// An arrival is on the agenda.
    pub armed: bool,
    /// The writer was told that there is no room.
    pub starved: bool,
}

impl Pipe {
    pub fn new(dice: Dice, window: usize) -> Pipe {
        Pipe {
            dice,
            flight: VecDeque::new(),
            flight_bytes: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            window,
            shut: false,
            ended: false,
            deaf: false,
            reader: None,
            writer: None,
            armed: false,
            starved: false,
        }
    }

    /// How many bytes the writer may add now.
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.flight_bytes + self.inbox_bytes)
    }

    /// Bytes that arrived and were not read.
    pub fn unread(&self) -> usize {
        self.inbox_bytes
    }

    /// Sends a payload at `now`; data may be cut into several segments.
    pub fn send(&mut self, payload: Payload, now: u64, link: &LinkSpec) {
        let Payload::Data(mut bytes) = payload else {
            self.shut |= payload == Payload::Fin;
            return self.put(payload, now, link);
        };
        self.flight_bytes += bytes.len();
        for _ in 0..3 {
            if bytes.len() < 2 || !self.dice.chance(link.cut_ppm) {
                break;
            }
            let at = 1 + self.dice.below(bytes.len() as u64 - 1) as usize;
            self.put(Payload::Data(bytes.split_to(at)), now, link);
        }
        self.put(Payload::Data(bytes), now, link);
    }

    fn put(&mut self, payload: Payload, now: u64, link: &LinkSpec) {
        let mut latency = link.latency(&mut self.dice);
        let mut lost = 0;
        while lost < 6 && self.dice.chance(link.loss_ppm) {
            latency += retransmission_ns(lost);
            lost += 1;
        }
        let after = self.flight.back().map_or(0, |last| last.arrives);
        self.flight.push_back(Segment { payload, arrives: (now + latency).max(after), tries: 0 });
    }

    /// When the next arrival is due, if the agenda does not know yet.
    pub fn arm(&mut self) -> Option<u64> {
        if self.armed {
            return None;
        }
        let at = self.flight.front()?.arrives;
        self.armed = true;
        Some(at)
    }

    /// The head was lost on its way: it is sent again later, and what is behind it waits. False when the sender gives up.
    pub fn lose_head(&mut self, now: u64, link: &LinkSpec) -> bool {
        let latency = link.latency(&mut self.dice);
        let Some(head) = self.flight.front_mut() else { return true };
        head.arrives = now + retransmission_ns(head.tries) + latency;
        head.tries += 1;
        let (arrives, tries) = (head.arrives, head.tries);
        self.flight.iter_mut().for_each(|segment| segment.arrives = segment.arrives.max(arrives));
        tries <= RETRIES_MAX
    }

    /// Takes the head if it is due.
    pub fn take_due(&mut self, now: u64) -> Option<Payload> {
        if self.flight.front()?.arrives > now {
            return None;
        }
        let payload = self.flight.pop_front()?.payload;
        if let Payload::Data(bytes) = &payload {
            self.flight_bytes -= bytes.len();
        }
        Some(payload)
    }

    /// Puts arrived bytes where the reader finds them.
    pub fn deliver(&mut self, bytes: Bytes) {
        self.inbox_bytes += bytes.len();
        self.inbox.push_back(bytes);
    }

    /// Reads into `into`; how many bytes were there.
    pub fn read(&mut self, into: &mut tokio::io::ReadBuf<'_>) -> usize {
        let mut total = 0;
        while into.remaining() > 0 {
            let Some(front) = self.inbox.front_mut() else { break };
            let part = front.split_to(front.len().min(into.remaining()));
            into.put_slice(&part);
            total += part.len();
            if front.is_empty() {
                self.inbox.pop_front();
            }
        }
        self.inbox_bytes -= total;
        total
    }

    /// The sender died without a word: what still needs it is lost.
    pub fn orphan(&mut self) {
        while self.flight.back().is_some_and(|segment| segment.tries > 0) {
            self.flight.pop_back();
        }
    }

    /// The connection is gone: nothing in flight arrives any more.
    pub fn clear(&mut self) {
        self.flight.clear();
        self.flight_bytes = 0;
    }
}

//! The simulated network: byte streams between hosts.
//!
//! Invariant: a process learns of the death of a peer only through something that arrived: a FIN or RST that got through,
//! never because the simulator knows. A connection belongs to one life of each of its two hosts.

mod conn;
mod dial;
mod filter;
mod link;
mod pipe;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::task::Waker;

pub use filter::{Filter, FilterEffect};
pub use link::LinkSpec;
pub use stream::{Halves, SimListener, SimNet, SimReader, SimWriter};

use crate::world::{HostId, Life};
use conn::Conn;
use dial::Dial;
use link::Links;

/// A connection, numbered in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnSerial(pub u64);

/// An attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DialSerial(pub u64);

/// An end of a connection: the one who dialled, or the one who accepted. As a pipe: the one that this end writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Dialler = 0,
    Acceptor = 1,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Dialler => Side::Acceptor,
            Side::Acceptor => Side::Dialler,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Listening {
    host: HostId,
    life: Life,
    backlog: VecDeque<ConnSerial>,
    waker: Option<Waker>,
}

/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// All of the network.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub links: Links,
    pub filters: filter::Filters,
    conns: BTreeMap<ConnSerial, Conn>,
    dials: BTreeMap<DialSerial, Dial>,
    listeners: BTreeMap<SocketAddr, Listening>,
    next_conn: u64,
    next_dial: u64,
    /// How often a host dialled an address: names the attempt.
    dialled: BTreeMap<(HostId, SocketAddr), u64>,
    /// Segments delivered and resets sent, for the counters of a run.
    pub segments: u64,
    pub resets: u64,
}

//! One simulated machine: power, process, clock.
//!
//! Invariant: `life` grows with every death, so that nothing of an earlier process can act in the name of a later one.

use std::net::IpAddr;
use std::task::Waker;

use madsim::task::NodeId;

use super::Life;

/// What answers at the address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// A process.
    Up,
    /// Only the kernel: connections are refused or reset.
    Idle,
    /// Nothing.
    Dark,
}

/// Wall clocks begin here: 2026-01-01T00:00:00Z, ms.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Host {
    pub ip: IpAddr,
    pub node: Option<NodeId>,
    pub power: Power,
    pub life: Life,
    pub paused: bool,
    /// Wakers that came while the host was paused.
    pub deferred: Vec<(Life, Waker)>,
    pub wall_offset_ms: i64,
    pub wall_drift_ppm: i64,
    /// The next free local port for outgoing connections.
    pub next_port: u16,
}

impl Host {
    pub fn new(ip: IpAddr) -> Host {
        Host {
            ip,
            node: None,
            power: Power::Idle,
            life: Life(0),
            paused: false,
            deferred: Vec::new(),
            wall_offset_ms: 0,
            wall_drift_ppm: 0,
            next_port: 32_768,
        }
    }
    /// The wall clock at virtual time `now` (ns), ms since 1970.
    pub fn wall_ms(&self, now: u64) -> u64 {
        let elapsed = (now / 1_000_000) as i64;
        let drift = elapsed * self.wall_drift_ppm / 1_000_000;
        u64::try_from(WALL_START_MS + elapsed + drift + self.wall_offset_ms).expect("clocks stay behind 1970")
    }
    /// A local port for an outgoing connection.
    pub fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == 60_999 { 32_768 } else { port + 1 };
        port
    }
}

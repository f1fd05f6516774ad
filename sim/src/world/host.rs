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
    wall_drift_ppm: i64,
    /// Since when it drifts so, ns.
    drifts_since: u64,
    /// Mean of what each batch of its process takes in addition, ns.
    pub extra_ns: u64,
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
            drifts_since: 0,
            extra_ns: 0,
            next_port: 32_768,
        }
    }
    /// The wall clock at virtual time `now` (ns), ms since 1970.
    pub fn wall_ms(&self, now: u64) -> u64 {
        let elapsed = (now / 1_000_000) as i64;
        let all = WALL_START_MS + elapsed + self.drifted_ms(now) + self.wall_offset_ms;
        u64::try_from(all).expect("clocks stay behind 1970")
    }
    fn drifted_ms(&self, now: u64) -> i64 {
        ((now - self.drifts_since) / 1_000_000) as i64 * self.wall_drift_ppm / 1_000_000
    }
    /// At `now` the wall clock jumps, and from there on to the next multiple of `tick_ms`.
    pub fn step(&mut self, now: u64, by_ms: i64, tick_ms: Option<u64>) {
        self.wall_offset_ms += by_ms;
        let wall_ms = self.wall_ms(now);
        let rest = tick_ms.map_or(0, |tick_ms| wall_ms.next_multiple_of(tick_ms) - wall_ms);
        self.wall_offset_ms += i64::try_from(rest).expect("the tape bounds ticks");
    }
    /// From `now` on the wall clock runs so much faster; it does not jump.
    pub fn drift(&mut self, now: u64, ppm: i64) {
        self.wall_offset_ms += self.drifted_ms(now);
        (self.drifts_since, self.wall_drift_ppm) = (now, ppm);
    }
    /// A local port for an outgoing connection.
    pub fn take_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == 60_999 { 32_768 } else { port + 1 };
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_to_a_tick_stands_on_it() {
        const HOUR_MS: u64 = 3_600_000;
        let mut host = Host::new(IpAddr::from([10, 0, 0, 1]));
        let now = 12_345_000_000;
        host.step(now, 1, Some(HOUR_MS));
        assert_eq!(host.wall_ms(now), WALL_START_MS as u64 + HOUR_MS, "the next hour after 12.346 s");
        host.step(now, -1, Some(HOUR_MS));
        assert_eq!(host.wall_ms(now), WALL_START_MS as u64 + HOUR_MS, "a step back, and forward to the same hour");
        host.step(now, 0, Some(HOUR_MS));
        assert_eq!(host.wall_ms(now), WALL_START_MS as u64 + HOUR_MS, "it stands on a tick");
        host.step(now, -7, None);
        assert_eq!(host.wall_ms(now), WALL_START_MS as u64 + HOUR_MS - 7);
    }
}

//! What lies between two hosts: latency, loss, partitions.
//!
//! Invariant: a link is cut as long as at least one cause cuts it, so that overlapping partitions heal one by one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::world::{Dice, HostId};

/// How one direction between two hosts behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// Least latency, microseconds.
    pub latency_us: u32,
    /// Mean of the exponential part of the latency, microseconds.
    pub jitter_us: u32,
    /// Segments that take long, in a million.
    pub slow_ppm: u32,
    /// How much longer, microseconds.
    pub slow_us: u32,
    /// Segments lost (and sent again), in a million.
    pub loss_ppm: u32,
    /// Writes cut into more than one segment, in a million.
    pub cut_ppm: u32,
    /// Bytes that may be unread by the other end before a writer waits.
    pub window_bytes: u32,
    /// What passes in a second, whatever connection it belongs to; no limit when absent.
    pub bytes_per_s: Option<u64>,
}

impl Default for LinkSpec {
    fn default() -> Self {
        LinkSpec {
            latency_us: 150,
            jitter_us: 60,
            slow_ppm: 0,
            slow_us: 0,
            loss_ppm: 100,
            cut_ppm: 20_000,
            window_bytes: 256 << 10,
            bytes_per_s: None,
        }
    }
}

impl LinkSpec {
    /// The latency of one segment, ns.
    pub(crate) fn latency(&self, dice: &mut Dice) -> u64 {
        let usual = u64::from(self.latency_us) * 1000 + dice.tail(u64::from(self.jitter_us) * 1000);
        usual + if dice.chance(self.slow_ppm) { u64::from(self.slow_us) * 1000 } else { 0 }
    }
}

/// A direction that carries only so many bytes a second, whatever connection they belong to.
#[derive(Debug, Default)]
struct Thin {
    /// Every limit that is on beside that of the link itself; the lowest counts.
    bytes_per_s: Vec<u64>,
    /// When the last byte that was handed over will have left, ns.
    busy_ns: u64,
}

/// Every direction between every two hosts.
#[derive(Debug, Default)]
pub(crate) struct Links {
    default: LinkSpec,
    hosts: usize,
    table: Vec<(LinkSpec, u32)>,
    thin: BTreeMap<(HostId, HostId), Thin>,
}

impl Links {
    /// Makes room for one more host.
    pub fn grow(&mut self) {
        let old = std::mem::take(&mut self.table);
        let was = self.hosts;
        self.hosts += 1;
        self.table = vec![(self.default, 0); self.hosts * self.hosts];
        for (i, value) in old.into_iter().enumerate() {
            self.table[(i / was) * self.hosts + i % was] = value;
        }
    }
    fn index(&self, from: HostId, to: HostId) -> usize {
        usize::from(from.0) * self.hosts + usize::from(to.0)
    }
    /// The behaviour of links that are not named.
    pub fn set_default(&mut self, spec: LinkSpec) {
        self.default = spec;
        self.table.iter_mut().for_each(|(link, _)| *link = spec);
    }
    pub fn set(&mut self, from: HostId, to: HostId, spec: LinkSpec) {
        let at = self.index(from, to);
        self.table[at].0 = spec;
    }
    /// Segments take so much longer; negative takes it back.
    pub fn slow_down(&mut self, from: HostId, to: HostId, by_us: i64) {
        let at = self.index(from, to);
        let latency = i64::from(self.table[at].0.latency_us) + by_us;
        self.table[at].0.latency_us = u32::try_from(latency).expect("what is taken back was added before");
    }
    /// Only so many bytes a second pass from now on.
    pub fn thin(&mut self, from: HostId, to: HostId, bytes_per_s: u64) {
        self.thin.entry((from, to)).or_default().bytes_per_s.push(bytes_per_s);
    }
    /// Such a limit is over. What was handed over before still waits for its turn.
    pub fn thicken(&mut self, from: HostId, to: HostId, bytes_per_s: u64) {
        let limits = &mut self.thin.entry((from, to)).or_default().bytes_per_s;
        let at = limits.iter().position(|limit| *limit == bytes_per_s).expect("what is taken back was there before");
        limits.remove(at);
    }
    /// When bytes that are handed over now have left the host.
    pub fn carry(&mut self, from: HostId, to: HostId, bytes: usize, now: u64) -> u64 {
        let always = self.spec(from, to).bytes_per_s;
        let faults = self.thin.get(&(from, to)).into_iter().flat_map(|thin| &thin.bytes_per_s);
        let Some(limit) = faults.copied().chain(always).min() else { return now };
        let thin = self.thin.entry((from, to)).or_default();
        thin.busy_ns = thin.busy_ns.max(now) + bytes as u64 * 1_000_000_000 / limit.max(1);
        thin.busy_ns
    }
    pub fn spec(&self, from: HostId, to: HostId) -> LinkSpec {
        self.table[self.index(from, to)].0
    }
    pub fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.table[self.index(from, to)].1 > 0
    }
    pub fn cut(&mut self, from: HostId, to: HostId) {
        let at = self.index(from, to);
        self.table[at].1 += 1;
    }
    pub fn mend(&mut self, from: HostId, to: HostId) {
        let at = self.index(from, to);
        self.table[at].1 = self.table[at].1.checked_sub(1).expect("only a link that was cut is mended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thin_link_carries_one_byte_after_the_other() {
        let mut links = Links::default();
        (0..2).for_each(|_| links.grow());
        let (a, b) = (HostId(0), HostId(1));
        assert_eq!(links.carry(a, b, 1_000, 5), 5);
        links.thin(a, b, 1_000);
        links.thin(a, b, 500);
        assert_eq!(links.carry(a, b, 500, 0), 1_000_000_000);
        assert_eq!(links.carry(a, b, 500, 0), 2_000_000_000, "it waits for what is ahead of it");
        assert_eq!(links.carry(b, a, 500, 7), 7, "the other direction is free");
        links.thicken(a, b, 500);
        assert_eq!(links.carry(a, b, 1_000, 9_000_000_000), 10_000_000_000);
        links.thicken(a, b, 1_000);
        assert_eq!(links.carry(a, b, 1_000, 3), 3);
        links.set_default(LinkSpec { bytes_per_s: Some(2_000), ..LinkSpec::default() });
        assert_eq!(links.carry(b, a, 1_000, 20_000_000_000), 20_500_000_000, "a link may be thin by itself");
        links.thin(b, a, 1_000);
        assert_eq!(links.carry(b, a, 1_000, 20_000_000_000), 21_500_000_000, "the lowest limit counts");
    }

    #[test]
    fn overlapping_cuts_mend_one_by_one_and_growth_keeps_them() {
        let mut links = Links::default();
        (0..2).for_each(|_| links.grow());
        let (a, b) = (HostId(0), HostId(1));
        links.cut(a, b);
        links.cut(a, b);
        links.grow();
        links.mend(a, b);
        assert!(links.is_cut(a, b));
        assert!(!links.is_cut(b, a));
        links.mend(a, b);
        assert!(!links.is_cut(a, b));
    }
}

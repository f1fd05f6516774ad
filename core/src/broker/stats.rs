//! Counters that operators look at (Java `StoreStatsService`, `BrokerStatsManager`).
//!
//! Invariant: the counts of a morning are those of the local day.

use crate::meter::Meter;
use crate::node::{Instant, Now};

/// The counters of a whole broker.
#[derive(Clone, Debug, Default)]
pub struct BrokerStats {
    /// Wall time of the start, ms since 1970.
    pub started_ms: u64,
    /// Messages put.
    pub put: Meter,
    /// Bytes put.
    pub put_bytes: Meter,
    /// Sends that the store did not take.
    pub put_failed: u64,
    /// Pulls that found messages.
    pub get_found: Meter,
    /// Pulls that found none.
    pub get_missed: Meter,
    /// Messages handed out.
    pub transferred: Meter,
    /// Local day since 1970 of the morning counts.
    day: u64,
    /// Messages put and handed out before this morning and before yesterday's.
    pub put_this_morning: u64,
    /// See above.
    pub put_yesterday_morning: u64,
    /// See above.
    pub got_this_morning: u64,
    /// See above.
    pub got_yesterday_morning: u64,
}

impl BrokerStats {
    /// Counters of a broker that starts now; `local_ms` is the same moment on the local clock.
    pub fn new(now: Now, local_ms: u64) -> BrokerStats {
        BrokerStats {
            started_ms: now.wall_ms,
            put: Meter::long(),
            put_bytes: Meter::long(),
            get_found: Meter::long(),
            get_missed: Meter::long(),
            transferred: Meter::long(),
            day: local_ms / DAY_MS,
            ..BrokerStats::default()
        }
    }
    /// Takes samples, and turns the page at local midnight.
    pub fn sample(&mut self, now: Instant, local_ms: u64) {
        for meter in
            [&mut self.put, &mut self.put_bytes, &mut self.get_found, &mut self.get_missed, &mut self.transferred]
        {
            meter.sample(now);
        }
        let day = local_ms / DAY_MS;
        if day != self.day {
            self.day = day;
            self.put_yesterday_morning = self.put_this_morning;
            self.got_yesterday_morning = self.got_this_morning;
            self.put_this_morning = self.put.sum;
            self.got_this_morning = self.transferred.sum;
        }
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant(secs * 1_000_000_000)
    }

    #[test]
    fn the_page_turns_at_midnight() {
        let mut stats = BrokerStats::new(Now { mono: at(0), wall_ms: 1000 }, 1000);
        stats.put.add_many(5, 5);
        stats.sample(at(10), DAY_MS - 1);
        assert_eq!(stats.put_this_morning, 0);
        stats.sample(at(20), DAY_MS);
        stats.put.add_many(2, 2);
        stats.sample(at(30), 2 * DAY_MS);
        assert_eq!((stats.put_yesterday_morning, stats.put_this_morning), (5, 7));
    }
}

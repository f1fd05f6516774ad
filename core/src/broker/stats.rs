//! Counters that operators look at (Java `StoreStatsService`, `BrokerStatsManager`).
//!
//! Invariant: counting costs an addition; rates are computed from samples that are taken each ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use crate::node::{Instant, Now};

/// Time between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Samples kept for the broker as a whole: ten minutes, and the one before.
const SAMPLES: usize = 61;
/// Samples kept for one topic or group, of which there may be very many: one minute, and the one before.
const SAMPLES_OF_ONE: usize = 7;

/// A counter of events and of what they carried, with its recent past.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Sum of the values.
    pub sum: u64,
    /// How many values.
    pub times: u64,
    samples: VecDeque<(Instant, u64, u64)>,
    long: bool,
}

/// What a meter did during a window (Java `BrokerStatsItem`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Sum of the values.
    pub sum: u64,
    /// Sum a second.
    pub per_second: f64,
    /// Average value.
    pub average: f64,
}

impl Meter {
    /// A meter that remembers ten minutes instead of one.
    pub fn long() -> Meter {
        Meter { long: true, ..Meter::default() }
    }
    /// Counts one event of this value.
    pub fn add(&mut self, value: u64) {
        self.sum += value;
        self.times += 1;
    }
    /// Counts several events at once.
    pub fn add_many(&mut self, value: u64, times: u64) {
        self.sum += value;
        self.times += times;
    }
    /// Takes a sample; call each [`SAMPLE_EVERY`].
    pub fn sample(&mut self, now: Instant) {
        if self.samples.len() == if self.long { SAMPLES } else { SAMPLES_OF_ONE } {
            self.samples.pop_front();
        }
        self.samples.push_back((now, self.sum, self.times));
    }
    /// What happened between the oldest sample within `window` and the newest one.
    pub fn window(&self, window: Duration) -> Window {
        let Some(&(end, sum, times)) = self.samples.back() else { return Window::default() };
        let begin = end - window;
        let Some(&(from, sum_before, times_before)) = self.samples.iter().find(|(at, _, _)| *at >= begin) else {
            return Window::default();
        };
        assert!(sum >= sum_before && times >= times_before, "counters only grow");
        let (sum, times) = (sum - sum_before, times - times_before);
        let seconds = end.since(from).as_secs_f64();
        Window {
            sum,
            per_second: if seconds > 0.0 { sum as f64 / seconds } else { 0.0 },
            average: if times > 0 { sum as f64 / times as f64 } else { 0.0 },
        }
    }
    /// The rates over 10, 60 and 600 s, as BROKER_RUNTIME_INFO shows them.
    pub fn triple(&self) -> String {
        [10, 60, 600].map(|secs| self.window(Duration::from_secs(secs)).per_second.to_string()).join(" ")
    }
}

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
    fn rates_over_windows() {
        let mut meter = Meter::long();
        assert_eq!(meter.window(Duration::from_secs(60)), Window::default());
        for tick in 0..=100 {
            meter.sample(at(tick * 10));
            meter.add_many(20, 2);
        }
        assert_eq!(meter.window(Duration::from_secs(10)), Window { sum: 20, per_second: 2.0, average: 10.0 });
        assert_eq!(meter.window(Duration::from_secs(60)).sum, 120);
        assert_eq!(meter.window(Duration::from_secs(600)).per_second, 2.0);
        assert_eq!(meter.samples.len(), SAMPLES);
        assert_eq!(meter.triple(), "2 2 2");
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

//! Counters with a recent past (Java `StatsItem`), for brokers and clients.
//!
//! Invariant: counting costs an addition; rates are computed from samples that are taken each ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use crate::node::Instant;

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
        self.between(end - window, (end, sum, times))
    }
    /// What happened between the oldest sample within `window` and now.
    pub fn until(&self, now: Instant, window: Duration) -> Window {
        self.between(now - window, (now, self.sum, self.times))
    }
    fn between(&self, begin: Instant, (end, sum, times): (Instant, u64, u64)) -> Window {
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
        assert_eq!(meter.until(at(1010), Duration::from_secs(10)), Window { sum: 20, per_second: 2.0, average: 10.0 });
        assert_eq!(meter.until(at(1005), Duration::from_secs(1)), Window::default(), "no sample is that young");
    }
}

//! Local time of this machine, which the servers of Java go by where an hour or a day is meant.
//!
//! Invariant: nothing but settings and counts for people goes by local time; stamps and ages are UTC.

use chrono::{Local, Offset as _, TimeZone as _};

/// How far local time (`TZ`, or else `/etc/localtime`) is ahead of UTC at a moment, seconds. Summer time is part of it.
pub fn utc_offset_s(wall_ms: u64) -> i32 {
    let ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    Local.timestamp_millis_opt(ms).single().map_or(0, |at| at.offset().fix().local_minus_utc())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// 2027-01-15 and 2027-07-15, 12:00 UTC.
    const DAYS: [u64; 2] = [1_800_014_400_000, 1_815_652_800_000];
    const EXPECTED: &str = "SEEDMQ_TEST_OFFSETS";

    /// The zone is one of the process, so each is tried in a process of its own: this very test again.
    #[test]
    fn the_offset_is_that_of_the_zone_with_its_summer_time() {
        if let Ok(expected) = std::env::var(EXPECTED) {
            return assert_eq!(format!("{:?}", DAYS.map(utc_offset_s)), expected);
        }
        for (zone, winter, summer) in [
            ("UTC0", 0, 0),
            ("IST-5:30", 19_800, 19_800),
            ("CET-1CEST,M3.5.0,M10.5.0/3", 3600, 7200),
            ("EST5EDT,M3.2.0,M11.1.0", -18_000, -14_400),
        ] {
            let test = std::env::current_exe().expect("this program has a path");
            let name = "real::zone::tests::the_offset_is_that_of_the_zone_with_its_summer_time";
            let mut again = Command::new(test);
            again.args(["--exact", name]).env("TZ", zone).env(EXPECTED, format!("{:?}", [winter, summer]));
            let out = again.output().expect("this program runs");
            let said = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success() && said.contains("1 passed"), "{zone}: {said}");
        }
    }
}

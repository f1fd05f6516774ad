//! Names of the files of a store.
//!
//! Invariant: a name that is written here is read back to the same number, and names of one kind sort like their numbers.

/// Folder of the commit log.
pub const LOG: &str = "commitlog";
/// Folder of the consume queues.
pub const QUEUES: &str = "consumequeue";
/// Folder of the index files.
pub const INDEX: &str = "index";
/// The mark of a store that is in use, or was not closed.
pub const ABORT: &str = "abort";
/// What the mark holds after a failed sync; Java does not look inside.
pub const FAILED_SYNC: &[u8] = b"sync failed\n";
/// The Java checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// Our snapshot that is valid after a power cut. Java ignores it.
pub const SNAPSHOT: &str = "seedmq.snapshot";
/// Our snapshots that are valid while the operating system runs; written in turn. Java ignores them.
pub const SNAPSHOTS_WARM: [&str; 2] = ["seedmq.snapshot.0", "seedmq.snapshot.1"];

/// Path of the log file that begins at a position.
pub fn log_file(begin: u64) -> String {
    format!("{LOG}/{begin:020}")
}

/// Folder of a queue.
pub fn queue_folder(topic: &str, queue_id: u32) -> String {
    format!("{QUEUES}/{topic}/{queue_id}")
}

/// Path of the queue file that begins at a byte.
pub fn queue_file(topic: &str, queue_id: u32, begin: u64) -> String {
    format!("{QUEUES}/{topic}/{queue_id}/{begin:020}")
}

/// Path of an index file by its number, see [`index_number`].
pub fn index_file(number: u64) -> String {
    format!("{INDEX}/{number:017}")
}

/// The number in the name of a log or queue file: exactly twenty digits.
pub fn file_begin(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// The number in the name of an index file: exactly seventeen digits.
pub fn parse_index(name: &str) -> Option<u64> {
    (name.len() == 17 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// `yyyyMMddHHmmssSSS` in UTC, as a number.
pub fn index_number(wall_ms: u64) -> u64 {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let date = (year * 100 + month) * 100 + day;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    (((date * 100 + hour) * 100 + minute) * 100 + second) * 1000 + ms % 1000
}

/// Year, month and day of a count of days since 1970 (Howard Hinnant's `civil_from_days`, for dates after 1970).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_java() {
        assert_eq!(log_file(1 << 30), "commitlog/00000000001073741824");
        assert_eq!(queue_file("T", 3, 6_000_000), "consumequeue/T/3/00000000000006000000");
        assert_eq!(file_begin("00000000001073741824"), Some(1 << 30));
        assert_eq!(file_begin("0000000000107374182x"), None);
        assert_eq!(index_number(1_795_391_788_099), 20_261_122_235_628_099);
        assert_eq!(index_number(951_782_400_000), 20_000_229_000_000_000);
        assert_eq!(index_number(0), 19_700_101_000_000_000);
        assert_eq!(parse_index("20261122235628099"), Some(20_261_122_235_628_099));
        assert_eq!(index_file(5), "index/00000000000000005");
    }
}

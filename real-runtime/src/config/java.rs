//! Settings of the Java servers: what a file that was written for them may name.
//!
//! Invariant: a name of the lists is a setter of a configuration class of Apache RocketMQ 4.9.8 or 5.5.0. One that asks for
//! something that is missing here, and whose absence would lose data or open a door, is never passed over.

use super::Verdict;
use super::properties::Property;

/// `BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`, `NettyClientConfig`, `AuthConfig`.
pub const BROKER: &str = include_str!("java/broker.txt");
/// `NamesrvConfig`, `NettyServerConfig`, `NettyClientConfig`, `ControllerConfig`.
pub const NAMESRV: &str = include_str!("java/namesrv.txt");

/// Spellings of old releases, which later ones pass over.
const OLD: [&str; 2] = ["mapedFileSizeCommitLog", "mapedFileSizeConsumeQueue"];

/// Settings that are harmless only with one value, and what any other asks for.
const MISSING: &[(&str, &str, &str)] = &[
    ("aclEnable", "false", "access control"),
    ("allAckInSyncStateSet", "false", "replication"),
    ("authenticationEnabled", "false", "access control"),
    ("authorizationEnabled", "false", "access control"),
    ("duplicationEnable", "false", "replication"),
    ("enableControllerInNamesrv", "false", "a controller"),
    ("enableControllerMode", "false", "a controller"),
    ("enableDLegerCommitLog", "false", "DLedger"),
    ("inSyncReplicas", "1", "replication"),
    ("messageStorePlugIn", "", "a store plug-in"),
    ("minInSyncReplicas", "1", "replication"),
    ("readOnlyCommitLogStorePaths", "", "a second commit log directory"),
    ("storeType", "default", "another kind of store"),
    ("totalReplicas", "1", "replication"),
    ("useSingleRocksDBForAllConfigs", "false", "RocksDB"),
    ("useTLS", "false", "TLS"),
];

/// What is said to an entry that no machine and no process of ours knows; `java` is one of the lists, `ours` our own names.
pub fn judge(entry: &Property, java: &'static str, ours: impl Iterator<Item = &'static str>) -> Verdict {
    let (key, value) = (&*entry.key, entry.value.trim());
    if let Some((_, harmless, what)) = MISSING.iter().find(|(name, ..)| *name == key)
        && value != *harmless
    {
        return Verdict::Wrong(format!("{key}={value}: {what} is asked for and is not there yet"));
    }
    if OLD.contains(&key) || java.lines().any(|name| name == key) {
        return Verdict::Foreign;
    }
    Verdict::Unknown(closest(key, ours.chain(java.lines())))
}

/// The name that was most likely meant, if any is near.
fn closest(key: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let near = names.map(|name| (distance(&key.to_lowercase(), &name.to_lowercase()), name));
    near.min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| distance * 4 <= name.len())
        .map(|(_, name)| name)
}

/// How many letters must be added, removed, changed or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    rows[0] = (0..=other.len()).collect();
    for i in 1..=one.len() {
        rows[i][0] = i;
        for j in 1..=other.len() {
            let changed = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, value: &str, expected: Verdict) {
        let entry = Property { line: 1, key: key.into(), value: value.into() };
        assert_eq!(judge(&entry, BROKER, ["connectionsMax"].into_iter()), expected, "{key}={value}");
    }

    #[test]
    fn names_of_java_are_told_apart_from_slips() {
        check("haListenPort", "10912", Verdict::Foreign);
        check("sendMessageThreadPoolNums", "16", Verdict::Foreign);
        check("brokerNmae", "b", Verdict::Unknown(Some("brokerName")));
        check("flushdisktype", "SYNC_FLUSH", Verdict::Unknown(Some("flushDiskType")));
        check("conectionMax", "7", Verdict::Unknown(Some("connectionsMax")));
        check("mapedFileSizeCommitLog", "1048576", Verdict::Foreign);
        check("colour", "red", Verdict::Unknown(None));
    }

    #[test]
    fn what_must_not_be_passed_over_is_refused() {
        let refused = |text: &str| Verdict::Wrong(format!("{text} is asked for and is not there yet"));
        check("authenticationEnabled", "true", refused("authenticationEnabled=true: access control"));
        check("authenticationEnabled", " false ", Verdict::Foreign);
        check("minInSyncReplicas", "2", refused("minInSyncReplicas=2: replication"));
        check("storeType", "defaultRocksDB", refused("storeType=defaultRocksDB: another kind of store"));
        let unnamed =
            MISSING.iter().filter(|(name, ..)| !BROKER.lines().chain(NAMESRV.lines()).any(|java| java == *name));
        assert_eq!(unnamed.count(), 0, "each of them is a setting of Java");
    }

    #[test]
    fn distance_counts_slips() {
        for (one, other, slips) in [("", "abc", 3), ("name", "nmae", 1), ("name", "nam", 1), ("name", "mane", 2)] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
        }
    }
}

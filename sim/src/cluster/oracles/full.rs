//! The oracle `bounds` of the disk: a broker takes no message while its disk is as full as it may be, or has just refused it a file.
//!
//! Invariant: what counts is what the broker saw: it looks at its disk when a timer wakes it, every 10 s at least, and in between it
//! may go by its last look.

use seedmq_core::node::{DiskDone, DiskError};

const S: u64 = 1_000_000_000;
/// Between two looks of a broker at its disk.
const LOOK_NS: u64 = 10 * S;
/// A broker to whom a log file was refused tries again so long afterwards.
const RETRY_NS: u64 = S;

/// What a broker knows of its disk, and where its log ended after its last batch.
#[derive(Debug, Default)]
pub(in crate::cluster) struct FullWatch {
    /// Since when every look would have found the disk too full, ns.
    full_ns: Option<u64>,
    /// A look has found it so.
    is_known: bool,
    /// Until when it goes by the refusal of a log file, ns.
    refused_until_ns: u64,
    /// After the last batch: the end of the log, what was known then, and until when a file was refused.
    last: Option<(u64, bool, u64)>,
}

impl FullWatch {
    /// A timer wakes the broker, and so much of its disk is used, of which it refuses messages from `limit` on.
    pub fn woken(&mut self, now_ns: u64, used_percent: u64, limit: u64) {
        if used_percent < limit {
            (self.full_ns, self.is_known) = (None, false);
            return;
        }
        let since = *self.full_ns.get_or_insert(now_ns);
        self.is_known |= now_ns >= since + LOOK_NS;
    }
    /// The disk did something for the broker.
    pub fn done(&mut self, now_ns: u64, done: &DiskDone, log: &str) {
        if let DiskDone::Allocated { path, result: Err(DiskError::Full) } = done
            && path.starts_with(log)
            && self.last.is_some()
        {
            self.refused_until_ns = now_ns + RETRY_NS;
        }
    }
    /// A batch is over, after which the log of a broker that serves ends here: the clause that is broken, and how.
    pub fn settled(&mut self, now_ns: u64, appended: Option<u64>) -> Option<(&'static str, String)> {
        let Some(appended) = appended else {
            self.last = None;
            return None;
        };
        let known = (appended, self.is_known, self.refused_until_ns);
        let (before, was_known, refused_until_ns) = self.last.replace(known)?;
        if appended <= before {
            return None;
        }
        if was_known && self.is_known {
            let since = self.full_ns.unwrap_or(now_ns) / 1_000_000;
            return Some(("taken-on-a-full-disk", format!("its disk has been too full for it since {since} ms")));
        }
        (now_ns < refused_until_ns)
            .then(|| ("taken-without-room", "there was no room for the next file of its log just before".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_refused_from_the_first_look_on() {
        let mut watch = FullWatch::default();
        let clause = |found: Option<(&'static str, String)>| found.map(|(clause, _)| clause);
        assert_eq!(watch.settled(0, Some(10)), None);
        watch.woken(S, 90, 90);
        assert_eq!(watch.settled(S, Some(20)), None, "it may not have looked yet");
        watch.woken(11 * S, 91, 90);
        assert_eq!(watch.settled(11 * S, Some(30)), None, "it was taken before the look");
        assert_eq!(clause(watch.settled(12 * S, Some(40))), Some("taken-on-a-full-disk"));
        watch.woken(13 * S, 89, 90);
        assert_eq!(watch.settled(13 * S, Some(50)), None);
        let refused = DiskDone::Allocated { path: "log/1".into(), result: Err(DiskError::Full) };
        watch.done(14 * S, &refused, "log/");
        assert_eq!(watch.settled(14 * S, Some(60)), None);
        assert_eq!(clause(watch.settled(14 * S + 1, Some(70))), Some("taken-without-room"));
        assert_eq!(watch.settled(15 * S, Some(80)), None, "it may try again");
    }
}

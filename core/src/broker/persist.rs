//! Small files that are replaced as a whole: `config/*.json`.
//!
//! Invariant: at most one replacement of a file is under way, so the content never goes back to an older version; who
//! waits for a version hears only after it is in place and durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::node::{Addr, DiskAsk, DiskError};

/// `config/topics.json`.
pub const TOPICS: &str = "config/topics.json";
/// `config/subscriptionGroup.json`.
pub const GROUPS: &str = "config/subscriptionGroup.json";
/// `config/consumerOffset.json`.
pub const OFFSETS: &str = "config/consumerOffset.json";
/// `config/delayOffset.json`: only read, to tell what a Java broker left pending.
pub const DELAY_OFFSETS: &str = "config/delayOffset.json";
/// Properties that were changed by request 25, as `name=value` lines (ours).
pub const OVERRIDES: &str = "config/brokerOverrides.properties";

/// Where queues ended after power cuts (ours, see [`super::fence`]).
pub const RECOVERED_ENDS: &str = "config/recoveredEnds.json";

/// Topics that were deleted, while the log still holds records of them (ours, see [`crate::store::Store::removed_topics`]).
pub const REMOVED: &str = "config/removedTopics.json";

/// The content of [`REMOVED`]: by topic, the position in the log below which its records are of the deleted one.
pub type RemovedTopics = BTreeMap<std::sync::Arc<str>, u64>;

/// The content of [`DELAY_OFFSETS`].
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsetsFile {
    /// By delay level: how far its queue of the schedule topic has been delivered.
    pub offset_table: BTreeMap<i32, i64>,
}

/// One such file: which version is wanted, on its way and in place.
#[derive(Debug)]
pub struct ConfigFile {
    path: Addr,
    wanted: u64,
    writing: Option<u64>,
    done: u64,
    failed: Option<DiskError>,
}

impl ConfigFile {
    /// A file whose present content is version 0.
    pub fn new(path: &str) -> ConfigFile {
        ConfigFile { path: path.into(), wanted: 0, writing: None, done: 0, failed: None }
    }
    /// Path relative to the store.
    pub fn path(&self) -> &Addr {
        &self.path
    }
    /// The content has changed and is now of this version.
    pub fn want(&mut self, version: u64) {
        assert!(version >= self.wanted, "versions of {} only grow", self.path);
        self.wanted = version;
    }
    /// Whether the newest content is in place.
    pub fn is_settled(&self) -> bool {
        self.done == self.wanted && self.writing.is_none()
    }
    /// The version that is in place.
    pub fn done(&self) -> u64 {
        self.done
    }
    /// Why the last replacement failed, until one succeeds.
    pub fn failed(&self) -> Option<&DiskError> {
        self.failed.as_ref()
    }
    /// Why the newest content is neither in place nor on its way, until it is tried again.
    pub fn stuck(&self) -> Option<&DiskError> {
        self.failed.as_ref().filter(|_| self.writing.is_none())
    }
    /// Asks for a replacement when one is wanted and none is under way.
    pub fn ask(&mut self, content: impl FnOnce() -> Bytes) -> Option<DiskAsk> {
        if self.writing.is_some() || self.done == self.wanted {
            return None;
        }
        assert!(self.done < self.wanted, "{} holds nothing newer than what was wanted", self.path);
        self.writing = Some(self.wanted);
        Some(DiskAsk::Replace { path: self.path.clone(), bytes: content() })
    }
    /// A replacement ended. After a failure the old content still stands; [`ConfigFile::ask`] tries again.
    pub fn replaced(&mut self, result: Result<(), DiskError>) {
        let version = self.writing.take().expect("a completion follows an ask");
        assert!(version > self.done, "a replacement brings something newer");
        match result {
            Ok(()) => {
                self.done = version;
                self.failed = None;
            }
            Err(why) => self.failed = Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replacement_at_a_time_and_the_newest_wins() {
        let mut file = ConfigFile::new(TOPICS);
        assert!(file.ask(Bytes::new).is_none(), "nothing is wanted");
        file.want(1);
        assert!(matches!(file.ask(|| Bytes::from_static(b"1")), Some(DiskAsk::Replace { .. })));
        file.want(2);
        file.want(3);
        assert!(file.ask(Bytes::new).is_none(), "one is under way");
        file.replaced(Ok(()));
        assert_eq!((file.done(), file.is_settled()), (1, false));
        assert!(file.ask(|| Bytes::from_static(b"3")).is_some());
        file.replaced(Ok(()));
        assert_eq!((file.done(), file.is_settled()), (3, true));
    }

    #[test]
    fn a_failure_leaves_the_old_version_and_is_tried_again() {
        let mut file = ConfigFile::new(TOPICS);
        file.want(1);
        file.ask(Bytes::new);
        file.replaced(Err(DiskError::Full));
        assert_eq!((file.done(), file.failed()), (0, Some(&DiskError::Full)));
        assert!(file.ask(Bytes::new).is_some());
        file.replaced(Ok(()));
        assert_eq!((file.done(), file.failed()), (1, None));
    }
}

//! The key-value configuration, kept in `kvConfig.json` (Java `KVConfigManager`).
//!
//! Invariant: what a reader sees is in the file: a change is visible, and answered, only after the file that holds it is in
//! place and durable. A file that does not read is never overwritten.

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::node::{Addr, DiskAsk, DiskError};
use crate::wire::json::{self, Style};

/// Most changes that may wait for the file.
const WAITING_MAX: usize = 10_000;

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The content of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    config_table: Namespaces,
}

/// A change that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Namespace.
    pub namespace: String,
    /// Key.
    pub key: String,
    /// New value; `None` takes the key out.
    pub value: Option<String>,
}

/// The configuration. `W` is who waits for a change.
#[derive(Debug)]
pub struct KvConfig<W> {
    path: Addr,
    state: State,
    /// In place.
    table: Namespaces,
    /// On its way to the file.
    writing: Option<(Namespaces, Vec<W>)>,
    /// To go with the next file.
    waiting: Vec<(Change, W)>,
    bytes_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Loading,
    Ready,
    Broken(String),
}

impl<W> KvConfig<W> {
    /// Nothing is known until [`KvConfig::loaded`].
    pub fn new(path: Addr, bytes_max: usize) -> Self {
        KvConfig { path, state: State::Loading, table: BTreeMap::new(), writing: None, waiting: Vec::new(), bytes_max }
    }

    /// The content of the file; `None` when there is none. The text says what is wrong with it.
    pub fn loaded(&mut self, content: Result<Option<Bytes>, DiskError>) -> Result<(), String> {
        assert_eq!(self.state, State::Loading, "the file is read once");
        let parsed = match content {
            Ok(None) => Ok(File::default()),
            Ok(Some(text)) => json::from_slice::<File>(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match parsed {
            Ok(file) => {
                if !crate::planted!("kv-not-read-at-start") {
                    self.table = file.config_table;
                }
                self.state = State::Ready;
                Ok(())
            }
            Err(why) => {
                let text = format!("{} does not read and is left alone: {why}", self.path);
                self.state = State::Broken(text.clone());
                Err(text)
            }
        }
    }

    /// Why nothing can be read or changed now.
    pub fn refuses(&self) -> Option<&str> {
        match &self.state {
            State::Ready => None,
            State::Loading => Some("the key-value configuration is still being read"),
            State::Broken(why) => Some(why),
        }
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.table.get(namespace)?.get(key).map(String::as_str)
    }
    /// The pairs of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.table.get(namespace)
    }

    /// Wants a change; `who` comes back from [`KvConfig::replaced`]. Hands `who` back at once when it changes nothing.
    pub fn change(&mut self, change: Change, who: W) -> Result<Option<W>, (String, W)> {
        if let Some(why) = self.refuses() {
            return Err((why.to_owned(), who));
        }
        let pending = self.writing.is_some() || !self.waiting.is_empty();
        let present = self.get(&change.namespace, &change.key);
        if !pending && present == change.value.as_deref() {
            return Ok(Some(who));
        }
        let added = change.namespace.len() + change.key.len() + change.value.as_ref().map_or(0, String::len);
        if change.value.is_some() && self.bytes() + added > self.bytes_max {
            return Err((format!("the key-value configuration holds at most {} bytes", self.bytes_max), who));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(("too many changes wait for the file".into(), who));
        }
        self.waiting.push((change, who));
        Ok(None)
    }

    /// The next file, when one is wanted and none is on its way.
    pub fn ask(&mut self) -> Option<DiskAsk> {
        if self.writing.is_some() || self.waiting.is_empty() {
            return None;
        }
        let mut next = self.table.clone();
        let (changes, who): (Vec<Change>, Vec<W>) = mem::take(&mut self.waiting).into_iter().unzip();
        changes.into_iter().for_each(|change| apply(&mut next, change));
        let file = File { config_table: next };
        let bytes = Bytes::from(json::to_vec(&file, Style::Standard));
        self.writing = Some((file.config_table, who));
        Some(DiskAsk::Replace { path: self.path.clone(), bytes })
    }

    /// The file is in place, or is not: who waited for it.
    pub fn replaced(&mut self, result: &Result<(), DiskError>) -> Vec<W> {
        let (table, who) = self.writing.take().expect("a completion follows an ask");
        if result.is_ok() {
            self.table = table;
        }
        who
    }

    /// Whether a file is on its way or wanted.
    pub fn is_busy(&self) -> bool {
        self.writing.is_some() || !self.waiting.is_empty()
    }
    /// Whether this is the file.
    pub fn is_at(&self, path: &str) -> bool {
        &*self.path == path
    }

    fn bytes(&self) -> usize {
        let table = self.writing.as_ref().map_or(&self.table, |(table, _)| table);
        let pairs = |pairs: &BTreeMap<String, String>| pairs.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        let change = |c: &Change| c.namespace.len() + c.key.len() + c.value.as_ref().map_or(0, String::len);
        let waiting: usize = self.waiting.iter().map(|(c, _)| change(c)).sum();
        waiting + table.iter().map(|(name, all)| name.len() + pairs(all)).sum::<usize>()
    }
}

fn apply(table: &mut Namespaces, change: Change) {
    let Change { namespace, key, value } = change;
    match value {
        Some(value) => drop(table.entry(namespace).or_default().insert(key, value)),
        // An emptied namespace stays, as in Java: its list is answered, empty.
        None => drop(table.get_mut(&namespace).and_then(|pairs| pairs.remove(&key))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change { namespace: "N".into(), key: key.into(), value: Some(value.into()) }
    }

    #[test]
    fn a_change_is_seen_when_the_file_is_in_place() {
        let mut kv = KvConfig::new("kv.json".into(), 100);
        assert!(kv.change(put("a", "1"), 1).is_err(), "not read yet");
        kv.loaded(Ok(Some(Bytes::from_static(b"{\"configTable\":{\"N\":{\"z\":\"9\"}}}")))).expect("it reads");
        assert_eq!(kv.change(put("z", "9"), 0), Ok(Some(0)), "nothing changes");
        assert_eq!((kv.change(put("a", "1"), 1), kv.change(put("a", "2"), 2)), (Ok(None), Ok(None)));
        let ask = kv.ask().expect("a file is wanted");
        assert!(
            matches!(&ask, DiskAsk::Replace { bytes, .. } if bytes == "{\"configTable\":{\"N\":{\"a\":\"2\",\"z\":\"9\"}}}")
        );
        assert_eq!(kv.change(put("b", "3"), 3), Ok(None));
        assert_eq!(kv.ask(), None);
        assert_eq!(kv.get("N", "a"), None);
        assert_eq!(kv.replaced(&Ok(())), [1, 2]);
        assert_eq!((kv.get("N", "a"), kv.get("N", "b")), (Some("2"), None));
        kv.ask().expect("the next file");
        assert_eq!(kv.replaced(&Err(DiskError::Full)), [3]);
        assert_eq!((kv.get("N", "b"), kv.is_busy()), (None, false));
        assert!(kv.change(put("b", &"x".repeat(100)), 4).is_err(), "too large");
    }

    #[test]
    fn a_broken_file_is_left_alone() {
        let mut kv = KvConfig::new("kv.json".into(), 100);
        assert!(kv.loaded(Ok(Some(Bytes::from_static(b"{\"configTable\":")))).is_err());
        assert!(kv.change(put("a", "1"), 1).is_err() && kv.ask().is_none());
    }
}

//! Reading `config/*.json` when the broker starts.
//!
//! Invariant: a file that is there but cannot be understood stops the start, unless its `.bak` can be; nothing is replaced
//! before everything was read.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::persist::{DELAY_OFFSETS, GROUPS, OFFSETS, OVERRIDES, RECOVERED_ENDS, REMOVED, TOPICS};
use crate::node::{Disk, DiskAsk, DiskError, FetchId, Open, Read};
use crate::wire::json;

/// The fetches of the broker are numbered from here on, those of its store from 0.
pub const FETCHES_FROM: u64 = 1 << 63;
/// A file larger than this is not one of ours.
const FILE_MAX: u64 = 1 << 30;

/// The contents of the files, as far as they have been read.
#[derive(Debug, Default)]
pub struct Loading {
    contents: BTreeMap<String, Bytes>,
    fetching: BTreeMap<FetchId, String>,
}

impl Loading {
    /// Reads what is in memory and asks for the rest.
    pub fn begin(disk: &mut dyn Disk, asks: &mut Vec<DiskAsk>) -> Result<Loading, String> {
        let mut loading = Loading::default();
        let mut next = FETCHES_FROM;
        for path in [TOPICS, GROUPS, OFFSETS, DELAY_OFFSETS, OVERRIDES, RECOVERED_ENDS, REMOVED] {
            for path in [path.to_owned(), format!("{path}.bak")] {
                loading.read(path, &mut next, disk, asks)?;
            }
        }
        Ok(loading)
    }
    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.fetching.is_empty()
    }
    /// A read ended.
    pub fn fetched(&mut self, fetch: FetchId, result: Result<Bytes, DiskError>) -> Result<(), String> {
        let path = self.fetching.remove(&fetch).expect("what was fetched was asked for");
        let bytes = result.map_err(|error| cannot_read(&path, &error))?;
        self.contents.insert(path, bytes);
        Ok(())
    }
    /// The text of a file, if it is there.
    pub fn text(&self, path: &str) -> Option<&Bytes> {
        self.contents.get(path)
    }
    /// A file, its `.bak` when the file itself is missing or broken, or nothing when there is neither. The second value
    /// says that the `.bak` had to serve.
    pub fn parse<T: DeserializeOwned>(&self, path: &str) -> Result<(Option<T>, Option<String>), String> {
        let backup = format!("{path}.bak");
        let mut broken = Vec::new();
        for candidate in [path, &backup] {
            let Some(bytes) = self.contents.get(candidate).filter(|bytes| !bytes.is_empty()) else { continue };
            match json::from_slice(bytes) {
                Ok(value) => {
                    let notice = (candidate != path).then(|| format!("{path} is unusable: {backup} is used instead"));
                    return Ok((Some(value), notice));
                }
                Err(error) => broken.push(format!("{candidate}: {error}")),
            }
        }
        if broken.is_empty() {
            return Ok((None, None));
        }
        Err(format!("{}; put a good copy in its place, or move it away to start without it", broken.join("; ")))
    }

    fn read(
        &mut self,
        path: String,
        next: &mut u64,
        disk: &mut dyn Disk,
        asks: &mut Vec<DiskAsk>,
    ) -> Result<(), String> {
        let file = match disk.open(&path, Open::Existing) {
            Ok(file) => file,
            Err(DiskError::Missing) => return Ok(()),
            Err(error) => return Err(cannot_read(&path, &error)),
        };
        let len = disk.len(file).map_err(|error| cannot_read(&path, &error))?;
        if len > FILE_MAX {
            return Err(format!("{path} has {len} bytes: it is not a configuration file"));
        }
        let bytes = usize::try_from(len).expect("a gibibyte fits");
        match disk.read(file, 0, bytes).map_err(|error| cannot_read(&path, &error))? {
            Read::Hot(bytes) => {
                self.contents.insert(path, bytes);
            }
            Read::Cold => {
                let fetch = FetchId(*next);
                *next += 1;
                self.fetching.insert(fetch, path);
                asks.push(DiskAsk::Fetch { fetch, file, at: 0, len: u32::try_from(len).expect("a gibibyte fits") });
            }
        }
        Ok(())
    }
}

fn cannot_read(path: &str, error: &DiskError) -> String {
    format!("{path} cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loading(files: &[(&str, &'static str)]) -> Loading {
        let contents = files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from_static(text.as_bytes())));
        Loading { contents: contents.collect(), fetching: BTreeMap::new() }
    }

    #[test]
    fn the_backup_serves_when_the_file_does_not() {
        type Map = BTreeMap<String, i32>;
        let good = || Some(Map::from([("a".to_owned(), 1)]));
        let (value, notice) = loading(&[("f", r#"{"a":1}"#), ("f.bak", "{}")]).parse::<Map>("f").unwrap();
        assert_eq!((value, notice), (good(), None));
        let (value, notice) = loading(&[("f", "{\"a\":"), ("f.bak", r#"{"a":1}"#)]).parse::<Map>("f").unwrap();
        assert_eq!(value, good());
        assert!(notice.unwrap().contains("f.bak is used"));
        let (value, _) = loading(&[("f.bak", r#"{"a":1}"#)]).parse::<Map>("f").unwrap();
        assert_eq!(value, good());
        assert_eq!(loading(&[]).parse::<Map>("f").unwrap(), (None, None));
        let why = loading(&[("f", "{"), ("f.bak", "[")]).parse::<Map>("f").unwrap_err();
        assert!(why.contains("f: ") && why.contains("f.bak: ") && why.contains("good copy"), "{why}");
    }
}

//! A disk in memory, for tests and examples: what a process sees, what a power cut would leave, and asks that are answered
//! when the test says so.
//!
//! Invariant: a sync makes durable what was written when it was asked for, not what was there when it was answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

use bytes::{Bytes, BytesMut};
use indexmap::IndexSet;

use crate::node::{Disk, DiskAsk, DiskDone, DiskError, Entry, FileId, Open, Read, Rng, Usage};

/// Bytes that are lost or kept together.
const SECTOR: u64 = 512;
type Sector = [u8; SECTOR as usize];

#[derive(Clone, Debug, Default)]
struct File {
    len: u64,
    /// Length that a power cut leaves.
    durable_len: u64,
    now: BTreeMap<u64, Sector>,
    durable: BTreeMap<u64, Sector>,
    dirty: BTreeSet<u64>,
    /// Sectors that a failed sync covered: they count as clean.
    given_up: BTreeSet<u64>,
    modified_ms: u64,
}

impl File {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let position = at + done as u64;
            let (number, offset) = (position / SECTOR, (position % SECTOR) as usize);
            let part = (SECTOR as usize - offset).min(bytes.len() - done);
            let sector = self.now.entry(number).or_insert([0; SECTOR as usize]);
            sector[offset..offset + part].copy_from_slice(&bytes[done..done + part]);
            self.dirty.insert(number);
            self.given_up.remove(&number);
            done += part;
        }
        self.len = self.len.max(at + bytes.len() as u64);
    }

    fn read(&self, at: u64, len: usize) -> Bytes {
        let end = (at + len as u64).min(self.len).max(at);
        let mut bytes = BytesMut::zeroed((end - at) as usize);
        for (number, sector) in self.now.range(at / SECTOR..end.div_ceil(SECTOR).max(at / SECTOR)) {
            let start = number * SECTOR;
            let (from, to) = (start.max(at), (start + SECTOR).min(end));
            let target = &mut bytes[(from - at) as usize..(to - at) as usize];
            target.copy_from_slice(&sector[(from - start) as usize..(to - start) as usize]);
        }
        bytes.freeze()
    }
}

/// What an asked sync will make durable.
#[derive(Clone, Debug)]
struct Image {
    len: u64,
    sectors: BTreeMap<u64, Sector>,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    files: BTreeMap<String, File>,
    ids: IndexSet<String, BuildHasherDefault<DefaultHasher>>,
    asks: VecDeque<(DiskAsk, Option<Image>)>,
    cold: BTreeSet<(String, u64)>,
    /// What [`Disk::usage`] says.
    pub usage: Usage,
    /// Stamps of files written from now on.
    pub now_ms: u64,
    /// Answer to the next syncs and writes, while set.
    pub fails: Option<DiskError>,
    /// Answer to the next syncs, while set; what they cover counts as clean from then on.
    pub fails_syncs: Option<DiskError>,
    /// How many writes were made.
    pub writes: u64,
}

/// Bytes that are cold together.
const COLD: u64 = 4096;

impl MemDisk {
    /// An empty disk with plenty of space.
    pub fn new() -> MemDisk {
        MemDisk { usage: Usage { total: 1 << 40, free: 1 << 40 }, ..MemDisk::default() }
    }

    /// Puts a file there as it is, durable.
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let mut file = File { modified_ms: self.now_ms, ..File::default() };
        file.write(0, bytes);
        file.dirty.clear();
        file.durable = file.now.clone();
        file.durable_len = file.len;
        self.files.insert(path.to_owned(), file);
    }

    /// The content of a file.
    pub fn content(&self, path: &str) -> Option<Bytes> {
        self.files.get(path).map(|file| file.read(0, file.len as usize))
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Removes files whose path begins so.
    pub fn remove_below(&mut self, prefix: &str) {
        self.files.retain(|path, _| !path.starts_with(prefix));
    }

    /// Takes asks.
    pub fn ask(&mut self, asks: impl IntoIterator<Item = DiskAsk>) {
        for ask in asks {
            let image = match &ask {
                DiskAsk::Sync { file, .. } => self.files.get(&self.ids[file.0 as usize]).map(|file| Image {
                    len: file.len,
                    sectors: file.dirty.iter().map(|number| (*number, file.now[number])).collect(),
                }),
                _ => None,
            };
            self.asks.push_back((ask, image));
        }
    }

    /// How many asks wait for their answers.
    pub fn waiting(&self) -> usize {
        self.asks.len()
    }

    /// Answers the `n`-th waiting ask.
    pub fn answer(&mut self, n: usize) -> Option<DiskDone> {
        let (ask, image) = self.asks.remove(n)?;
        Some(match ask {
            DiskAsk::Sync { file, through } => DiskDone::Synced { file, through, result: self.sync(file, image) },
            DiskAsk::Fetch { fetch, file, at, len } => {
                let path = self.ids[file.0 as usize].clone();
                self.cold.retain(|(of, n)| *of != path || (*n + 1) * COLD <= at || *n * COLD >= at + u64::from(len));
                let found = self.files.get(&path).ok_or(DiskError::Missing);
                DiskDone::Fetched { fetch, result: found.map(|file| file.read(at, len as usize)) }
            }
            DiskAsk::Allocate { path, len } => {
                let result =
                    if self.usage.free < len { Err(DiskError::Full) } else { self.open(&path, Open::Create { len }) };
                DiskDone::Allocated { path, result }
            }
            DiskAsk::Replace { path, bytes } => {
                self.put(&path, &bytes);
                DiskDone::Replaced { path, result: Ok(()) }
            }
            DiskAsk::Remove { path } => {
                let result = self.files.remove(&*path).map(drop).ok_or(DiskError::Missing);
                DiskDone::Removed { path, result }
            }
        })
    }

    fn sync(&mut self, file: FileId, image: Option<Image>) -> Result<(), DiskError> {
        if let Some(why) = &self.fails {
            return Err(why.clone());
        }
        if let Some(why) = &self.fails_syncs {
            if let Some(file) = self.files.get_mut(&self.ids[file.0 as usize]) {
                file.given_up.append(&mut file.dirty);
            }
            return Err(why.clone());
        }
        let path = &self.ids[file.0 as usize];
        let (Some(file), Some(image)) = (self.files.get_mut(path), image) else { return Err(DiskError::Missing) };
        for (number, sector) in image.sectors {
            if file.now.get(&number) == Some(&sector) {
                file.dirty.remove(&number);
            }
            file.durable.insert(number, sector);
        }
        file.durable_len = file.durable_len.max(image.len);
        Ok(())
    }

    /// The process died: what it asked for never ends, what it wrote is there.
    pub fn kill(&mut self) {
        self.asks.clear();
        self.ids.clear();
    }

    /// The power was cut: of what was not synced each sector is lost or kept, as drawn.
    pub fn cut(&mut self, rng: &mut Rng) {
        self.kill();
        for file in self.files.values_mut() {
            let all = rng.below(4);
            let given_up = std::mem::take(&mut file.given_up);
            for number in std::mem::take(&mut file.dirty).into_iter().chain(given_up.iter().copied()) {
                let is_kept = match all {
                    _ if given_up.contains(&number) => false,
                    0 => false,
                    1 => true,
                    _ => rng.below(2) == 0,
                };
                match (is_kept, file.durable.get(&number)) {
                    (true, _) => {
                        file.durable.insert(number, file.now[&number]);
                    }
                    (false, Some(old)) => {
                        file.now.insert(number, *old);
                    }
                    (false, None) => {
                        file.now.remove(&number);
                    }
                }
            }
            if rng.below(2) == 0 {
                file.len = file.durable_len;
                file.now.retain(|number, _| number * SECTOR < file.durable_len);
            }
            file.durable = file.now.clone();
            file.durable_len = file.len;
        }
    }

    /// The page cache forgets some of the bytes, as drawn.
    pub fn chill(&mut self, percent: u64, rng: &mut Rng) {
        for (path, file) in &self.files {
            for n in 0..file.len.min(1 << 20).div_ceil(COLD) {
                if rng.below(100) < percent {
                    self.cold.insert((path.clone(), n));
                }
            }
        }
    }

    fn file(&mut self, file: FileId) -> Result<&mut File, DiskError> {
        self.files.get_mut(&self.ids[file.0 as usize]).ok_or(DiskError::Missing)
    }
}

impl Disk for MemDisk {
    fn open(&mut self, path: &str, open: Open) -> Result<FileId, DiskError> {
        if !self.files.contains_key(path) {
            let Open::Create { len } = open else { return Err(DiskError::Missing) };
            let file = File { len, modified_ms: self.now_ms, ..File::default() };
            self.files.insert(path.to_owned(), file);
        }
        let known = self.ids.get_index_of(path);
        let at = known.unwrap_or_else(|| self.ids.insert_full(path.to_owned()).0);
        Ok(FileId(u32::try_from(at).expect("few files")))
    }

    fn close(&mut self, _file: FileId) {}

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.file(file).map(|file| file.len)
    }

    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, DiskError> {
        let start = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let mut found: BTreeMap<String, Entry> = BTreeMap::new();
        for (path, file) in self.files.range(start.clone()..).take_while(|(path, _)| path.starts_with(&start)) {
            let rest = &path[start.len()..];
            let (name, is_dir) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            let len = if is_dir { 0 } else { file.len };
            let entry = Entry { name: name.to_owned(), len, dir: is_dir, modified_ms: file.modified_ms };
            found.insert(name.to_owned(), entry);
        }
        Ok(found.into_values().collect())
    }

    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(why) = &self.fails {
            return Err(why.clone());
        }
        self.writes += 1;
        let now_ms = self.now_ms;
        let path = self.ids[file.0 as usize].clone();
        let range = at / COLD..(at + bytes.len() as u64).div_ceil(COLD);
        self.cold.retain(|(of, n)| *of != path || !range.contains(n));
        let file = self.file(file)?;
        file.modified_ms = now_ms;
        file.write(at, bytes);
        Ok(())
    }

    fn read(&mut self, file: FileId, at: u64, len: usize) -> Result<Read, DiskError> {
        let path = self.ids[file.0 as usize].clone();
        let mut pieces = at / COLD..(at + len as u64).div_ceil(COLD);
        if !self.cold.is_empty() && pieces.any(|n| self.cold.contains(&(path.clone(), n))) {
            return Ok(Read::Cold);
        }
        self.file(file).map(|file| Read::Hot(file.read(at, len)))
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let file = self.file(file)?;
        let kept = file.read(0, len as usize);
        *file = File { durable: file.durable.clone(), durable_len: file.durable_len, ..File::default() };
        file.write(0, &kept);
        Ok(())
    }

    fn usage(&mut self) -> Usage {
        self.usage
    }
}

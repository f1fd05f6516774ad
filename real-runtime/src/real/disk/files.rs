//! The table of files that both sides of the disk share.
//!
//! Invariant: a path keeps its [`FileId`] for the life of the process, while descriptors and mappings come and go: at
//! most [`Files::open_max`] of them are held, and the ones not used lately are given up first.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use seedmq_core::node::{DiskError, FileId, Open};

use super::resident::Residency;
use super::{StoreDir, disk_error};

/// Bytes behind the last write that are taken to be in memory without asking.
const WARM_BYTES: u64 = 32 << 20;

pub(super) type SharedFiles = Rc<RefCell<Files>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Files {
    dir: StoreDir,
    ids: HashMap<Arc<str>, FileId>,
    files: Vec<Entry>,
    /// Files with a descriptor, and where the search for one to give up goes on.
    open: Vec<FileId>,
    hand: usize,
    open_max: usize,
    /// Directories whose own entries are durable.
    durable_dirs: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    path: Arc<str>,
    open: Option<OpenFile>,
    /// Used since the hand last passed.
    used: bool,
    /// Its directory entry may not be durable yet.
    new: bool,
}

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: Arc<File>,
    pub(super) len: u64,
    /// The file as it was when it was mapped, for files of the commit log.
    pub(super) map: Option<Bytes>,
    /// What is known of the mapping's pages.
    pub(super) residency: Residency,
    /// Written lately by this process.
    pub(super) warm: Range<u64>,
}

impl OpenFile {
    /// Notes a write.
    pub(super) fn wrote(&mut self, at: u64, len: u64) {
        let end = at + len;
        self.len = self.len.max(end);
        let start = if self.warm.end == at { self.warm.start } else { at };
        self.warm = start.max(end.saturating_sub(WARM_BYTES))..end;
    }
}

impl Files {
    pub(super) fn shared(dir: StoreDir, open_max: usize) -> SharedFiles {
        Rc::new(RefCell::new(Files {
            dir,
            ids: HashMap::new(),
            files: Vec::new(),
            open: Vec::new(),
            hand: 0,
            open_max,
            durable_dirs: HashSet::new(),
        }))
    }

    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.dir.paths.resolve(path)
    }
    pub(super) fn commit_log_dir(&self) -> PathBuf {
        self.dir.paths.commit_log_dir()
    }
    pub(super) fn path(&self, file: FileId) -> &Arc<str> {
        &self.entry(file).path
    }

    fn entry(&self, file: FileId) -> &Entry {
        self.files.get(file.0 as usize).expect("file ids come from this table")
    }
    fn entry_mut(&mut self, file: FileId) -> &mut Entry {
        self.files.get_mut(file.0 as usize).expect("file ids come from this table")
    }

    fn id(&mut self, path: &str) -> FileId {
        if let Some(id) = self.ids.get(path) {
            return *id;
        }
        let id = FileId(u32::try_from(self.files.len()).expect("fewer than four billion files"));
        let path: Arc<str> = path.into();
        self.ids.insert(Arc::clone(&path), id);
        self.files.push(Entry { path, open: None, used: false, new: false });
        id
    }

    /// Opens or creates a file.
    pub(super) fn open(&mut self, path: &str, how: Open) -> Result<FileId, DiskError> {
        if let Some(id) = self.ids.get(path)
            && self.entry(*id).open.is_some()
        {
            return Ok(*id);
        }
        let real = self.resolve(path);
        let (file, new) = match File::options().read(true).write(true).open(&real) {
            Ok(file) => (file, false),
            Err(error) => match (how, error.kind()) {
                (Open::Create { len }, io::ErrorKind::NotFound) => {
                    (create(&real, len).map_err(|error| disk_error(&error))?, true)
                }
                _ => return Err(disk_error(&error)),
            },
        };
        self.adopt(path, file, new)
    }

    /// Takes in a file that was opened elsewhere.
    pub(super) fn adopt(&mut self, path: &str, file: File, new: bool) -> Result<FileId, DiskError> {
        let meta = file.metadata().map_err(|error| disk_error(&error))?;
        if meta.is_dir() {
            return Err(DiskError::Io(format!("{path} is a directory")));
        }
        let id = self.id(path);
        self.close(id);
        self.make_room();
        let open =
            OpenFile { file: Arc::new(file), len: meta.len(), map: None, residency: Residency::default(), warm: 0..0 };
        let entry = self.entry_mut(id);
        entry.open = Some(open);
        entry.used = true;
        entry.new |= new;
        self.open.push(id);
        Ok(id)
    }

    /// The open file, opened again if its descriptor was given up.
    pub(super) fn opened(&mut self, file: FileId) -> Result<&mut OpenFile, DiskError> {
        if self.entry(file).open.is_none() {
            let path = Arc::clone(self.path(file));
            self.open(&path, Open::Existing)?;
        }
        let entry = self.entry_mut(file);
        entry.used = true;
        Ok(entry.open.as_mut().expect("it was just opened"))
    }

    /// Gives up descriptor and mapping.
    pub(super) fn close(&mut self, file: FileId) {
        if self.entry_mut(file).open.take().is_some() {
            let at = self.open.iter().position(|id| *id == file).expect("open files are listed");
            self.open.swap_remove(at);
        }
    }

    /// As [`Files::close`], when the path is known at all.
    pub(super) fn close_path(&mut self, path: &str) {
        if let Some(id) = self.ids.get(path) {
            self.close(*id);
        }
    }

    /// Second chance: a descriptor that was not used since the hand last passed goes.
    fn make_room(&mut self) {
        while self.open.len() >= self.open_max {
            self.hand = if self.hand + 1 < self.open.len() { self.hand + 1 } else { 0 };
            let id = self.open[self.hand];
            if !std::mem::take(&mut self.entry_mut(id).used) {
                self.entry_mut(id).open = None;
                self.open.swap_remove(self.hand);
            }
        }
    }

    /// The directories to sync so that the entry of `file` is durable: its own, and those above as long as they may be new
    /// themselves. None when the entry is durable already.
    pub(super) fn begin_entry_sync(&mut self, file: FileId) -> Vec<PathBuf> {
        let entry = self.entry(file);
        if !entry.new {
            return Vec::new();
        }
        let mut dirs = Vec::new();
        let mut rest = &*entry.path;
        loop {
            let dir = rest.rsplit_once('/').map_or("", |(dir, _)| dir);
            dirs.push(self.resolve(dir));
            if dir.is_empty() || self.durable_dirs.contains(dir) {
                return dirs;
            }
            rest = dir;
        }
    }

    /// What came of the sync that [`Files::begin_entry_sync`] began.
    pub(super) fn end_entry_sync(&mut self, file: FileId, durable: bool) {
        if !durable || !std::mem::take(&mut self.entry_mut(file).new) {
            return;
        }
        let path = Arc::clone(self.path(file));
        let mut rest = &*path;
        while let Some((dir, _)) = rest.rsplit_once('/') {
            self.durable_dirs.insert(dir.to_owned());
            rest = dir;
        }
    }
}

fn create(path: &PathBuf, len: u64) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.set_len(len)?;
    Ok(file)
}

/// Half of the descriptors that this process may have; the rest is for connections.
pub(super) fn open_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(limit / 2).unwrap_or(usize::MAX).clamp(64, 32_768)
}

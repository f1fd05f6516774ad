//! The disk of this machine: a store directory that belongs to one process.
//!
//! Invariant: as long as a [`StoreDir`] lives, no other process of ours and no Java broker has the same directory open.
//! Nothing here deletes a file unless a machine asked for that file.

mod fast;
mod files;
mod handover;
mod resident;
#[allow(missing_docs)]
mod sync {
    pub(super) use std::sync::{Condvar, Mutex};
}
mod slow;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use seedmq_core::node::DiskError;

pub use fast::FastDisk;
pub use slow::ThreadedDisk;

/// Where the parts of a store lie.
#[derive(Clone, Debug)]
pub struct StorePaths {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`, when it is not `commitlog` below the root.
    pub commit_log: Option<PathBuf>,
    /// `storePathConsumeQueue`, when it is not `consumequeue` below the root.
    pub consume_queue: Option<PathBuf>,
    /// `storePathIndex`, when it is not `index` below the root.
    pub index: Option<PathBuf>,
}

impl StorePaths {
    /// Everything below one directory.
    pub fn below(root: impl Into<PathBuf>) -> StorePaths {
        StorePaths { root: root.into(), commit_log: None, consume_queue: None, index: None }
    }

    /// Where a path of the machine's lies.
    fn resolve(&self, path: &str) -> PathBuf {
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let other = match first {
            "commitlog" => &self.commit_log,
            "consumequeue" => &self.consume_queue,
            "index" => &self.index,
            _ => &None,
        };
        match (other, rest) {
            (Some(other), Some(rest)) => other.join(rest),
            (Some(other), None) => other.clone(),
            (None, _) => self.root.join(path),
        }
    }

    fn commit_log_dir(&self) -> PathBuf {
        self.resolve("commitlog")
    }
}

/// Why a store directory could not be taken. The text names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub enum StoreDirError {
    /// Another process has it.
    #[error(
        "{root} is in use: another process holds {lock}{pid}. Stop that process, or choose another place ({setting})"
    )]
    InUse {
        /// The store.
        root: String,
        /// Its lock file.
        lock: String,
        /// What the place is chosen with.
        setting: &'static str,
        /// ` (process N)` when the holder left its number.
        pid: String,
    },
    /// The operating system refused.
    #[error(
        "the store directory {path} cannot be used: {error}. Check that it is a directory, writable by this user, on a disk with free space"
    )]
    Io {
        /// Which path.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// A store directory that this process has locked.
#[derive(Debug)]
pub struct StoreDir {
    paths: StorePaths,
    /// Held for its locks.
    _lock: File,
}

impl StoreDir {
    /// Creates the directories that are missing and takes the file `lock`, as the Java store does.
    pub fn take(paths: StorePaths) -> Result<StoreDir, StoreDirError> {
        StoreDir::take_with(paths, "lock", "--store, or storePathRootDir in the configuration file")
    }

    /// As [`StoreDir::take`], with a lock file of another name: for directories that several processes share.
    pub fn take_with(paths: StorePaths, lock_name: &str, setting: &'static str) -> Result<StoreDir, StoreDirError> {
        let parts = [&paths.commit_log, &paths.consume_queue, &paths.index];
        for dir in [&paths.root].into_iter().chain(parts.into_iter().flatten()) {
            std::fs::create_dir_all(dir).map_err(|error| refused(dir, error))?;
        }
        let path = paths.root.join(lock_name);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| refused(&path, error))?;
        if !lock_both(&lock).map_err(|error| refused(&path, error))? {
            return Err(StoreDirError::InUse {
                root: paths.root.display().to_string(),
                setting,
                lock: path.display().to_string(),
                pid: std::fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.trim().parse::<u32>().ok())
                    .map_or_else(String::new, |pid| format!(" (process {pid})")),
            });
        }
        let noted = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).and_then(|()| lock.flush());
        match noted {
            // The number is for people; a full disk is the store's to report.
            Ok(()) | Err(_) => Ok(StoreDir { paths, _lock: lock }),
        }
    }

    /// Both sides of the disk. They share one table of files and stay on this thread.
    pub fn open(self) -> (FastDisk, ThreadedDisk) {
        self.open_with(files::open_max())
    }

    /// As [`StoreDir::open`], with at most this many descriptors at once.
    pub fn open_with(self, descriptors: usize) -> (FastDisk, ThreadedDisk) {
        let files = files::Files::shared(self, descriptors);
        (FastDisk::new(std::rc::Rc::clone(&files)), ThreadedDisk::new(files))
    }
}

fn refused(path: &Path, error: io::Error) -> StoreDirError {
    StoreDirError::Io { path: path.display().to_string(), error }
}

/// Takes the lock that a Java broker takes (a POSIX record lock) and the one that also holds within a process. False when
/// somebody has either.
fn lock_both(file: &File) -> io::Result<bool> {
    match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// What a machine is told.
fn disk_error(error: &io::Error) -> DiskError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full,
        ErrorKind::NotFound => DiskError::Missing,
        _ => DiskError::Io(error.to_string()),
    }
}

//! A disk that is not there, for nodes that keep nothing.

use bytes::Bytes;
use seedmq_core::node::{Addr, Disk, DiskError, Entry, FileId, Open, Read, Usage};

use super::SlowDisk;

/// Holds no file and takes none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDisk;

impl Disk for NoDisk {
    fn open(&mut self, _path: &str, _open: Open) -> Result<FileId, DiskError> {
        Err(DiskError::Missing)
    }
    fn close(&mut self, _file: FileId) {}
    fn len(&mut self, _file: FileId) -> Result<u64, DiskError> {
        Err(DiskError::Missing)
    }
    fn list(&mut self, _dir: &str) -> Result<Vec<Entry>, DiskError> {
        Ok(Vec::new())
    }
    fn write(&mut self, _file: FileId, _at: u64, _bytes: &[u8]) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    fn read(&mut self, _file: FileId, _at: u64, _len: usize) -> Result<Read, DiskError> {
        Err(DiskError::Missing)
    }
    fn truncate(&mut self, _file: FileId, _len: u64) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    fn usage(&mut self) -> Usage {
        Usage::default()
    }
}

impl SlowDisk for NoDisk {
    async fn sync(&self, _file: FileId) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    async fn fetch(&self, _file: FileId, _at: u64, _len: u32) -> Result<Bytes, DiskError> {
        Err(DiskError::Missing)
    }
    async fn allocate(&self, _path: &Addr, _len: u64) -> Result<FileId, DiskError> {
        Err(DiskError::Missing)
    }
    async fn read_whole(&self, _path: &str) -> Result<Bytes, DiskError> {
        Err(DiskError::Missing)
    }
    async fn write_whole(&self, _path: &str, _bytes: Bytes) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    async fn sync_whole(&self, _path: &str) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    async fn rename(&self, _from: &str, _to: &str) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    async fn sync_dir(&self, _path: &str) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
    async fn remove(&self, _path: &str) -> Result<(), DiskError> {
        Err(DiskError::Missing)
    }
}

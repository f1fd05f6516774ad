//! The synchronous side of the disk: the page cache.
//!
//! Invariant: a mapping is only ever read, and only where the file has bytes: writes go through `pwrite`, so a full disk
//! is an error and never a signal. A file is never shortened while this table maps it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use memmap2::Mmap;
use rustix::fs::StatVfs;
use seedmq_core::node::{Disk, DiskError, Entry, FileId, Open, Read, Usage};

use super::disk_error;
use super::files::{OpenFile, SharedFiles};
use super::resident::Residency;

/// See the module.
#[derive(Debug)]
pub struct FastDisk {
    files: SharedFiles,
}

impl FastDisk {
    pub(super) fn new(files: SharedFiles) -> FastDisk {
        FastDisk { files }
    }
}

impl Disk for FastDisk {
    fn open(&mut self, path: &str, open: Open) -> Result<FileId, DiskError> {
        self.files.borrow_mut().open(path, open)
    }

    fn close(&mut self, file: FileId) {
        self.files.borrow_mut().close(file);
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        Ok(self.files.borrow_mut().opened(file)?.len)
    }

    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, DiskError> {
        let path = self.files.borrow().resolve(dir);
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk_error(&error)),
        };
        let mut found = entries.map(|entry| describe(&entry?)).collect::<io::Result<Vec<Entry>>>();
        if let Ok(found) = &mut found {
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
        found.map_err(|error| disk_error(&error))
    }

    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut files = self.files.borrow_mut();
        let open = files.opened(file)?;
        open.file.write_all_at(bytes, at).map_err(|error| disk_error(&error))?;
        open.wrote(at, bytes.len() as u64);
        Ok(())
    }

    fn read(&mut self, file: FileId, at: u64, len: usize) -> Result<Read, DiskError> {
        let mut files = self.files.borrow_mut();
        let mapped = files.path(file).starts_with("commitlog/");
        let open = files.opened(file)?;
        let end = open.len.min(at.saturating_add(len as u64));
        if at >= end {
            return Ok(Read::Hot(Bytes::new()));
        }
        if mapped { read_mapped(open, at, end) } else { read_copied(&open.file, at, end).map(Read::Hot) }
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let mut files = self.files.borrow_mut();
        let open = files.opened(file)?;
        open.map = None;
        open.residency = Residency::default();
        open.warm = 0..0;
        open.file.set_len(len).map_err(|error| disk_error(&error))?;
        open.len = len;
        Ok(())
    }

    fn usage(&mut self) -> Usage {
        let files = self.files.borrow();
        let dir = files.commit_log_dir();
        let stat = rustix::fs::statvfs(&dir).or_else(|_| rustix::fs::statvfs(files.resolve("")));
        stat.map_or_else(|_| Usage::default(), |stat| usage(&stat))
    }
}

/// Blocks that the file system keeps for root are neither used nor free: a disk is as full as `df` says.
fn usage(stat: &StatVfs) -> Usage {
    let usable = stat.f_blocks.saturating_sub(stat.f_bfree) + stat.f_bavail;
    Usage { total: usable.saturating_mul(stat.f_frsize), free: stat.f_bavail.saturating_mul(stat.f_frsize) }
}

fn describe(entry: &std::fs::DirEntry) -> io::Result<Entry> {
    let meta = entry.metadata()?;
    let modified = meta.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Entry {
        name: entry.file_name().to_string_lossy().into_owned(),
        len: if meta.is_dir() { 0 } else { meta.len() },
        dir: meta.is_dir(),
        modified_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
    })
}

fn read_copied(file: &File, at: u64, end: u64) -> Result<Bytes, DiskError> {
    let mut bytes = BytesMut::zeroed(usize::try_from(end - at).expect("reads fit into memory"));
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(disk_error(&error)),
        }
    }
    bytes.truncate(done);
    Ok(bytes.freeze())
}

fn read_mapped(open: &mut OpenFile, at: u64, end: u64) -> Result<Read, DiskError> {
    let (from, to) = (index(at), index(end));
    let map = match open.map.take() {
        Some(map) if map.len() >= to => map,
        _ => {
            open.residency = Residency::default();
            map_whole(&open.file).map_err(|error| disk_error(&error))?
        }
    };
    let known_warm = open.warm.start <= at && end <= open.warm.end;
    let bytes = map.slice(from..to.min(map.len()));
    let in_memory = known_warm || open.residency.holds(&map, from..from + bytes.len());
    open.map = Some(map);
    Ok(if in_memory { Read::Hot(bytes) } else { Read::Cold })
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("file positions fit into memory addresses")
}

#[allow(unsafe_code)]
fn map_whole(file: &File) -> io::Result<Bytes> {
    // SAFETY: the store directory is locked, so only this process changes the file; it writes with `pwrite` behind what
    // readers were given, and shortens a file only in recovery, after dropping its mapping here and before anybody reads.
    // A mapping is private to this module and read-only.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{StatVfs, StatVfsMountFlags};

    use super::{Usage, usage};

    #[test]
    fn blocks_kept_for_root_do_not_make_a_disk_full() {
        let stat = StatVfs {
            f_bsize: 4096,
            f_frsize: 4096,
            f_blocks: 1000,
            f_bfree: 900,
            f_bavail: 300,
            f_files: 0,
            f_ffree: 0,
            f_favail: 0,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        assert_eq!(usage(&stat), Usage { total: 400 * 4096, free: 300 * 4096 });
    }
}

//! The slow side of a simulated disk: operations that take virtual time.
//!
//! Invariant: an operation takes effect when it completes, except that a sync covers what was written when it was asked
//! for; one whose process dies before that has no effect beyond what a power cut may draw.

use bytes::Bytes;
use seedmq::driver::SlowDisk;
use seedmq_core::node::{Addr, DiskError, FileId};

use super::file::File;
use super::image::Inode;
use super::{Change, Platter, SimDisk, SyncEnd, parent};
use crate::world::entity;

/// See the module.
#[derive(Clone, Debug)]
pub struct SimSlow {
    pub(super) fast: SimDisk,
}

impl SimSlow {
    /// Takes the time of one operation.
    async fn wait(&self, kind: &str, path: &str, share: u64) {
        let disk = &self.fast.disk;
        let latency = disk.lock().latency(kind, path) / share;
        let at = disk.world.now_ns() + latency;
        let mut until = at;
        loop {
            disk.world.sleep(disk.host, entity(kind, &[u64::from(disk.host.0), entity(path, &[])]), until).await;
            // Of a disk that stands still nothing comes back before it goes on.
            let stalled = disk.lock().stalled_until_ns;
            if stalled <= disk.world.now_ns() {
                return;
            }
            until = stalled + latency.min(1_000_000);
        }
    }
    fn find(&self, path: &str) -> Result<Inode, DiskError> {
        self.fast.disk.lock().image.find(path).ok_or(DiskError::Missing)
    }
    async fn sync_inode(&self, path: &str, inode: Inode) -> Result<(), DiskError> {
        let disk = &self.fast.disk;
        let sync = {
            let mut platter = disk.lock();
            platter.syncing += 1;
            platter.image.sync_asked(inode)
        };
        if let Some(call) = &disk.on_sync {
            call();
        }
        self.wait("sync", path, 1).await;
        let platter = &mut *disk.lock();
        platter.syncing -= 1;
        if platter.fail_syncs.strikes(path) {
            platter.counts.failed_syncs += 1;
            platter.image.sync_failed(inode, sync);
            disk.tell(&Change::Sync { path, end: SyncEnd::Failed });
            return Err(DiskError::Io("sync failed".to_owned()));
        }
        platter.counts.syncs += 1;
        let end = if platter.lies {
            platter.counts.lies += 1;
            platter.image.sync_lied(inode, sync);
            SyncEnd::Lied
        } else {
            platter.image.sync_done(inode, sync);
            SyncEnd::Done
        };
        disk.tell(&Change::Sync { path, end });
        Ok(())
    }
    fn rename_now(platter: &mut Platter, from: &str, to: &str) -> Result<(), DiskError> {
        if platter.image.rename(from, to) { Ok(()) } else { Err(DiskError::Missing) }
    }
}

impl SlowDisk for SimSlow {
    async fn sync(&self, file: FileId) -> Result<(), DiskError> {
        let (inode, path) = {
            let platter = self.fast.disk.lock();
            let mut table = self.fast.table();
            (table.inode(file, &platter.image)?, table.path(file))
        };
        self.sync_inode(&path, inode).await
    }
    async fn fetch(&self, file: FileId, at: u64, len: u32) -> Result<Bytes, DiskError> {
        let path = self.fast.table().path(file);
        self.wait("fetch", &path, 2).await;
        self.fast.with(file, |platter, inode| platter.read_slowly(inode, &path, at, len as usize))
    }
    async fn allocate(&self, path: &Addr, len: u64) -> Result<FileId, DiskError> {
        self.wait("allocate", path, 1).await;
        let now = self.fast.disk.wall_ms();
        let mut platter = self.fast.disk.lock();
        platter.refuse_write(path)?;
        if len > platter.free() {
            platter.counts.no_room += 1;
            return Err(DiskError::Full);
        }
        if platter.image.find(path).is_none() {
            platter.image.create(path, File::allocated(len, now));
            self.fast.disk.tell(&Change::Create { path, len });
        }
        Ok(self.fast.table().id(path))
    }
    async fn read_whole(&self, path: &str) -> Result<Bytes, DiskError> {
        self.wait("fetch", path, 4).await;
        let inode = self.find(path)?;
        let mut platter = self.fast.disk.lock();
        let len = platter.image.file(inode).len as usize;
        platter.read_slowly(inode, path, 0, len)
    }
    async fn write_whole(&self, path: &str, bytes: Bytes) -> Result<(), DiskError> {
        self.wait("write", path, 8).await;
        let now = self.fast.disk.wall_ms();
        let mut platter = self.fast.disk.lock();
        platter.refuse_write(path)?;
        if bytes.len() as u64 > platter.free() {
            platter.counts.no_room += 1;
            return Err(DiskError::Full);
        }
        let inode = match platter.image.find(path) {
            Some(inode) => inode,
            None => platter.image.create(path, File::sparse(0, now)),
        };
        platter.image.file_mut(inode).truncate(0, now);
        platter.image.file_mut(inode).write(0, &bytes, now);
        let (len, sum) = (bytes.len() as u64, crc32fast::hash(&bytes));
        self.fast.disk.tell(&Change::Truncate { path, len: 0 });
        self.fast.disk.tell(&Change::Write { path, at: 0, len, sum, refused: false });
        Ok(())
    }
    async fn sync_whole(&self, path: &str) -> Result<(), DiskError> {
        let inode = self.find(path)?;
        self.sync_inode(path, inode).await
    }
    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.wait("rename", to, 4).await;
        let platter = &mut *self.fast.disk.lock();
        platter.refuse_write(to)?;
        let renamed = Self::rename_now(platter, from, to);
        self.fast.disk.tell(&Change::Rename { from, to, done: renamed.is_ok() });
        renamed
    }
    async fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        self.wait("sync-dir", path, 1).await;
        let platter = &mut *self.fast.disk.lock();
        let (file, path) = (path, parent(path));
        if platter.fail_dir_syncs.strikes(file) {
            platter.counts.failed_syncs += 1;
            self.fast.disk.tell(&Change::SyncDir { path, end: SyncEnd::Failed });
            return Err(DiskError::Io("sync of a directory failed".to_owned()));
        }
        let end = if platter.lies {
            platter.counts.lies += 1;
            platter.image.dir_lied(path);
            SyncEnd::Lied
        } else {
            platter.image.dir_synced(path);
            SyncEnd::Done
        };
        self.fast.disk.tell(&Change::SyncDir { path, end });
        Ok(())
    }
    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.wait("remove", path, 4).await;
        let done = self.fast.disk.lock().image.remove(path);
        self.fast.disk.tell(&Change::Remove { path, done });
        if done { Ok(()) } else { Err(DiskError::Missing) }
    }
}

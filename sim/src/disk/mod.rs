//! The simulated disk of a host, which outlives its processes.
//!
//! Invariant: a process sees every write at once; the platter holds what was synced and, after a power cut, whatever the
//! draw left of the rest.

mod astray;
mod atlas;
mod change;
mod file;
mod image;
mod page;
mod slate;
mod slow;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use seedmq_core::node::{Disk, DiskError, Entry, FileId, Open, Read, Usage};
use serde::{Deserialize, Serialize};

pub use astray::{Astray, Sector};
pub use atlas::{Atlas, Held, Life as MachineLife, Place};
pub use change::{Change, SyncEnd};
use file::File;
pub use image::Image;
use image::{Inode, parent};
pub use page::{PAGE, SECTOR};
pub use slow::SimSlow;

use crate::dice::{Dice, entity};
use crate::tape::Folder;
use crate::world::{HostId, Life, World};

/// A device of so many bytes is not filled by what a run stores.
const LARGE: u64 = 4 << 30;

/// How a disk behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Least time of a slow operation, microseconds.
    pub least_us: u32,
    /// Mean of the exponential part, microseconds.
    pub mean_us: u32,
    /// Operations that take long, in a million.
    pub slow_ppm: u32,
    /// How much longer, microseconds.
    pub slow_us: u32,
    /// Chunks of 64 KiB that are cold after a start, in a million.
    pub cold_ppm: u32,
    /// Bytes on the device.
    pub capacity: u64,
}

impl Default for DiskSpec {
    fn default() -> Self {
        DiskSpec {
            least_us: 100,
            mean_us: 900,
            slow_ppm: 2_000,
            slow_us: 100_000,
            cold_ppm: 300_000,
            capacity: 64 << 30,
        }
    }
}

/// Counts of what a disk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DiskCounts {
    /// Writes into the page cache.
    pub writes: u64,
    /// Bytes of them.
    pub written: u64,
    /// Completed syncs.
    pub syncs: u64,
    /// Syncs that failed, and writes and allocations for which there was no room.
    pub failed_syncs: u64,
    /// Syncs, of directories too, that only said so.
    pub lies: u64,
    /// See `failed_syncs`.
    pub no_room: u64,
    /// Reads, and writes and allocations, that failed.
    pub failed_reads: u64,
    /// See there.
    pub failed_writes: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Sectors that lost unsynced content.
    pub sectors_lost: u64,
}

/// What belongs to a machine, whatever process runs on it.
#[derive(Debug)]
pub(crate) struct Platter {
    pub image: Image,
    pub spec: DiskSpec,
    /// Added to every slow operation, ns; see [`HostDisk::slow_down`].
    pub extra_ns: u64,
    /// No slow operation completes before this.
    pub stalled_until_ns: u64,
    /// Syncs that are to fail.
    fail_syncs: Failing,
    /// The same of directories.
    fail_dir_syncs: Failing,
    /// Syncs say that they are done, and leave what they cover in a cache.
    pub lies: bool,
    /// Reads that are to fail.
    fail_reads: Failing,
    /// Writes and allocations that are to fail.
    fail_writes: Failing,
    /// So many bytes fit in all, however large the device is.
    pub room: Option<u64>,
    pub counts: DiskCounts,
    /// Syncs in flight.
    pub syncing: u32,
    seed: u64,
    host: HostId,
    /// How often each kind of operation was done on each path: names the draws of the next one.
    ops: BTreeMap<u64, u64>,
}

/// Operations of one kind that are to fail.
#[derive(Debug, Default)]
struct Failing {
    left: u32,
    /// How the paths of their files begin.
    under: String,
}

impl Failing {
    fn new(left: u32, folder: Option<Folder>) -> Failing {
        Failing { left, under: folder.map_or(String::new(), |folder| format!("{}/", folder.name())) }
    }
    /// Whether the next one, on this file, fails.
    fn strikes(&mut self, path: &str) -> bool {
        let strikes = self.left > 0 && path.starts_with(&self.under);
        self.left -= u32::from(strikes);
        strikes
    }
}

impl Platter {
    /// The draws of the next operation of a kind on a path.
    fn dice(&mut self, kind: &str, path: &str) -> Dice {
        let name = entity(kind, &[u64::from(self.host.0), entity(path, &[])]);
        let nth = self.ops.entry(name).or_default();
        *nth += 1;
        Dice::new(self.seed, entity("disk", &[name, *nth]))
    }
    /// How long a slow operation takes, ns.
    fn latency(&mut self, kind: &str, path: &str) -> u64 {
        let spec = self.spec;
        let mut dice = self.dice(kind, path);
        let usual = u64::from(spec.least_us) * 1000 + dice.tail(u64::from(spec.mean_us) * 1000);
        usual + self.extra_ns + if dice.chance(spec.slow_ppm) { u64::from(spec.slow_us) * 1000 } else { 0 }
    }
    /// Bytes of a file from the device; they are in memory from then on.
    fn read_slowly(&mut self, inode: Inode, path: &str, at: u64, len: usize) -> Result<Bytes, DiskError> {
        let bad = self.image.file(inode).bad_at(at, len);
        if bad.is_none() && !self.fail_reads.strikes(path) {
            self.image.warm(inode, at, len);
            return Ok(self.image.file(inode).read(at, len));
        }
        self.counts.failed_reads += 1;
        Err(DiskError::Io(format!("{path} at byte {}: the device does not read it", bad.unwrap_or(at))))
    }
    /// Whether the device refuses the next write.
    fn refuse_write(&mut self, path: &str) -> Result<(), DiskError> {
        if !self.fail_writes.strikes(path) {
            return Ok(());
        }
        self.counts.failed_writes += 1;
        Err(DiskError::Io(format!("{path}: the device does not write")))
    }
    fn free(&self) -> u64 {
        let used = self.image.pages() * PAGE as u64;
        self.room.unwrap_or(self.spec.capacity).saturating_sub(used)
    }
}

/// Called when the disk has taken a sync and has not completed it.
pub(crate) type OnSync = Arc<dyn Fn() + Send + Sync>;

/// Called with each change of the disk.
pub(crate) type OnChange = Arc<dyn Fn(&Change<'_>) + Send + Sync>;

/// The disk of a host.
#[derive(Clone)]
pub struct HostDisk {
    platter: Arc<Mutex<Platter>>,
    world: Arc<World>,
    host: HostId,
    on_sync: Option<OnSync>,
    on_change: Option<OnChange>,
}

impl std::fmt::Debug for HostDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostDisk").field("host", &self.host).finish_non_exhaustive()
    }
}

impl HostDisk {
    /// An empty disk.
    pub fn new(world: &Arc<World>, host: HostId, spec: DiskSpec) -> HostDisk {
        let seed = world.lock().seed;
        let platter = Platter {
            image: Image::default(),
            spec,
            extra_ns: 0,
            stalled_until_ns: 0,
            fail_syncs: Failing::default(),
            fail_dir_syncs: Failing::default(),
            lies: false,
            fail_reads: Failing::default(),
            fail_writes: Failing::default(),
            room: None,
            counts: DiskCounts::default(),
            syncing: 0,
            seed,
            host,
            ops: BTreeMap::new(),
        };
        HostDisk {
            platter: Arc::new(Mutex::new(platter)),
            world: Arc::clone(world),
            host,
            on_sync: None,
            on_change: None,
        }
    }
    /// Calls back whenever a sync is in flight.
    #[must_use]
    pub(crate) fn with_on_sync(mut self, call: OnSync) -> HostDisk {
        self.on_sync = Some(call);
        self
    }
    /// Calls back with each change, in order.
    #[must_use]
    pub(crate) fn with_on_change(mut self, call: OnChange) -> HostDisk {
        self.on_change = Some(call);
        self
    }
    fn tell(&self, change: &Change<'_>) {
        if let Some(call) = &self.on_change {
            call(change);
        }
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().expect("no task panics while it holds a disk")
    }
    /// Both sides of the disk for a new process.
    pub fn open(&self) -> (SimDisk, SimSlow) {
        let mut platter = self.lock();
        let (ppm, mut dice) = (platter.spec.cold_ppm, platter.dice("cold", ""));
        platter.image.chill(ppm, &mut dice);
        platter.syncing = 0;
        drop(platter);
        let table = Arc::new(Mutex::new(Table::default()));
        let life = self.world.lock().host(self.host).life;
        let fast = SimDisk { disk: self.clone(), life, table };
        (fast.clone(), SimSlow { fast })
    }
    /// The power is about to go: what of all that syncs lied about reaches the platter is drawn. Whether anything does not.
    pub fn write_back(&self) -> bool {
        let mut platter = self.lock();
        let mut dice = platter.dice("write-back", "");
        platter.image.write_back(&mut dice)
    }
    /// A file that was there before anybody ran.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let now_ms = self.wall_ms();
        let image = &mut self.lock().image;
        let inode = image.create(path, File::sparse(0, now_ms));
        image.file_mut(inode).write(0, bytes, now_ms);
        let sync = image.sync_asked(inode);
        image.sync_done(inode, sync);
    }
    /// The machine lost power.
    pub fn cut(&self) {
        let mut platter = self.lock();
        let mut dice = platter.dice("cut", "");
        let lost = platter.image.cut(&mut dice);
        platter.counts.cuts += 1;
        platter.counts.sectors_lost += lost;
    }
    /// Slow operations take so much longer from now on.
    pub fn slow_down(&self, extra_ns: u64) {
        self.lock().extra_ns = extra_ns;
    }
    /// The next so many syncs fail, of all files or of those in a folder, or of the directories that hold them.
    pub fn fail_syncs(&self, syncs: u32, folder: Option<Folder>, of_names: bool) {
        let mut platter = self.lock();
        let failing = if of_names { &mut platter.fail_dir_syncs } else { &mut platter.fail_syncs };
        *failing = Failing::new(syncs, folder);
    }
    /// No sync fails any more.
    pub fn mend_syncs(&self) {
        let mut platter = self.lock();
        (platter.fail_syncs, platter.fail_dir_syncs) = (Failing::default(), Failing::default());
    }
    /// Syncs lie from now on, or no more.
    pub fn lie(&self, on: bool) {
        self.lock().lies = on;
    }
    /// The next so many reads fail, of all files or of those in a folder; memory gives up most of what it holds, so that there are reads.
    pub fn fail_reads(&self, reads: u32, folder: Option<Folder>) {
        let mut platter = self.lock();
        platter.fail_reads = Failing::new(reads, folder);
        let mut dice = platter.dice("evict", "");
        platter.image.evict(700_000, &mut dice);
    }
    /// The next so many writes and allocations fail, of all files or of those in a folder.
    pub fn fail_writes(&self, writes: u32, folder: Option<Folder>) {
        self.lock().fail_writes = Failing::new(writes, folder);
    }
    /// So many sectors of log and queues cannot be read until they are written, or cured.
    pub fn go_bad(&self, sectors: u32) {
        let mut platter = self.lock();
        let mut dice = platter.dice("bad", "");
        platter.image.go_bad(sectors, &mut dice);
    }
    /// Everything can be read again.
    pub fn cure(&self) {
        let mut platter = self.lock();
        platter.fail_reads = Failing::default();
        platter.image.cure();
    }
    /// A bit flips on the disk.
    pub fn flip(&self, path: &str, at: u64, bit: u8) {
        let mut platter = self.lock();
        let inode = platter.image.find(path).expect("the place of a damage was found in this image");
        platter.image.file_mut(inode).flip(at, bit);
    }
    /// The write of one sector turns out to have reached another.
    pub fn misdirect(&self, from: &Sector, to: &Sector) {
        self.lock().image.misdirect((&from.path, from.at), (&to.path, to.at));
    }
    /// The disk is a new one.
    pub fn replace(&self) {
        let mut platter = self.lock();
        let version = platter.image.version;
        platter.image = Image::empty_after(version);
    }
    /// Only so many bytes more fit, or there is room again.
    pub fn fill(&self, left: Option<u64>) {
        let platter = &mut *self.lock();
        let used = platter.image.pages() * PAGE as u64;
        platter.room = left.map(|left| used + left);
    }
    /// How much of it is used, in percent; nothing when it is large and nobody fills it.
    pub fn used_percent(&self) -> Option<u64> {
        let platter = self.lock();
        let capacity = platter.spec.capacity;
        let may_fill = platter.room.is_some() || capacity < LARGE;
        may_fill.then(|| (capacity.saturating_sub(platter.free()) * 100).checked_div(capacity).unwrap_or(0))
    }
    /// The device is twice as large from now on.
    pub fn grow(&self) {
        self.lock().spec.capacity *= 2;
    }
    /// No slow operation completes before this time.
    pub fn stall(&self, until_ns: u64) {
        let platter = &mut *self.lock();
        platter.stalled_until_ns = platter.stalled_until_ns.max(until_ns);
    }
    /// A copy of everything on the disk as it is now.
    pub fn image(&self) -> Image {
        self.lock().image.clone()
    }
    /// Looks at everything on the disk as it is now, without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.lock().image)
    }
    /// What it did so far.
    pub fn counts(&self) -> DiskCounts {
        self.lock().counts
    }
    fn wall_ms(&self) -> u64 {
        self.world.wall_ms(self.host)
    }
}

/// The files that a process has opened: a path keeps its number.
#[derive(Debug, Default)]
struct Table {
    handles: Vec<Handle>,
}

#[derive(Debug)]
struct Handle {
    path: String,
    /// What the path led to when the names had this version.
    found: Option<(u64, Inode)>,
}

impl Table {
    fn id(&mut self, path: &str) -> FileId {
        let at = self.handles.iter().position(|handle| handle.path == path).unwrap_or_else(|| {
            self.handles.push(Handle { path: path.to_owned(), found: None });
            self.handles.len() - 1
        });
        FileId(at as u32)
    }
    fn path(&self, file: FileId) -> String {
        self.handles[file.0 as usize].path.clone()
    }
    fn inode(&mut self, file: FileId, image: &Image) -> Result<Inode, DiskError> {
        let handle = &mut self.handles[file.0 as usize];
        if let Some((version, inode)) = handle.found
            && version == image.version
        {
            return Ok(inode);
        }
        let inode = image.find(&handle.path).ok_or(DiskError::Missing)?;
        handle.found = Some((image.version, inode));
        Ok(inode)
    }
}

/// The synchronous side of a disk for one process. Once that process is dead it changes nothing any more.
#[derive(Clone, Debug)]
pub struct SimDisk {
    disk: HostDisk,
    life: Life,
    table: Arc<Mutex<Table>>,
}

impl SimDisk {
    fn with<T>(
        &self,
        file: FileId,
        act: impl FnOnce(&mut Platter, Inode) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut platter = self.disk.lock();
        let inode = self.table().inode(file, &platter.image)?;
        act(&mut platter, inode)
    }
    fn is_dead(&self) -> bool {
        self.disk.world.lock().host(self.disk.host).life != self.life
    }
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no task panics while it holds a table of files")
    }
}

impl Disk for SimDisk {
    fn open(&mut self, path: &str, open: Open) -> Result<FileId, DiskError> {
        let now = self.disk.wall_ms();
        let mut platter = self.disk.lock();
        match (platter.image.find(path), open) {
            (Some(_), _) => {}
            (None, Open::Existing) => return Err(DiskError::Missing),
            (None, Open::Create { len }) => {
                platter.image.create(path, File::sparse(len, now));
                self.disk.tell(&Change::Create { path, len });
            }
        }
        Ok(self.table().id(path))
    }
    fn close(&mut self, _file: FileId) {}
    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.with(file, |platter, inode| Ok(platter.image.file(inode).len))
    }
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, DiskError> {
        let platter = self.disk.lock();
        let dir = dir.trim_matches('/');
        let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let mut entries: Vec<Entry> = Vec::new();
        for (path, file) in platter.image.below(dir) {
            let rest = &path[skip..];
            let (name, is_dir) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            if entries.last().is_some_and(|last| last.name == name) {
                continue;
            }
            let len = if is_dir { 0 } else { file.len };
            entries.push(Entry { name: name.to_owned(), len, dir: is_dir, modified_ms: file.modified_ms });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Ok(entries)
    }
    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if self.is_dead() {
            return Ok(());
        }
        let now = self.disk.wall_ms();
        let path = self.table().path(file);
        let tell = |bytes: &[u8], refused| {
            let (path, len, sum) = (path.as_str(), bytes.len() as u64, crc32fast::hash(bytes));
            self.disk.tell(&Change::Write { path, at, len, sum, refused });
        };
        self.with(file, |platter, inode| {
            if let Err(refused) = platter.refuse_write(&path) {
                // Some of it got there.
                let part = platter.dice("part", &path).below(bytes.len() as u64 + 1) as usize;
                platter.image.file_mut(inode).write(at, &bytes[..part], now);
                tell(&bytes[..part], true);
                return Err(refused);
            }
            let more = platter.image.file(inode).pages_missing(at, bytes.len());
            if more > 0 && more * PAGE as u64 > platter.free() {
                platter.counts.no_room += 1;
                tell(&[], true);
                return Err(DiskError::Full);
            }
            platter.image.file_mut(inode).write(at, bytes, now);
            tell(bytes, false);
            platter.counts.writes += 1;
            platter.counts.written += bytes.len() as u64;
            Ok(())
        })
    }
    fn read(&mut self, file: FileId, at: u64, len: usize) -> Result<Read, DiskError> {
        self.with(file, |platter, inode| {
            let file = platter.image.file(inode);
            Ok(if file.is_cold(at, len) { Read::Cold } else { Read::Hot(file.read(at, len)) })
        })
    }
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let now = self.disk.wall_ms();
        let path = self.table().path(file);
        self.with(file, |platter, inode| {
            platter.image.file_mut(inode).truncate(len, now);
            self.disk.tell(&Change::Truncate { path: &path, len });
            Ok(())
        })
    }
    fn usage(&mut self) -> Usage {
        let platter = self.disk.lock();
        Usage { total: platter.spec.capacity, free: platter.free() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_in_one_folder_leaves_the_others_alone() {
        let mut failing = Failing::new(1, Some(Folder::Config));
        assert!(!failing.strikes("commitlog/00000000000000000000"));
        assert!(
            !failing.strikes("configuration/topics.json"),
            "the name of a folder is meant, not a beginning of names"
        );
        assert!(failing.strikes("config/topics.json"));
        assert!(!failing.strikes("config/topics.json"), "only one was to fail");
        assert!(Failing::new(1, None).strikes("index/20260101000000000"));
    }
}

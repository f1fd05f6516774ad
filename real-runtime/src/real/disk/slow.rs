//! The slow side of the disk: what waits for the device, on threads of its own.
//!
//! Invariant: the loop's thread never enters a system call here that waits for the device; files are looked up and adopted
//! on the loop's thread only, so the table needs no lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::FallocateFlags;
use seedmq_core::node::{Addr, DiskError, FileId};
use tokio::sync::oneshot;

use super::disk_error;
use super::files::SharedFiles;
use super::handover::Handover;
use crate::driver::SlowDisk;

/// Threads for syncs, and as many for everything else.
const THREADS: usize = 2;

struct Job(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

/// See the module.
#[derive(Debug)]
pub struct ThreadedDisk {
    files: SharedFiles,
    syncs: Crew,
    others: Crew,
}

/// Threads that take jobs from one queue, and end when this is dropped.
#[derive(Debug)]
struct Crew(Arc<Handover<Job>>);

impl Crew {
    fn start(name: &str) -> Crew {
        let jobs = Arc::new(Handover::<Job>::new());
        for _ in 0..THREADS {
            let jobs = Arc::clone(&jobs);
            let work = move || {
                while let Some(job) = jobs.take() {
                    job.0();
                }
            };
            std::thread::Builder::new().name(name.into()).spawn(work).expect("the system gives us a thread");
        }
        Crew(jobs)
    }

    /// Runs `job` on one of the threads.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, DiskError> {
        let (answer, answered) = oneshot::channel();
        self.0.push(Job(Box::new(move || {
            // Nobody waits when the node has ended.
            let _ = answer.send(job());
        })));
        match answered.await {
            Ok(result) => result.map_err(|error| disk_error(&error)),
            Err(_) => Err(DiskError::Io("the disk thread died".into())),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl ThreadedDisk {
    pub(super) fn new(files: SharedFiles) -> ThreadedDisk {
        ThreadedDisk { files, syncs: Crew::start("disk-sync"), others: Crew::start("disk-work") }
    }
    fn resolve(&self, path: &str) -> PathBuf {
        self.files.borrow().resolve(path)
    }
    fn file(&self, file: FileId) -> Result<Arc<File>, DiskError> {
        Ok(Arc::clone(&self.files.borrow_mut().opened(file)?.file))
    }
}

impl SlowDisk for ThreadedDisk {
    async fn sync(&self, file: FileId) -> Result<(), DiskError> {
        let open = self.file(file)?;
        let dirs = self.files.borrow_mut().begin_entry_sync(file);
        let job = move || {
            open.sync_data()?;
            dirs.iter().try_for_each(|dir| File::open(dir)?.sync_all())
        };
        let result = self.syncs.run(job).await;
        self.files.borrow_mut().end_entry_sync(file, result.is_ok());
        result
    }

    async fn fetch(&self, file: FileId, at: u64, len: u32) -> Result<Bytes, DiskError> {
        let open = self.file(file)?;
        let read = self.others.run(move || read_at(&open, at, len as usize)).await;
        let path = self.files.borrow().path(file).clone();
        read.map_err(|error| at_place(error, &path, at))
    }

    async fn allocate(&self, path: &Addr, len: u64) -> Result<FileId, DiskError> {
        let real = self.resolve(path);
        let file = self.others.run(move || allocate(&real, len)).await?;
        self.files.borrow_mut().adopt(path, file, true)
    }

    async fn read_whole(&self, path: &str) -> Result<Bytes, DiskError> {
        let real = self.resolve(path);
        let read = self.others.run(move || std::fs::read(real).map(Bytes::from)).await;
        read.map_err(|error| at_place(error, path, 0))
    }

    async fn write_whole(&self, path: &str, bytes: Bytes) -> Result<(), DiskError> {
        self.files.borrow_mut().close_path(path);
        let real = self.resolve(path);
        let job = move || {
            real.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(real, bytes)
        };
        self.others.run(job).await
    }

    async fn sync_whole(&self, path: &str) -> Result<(), DiskError> {
        let real = self.resolve(path);
        self.syncs.run(move || File::open(real)?.sync_all()).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (real_from, real_to) = (self.resolve(from), self.resolve(to));
        let result = self.others.run(move || std::fs::rename(real_from, real_to)).await;
        let mut files = self.files.borrow_mut();
        files.close_path(from);
        files.close_path(to);
        result
    }

    async fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        let real = self.resolve(path);
        self.syncs.run(move || real.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())).await
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.files.borrow_mut().close_path(path);
        let real = self.resolve(path);
        let job = move || match std::fs::remove_file(real) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let result = self.others.run(job).await;
        self.files.borrow_mut().close_path(path);
        result
    }
}

/// An error of the device, with its place.
fn at_place(error: DiskError, path: &str, at: u64) -> DiskError {
    match error {
        DiskError::Io(why) => DiskError::Io(format!("{path} at byte {at}: {why}")),
        other => other,
    }
}

fn read_at(file: &File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes.into())
}

/// A file with reserved space; a failure leaves none behind, and does no harm to one that was there.
fn allocate(path: &Path, len: u64) -> io::Result<File> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    let there = path.exists();
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let reserved = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
        // A file system that cannot reserve gets a sparse file: running out of space is then found at the write.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(len),
        other => other.map_err(io::Error::from),
    };
    if reserved.is_err() && !there {
        std::fs::remove_file(path)?;
    }
    reserved.map(|()| file)
}

//! The disk of this machine: page cache, threads, lock, a full device.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use seedmq::driver::SlowDisk;
use seedmq::real::disk::{FastDisk, StoreDir, StorePaths, ThreadedDisk};
use seedmq_core::node::{Disk, DiskError, FileId, Open, Read};

fn open(root: &Path) -> (FastDisk, ThreadedDisk) {
    StoreDir::take(StorePaths::below(root)).unwrap().open()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What reads answer: hot bytes, or fetched ones.
fn read(fast: &mut FastDisk, slow: &ThreadedDisk, file: FileId, at: u64, len: usize) -> Bytes {
    match fast.read(file, at, len).unwrap() {
        Read::Hot(bytes) => bytes,
        Read::Cold => block(slow.fetch(file, at, u32::try_from(len).unwrap())).unwrap(),
    }
}

#[test]
fn written_bytes_read_back_in_mapped_and_in_copied_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut fast, slow) = open(dir.path());
    for path in ["commitlog/00000000000000000000", "consumequeue/T/0/00000000000000000000", "checkpoint"] {
        let file = fast.open(path, Open::Create { len: 10_000 }).unwrap();
        assert_eq!(fast.open(path, Open::Existing).unwrap(), file, "a path keeps its id");
        fast.write(file, 100, b"hello").unwrap();
        fast.write(file, 105, b" world").unwrap();
        assert_eq!(read(&mut fast, &slow, file, 100, 11), "hello world");
        assert_eq!(read(&mut fast, &slow, file, 9_998, 11).len(), 2, "a file's end cuts a read");
        assert_eq!(read(&mut fast, &slow, file, 20_000, 11).len(), 0);
        fast.write(file, 10_000, b"grown").unwrap();
        assert_eq!(fast.len(file).unwrap(), 10_005);
        assert_eq!(read(&mut fast, &slow, file, 10_000, 100), "grown");
        fast.close(file);
        assert_eq!(read(&mut fast, &slow, file, 100, 5), "hello", "a closed file is opened again");
        block(slow.sync(file)).unwrap();
    }
    assert_eq!(fast.open("commitlog/none", Open::Existing), Err(DiskError::Missing));
    let names: Vec<_> = fast.list("consumequeue/T").unwrap().into_iter().map(|e| (e.name, e.dir)).collect();
    assert_eq!(names, [("0".to_owned(), true)]);
    assert!(fast.list("nowhere").unwrap().is_empty());
    assert!(fast.usage().free > 0 && fast.usage().free <= fast.usage().total);
}

#[test]
fn bytes_handed_out_survive_removal_and_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut fast, slow) = open(dir.path());
    let path = "commitlog/00000000000000000000".into();
    let file = block(slow.allocate(&path, 1 << 20)).unwrap();
    assert_eq!(fast.len(file).unwrap(), 1 << 20);
    fast.write(file, 0, &[7; 4096]).unwrap();
    let Read::Hot(bytes) = fast.read(file, 0, 4096).unwrap() else { panic!("just written") };
    block(slow.remove(&path)).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    assert!(matches!(fast.read(file, 0, 1), Err(DiskError::Missing)));
    block(slow.remove(&path)).unwrap();
    assert_eq!(block(slow.allocate(&path, 1 << 20)).unwrap(), file, "the path has its id again");
    assert!(read(&mut fast, &slow, file, 0, 4096).iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_that_is_not_in_memory_is_cold_and_can_be_fetched() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = "commitlog/00000000000000000000";
    std::fs::create_dir(dir.path().join("commitlog")).unwrap();
    std::fs::write(dir.path().join(path), vec![5; 8 << 20]).unwrap();
    let evicted = {
        let file = std::fs::File::open(dir.path().join(path)).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).is_ok()
    };
    let (mut fast, slow) = open(dir.path());
    let file = fast.open(path, Open::Existing).unwrap();
    let cold = matches!(fast.read(file, 4 << 20, 1000).unwrap(), Read::Cold);
    assert!(cold || !evicted || in_memory_only(dir.path()), "evicted pages were called hot");
    assert_eq!(block(slow.fetch(file, 4 << 20, 1000)).unwrap(), vec![5; 1000]);
    assert!(matches!(fast.read(file, 4 << 20, 1000).unwrap(), Read::Hot(_)), "a fetch warms the pages");
    let elsewhere = fast.read(file, (7 << 20) - 500, 1000).unwrap();
    assert!(!cold || matches!(elsewhere, Read::Cold), "what is known of one block was believed of another");
}

/// Whether the directory is on a file system that has no other place than memory.
fn in_memory_only(dir: &Path) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type == TMPFS_MAGIC)
}

#[test]
fn descriptors_are_given_up_and_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut fast, slow) = StoreDir::take(StorePaths::below(dir.path())).unwrap().open_with(8);
    let files: Vec<_> = (0..100u64)
        .map(|n| {
            let file = fast.open(&format!("consumequeue/T/{n}/0"), Open::Create { len: 100 }).unwrap();
            fast.write(file, n, b"x").unwrap();
            file
        })
        .collect();
    assert!(descriptors_below(dir.path()) <= 9, "8 files and the lock");
    for (file, n) in files.iter().zip(0..) {
        assert_eq!(read(&mut fast, &slow, *file, n, 1), "x");
        assert_eq!(fast.len(*file).unwrap(), 100);
    }
    assert!(descriptors_below(dir.path()) <= 9);
}

fn descriptors_below(dir: &Path) -> usize {
    let dir = dir.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|fd| std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to.starts_with(&dir))).count()
}

#[test]
fn a_second_taker_is_refused_with_the_file_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let first = StoreDir::take(StorePaths::below(dir.path())).unwrap();
    let text = StoreDir::take(StorePaths::below(dir.path())).unwrap_err().to_string();
    assert!(text.contains(&dir.path().join("lock").display().to_string()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains("storePathRootDir"), "{text}");
    drop(first);
    StoreDir::take(StorePaths::below(dir.path())).unwrap();
}

#[test]
fn a_lock_as_java_takes_it_is_respected() {
    let dir = tempfile::tempdir().unwrap();
    // A POSIX record lock held by another process, as `FileChannel.tryLock` takes it.
    let script = "import fcntl,sys\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB)\nprint('held',flush=True)\nsys.stdin.read()";
    let child = Command::new("python3")
        .args(["-c", script])
        .arg(dir.path().join("lock"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: no python3");
        return;
    };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    assert!(StoreDir::take(StorePaths::below(dir.path())).is_err());
    drop(child.stdin.take());
    child.wait().unwrap();
    StoreDir::take(StorePaths::below(dir.path())).unwrap();
}

#[test]
fn a_store_directory_that_is_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::fs::write(&path, "not a directory").unwrap();
    let text = StoreDir::take(StorePaths::below(&path)).unwrap_err().to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "not a directory");
}

#[test]
fn parts_of_a_store_may_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let paths = StorePaths {
        root: dir.path().join("root"),
        commit_log: Some(dir.path().join("log")),
        consume_queue: Some(dir.path().join("queue")),
        index: None,
    };
    let (mut fast, slow) = StoreDir::take(paths).unwrap().open();
    for path in ["commitlog/0", "consumequeue/T/0/0", "index/1", "checkpoint"] {
        let file = fast.open(path, Open::Create { len: 1 }).unwrap();
        block(slow.sync(file)).unwrap();
    }
    for path in ["log/0", "queue/T/0/0", "root/index/1", "root/checkpoint", "root/lock"] {
        assert!(dir.path().join(path).exists(), "{path}");
    }
    assert_eq!(fast.list("commitlog").unwrap().len(), 1);
}

/// A file system of 1 MiB; none without the right to mount.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Small(dir));
        }
        eprintln!("skipped: not permitted to mount a small file system");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_device_is_an_error_and_not_a_signal() {
    let Some(small) = Small::mount() else { return };
    let (mut fast, slow) = open(small.0.path());
    let log = fast.open("commitlog/0", Open::Create { len: 64 << 20 }).unwrap();
    let written = (0..64).take_while(|n| fast.write(log, n << 16, &[1; 1 << 16]).is_ok()).count();
    assert!((1..17).contains(&written), "a megabyte took {written} × 64 KiB");
    assert_eq!(fast.write(log, 32 << 20, &[1; 1 << 16]), Err(DiskError::Full));
    let hole = read(&mut fast, &slow, log, 40 << 20, 4096);
    assert!(hole.iter().all(|byte| *byte == 0), "a hole reads as zeros");
    let path = "commitlog/1".into();
    assert_eq!(block(slow.allocate(&path, 1 << 20)), Err(DiskError::Full));
    assert_eq!(fast.list("commitlog").unwrap().len(), 1, "a failed allocation leaves no file");
    assert_eq!(block(slow.write_whole("config/x.json", Bytes::from(vec![1; 1 << 20]))), Err(DiskError::Full));
    assert_eq!(fast.usage().free, 0);
    block(slow.remove("commitlog/0")).unwrap();
    assert!(fast.usage().free > 0);
}

//! Lanes for the slow work on the disk.
//!
//! Invariant: at most one operation of a kind is in flight on one file, answers to one kind of ask on one file come in
//! order, and a sync answers exactly the asks that were there when it began.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use seedmq_core::node::{Addr, DiskAsk, DiskDone, DiskError, FetchId, FileId, Input};
use tokio::sync::mpsc;

use super::inbox::Delivery;
use super::{Limits, SlowDisk, World};

/// Jobs grouped by key: the jobs of one key run one after the other, those of different keys side by side.
struct Keyed<K, J> {
    state: RefCell<KeyedState<K, J>>,
    /// Take the key that was asked for last. For syncs: the log, which is synced again and again and holds at most one lane,
    /// never waits behind thousands of queue files; those share the other lanes.
    newest_first: bool,
}

struct KeyedState<K, J> {
    /// Every key that has jobs waiting or running.
    keys: BTreeMap<K, Waiting<J>>,
    /// Keys with jobs that no lane has taken.
    ready: VecDeque<K>,
    idle: VecDeque<Waker>,
    over: bool,
}

struct Waiting<J> {
    running: bool,
    jobs: Vec<J>,
}

impl<K: Ord + Clone, J> Keyed<K, J> {
    fn new(newest_first: bool) -> Rc<Self> {
        let state = KeyedState { keys: BTreeMap::new(), ready: VecDeque::new(), idle: VecDeque::new(), over: false };
        Rc::new(Keyed { state: RefCell::new(state), newest_first })
    }

    fn push(&self, key: K, job: J) {
        let mut state = self.state.borrow_mut();
        let waiting = state.keys.entry(key.clone()).or_insert(Waiting { running: false, jobs: Vec::new() });
        waiting.jobs.push(job);
        if !waiting.running && waiting.jobs.len() == 1 {
            state.ready.push_back(key);
            if let Some(lane) = state.idle.pop_front() {
                lane.wake();
            }
        }
    }

    /// All jobs of one key; `None` when it is over. The lane must call [`Keyed::done`] for it.
    async fn take(&self) -> Option<(K, Vec<J>)> {
        poll_fn(|cx| {
            let state = &mut *self.state.borrow_mut();
            if state.over {
                return Poll::Ready(None);
            }
            let next = if self.newest_first { state.ready.pop_back() } else { state.ready.pop_front() };
            let Some(key) = next else {
                state.idle.push_back(cx.waker().clone());
                return Poll::Pending;
            };
            let waiting = state.keys.get_mut(&key).expect("a ready key has jobs");
            assert!(!waiting.running && !waiting.jobs.is_empty(), "a ready key has jobs and no lane");
            waiting.running = true;
            Poll::Ready(Some((key, std::mem::take(&mut waiting.jobs))))
        })
        .await
    }

    fn done(&self, key: K) {
        let state = &mut *self.state.borrow_mut();
        let waiting = state.keys.get_mut(&key).expect("a running key is known");
        assert!(waiting.running, "only a lane that took a key gives it back");
        waiting.running = false;
        if waiting.jobs.is_empty() {
            state.keys.remove(&key);
            return;
        }
        state.ready.push_back(key);
        if let Some(lane) = state.idle.pop_front() {
            lane.wake();
        }
    }

    fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.over = true;
        state.idle.drain(..).for_each(Waker::wake);
    }
}

struct Fetch {
    fetch: FetchId,
    at: u64,
    len: u32,
}

enum PathJob {
    Allocate(u64),
    Replace(Bytes),
    Remove,
}

/// The queues of all lanes of a node.
pub(super) struct Lanes {
    syncs: Rc<Keyed<FileId, u64>>,
    fetches: Rc<Keyed<FileId, Fetch>>,
    paths: Rc<Keyed<Addr, PathJob>>,
}

impl Lanes {
    /// Starts the lanes; what they finish goes to `inbox`.
    pub(super) fn start<W: World, C: 'static>(world: &W, limits: &Limits, inbox: &mpsc::Sender<Delivery<C>>) -> Lanes {
        let lanes = Lanes { syncs: Keyed::new(true), fetches: Keyed::new(false), paths: Keyed::new(false) };
        assert!(limits.lanes >= 2, "one lane may be held by the log for good");
        for _ in 0..limits.lanes {
            world.spawn(sync_lane(world.clone(), Rc::clone(&lanes.syncs), inbox.clone()));
            world.spawn(fetch_lane(world.clone(), Rc::clone(&lanes.fetches), inbox.clone()));
            world.spawn(path_lane(world.clone(), Rc::clone(&lanes.paths), inbox.clone()));
        }
        lanes
    }

    pub(super) fn ask(&self, ask: DiskAsk) {
        match ask {
            DiskAsk::Sync { file, through } => self.syncs.push(file, through),
            DiskAsk::Fetch { fetch, file, at, len } => self.fetches.push(file, Fetch { fetch, at, len }),
            DiskAsk::Allocate { path, len } => self.paths.push(path, PathJob::Allocate(len)),
            DiskAsk::Replace { path, bytes } => self.paths.push(path, PathJob::Replace(bytes)),
            DiskAsk::Remove { path } => self.paths.push(path, PathJob::Remove),
        }
    }

    pub(super) fn end(&self) {
        self.syncs.end();
        self.fetches.end();
        self.paths.end();
    }
}

async fn sync_lane<W: World, C>(world: W, queue: Rc<Keyed<FileId, u64>>, inbox: mpsc::Sender<Delivery<C>>) {
    while let Some((file, asks)) = queue.take().await {
        let result = world.slow().sync(file).await;
        for through in asks {
            answer(&inbox, DiskDone::Synced { file, through, result: result.clone() }).await;
        }
        queue.done(file);
    }
}

async fn fetch_lane<W: World, C>(world: W, queue: Rc<Keyed<FileId, Fetch>>, inbox: mpsc::Sender<Delivery<C>>) {
    while let Some((file, asks)) = queue.take().await {
        for Fetch { fetch, at, len } in asks {
            let result = world.slow().fetch(file, at, len).await;
            answer(&inbox, DiskDone::Fetched { fetch, result }).await;
        }
        queue.done(file);
    }
}

async fn path_lane<W: World, C>(world: W, queue: Rc<Keyed<Addr, PathJob>>, inbox: mpsc::Sender<Delivery<C>>) {
    while let Some((path, jobs)) = queue.take().await {
        for job in jobs {
            let slow = world.slow();
            let done = match job {
                PathJob::Allocate(len) => {
                    DiskDone::Allocated { path: path.clone(), result: slow.allocate(&path, len).await }
                }
                PathJob::Replace(bytes) => {
                    DiskDone::Replaced { path: path.clone(), result: replace(slow, &path, bytes).await }
                }
                PathJob::Remove => DiskDone::Removed { path: path.clone(), result: slow.remove(&path).await },
            };
            answer(&inbox, done).await;
        }
        queue.done(path);
    }
}

async fn answer<C>(inbox: &mpsc::Sender<Delivery<C>>, done: DiskDone) {
    // A node that has ended needs no answer.
    let _ = inbox.send(Delivery::one(Input::Disk(done))).await;
}

/// See [`DiskAsk::Replace`]. At every moment `path` holds the old content or the new one, whole.
async fn replace(slow: &impl SlowDisk, path: &str, bytes: Bytes) -> Result<(), DiskError> {
    let tmp = format!("{path}.tmp");
    slow.write_whole(&tmp, bytes).await?;
    slow.sync_whole(&tmp).await?;
    match slow.read_whole(path).await {
        Ok(old) => slow.write_whole(&format!("{path}.bak"), old).await?,
        Err(DiskError::Missing) => {}
        Err(error) => return Err(error),
    }
    slow.rename(&tmp, path).await?;
    if seedmq_core::planted!("name-not-synced") {
        return Ok(());
    }
    slow.sync_dir(path).await
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn taken(queue: &Keyed<u32, u32>) -> Option<(u32, Vec<u32>)> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(queue.take()).poll(&mut cx) {
            Poll::Ready(jobs) => jobs,
            Poll::Pending => None,
        }
    }

    #[test]
    fn jobs_of_a_running_key_wait_and_then_come_together() {
        let queue = Keyed::new(false);
        queue.push(1, 10);
        queue.push(1, 11);
        queue.push(2, 20);
        assert_eq!(taken(&queue), Some((1, vec![10, 11])));
        queue.push(1, 12);
        queue.push(1, 13);
        assert_eq!(taken(&queue), Some((2, vec![20])));
        assert_eq!(taken(&queue), None, "key 1 is running");
        queue.done(1);
        assert_eq!(taken(&queue), Some((1, vec![12, 13])));
        queue.done(1);
        queue.done(2);
        assert_eq!(taken(&queue), None);
        assert!(queue.state.borrow().keys.is_empty(), "an idle key is forgotten");
    }

    #[test]
    fn the_newest_sync_goes_first() {
        let queue = Keyed::new(true);
        (0..100).for_each(|file| queue.push(file, file));
        queue.push(7, 0);
        queue.push(1000, 0);
        assert_eq!(taken(&queue), Some((1000, vec![0])));
        assert_eq!(taken(&queue), Some((99, vec![99])));
    }
}

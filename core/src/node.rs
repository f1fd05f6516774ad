//! The one door of every machine.
//!
//! Invariant: a machine learns about the world only through [`Input`], [`Cx::now`], [`Cx::rng`] and the synchronous part of
//! the [`Disk`], and acts only through [`Outbox`] and that same part of the disk. Whatever waits, fails late or can be
//! reordered is an output with a completion input.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use crate::wire::Frame;
use bytes::Bytes;
use rand::SeedableRng;

/// A point on the monotonic clock of one process, in nanoseconds since an arbitrary start. Never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
    /// The first of some times, each of which may be missing. One at the very end of the clock is as good as none.
    pub fn first(times: &[Option<Instant>]) -> Option<Instant> {
        let first = times.iter().fold(u64::MAX, |first, time| first.min(time.map_or(u64::MAX, |time| time.0)));
        (first < u64::MAX).then_some(Instant(first))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, by: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, by: Duration) -> Instant {
        Instant(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, sampled once a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// For every deadline and interval.
    pub mono: Instant,
    /// Milliseconds since 1970, for stamps that clients or files see. May jump in either direction.
    pub wall_ms: u64,
}

/// A connection, numbered by the driver; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An attempt to connect, numbered by the machine that asked for it; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// A file that this process has opened through its [`Disk`]; the same path always has the same id within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A request for cold bytes, numbered by the machine that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// `host:port`, as it stands in routes and configuration.
pub type Addr = Arc<str>;

/// What a disk call or completion can fail with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DiskError {
    /// No space is left for the write or allocation.
    #[error("no space left on the disk")]
    Full,
    /// The device failed; what was being written is in an unknown state.
    #[error("input/output error: {0}")]
    Io(String),
    /// The path does not exist.
    #[error("no such file")]
    Missing,
}

/// Work on the disk that waits, fails late or can be reordered: a machine asks, [`DiskDone`] answers. The answers to one
/// kind of ask on one file come in order; nothing else is promised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskAsk {
    /// Make everything that was written to `file` before this ask durable, its directory entry included. `through` is
    /// handed back untouched (the end of what the asker knows to be written).
    Sync {
        /// The file.
        file: FileId,
        /// Handed back in the completion: a byte position within the asker's own space.
        through: u64,
    },
    /// Read bytes that [`Disk::read`] found cold.
    Fetch {
        /// Handed back in the completion.
        fetch: FetchId,
        /// The file.
        file: FileId,
        /// First byte.
        at: u64,
        /// How many bytes.
        len: u32,
    },
    /// Create `path` with `len` bytes of reserved zeros, ahead of need.
    Allocate {
        /// Path relative to the root of the disk.
        path: Addr,
        /// Its length in bytes.
        len: u64,
    },
    /// Replace a small file as a whole: the present content is kept as `path` + `.bak`, then the new content takes its
    /// place atomically and durably.
    Replace {
        /// Path relative to the root of the disk.
        path: Addr,
        /// The new content.
        bytes: Bytes,
    },
    /// Remove a file. Bytes of it that were handed out stay readable.
    Remove {
        /// Path relative to the root of the disk.
        path: Addr,
    },
}

/// The completion of a [`DiskAsk`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskDone {
    /// See [`DiskAsk::Sync`]. An error is final for that file: the pages it covered may be lost although they read well.
    Synced {
        /// The file.
        file: FileId,
        /// As asked.
        through: u64,
        /// Whether everything asked for is durable.
        result: Result<(), DiskError>,
    },
    /// See [`DiskAsk::Fetch`]. Fewer bytes than asked for when the file ends first.
    Fetched {
        /// As asked.
        fetch: FetchId,
        /// The bytes.
        result: Result<Bytes, DiskError>,
    },
    /// See [`DiskAsk::Allocate`].
    Allocated {
        /// As asked.
        path: Addr,
        /// The file, open.
        result: Result<FileId, DiskError>,
    },
    /// See [`DiskAsk::Replace`].
    Replaced {
        /// As asked.
        path: Addr,
        /// Whether the new content is in place and durable; otherwise the old one still is.
        result: Result<(), DiskError>,
    },
    /// See [`DiskAsk::Remove`].
    Removed {
        /// As asked.
        path: Addr,
        /// Whether it is gone.
        result: Result<(), DiskError>,
    },
}

/// One event that a machine reacts to.
#[derive(Clone, Debug, Hash)]
pub enum Input<C> {
    /// The first input of a life: the machine may look at its disk and dial.
    Start,
    /// The time that [`Node::wake_at`] named has come.
    Wake,
    /// A connection is open, either accepted or dialled.
    Opened {
        /// The connection.
        conn: ConnId,
        /// Set when this machine asked for it.
        dial: Option<DialId>,
        /// The other end.
        peer: SocketAddr,
        /// This end; its port tells which listener accepted the connection.
        local: SocketAddr,
    },
    /// A connection could not be made.
    DialFailed {
        /// The attempt.
        dial: DialId,
    },
    /// A connection is gone. Nothing more comes from it and nothing sent to it arrives.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// A whole frame arrived.
    Frame {
        /// The connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
    },
    /// A disk operation ended.
    Disk(DiskDone),
    /// The owner asks for something.
    Command(C),
    /// The owner asks for a graceful end. The machine says [`Output::Stopped`] when it is done.
    Stop,
    /// The batch of inputs is over: what was appended is to be written, and what can be answered is to be answered.
    /// Comes once after every batch, so that work done here is shared by all inputs of the batch.
    Settle,
}

/// One thing that a machine wants done.
#[derive(Clone, Debug, Hash)]
pub enum Output<E> {
    /// Send a frame. To a closed connection it is dropped.
    Send {
        /// The connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
    },
    /// Connect; answered by [`Input::Opened`] or [`Input::DialFailed`].
    Dial {
        /// The attempt.
        dial: DialId,
        /// Where to.
        addr: Addr,
    },
    /// Close a connection after what was sent to it; answered by [`Input::Closed`].
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Slow work on the disk.
    Disk(DiskAsk),
    /// News for the owner.
    Event(E),
    /// The graceful end is reached; the driver ends.
    Stopped,
}

/// Where a step puts its outputs, in order.
#[derive(Debug)]
pub struct Outbox<E>(pub Vec<Output<E>>);

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Outbox(Vec::new())
    }
}

impl<E> Outbox<E> {
    /// Sends a frame.
    pub fn send(&mut self, conn: ConnId, frame: Frame) {
        self.0.push(Output::Send { conn, frame });
    }
    /// Tells the owner.
    pub fn event(&mut self, event: E) {
        self.0.push(Output::Event(event));
    }
    /// Asks the disk.
    pub fn disk(&mut self, ask: DiskAsk) {
        self.0.push(Output::Disk(ask));
    }
    /// Closes a connection.
    pub fn close(&mut self, conn: ConnId) {
        self.0.push(Output::Close { conn });
    }
}

/// The deterministic generator that a machine draws from.
#[derive(Clone, Debug)]
pub struct Rng(pub rand_chacha::ChaCha8Rng);

impl Rng {
    /// A generator whose draws depend on `seed` alone.
    pub fn from_seed(seed: u64) -> Self {
        Rng(rand_chacha::ChaCha8Rng::seed_from_u64(seed))
    }
    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw below zero has no outcome");
        self.next_u64() % bound
    }
    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        use rand::Rng as _;
        self.0.next_u64()
    }
}

/// What a machine may use during a step.
pub struct Cx<'a, E> {
    /// Both clocks, as sampled for this batch.
    pub now: Now,
    /// The synchronous part of the disk.
    pub disk: &'a mut dyn Disk,
    /// The only source of randomness.
    pub rng: &'a mut Rng,
    /// Where outputs go.
    pub out: &'a mut Outbox<E>,
}

impl<E> fmt::Debug for Cx<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A role as a state machine.
pub trait Node {
    /// What its owner can ask.
    type Command;
    /// What it tells its owner.
    type Event;
    /// Takes one input. Bounded work, never blocks, never fails.
    fn step(&mut self, input: Input<Self::Command>, cx: &mut Cx<'_, Self::Event>);
    /// When [`Input::Wake`] is due, if ever.
    fn wake_at(&self) -> Option<Instant>;
    /// Panics when the state contradicts itself. Called after every batch in the simulator.
    fn invariants(&self) {}
    /// What it holds of each kind, and the most that it may. The simulator compares them every second.
    fn holdings(&self) -> Vec<Holding> {
        Vec::new()
    }
}

/// How much a machine holds of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The kind, a few words.
    pub what: &'static str,
    /// How many, or how many bytes.
    pub held: usize,
    /// The most that its configuration, its connections and what it was asked allow.
    pub most: usize,
}

/// How [`Disk::open`] treats a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Open {
    /// It must exist.
    Existing,
    /// It is created as a sparse file of this length when it does not exist.
    Create {
        /// Length in bytes of a new file.
        len: u64,
    },
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The last component of the path.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub dir: bool,
    /// Last modification, milliseconds since 1970 (retention goes by it).
    pub modified_ms: u64,
}

/// What [`Disk::read`] found.
#[derive(Clone, Debug)]
pub enum Read {
    /// The bytes, not copied; fewer than asked for when the file ends first.
    Hot(Bytes),
    /// They are not in memory: ask with [`DiskAsk::Fetch`].
    Cold,
}

/// Space on the device, without what the file system keeps for others than this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Bytes in all: used by anybody, or free.
    pub total: u64,
    /// Bytes free for this process.
    pub free: u64,
}

/// The synchronous part of a disk: calls that return at once and have no freedom of order. Paths are relative to the store
/// root, with `/`. A write is in the page cache when it returns: it survives the death of the process, and a power cut
/// only once a [`DiskAsk::Sync`] asked for after it has completed.
pub trait Disk {
    /// Opens a file; missing directories of a created one are created.
    fn open(&mut self, path: &str, open: Open) -> Result<FileId, DiskError>;
    /// Forgets what the disk keeps for a file (descriptor, mapping). The id stays valid: the next use opens it again.
    fn close(&mut self, file: FileId);
    /// Length in bytes.
    fn len(&mut self, file: FileId) -> Result<u64, DiskError>;
    /// The entries of a directory by name; none when it does not exist.
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, DiskError>;
    /// Writes into the page cache. Grows the file when it ends past it.
    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Reads what is in memory.
    fn read(&mut self, file: FileId, at: u64, len: usize) -> Result<Read, DiskError>;
    /// Shortens a file. Bytes of it that were handed out may no longer be used: only recovery calls this.
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError>;
    /// Space on the device that holds the store.
    fn usage(&mut self) -> Usage;
}

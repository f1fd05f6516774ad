//! The driver: the only caller of [`Node::step`], the same in both worlds.
//!
//! A [`World`] gives it a clock, tasks, a network and the slow side of a disk. The driver turns bytes into frames and
//! frames into inputs, steps the node, and carries out what the node wants done.
//!
//! Invariant: a batch of inputs is stepped at one sampled [`Now`], is followed by exactly one [`Input::Settle`], and its
//! outputs leave only after that. Nothing a node does can make the loop wait: every queue between the loop and a slow
//! peer or disk is bounded in bytes or answered by closing the connection.

mod alarm;
mod conn;
pub mod echo;
mod encode;
mod inbox;
mod lanes;
mod node_loop;
mod none;
mod signal;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use seedmq_core::node::{Addr, DiskError, FileId, Input, Instant, Node, Now, Output};
use tokio::io::{AsyncRead, AsyncWrite};

pub use inbox::{Ended, Handle, Mailbox, mailbox};
pub use node_loop::{Setup, drive};
pub use none::NoDisk;

/// What a node lives in: a real machine or the simulator.
pub trait World: Clone + 'static {
    /// Its network.
    type Net: Net;
    /// The slow side of its disk. It and the [`seedmq_core::node::Disk`] handed to [`drive`] share one table of files.
    type Slow: SlowDisk;
    /// Both clocks.
    fn now(&self) -> Now;
    /// Waits until the monotonic clock reaches `at`. Every wait of the driver goes through here, so that a simulated world
    /// decides what happens when.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;
    /// Called between two batches, after one of `inputs` inputs; `more` says that the node has work of its own waiting, and
    /// somebody else should get a turn first. A simulated world charges the time that the batch took.
    fn breathe(&self, inputs: usize, more: bool) -> impl Future<Output = ()>;
    /// Starts a long-lived task on this node. Called per connection and per lane, never per operation.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// Its network.
    fn net(&self) -> &Self::Net;
    /// The slow side of its disk.
    fn slow(&self) -> &Self::Slow;
}

/// The result of `task`, or nothing when it takes longer than `limit`.
pub(crate) async fn within<T>(world: &impl World, limit: Duration, task: impl Future<Output = T>) -> Option<T> {
    let (mut task, mut late) = (pin!(task), pin!(world.sleep_until(world.now().mono + limit)));
    poll_fn(|cx| match task.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// A network that carries byte streams.
pub trait Net: 'static {
    /// A bound listener.
    type Listener: Listener<Reader = Self::Reader, Writer = Self::Writer>;
    /// The half of a stream that bytes come from. Ending (`Ok` with no bytes) means that the peer closed.
    type Reader: AsyncRead + Unpin + 'static;
    /// The half that takes bytes. A stream is closed when both halves are dropped.
    type Writer: AsyncWrite + Unpin + 'static;
    /// Binds a listener; port 0 takes a free one.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>>;
    /// Connects to `host:port`.
    fn dial(&self, addr: &Addr) -> impl Future<Output = io::Result<Stream<Self::Reader, Self::Writer>>>;
}

/// A bound listener.
pub trait Listener: 'static {
    /// See [`Net::Reader`].
    type Reader: AsyncRead + Unpin + 'static;
    /// See [`Net::Writer`].
    type Writer: AsyncWrite + Unpin + 'static;
    /// Where it is bound.
    fn local(&self) -> SocketAddr;
    /// Waits for the next stream.
    fn accept(&mut self) -> impl Future<Output = io::Result<Stream<Self::Reader, Self::Writer>>>;
}

/// A connected byte stream.
#[derive(Debug)]
pub struct Stream<R, W> {
    /// Bytes from the peer.
    pub reader: R,
    /// Bytes to the peer.
    pub writer: W,
    /// The other end.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
}

/// The disk operations that wait, fail late or can be reordered. Paths are relative to the store root, with `/`. The
/// driver has at most one [`SlowDisk::sync`] in flight per file, and puts [`seedmq_core::node::DiskAsk::Replace`] together
/// out of the primitives, so that a crash can fall between any two of them.
pub trait SlowDisk: 'static {
    /// Makes durable what was written to the file before this call, its directory entry included.
    fn sync(&self, file: FileId) -> impl Future<Output = Result<(), DiskError>>;
    /// Reads bytes that are not in memory; fewer when the file ends first.
    fn fetch(&self, file: FileId, at: u64, len: u32) -> impl Future<Output = Result<Bytes, DiskError>>;
    /// Creates a file with reserved space. A failed one leaves no file.
    fn allocate(&self, path: &Addr, len: u64) -> impl Future<Output = Result<FileId, DiskError>>;
    /// The whole content of a small file.
    fn read_whole(&self, path: &str) -> impl Future<Output = Result<Bytes, DiskError>>;
    /// Creates or overwrites a small file, in the page cache only.
    fn write_whole(&self, path: &str, bytes: Bytes) -> impl Future<Output = Result<(), DiskError>>;
    /// Makes the content of a small file durable.
    fn sync_whole(&self, path: &str) -> impl Future<Output = Result<(), DiskError>>;
    /// Gives a file another name, replacing what is there.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = Result<(), DiskError>>;
    /// Makes the entries of the directory that holds `path` durable.
    fn sync_dir(&self, path: &str) -> impl Future<Output = Result<(), DiskError>>;
    /// Removes a file. Bytes of it that were handed out stay readable.
    fn remove(&self, path: &str) -> impl Future<Output = Result<(), DiskError>>;
}

/// Sees everything that goes through a driver: for hashes, recordings and looks inside.
pub trait Tap<N: Node>: 'static {
    /// Before the step that takes `input`.
    fn input(&mut self, _now: &Now, _input: &Input<N::Command>) {}
    /// Before `output` is carried out.
    fn output(&mut self, _output: &Output<N::Event>) {}
    /// After a batch is settled and its outputs are under way.
    fn settled(&mut self, _node: &N) {}
}

/// Sees nothing.
impl<N: Node> Tap<N> for () {}

/// Limits of a driver.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A connection on which no byte moved for this long is closed (Java `serverChannelMaxIdleTimeSeconds`, 120 s).
    pub idle: Duration,
    /// How long an attempt to connect may take (Java `connectTimeoutMillis`, 3 s).
    pub dial: Duration,
    /// How long a connection that is being closed may take to send what it owes.
    pub linger: Duration,
    /// Accepted connections at once; one more is closed at once.
    pub connections: usize,
    /// Unsent bytes above which a connection is no longer read, until a quarter of it is left.
    pub unsent_high: usize,
    /// Unsent bytes above which a connection is closed.
    pub unsent_max: usize,
    /// Inputs in one batch: about what one connection sends at once. Peers work on the answers to one batch while the next
    /// is under way.
    pub batch: usize,
    /// A batch ends, too, when so many bytes of answers are put.
    pub batch_bytes: usize,
    /// Disk operations of one kind that run side by side, each on a file of its own; at least 2.
    pub lanes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            idle: Duration::from_secs(120),
            dial: Duration::from_secs(3),
            linger: Duration::from_secs(3),
            connections: 20_000,
            unsent_high: 8 << 20,
            unsent_max: 512 << 20,
            batch: 64,
            batch_bytes: 32 << 10,
            lanes: 2,
        }
    }
}

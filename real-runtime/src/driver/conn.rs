//! Connections: a task that reads and decodes; the loop encodes and writes, and a task writes what the socket did not take at once.
//!
//! Invariant: a node hears of a connection exactly one [`Input::Opened`], then its frames in order, then exactly one
//! [`Input::Closed`]. Unsent bytes are bounded: above a high-water mark the peer is no longer read, above a hard limit the
//! connection is closed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use seedmq_core::node::{ConnId, DialId, Input};
use seedmq_core::wire::{Frame, codec};
use seedmq_core::{planted, sometimes};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;

use super::inbox::Delivery;
use super::signal::Signal;
use super::{Limits, Stream, World, encode, within};

/// Smallest and largest read buffer of a connection; it follows the size of the reads.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=256 << 10;
/// Slices of one vectored write: the answers to a few pulls, whose records are slices of their own.
const SLICES: usize = 256;
/// As many are kept on the stack: a batch of small answers, or one pull's.
const SLICES_USUAL: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The node wants it closed: what is queued goes out first.
    Closing,
    Gone,
}

/// What the loop and both tasks of a connection share.
#[derive(Debug)]
pub(super) struct Conn {
    id: ConnId,
    accepted: bool,
    state: Cell<State>,
    queue: RefCell<Vec<Frame>>,
    /// Cost of what is queued or being written.
    unsent: Cell<usize>,
    /// Bytes moved in either direction; tells a silent connection from a busy one.
    moved: Cell<u64>,
    /// [`Conn::moved`] at the last sweep, and since how many sweeps it stands there.
    at_sweep: Cell<(u64, u32)>,
    /// Not read because too much is unsent.
    paused: Cell<bool>,
    /// Until the writer has ended.
    out: RefCell<Option<Out>>,
    /// The socket takes no more at present; the writer waits for it.
    full: Cell<bool>,
    to_writer: Signal,
    to_reader: Signal,
}

/// The half of a stream that takes bytes, and what is on its way there.
struct Out {
    stream: Box<dyn AsyncWrite + Unpin>,
    pen: Pen,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").finish_non_exhaustive()
    }
}

/// All connections of a node.
#[derive(Debug, Default)]
pub(super) struct Registry {
    next: Cell<u64>,
    conns: RefCell<BTreeMap<ConnId, Rc<Conn>>>,
    accepted: Cell<usize>,
}

impl Registry {
    fn add(&self, accepted: bool, stream: Box<dyn AsyncWrite + Unpin>) -> Rc<Conn> {
        let id = ConnId(self.next.get());
        self.next.set(id.0 + 1);
        let conn = Rc::new(Conn {
            id,
            accepted,
            state: Cell::new(State::Open),
            queue: RefCell::default(),
            unsent: Cell::new(0),
            moved: Cell::new(0),
            at_sweep: Cell::new((0, 0)),
            paused: Cell::new(false),
            out: RefCell::new(Some(Out { stream, pen: Pen::default() })),
            full: Cell::new(false),
            to_writer: Signal::default(),
            to_reader: Signal::default(),
        });
        self.accepted.set(self.accepted.get() + usize::from(accepted));
        self.conns.borrow_mut().insert(id, Rc::clone(&conn));
        conn
    }
    fn remove(&self, conn: &Conn) {
        let known = self.conns.borrow_mut().remove(&conn.id);
        assert!(known.is_some(), "a connection ends once");
        self.accepted.set(self.accepted.get() - usize::from(conn.accepted));
    }
    pub(super) fn get(&self, id: ConnId) -> Option<Rc<Conn>> {
        self.conns.borrow().get(&id).cloned()
    }
    /// Accepted connections.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.get()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.conns.borrow().is_empty()
    }
    pub(super) fn close_all(&self) {
        self.conns.borrow().values().for_each(|conn| conn.close());
    }
    /// Closes connections on which nothing moved since `rounds` sweeps.
    pub(super) fn sweep(&self, rounds: u32) {
        for (id, conn) in self.conns.borrow().iter() {
            let (moved, silent) = conn.at_sweep.get();
            let silent = if moved == conn.moved.get() { silent + 1 } else { 0 };
            conn.at_sweep.set((conn.moved.get(), silent));
            if silent >= rounds {
                tracing::debug!(conn = id.0, "closed: silent for too long");
                conn.cut();
            }
        }
    }
}

impl Conn {
    /// Queues a frame; true when it is the first, so that [`Conn::flush`] has to be called.
    pub(super) fn push(&self, frame: Frame, limits: &Limits) -> bool {
        if self.state.get() != State::Open {
            return false;
        }
        self.unsent.set(self.unsent.get() + encode::cost(&frame));
        if self.unsent.get() > limits.unsent_max {
            tracing::warn!(conn = self.id.0, unsent = self.unsent.get(), "closed: the peer does not read");
            self.cut();
            return false;
        }
        let mut queue = self.queue.borrow_mut();
        queue.push(frame);
        queue.len() == 1
    }
    /// Writes what is queued, as far as the socket takes it at once; the rest is the writer's.
    pub(super) fn flush(&self) {
        if self.full.get() || self.state.get() != State::Open {
            return;
        }
        match self.write(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.cut(),
            Poll::Pending => {
                sometimes!("a connection takes no more at once");
                if !planted!("rest-unwritten") {
                    self.to_writer.raise();
                }
            }
        }
    }
    /// Encodes and writes what is queued; ready when all of it is out.
    fn write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let Some(Out { stream, pen }) = &mut *out else { return Poll::Ready(Ok(())) };
        let written = pen.write(cx, self, stream);
        self.full.set(written.is_pending());
        written
    }
    /// Closes after what is queued.
    pub(super) fn close(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Closing);
            self.to_writer.raise();
            self.to_reader.raise();
        }
    }
    /// Closes at once.
    fn cut(&self) {
        self.state.set(State::Gone);
        self.queue.borrow_mut().clear();
        self.to_writer.raise();
        self.to_reader.raise();
    }
}

/// Starts both tasks of a new stream.
pub(super) fn start<W: World, R, S, C: 'static>(
    world: &W,
    shared: &Rc<Shared<C>>,
    stream: Stream<R, S>,
    dial: Option<DialId>,
) where
    R: AsyncRead + Unpin + 'static,
    S: AsyncWrite + Unpin + 'static,
{
    let conn = shared.registry.add(dial.is_none(), Box::new(stream.writer));
    world.spawn(write(world.clone(), Rc::clone(&conn), Rc::clone(shared)));
    world.spawn(read(conn, stream.reader, Rc::clone(shared), (dial, stream.peer, stream.local)));
}

/// What the tasks of a driver share.
#[derive(Debug)]
pub(super) struct Shared<C> {
    pub(super) registry: Registry,
    pub(super) inbox: mpsc::Sender<Delivery<C>>,
    pub(super) limits: Limits,
}

async fn read<R: AsyncRead + Unpin, C>(
    conn: Rc<Conn>,
    mut reader: R,
    shared: Rc<Shared<C>>,
    (dial, peer, local): (Option<DialId>, SocketAddr, SocketAddr),
) {
    let opened = Input::Opened { conn: conn.id, dial, peer, local };
    // A node that has ended hears nothing more: failed sends are ignored here and below.
    let _ = shared.inbox.send(Delivery::one(opened)).await;
    read_frames(&conn, &mut reader, &shared).await;
    if conn.state.get() == State::Open {
        conn.cut();
    }
    while conn.state.get() != State::Gone {
        conn.to_reader.wait().await;
    }
    shared.registry.remove(&conn);
    let _ = shared.inbox.send(Delivery::one(Input::Closed { conn: conn.id })).await;
}

/// Reads until the peer ends, breaks the protocol, or the connection is being closed.
async fn read_frames<R: AsyncRead + Unpin, C>(conn: &Conn, reader: &mut R, shared: &Shared<C>) {
    let mut buffer = BytesMut::new();
    let mut want = *READ_BYTES.start();
    let mut frames_last = 1;
    while room(conn, &shared.limits).await {
        buffer.reserve(want);
        let got = match read_some(conn, reader, &mut buffer, want).await {
            Some(Ok(got)) if got > 0 => got,
            _ => return,
        };
        conn.moved.set(conn.moved.get() + got as u64);
        let mut frames = Vec::with_capacity(frames_last);
        let end = decode_all(&mut buffer, &mut frames);
        if !frames.is_empty() {
            frames_last = frames.len();
            if shared.inbox.send(Delivery::Frames(conn.id, frames)).await.is_err() {
                return;
            }
        }
        if let Err(error) = end {
            tracing::debug!(conn = conn.id.0, %error, "closed: not a frame");
            return;
        }
        want = next_read(want, got, &buffer);
    }
}

/// Waits until the queue of unsent bytes is short enough; false when the connection is being closed.
async fn room(conn: &Conn, limits: &Limits) -> bool {
    if conn.unsent.get() > limits.unsent_high {
        sometimes!("connection not read because too much for it is unsent");
        conn.paused.set(true);
        let is_long = || conn.unsent.get() > limits.unsent_high / 4 || planted!("unread-for-good");
        while conn.state.get() == State::Open && is_long() {
            conn.to_reader.wait().await;
        }
        conn.paused.set(false);
    }
    conn.state.get() == State::Open
}

/// One read of at most `want` bytes; `None` when the connection is being closed.
async fn read_some<R: AsyncRead + Unpin>(
    conn: &Conn,
    reader: &mut R,
    buffer: &mut BytesMut,
    want: usize,
) -> Option<io::Result<usize>> {
    poll_fn(|cx| {
        while conn.to_reader.poll(cx).is_ready() {
            if conn.state.get() != State::Open {
                return Poll::Ready(None);
            }
        }
        // Dropping a pending read loses nothing, so it can be made anew for every poll.
        pin!(reader.read_buf(&mut (&mut *buffer).limit(want))).poll(cx).map(Some)
    })
    .await
}

fn decode_all(buffer: &mut BytesMut, frames: &mut Vec<Frame>) -> Result<(), seedmq_core::wire::FrameError> {
    while let Some(frame) = codec::decode(buffer)? {
        frames.push(frame);
    }
    Ok(())
}

/// How much to ask for next: as the reads go, and the rest of a frame that has begun, at most doubling what came of it, so
/// that a length field alone reserves nothing.
fn next_read(want: usize, got: usize, buffer: &BytesMut) -> usize {
    let follow = if got >= want {
        want * 4
    } else if got < want / 8 {
        want / 2
    } else {
        want
    };
    let follow = follow.clamp(*READ_BYTES.start(), *READ_BYTES.end());
    follow.max(codec::missing(buffer).min(2 * buffer.len()))
}

/// Writes what the loop could not, until the connection is gone.
async fn write<C>(world: impl World, conn: Rc<Conn>, shared: Rc<Shared<C>>) {
    let sent = write_while(&conn, State::Open).await;
    if sent.is_ok() && conn.state.get() == State::Closing {
        let owed = async {
            write_while(&conn, State::Closing).await?;
            poll_fn(|cx| match &mut *conn.out.borrow_mut() {
                Some(out) => Pin::new(&mut out.stream).poll_shutdown(cx),
                None => Poll::Ready(Ok(())),
            })
            .await
        };
        let _ = within(&world, shared.limits.linger, owed).await;
    }
    conn.cut();
    conn.out.take();
}

/// Writes as long as the connection is in the state `during`; while it is closing, until nothing is left.
async fn write_while(conn: &Conn, during: State) -> io::Result<()> {
    poll_fn(|cx| {
        while conn.to_writer.poll(cx).is_ready() {}
        if conn.state.get() != during {
            return Poll::Ready(Ok(()));
        }
        ready!(conn.write(cx))?;
        if during == State::Closing { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// What was taken from the queue and is not written yet.
#[derive(Default)]
struct Pen {
    frames: Vec<Frame>,
    heads: BytesMut,
    slices: VecDeque<Bytes>,
    /// What [`Pen::slices`] counted as in [`Conn::unsent`].
    cost: usize,
    unflushed: bool,
}

impl Pen {
    /// Writes until nothing is queued.
    fn write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        conn: &Conn,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.slices.is_empty() || self.load(conn) {
            let written = ready!(self.poll_write(cx, stream))?;
            self.written(written, conn);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes and encodes what is queued; false when that is nothing.
    fn load(&mut self, conn: &Conn) -> bool {
        std::mem::swap(&mut self.frames, &mut conn.queue.borrow_mut());
        self.cost = self.frames.iter().map(encode::cost).sum();
        encode::encode(&self.frames, &mut self.heads, &mut self.slices);
        self.frames.clear();
        !self.slices.is_empty()
    }

    fn poll_write<S: AsyncWrite + Unpin>(&self, cx: &mut Context<'_>, writer: &mut S) -> Poll<io::Result<usize>> {
        let written = if self.slices.len() == 1 {
            ready!(Pin::new(writer).poll_write(cx, &self.slices[0]))?
        } else {
            let slices: SmallVec<[IoSlice<'_>; SLICES_USUAL]> =
                self.slices.iter().take(SLICES).map(|bytes| IoSlice::new(bytes)).collect();
            ready!(Pin::new(writer).poll_write_vectored(cx, &slices))?
        };
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    fn written(&mut self, mut bytes: usize, conn: &Conn) {
        conn.moved.set(conn.moved.get() + bytes as u64);
        self.unflushed = true;
        while bytes > 0 {
            let first = self.slices.front_mut().expect("no more is written than was given");
            let part = bytes.min(first.len());
            first.advance(part);
            bytes -= part;
            if first.is_empty() {
                self.slices.pop_front();
            }
        }
        if self.slices.is_empty() {
            conn.unsent.set(conn.unsent.get() - self.cost);
            self.cost = 0;
            if conn.paused.get() {
                conn.to_reader.raise();
            }
        }
    }
}

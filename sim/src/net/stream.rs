//! The ends of connections as tasks see them: `AsyncRead`, `AsyncWrite`, listeners, dials.
//!
//! Invariant: an end that belongs to a dead life does nothing: neither its reads and writes nor its drop reach the network.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use seedmq_core::node::Addr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pipe::Payload;
use super::{ConnSerial, DialSerial, Listening, Side};
use crate::world::{HostId, Life, World};

/// The network as one life of a host sees it.
#[derive(Clone, Debug)]
pub struct SimNet {
    world: Arc<World>,
    host: HostId,
    life: Life,
}

/// One end of a connection; closed when both halves are gone.
#[derive(Debug)]
struct Socket {
    world: Arc<World>,
    host: HostId,
    life: Life,
    conn: ConnSerial,
    side: Side,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        if state.host(self.host).life == self.life {
            state.close_end(self.conn, self.side, false);
        }
    }
}

/// The half that bytes come from.
#[derive(Debug)]
pub struct SimReader(Arc<Socket>);

/// The half that takes bytes.
#[derive(Debug)]
pub struct SimWriter(Arc<Socket>);

/// A bound listener.
#[derive(Debug)]
pub struct SimListener {
    net: SimNet,
    local: SocketAddr,
}

/// Both halves of a stream with its two addresses: the other end, then this end.
pub type Halves = (SimReader, SimWriter, SocketAddr, SocketAddr);

impl SimNet {
    /// The network of the present life of a host.
    pub fn new(world: &Arc<World>, host: HostId) -> SimNet {
        let life = world.lock().host(host).life;
        SimNet { world: Arc::clone(world), host, life }
    }

    fn halves(&self, conn: ConnSerial, side: Side) -> Halves {
        let (peer, local) = {
            let mut state = self.world.lock();
            let ends = &state.net.conn(conn).expect("a connection lives as long as an end of it is open").ends;
            (ends[side.other() as usize].addr, ends[side as usize].addr)
        };
        let world = Arc::clone(&self.world);
        let socket = Arc::new(Socket { world, host: self.host, life: self.life, conn, side });
        (SimReader(Arc::clone(&socket)), SimWriter(socket), peer, local)
    }

    /// Binds a listener; an unspecified address means that of the host, port 0 a free port.
    pub fn bind(&self, at: SocketAddr) -> io::Result<SimListener> {
        let mut state = self.world.lock();
        let host = state.host_mut(self.host);
        let port = if at.port() == 0 { host.take_port() } else { at.port() };
        let local = SocketAddr::new(host.ip, port);
        if state.net.listeners.get(&local).is_some_and(|l| l.life == self.life) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listening = Listening { host: self.host, life: self.life, backlog: Default::default(), waker: None };
        state.net.listeners.insert(local, listening);
        Ok(SimListener { net: self.clone(), local })
    }

    /// Connects to `ip:port`.
    pub async fn connect(&self, addr: &Addr) -> io::Result<Halves> {
        let to: SocketAddr = addr.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let serial = self.world.lock().dial(self.host, self.life, to);
        let conn = Dialling { net: self, serial }.await?;
        Ok(self.halves(conn, Side::Dialler))
    }
}

struct Dialling<'a> {
    net: &'a SimNet,
    serial: DialSerial,
}

impl Future for Dialling<'_> {
    type Output = io::Result<ConnSerial>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.net.world.lock();
        let Some(dial) = state.net.dials.get_mut(&self.serial) else { return Poll::Pending };
        let Some(outcome) = dial.outcome else {
            dial.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.net.dials.remove(&self.serial);
        Poll::Ready(outcome.map_err(io::Error::from))
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let mut state = self.net.world.lock();
        state.hang_up(self.serial);
    }
}

impl SimListener {
    /// Where it is bound.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
    /// Waits for the next stream.
    pub async fn accept(&mut self) -> io::Result<Halves> {
        let conn = poll_fn(|cx| {
            let mut state = self.net.world.lock();
            let life = self.net.life;
            let Some(listening) = state.net.listeners.get_mut(&self.local).filter(|l| l.life == life) else {
                return Poll::Pending;
            };
            if let Some(conn) = listening.backlog.pop_front() {
                return Poll::Ready(conn);
            }
            listening.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(self.net.halves(conn, Side::Acceptor))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.net.world.lock();
        let life = self.net.life;
        if state.net.listeners.get(&self.local).is_some_and(|l| l.life == life) {
            let gone = state.net.listeners.remove(&self.local).expect("it was just found");
            gone.backlog.into_iter().for_each(|conn| state.close_end(conn, Side::Acceptor, true));
        }
    }
}

impl Socket {
    /// Whether this end still means something.
    fn lives(&self, state: &crate::world::State) -> bool {
        state.host(self.host).life == self.life
    }
}

impl AsyncRead for SimReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = &self.0;
        let mut state = socket.world.lock();
        if !socket.lives(&state) {
            return Poll::Pending;
        }
        let Some(conn) = state.net.conn(socket.conn) else { return Poll::Ready(Ok(())) };
        let pipe = &mut conn.pipes[socket.side.other() as usize];
        if pipe.read(into) > 0 {
            if pipe.starved {
                state.made_room(socket.conn, socket.side);
            }
            return Poll::Ready(Ok(()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        if let Some(why) = conn.ends[socket.side as usize].broken {
            return Poll::Ready(Err(why.into()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for SimWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        let mut state = socket.world.lock();
        if !socket.lives(&state) {
            return Poll::Pending;
        }
        let Some(conn) = state.net.conn(socket.conn) else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let pipe = &mut conn.pipes[socket.side as usize];
        if pipe.shut || conn.ends[socket.side as usize].broken.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = pipe.room();
        if room == 0 {
            pipe.starved = true;
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum::<usize>().min(room));
        for slice in slices {
            let left = room - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        let written = bytes.len();
        if !bytes.is_empty() {
            state.write(socket.conn, socket.side, bytes.into());
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.0;
        let mut state = socket.world.lock();
        if !socket.lives(&state) {
            return Poll::Pending;
        }
        let fit = state.net.conn(socket.conn).is_some_and(|conn| {
            conn.ends[socket.side as usize].broken.is_none() && !conn.pipes[socket.side as usize].shut
        });
        if fit {
            state.send(socket.conn, socket.side, Payload::Fin);
        }
        Poll::Ready(Ok(()))
    }
}

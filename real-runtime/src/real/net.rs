//! TCP as the Java server sets it: no delay, addresses reused, a backlog of 1,024 (`NettyServerConfig`).

use std::io;
use std::net::SocketAddr;

use seedmq_core::node::Addr;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use crate::driver::{Listener, Net, Stream};

/// The network of this machine.
#[derive(Clone, Copy, Debug)]
pub struct TcpNet;

/// A bound TCP listener.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    local: SocketAddr,
}

impl Net for TcpNet {
    type Listener = TcpAcceptor;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpAcceptor> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        let listener = socket.listen(1024)?;
        let local = listener.local_addr()?;
        Ok(TcpAcceptor { listener, local })
    }

    async fn dial(&self, addr: &Addr) -> io::Result<Stream<OwnedReadHalf, OwnedWriteHalf>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{addr} has no address"));
        for at in lookup_host(&**addr).await? {
            match TcpStream::connect(at).await {
                Ok(stream) => return split(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Listener for TcpAcceptor {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn local(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&mut self) -> io::Result<Stream<OwnedReadHalf, OwnedWriteHalf>> {
        split(self.listener.accept().await?.0)
    }
}

fn split(stream: TcpStream) -> io::Result<Stream<OwnedReadHalf, OwnedWriteHalf>> {
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let (reader, writer) = stream.into_split();
    Ok(Stream { reader, writer, peer, local })
}

//! Sockets that accept.
//!
//! In:  a bound socket.   Out: connections and where each came from and meant to go.
//! Invariants: the system is asked of a connection only what its listener does not tell; nobody waits for a connection's bytes here, so
//! that the runtime does not watch it yet.
//! Not here: how sockets are bound and handed on (`bind`), who is let in (`admission`).

use super::Origin;
use crate::codec::Stream;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use std::{
    io,
    net::{self, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixListener},
};

/// A socket that accepts.
pub enum Listening {
    /// On a port.
    Tcp(Port),
    /// On a file.
    Unix(UnixListener),
}

/// A port that is listened on.
pub struct Port {
    /// It listens. This is the type of the runtime's that waits for a socket and leaves the call to others: its own listener
    /// would have it watch what is accepted.
    socket: TcpStream,
    address: SocketAddr,
    /// Whether connections may have another address of ours, or, by TPROXY, of anybody.
    any: bool,
}

impl Port {
    /// Hands a socket that listens to the runtime of this thread.
    pub(super) fn new(socket: net::TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?; // in Linux, those that it accepts have it from it
        let transparent =
            if address.is_ipv4() { options.ip_transparent_v4() } else { options.ip_transparent_v6() };
        let any = address.ip().is_unspecified() || transparent.unwrap_or(true);
        let socket = TcpStream::from_std(net::TcpStream::from(OwnedFd::from(socket)))?;
        Ok(Port { socket, address, any })
    }

    async fn accept(&self) -> io::Result<(Stream, Origin)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = || Ok(acceptfrom_with(&self.socket, flags)?);
        let (stream, peer) = self.socket.async_io(Interest::READABLE, accept).await?;
        let peer = peer.map(SocketAddr::try_from).transpose()?;
        let stream = net::TcpStream::from(stream);
        let (destination, redirected) = self.meant(&stream)?;
        let origin = Origin { peer, direct: peer, local: Some(destination), redirected };
        Ok((stream.into(), origin))
    }

    /// Where a client meant to connect, and whether a rule has brought him here from there.
    fn meant(&self, stream: &net::TcpStream) -> io::Result<(SocketAddr, bool)> {
        let before = self.before_redirect(stream);
        if let Some(before) = before
            && before.port() != self.address.port()
        {
            return Ok((before, true));
        }
        let local = if self.any { stream.local_addr()? } else { self.address };
        let meant = before.unwrap_or(local);
        // By TPROXY nothing is rewritten: the socket has the address that was meant.
        Ok((meant, meant != local || local.port() != self.address.port()))
    }

    /// Where he meant to connect before a REDIRECT rule; `None` mostly when there was none.
    fn before_redirect(&self, stream: &net::TcpStream) -> Option<SocketAddr> {
        let socket = SockRef::from(stream);
        let found = if self.address.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
        found.ok()?.as_socket()
    }
}

impl Listening {
    /// The same socket once more, for another process.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        match self {
            Listening::Tcp(port) => port.socket.as_fd().try_clone_to_owned(),
            Listening::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Origin)> {
        match self {
            Listening::Tcp(port) => port.accept().await,
            Listening::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((stream.into(), Origin { peer: None, direct: None, local: None, redirected: false }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(address: &str) -> Port {
        let socket = net::TcpListener::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Port::new(socket).unwrap()
    }

    #[tokio::test]
    async fn connections_have_the_address_that_the_client_called() {
        for (address, any) in [("127.0.0.2:0", false), ("0.0.0.0:0", true), ("[::1]:0", false)] {
            let port = listening(address);
            assert_eq!(port.any, any);
            let called = match port.address {
                address if any => SocketAddr::from(([127, 0, 0, 3], address.port())),
                address => address,
            };
            let client = net::TcpStream::connect(called).unwrap();
            let (stream, origin) = port.accept().await.unwrap();
            let peer = client.local_addr().ok();
            assert_eq!((origin.local, origin.redirected), (Some(called), false));
            assert_eq!((origin.peer, origin.direct), (peer, peer));
            assert_eq!(stream.local_addr(), Some(called));
            let socket = stream.tcp().unwrap();
            assert!(SockRef::from(&socket).tcp_nodelay().unwrap());
            assert!(SockRef::from(&socket).nonblocking().unwrap());
            assert!(!stream.is_watched());
        }
    }
}

//! Binding: one socket for each worker, sharing the port, so that the kernel spreads connections and no worker waits for
//! another.

use super::Origin;
use crate::codec::Stream;
use sidle_model::ir::ListenAddress;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::FileTypeExt,
    path::Path,
    sync::Arc,
};
use tokio::net::{TcpListener, UnixListener};

/// Connections that the kernel holds for a worker that is busy.
const BACKLOG: i32 = 1024;

/// A socket that is bound and listens, on its way to its worker.
#[derive(Debug)]
pub struct BoundSocket {
    name: Arc<str>,
    socket: Bound,
}

#[derive(Debug)]
enum Bound {
    Tcp(std::net::TcpListener, Option<std::net::TcpListener>),
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that accepts.
pub(super) enum Listening {
    /// With the port that it is bound to.
    Tcp(TcpListener, Option<TcpListener>, u16),
    Unix(UnixListener),
}

/// What is asked of a listener's sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// One for each.
    pub workers: usize,
    /// This process has the address bound already, for a listener that is to go.
    pub ours: bool,
    /// Also the address of IPv6 that captured connections are brought to when IPv4's is the one bound.
    pub both_families: bool,
    /// Connections come with destinations that are not ours, by TPROXY.
    pub transparent: bool,
}

/// Binds `address`.
///
/// # Errors
/// The system's, when the address is taken or not ours to take.
pub fn bind(name: &Arc<str>, address: &ListenAddress, wanted: Wanted) -> io::Result<Vec<BoundSocket>> {
    let Wanted { workers, ours, both_families, transparent } = wanted;
    match address {
        ListenAddress::Socket(address) => {
            let mut address = *address;
            if !ours {
                is_free(address)?;
            }
            let mut sockets = Vec::with_capacity(workers);
            for _ in 0..workers.max(1) {
                let socket = tcp(address, transparent)?;
                address = socket.local_addr()?; // port 0: the others follow the first
                let twin = twin(address).filter(|_| both_families).and_then(|twin| tcp_v6(twin, transparent));
                sockets.push(BoundSocket { name: name.clone(), socket: Bound::Tcp(socket, twin) });
            }
            Ok(sockets)
        }
        ListenAddress::Unix(path) => {
            let first = unix(path)?;
            let mut sockets = Vec::with_capacity(workers);
            for _ in 1..workers {
                sockets.push(BoundSocket { name: name.clone(), socket: Bound::Unix(first.try_clone()?) });
            }
            sockets.push(BoundSocket { name: name.clone(), socket: Bound::Unix(first) });
            Ok(sockets)
        }
    }
}

/// Finds whether another process has the port, which sharing it would hide: two proxies would take each other's connections.
fn is_free(address: SocketAddr) -> io::Result<()> {
    let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())
}

/// The address of IPv6 that stands for one of IPv4.
fn twin(address: SocketAddr) -> Option<SocketAddr> {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Ipv6Addr::LOCALHOST,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv6Addr::UNSPECIFIED,
        _ => return None,
    };
    Some(SocketAddr::from((ip, address.port())))
}

/// `None`: this machine has no IPv6, or another has the address.
fn tcp_v6(address: SocketAddr, transparent: bool) -> Option<std::net::TcpListener> {
    let bound = tcp(address, transparent);
    bound.inspect_err(|error| tracing::debug!(%address, %error, "not bound")).ok()
}

fn tcp(address: SocketAddr, transparent: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(true)?; // IPv4 has a socket of its own
    }
    if transparent {
        match address {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    // A socket file that a process left behind refuses connections, and may be replaced; any other file may not.
    if std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl BoundSocket {
    /// The listener's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it is bound; `None` for Unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Bound::Tcp(socket, _) => socket.local_addr().ok(),
            Bound::Unix(_) => None,
        }
    }

    /// Hands the socket to the runtime of this thread.
    pub(super) fn listen(self) -> io::Result<Listening> {
        Ok(match self.socket {
            Bound::Tcp(socket, twin) => {
                let port = socket.local_addr()?.port();
                let twin = twin.map(TcpListener::from_std).transpose()?;
                Listening::Tcp(TcpListener::from_std(socket)?, twin, port)
            }
            Bound::Unix(socket) => Listening::Unix(UnixListener::from_std(socket)?),
        })
    }
}

impl Listening {
    pub(super) async fn accept(&self) -> io::Result<(Stream, Origin)> {
        match self {
            Listening::Tcp(socket, twin, port) => {
                let (stream, peer) = match twin {
                    None => socket.accept().await?,
                    Some(twin) => tokio::select! {
                        accepted = socket.accept() => accepted?,
                        accepted = twin.accept() => accepted?,
                    },
                };
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                let destination = original_destination(&stream, local);
                // By TPROXY nothing is rewritten: the socket has the address that was meant.
                let redirected = destination != local || local.port() != *port;
                let origin =
                    Origin { peer: Some(peer), direct: Some(peer), local: Some(destination), redirected };
                Ok((stream.into(), origin))
            }
            Listening::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((stream.into(), Origin { peer: None, direct: None, local: None, redirected: false }))
            }
        }
    }
}

/// Where the client meant to connect, before a REDIRECT rule; the local address when there was none.
fn original_destination(stream: &tokio::net::TcpStream, local: SocketAddr) -> SocketAddr {
    let socket = socket2::SockRef::from(stream);
    let found = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    found.ok().and_then(|address| address.as_socket()).unwrap_or(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(workers: usize) -> Wanted {
        Wanted { workers, ..Wanted::default() }
    }

    fn any() -> ListenAddress {
        ListenAddress::Socket(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    #[test]
    fn each_worker_has_a_socket_on_the_same_port() {
        let sockets = bind(&"l".into(), &any(), of(3)).unwrap();
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports[0] != 0 && ports == [ports[0]; 3], "{ports:?}");
    }

    #[test]
    fn a_port_of_another_proxy_is_taken() {
        let first = bind(&"l".into(), &any(), of(1)).unwrap();
        let taken = ListenAddress::Socket(first[0].local_addr().unwrap());
        assert_eq!(bind(&"l".into(), &taken, of(1)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(&"m".into(), &taken, Wanted { ours: true, ..of(1) }).is_ok(), "unless it is our own");
    }

    #[test]
    fn a_socket_file_that_nobody_serves_is_replaced_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(bind(&"l".into(), &ListenAddress::Unix(path.clone()), of(2)).unwrap());
        let live = bind(&"l".into(), &ListenAddress::Unix(path.clone()), of(2)).unwrap();
        assert!(
            bind(&"l".into(), &ListenAddress::Unix(path.clone()), of(1)).is_err(),
            "served: not ours to take"
        );
        drop(live);
        let other = folder.path().join("f");
        std::fs::write(&other, "x").unwrap();
        assert!(bind(&"l".into(), &ListenAddress::Unix(other.clone()), of(1)).is_err());
        assert_eq!(std::fs::read(other).unwrap(), b"x");
    }
}

//! Binding: one socket for each worker, sharing the port, so that the kernel spreads connections and no worker waits for
//! another.

use super::listening::{Listening, Port};
use sidle_model::ir::ListenAddress;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    path::Path,
    sync::Arc,
};
use tokio::net::UnixListener;

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
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that another process has bound, and that listens.
#[derive(Debug)]
pub struct Inherited {
    address: ListenAddress,
    socket: Bound,
}

impl Inherited {
    /// One that was handed over.
    ///
    /// # Errors
    /// It is no socket that a listener has.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let address = socket.local_addr()?;
        if let Some(address) = address.as_socket() {
            let address = ListenAddress::Socket(address);
            return Ok(Inherited { address, socket: Bound::Tcp(socket.into()) });
        }
        let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
        let address = ListenAddress::Unix(path.to_owned());
        Ok(Inherited { address, socket: Bound::Unix(socket.into()) })
    }

    /// Where it is bound.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }
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

/// Takes sockets over that fit `address`. Each has a queue of its own, so that all are kept; workers that would be without one get
/// further ones, which take connections only once they are served.
///
/// # Errors
/// The system's.
pub fn adopt(
    name: &Arc<str>,
    address: &ListenAddress,
    sockets: Vec<Inherited>,
    wanted: Wanted,
) -> io::Result<Vec<BoundSocket>> {
    let own = |socket| BoundSocket { name: name.clone(), socket };
    let mut sockets: Vec<_> = sockets.into_iter().map(|inherited| own(inherited.socket)).collect();
    let Wanted { workers, transparent, .. } = wanted;
    match address {
        ListenAddress::Socket(first) => {
            let count = |sockets: &[BoundSocket], address| {
                sockets.iter().filter(|socket| socket.local_addr() == Some(address)).count()
            };
            for _ in count(&sockets, *first)..workers {
                let more = tcp(*first, transparent).or_else(|error| again(&sockets, error))?;
                sockets.push(own(Bound::Tcp(more)));
            }
            if let Some(twin) = wanted.twin(*first) {
                let more = (count(&sockets, twin)..workers).map_while(|_| tcp_v6(twin, transparent));
                sockets.extend(more.map(|socket| own(Bound::Tcp(socket))));
            }
            // They came a worker at a time; dealt out like that, some workers would get one family and the others the other.
            sockets.sort_by_key(BoundSocket::local_addr);
        }
        // One socket, and as many descriptors of it as there were workers.
        ListenAddress::Unix(_) => {
            while sockets.len() < workers
                && let Some(Bound::Unix(first)) = sockets.first().map(|first| &first.socket)
            {
                let more = Bound::Unix(first.try_clone()?);
                sockets.push(own(more));
            }
        }
    }
    Ok(sockets)
}

/// The same queue for one more worker, where the port cannot be bound once more: a service manager's, which shares it with nobody, or which may bind
/// what this process may not.
fn again(sockets: &[BoundSocket], error: io::Error) -> io::Result<std::net::TcpListener> {
    match (error.kind(), sockets.first().map(|first| &first.socket)) {
        (io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied, Some(Bound::Tcp(first))) => {
            first.try_clone()
        }
        _ => Err(error),
    }
}

/// Binds `address`.
///
/// # Errors
/// The system's, when the address is taken or not ours to take.
pub fn bind(name: &Arc<str>, address: &ListenAddress, wanted: Wanted) -> io::Result<Vec<BoundSocket>> {
    let Wanted { workers, ours, transparent, .. } = wanted;
    match address {
        ListenAddress::Socket(address) => {
            let mut address = *address;
            if !ours {
                is_free(address)?;
            }
            let mut sockets = Vec::with_capacity(workers);
            for _ in 0..workers.max(1) {
                let socket = tcp(address, transparent)?;
                socket2::SockRef::from(&socket).listen(BACKLOG)?;
                address = socket.local_addr()?; // port 0: the others follow the first
                sockets.push(BoundSocket { name: name.clone(), socket: Bound::Tcp(socket) });
            }
            if let Some(twin) = wanted.twin(address) {
                for socket in (0..workers.max(1)).map_while(|_| tcp_v6(twin, transparent)) {
                    socket2::SockRef::from(&socket).listen(BACKLOG)?;
                    sockets.push(BoundSocket { name: name.clone(), socket: Bound::Tcp(socket) });
                }
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

impl Wanted {
    /// The address of IPv6 that is bound beside one of IPv4.
    fn twin(&self, address: SocketAddr) -> Option<SocketAddr> {
        let ip = match address.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => Ipv6Addr::LOCALHOST,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv6Addr::UNSPECIFIED,
            _ => return None,
        };
        self.both_families.then(|| SocketAddr::from((ip, address.port())))
    }

    /// Whether a socket at this place is one of those that a listener at `address` has.
    pub fn fits(&self, place: &ListenAddress, address: &ListenAddress) -> bool {
        match (place, address) {
            (ListenAddress::Socket(place), ListenAddress::Socket(address)) => {
                place == address || self.twin(*address) == Some(*place)
            }
            (place, address) => place == address,
        }
    }
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
            Bound::Tcp(socket) => socket.local_addr().ok(),
            Bound::Unix(_) => None,
        }
    }

    /// Hands the socket to the runtime of this thread.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(self) -> io::Result<Listening> {
        Ok(match self.socket {
            Bound::Tcp(socket) => {
                socket2::SockRef::from(&socket).listen(BACKLOG)?; // one that listens already goes on
                Listening::Tcp(Port::new(socket)?)
            }
            Bound::Unix(socket) => Listening::Unix(UnixListener::from_std(socket)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

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

    fn share(socket: &BoundSocket) -> OwnedFd {
        match &socket.socket {
            Bound::Tcp(socket) => socket.as_fd().try_clone_to_owned().unwrap(),
            Bound::Unix(socket) => socket.as_fd().try_clone_to_owned().unwrap(),
        }
    }

    fn inherited(sockets: &[BoundSocket]) -> Vec<Inherited> {
        sockets.iter().map(|socket| Inherited::new(share(socket)).unwrap()).collect()
    }

    #[test]
    fn all_that_is_inherited_is_kept_and_more_workers_get_more_sockets() {
        let first = bind(&"l".into(), &any(), of(3)).unwrap();
        let port = first[0].local_addr();
        for (workers, sockets) in [(1, 3), (3, 3), (5, 5)] {
            let address = ListenAddress::Socket(port.unwrap());
            let adopted = adopt(&"m".into(), &address, inherited(&first), of(workers)).unwrap();
            assert!(adopted.iter().all(|socket| socket.local_addr() == port && &**socket.name() == "m"));
            assert_eq!(adopted.len(), sockets);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = ListenAddress::Unix(folder.path().join("s"));
        let first = bind(&"u".into(), &path, of(2)).unwrap();
        let all = inherited(&first);
        assert!(all.iter().all(|inherited| *inherited.address() == path));
        assert_eq!(adopt(&"u".into(), &path, all, of(4)).unwrap().len(), 4);
    }

    #[test]
    fn both_families_are_handed_over() {
        let both = Wanted { both_families: true, ..of(2) };
        let first = bind(&"l".into(), &any(), both).unwrap();
        let address = ListenAddress::Socket(first[0].local_addr().unwrap());
        let six = first.iter().filter(|socket| socket.local_addr().unwrap().is_ipv6()).count();
        assert!([0, 2].contains(&six) && first.len() == 2 + six, "{first:?}");
        let all = inherited(&first);
        assert!(all.iter().all(|socket| both.fits(socket.address(), &address)));
        assert_eq!(all.iter().filter(|socket| of(2).fits(socket.address(), &address)).count(), 2);
        let adopted = adopt(&"m".into(), &address, all, Wanted { workers: 3, ..both }).unwrap();
        assert_eq!(adopted.len(), if six == 0 { 3 } else { 6 });
        // As workers give them: each its own.
        let (four, rest): (Vec<_>, Vec<_>) =
            first.iter().partition(|one| one.local_addr().unwrap().is_ipv4());
        let mixed = four.into_iter().zip(rest).flat_map(|(four, six)| [share(four), share(six)]);
        let mixed: Vec<_> = mixed.map(|socket| Inherited::new(socket).unwrap()).collect();
        let adopted = adopt(&"m".into(), &address, mixed, both).unwrap();
        let families: Vec<_> = adopted.iter().map(|socket| socket.local_addr().unwrap().is_ipv4()).collect();
        assert_eq!(families[..2], [true; 2], "each of two workers has one of IPv4");
    }

    /// Otherwise a new process that fails would take clients along.
    #[test]
    fn a_further_socket_takes_no_connection_before_it_is_served() {
        let first = bind(&"l".into(), &any(), of(1)).unwrap();
        let address = first[0].local_addr().unwrap();
        let wanted = ListenAddress::Socket(address);
        let adopted = adopt(&"m".into(), &wanted, inherited(&first), of(8)).unwrap();
        let clients: Vec<_> = (0..32).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let Bound::Tcp(first) = &first[0].socket else { panic!("TCP") };
        assert_eq!(std::iter::from_fn(|| first.accept().ok()).count(), clients.len());
        drop(adopted);
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

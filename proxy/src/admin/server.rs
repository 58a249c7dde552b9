//! HTTP/1.1 for one surface: accept, bound, answer.
//!
//! In:  a bound socket, a source.   Out: answers until told to stop.
//! Invariants: at most [`CONNECTIONS`] connections and [`REQUESTS`] answers at a time; a head takes at most
//! [`HEAD_TIMEOUT`], an answer [`ANSWER_TIMEOUT`], a connection little more than [`CONNECTION_AGE`]; a failed accept never
//! ends the server, and one for want of descriptors is tried again with one of the [`Reserve`], of which it has [`SPARE`] at most.

use super::{
    AdminSource, Surface,
    answer::{Answer, Query, TEXT, answer},
    guard, index,
    table::Ask,
};
use crate::reserve::Reserve;
use futures_util::FutureExt;
use http::{Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

const CONNECTIONS: usize = 128;
/// Connections that wait.
const BACKLOG: i32 = 1024;
/// Connections that are served at once when there is no other descriptor.
pub const SPARE: usize = 4;
pub(super) const REQUESTS: usize = 32;
const HEAD_BYTES: usize = 16 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that keeps a connection longer, or reads this slowly, makes room for others.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// How long answers under way may take when the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// After a failed accept; it fails at once again when descriptors have run out, and the reserve with them.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound server.
pub struct Server {
    listener: TcpListener,
    surface: Surface,
    reserve: Arc<Reserve>,
}

impl Server {
    /// Binds. `reserve` has [`SPARE`] for it. Connections wait until [`Self::serve`].
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(address: SocketAddr, surface: Surface, reserve: Arc<Reserve>) -> io::Result<Self> {
        let listener = match narrowed(address, surface) {
            None => TcpListener::bind(address).await?,
            Some(narrowed) => match both_families(address) {
                Ok(listener) => TcpListener::from_std(listener)?,
                // No IPv6 here; or the port is taken, which shows again.
                Err(_) => TcpListener::bind(narrowed).await?,
            },
        };
        Ok(Server { listener, surface, reserve })
    }

    /// Takes a socket over that listens already, as [`Self::bind`] makes one.
    ///
    /// # Errors
    /// It is none.
    pub fn adopt(socket: std::net::TcpListener, surface: Surface, reserve: Arc<Reserve>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Server { listener: TcpListener::from_std(socket)?, surface, reserve })
    }

    /// The same socket once more, for another process.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then lets answers under way end.
    pub async fn serve(self, source: Arc<dyn AdminSource>, stop: impl Future<Output = ()>) {
        let service = service(self.surface, source);
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let spares = Arc::new(Semaphore::new(SPARE));
        let (stopping, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut stop = Box::pin(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {
                    self.reserve.fill(); // one that was lent and did not come back
                }
                accepted = accept(&self.listener, &permits, &spares, &self.reserve) => {
                    let (service, stopped) = (service.clone(), stopped.clone());
                    connections.spawn(connection(accepted, service, stopped, self.reserve.clone()));
                }
            }
        }
        drop((self.listener, stopping, stop)); // whoever said so may wait for that
        // What is left is aborted with the set.
        let _ =
            tokio::time::timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} })
                .await;
    }
}

/// Where a server for everybody is bound if there is no IPv6: it is for both families, so that a kubelet or a Prometheus that has IPv6 alone
/// reaches it as well. What can stop the process stays where it was put.
pub fn narrowed(address: SocketAddr, surface: Surface) -> Option<SocketAddr> {
    let is_for_all = surface != Surface::Admin && address.ip() == Ipv6Addr::UNSPECIFIED;
    is_for_all.then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

/// A socket for IPv4 and IPv6.
fn both_families(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A connection, and what it holds for as long as it stands.
struct Accepted {
    stream: TcpStream,
    local: SocketAddr,
    _permit: Option<OwnedSemaphorePermit>,
    _spare: Option<OwnedSemaphorePermit>,
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    spares: &Arc<Semaphore>,
    reserve: &Reserve,
) -> Accepted {
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (mut spare, mut lent) = (None, false);
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| Ok((stream.local_addr()?, stream)));
        match accepted {
            Ok((local, stream)) => return Accepted { stream, local, _permit: permit, _spare: spare },
            Err(error) if lacks_descriptors(&error) && !lent => {
                spare = spare.or_else(|| Arc::clone(spares).try_acquire_owned().ok());
                lent = spare.is_some() && reserve.lend();
            }
            Err(_) => lent = false,
        }
        if !lent {
            tokio::time::sleep(PAUSE).await; // also when somebody was quicker: he gives it back
        }
    }
}

fn lacks_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).map(Some).contains(&error.raw_os_error())
}

/// What came, and to which address.
struct Arrival {
    request: Request<Incoming>,
    local: SocketAddr,
}

type Answers = BoxCloneSyncService<Arrival, Answer, BoxError>;

/// Answers within the bounds. What is beyond them is refused at once, never queued.
fn service(surface: Surface, source: Arc<dyn AdminSource>) -> Answers {
    let respond = tower::service_fn(move |arrival| respond(surface, Arc::clone(&source), arrival));
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .load_shed()
            .concurrency_limit(REQUESTS)
            .timeout(ANSWER_TIMEOUT)
            .service(respond),
    )
}

/// The answer when a bound was reached.
fn refused(bound: BoxError) -> Answer {
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{bound}\n"))
}

async fn connection(
    accepted: Accepted,
    service: Answers,
    mut stopped: watch::Receiver<()>,
    reserve: Arc<Reserve>,
) {
    let Accepted { stream, local, _permit, _spare } = accepted;
    // An answer is written at once; a failure here only costs latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answered = service.clone().oneshot(Arrival { request, local });
        async { Ok::<_, Infallible>(answered.await.unwrap_or_else(refused)) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // Errors are the client's: it left, or did not speak HTTP.
    tokio::select! {
        _ = &mut connection => {}
        () = told_to_end(&mut stopped) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, &mut connection).await;
        }
    }
    if let Ok(stream) = connection.into_parts().io.into_inner().into_std() {
        reserve.take_back(stream.into());
    }
}

/// The server stops, or the connection is old.
async fn told_to_end(stopped: &mut watch::Receiver<()>) {
    let _ = tokio::time::timeout(CONNECTION_AGE, stopped.changed()).await;
}

/// One request.
async fn respond(
    surface: Surface,
    source: Arc<dyn AdminSource>,
    Arrival { request, local }: Arrival,
) -> Result<Answer, Infallible> {
    // Metrics and health are for everyone who can reach them, by whatever name.
    if surface == Surface::Admin
        && let Some(why) = guard::refusal(&request, local)
    {
        return Ok(answer(StatusCode::FORBIDDEN, TEXT, format!("{why}\n")));
    }
    let Some(endpoint) = surface.find(request.uri().path()) else {
        return Ok(index::not_found(surface));
    };
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let ask = Ask { source, query: Query::parse(request.uri().query()), accept: accept.map(str::to_owned) };
    // A defect of an endpoint is told by its answer, and by the panic hook.
    let called = AssertUnwindSafe(endpoint.call(request.method(), ask)).catch_unwind().await;
    Ok(called.unwrap_or_else(|_| answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal error\n")))
}

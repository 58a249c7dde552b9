//! Sockets, and what their connections turn out to be.
//!
//! In:  bound sockets.   Out: [`Connection`]s, handed to `codec`.
//! Invariants: an accept error never ends the loop; running out of descriptors pauses accepting; a connection keeps its
//! treatment until it ends, but each request on it follows the configuration in force, and is refused where that would not take such a
//! connection any more.
//! Not here: HTTP (`codec`), routes.
//! Read: `bind` -> `listening` -> `mod.rs` (accept) -> `admission` (may it stay?) -> `proxy_protocol` (whose is it?) -> `inspect` (what
//! is it?) -> `handshake` -> `connection` -> `opaque` (bytes).

mod admission;
mod bind;
mod connection;
mod drain;
mod handshake;
mod inspect;
mod listening;
mod opaque;
pub mod proxy_protocol;
mod sources;

pub use bind::{BoundSocket, Inherited, Wanted, adopt, bind};
pub use connection::{ActiveRequest, Connection, Fault, Origin};
pub use drain::Drain;
pub use listening::Listening;
pub use sources::Sources;

use crate::{
    codec::{self, Stream},
    config::{Chain, Filter, TcpPlan},
    overload::Pressure,
    turn,
    worker::Worker,
};
use admission::{Open, admit};
use futures_util::{FutureExt as _, future::OptionFuture};
use inspect::Proxied;
use sidle_model::ir::{Certificates, Direction};
use sidle_telemetry::Doorkeeper;
use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long accepting pauses when descriptors or memory run out.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the log says so.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Accepts connections of the listener `name` on a socket until `drain` stops it and its queue is empty.
pub async fn accept(worker: Rc<Worker>, name: Arc<str>, listening: Rc<Listening>, drain: Rc<Drain>) {
    let metrics = worker.shared.telemetry.listener_metrics(&name);
    let mut complained = None;
    let mut stopped = pin!(drain.stopped());
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listening.accept() => accepted,
            () = &mut stopped => return,
        };
        match accepted {
            Ok((mut stream, origin)) => {
                match admit(|| Open::begin(&worker, &name, &metrics, origin.peer)).await {
                    Ok(open) => {
                        let (listener, drain) = (name.clone(), drain.clone());
                        let arrived =
                            Arrived { worker: worker.clone(), listener, drain, open, stream, origin };
                        worker.connections.give(Box::pin(opened(arrived)), connection);
                        let mut cost = turn::CONNECTION;
                        poll_fn(|cx| turn::poll_take(&mut cost, cx)).await;
                    }
                    Err(limit) => {
                        metrics.connection_refused(limit);
                        admission::turn_away(&mut stream);
                        drop(stream);
                        worker.shared.reserve.fill();
                    }
                }
            }
            Err(error) if is_momentary(&error) => {}
            Err(error) => {
                if complained.is_none_or(|at: Instant| at.elapsed() >= COMPLAIN) {
                    complained = Some(Instant::now());
                    tracing::warn!(listener = %name, %error, "accept fails; pausing after each failure");
                }
                metrics.connection_refused(Doorkeeper::Descriptors);
                tokio::time::sleep(PAUSE).await;
                worker.shared.reserve.fill();
            }
        }
    }
}

/// The client gave up between its SYN and our accept.
fn is_momentary(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// What `inspecting` finds; `None` too when the listener ends, or memory is short, and the client has still said nothing.
async fn unless_drained<T>(
    worker: &Worker,
    drain: &Drain,
    inspecting: Pin<&mut impl Future<Output = Option<T>>>,
) -> Option<T> {
    let silent = async {
        while !drain.has_begun() && worker.shared.overload.pressure() == Pressure::None {
            drain.told().await;
        }
        tokio::time::sleep(connection::IDLE_BEFORE_CLOSE).await;
    };
    tokio::select! {
        biased; // mostly there is something to find
        found = inspecting => found,
        () = silent => None,
    }
}

/// Learns from the PROXY protocol whose a connection is, and counts it as his; `None`: it ends here.
async fn introduced(
    worker: &Worker,
    open: &mut Open,
    stream: &mut Stream,
    origin: &mut Origin,
    timeout: Duration,
) -> Option<()> {
    match inspect::proxied(stream, origin, timeout).await {
        Proxied::Known => {}
        Proxied::Silent => return None,
        Proxied::Invalid => {
            open.metrics.proxy_protocol_failed();
            return None;
        }
    }
    let Some(client) = origin.peer else { return Some(()) };
    match admit(|| admission::source(worker, client.ip())).await {
        Ok(source) => {
            open.source = Some(source);
            Some(())
        }
        Err(limit) => {
            open.metrics.connection_refused(limit);
            admission::turn_away(stream);
            None
        }
    }
}

/// A connection that is being opened, in a box that is gone when it is open; `None`: it is over.
pub type Opening = Pin<Box<dyn Future<Output = Option<Spoken>>>>;

/// Serves a connection. No `async fn`: it would have room for `opening` twice.
fn connection(opening: Opening) -> impl Future<Output = ()> {
    opening.then(|spoken| OptionFuture::from(spoken.and_then(begin))).map(Option::unwrap_or_default)
}

/// Begins to serve a connection. What is given back is left to do for whoever opened it.
fn begin(spoken: Spoken) -> Option<impl Future<Output = ()>> {
    let Spoken { service, stream, connection, open } = spoken;
    match service {
        Service::Http1 => return Some(counted(codec::h1::serve(stream, connection), open)),
        // They last: in tasks of their size, without room for HTTP/1.
        Service::Http2 => apart(counted(codec::h2::serve(stream, connection), open)),
        Service::Tcp(tcp) => apart(counted(opaque::serve(stream, connection, tcp), open)),
    }
    None
}

/// Serves a connection, and counts it as long. No `async` block: it would have room for `serving` twice.
fn counted(serving: impl Future<Output = ()>, open: Open) -> impl Future<Output = ()> {
    serving.map(move |()| drop(open))
}

/// Serves a connection in a task of its own.
fn apart(serving: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(serving);
}

/// A connection that was let in.
struct Arrived {
    worker: Rc<Worker>,
    listener: Arc<str>,
    drain: Rc<Drain>,
    open: Open,
    stream: Stream,
    origin: Origin,
}

/// A connection of which all is known that must be to serve it.
pub struct Spoken {
    service: Service,
    stream: Stream,
    connection: Rc<Connection>,
    /// Counts it for as long as it is served.
    open: Open,
}

/// What is spoken on it.
enum Service {
    Tcp(Arc<TcpPlan>),
    Http1,
    Http2,
}

/// Introduces the client, terminates TLS and finds out what is spoken; `None`: the connection is over.
async fn opened(arrived: Arrived) -> Option<Spoken> {
    let Arrived { worker, listener, drain, mut open, mut stream, mut origin } = arrived;
    let snapshot = worker.snapshot();
    let plan = snapshot.listeners.get(&listener)?;
    let limits = &snapshot.ir.settings.limits;
    if plan.config.proxy_protocol {
        let timeout = limits.request_headers_timeout;
        let introducing = Box::pin(introduced(&worker, &mut open, &mut stream, &mut origin, timeout));
        unless_drained(&worker, &drain, pin!(introducing)).await?;
    }
    let (chain, mut seen) = {
        let inspecting = pin!(inspect::inspect(&mut stream, plan, &origin, limits, &open.metrics));
        unless_drained(&worker, &drain, inspecting).await?
    };
    if let Some((tls, config)) = &chain.tls {
        let config = match config.current() {
            Ok(config) => config,
            Err(error) => {
                open.metrics.tls_handshake_failed();
                tracing::debug!(peer = ?origin.peer, %error, "TLS cannot be spoken");
                return None;
            }
        };
        let of_mesh =
            plan.config.direction == Direction::Inbound && tls.certificates == Certificates::Workload;
        let handshake = Box::pin(handshake::accept(stream, config, of_mesh)); // large, and not everybody's
        match tokio::time::timeout(limits.tls_handshake_timeout, handshake).await {
            Ok(Ok(tls)) => stream = tls.into(),
            Ok(Err(error)) => {
                open.metrics.tls_handshake_failed();
                tracing::debug!(peer = ?origin.peer, %error, "TLS handshake failed");
                return None;
            }
            Err(_) => {
                open.metrics.tls_handshake_failed();
                return None;
            }
        }
        let own = (tls.certificates == Certificates::Workload).then(|| snapshot.workload.current()).flatten();
        seen.terminated(&stream, own.map(|svid| svid.id.clone()));
    }
    let chain: Arc<Chain> = chain;
    let service = match &chain.filter {
        Filter::Tcp(tcp) => Service::Tcp(tcp.clone()),
        Filter::Http(_) => {
            let (idle, head) = (limits.connection_idle_timeout, limits.request_headers_timeout);
            let http2 = match seen.http2 {
                Some(known) => known,
                None => {
                    let preface = {
                        let looking = pin!(inspect::preface(&mut stream, idle, head));
                        unless_drained(&worker, &drain, looking).await
                    };
                    match preface {
                        Some(http2) => http2,
                        None => {
                            stream.take_leave();
                            return None;
                        }
                    }
                }
            };
            if http2 { Service::Http2 } else { Service::Http1 }
        }
    };
    let connection = Connection::new(worker, &snapshot, drain, &chain, plan, origin, seen);
    Some(Spoken { service, stream, connection: Rc::new(connection), open })
}

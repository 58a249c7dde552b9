//! Sockets, and what their connections turn out to be.
//!
//! In:  bound sockets.   Out: [`Connection`]s, handed to `codec`.
//! Invariants: an accept error never ends the loop; running out of descriptors pauses accepting; a connection keeps its
//! treatment until it ends, but each request on it follows the configuration in force.
//! Not here: HTTP (`codec`), routes.
//! Read: `bind` -> `mod.rs` (accept) -> `admission` (may it stay?) -> `proxy_protocol` (whose is it?) -> `inspect` (what is
//! it?) -> `connection` -> `opaque` (bytes).

mod admission;
mod bind;
mod connection;
mod drain;
mod inspect;
mod opaque;
pub mod proxy_protocol;
mod sources;

pub use bind::{BoundSocket, bind};
pub use connection::{ActiveRequest, Connection, Fault, Origin};
pub use drain::Drain;
pub use sources::Sources;

use crate::{
    codec::{self, Stream},
    config::{Chain, Filter},
    overload::Pressure,
    worker::Worker,
};
use admission::Open;
use inspect::Proxied;
use sidle_model::ir::Certificates;
use sidle_telemetry::Doorkeeper;
use sources::Source;
use std::{io, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long accepting pauses when descriptors or memory run out.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the log says so.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Accepts connections on `socket` until `drain` stops it.
pub async fn accept(worker: Rc<Worker>, socket: BoundSocket, drain: Rc<Drain>) {
    let metrics = worker.shared.telemetry.listener_metrics(socket.name());
    let name = socket.name().clone();
    let listening = match socket.listen() {
        Ok(listening) => listening,
        Err(error) => return tracing::error!(listener = %name, %error, "cannot serve"),
    };
    let mut complained = None;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listening.accept() => accepted,
            () = drain.stopped() => return,
        };
        match accepted {
            Ok((mut stream, origin)) => match Open::begin(&worker, &name, &metrics, origin.peer) {
                Ok(open) => {
                    let (worker, name, drain) = (worker.clone(), name.clone(), drain.clone());
                    tokio::task::spawn_local(async move {
                        connection(worker, name, drain, &open, stream, origin).await;
                    });
                }
                Err(limit) => {
                    metrics.connection_refused(limit);
                    admission::turn_away(&mut stream);
                }
            },
            Err(error) if is_momentary(&error) => {}
            Err(error) => {
                if complained.is_none_or(|at: Instant| at.elapsed() >= COMPLAIN) {
                    complained = Some(Instant::now());
                    tracing::warn!(listener = %name, %error, "accept fails; pausing after each failure");
                }
                metrics.connection_refused(Doorkeeper::Descriptors);
                tokio::time::sleep(PAUSE).await;
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
    inspecting: impl Future<Output = Option<T>>,
) -> Option<T> {
    let silent = async {
        if worker.shared.overload.pressure() == Pressure::None {
            tokio::select! {
                () = drain.begun() => {}
                () = worker.shed.notified() => {}
            }
        }
        tokio::time::sleep(connection::IDLE_BEFORE_CLOSE).await;
    };
    tokio::select! {
        found = inspecting => found,
        () = silent => None,
    }
}

/// Learns from the PROXY protocol whose a connection is, and counts it as his; `None`: it ends here.
async fn introduced(
    worker: &Worker,
    open: &Open,
    stream: &mut Stream,
    origin: &mut Origin,
    timeout: Duration,
) -> Option<Option<Source>> {
    match inspect::proxied(stream, origin, timeout).await {
        Proxied::Known => {}
        Proxied::Silent => return None,
        Proxied::Invalid => {
            open.metrics.proxy_protocol_failed();
            return None;
        }
    }
    let Some(client) = origin.peer else { return Some(None) };
    match admission::source(worker, client.ip()) {
        Ok(source) => Some(Some(source)),
        Err(limit) => {
            open.metrics.connection_refused(limit);
            admission::turn_away(stream);
            None
        }
    }
}

async fn connection(
    worker: Rc<Worker>,
    listener: Arc<str>,
    drain: Rc<Drain>,
    open: &Open,
    mut stream: Stream,
    mut origin: Origin,
) {
    let snapshot = worker.snapshot();
    let Some(plan) = snapshot.listeners.get(&listener) else { return };
    let limits = &snapshot.ir.settings.limits;
    let mut _source = None; // counts the client for as long as it is served
    if plan.config.proxy_protocol {
        let timeout = limits.request_headers_timeout;
        let introducing = introduced(&worker, open, &mut stream, &mut origin, timeout);
        let Some(source) = unless_drained(&worker, &drain, introducing).await else { return };
        _source = source;
    }
    let inspected =
        unless_drained(&worker, &drain, inspect::inspect(&mut stream, plan, &origin, limits, &open.metrics))
            .await;
    let Some((chain, mut seen)) = inspected else { return };
    if let Some((tls, config)) = &chain.tls {
        let config = match config.current() {
            Ok(config) => config,
            Err(error) => {
                open.metrics.tls_handshake_failed();
                return tracing::debug!(peer = ?origin.peer, %error, "TLS cannot be spoken");
            }
        };
        let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(limits.tls_handshake_timeout, handshake).await {
            Ok(Ok(tls)) => stream = tls.into(),
            Ok(Err(error)) => {
                open.metrics.tls_handshake_failed();
                return tracing::debug!(peer = ?origin.peer, %error, "TLS handshake failed");
            }
            Err(_) => return open.metrics.tls_handshake_failed(),
        }
        let own = (tls.certificates == Certificates::Workload).then(|| snapshot.workload.current()).flatten();
        seen.terminated(&stream, own.map(|svid| svid.id.clone()));
    }
    let chain: Arc<Chain> = chain;
    match &chain.filter {
        Filter::Tcp(tcp) => {
            let connection = Connection::new(worker, &snapshot, drain, &chain, plan, origin, seen);
            opaque::serve(stream, Rc::new(connection), tcp.clone()).await;
        }
        Filter::Http(_) => {
            let speaks_http2 = match seen.http2 {
                Some(known) => known,
                None => match unless_drained(
                    &worker,
                    &drain,
                    inspect::preface(
                        &mut stream,
                        limits.connection_idle_timeout,
                        limits.request_headers_timeout,
                    ),
                )
                .await
                {
                    Some(http2) => http2,
                    None => return stream.take_leave(),
                },
            };
            let connection = Rc::new(Connection::new(worker, &snapshot, drain, &chain, plan, origin, seen));
            if speaks_http2 {
                codec::h2::serve(stream, connection).await;
            } else {
                codec::h1::serve(stream, connection).await;
            }
        }
    }
}

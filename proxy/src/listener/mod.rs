//! Sockets, and what their connections turn out to be.
//!
//! In:  bound sockets.   Out: [`Connection`]s, handed to `codec`.
//! Invariants: an accept error never ends the loop; running out of descriptors pauses accepting; a connection keeps its
//! treatment until it ends, but each request on it follows the configuration in force.
//! Not here: HTTP (`codec`), routes.
//! Read: `bind` -> `mod.rs` (accept) -> `inspect` (what is it?) -> `connection` -> `opaque` (bytes).

mod bind;
mod connection;
mod drain;
mod inspect;
mod opaque;

pub use bind::{BoundSocket, bind};
pub use connection::{ActiveRequest, Connection, Origin};
pub use drain::Drain;

use crate::{
    codec::{self, Stream},
    config::{Chain, Filter},
    worker::Worker,
};
use sidle_model::ir::Direction;
use sidle_telemetry::ListenerMetrics;
use std::{io, rc::Rc, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};
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
            Ok(_) if is_full(&worker) => metrics.connection_refused(),
            Ok((stream, origin)) => {
                let guard = Open::begin(&worker, &name, metrics.clone());
                let (worker, name, drain) = (worker.clone(), name.clone(), drain.clone());
                tokio::task::spawn_local(async move {
                    connection(worker, name, drain, &guard, stream, origin).await;
                });
            }
            Err(error) if is_momentary(&error) => {}
            Err(error) => {
                if complained.is_none_or(|at: Instant| at.elapsed() >= COMPLAIN) {
                    complained = Some(Instant::now());
                    tracing::warn!(listener = %name, %error, "accept fails; pausing after each failure");
                }
                metrics.connection_refused();
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

/// Whether the process has as many connections as it may.
fn is_full(worker: &Worker) -> bool {
    let limit = worker.snapshot().ir.settings.limits.max_connections;
    let limit = limit.map_or(worker.shared.max_connections, |limit| limit as usize);
    worker.shared.activity.connections.load(Relaxed) >= limit
}

/// Counts an open connection.
struct Open {
    worker: Rc<Worker>,
    inbound: bool,
    metrics: Arc<ListenerMetrics>,
}

impl Open {
    fn begin(worker: &Rc<Worker>, listener: &str, metrics: Arc<ListenerMetrics>) -> Self {
        let plan = worker.snapshot().listeners.get(listener).cloned();
        let inbound = plan.is_some_and(|plan| plan.config.direction != Direction::Outbound);
        worker.shared.activity.connections.fetch_add(1, Relaxed);
        if inbound {
            worker.shared.activity.inbound_connections.fetch_add(1, Relaxed);
        }
        metrics.connection_opened();
        Open { worker: worker.clone(), inbound, metrics }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.shared.activity.connections.fetch_sub(1, Relaxed);
        if self.inbound {
            self.worker.shared.activity.inbound_connections.fetch_sub(1, Relaxed);
        }
        self.metrics.connection_closed();
    }
}

/// What `inspecting` finds; `None` too when the listener ends and the client has still said nothing.
async fn unless_drained<T>(drain: &Drain, inspecting: impl Future<Output = Option<T>>) -> Option<T> {
    let silent = async {
        drain.begun().await;
        tokio::time::sleep(connection::IDLE_BEFORE_CLOSE).await;
    };
    tokio::select! {
        found = inspecting => found,
        () = silent => None,
    }
}

async fn connection(
    worker: Rc<Worker>,
    listener: Arc<str>,
    drain: Rc<Drain>,
    open: &Open,
    mut stream: Stream,
    origin: Origin,
) {
    let snapshot = worker.snapshot();
    let Some(plan) = snapshot.listeners.get(&listener) else { return };
    let limits = &snapshot.ir.settings.limits;
    let inspected = unless_drained(&drain, inspect::inspect(&mut stream, plan, &origin, &open.metrics)).await;
    let Some((chain, mut seen)) = inspected else { return };
    if let Some((_, config)) = &chain.tls {
        let handshake = tokio_rustls::TlsAcceptor::from(config.clone()).accept(stream);
        match tokio::time::timeout(limits.tls_handshake_timeout, handshake).await {
            Ok(Ok(tls)) => stream = tls.into(),
            Ok(Err(error)) => {
                open.metrics.tls_handshake_failed();
                return tracing::debug!(peer = ?origin.peer, %error, "TLS handshake failed");
            }
            Err(_) => return open.metrics.tls_handshake_failed(),
        }
        seen.terminated(&stream);
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
                    None => return,
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

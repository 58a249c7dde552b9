//! HTTP/1.1 from clients, on hyper.
//!
//! Invariants: one request at a time on a connection, in order; a head that stalls is answered 408 and closed
//! ([`watch`]); `connection: close` goes out on the first answer after draining began.
//! Read: [`serve`] -> `convert` (heads) -> `watch` (timeouts).

mod convert;
mod watch;

use super::{Answer, Body, Duplex, Stream};
use crate::{exchange, listener::Connection};
use hyper::{Request, Response, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, rc::Rc};
pub(crate) use watch::Watched;

/// hyper's read and write buffers of one connection; a response body waits beyond this.
const BUFFER_BYTES: usize = 64 << 10;

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>) {
    let limits = connection.limits();
    let clock = watch::Clock::new(limits.request_headers_timeout, limits.connection_idle_timeout);
    let io = TokioIo::new(watch::Watched::new(stream, clock.clone()));
    let service = {
        let (connection, clock) = (connection.clone(), clock.clone());
        hyper::service::service_fn(move |request| answer(request, connection.clone(), clock.clone()))
    };
    let head_bytes = limits.max_request_headers_bytes as usize;
    let driver = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(limits.max_request_headers_count as usize)
        .max_header_size(head_bytes)
        .max_buf_size(BUFFER_BYTES.max(head_bytes))
        .preserve_header_case(connection.preserve_header_case())
        .auto_date_header(false)
        .serve_connection(io, service)
        .with_upgrades();
    let mut driver = std::pin::pin!(driver);
    let result = tokio::select! {
        result = driver.as_mut() => result,
        () = connection.drained() => {
            // Only connections that stayed idle since draining began are still here without a request.
            driver.as_mut().graceful_shutdown();
            driver.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(peer = %connection.peer(), %error, "HTTP/1 connection ended");
        connection.count_protocol_error(error.is_parse());
    }
}

async fn answer(
    mut request: Request<Incoming>,
    connection: Rc<Connection>,
    clock: watch::Clock,
) -> Result<Response<Body>, Infallible> {
    clock.request_begins();
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (answer, refused) = match convert::request(request, &connection) {
        Ok((head, body)) => (exchange::serve(&connection, head, clock.waits_for(body)).await, false),
        Err(refusal) => (exchange::refuse(&connection, refusal), true), // what follows cannot be trusted either
    };
    let closes = refused || connection.is_draining();
    let Answer { head, body, tunnel } = answer;
    let tunnels = tunnel.is_some();
    if let Some(tunnel) = tunnel {
        let connection = connection.clone();
        tokio::task::spawn_local(async move {
            match on_upgrade.await.map(convert::upgraded) {
                Ok(Some(stream)) => tunnel.run(Duplex::Stream(stream)).await,
                Ok(None) | Err(_) => tracing::debug!(peer = %connection.peer(), "upgrade failed"),
            }
        });
    }
    Ok(convert::response(head, clock.ends_with(body), closes, tunnels))
}

//! HTTP/2 from clients, on h2.
//!
//! Invariants: a stream whose client went away is dropped with all that it holds, at once; data waits for the client's
//! window, so a stream holds one frame at most; draining sends GOAWAY and lets streams end.
//! Read: [`serve`] -> `convert` (heads) -> [`send`] (bodies) -> [`duplex`] (tunnels).

mod convert;
pub mod duplex;
pub mod send;

use super::{Answer, Body, Duplex, Stream};
use crate::{exchange, listener::Connection};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::Request;
use http_body::Body as _;
use std::{future::poll_fn, rc::Rc};
use tokio::time::Instant;

/// Bytes that a stream may have handed to h2 and not yet on the wire.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>) {
    let limits = connection.limits();
    let handshake = h2::server::Builder::new()
        .initial_window_size(limits.http2_initial_stream_window)
        .initial_connection_window_size(limits.http2_initial_connection_window)
        .max_concurrent_streams(limits.http2_max_concurrent_streams)
        .max_header_list_size(limits.max_request_headers_bytes)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(stream);
    let mut driver = match tokio::time::timeout(limits.request_headers_timeout, handshake).await {
        Ok(Ok(driver)) => driver,
        Ok(Err(error)) => {
            tracing::debug!(peer = %connection.peer(), %error, "HTTP/2 preface failed");
            return connection.count_protocol_error(true);
        }
        Err(_) => return,
    };
    let mut idle = std::pin::pin!(tokio::time::sleep(limits.connection_idle_timeout));
    let mut draining = false;
    loop {
        tokio::select! {
            accepted = driver.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tokio::task::spawn_local(stream_task(request, respond, connection.clone()));
                }
                Some(Err(error)) => {
                    tracing::debug!(peer = %connection.peer(), %error, "HTTP/2 connection ended");
                    return connection.count_protocol_error(!error.is_io());
                }
                None => return,
            },
            () = connection.draining(), if !draining => {
                draining = true;
                driver.graceful_shutdown();
            }
            () = idle.as_mut() => {
                let idle_since = connection.idle_since().unwrap_or_else(Instant::now);
                if !draining && idle_since.elapsed() >= limits.connection_idle_timeout {
                    draining = true;
                    driver.graceful_shutdown();
                }
                let (next, now) = (idle_since + limits.connection_idle_timeout, Instant::now());
                idle.as_mut().reset(if next > now { next } else { now + limits.connection_idle_timeout });
            }
        }
    }
}

async fn stream_task(
    mut request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: Rc<Connection>,
) {
    if convert::take_expect(&mut request) {
        let mut leave = http::Response::new(());
        *leave.status_mut() = http::StatusCode::CONTINUE;
        let _ = respond.send_informational(leave); // a stream that is gone shows below
    }
    let answer = async {
        match convert::request(request, &connection) {
            Ok((head, body)) => exchange::serve(&connection, head, body).await,
            Err(refusal) => exchange::refuse(&connection, refusal),
        }
    };
    let answer = tokio::select! {
        biased;
        answer = answer => answer,
        // Dropping the exchange cancels the request upstream and accounts for it.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let Answer { head, body, tunnel } = answer;
    let ends = body.is_end_stream() && tunnel.is_none();
    let sending = match respond.send_response(convert::response(head), ends) {
        Ok(sending) => sending,
        Err(error) => return tracing::debug!(peer = %connection.peer(), %error, "response not sent"),
    };
    match tunnel {
        Some(tunnel) => {
            if let Body::Http2(client) = body {
                tunnel.run(Duplex::Http2(duplex::StreamDuplex::new(sending, client))).await;
            }
        }
        None if ends => {}
        None => {
            if let Err(error) = send::body(sending, body).await {
                tracing::debug!(peer = %connection.peer(), %error, "response ended early");
            }
        }
    }
}

/// How a body that failed is reported to the peer of its stream.
fn reset_reason(error: super::BodyError) -> Reason {
    match error {
        super::BodyError::Reset(code) => Reason::from(code),
        super::BodyError::Malformed => Reason::PROTOCOL_ERROR,
        super::BodyError::Deadline | super::BodyError::Idle => Reason::CANCEL,
        super::BodyError::Closed => Reason::INTERNAL_ERROR,
    }
}

#[cfg(test)]
mod tests;

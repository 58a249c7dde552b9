//! HTTP/2 from clients, on h2.
//!
//! Invariants: a stream whose client went away is dropped with all that it holds, at once; data waits for the client's
//! window, so a stream holds one frame at most; draining sends GOAWAY and lets streams end; a client that sends too much of
//! what costs it nothing is told so by GOAWAY, and gone.
//! Read: [`serve`] -> [`guard`] (what may be sent) -> [`gather`] (how it leaves) -> `stream` (one request) -> `convert` (heads) -> [`send`] (bodies) ->
//! [`duplex`] (tunnels).

mod convert;
pub mod duplex;
pub mod gather;
pub mod guard;
pub mod send;
mod stream;

use super::{Answer, Stream};
use crate::{
    error::Refusal,
    exchange::{self, Glimpse},
    listener::{Connection, Fault},
    turn,
};
use bytes::Bytes;
use gather::{Gathered, Outlet, gathered};
use guard::{Allowance, Guarded, Patience, Watch};
use h2::{Reason, server};
use http::Version;
use sidle_model::ir::Limits;
use sidle_telemetry::Http2Flood;
use std::{future::poll_fn, num::NonZero, pin::pin, rc::Rc, task::Poll, time::Duration};
use tokio::time::Instant;

/// Bytes that a stream may have handed to h2 and not yet on the wire.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// How long a connection that is closed at once may take to say why.
const GOODBYE: Duration = Duration::from_secs(2);

type Driver = server::Connection<Gathered<Guarded<Stream>>, Bytes>;
type Out = Outlet<Guarded<Stream>>;

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>) {
    let limits = connection.limits();
    let (guarded, watch) = Guarded::client(stream, allowance(limits), patience(limits));
    let (stream, out) = gathered(guarded);
    let handshake = server::Builder::new()
        .initial_window_size(limits.http2_initial_stream_window)
        .initial_connection_window_size(limits.http2_initial_connection_window)
        .max_concurrent_streams(limits.http2_max_concurrent_streams)
        .max_header_list_size(limits.max_request_headers_bytes)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(stream);
    match tokio::time::timeout(limits.request_headers_timeout, out.drive(handshake)).await {
        Ok(Ok(driver)) => {
            drive(driver, &out, &watch, &connection).await;
            account_refused(watch.take_refused(), &connection);
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %connection.peer(), %error, "HTTP/2 preface failed");
            connection.count_protocol_error(true);
        }
        Err(_) => connection.count_flood(Http2Flood::Stalled),
    }
}

/// What a client may send.
fn allowance(limits: &Limits) -> Allowance {
    Allowance {
        resets: Some(limits.http2_max_resets_per_second),
        control: limits.http2_max_control_frames_per_second,
    }
}

/// How long a client may take.
fn patience(limits: &Limits) -> Patience {
    Patience { frame: Some(limits.request_headers_timeout), write: patience_of_streams(limits) }
}

/// How long data may wait for the client's window.
fn patience_of_streams(limits: &Limits) -> Option<Duration> {
    Some(limits.stream_idle_timeout).filter(|limit| !limit.is_zero())
}

async fn drive(mut driver: Driver, out: &Out, watch: &Watch, connection: &Rc<Connection>) {
    let limits = connection.limits();
    let mut idle = pin!(tokio::time::sleep(limits.connection_idle_timeout));
    let mut draining = false;
    loop {
        tokio::select! {
            biased; // the watch is written while the driver is polled, and wakes nobody
            () = connection.draining(), if !draining => {
                draining = true;
                watch.leaves_in_peace();
                driver.graceful_shutdown();
                idle.as_mut().reset(Instant::now() + limits.request_headers_timeout);
            }
            accepted = poll_fn(|cx| out.poll(|cx| driver.poll_accept(cx), cx)) => match accepted {
                Some(Ok((request, respond))) => {
                    watch.accepted(respond.stream_id().as_u32());
                    tokio::task::spawn_local(stream::serve(request, respond, connection.clone()));
                    let cost = if watch.is_suspicious() { turn::SUSPICIOUS_STREAM } else { turn::STREAM };
                    out.give_way(cost).await;
                }
                Some(Err(error)) => {
                    tracing::debug!(peer = %connection.peer(), %error, "HTTP/2 connection ended");
                    return count(&error, watch, connection);
                }
                None => return,
            },
            flood = poll_fn(|_| watch.flood().map_or(Poll::Pending, Poll::Ready)) => {
                return turn_away(driver, out, flood, connection).await;
            }
            refused = poll_fn(|_| NonZero::new(watch.take_refused()).map_or(Poll::Pending, Poll::Ready)) => {
                account_refused(refused.get(), connection);
            }
            () = idle.as_mut(), if draining || !limits.connection_idle_timeout.is_zero() => {
                let now = Instant::now();
                let limit =
                    if draining { limits.request_headers_timeout } else { limits.connection_idle_timeout };
                let mut next = connection.idle_since().unwrap_or(now) + limit;
                if next <= now {
                    if draining {
                        return say_goodbye(driver, out, Reason::NO_ERROR).await; // it was told, and does not answer
                    }
                    draining = true;
                    watch.leaves_in_peace();
                    driver.graceful_shutdown();
                    next = now + limits.request_headers_timeout;
                }
                idle.as_mut().reset(next);
            }
        }
    }
}

/// Logs and counts requests that h2 has answered with 431 itself.
fn account_refused(count: u32, connection: &Rc<Connection>) {
    for _ in 0..count {
        drop(refuse(connection, Refusal::HeadTooLarge));
    }
}

/// Answers a request whose head cannot be served.
fn refuse(connection: &Rc<Connection>, refusal: Refusal) -> Answer {
    let seen = Glimpse { version: Some(Version::HTTP_2), ..Glimpse::default() };
    exchange::refuse_seen(connection, refusal, seen)
}

/// Counts what ended a connection. h2 stops some floods itself, and does not tell which.
fn count(error: &h2::Error, watch: &Watch, connection: &Connection) {
    match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_library() => connection.count_flood(watch.suspicion()),
        _ => connection.count_protocol_error(!error.is_io()),
    }
}

/// Ends a connection, and all its streams, for what its client sends.
async fn turn_away(driver: Driver, out: &Out, flood: Http2Flood, connection: &Connection) {
    tracing::debug!(peer = %connection.peer(), flood = flood.as_str(), "HTTP/2 connection turned away");
    connection.end_for(Fault::Flood(flood));
    connection.count_flood(flood);
    say_goodbye(driver, out, Reason::ENHANCE_YOUR_CALM).await;
}

/// Ends a connection, and all its streams, at once.
async fn say_goodbye(mut driver: Driver, out: &Out, reason: Reason) {
    driver.abrupt_shutdown(reason);
    let goodbye = out.drive(async { while let Some(Ok(_)) = driver.accept().await {} });
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

#[cfg(test)]
mod tests;

//! HTTP/2 from clients, on the engine of `sidle_http2`.
//!
//! Invariants: a stream whose client went away is dropped with all that it holds, at once; data waits for the client's
//! window, so a stream holds one frame at most; draining sends GOAWAY and lets streams end; a client that sends too much of
//! what costs it nothing is told so by GOAWAY, and gone.
//! Read: [`serve`] -> [`wire`] (bytes) -> `stream` (one request) -> `convert` (heads) -> [`send`] (bodies) -> [`duplex`] (tunnels).

mod convert;
pub mod duplex;
mod lateness;
pub mod send;
mod stream;
pub mod wire;

pub use stream::ClientStream;

use super::{Answer, Stream};
use crate::{
    error::Refusal,
    exchange::{self, Glimpse},
    listener::{Connection, Fault},
    turn,
};
use http::Version;
use sidle_http2::{
    Code,
    connection::{Allowance, Config, End, Flood},
};
use sidle_model::ir::Limits;
use sidle_telemetry::Http2Flood;
use std::{future::poll_fn, pin::pin, rc::Rc, time::Duration};
use tokio::time::Instant;
use wire::{Event, Patience, Wire};

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>) {
    let limits = connection.limits();
    let engine = sidle_http2::connection::Connection::server(Config {
        stream_window: limits.http2_initial_stream_window,
        connection_window: limits.http2_initial_connection_window,
        max_streams: limits.http2_max_concurrent_streams,
        max_list: limits.max_request_headers_bytes,
        allowance: allowance(limits),
        host: wire::HOST,
    });
    let patience =
        Patience { frame: Some(limits.request_headers_timeout), write: patience_of_streams(limits) };
    let mut wire = Wire::of_client(stream, engine, patience);
    let in_peace = drive(&mut wire, &connection).await;
    wire.close(in_peace).await;
}

/// What a client may send.
fn allowance(limits: &Limits) -> Allowance {
    Allowance {
        resets: Some(limits.http2_max_resets_per_second),
        control: limits.http2_max_control_frames_per_second,
    }
}

/// How long data may wait for the client's window.
fn patience_of_streams(limits: &Limits) -> Option<Duration> {
    Some(limits.stream_idle_timeout).filter(|limit| !limit.is_zero())
}

/// Whether both sides are done with the connection: there is nothing to explain.
async fn drive(wire: &mut Wire, connection: &Rc<Connection>) -> bool {
    let limits = connection.limits();
    let mut idle = pin!(tokio::time::sleep(limits.connection_idle_timeout));
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            () = connection.draining(), if !draining => {
                draining = true;
                wire.connection.drain();
                idle.as_mut().reset(Instant::now() + limits.request_headers_timeout);
            }
            event = poll_fn(|cx| wire.poll(cx)) => match event {
                Event::Received => {
                    accept(wire, connection).await;
                    if wire.connection.ended().is_some() {
                        wire.say_goodbye(Code::NO_ERROR).await; // it has its reason already
                        return ended(wire, connection);
                    }
                }
                Event::Stalled => {
                    turn_away(wire, Http2Flood::Stalled, connection).await;
                    return false;
                }
                Event::Ended => return ended(wire, connection),
            },
            () = idle.as_mut(), if draining || !limits.connection_idle_timeout.is_zero() => {
                let now = Instant::now();
                let limit =
                    if draining { limits.request_headers_timeout } else { limits.connection_idle_timeout };
                let mut next = connection.idle_since().unwrap_or(now) + limit;
                if next <= now {
                    if draining {
                        wire.say_goodbye(Code::NO_ERROR).await; // it was told, and does not answer
                        return true;
                    }
                    draining = true;
                    wire.connection.drain();
                    next = now + limits.request_headers_timeout;
                } else if draining {
                    wire.connection.drain(); // with requests under way: whether or not it has heard
                }
                idle.as_mut().reset(next);
            }
        }
    }
}

/// Serves the requests that have come. What has ended the connection is known before they find out.
async fn accept(wire: &mut Wire, connection: &Rc<Connection>) {
    let refused = wire.connection.take_refused();
    if refused > 0 {
        connection.count_refused_streams(refused);
    }
    if let Some(End::Flood(flood)) = wire.connection.ended() {
        connection.end_for(Fault::Flood(known(flood)));
    }
    while let Some(incoming) = wire.connection.accept() {
        connection.worker.streams.give((incoming, connection.clone()), stream::serve);
        let suspicious = wire.connection.is_suspicious();
        wire.give_way(if suspicious { turn::SUSPICIOUS_STREAM } else { turn::STREAM }).await;
    }
    wire.flush().await; // who goes on sending must not keep answers back
}

/// Counts what ended a connection; whether there is nothing to explain.
fn ended(wire: &Wire, connection: &Connection) -> bool {
    match wire.connection.ended() {
        Some(End::Flood(flood)) => {
            let flood = known(flood);
            tracing::debug!(peer = %connection.peer(), flood = flood.as_str(), "HTTP/2 connection turned away");
            connection.count_flood(flood);
            false
        }
        Some(End::Violation(violation)) => {
            tracing::debug!(peer = %connection.peer(), %violation, "HTTP/2 connection ended");
            match violation.code() {
                Code::ENHANCE_YOUR_CALM => connection.count_flood(Http2Flood::Continuation),
                _ => connection.count_protocol_error(),
            }
            false
        }
        Some(End::Transport) => {
            if !wire.connection.is_greeted() {
                tracing::debug!(peer = %connection.peer(), "HTTP/2 preface failed");
                connection.count_protocol_error();
            }
            true
        }
        // What the client has sent meanwhile must not make its kernel throw the last answer away.
        Some(End::Local(_)) | None => false,
    }
}

/// Ends a connection, and all its streams, for what its client does.
async fn turn_away(wire: &mut Wire, flood: Http2Flood, connection: &Connection) {
    tracing::debug!(peer = %connection.peer(), flood = flood.as_str(), "HTTP/2 connection turned away");
    connection.end_for(Fault::Flood(flood));
    connection.count_flood(flood);
    wire.say_goodbye(Code::ENHANCE_YOUR_CALM).await;
}

/// Answers a request whose head cannot be served.
fn refuse(connection: &Rc<Connection>, refusal: Refusal) -> Box<Answer> {
    let seen = Glimpse { version: Some(Version::HTTP_2), ..Glimpse::default() };
    exchange::refuse_seen(connection, refusal, seen)
}

/// The label of a flood.
pub fn known(flood: Flood) -> Http2Flood {
    match flood {
        Flood::Resets => Http2Flood::Resets,
        Flood::Data => Http2Flood::Data,
        Flood::Headers => Http2Flood::Headers,
        Flood::Priority => Http2Flood::Priority,
        Flood::Settings => Http2Flood::Settings,
        Flood::Push => Http2Flood::Push,
        Flood::Ping => Http2Flood::Ping,
        Flood::WindowUpdate => Http2Flood::WindowUpdate,
        Flood::Continuation => Http2Flood::Continuation,
        Flood::Other => Http2Flood::Other,
    }
}

#[cfg(test)]
mod tests;

//! Bytes both ways: raw TCP, CONNECT, WebSocket and other upgrades.
//!
//! Invariants: each direction ends by itself (half close); RST of one side is RST to the other, which could not tell otherwise that
//! something is missing, unless it has the end already; an idle tunnel holds no buffer; what one side sends waits for the other to take it.

use super::{Stream, h2::duplex::StreamDuplex};
use crate::turn;
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// A byte stream in both directions.
pub enum Duplex {
    /// A connection of its own.
    Stream(Stream),
    /// A stream of an HTTP/2 connection.
    Http2(StreamDuplex),
}

impl Duplex {
    /// Has it end by RST, whoever drops it. A stream of HTTP/2 that is dropped before its end does anyway.
    pub fn end_by_reset(&self) {
        if let Duplex::Stream(stream) = self {
            stream.end_by_reset();
        }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Duplex::Stream(io) => Pin::new(io).poll_read(cx, buf),
            Duplex::Http2(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Duplex::Stream(io) => Pin::new(io).poll_write(cx, buf),
            Duplex::Http2(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Duplex::Stream(io) => Pin::new(io).poll_flush(cx),
            Duplex::Http2(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Duplex::Stream(io) => Pin::new(io).poll_shutdown(cx),
            Duplex::Http2(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// The upstream half of an accepted upgrade, waiting for the client's connection.
///
/// Dropping it without [`Tunnel::run`] closes the upstream; whoever made it notices by its closure being dropped.
pub struct Tunnel {
    upstream: Box<Duplex>,
    idle_timeout: Option<Duration>,
    meter: Rc<Meter>,
    finish: Box<dyn FnOnce(Relayed)>,
}

impl Tunnel {
    /// `finish` is called when both directions have ended; `meter` tells meanwhile what was carried.
    pub fn new(
        upstream: impl Into<Box<Duplex>>,
        idle_timeout: Option<Duration>,
        meter: Rc<Meter>,
        finish: impl FnOnce(Relayed) + 'static,
    ) -> Self {
        Tunnel { upstream: upstream.into(), idle_timeout, meter, finish: Box::new(finish) }
    }

    /// Carries bytes until both directions have ended.
    pub async fn run(self, mut client: Duplex) {
        let Tunnel { mut upstream, idle_timeout, meter, finish } = self;
        finish(relay(&mut client, &mut upstream, idle_timeout, &meter).await);
    }
}

/// What a relay has carried so far; only atomic so that a relay may run on any thread.
#[derive(Debug, Default)]
pub struct Meter {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Meter {
    /// Bytes from the client.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes to the client.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

/// What a relay carried, and how it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Why it ended other than by both sides closing.
    pub end: Option<RelayEnd>,
}

/// Why a relay ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEnd {
    /// The client's side failed.
    Client,
    /// The upstream's side failed.
    Upstream,
    /// Nothing moved for too long.
    Idle,
}

/// Carries bytes both ways until both directions have ended, one fails, or nothing moves for `idle_timeout`.
pub async fn relay(
    client: &mut Duplex,
    upstream: &mut Duplex,
    idle_timeout: Option<Duration>,
    meter: &Meter,
) -> Relayed {
    let mut up = Direction::default();
    let mut down = Direction::default();
    let mut idle = idle_timeout.map(IdleTimer::new);
    let end = poll_fn(|cx| {
        let before = up.moved + down.moved;
        let to_upstream = up.poll(client, upstream, cx);
        let to_client = down.poll(upstream, client, cx);
        meter.received.store(up.carried, Relaxed);
        meter.sent.store(down.carried, Relaxed);
        match (to_upstream, to_client) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(None),
            (Poll::Ready(Err(Failed { side: Side::From, reset })), _)
            | (_, Poll::Ready(Err(Failed { side: Side::To, reset }))) => {
                if reset && !up.done {
                    upstream.end_by_reset();
                }
                return Poll::Ready(Some(RelayEnd::Client));
            }
            (Poll::Ready(Err(Failed { side: Side::To, reset })), _)
            | (_, Poll::Ready(Err(Failed { side: Side::From, reset }))) => {
                if reset && !down.done {
                    client.end_by_reset();
                }
                return Poll::Ready(Some(RelayEnd::Upstream));
            }
            _ => {}
        }
        let Some(idle) = &mut idle else { return Poll::Pending };
        ready!(idle.poll(before != up.moved + down.moved, cx));
        up.take_leave(upstream);
        down.take_leave(client);
        Poll::Ready(Some(RelayEnd::Idle))
    })
    .await;
    Relayed { received: up.carried, sent: down.carried, end }
}

/// How a direction failed.
#[derive(Debug, Clone, Copy)]
struct Failed {
    side: Side,
    /// By RST. A TLS session that ends without `close_notify` has failed too, yet most of those that do so have sent all.
    reset: bool,
}

/// Which end of a direction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

impl Failed {
    fn from(error: &io::Error) -> Self {
        Failed { side: Side::From, reset: error.kind() == io::ErrorKind::ConnectionReset }
    }

    /// To a side that takes nothing any more.
    fn to(error: Option<&io::Error>) -> Self {
        use io::ErrorKind::*;
        let reset = error.is_some_and(|error| matches!(error.kind(), ConnectionReset | BrokenPipe));
        Failed { side: Side::To, reset }
    }
}

/// One direction of a relay.
#[derive(Default)]
struct Direction {
    /// Bytes read.
    carried: u64,
    /// Bytes read and written: a slow reader is not an idle one.
    moved: u64,
    /// Read, and not yet taken by the other side.
    left: Vec<u8>,
    left_from: usize,
    read_all: bool,
    unflushed: bool,
    done: bool,
}

/// One read's worth; shared by all relays of a thread, so that idle ones hold none.
const BUFFER_BYTES: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice());
}

/// Reads that one direction may do before the task lets others run.
const TURNS: usize = 16;

impl Direction {
    fn poll(&mut self, from: &mut Duplex, to: &mut Duplex, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURNS {
            if !self.left.is_empty() {
                match self.write_left(to, cx) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
            }
            if self.read_all {
                return self.finish(to, cx);
            }
            match BUFFER.with_borrow_mut(|buffer| self.carry(buffer, from, to, cx)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                Poll::Pending => return self.flush(to, cx),
            }
        }
        turn::end(cx)
    }

    /// Reads once, and writes as much of it as the other side takes now.
    fn carry(
        &mut self,
        buffer: &mut [u8],
        from: &mut Duplex,
        to: &mut Duplex,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        let mut read = ReadBuf::new(buffer);
        match Pin::new(from).poll_read(cx, &mut read) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::from(&error))),
            Poll::Ready(Ok(())) => {}
        }
        let mut data = read.filled();
        if data.is_empty() {
            self.read_all = true;
            return Poll::Ready(Ok(()));
        }
        self.carried += data.len() as u64;
        self.moved += data.len() as u64;
        self.unflushed = true;
        while !data.is_empty() {
            match turn::paid(cx, |cx| Pin::new(&mut *to).poll_write(cx, data)) {
                Poll::Ready(Ok(n)) if n > 0 => data = &data[n..],
                Poll::Ready(failed) => return Poll::Ready(Err(Failed::to(failed.as_ref().err()))),
                Poll::Pending => {
                    self.left.extend_from_slice(data);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_left(&mut self, to: &mut Duplex, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        while self.left_from < self.left.len() {
            match Pin::new(&mut *to).poll_write(cx, &self.left[self.left_from..]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.left_from += n;
                    self.moved += n as u64;
                }
                Poll::Ready(failed) => return Poll::Ready(Err(Failed::to(failed.as_ref().err()))),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.left = Vec::new();
        self.left_from = 0;
        Poll::Ready(Ok(()))
    }

    /// Nothing more to read now: what was written must not wait in a TLS buffer.
    fn flush(&mut self, to: &mut Duplex, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.unflushed {
            match Pin::new(to).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::to(Some(&error)))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Ends a TLS session of the other side that has all there was for it.
    fn take_leave(&self, to: &mut Duplex) {
        if let Duplex::Stream(to) = to
            && self.left.is_empty()
        {
            to.take_leave();
        }
    }

    fn finish(&mut self, to: &mut Duplex, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        match Pin::new(to).poll_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            // A peer that is gone already needs no more telling.
            Poll::Ready(_) => {
                self.done = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Runs out when nothing has moved for a while; set anew only when it runs out, not with each byte.
struct IdleTimer {
    limit: Duration,
    moved: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    fn new(limit: Duration) -> Self {
        let now = Instant::now();
        IdleTimer { limit, moved: now, sleep: Box::pin(tokio::time::sleep_until(now + limit)) }
    }

    fn poll(&mut self, moved: bool, cx: &mut Context<'_>) -> Poll<()> {
        if moved {
            self.moved = Instant::now();
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let deadline = self.moved + self.limit;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;

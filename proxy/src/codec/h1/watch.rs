//! Time limits of an HTTP/1 connection between and inside request heads.
//!
//! hyper's own header timer also runs while a kept-alive connection idles, so it cannot be 10 s; this one tells the two
//! apart. Invariant: a request whose head arrives in one read touches no timer.

use crate::codec::{Body, BodyError, Stream};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const REQUEST: u8 = 2;

/// What a connection is doing. Shared by the stream, which times, and the service, which tells.
///
/// Atomic only because hyper wants the stream of an upgradable connection to be `Send`; it never leaves its thread.
#[derive(Debug, Clone)]
pub struct Clock(Arc<State>);

#[derive(Debug)]
struct State {
    phase: AtomicU8,
    /// Messages of the request under way that have not ended: its response, and its body if it has one.
    open: AtomicU8,
    head_timeout: Duration,
    idle_timeout: Duration,
}

impl Clock {
    /// A connection that waits for its first head.
    pub fn new(head_timeout: Duration, idle_timeout: Duration) -> Self {
        Clock(Arc::new(State {
            phase: AtomicU8::new(IDLE),
            open: AtomicU8::new(0),
            head_timeout,
            idle_timeout,
        }))
    }

    /// A head was read whole.
    pub fn request_begins(&self) {
        self.0.phase.store(REQUEST, Relaxed);
        self.0.open.store(1, Relaxed);
    }

    /// The connection is not idle before the request's `body` has been read: it may outlast an early response, and its bytes
    /// are not a head's.
    pub fn waits_for(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        self.0.open.store(self.0.open.load(Relaxed) + 1, Relaxed);
        Body::Watched(Box::pin(Part { body, clock: self.clone() }))
    }

    /// The connection is idle again once the response's `body` has been sent.
    pub fn ends_with(&self, body: Body) -> Body {
        if body.is_end_stream() {
            self.part_ended();
            return body;
        }
        Body::Watched(Box::pin(Part { body, clock: self.clone() }))
    }

    fn part_ended(&self) {
        let open = self.0.open.load(Relaxed).saturating_sub(1);
        self.0.open.store(open, Relaxed);
        if open == 0 {
            self.0.phase.store(IDLE, Relaxed);
        }
    }
}

/// The wrapper of a body that keeps the connection from being idle.
struct Part {
    body: Body,
    clock: Clock,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.clock.part_ended();
    }
}

impl HttpBody for Part {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose reads end when the connection has been in one phase for too long.
pub struct Watched {
    stream: Stream,
    clock: Clock,
    /// Since when there has been nothing to read in `phase`.
    waiting: Option<(u8, Instant)>,
    /// Kept armed across requests: it may run out early, and is then set again for what is left.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the end of a response still waits for the client to take it.
    write_blocked: bool,
}

impl Watched {
    /// Watches `stream`.
    pub fn new(stream: Stream, clock: Clock) -> Self {
        Watched { stream, clock, waiting: None, timer: None, write_blocked: false }
    }

    /// Stops watching.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Nothing to read: finds whether the phase has lasted for too long.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.clock.0.phase.load(Relaxed);
        let limit = match phase {
            IDLE => self.clock.0.idle_timeout,
            HEAD => self.clock.0.head_timeout,
            _ => return Poll::Pending,
        };
        let since = match self.waiting {
            Some((waiting_in, since)) if waiting_in == phase => since,
            _ => self.waiting.insert((phase, Instant::now())).1,
        };
        let deadline = since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return self.expire(phase, cx);
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn expire(&mut self, phase: u8, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if phase == HEAD {
            // Best effort: the client that sent half a head may not read either. Never in the midst of a response.
            if !self.write_blocked {
                let _ = Pin::new(&mut self.stream).poll_write(cx, REQUEST_TIMEOUT);
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Ready(Ok(())) // as if the client had closed: an idle connection ends in silence
    }
}

const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                // A head keeps its first byte's time: one that trickles does not start again with each byte.
                if buf.filled().len() > before && this.clock.0.phase.load(Relaxed) == IDLE {
                    this.clock.0.phase.store(HEAD, Relaxed);
                    this.waiting = None;
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_timeout(cx),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.write_blocked = !matches!(written, Poll::Ready(Ok(n)) if n == buf.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        let whole = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        self.write_blocked = !matches!(written, Poll::Ready(Ok(n)) if n == whole);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;

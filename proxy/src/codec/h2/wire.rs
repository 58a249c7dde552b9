//! The bytes of a connection: from its stream to the engine, and back.
//!
//! Invariants: what one turn of a connection makes leaves in one write; a connection at rest holds no buffer, and no timer; what a
//! peer has begun has to be whole in time, and what waits for it has to be taken in time; a turn's work is bounded by what it reads.
//! Not here: what the bytes mean (`sidle_http2`).

use super::lateness::Lateness;
use crate::{codec::Stream, codec::buffers::Size, turn};
use sidle_http2::{
    Code,
    connection::{Buffers, Connection, Host},
};
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes of one read.
const READ: usize = 64 << 10;
/// How long a peer may take to read why its connection was closed.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long it may take until that is written.
const GOODBYE: Duration = Duration::from_secs(2);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The engine's clock begins here.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What the engine needs of the proxy.
pub const HOST: Host = Host {
    clock: || BEGIN.elapsed(),
    buffers: Buffers { take: || Size::Batch.take(), give_back: |buffer| Size::Batch.give_back(buffer) },
};

/// How long things may take; `None`: for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// A frame, or a block of headers, from its first byte to its last; of a client, also its preface.
    pub frame: Option<Duration>,
    /// Until the peer takes the next byte.
    pub write: Option<Duration>,
}

/// What a connection has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Requests may have come.
    Received,
    /// Something that was begun is not whole in time.
    Stalled,
    /// It has ended; all is written.
    Ended,
}

/// Moves the bytes of one connection.
pub struct Wire {
    stream: Stream,
    /// The engine.
    pub connection: Connection,
    patience: Patience,
    of_client: bool,
    frame: Lateness,
    write: Lateness,
    /// The stream took bytes that it may still hold, as TLS does.
    unflushed: bool,
    /// The peer has closed its half.
    closed: bool,
}

impl Wire {
    /// Of a client.
    pub fn of_client(stream: Stream, connection: Connection, patience: Patience) -> Self {
        Wire::new(stream, connection, patience, true)
    }

    /// Of a server.
    pub fn of_server(stream: Stream, connection: Connection, patience: Patience) -> Self {
        Wire::new(stream, connection, patience, false)
    }

    fn new(stream: Stream, connection: Connection, patience: Patience, of_client: bool) -> Self {
        Wire {
            stream,
            connection,
            patience,
            of_client,
            frame: Lateness::default(),
            write: Lateness::default(),
            unflushed: false,
            closed: false,
        }
    }

    /// Reads what there is, and writes what there is.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.connection.watch(cx.waker());
        loop {
            if self.connection.wants_input() {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(true)) => return Poll::Ready(Event::Received),
                    Poll::Ready(Ok(false)) => {
                        self.closed = true;
                        self.connection.lost();
                        return Poll::Ready(Event::Ended);
                    }
                    Poll::Ready(Err(_)) => {
                        self.connection.lost();
                        return Poll::Ready(Event::Ended);
                    }
                    Poll::Pending => {}
                }
            }
            let full = !self.connection.wants_input();
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) if self.connection.is_done() => return Poll::Ready(Event::Ended),
                Poll::Ready(Ok(())) if full => {} // now there is room
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(_)) => {
                    self.connection.lost();
                    return Poll::Ready(Event::Ended);
                }
                Poll::Pending if full && self.connection.wants_input() => {} // now there is room
                Poll::Pending => break,
            }
        }
        self.poll_late(cx)
    }

    /// Whether something has come; nothing does at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(READ, 0);
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            let frames = self.connection.receive(read.filled());
            turn::spend(frames * turn::FRAME, cx);
            Poll::Ready(Ok(!read.filled().is_empty()))
        })
    }

    /// Not a part of the turn's work: what has used it up by reading must not keep its answers back.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unflushed && !self.connection.has_output() {
            return Poll::Ready(Ok(()));
        }
        turn::paid(cx, |cx| self.poll_write(cx))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, unflushed, late) = (&mut self.stream, &mut self.unflushed, &mut self.write);
        let written = self.connection.write(|pieces| {
            let written = match pieces {
                [piece] => Pin::new(&mut *stream).poll_write(cx, piece),
                pieces => Pin::new(&mut *stream).poll_write_vectored(cx, pieces),
            };
            if written.is_ready() {
                *unflushed = true;
                late.over();
            }
            written
        });
        let flushed = match written {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(cx),
            other => other,
        };
        match flushed {
            Poll::Ready(result) => {
                self.unflushed = false;
                self.write.over();
                Poll::Ready(result)
            }
            Poll::Pending => {
                let Some(limit) = self.patience.write else { return Poll::Pending };
                self.write.poll(0, limit, cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Whether the peer is late with something that it has begun.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if !self.connection.wants_input() {
            self.frame.over(); // we do not read
            return Poll::Pending;
        }
        let awaited = self.of_client && !self.connection.is_greeted();
        let begun = if awaited { Some(u64::MAX) } else { self.connection.unfinished() };
        let (Some(limit), Some(begun)) = (self.patience.frame, begun) else {
            self.frame.over();
            return Poll::Pending;
        };
        self.frame.poll(begun, limit, cx).map(|()| Event::Stalled)
    }

    /// Takes so many units of work from this task's turn; when it is over, what has been gathered is written before others have theirs.
    pub async fn give_way(&mut self, mut units: u32) {
        poll_fn(|cx| {
            let polled = turn::poll_take(&mut units, cx);
            if polled.is_pending() && matches!(self.poll_flush(cx), Poll::Ready(Err(_))) {
                self.connection.lost();
            }
            polled
        })
        .await;
    }

    /// Writes what there is, as far as it goes at once.
    pub async fn flush(&mut self) {
        poll_fn(|cx| {
            if matches!(self.poll_flush(cx), Poll::Ready(Err(_))) {
                self.connection.lost();
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Ends the connection, and all its streams, at once, unless it has ended, and says why.
    pub async fn say_goodbye(&mut self, code: Code) {
        self.connection.end(code);
        let _ = tokio::time::timeout(GOODBYE, poll_fn(|cx| self.poll_flush(cx))).await;
    }

    /// Closes the stream. A client that does not leave `in_peace` has to have time to read why: closing before it has stopped to send
    /// would make its kernel throw GOAWAY away.
    pub async fn close(mut self, in_peace: bool) {
        let farewell = async {
            if self.stream.shutdown().await.is_ok() && self.of_client && !self.closed && !in_peace {
                poll_fn(|cx| self.poll_scrap(cx)).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// Reads, and forgets, what still comes.
    fn poll_scrap(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(READ, 0);
            loop {
                let mut read = ReadBuf::new(buffer);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                    Ok(()) if !read.filled().is_empty() => {}
                    Ok(()) | Err(_) => return Poll::Ready(()),
                }
            }
        })
    }
}

//! The bytes of an HTTP/2 connection, watched: what its peer sends too much of, and what never comes or goes whole.
//!
//! In:  a stream, and an [`Allowance`].   Out: the same stream for h2, and a [`Watch`] that tells of a [`Http2Flood`].
//! Invariants: h2 never sees the frame that was too much, nor any after it; a read or a write costs a look at the nine bytes
//! of each frame's head; no task, and no timer but while something is late.
//! Not here: what a connection that is one does next ([`super::serve`], `upstream::pool`).
//! Read: `frames` (what passes) -> `budget` (how much of it), `unaccepted` (what h2 answers itself) -> this file.

mod budget;
mod frames;
mod lateness;
mod unaccepted;

pub use budget::{Allowance, accuses};
pub use lateness::Lateness;

use crate::turn;
use budget::Budget;
use frames::{Follower, Head, PREFACE_LEN, kind};
use sidle_telemetry::Http2Flood;
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    ops::ControlFlow,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use unaccepted::Unaccepted;

/// How long a client may take to read why its connection was closed.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much of what it still sends is read at once meanwhile.
const FAREWELL_READS: usize = 16;

/// How long things may take; `None`: for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// A frame, or a block of headers, from its first byte to its last.
    pub frame: Option<Duration>,
    /// Until the peer takes the next byte.
    pub write: Option<Duration>,
}

/// What is known of a connection's peer.
#[derive(Debug)]
pub struct Watch {
    budget: RefCell<Budget>,
    flood: Cell<Option<Http2Flood>>,
    leaves: Cell<bool>,
    /// Of a client.
    unaccepted: Option<RefCell<Unaccepted>>,
    refused: Cell<u32>,
}

impl Watch {
    /// What the peer sent too much of.
    pub fn flood(&self) -> Option<Http2Flood> {
        self.flood.get()
    }

    /// Whether the peer resets streams, or has them reset.
    pub fn is_suspicious(&self) -> bool {
        self.budget.borrow().is_suspicious()
    }

    /// What it was most likely, if h2 says that it was too much.
    pub fn suspicion(&self) -> Http2Flood {
        self.budget.borrow().suspicion()
    }

    /// The connection ends because both sides are done with it: there is nothing to explain.
    pub fn leaves_in_peace(&self) {
        self.leaves.set(true);
    }

    /// A stream was accepted.
    pub fn accepted(&self, stream: u32) {
        self.forget(stream);
    }

    /// How many requests h2 has refused itself, since this was asked last: their lists of header fields were too long.
    pub fn take_refused(&self) -> u32 {
        self.refused.take()
    }

    fn forget(&self, stream: u32) -> bool {
        self.unaccepted.as_ref().is_some_and(|streams| streams.borrow_mut().remove(stream))
    }

    fn note(&self, flood: Option<Http2Flood>) -> ControlFlow<()> {
        match flood {
            None => ControlFlow::Continue(()),
            Some(flood) => {
                self.flood.set(Some(flood));
                ControlFlow::Break(())
            }
        }
    }

    fn received(&self, head: Head) -> ControlFlow<()> {
        match (head.kind, &self.unaccepted) {
            (kind::HEADERS, Some(streams)) => streams.borrow_mut().opened(head.stream),
            (kind::RST_STREAM, Some(streams)) => drop(streams.borrow_mut().remove(head.stream)),
            _ => {}
        }
        self.note(self.budget.borrow_mut().received(head))
    }

    fn sent(&self, head: Head) -> ControlFlow<()> {
        if matches!(head.kind, kind::HEADERS | kind::RST_STREAM)
            && self.forget(head.stream)
            && head.kind == kind::HEADERS
        {
            self.refused.set(self.refused.get() + 1);
        }
        let _ = self.note(self.budget.borrow_mut().sent(head));
        ControlFlow::Continue(()) // it is on its way
    }
}

/// A stream of HTTP/2, watched.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    watch: Rc<Watch>,
    of_client: bool,
    patience: Patience,
    reading: Follower,
    writing: Follower,
    frame: Lateness,
    write: Lateness,
    farewell: Lateness,
    /// The peer closed its half.
    ended: bool,
}

impl<S> Guarded<S> {
    /// Watches a client.
    pub fn client(stream: S, allowance: Allowance, patience: Patience) -> (Self, Rc<Watch>) {
        Guarded::new(stream, Budget::of_client(allowance), true, patience)
    }

    /// Watches a server.
    pub fn server(stream: S, allowance: Allowance, patience: Patience) -> (Self, Rc<Watch>) {
        Guarded::new(stream, Budget::of_server(allowance), false, patience)
    }

    fn new(stream: S, budget: Budget, of_client: bool, patience: Patience) -> (Self, Rc<Watch>) {
        let watch = Rc::new(Watch {
            budget: budget.into(),
            flood: Cell::new(None),
            leaves: Cell::new(false),
            unaccepted: of_client.then(RefCell::default),
            refused: Cell::new(0),
        });
        let (theirs, ours) = if of_client { (PREFACE_LEN, 0) } else { (0, PREFACE_LEN) };
        let guarded = Guarded {
            stream,
            watch: watch.clone(),
            of_client,
            patience,
            reading: Follower::after(theirs),
            writing: Follower::after(ours),
            frame: Lateness::default(),
            write: Lateness::default(),
            farewell: Lateness::default(),
            ended: false,
        };
        (guarded, watch)
    }

    /// What is read after a flood: from a client nothing, until GOAWAY has told it why; from a server an error.
    fn flooded(&self) -> Poll<io::Result<()>> {
        match self.of_client {
            true => Poll::Pending, // whoever polled looks at the watch next
            false => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
    }

    fn follow_written(&mut self, bufs: &[IoSlice<'_>], written: usize) {
        self.write.over();
        let mut left = written;
        for buf in bufs {
            let step = left.min(buf.len());
            self.writing.follow(&buf[..step], |head| self.watch.sent(head));
            left -= step;
        }
    }

    /// Whether the peer is too late to take what waits for it.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(limit) = self.patience.write else { return Poll::Pending };
        self.write.poll(0, limit, cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads, and forgets, what the peer still sends: closing before it has stopped would make its kernel throw GOAWAY away.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..FAREWELL_READS {
            if self.farewell.poll(0, FAREWELL, cx).is_ready() {
                return Poll::Ready(());
            }
            let mut scrap = [0; 4096];
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        turn::end(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.flood().is_some() {
            return this.flooded();
        }
        let before = buf.filled().len();
        let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            let (Some(limit), Some(begun)) = (this.patience.frame, this.reading.unfinished()) else {
                this.frame.over();
                return Poll::Pending;
            };
            ready!(this.frame.poll(begun, limit, cx));
            this.watch.flood.set(Some(Http2Flood::Stalled));
            return this.flooded();
        };
        let bytes = &buf.filled()[before..];
        this.ended |= bytes.is_empty();
        let mut frames = 0;
        let whole = this.reading.follow(bytes, |head| {
            frames += 1;
            this.watch.received(head)
        });
        turn::spend(frames * turn::FRAME, cx);
        if this.watch.flood().is_some() {
            buf.set_filled(before + whole);
            if whole == 0 {
                return this.flooded(); // for no bytes would mean the end
            }
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let stream = Pin::new(&mut this.stream);
        let written = match bufs {
            [buf] => stream.poll_write(cx, buf),
            bufs => stream.poll_write_vectored(cx, bufs),
        };
        match written {
            Poll::Ready(Ok(written)) => {
                this.follow_written(bufs, written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_stuck(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(result) => {
                this.write.over();
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_stuck(cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if this.of_client && !this.ended && !this.watch.leaves.get() {
            ready!(this.poll_farewell(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;

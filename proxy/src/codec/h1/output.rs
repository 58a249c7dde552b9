//! Bytes on their way out, gathered so that a head and its first content leave in one write.
//!
//! Invariants: order is kept; small pieces are copied together, large ones are never copied.
//! Not here: how much may wait (whoever pushes asks [`Output::has_room`] first).

use crate::codec::{Stream, buffers::Size};
use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// Pieces below this size are copied.
const SMALL: usize = 2 << 10;
/// Nothing more is pushed while this much waits. It is less than a read of content: what was read is written before more is, so that the
/// next read has the same buffer, which the processor still holds.
const HIGH_WATER: usize = 16 << 10;
/// Pieces of one write.
const GATHER: usize = 16;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub struct Output {
    /// What goes first.
    large: VecDeque<Bytes>,
    /// What goes after that.
    small: Vec<u8>,
    /// How much of `small` is gone.
    gone: usize,
    waiting: usize,
    written: u64,
    /// The stream took bytes that it may still hold: TLS does, while its socket is full.
    unflushed: bool,
}

impl Output {
    /// A place for small pieces.
    pub fn small(&mut self) -> &mut Vec<u8> {
        if self.small.capacity() == 0 {
            self.small = Size::Head.take();
        }
        &mut self.small
    }

    /// Adds a piece.
    pub fn push(&mut self, data: Bytes) {
        if data.len() < SMALL {
            return self.small().extend_from_slice(&data);
        }
        if self.small.len() > self.gone {
            let mut small = Bytes::from(std::mem::take(&mut self.small));
            small.advance(std::mem::take(&mut self.gone));
            self.waiting += small.len();
            self.large.push_back(small);
        }
        self.waiting += data.len();
        self.large.push_back(data);
    }

    /// Whether little enough waits for more to be pushed.
    pub fn has_room(&self) -> bool {
        self.waiting + self.small.len() - self.gone < HIGH_WATER
    }

    /// Whether nothing waits, here or in the stream.
    pub fn is_empty(&self) -> bool {
        self.all_taken() && !self.unflushed
    }

    fn all_taken(&self) -> bool {
        self.large.is_empty() && self.small.len() == self.gone
    }

    /// Bytes that the socket took so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes until nothing waits.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.all_taken() {
            let written = ready!(self.poll_write(stream, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.take(written);
        }
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let small = &self.small[self.gone..];
        if self.large.is_empty() {
            return Pin::new(stream).poll_write(cx, small);
        }
        let mut pieces = [io::IoSlice::new(&[]); GATHER];
        let mut count = 0;
        for data in self.large.iter().map(|data| &data[..]).chain([small]).take(GATHER) {
            pieces[count] = io::IoSlice::new(data);
            count += 1;
        }
        Pin::new(stream).poll_write_vectored(cx, &pieces[..count])
    }

    /// Forgets what was written.
    fn take(&mut self, mut written: usize) {
        self.written += written as u64;
        self.unflushed = true;
        while let Some(first) = self.large.front_mut() {
            let part = first.len().min(written);
            first.advance(part);
            self.waiting -= part;
            written -= part;
            if !first.is_empty() {
                return;
            }
            self.large.pop_front();
        }
        self.gone += written;
        if self.gone == self.small.len() {
            self.gone = 0;
            self.small.clear();
        }
    }

    /// Gives the buffer back, as nothing is to be written for a while.
    pub fn rest(&mut self) {
        if self.is_empty() {
            Size::Head.give_back(std::mem::take(&mut self.small));
        }
    }

    #[cfg(test)]
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        let mut all = self.large.drain(..).collect::<Vec<_>>().concat();
        all.extend_from_slice(&self.small[self.gone..]);
        *self = Output::default();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::{io::AsyncReadExt, net::UnixStream};

    #[tokio::test]
    async fn everything_leaves_in_order_whatever_its_size() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut stream, mut out, mut wanted) = (Stream::from(ours), Output::default(), Vec::new());
        for (round, size) in [10, SMALL, 3, 0, 100_000, SMALL - 1, SMALL, SMALL, 1].into_iter().enumerate() {
            let data = Bytes::from(vec![round as u8; size]);
            wanted.extend_from_slice(&data);
            out.push(data);
        }
        assert!(!out.has_room());
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).await.unwrap();
            read
        });
        poll_fn(|cx| out.poll_flush(&mut stream, cx)).await.unwrap();
        assert!(out.is_empty() && out.has_room());
        assert_eq!(out.written(), wanted.len() as u64);
        drop(stream);
        assert_eq!(reading.await.unwrap(), wanted);
    }

    /// What a blocked TLS session has taken is not gone yet, although nothing waits here.
    #[tokio::test]
    async fn what_the_stream_still_holds_is_not_written() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut stream, mut out) = (Stream::from(ours), Output::default());
        out.push(Bytes::from_static(b"abc"));
        out.take(3);
        assert!(out.all_taken() && !out.is_empty());
        poll_fn(|cx| out.poll_flush(&mut stream, cx)).await.unwrap();
        assert!(out.is_empty());
        drop(stream);
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

//! Frames on their way out, gathered: what one turn of a connection makes leaves in one write.
//!
//! h2 writes, and flushes, once for each frame of data from 256 bytes on; a connection with many streams would pay a system call for
//! each of them. So h2 is given a [`Gathered`] stream, whose flush does nothing, and whoever drives the connection flushes by
//! [`Outlet`] when h2 has nothing more to do.
//!
//! Invariants: order is kept; no more waits than [`HIGH_WATER`]; large data that meets a full buffer is not copied; a connection with
//! nothing to write holds no buffer.
//! Not here: what may be written (`guard`).

use crate::{codec::buffers::Size, turn};
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop,
};

/// What is gathered before it is written all the same.
const HIGH_WATER: usize = Size::Batch.bytes();
/// Pieces of one write: h2 gives two.
const PIECES: usize = 4;

/// The stream, for h2.
#[derive(Debug)]
pub struct Gathered<S>(Rc<RefCell<Out<S>>>);

/// The same, for whoever drives the connection.
#[derive(Debug)]
pub struct Outlet<S>(Rc<RefCell<Out<S>>>);

#[derive(Debug)]
struct Out<S> {
    stream: S,
    buffer: Vec<u8>,
    /// How much of it was written.
    gone: usize,
    /// The stream took bytes that it may still hold, as TLS does.
    unflushed: bool,
    /// Why nothing can be written any more; h2 is told when it reads or writes next.
    failed: Option<io::Error>,
}

/// Both ends of a stream.
pub fn gathered<S>(stream: S) -> (Gathered<S>, Outlet<S>) {
    let out = Out { stream, buffer: Vec::new(), gone: 0, unflushed: false, failed: None };
    let out = Rc::new(RefCell::new(out));
    (Gathered(out.clone()), Outlet(out))
}

impl<S: AsyncWrite + Unpin> Outlet<S> {
    /// Drives `connection`, or what else writes to the stream, and writes what comes of it.
    pub fn poll<T>(
        &self,
        connection: impl FnOnce(&mut Context<'_>) -> Poll<T>,
        cx: &mut Context<'_>,
    ) -> Poll<T> {
        let polled = connection(cx);
        if polled.is_pending() {
            self.flush(cx);
        }
        polled
    }

    /// [`Outlet::poll`] until it is ready.
    pub async fn drive<T>(&self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        poll_fn(|cx| self.poll(|cx| connection.as_mut().poll(cx), cx)).await
    }

    /// Takes so many units of work from this task's turn; when it is over, what has been gathered is written before others have theirs.
    pub async fn give_way(&self, mut units: u32) {
        poll_fn(|cx| self.poll(|cx| turn::poll_take(&mut units, cx), cx)).await;
    }

    /// Not a part of the turn's work: what has used it up by reading must not keep its answers back.
    fn flush(&self, cx: &mut Context<'_>) {
        let mut out = self.0.borrow_mut();
        let flushing = pin!(coop::unconstrained(poll_fn(|cx| out.poll_flush(cx))));
        if let Poll::Ready(Err(error)) = flushing.poll(cx) {
            out.failed = Some(error);
            out.forget();
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> Out<S> {
    fn waiting(&self) -> usize {
        self.buffer.len() - self.gone
    }

    fn failure(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Forgets what was written, and gives the buffer to whoever writes next.
    fn forget(&mut self) {
        self.gone = 0;
        Size::Batch.give_back(std::mem::take(&mut self.buffer));
    }

    fn gather(&mut self, bufs: &[IoSlice<'_>]) {
        if self.buffer.capacity() == 0 {
            self.buffer = Size::Batch.take();
        } else if self.gone > 0 {
            self.buffer.drain(..std::mem::take(&mut self.gone));
        }
        bufs.iter().for_each(|buf| self.buffer.extend_from_slice(buf));
    }

    /// Writes what waits, and then as much of `bufs` as goes; ready with how much of `bufs` that was, which is 0 only if they are
    /// empty.
    fn poll_write_through(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let waiting = self.waiting();
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            let all = [IoSlice::new(&self.buffer[self.gone..])];
            for piece in all.iter().filter(|piece| !piece.is_empty()).chain(bufs).take(PIECES) {
                pieces[count] = *piece;
                count += 1;
            }
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &pieces[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            if written < waiting {
                self.gone += written;
                continue;
            }
            if waiting > 0 {
                self.forget();
            }
            if written > waiting || bufs.is_empty() {
                return Poll::Ready(Ok(written - waiting));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting() > 0 {
            ready!(self.poll_write_through(cx, &[]))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut out = self.0.borrow_mut();
        out.failure()?;
        Pin::new(&mut out.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut out = self.0.borrow_mut();
        out.failure()?;
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if size == 0 {
            return Poll::Ready(Ok(0));
        }
        if out.waiting() + size <= HIGH_WATER {
            out.gather(bufs);
            return Poll::Ready(Ok(size));
        }
        out.poll_write_through(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing yet: see [`Outlet`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow_mut().failure())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.0.borrow_mut();
        out.failure()?;
        ready!(out.poll_flush(cx))?;
        Pin::new(&mut out.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// Counts writes.
    struct Counted(DuplexStream, Rc<RefCell<u32>>);

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, buf));
            *self.1.borrow_mut() += 1;
            Poll::Ready(written)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn what_one_turn_writes_leaves_at_once() {
        let ((ours, mut theirs), writes) = (duplex(64 << 10), Rc::default());
        let (mut stream, out) = gathered(Counted(ours, Rc::clone(&writes)));
        let mut turns = 0;
        let turn = poll_fn(|cx| {
            turns += 1;
            for round in 0..10_u8 {
                let frame = [round; 300];
                assert!(Pin::new(&mut stream).poll_write(cx, &frame).is_ready());
                assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
            }
            assert_eq!(*writes.borrow(), turns - 1, "not before the turn is over");
            if turns == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut read = vec![0; 3_000];
        tokio::select! {
            biased;
            () = out.drive(turn) => panic!("nothing wakes it"),
            read = theirs.read_exact(&mut read) => read.unwrap(),
        };
        assert_eq!(*writes.borrow(), 1);
        assert!(read.chunks(300).enumerate().all(|(round, frame)| frame == [round as u8; 300]));
    }

    #[tokio::test]
    async fn everything_leaves_in_order_whatever_its_size_and_however_little_is_taken() {
        let (ours, mut theirs) = duplex(1_000);
        let (mut stream, out) = gathered(Counted(ours, Rc::default()));
        let sizes = [1, 300, HIGH_WATER, 5, HIGH_WATER * 3, 16_393, 9, 16_393, 16_393, 0, 700, 2];
        let mut wanted = Vec::new();
        for (round, size) in sizes.into_iter().enumerate() {
            wanted.resize(wanted.len() + size, round as u8);
        }
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).await.unwrap();
            read
        });
        out.drive(async {
            for (round, size) in sizes.into_iter().enumerate() {
                stream.write_all(&vec![round as u8; size]).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        })
        .await;
        drop((stream, out));
        assert!(reading.await.unwrap() == wanted);
    }

    #[tokio::test]
    async fn what_was_gathered_leaves_when_a_turn_is_used_up() {
        let (ours, mut theirs) = duplex(1_000);
        let (mut stream, out) = gathered(ours);
        let mut begun = false;
        let mut working = pin!(out.give_way(1_000));
        let turn = poll_fn(|cx| {
            if !std::mem::replace(&mut begun, true) {
                assert!(Pin::new(&mut stream).poll_write(cx, b"answer").is_ready());
            }
            working.as_mut().poll(cx)
        });
        let mut read = [0; 6];
        let reading = async { theirs.read_exact(&mut read).await.map(|_| ()) };
        let (read_whole, ()) = tokio::join!(reading, turn);
        read_whole.unwrap();
        assert_eq!(&read, b"answer");
    }

    #[tokio::test]
    async fn a_flush_that_failed_is_told_when_something_is_read_or_written_next() {
        let (ours, theirs) = duplex(1_000);
        let (mut stream, out) = gathered(ours);
        drop(theirs);
        let mut turns = 0;
        let told = out.drive(poll_fn(|cx| {
            turns += 1;
            match turns {
                1 => {
                    assert!(Pin::new(&mut stream).poll_write(cx, b"frame").is_ready());
                    Poll::Pending
                }
                _ => Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut [0; 8])),
            }
        }));
        assert_eq!(told.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

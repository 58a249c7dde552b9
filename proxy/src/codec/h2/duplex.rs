//! An HTTP/2 stream as a pair of byte streams, for CONNECT and upgrades.

use super::lateness::Lateness;
use crate::codec::body::Http2Body;
use bytes::{Buf, Bytes};
use sidle_http2::{Code, connection::Sending};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both halves of a stream.
pub struct StreamDuplex {
    sending: Sending,
    receiving: Http2Body,
    left: Bytes,
    /// How long data may find no window.
    patience: Option<Duration>,
    waiting: Lateness,
}

impl StreamDuplex {
    /// Joins the halves. Data that finds no window for as long as `patience` ends the stream.
    pub fn new(sending: Sending, receiving: Http2Body, patience: Option<Duration>) -> Self {
        StreamDuplex { sending, receiving, left: Bytes::new(), patience, waiting: Lateness::default() }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(room) = self.sending.poll_room(cx) {
            self.waiting.over();
            return Poll::Ready(room.map_err(broken));
        }
        let Some(limit) = self.patience else { return Poll::Pending };
        ready!(self.waiting.poll(0, limit, cx));
        self.sending.reset(Code::CANCEL);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn broken<E>(_: E) -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for StreamDuplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(self.receiving.poll_data_only(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(data)) => self.left = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let length = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left[..length]);
        self.left.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamDuplex {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = ready!(self.poll_room(cx))?.min(buf.len());
        self.sending.data(Bytes::copy_from_slice(&buf[..length]), false).map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.sending.data(Bytes::new(), true).map_err(broken))
    }
}

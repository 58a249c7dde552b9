//! A connection's bytes, whatever carries them.
//!
//! Invariant: bytes that were read to detect the protocol are read again first.
//! Not here: handshakes (`listener`, `upstream::connector`).

use super::socket::{Followed, Socket, would_block};
use crate::turn;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use std::{
    cell::Cell,
    future::{Future, pending},
    io,
    net::{self, SocketAddr},
    os::fd::BorrowedFd,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A connected byte stream.
#[derive(Debug)]
pub struct Stream {
    read_first: Bytes,
    transport: Transport,
    /// Whether the end follows at once what is written.
    ending: Cell<bool>,
}

#[derive(Debug)]
enum Transport {
    Tcp(Socket),
    Unix(UnixStream),
    ServerTls(Box<tokio_rustls::server::TlsStream<Stream>>),
    ClientTls(Box<tokio_rustls::client::TlsStream<Stream>>),
}

impl Stream {
    /// Puts `bytes` in front of what is read next.
    pub fn unread(&mut self, bytes: Bytes) {
        self.read_first = if self.read_first.is_empty() {
            bytes
        } else {
            [&bytes[..], &self.read_first[..]].concat().into()
        };
    }

    /// Has it end by RST, whoever drops it. What the kernel has not sent by then is lost.
    pub fn end_by_reset(&self) {
        if let Some(tcp) = self.tcp() {
            let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO)); // of a socket that is closed already
        }
    }

    /// What is written from now on may wait in the kernel for the end of the stream, to leave with it: [`AsyncWrite::poll_shutdown`]
    /// follows at once.
    pub fn is_about_to_end(&self) {
        match &self.transport {
            Transport::ServerTls(tls) => tls.get_ref().0.is_about_to_end(),
            Transport::ClientTls(tls) => tls.get_ref().0.is_about_to_end(),
            Transport::Tcp(_) | Transport::Unix(_) => self.ending.set(true),
        }
    }

    /// Whether the runtime watches the socket at the bottom, and hears at once of what comes. It does as soon as something was waited for.
    pub fn is_watched(&self) -> bool {
        self.socket().is_none_or(Socket::is_watched)
    }

    /// Has the next read look at a socket that is not watched, also if the last one left nothing.
    pub fn look_again(&self) {
        self.socket().into_iter().for_each(Socket::look_again);
    }

    /// Has the runtime watch it no more, until something is waited for.
    pub fn unwatch(&mut self) {
        if let Some(socket) = self.socket_mut() {
            socket.unwatch();
        }
    }

    /// The TLS session of a terminated connection.
    pub fn server_session(&self) -> Option<&rustls::ServerConnection> {
        match &self.transport {
            Transport::ServerTls(tls) => Some(tls.get_ref().1),
            _ => None,
        }
    }

    /// The leaf that the server of a connection of ours showed.
    pub fn server_certificate(&self) -> Option<&rustls::pki_types::CertificateDer<'static>> {
        match &self.transport {
            Transport::ClientTls(tls) => tls.get_ref().1.peer_certificates()?.first(),
            _ => None,
        }
    }

    /// The TCP socket at the bottom.
    pub fn tcp(&self) -> Option<BorrowedFd<'_>> {
        self.socket()?.descriptor()
    }

    fn socket(&self) -> Option<&Socket> {
        match &self.transport {
            Transport::Tcp(socket) => Some(socket),
            Transport::Unix(_) => None,
            Transport::ServerTls(tls) => tls.get_ref().0.socket(),
            Transport::ClientTls(tls) => tls.get_ref().0.socket(),
        }
    }

    fn socket_mut(&mut self) -> Option<&mut Socket> {
        match &mut self.transport {
            Transport::Tcp(socket) => Some(socket),
            Transport::Unix(_) => None,
            Transport::ServerTls(tls) => tls.get_mut().0.socket_mut(),
            Transport::ClientTls(tls) => tls.get_mut().0.socket_mut(),
        }
    }

    /// Ends a TLS session by `close_notify`, without which an end may be a cut (RFC 8446 section 6.1), as far as the socket takes it
    /// at once: one at rest does. In clear, the FIN that dropping this sends says as much.
    pub fn take_leave(&mut self) {
        if matches!(self.transport, Transport::ServerTls(_) | Transport::ClientTls(_)) {
            let leaving = pin!(tokio::task::unconstrained(self.shutdown()));
            let _ = leaving.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Until the socket has failed, by RST for instance; of Unix sockets only reads and writes tell.
    pub async fn reset(&mut self) {
        match self.socket_mut().map(Socket::watched) {
            Some(Ok(tcp)) => drop(tcp.ready(Interest::ERROR).await),
            Some(Err(_)) => {}
            None => pending().await,
        }
    }

    /// Whether nothing has come, as far as is known without a read. `false` also where only a read can tell.
    pub fn is_quiet(&self) -> bool {
        self.read_first.is_empty()
            && match &self.transport {
                Transport::Tcp(socket) => socket.is_quiet(),
                Transport::Unix(unix) => unix.try_read(&mut []).is_err_and(would_block),
                Transport::ServerTls(_) | Transport::ClientTls(_) => false,
            }
    }

    /// This side's address; `None` for Unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        SockRef::from(&self.tcp()?).local_addr().ok()?.as_socket()
    }
}

macro_rules! from_transport {
    ($($variant:ident($ty:ty) = $wrap:expr),* $(,)?) => {$(
        impl From<$ty> for Stream {
            fn from(transport: $ty) -> Self {
                let transport = Transport::$variant($wrap(transport));
                Stream { read_first: Bytes::new(), transport, ending: Cell::new(false) }
            }
        }
    )*};
}

from_transport! {
    Tcp(TcpStream) = Socket::from,
    Tcp(net::TcpStream) = Socket::alone,
    Unix(UnixStream) = std::convert::identity,
    ServerTls(tokio_rustls::server::TlsStream<Stream>) = Box::new,
    ClientTls(tokio_rustls::client::TlsStream<Stream>) = Box::new,
}

macro_rules! each_transport {
    ($self:ident, $tcp:ident => $of_tcp:expr, $io:ident => $call:expr) => {
        match &mut $self.transport {
            Transport::Tcp($tcp) => $of_tcp,
            Transport::Unix($io) => $call,
            Transport::ServerTls($io) => $call,
            Transport::ClientTls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_first.is_empty() {
            let length = self.read_first.len().min(buf.remaining());
            buf.put_slice(&self.read_first[..length]);
            self.read_first.advance(length);
            if self.read_first.is_empty() {
                self.read_first = Bytes::new(); // gives the buffer back: the connection may live for days
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read =
            each_transport!(self, tcp => tcp.poll_read(cx, buf), io => Pin::new(io).poll_read(cx, buf));
        if matches!(self.transport, Transport::Tcp(_) | Transport::Unix(_)) {
            turn::spend_bytes(buf.filled().len() - before, cx);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let followed = self.followed();
        let this = self.get_mut();
        each_transport!(this,
            tcp => tcp.poll_write(cx, &[io::IoSlice::new(buf)], followed),
            io => Pin::new(io).poll_write(cx, buf)
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let followed = self.followed();
        let this = self.get_mut();
        each_transport!(this,
            tcp => tcp.poll_write(cx, bufs, followed),
            io => Pin::new(io).poll_write_vectored(cx, bufs)
        )
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tcp(_) => true,
            Transport::Unix(io) => io.is_write_vectored(),
            Transport::ServerTls(io) => io.is_write_vectored(),
            Transport::ClientTls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_transport!(self, _tcp => Poll::Ready(Ok(())), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_transport!(self, tcp => tcp.poll_shutdown(cx), io => Pin::new(io).poll_shutdown(cx))
    }
}

impl Stream {
    fn followed(&self) -> Followed {
        if self.ending.get() { Followed::Soon } else { Followed::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::from(ours);
        theirs.write_all(b"ef").await.unwrap();
        stream.unread(Bytes::from_static(b"cd"));
        stream.unread(Bytes::from_static(b"ab"));
        let mut read = [0; 6];
        stream.read_exact(&mut read[..1]).await.unwrap();
        stream.read_exact(&mut read[1..]).await.unwrap();
        assert_eq!(&read, b"abcdef");
        drop(theirs);
        assert_eq!(stream.read(&mut read).await.unwrap(), 0);
    }

    /// Two thousand bytes of a ClientHello for each open connection would add up.
    #[tokio::test]
    async fn the_buffer_is_let_go_once_it_was_read() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::from(ours);
        let bytes = Bytes::from(vec![1; 64]);
        stream.unread(bytes.clone());
        let mut read = [0; 64];
        stream.read_exact(&mut read).await.unwrap();
        assert!(bytes.is_unique());
    }
}

//! A TCP socket, which the runtime watches from the moment on that something has to be waited for.
//!
//! Most of the time of a connection that brings one request and goes would be spent on having it watched: the request is there when it
//! is accepted, and the answer fits into the socket.
//!
//! In:  an accepted or connected socket.   Out: bytes read, written.
//! Invariant: whoever is told that nothing is ready will be woken.
//! Not here: TLS, bytes that are read again (`stream`).

use crate::turn;
use rustix::net::SendFlags;
use std::{
    cell::Cell,
    io::{self, IoSlice, Read},
    net,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf},
    net::TcpStream,
};

/// A connected TCP socket that does not block.
#[derive(Debug)]
pub struct Socket(State);

#[derive(Debug)]
enum State {
    /// Not watched. `drained`: the last read found less than it had room for.
    Alone {
        socket: net::TcpStream,
        drained: Cell<bool>,
    },
    Watched(TcpStream),
    /// It could not be watched.
    Lost,
}

/// Whether bytes may wait for those that follow at once, to leave with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    No,
    Soon,
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Socket(State::Watched(tcp))
    }
}

impl Socket {
    /// A socket that is non-blocking already, and that nothing is waited for yet.
    pub fn alone(socket: net::TcpStream) -> Self {
        Socket(State::Alone { socket, drained: Cell::new(false) })
    }

    /// Whether the runtime watches it.
    pub fn is_watched(&self) -> bool {
        matches!(self.0, State::Watched(_))
    }

    /// Whether nothing has come, as far as the runtime knows.
    pub fn is_quiet(&self) -> bool {
        matches!(&self.0, State::Watched(tcp) if tcp.try_read(&mut []).is_err_and(would_block))
    }

    /// Has the runtime watch it no more, until it has to.
    pub fn unwatch(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, State::Lost) {
            State::Alone { socket, .. } => State::Alone { socket, drained: Cell::new(false) },
            State::Watched(tcp) => match tcp.into_std() {
                Ok(socket) => State::Alone { socket, drained: Cell::new(false) },
                Err(_) => State::Lost, // closed by that
            },
            State::Lost => State::Lost,
        };
    }

    /// Has the next read look at it even if the last one found its end. One that is watched is looked at when something has come.
    pub fn look_again(&self) {
        if let State::Alone { drained, .. } = &self.0 {
            drained.set(false);
        }
    }

    /// The socket, watched.
    pub fn watched(&mut self) -> io::Result<&mut TcpStream> {
        if let State::Alone { .. } = self.0
            && let State::Alone { socket, .. } = std::mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Watched(TcpStream::from_std(socket)?);
        }
        match &mut self.0 {
            State::Watched(tcp) => Ok(tcp),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Its descriptor; `None` if it could not be watched, which closed it.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            State::Alone { socket, .. } => Some(socket.as_fd()),
            State::Watched(tcp) => Some(tcp.as_fd()),
            State::Lost => None,
        }
    }

    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let State::Alone { socket, drained } = &mut self.0
            && !drained.get()
        {
            ready!(turn::poll_take(&mut 1, cx));
            let room = buf.initialize_unfilled();
            let most = room.len();
            if let Some(read) = at_once(|| socket.read(room)) {
                let read = read?;
                drained.set(read < most);
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(self.watched()?).poll_read(cx, buf)
    }

    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        followed: Followed,
    ) -> Poll<io::Result<usize>> {
        if let State::Alone { socket, .. } = &self.0 {
            ready!(turn::poll_take(&mut 1, cx));
            if let Some(written) = at_once(|| send(socket.as_fd(), bufs, followed)) {
                return Poll::Ready(written);
            }
        }
        let tcp = Pin::new(self.watched()?);
        match (followed, bufs) {
            (Followed::No, [bytes]) => tcp.poll_write(cx, bytes),
            (Followed::No, _) => tcp.poll_write_vectored(cx, bufs),
            (Followed::Soon, _) => loop {
                ready!(tcp.poll_write_ready(cx))?;
                let sent = tcp.try_io(Interest::WRITABLE, || send(tcp.as_fd(), bufs, followed));
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    sent => return Poll::Ready(sent),
                }
            },
        }
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Alone { socket, .. } => Poll::Ready(match socket.shutdown(net::Shutdown::Write) {
                // The peer has gone, and knows.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                done => done,
            }),
            State::Watched(tcp) => Pin::new(tcp).poll_shutdown(cx),
            State::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// Whether it says that there is nothing for now.
pub fn would_block(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// What comes of a call that does not wait; `None`: it would have to.
fn at_once<T>(mut call: impl FnMut() -> io::Result<T>) -> Option<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            done => return Some(done),
        }
    }
}

fn send(socket: BorrowedFd<'_>, bufs: &[IoSlice<'_>], followed: Followed) -> io::Result<usize> {
    let flags = match followed {
        Followed::No => SendFlags::NOSIGNAL,
        Followed::Soon => SendFlags::NOSIGNAL | SendFlags::MORE,
    };
    Ok(match bufs {
        [bytes] => rustix::net::send(socket, bytes, flags)?,
        _ => rustix::net::sendmsg(socket, bufs, &mut Default::default(), flags)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, io::Write};

    fn pair() -> (Socket, net::TcpStream) {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::alone(ours), theirs)
    }

    async fn read(socket: &mut Socket) -> Vec<u8> {
        let mut room = [0; 16];
        let mut buf = ReadBuf::new(&mut room);
        poll_fn(|cx| socket.poll_read(cx, &mut buf)).await.unwrap();
        buf.filled().to_vec()
    }

    #[tokio::test]
    async fn it_is_watched_from_the_first_wait_on() {
        let (mut socket, mut theirs) = pair();
        theirs.write_all(b"one").unwrap();
        assert_eq!(read(&mut socket).await, b"one");
        let sent = poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(b"answer")], Followed::No)).await;
        assert_eq!(sent.unwrap(), 6);
        assert!(!socket.is_watched());
        let later = std::thread::spawn(move || {
            theirs.read_exact(&mut [0; 6]).unwrap();
            theirs.write_all(b"two").unwrap();
            theirs
        });
        assert_eq!(read(&mut socket).await, b"two");
        assert!(socket.is_watched());
        let mut theirs = later.join().unwrap();
        socket.unwatch();
        assert!(!socket.is_watched());
        theirs.write_all(b"three").unwrap();
        assert_eq!(read(&mut socket).await, b"three");
        drop(theirs);
        assert_eq!(read(&mut socket).await, b"");
    }

    /// Watched or not.
    #[tokio::test]
    async fn what_is_followed_waits_for_the_end_and_leaves_with_it() {
        for watched in [false, true] {
            let (mut socket, mut theirs) = pair();
            if watched {
                socket.watched().unwrap();
            }
            for piece in [&[IoSlice::new(b"an")][..], &[IoSlice::new(b"sw"), IoSlice::new(b"er")]] {
                poll_fn(|cx| socket.poll_write(cx, piece, Followed::Soon)).await.unwrap();
            }
            theirs.set_nonblocking(true).unwrap();
            assert_eq!(theirs.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            theirs.set_nonblocking(false).unwrap();
            poll_fn(|cx| socket.poll_shutdown(cx)).await.unwrap();
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"answer");
        }
    }
}

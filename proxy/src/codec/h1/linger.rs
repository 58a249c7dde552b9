//! How a connection that we end is ended.
//!
//! A socket that is closed with bytes unread makes the kernel send RST, and the peer's kernel may then throw away an answer
//! that the client has not read yet. So our side is closed first, and what the client still sends is read over for a while
//! (RFC 9112 section 9.6).

use super::wire;
use crate::codec::{Stream, patience};
use socket2::SockRef;
use std::{future::poll_fn, io, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout_at},
};

/// How long a client may still send.
const TIME: Duration = Duration::from_secs(1);
/// How much of it is read. Who sends more waits out the time in the kernel's buffers: an answer is read by then, or never.
const BYTES: usize = 4 << 20;

/// Closes; `answered`: after an answer, which the client is given time to read.
pub(super) async fn close(mut stream: Stream, answered: bool) {
    let until = Instant::now() + TIME;
    let shut = timeout_at(until, stream.shutdown()).await; // it is gone, too, if the client takes nothing
    if answered && matches!(shut, Ok(Ok(()))) {
        // Almost every client closes at once, and one look at the socket finds it so.
        stream.unwatch();
        patience::pause(patience::For::Close).await;
        let _ = timeout_at(until, read_over(&mut stream)).await; // either way it is gone now
    }
}

/// Until the client closes, too; for ever if it sends too much.
async fn read_over(stream: &mut Stream) -> io::Result<()> {
    let mut left = BYTES;
    while left > 0 {
        match poll_fn(|cx| wire::poll_read_over(stream, cx)).await? {
            0 => return Ok(()),
            read => left = left.saturating_sub(read),
        }
    }
    std::future::pending().await
}

/// Has the stream end by RST, whoever drops it and why: while an answer is under way whose end is the connection's, FIN would say
/// that it is whole. What the kernel has not sent by then is lost.
pub(super) fn end_by_reset(stream: &Stream) {
    set_linger(stream, Some(Duration::ZERO));
}

/// Has it end by FIN again, as nothing is missing.
pub(super) fn end_by_fin(stream: &Stream) {
    set_linger(stream, None);
}

fn set_linger(stream: &Stream, time: Option<Duration>) {
    if let Some(tcp) = stream.tcp() {
        let _ = SockRef::from(&tcp).set_linger(time); // of a socket that is closed already
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    #[tokio::test]
    async fn a_stream_ends_as_was_said_last() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (whole, end) in [(false, Err(io::ErrorKind::ConnectionReset)), (true, Ok(0))] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let stream = Stream::from(listener.accept().await.unwrap().0);
            end_by_reset(&stream);
            if whole {
                end_by_fin(&stream);
            }
            drop(stream);
            assert_eq!(client.read(&mut [0]).await.map_err(|error| error.kind()), end);
        }
    }
}

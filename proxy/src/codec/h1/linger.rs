//! How a connection that we end is ended.
//!
//! A socket that is closed with bytes unread makes the kernel send RST, and the peer's kernel may then throw away an answer
//! that the client has not read yet. So our side is closed first, and what the client still sends is read over for a while
//! (RFC 9112 section 9.6).

use super::wire;
use crate::codec::Stream;
use std::{future::poll_fn, io, time::Duration};
use tokio::io::AsyncWriteExt as _;

/// How long a client may still send.
const TIME: Duration = Duration::from_secs(1);
/// How much of it is read. Who sends more waits out the time in the kernel's buffers: an answer is read by then, or never.
const BYTES: usize = 4 << 20;

/// Closes; `answered`: after an answer, which the client is given time to read.
pub(super) async fn close(mut stream: Stream, answered: bool) {
    let close = async {
        stream.shutdown().await?;
        if answered { read_over(&mut stream).await } else { Ok(()) }
    };
    let _ = tokio::time::timeout(TIME, close).await; // either way it is gone now, if the client takes nothing, too
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

/// Has the stream end by RST when it is dropped: a FIN would be the end of a whole answer. What the kernel has not sent yet
/// is lost.
pub(super) fn reset(stream: &Stream) {
    if let Some(tcp) = stream.tcp() {
        let _ = tcp.set_zero_linger(); // of a socket that is closed already
    }
}

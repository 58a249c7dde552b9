//! An upstream that speaks HTTP/1.1 to requests without a body.

use super::Answers;
use crate::http1;
use memchr::memmem;
use std::{io, rc::Rc};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// Answers until the other end closes, or wants it closed.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answers: Rc<Answers>,
) -> io::Result<()> {
    let mut received = Vec::with_capacity(2048);
    loop {
        let end = loop {
            if let Some(end) = http1::head_end(&received) {
                break end;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let head = &received[..end];
        let answer = http1::target(head).and_then(|target| answers.to(target, whole));
        // A subject that only passes bytes on brings what the client wants of its own connection.
        let last = memmem::find(head, b"connection: close\r\n").is_some();
        stream.write_all(answer.as_deref().unwrap_or(NOT_FOUND)).await?;
        stream.flush().await?;
        if last {
            return stream.shutdown().await;
        }
        received.drain(..end);
    }
}

fn whole(content: Vec<u8>) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: sidle-bench\r\ndate: Sun, 22 Nov 2026 14:00:00 GMT\r\ncontent-type: text/plain\r\n\
         cache-control: max-age=60\r\ncontent-length: {}\r\n\r\n",
        content.len()
    );
    [head.into_bytes(), content].concat()
}

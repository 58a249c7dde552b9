//! Clients of HTTP/1.1.

use super::{pace::Pace, tally::Tally};
use crate::{
    compare::{
        scenarios::{Clients, hosts},
        wire::body::{Expected, Progress},
    },
    http1,
    void::Void,
};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What is read at once, by all connections in turn.
const BUFFER: usize = 256 << 10;

/// Requests, asked in turn, and a buffer for the answers of all.
pub struct Questions {
    requests: Vec<Vec<u8>>,
    next: Cell<usize>,
    buffer: RefCell<Vec<u8>>,
    expected: Rc<Expected>,
}

impl Questions {
    /// What the clients of a scenario ask.
    pub fn new(clients: &Clients, expected: Rc<Expected>) -> Self {
        let path = clients.content.path();
        let close = if clients.churn { "connection: close\r\n" } else { "" };
        let request = |host| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: sidle-bench\r\naccept: */*\r\n{close}\r\n"
            )
            .into_bytes()
        };
        Questions {
            requests: hosts(clients.hosts).map(request).collect(),
            next: Cell::new(0),
            buffer: RefCell::new(vec![0; BUFFER]),
            expected,
        }
    }

    fn next(&self) -> &[u8] {
        let at = self.next.get();
        self.next.set((at + 1) % self.requests.len());
        &self.requests[at]
    }
}

/// Asks at its pace on one connection.
///
/// # Errors
/// When an answer is wrong, or none comes.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    questions: Rc<Questions>,
    mut pace: Pace,
    tally: Rc<Tally>,
) -> Result<(), Void> {
    while let Some(intended) = pace.next().await {
        let cluster = ask(&mut stream, &questions).await?;
        tally.answered(cluster, intended);
    }
    Ok(())
}

/// Waits until the server closes, as it does after its last answer.
///
/// # Errors
/// When it says more.
pub async fn finished<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), Void> {
    match stream.read(&mut [0]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(Void::because("more bytes than the answer has")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks one question; the cluster that answered.
///
/// # Errors
/// When the answer is wrong.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    questions: &Questions,
) -> Result<usize, Void> {
    stream.write_all(questions.next()).await?;
    stream.flush().await?;
    let mut answer = Answer::Head(Vec::new());
    loop {
        let whole = poll_fn(|context| {
            let mut buffer = questions.buffer.borrow_mut();
            let mut received = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut received))?;
            Poll::Ready(answer.take(received.filled(), &questions.expected))
        });
        if let Some(cluster) = whole.await? {
            return Ok(cluster);
        }
    }
}

/// An answer that comes in pieces.
enum Answer {
    /// What has come of its head.
    Head(Vec<u8>),
    Body(Progress),
}

impl Answer {
    /// Takes the next piece; the cluster that answered, once all is there.
    fn take(&mut self, bytes: &[u8], expected: &Expected) -> Result<Option<usize>, Void> {
        if bytes.is_empty() {
            return Err(Void::because("the connection was closed in place of an answer"));
        }
        match self {
            Answer::Head(begun) if begun.is_empty() => match http1::head_end(bytes) {
                None => begun.extend_from_slice(bytes),
                Some(end) => return self.body(bytes, end, expected),
            },
            Answer::Head(begun) => {
                begun.extend_from_slice(bytes);
                if let Some(end) = http1::head_end(begun) {
                    let begun = std::mem::take(begun);
                    return self.body(&begun, end, expected);
                }
            }
            Answer::Body(progress) => return advance(progress, bytes, expected),
        }
        Ok(None)
    }

    fn body(&mut self, bytes: &[u8], end: usize, expected: &Expected) -> Result<Option<usize>, Void> {
        let (head, body) = bytes.split_at(end);
        if http1::length_of_200(head) != Some(expected.len()) {
            return Err(Void::because(format!("a wrong answer: {}", String::from_utf8_lossy(head))));
        }
        let mut progress = Progress::default();
        let whole = advance(&mut progress, body, expected);
        *self = Answer::Body(progress);
        whole
    }
}

fn advance(progress: &mut Progress, bytes: &[u8], expected: &Expected) -> Result<Option<usize>, Void> {
    if !progress.take(expected, bytes) {
        return Err(Void::because("an answer with wrong content"));
    }
    Ok(progress.whole(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{scenarios::Content, wire::body::content};

    fn judged(answer: &[u8], cut: usize) -> Result<Option<usize>, Void> {
        let expected = Expected::of(Content::Bytes(100));
        let mut state = Answer::Head(Vec::new());
        let (first, second) = answer.split_at(cut);
        match state.take(first, &expected)? {
            None if !second.is_empty() => state.take(second, &expected),
            whole => Ok(whole),
        }
    }

    fn answer(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n").as_bytes(), body].concat()
    }

    #[test]
    fn a_right_answer_may_be_cut_anywhere() {
        let right = answer("200 OK", 100, &content(b'b', 100));
        for cut in 1..=right.len() {
            assert_eq!(judged(&right, cut).unwrap(), Some(1), "{cut}");
        }
        assert_eq!(judged(&right[..right.len() - 1], 1).unwrap(), None, "one byte is missing");
    }

    #[test]
    fn wrong_answers_are_void() {
        let right = content(b'a', 100);
        for wrong in [
            answer("503 No", 100, &right),
            answer("200 OK", 99, &right[..99]),
            answer("200 OK", 100, &content(b'x', 100)),
            [answer("200 OK", 100, &right), b"x".to_vec()].concat(),
        ] {
            assert!(judged(&wrong, wrong.len()).is_err(), "{}", String::from_utf8_lossy(&wrong));
        }
    }
}

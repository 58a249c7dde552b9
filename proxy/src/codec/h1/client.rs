//! The client's side: a request to a server, and its answer. Whoever reads the answer drives the request's content too: no
//! second task, no channel.
//!
//! Invariants: one request at a time; a connection is used again only if both messages ended, in agreement on where, and
//! nothing came behind the answer; interim answers are bounded.
//! Not here: pools, retries.

use super::{
    convert,
    decode::Decoder,
    encode,
    framing::{self, Framing},
    names::Seen,
    parse,
    upload::Upload,
    wire::{UploadError, Wire},
};
use crate::codec::{
    Authority, Body, BodyError, RequestHead, ResponseHead, Stream, hop_by_hop,
    timer::{Stall, Timer},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode, Version, header};
use http_body::Body as _;
use sidle_fields::Fields;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A response head's bytes and fields.
const MAX_HEAD: usize = 64 << 10;
const MAX_FIELDS: usize = 256;
/// Interim answers (1xx) to one request.
const MAX_INTERIM: u32 = 8;

/// A connection to a server.
pub struct Client {
    wire: Rc<RefCell<Wire>>,
    /// What the last answer said about the connection.
    keep_alive: Cell<bool>,
}

/// An answer.
pub struct Response {
    /// Hop-by-hop fields are gone.
    pub head: ResponseHead,
    /// Content, which must be read for the connection to be used again.
    pub body: Body,
    /// After 101: the connection itself, and what it speaks now.
    pub upgraded: Option<Box<(Stream, Option<HeaderValue>)>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The connection had ended; no byte of the request was taken.
    Unsent,
    /// The connection ended.
    Closed,
    /// The connection ended in the middle of the answer's head, or after an interim answer.
    Cut,
    /// The server takes no more of the request, and does not answer.
    Stalled,
    /// What came is no answer to this request.
    Malformed,
    /// The request's own content failed.
    Body(BodyError),
}

impl Client {
    /// Over a connected stream. What the server has said on it so far, nobody asked for.
    pub fn new(stream: Stream) -> Self {
        let client =
            Client { wire: Rc::new(RefCell::new(Wire::to_server(stream))), keep_alive: Cell::new(true) };
        let _ = client.is_open(); // `send` sees what was heard
        client
    }

    /// Whether the server has neither closed the idle connection nor said anything on it.
    pub fn is_open(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        wire.input.is_empty()
            && (wire.stream().is_some_and(Stream::is_quiet)
                || wire.poll_read_head(&mut Context::from_waker(Waker::noop())).is_pending())
    }

    /// Whether another request may follow the one that was answered.
    pub fn is_reusable(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        wire.rest();
        self.keep_alive.get() && wire.decoder.is_done() && wire.has_sent() && wire.input.is_empty()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`SendError`]; then the connection is of no further use.
    ///
    /// A server that takes no byte of the request for `patience` has failed; zero: it may take its time.
    pub async fn send(
        &self,
        head: &RequestHead,
        body: Body,
        keep_case: bool,
        patience: Duration,
    ) -> Result<Response, SendError> {
        self.keep_alive.set(false);
        let method = sent_method(head);
        let already_written = {
            let mut wire = self.wire.borrow_mut();
            if wire.has_ended() {
                return Err(SendError::Unsent);
            }
            if !wire.input.is_empty() {
                return Err(SendError::Malformed); // RFC 9112 section 9.2: it cannot be an answer to this request
            }
            let has = Has::of(&head.headers);
            let framing = framing_of(head, &method, &body, &has);
            let out = wire.output.small();
            write_head(out, head, &method, framing, &has);
            wire.begin_upload(Upload::new(body, framing));
            wire.output.written()
        };
        let mut scanner = parse::LineScanner::default();
        let (mut interim, mut closed) = (0, false);
        let (mut stall, mut timer) = (Stall::new(patience), Timer::default());
        let found = poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            if !closed && !wire.has_sent() {
                match wire.poll_upload(cx) {
                    Poll::Ready(Err(UploadError::Body(error))) => {
                        return Poll::Ready(Err(SendError::Body(error)));
                    }
                    Poll::Ready(Err(UploadError::Closed)) => {
                        // The server may have answered before it stopped reading.
                        wire.cut_upload();
                        closed = true;
                    }
                    Poll::Pending if !wire.output.is_empty() => {
                        if stall.poll(wire.output.written(), &mut timer, cx).is_ready() {
                            return Poll::Ready(Err(SendError::Stalled));
                        }
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            loop {
                match take_head(&mut wire.input, &mut scanner, keep_case) {
                    Err(Malformed) => return Poll::Ready(Err(SendError::Malformed)),
                    Ok(Some(response)) if is_interim(response.status) => {
                        scanner = parse::LineScanner::default();
                        interim += 1;
                        if interim > MAX_INTERIM {
                            return Poll::Ready(Err(SendError::Malformed));
                        }
                        let parse::Response { status, headers, casing, .. } = response;
                        head.pass_on(ResponseHead { status, headers, original_case: casing });
                    }
                    Ok(Some(response)) => return Poll::Ready(Ok(response)),
                    Ok(None) => match wire.poll_read_head(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(1..)) => {}
                        Poll::Ready(_) if wire.output.written() == already_written => {
                            return Poll::Ready(Err(SendError::Unsent));
                        }
                        // It had begun to answer: that is no connection that was closing already.
                        Poll::Ready(_) if interim > 0 || !wire.input.is_empty() => {
                            return Poll::Ready(Err(SendError::Cut));
                        }
                        Poll::Ready(_) => return Poll::Ready(Err(SendError::Closed)),
                    },
                }
            }
        })
        .await?;
        self.answer(head, &method, found)
    }

    /// The answer, and how its content is read.
    fn answer(
        &self,
        head: &RequestHead,
        method: &Method,
        found: parse::Response,
    ) -> Result<Response, SendError> {
        let parse::Response { status, version, mut headers, seen, casing } = found;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if switches && head.upgrade.is_none() {
            return Err(SendError::Malformed); // nobody asked
        }
        let framing = framing::of_response(method, status, version, &headers, seen)
            .map_err(|framing::Ambiguous| SendError::Malformed)?;
        self.keep_alive.set(
            convert::keeps_alive(version, &headers, seen) && framing != Framing::UntilClose && !switches,
        );
        let token = if seen.has(Seen::HOP_BY_HOP) { hop_by_hop::strip(&mut headers) } else { None };
        let answered = ResponseHead { status, headers, original_case: casing };
        if switches {
            let stream = self.wire.borrow_mut().take_stream().ok_or(SendError::Closed)?;
            return Ok(Response {
                head: answered,
                body: Body::Empty,
                upgraded: Some(Box::new((stream, token))),
            });
        }
        let body = Wire::begin_message(&self.wire, Decoder::new(framing));
        Ok(Response { head: answered, body, upgraded: None })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(mut wire) = self.wire.try_borrow_mut() {
            wire.take_leave();
        }
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

struct Malformed;

fn take_head(
    input: &mut BytesMut,
    scanner: &mut parse::LineScanner,
    keep_case: bool,
) -> Result<Option<parse::Response>, Malformed> {
    match scanner.end(input) {
        Ok(Some(end)) if end <= MAX_HEAD => {
            let head = input.split_to(end).freeze();
            parse::response(&head, MAX_FIELDS, keep_case).map(Some).ok_or(Malformed)
        }
        Ok(None) if input.len() <= MAX_HEAD => Ok(None),
        _ => Err(Malformed),
    }
}

/// RFC 8441's CONNECT is a GET to HTTP/1.
fn sent_method(head: &RequestHead) -> Method {
    if head.upgrade.is_some() && head.version == Version::HTTP_2 { Method::GET } else { head.method.clone() }
}

/// Which fields a request has that decide how it is written. One look at the names costs less than a search for each.
#[derive(Default)]
struct Has {
    host: bool,
    te: bool,
    length: bool,
}

impl Has {
    fn of(headers: &Fields) -> Self {
        let mut has = Has::default();
        for name in headers.keys() {
            has.host |= *name == header::HOST;
            has.te |= *name == header::TE;
            has.length |= *name == header::CONTENT_LENGTH;
        }
        has
    }
}

/// How the request's end is marked; `None`: there is no content, and nobody expects any.
fn framing_of(head: &RequestHead, method: &Method, body: &Body, has: &Has) -> Option<Framing> {
    if head.upgrade.is_some() {
        return None;
    }
    if body.is_end_stream() {
        let may_have_content =
            !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT | Method::TRACE);
        // As Envoy: a server that waits for content is told that there is none.
        return (may_have_content || has.length).then_some(Framing::Length(0));
    }
    let length = body.size_hint().exact().or_else(|| encode::announced(&head.headers));
    Some(length.map_or(Framing::Chunked, Framing::Length))
}

/// RFC 6455 section 4.1: 16 random bytes.
fn websocket_key() -> String {
    STANDARD.encode(fastrand::u128(..).to_be_bytes())
}

fn write_head(out: &mut Vec<u8>, head: &RequestHead, method: &Method, framing: Option<Framing>, has: &Has) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target.as_str().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = head.authority.as_ref().map(Authority::as_str);
    if let Some(host) = host.filter(|_| !has.host) {
        encode::field(out, b"host", host.as_bytes());
    }
    encode::fields(out, &head.headers, &head.original_case, host);
    if let Some(framing) = framing {
        encode::framing(out, framing);
    }
    if let Some(protocol) = &head.upgrade {
        encode::field(out, b"connection", b"upgrade");
        encode::field(out, b"upgrade", protocol.as_bytes());
        if head.version == Version::HTTP_2 {
            // RFC 8441 has no key; HTTP/1.1 needs one.
            encode::field(out, b"sec-websocket-key", websocket_key().as_bytes());
        }
    } else if has.te {
        encode::field(out, b"connection", b"te"); // RFC 9110 section 10.1.4
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Scheme;
    use http::uri::PathAndQuery;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    #[test]
    fn a_websocket_key_is_sixteen_bytes() {
        let (one, other) = (websocket_key(), websocket_key());
        assert_ne!(one, other);
        for key in [one, other] {
            let bytes = STANDARD.decode(&key).unwrap(); // refuses what is not canonical
            assert_eq!((bytes.len(), key.len()), (16, 24), "{key}");
        }
    }

    fn head() -> RequestHead {
        RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: None,
            target: PathAndQuery::from_static("/"),
            version: Version::HTTP_11,
            headers: Fields::new(),
            upgrade: None,
            original_case: Default::default(),
            interim: None,
        }
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn what_came_before_the_request_is_no_answer_to_it() {
        for (said, expected) in [(OK, SendError::Malformed), (b"", SendError::Unsent)] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).await.unwrap();
            theirs.shutdown().await.unwrap();
            ours.readable().await.unwrap();
            let client = Client::new(ours.into());
            let sent = client.send(&head(), Body::Empty, false, Duration::from_secs(5)).await;
            assert_eq!(sent.err(), Some(expected));
            drop(client);
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "nothing was sent");
        }
    }

    #[tokio::test]
    async fn a_connection_is_used_again_while_nothing_came_behind_the_answer() {
        for (behind, reusable) in [("", true), ("H", false), ("\r\n", false)] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let client = Client::new(ours.into());
            let server = async {
                assert!(theirs.read(&mut [0; 256]).await.unwrap() > 0);
                theirs.write_all(&[OK, behind.as_bytes()].concat()).await.unwrap();
            };
            let head = head();
            let (sent, ()) =
                tokio::join!(client.send(&head, Body::Empty, false, Duration::from_secs(5)), server);
            assert!(sent.is_ok());
            assert_eq!(client.is_reusable(), reusable, "{behind:?}");
            if reusable {
                assert!(client.is_open());
                theirs.write_all(b"H").await.unwrap();
                while client.is_open() {
                    tokio::task::yield_now().await; // until the reactor has heard of it
                }
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_had_begun_is_not_taken_for_a_connection_that_had_ended() {
        for (answer, expected) in [
            ("", SendError::Closed),
            ("HTTP/1.1 200 OK\r\ncontent-le", SendError::Cut),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", SendError::Cut),
        ] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let client = Client::new(ours.into());
            let head = head();
            let server = async {
                let mut request = [0; 256];
                assert!(theirs.read(&mut request).await.unwrap() > 0);
                theirs.write_all(answer.as_bytes()).await.unwrap();
                theirs.shutdown().await.unwrap();
            };
            let (sent, ()) =
                tokio::join!(client.send(&head, Body::Empty, false, Duration::from_secs(5)), server);
            assert_eq!(sent.err(), Some(expected), "{answer:?}");
        }
    }
}

//! The server's side: requests from a client, one after the other, and their answers.
//!
//! Invariants: a request is served only after the answer to the one before it was written; a head that stalls is answered
//! 408 and closed, an idle connection is closed in silence, a client that does not take its answer is dropped; no byte behind a
//! request leaves before its answer allows it. After an answer whose request was not read whole, the connection ends.
//! Read: [`serve`] -> [`Server::next_head`] -> [`Server::request`] -> [`Server::respond`].

use super::{
    convert::{self, Persistence},
    decode::Decoder,
    encode,
    framing::{self, Framing},
    parse,
    upload::Upload,
    wire::Wire,
};
use crate::{
    codec::{Answer, Body, Duplex, Interim, RequestHead, ResponseHead, Stream, Tunnel, timer::Timer},
    error::Refusal,
    exchange::{self, Glimpse},
    listener::{Connection, Fault},
};
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

/// A body that the application did not want is read over if it is no longer than this; else the connection ends.
const SKIP: u64 = 64 << 10;
/// How long a client may still send before a connection that we closed is gone, and how much: closing at once would make the
/// kernel throw away an answer that the client has not read yet.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>) {
    let wire = Rc::new(RefCell::new(Wire::new(stream)));
    let interim = interim(&wire);
    let mut server = Server { wire, connection, interim, timer: Timer::default() };
    let ended = server.run().await;
    match ended {
        End::Gone => {}
        End::Closed { linger } => server.close(linger).await,
        End::Tunnel(tunnel) => {
            let stream = server.wire.borrow_mut().take_stream();
            drop(server);
            if let Some(stream) = stream {
                tunnel.run(Duplex::Stream(stream)).await;
            }
        }
    }
}

/// Writes 1xx heads between a request and its answer.
fn interim(wire: &Rc<RefCell<Wire>>) -> Interim {
    let wire = Rc::downgrade(wire);
    Interim(Rc::new(move |head: ResponseHead| {
        let Some(wire) = wire.upgrade() else { return };
        let mut wire = wire.borrow_mut();
        let out = wire.output.small();
        encode::status_line(out, head.status);
        encode::fields(out, &head.headers, &head.original_case, None);
        out.extend_from_slice(b"\r\n");
        // The connection's task flushes after it has polled the exchange, which called this.
    }))
}

struct Server {
    wire: Rc<RefCell<Wire>>,
    connection: Rc<Connection>,
    interim: Interim,
    timer: Timer,
}

/// How a connection ends.
enum End {
    /// The client is gone.
    Gone,
    /// By us, in peace.
    Closed { linger: bool },
    /// It belongs to a tunnel.
    Tunnel(Box<Tunnel>),
}

/// What must be known of a request to answer it.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
    expects_continue: bool,
}

impl Server {
    async fn run(&mut self) -> End {
        let connection = self.connection.clone();
        let mut drained = pin!(connection.drained());
        loop {
            let step = match self.next_head(drained.as_mut()).await {
                Head::Whole(head) => self.request(head).await,
                Head::Refused(refusal) => {
                    let bytes = self.wire.borrow_mut().input.split().freeze();
                    Err(self.refuse(refusal, Glimpse::default(), &bytes).await)
                }
                Head::Idle => Err(End::Closed { linger: false }),
                Head::Gone => Err(End::Gone),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Waits for the next request's head.
    async fn next_head(&mut self, mut drained: Pin<&mut impl Future<Output = ()>>) -> Head {
        let limits = self.connection.limits();
        let max = limits.max_request_headers_bytes as usize;
        let (head_timeout, idle_timeout) = (limits.request_headers_timeout, limits.connection_idle_timeout);
        let mut scanner = parse::LineScanner::default();
        let (wire, timer) = (&self.wire, &mut self.timer);
        let waiting_since = Instant::now();
        let mut silent = true;
        let mut begun: Option<Instant> = None;
        wire.borrow_mut().rest();
        poll_fn(|cx| {
            let mut wire = wire.borrow_mut();
            loop {
                silent &= wire.input.is_empty(); // empty lines begin a head, too, if only for the clock
                skip_empty_lines(&mut wire);
                match scanner.end(&wire.input, true) {
                    Ok(Some(end)) if end <= max => {
                        return Poll::Ready(Head::Whole(wire.input.split_to(end).freeze()));
                    }
                    Ok(None) if wire.input.len() <= max => {}
                    Ok(_) if scanner.has_first_line() => {
                        return Poll::Ready(Head::Refused(Refusal::HeadTooLarge));
                    }
                    Ok(_) => return Poll::Ready(Head::Refused(Refusal::UriTooLong)),
                    Err(parse::BareLineEnd) => {
                        return Poll::Ready(Head::Refused(Refusal::BadRequest("a line ends without CR")));
                    }
                }
                match wire.poll_read_head(cx) {
                    Poll::Ready(Ok(read)) if read > 0 => continue,
                    Poll::Ready(_) => return Poll::Ready(Head::Gone),
                    Poll::Pending if silent => {
                        let expired = timer.poll(waiting_since + idle_timeout, cx).is_ready();
                        if expired || drained.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(Head::Idle);
                        }
                    }
                    Poll::Pending => {
                        let begun = *begun.get_or_insert_with(Instant::now);
                        if timer.poll(begun + head_timeout, cx).is_ready() {
                            return Poll::Ready(Head::Refused(Refusal::HeadTimeout));
                        }
                    }
                }
                return Poll::Pending;
            }
        })
        .await
    }

    /// Serves one request.
    async fn request(&mut self, head: bytes::Bytes) -> Result<(), End> {
        let mut seen = Glimpse::default();
        let (head, framing, persistence) = match self.read(&head, &mut seen) {
            Ok(read) => read,
            Err(refusal) => return Err(self.refuse(refusal, seen, &head).await),
        };
        let asked = Asked {
            method: head.method.clone(),
            version: head.version,
            keep_alive: persistence.keep_alive,
            expects_continue: persistence.expects_continue,
        };
        let body = Wire::begin_message(&self.wire, Decoder::new(framing));
        match self.answer(head, body).await {
            None => Err(End::Gone),
            Some(answer) => self.respond(answer, asked).await,
        }
    }

    /// Reads a head; what is known of one that is refused is left in `seen`.
    fn read(
        &self,
        head: &bytes::Bytes,
        seen: &mut Glimpse,
    ) -> Result<(RequestHead, Framing, Persistence), Refusal> {
        let limits = self.connection.limits();
        let max = limits.max_request_headers_count as usize;
        let parsed = parse::request(head, max, self.connection.preserve_header_case())?;
        *seen = Glimpse {
            version: Some(parsed.version),
            method: Some(parsed.method.clone()),
            target: parsed.target.path_and_query().cloned(),
            authority: None,
        };
        let framing = framing::of_request(parsed.version, &parsed.headers)?;
        let (mut head, persistence) =
            convert::request(parsed, framing != Framing::Length(0), &self.connection)?;
        if head.version == Version::HTTP_11 {
            head.interim = Some(self.interim.clone());
        }
        Ok((head, framing, persistence))
    }

    /// The exchange's answer; `None`: the client went away, and the exchange with it.
    async fn answer(&mut self, head: RequestHead, body: Body) -> Option<Answer> {
        // Boxed, so that a connection without a request does not keep the room for one.
        let connection = self.connection.clone();
        let mut answering = Box::pin(async move { exchange::serve(&connection, head, body).await });
        let wire = &self.wire;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            let mut wire = wire.borrow_mut();
            let broken = matches!(wire.poll_flush(cx), Poll::Ready(Err(_)));
            if broken || poll_gone(&mut wire, cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Answers a head that cannot be served, and began with `bytes`; what follows it cannot be trusted either.
    async fn refuse(&mut self, refusal: Refusal, seen: Glimpse, bytes: &[u8]) -> End {
        if !parse::is_http(bytes) {
            self.connection.count_protocol_error(true);
            return End::Closed { linger: true }; // an answer would be noise to whatever is spoken there
        }
        let answer = exchange::refuse_seen(&self.connection, refusal, seen);
        let asked = Asked {
            method: Method::GET,
            version: Version::HTTP_11,
            keep_alive: false,
            expects_continue: false,
        };
        match self.respond(answer, asked).await {
            Err(End::Gone) => End::Gone,
            _ => End::Closed { linger: true },
        }
    }

    /// Writes an answer; `Ok`: another request may follow.
    async fn respond(&mut self, answer: Answer, asked: Asked) -> Result<(), End> {
        let Answer { head, body, tunnel } = answer;
        let framing = framing_of(&head, &body, &asked, tunnel.is_some());
        let unread = {
            let wire = self.wire.borrow(); // also after content that broke off: nothing else will come
            let skippable =
                !asked.expects_continue && wire.decoder.remaining().is_some_and(|left| left <= SKIP);
            wire.closed || (wire.abandoned && !skippable)
        };
        let keep_alive = asked.keep_alive
            && !unread
            && head.status != StatusCode::REQUEST_TIMEOUT // the rest of the request would not come either
            && framing != Some(Framing::UntilClose)
            && !self.connection.is_draining();
        self.write_head(&head, framing, &asked, keep_alive, tunnel.is_some());
        self.write_body(Upload::new(body, framing)).await?;
        match tunnel {
            Some(tunnel) => Err(End::Tunnel(Box::new(tunnel))),
            None if keep_alive => self.skip_content(&asked).await,
            None => Err(End::Closed { linger: self.wire.borrow().has_unread() }),
        }
    }

    fn write_head(
        &self,
        head: &ResponseHead,
        framing: Option<Framing>,
        asked: &Asked,
        keep_alive: bool,
        tunnel: bool,
    ) {
        let mut wire = self.wire.borrow_mut();
        let out = wire.output.small();
        encode::status_line(out, head.status);
        encode::fields(out, &head.headers, &head.original_case, None);
        match framing {
            Some(framing) => encode::framing(out, framing),
            // The length that the answer to GET would have.
            None if head.status == StatusCode::NOT_MODIFIED
                || (asked.method == Method::HEAD && head.status != StatusCode::NO_CONTENT) =>
            {
                if let Some(length) = encode::announced(&head.headers) {
                    encode::framing(out, Framing::Length(length));
                }
            }
            None => {}
        }
        // A tunnel takes the connection anyway, and 101 says `connection: upgrade`.
        if !keep_alive && !tunnel {
            encode::field(out, b"connection", b"close");
        } else if asked.version == Version::HTTP_10 && !tunnel {
            encode::field(out, b"connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes what waits, and the body.
    async fn write_body(&mut self, mut upload: Upload) -> Result<(), End> {
        let stall = self.connection.limits().stream_idle_timeout;
        let (wire, timer, connection) = (&self.wire, &mut self.timer, &self.connection);
        let mut stalled: Option<(u64, Instant)> = None;
        poll_fn(|cx| {
            loop {
                let mut pending = false;
                while !upload.has_ended() && !pending && wire.borrow().output.has_room() {
                    match upload.poll_frame(cx) {
                        Poll::Pending => pending = true,
                        Poll::Ready(frame) => {
                            let written = upload.write(frame, &mut wire.borrow_mut().output);
                            if let Err(error) = written {
                                tracing::debug!(peer = %connection.peer(), %error, "response ended early");
                                // What there is of it goes out, so that the client sees it cut and not missing.
                                let _ = wire.borrow_mut().poll_flush(cx);
                                return Poll::Ready(Err(End::Gone));
                            }
                        }
                    }
                }
                let mut wire = wire.borrow_mut();
                match wire.poll_flush(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                    Poll::Ready(Ok(())) if upload.has_ended() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if pending => {
                        return match poll_gone(&mut wire, cx) {
                            Poll::Ready(()) => Poll::Ready(Err(End::Gone)),
                            Poll::Pending => Poll::Pending,
                        };
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Pending => {
                        let written = wire.output.written();
                        let since = match stalled {
                            Some((before, since)) if before == written => since,
                            _ => stalled.insert((written, Instant::now())).1,
                        };
                        if !stall.is_zero() && timer.poll(since + stall, cx).is_ready() {
                            tracing::debug!(peer = %connection.peer(), "the client takes nothing");
                            connection.end_for(Fault::Idle);
                            return Poll::Ready(Err(End::Gone));
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }

    /// Reads over the rest of the request that was answered, so that the next one can be found.
    async fn skip_content(&mut self, asked: &Asked) -> Result<(), End> {
        let left = match self.wire.borrow().decoder.remaining() {
            Some(0) => return Ok(()),
            Some(left) if left <= SKIP && !asked.expects_continue => left,
            _ => return Err(End::Closed { linger: true }),
        };
        let mut rest = Wire::begin_message(&self.wire, Decoder::new(Framing::Length(left)));
        let (timer, until) =
            (&mut self.timer, Instant::now() + self.connection.limits().request_headers_timeout);
        poll_fn(|cx| {
            loop {
                match Pin::new(&mut rest).poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(End::Gone)),
                    Poll::Pending => return timer.poll(until, cx).map(|()| Err(End::Gone)),
                }
            }
        })
        .await
    }

    async fn close(self, linger: bool) {
        let Some(mut stream) = self.wire.borrow_mut().take_stream() else { return };
        let discard = async {
            if stream.shutdown().await.is_err() || !linger {
                return;
            }
            let (mut buffer, mut left) = (vec![0; 4 << 10], LINGER_BYTES);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                left = left.saturating_sub(read);
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, discard).await; // either way it is gone now, if the client takes nothing, too
    }
}

/// What waiting for a head comes to.
enum Head {
    Whole(bytes::Bytes),
    Refused(Refusal),
    /// Nothing came for too long, or the proxy drains.
    Idle,
    Gone,
}

/// Empty lines before a request are no request (RFC 9112 section 2.2).
fn skip_empty_lines(wire: &mut Wire) {
    while wire.input.starts_with(b"\r\n") {
        bytes::Buf::advance(&mut wire.input, 2);
    }
}

/// Ready when the client closes while its answer is awaited. Its next requests are read, a little ahead.
fn poll_gone(wire: &mut Wire, cx: &mut Context<'_>) -> Poll<()> {
    if wire.closed {
        return Poll::Ready(());
    }
    if !wire.decoder.is_done() {
        wire.watch(cx);
        return Poll::Pending;
    }
    if !wire.input.is_empty() {
        return Poll::Pending;
    }
    match wire.poll_read_head(cx) {
        Poll::Ready(Ok(read)) if read > 0 => Poll::Pending,
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    }
}

/// How the answer's end is marked; `None`: it has no content and says so by itself.
fn framing_of(head: &ResponseHead, body: &Body, asked: &Asked, tunnel: bool) -> Option<Framing> {
    if tunnel || asked.method == Method::HEAD || framing::has_no_content(head.status) {
        return None;
    }
    let length = body.size_hint().exact().or_else(|| encode::announced(&head.headers));
    Some(match length {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    })
}

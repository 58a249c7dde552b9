//! The server's side: requests from a client, one after the other, and their answers.
//!
//! Invariants: a request is served only after the answer to the one before it was written; a head that stalls is answered
//! 408 and closed, an idle connection is closed in silence; no byte behind a request leaves before its answer allows it.
//! Not here: how answers are written (`respond`), whether the client still waits for them (`presence`).
//! Read: [`serve`] -> [`Server::next_head`] -> [`Server::request`] -> [`Server::answer`].

use super::{
    convert::{self, Persistence},
    decode::Decoder,
    encode,
    framing::{self, Framing},
    linger,
    names::Seen,
    parse,
    presence::{self, Probe},
    respond::Asked,
    wire::Wire,
};
use crate::{
    codec::{Answer, Body, Duplex, Interim, RequestHead, ResponseHead, Stream, Tunnel, timer::Timer},
    error::Refusal,
    exchange::{self, Glimpse},
    listener::Connection,
    turn,
};
use http::{Method, Version};
use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};
use tokio::time::Instant;

/// Serves one connection until it ends.
pub async fn serve(stream: Stream, connection: Rc<Connection>) {
    let wire = Rc::new(RefCell::new(Wire::new(stream)));
    let interim = interim(&wire);
    let mut server = Server { wire, connection, interim, timer: Timer::default() };
    let ended = server.run().await;
    let stream = server.wire.borrow_mut().take_stream();
    drop(server);
    let Some(stream) = stream else { return };
    match ended {
        End::Gone => {}
        End::Idle => linger::close(stream, false).await,
        End::Closed => linger::close(stream, true).await,
        End::Tunnel(tunnel) => tunnel.run(Duplex::Stream(stream)).await,
    }
}

/// Writes 1xx heads between a request and its answer.
fn interim(wire: &Rc<RefCell<Wire>>) -> Interim {
    let wire = Rc::downgrade(wire);
    Interim::By(Rc::new(move |head: ResponseHead| {
        let Some(wire) = wire.upgrade() else { return };
        let mut wire = wire.borrow_mut();
        let out = wire.output.small();
        encode::status_line(out, head.status);
        encode::fields(out, &head.headers, &head.original_case, None);
        out.extend_from_slice(b"\r\n");
        // The connection's task flushes after it has polled the exchange, which called this.
    }))
}

pub(super) struct Server {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) connection: Rc<Connection>,
    interim: Interim,
    pub(super) timer: Timer,
}

/// A request that was read: its head, what its answer depends on, its content.
type Begun = (Box<RequestHead>, Asked, Body);

/// How a connection ends.
pub(super) enum End {
    /// The client is gone.
    Gone,
    /// By us, with nothing under way.
    Idle,
    /// By us, after an answer.
    Closed,
    /// It belongs to a tunnel.
    Tunnel(Box<Tunnel>),
}

impl Server {
    async fn run(&mut self) -> End {
        let connection = self.connection.clone();
        let mut drained = pin!(connection.drained());
        loop {
            let waits_already = !self.wire.borrow().input.is_empty();
            let found = self.next_head(drained.as_mut()).await;
            if let Head::Whole(head) = &found
                && waits_already
            {
                turn::take_pipelined(head.len()).await;
            }
            let step = match found {
                // Boxed, so that a connection without a request does not keep the room for one.
                Head::Whole(head) => Box::pin(self.request(head)).await,
                Head::Refused(refusal) => {
                    let bytes = self.wire.borrow_mut().input.split().freeze();
                    Err(Box::pin(self.refuse(refusal, Glimpse::default(), &bytes)).await)
                }
                Head::Idle => Err(End::Idle),
                Head::Gone => {
                    self.wire.borrow_mut().take_leave();
                    Err(End::Gone)
                }
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
                match scanner.end(&wire.input) {
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
                        let bounded = !idle_timeout.is_zero();
                        let expired = bounded && timer.poll(waiting_since + idle_timeout, cx).is_ready();
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
        let (read, asked, body) = match self.begin(&head) {
            Ok(begun) => begun,
            Err(refused) => return Err(Box::pin(self.refuse(refused.0, refused.1, &head)).await),
        };
        drop(head);
        match self.answer(read, asked.version, body).await {
            None => Err(End::Gone),
            Some(answer) => self.respond(answer, asked).await,
        }
    }

    /// What is known of a request before anything is waited for; or why it is refused, and what is known of it then.
    fn begin(&self, head: &bytes::Bytes) -> Result<Begun, Box<(Refusal, Glimpse)>> {
        let mut seen = Glimpse::default();
        let (head, framing, persistence) =
            self.read(head, &mut seen).map_err(|refusal| Box::new((refusal, seen)))?;
        let asked = Asked {
            method: head.method.clone(),
            version: head.version,
            keep_alive: persistence.keep_alive,
            expects_continue: persistence.expects_continue,
        };
        Ok((Box::new(head), asked, Wire::begin_message(&self.wire, Decoder::new(framing))))
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
        let framing = match parsed.seen.has(Seen::FRAMING) {
            true => framing::of_request(parsed.version, &parsed.headers)?,
            false => Framing::Length(0),
        };
        let (mut head, persistence) =
            convert::request(parsed, framing != Framing::Length(0), &self.connection)?;
        if head.version == Version::HTTP_11 {
            head.interim = Some(self.interim.clone());
        }
        Ok((head, framing, persistence))
    }

    /// The exchange's answer; `None`: the client went away, and the exchange with it.
    async fn answer(&mut self, head: Box<RequestHead>, version: Version, body: Body) -> Option<Answer> {
        let mut probe = Probe::of(version);
        let mut answering = pin!(exchange::serve(&self.connection, head, body));
        let (wire, timer) = (&self.wire, &mut self.timer);
        let answer = presence::while_there(wire, |cx| {
            if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            let mut wire = wire.borrow_mut();
            probe.poll(&mut wire, timer, cx);
            match wire.poll_flush(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(None),
                _ => Poll::Pending,
            }
        });
        answer.await.flatten()
    }

    /// Answers a head that cannot be served, and began with `bytes`; what follows it cannot be trusted either.
    async fn refuse(&mut self, refusal: Refusal, seen: Glimpse, bytes: &[u8]) -> End {
        if !parse::is_http(bytes) {
            self.connection.count_protocol_error();
            return End::Closed; // an answer would be noise to whatever is spoken there
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
            _ => End::Closed,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec::ResponseHead, exchange::Record};

    fn of_connection<R>(_: impl FnOnce(Stream, Rc<Connection>) -> R) -> usize {
        size_of::<R>()
    }

    fn of_request<'a, R>(_: impl FnOnce(&'a mut Server, bytes::Bytes) -> R) -> usize {
        size_of::<R>()
    }

    fn of_exchange<'a, R>(_: impl FnOnce(&'a Rc<Connection>, Box<RequestHead>, Body) -> R) -> usize {
        size_of::<R>()
    }

    /// A connection that waits keeps the first two; a request also the others, and moves the last two about. Who makes them larger makes
    /// every connection or every request dearer: box what is rare.
    #[test]
    fn connections_and_requests_take_little_room() {
        let sizes = [
            ("a connection's task", of_connection(serve), 1024),
            ("its wire", size_of::<Wire>(), 400),
            ("a request", of_request(Server::request), 3904),
            ("its exchange", of_exchange(exchange::serve::<Box<RequestHead>>), 3136),
            ("its record", size_of::<Record>(), 560),
            ("its answer", size_of::<Answer>(), 200),
            ("a head", size_of::<ResponseHead>(), 112),
        ];
        let large: Vec<_> = sizes.iter().filter(|(_, size, most)| size > most).collect();
        assert!(large.is_empty(), "{large:?} of {sizes:?}");
    }
}

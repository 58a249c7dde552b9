//! The server's side: requests from a client, one after the other, and their answers.
//!
//! Invariants: a request is served only after the answer to the one before it was written; a head that stalls is answered
//! 408 and closed, an idle connection is closed in silence; no byte behind a request leaves before its answer allows it.
//! Not here: how answers are written (`respond`), whether the client still waits for them (`presence`).
//! Read: [`serve`] -> [`Server::next_head`] -> [`Server::request`] -> [`Server::answer`].

use super::{
    convert::{self, Persistence},
    decode::Decoder,
    framing::{self, Framing},
    interim::InterimSender,
    linger,
    names::Seen,
    parse,
    presence::{self, Probe},
    respond::Asked,
    resting::Resting,
    wire::Wire,
};
use crate::{
    codec::{
        Answer, Body, Duplex, Interim, RequestHead, Stream, Tunnel,
        timer::{self, Timer},
    },
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
    task::{Context, Poll},
    time::Duration,
};
use tokio::{task::coop, time::Instant};

/// How long the room of a request is kept for the next one, or a little longer.
const REST: Duration = Duration::from_millis(100);

/// Serves one connection until it ends. No `async fn`: it would have room for `stream` for as long.
pub fn serve(stream: Stream, connection: Rc<Connection>) -> impl Future<Output = ()> {
    let wire = Rc::new(RefCell::new(Wire::new(stream)));
    let mut server = Server { wire, connection, timer: Timer::default(), resting_since: None };
    async move {
        let ended = server.run().await;
        if let Some(stream) = server.leave() {
            ended.with(stream).await;
        }
    }
}

pub(super) struct Server {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) connection: Rc<Connection>,
    pub(super) timer: Timer,
    /// Since when the client has sent nothing, where that is longer than the wait.
    resting_since: Option<Instant>,
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

impl End {
    /// Does what is left to do with the stream.
    async fn with(self, stream: Stream) {
        // Boxed, so that connections do not keep the room for their ends.
        match self {
            End::Gone => {}
            End::Idle => Box::pin(linger::close(stream, false)).await,
            End::Closed => Box::pin(linger::close(stream, true)).await,
            End::Tunnel(tunnel) => Box::pin(tunnel.run(Duplex::Stream(stream))).await,
        }
    }
}

impl Server {
    async fn run(&mut self) -> End {
        let connection = self.connection.clone();
        let mut drained = Drained { ends: pin!(connection.drained()), told: None };
        loop {
            drained.told = None; // who rests has asked, and will be woken
            // Boxed, so that a connection without a request does not keep the room for one.
            let requests = match self.next(&mut drained, Until::End).await {
                Ok(Some(head)) => Box::pin(self.requests(head, &mut drained)),
                Ok(None) => continue,
                Err(end) => return end,
            };
            if let Err(end) = requests.await {
                return end;
            }
        }
    }

    /// Lets go of all but the stream.
    fn leave(self) -> Option<Stream> {
        let mut wire = self.wire.borrow_mut();
        let stream = wire.take_stream();
        wire.rest(); // its buffers are the next one's
        stream
    }

    /// Serves requests for as long as they follow one another, in the same room.
    async fn requests(
        &mut self,
        first: bytes::Bytes,
        drained: &mut Drained<'_, impl Future<Output = ()>>,
    ) -> Result<(), End> {
        let mut next = Some(first);
        while let Some(head) = next {
            self.request(head).await?;
            let Some(_resting) = Resting::begin() else { break };
            next = self.next(drained, Until::Rest).await?;
        }
        Ok(())
    }

    /// The next request's head; `None` if it has not begun in the time for that.
    async fn next(
        &mut self,
        drained: &mut Drained<'_, impl Future<Output = ()>>,
        until: Until,
    ) -> Result<Option<bytes::Bytes>, End> {
        let waits_already = !self.wire.borrow().input.is_empty();
        // Nothing is waited for in this `match`: a connection that waits for a head would have room for it twice.
        let head = match self.next_head(drained, until).await {
            Head::Whole(head) => Ok(head),
            Head::Refused(refusal) => Err(refusal),
            Head::Rests => return Ok(None),
            Head::Idle => return Err(End::Idle),
            Head::Gone => {
                self.wire.borrow_mut().take_leave();
                return Err(End::Gone);
            }
        };
        let head = match head {
            Ok(head) => head,
            Err(refusal) => {
                let bytes = self.wire.borrow_mut().input.split().freeze();
                return Err(Box::pin(self.refuse(refusal, Glimpse::default(), &bytes)).await);
            }
        };
        if waits_already {
            turn::take_pipelined(head.len()).await;
        }
        Ok(Some(head))
    }

    /// Waits for the next request's head. No `async fn`, as it is here that connections are idle: what it knows is in [`Waiting`].
    fn next_head(
        &mut self,
        drained: &mut Drained<'_, impl Future<Output = ()>>,
        until: Until,
    ) -> impl Future<Output = Head> {
        let since = self.resting_since.take().unwrap_or_else(Instant::now);
        self.wire.borrow_mut().rest();
        let mut waiting = Waiting { since, until, silent: true, waited: false, scanner: Default::default() };
        poll_fn(move |cx| self.poll_head(&mut waiting, drained, cx))
    }

    fn poll_head(
        &mut self,
        waiting: &mut Waiting,
        drained: &mut Drained<'_, impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> Poll<Head> {
        let max = self.connection.limits().max_request_headers_bytes as usize;
        let mut wire = self.wire.borrow_mut();
        let mut heard = false;
        loop {
            heard |= !wire.input.is_empty(); // empty lines begin a head, too, if only for the clock
            if skip_empty_lines(&mut wire) {
                waiting.scanner = parse::LineScanner::default();
            }
            match waiting.scanner.end(&wire.input) {
                Ok(Some(end)) if end <= max => {
                    return Poll::Ready(Head::Whole(wire.input.split_to(end).freeze()));
                }
                Ok(None) if wire.input.len() <= max => {}
                Ok(_) if waiting.scanner.has_first_line() => {
                    return Poll::Ready(Head::Refused(Refusal::HeadTooLarge));
                }
                Ok(_) => return Poll::Ready(Head::Refused(Refusal::UriTooLong)),
                Err(parse::BareLineEnd) => {
                    return Poll::Ready(Head::Refused(Refusal::BadRequest("a line ends without CR")));
                }
            }
            match wire.poll_read_head(cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Head::Gone),
                Poll::Pending => break,
            }
        }
        drop(wire);
        if heard && waiting.silent {
            (waiting.silent, waiting.since) = (false, Instant::now());
        }
        if waiting.silent {
            return self.poll_silence(waiting, drained, cx);
        }
        let head_timeout = self.connection.limits().request_headers_timeout;
        self.timer.poll(waiting.since + head_timeout, cx).map(|()| Head::Refused(Refusal::HeadTimeout))
    }

    /// While nothing of a head has come.
    fn poll_silence(
        &mut self,
        waiting: &mut Waiting,
        drained: &mut Drained<'_, impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> Poll<Head> {
        let idle = Some(self.connection.limits().connection_idle_timeout).filter(|time| !time.is_zero());
        let rests = waiting.until == Until::Rest && idle.is_none_or(|idle| REST < idle);
        let until = match rests {
            true => Some(timer::together(waiting.since + REST)),
            false => idle.map(|time| waiting.since + time),
        };
        let expired = until.is_some_and(|until| self.timer.poll(until, cx).is_ready());
        if expired && rests {
            self.resting_since = Some(waiting.since);
            return Poll::Ready(Head::Rests);
        }
        let woken = std::mem::replace(&mut waiting.waited, true);
        if expired || drained.poll(&self.connection, woken, cx).is_ready() {
            return Poll::Ready(Head::Idle);
        }
        Poll::Pending
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
            head.interim = Some(Interim::Http1(InterimSender::new(&self.wire)));
        }
        Ok((head, framing, persistence))
    }

    /// The exchange's answer; `None`: the client went away, and the exchange with it.
    async fn answer(&mut self, head: Box<RequestHead>, version: Version, body: Body) -> Option<Box<Answer>> {
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

/// The end of a connection that drains, for the waits between its requests. Those are many, and it comes once: it is asked when it may
/// have woken the task, which it does even while nobody asks.
struct Drained<'a, F> {
    ends: Pin<&'a mut F>,
    /// How often the listener's connections had been told when it was asked last.
    told: Option<u32>,
}

impl<F: Future<Output = ()>> Drained<'_, F> {
    /// Ready when the connection is to end. `woken`: not by the request before this wait.
    fn poll(&mut self, connection: &Connection, woken: bool, cx: &mut Context<'_>) -> Poll<()> {
        let told = Some(connection.times_told());
        if !woken && self.told == told && !connection.is_over() {
            return Poll::Pending;
        }
        // Whoever asks when his turn is over is not heard, and comes again.
        if coop::has_budget_remaining() {
            self.told = told;
        }
        self.ends.as_mut().poll(cx)
    }
}

/// How long a head is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// For a while.
    Rest,
    /// For as long as the connection may be idle.
    End,
}

/// A wait for a head.
struct Waiting {
    /// Since when nothing has come, or something has.
    since: Instant,
    until: Until,
    /// Nothing has come.
    silent: bool,
    /// Not only just begun.
    waited: bool,
    scanner: parse::LineScanner,
}

/// What waiting for a head comes to.
enum Head {
    Whole(bytes::Bytes),
    Refused(Refusal),
    /// Nothing has come for a while.
    Rests,
    /// Nothing came for too long, or the proxy drains.
    Idle,
    Gone,
}

/// Empty lines before a request are no request (RFC 9112 section 2.2).
fn skip_empty_lines(wire: &mut Wire) -> bool {
    let mut any = false;
    while wire.input.starts_with(b"\r\n") {
        bytes::Buf::advance(&mut wire.input, 2);
        any = true;
    }
    any
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

    /// A connection that waits keeps the first three; a request also the others, and moves the last two about. Who makes them larger makes
    /// every connection or every request dearer: box what is rare.
    #[test]
    fn connections_and_requests_take_little_room() {
        let sizes = [
            ("a connection's task", of_connection(serve), 328),
            ("its wire", size_of::<Wire>(), 352),
            ("what is known of it", size_of::<Connection>(), 304),
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

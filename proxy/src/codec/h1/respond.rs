//! Answers on their way to a client.
//!
//! Invariants: a client that takes nothing of its answer is dropped; after an answer whose request was not read whole, the
//! connection ends; an answer that breaks off does not look whole.
//! Read: [`Server::respond`].

use super::{
    decode::Decoder,
    encode,
    framing::{self, Framing},
    incoming::Uploading,
    linger, presence,
    server::{End, Server},
    upload::Upload,
    wire::Wire,
};
use crate::{
    codec::{Answer, Body, ResponseHead, Stream, timer::Stall},
    listener::Fault,
};
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use sidle_fields::spare;
use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::Instant;

/// A body that the application did not want is read over if it is no longer than this; else the connection ends.
const SKIP: u64 = 64 << 10;

/// What must be known of a request to answer it.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

impl Server {
    /// Writes an answer; `Ok`: another request may follow.
    pub(super) async fn respond(&mut self, answer: Box<Answer>, asked: Asked) -> Result<(), End> {
        let Answer { head, body, upload, tunnel } = *answer;
        let framing = framing_of(&head, &body, &asked, tunnel.is_some());
        if asked.keep_alive {
            presence::look(&self.wire);
        }
        let unread = {
            let wire = self.wire.borrow(); // also after content that broke off: nothing else will come
            let skippable = wire.decoder.remaining().is_some_and(|left| left <= SKIP);
            // Who was not told to continue may send the rest, or the next request.
            let unsure = asked.expects_continue && !wire.decoder.is_done();
            wire.closed || wire.heard_all() || unsure || !skippable
        };
        let keep_alive = asked.keep_alive
            && !unread
            && head.status != StatusCode::REQUEST_TIMEOUT // the rest of the request would not come either
            && framing != Some(Framing::UntilClose)
            && !self.connection.is_draining();
        self.write_head(&head, framing, &asked, keep_alive, tunnel.is_some());
        spare::give_back(head.headers);
        drop(head.original_case); // what the head was read into is free again
        if framing == Some(Framing::UntilClose) {
            self.wire.borrow().stream().into_iter().for_each(linger::end_by_reset);
        }
        let ends = !keep_alive && tunnel.is_none();
        self.write_body(Upload::new(body, framing), upload.as_ref(), ends).await?;
        if framing == Some(Framing::UntilClose) {
            self.wire.borrow().stream().into_iter().for_each(linger::end_by_fin);
        }
        match tunnel {
            Some(tunnel) => Err(End::Tunnel(tunnel)),
            None if keep_alive => self.skip_content().await,
            None => Err(End::Closed),
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

    /// Writes what waits, and the body. `beside` is what goes the other way meanwhile; `ends`: the connection ends behind it.
    async fn write_body(
        &mut self,
        mut upload: Upload,
        beside: Option<&Uploading>,
        ends: bool,
    ) -> Result<(), End> {
        let (wire, timer, connection) = (&self.wire, &mut self.timer, &self.connection);
        let mut stall = Stall::new(connection.limits().stream_idle_timeout);
        let mut silence = Stall::new(presence::SILENCE);
        let mut cut = false;
        let written = presence::while_there(wire, |cx| {
            loop {
                let mut pending = false;
                while !upload.has_ended()
                    && !pending
                    && !cut
                    && (upload.has_little_left() || may_take(wire, beside, cx))
                {
                    match upload.poll_frame(cx) {
                        Poll::Pending => pending = true,
                        Poll::Ready(frame) => {
                            let written = upload.write(frame, &mut wire.borrow_mut().output);
                            if let Err(error) = written {
                                tracing::debug!(peer = %connection.peer(), %error, "response ended early");
                                cut = true;
                            }
                        }
                    }
                }
                let mut wire = wire.borrow_mut();
                if ends && upload.has_ended() {
                    wire.stream().into_iter().for_each(Stream::is_about_to_end);
                }
                match wire.poll_flush(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                    // What there is of it went out, so that the client sees it cut and not missing.
                    Poll::Ready(Ok(())) if cut => return Poll::Ready(Err(End::Gone)),
                    Poll::Ready(Ok(())) if upload.has_ended() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if pending => {
                        // Nothing can be written that would tell whether a client that sent FIN is there.
                        let silent = wire.has_ended() && silence.poll(wire.moved(), timer, cx).is_ready();
                        return if silent { Poll::Ready(Err(End::Gone)) } else { Poll::Pending };
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Pending => {
                        if stall.poll(wire.moved(), timer, cx).is_ready() {
                            tracing::debug!(peer = %connection.peer(), "the client takes nothing");
                            connection.end_for(Fault::Idle);
                            return Poll::Ready(Err(End::Gone));
                        }
                        return Poll::Pending;
                    }
                }
            }
        });
        written.await.unwrap_or(Err(End::Gone))
    }

    /// Reads over the rest of the request that was answered, so that the next one can be found.
    async fn skip_content(&mut self) -> Result<(), End> {
        let left = match self.wire.borrow().decoder.remaining() {
            Some(0) => return Ok(()),
            Some(left) if left <= SKIP => left,
            _ => return Err(End::Closed),
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
}

/// Whether the answer's next frame can be taken; if not, what goes `beside` it goes on. The request's content is read from this
/// wire, too.
fn may_take(wire: &RefCell<Wire>, beside: Option<&Uploading>, cx: &mut Context<'_>) -> bool {
    wire.borrow().output.has_room() || beside.is_some_and(|beside| beside.poll(cx).is_ready())
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

//! The response's body on its way down: it counts, it has a deadline, and when it ends the exchange is accounted for.

use super::{
    Exchange,
    attempt::{Hold, Response},
    idle::IdleTimer,
    reply,
    send::{self, Lease},
};
use crate::codec::{
    Answer, Body, BodyError, Tunnel,
    h1::framing::has_no_content,
    tunnel::{Meter, RelayEnd, Relayed},
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use sidle_balance::Seen;
use sidle_telemetry::ResponseFlags;
use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::time::Instant;

/// The answer for an upstream's response; accounting moves into its body.
pub fn answer(mut exchange: Box<Exchange>, response: Box<Response>) -> Box<Answer> {
    let Response { head, body, lease, upgraded, client, timeout, hold } = *response;
    exchange.record.grpc_status = reply::grpc_status(head.headers.get(&reply::GRPC_STATUS));
    exchange.compared.iter_mut().for_each(|side| side.begin(head.status));
    if let Some((upstream, idle_timeout)) = upgraded {
        exchange.drop_permit(); // a tunnel may be open for days, and be idle
        let record = &mut exchange.record;
        if let (Some((_, wanted)), Some(captured)) = (&record.snapshot.access_log, &mut record.captured) {
            wanted.keep_little(captured);
        }
        let meter = Rc::<Meter>::default();
        exchange.tunnel = Some(meter.clone());
        let tunnel = Tunnel::new(upstream, idle_timeout, meter, move |relayed| {
            drop((lease, hold));
            exchange.finish_tunnel(relayed);
        });
        return Box::new(Answer { head, body: client, upload: None, tunnel: Some(Box::new(tunnel)) });
    }
    // HTTP/2 may end a response without content a frame later.
    let bare = exchange.record.method == Some(http::Method::HEAD) || has_no_content(head.status);
    if bare || body.is_end_stream() {
        let now = Instant::now();
        lease.give_back(now);
        drop(hold);
        exchange.finish(now);
        return Box::new(Answer { head, body: Body::Empty, upload: None, tunnel: None });
    }
    let limit = exchange.connection.limits().stream_idle_timeout;
    let idle = IdleTimer::new(limit).filter(|_| !exchange.record.grpc);
    let progress = exchange.request_body.clone();
    let deadline = timeout.map(|(from, timeout)| {
        Box::pin(async move { progress.deadline(from, timeout).await }) as Pin<Box<dyn Future<Output = ()>>>
    });
    let whole = Whole { exchange, lease, _hold: hold };
    let upload = body.upload();
    let body = ResponseBody { body, whole: Some(whole), deadline, idle };
    Box::new(Answer { head, body: Body::Watched(Box::pin(body)), upload, tunnel: None })
}

/// What ends with the last byte.
struct Whole {
    exchange: Box<Exchange>,
    lease: Lease,
    _hold: Hold,
}

struct ResponseBody {
    body: Body,
    /// Gone once the body has ended.
    whole: Option<Whole>,
    deadline: Option<Pin<Box<dyn Future<Output = ()>>>>,
    idle: Option<IdleTimer>,
}

impl ResponseBody {
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(BodyError::Deadline);
        }
        match (&mut self.idle, &self.whole) {
            (Some(idle), Some(whole)) => {
                idle.poll(&whole.exchange.request_body, cx).map(|()| BodyError::Idle)
            }
            _ => Poll::Pending,
        }
    }

    fn seen(&mut self, frame: &Frame<Bytes>, now: Instant) {
        let Some(whole) = &mut self.whole else { return };
        whole.exchange.compared.iter_mut().for_each(|side| side.see(frame));
        if let Some(data) = frame.data_ref() {
            whole.exchange.request_body.touch(now);
            let record = &mut whole.exchange.record;
            record.bytes_sent += data.len() as u64;
            if record.grpc {
                record.response_messages.see(data);
            }
        }
        if let Some(trailers) = frame.trailers_ref() {
            whole.exchange.see_trailers(trailers);
        }
    }

    fn ended(&mut self, now: Instant) {
        if let Some(Whole { exchange, lease, _hold }) = self.whole.take() {
            lease.give_back(now);
            exchange.finish(now);
        }
    }

    fn failed(&mut self, error: BodyError) {
        if let Some(Whole { mut exchange, .. }) = self.whole.take() {
            exchange.compared.clear();
            if let Some(error) = exchange.request_body.failed() {
                exchange.note(&send::client_failure(error)); // the upstream only ended what the client had broken off
            } else {
                exchange.note_broken(error);
            }
            exchange.finish(Instant::now());
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => match this.poll_limits(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(error) => Some(Err(error)),
            },
        };
        this.idle.iter_mut().for_each(IdleTimer::moved);
        match &frame {
            Some(Ok(frame)) => {
                let now = Instant::now();
                this.seen(frame, now);
                if this.body.is_end_stream() || frame.is_trailers() {
                    this.ended(now);
                }
            }
            Some(Err(error)) => this.failed(*error),
            None => this.ended(Instant::now()),
        }
        Poll::Ready(frame)
    }

    /// Not before it is accounted for. HTTP/2 may end it without another frame: then it is to be read once more.
    fn is_end_stream(&self) -> bool {
        self.whole.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Exchange {
    /// Notes why the response ended early.
    fn note_broken(&mut self, error: BodyError) {
        let (flag, details) = match error {
            BodyError::Deadline => (ResponseFlags::UT, "response_timeout"),
            BodyError::Idle => (ResponseFlags::SI, "stream_idle_timeout"),
            BodyError::Reset(_) => (ResponseFlags::UR, "upstream_reset_after_response_started{remote_reset}"),
            BodyError::Malformed => {
                (ResponseFlags::UPE, "upstream_reset_after_response_started{protocol_error}")
            }
            BodyError::Closed => {
                (ResponseFlags::UC, "upstream_reset_after_response_started{connection_termination}")
            }
        };
        match (error, &self.destination) {
            (BodyError::Deadline, Some((cluster, _))) => cluster.metrics.timed_out(),
            (BodyError::Idle, _) => {}
            (_, Some((cluster, Some(endpoint)))) => cluster.report(endpoint, Seen::Failure),
            _ => {}
        }
        self.fail_permit(error == BodyError::Deadline);
        self.record.flags |= flag;
        self.record.details = details.into();
    }

    fn see_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = reply::grpc_status(trailers.get(&reply::GRPC_STATUS)) {
            self.record.grpc_status = Some(status);
        }
        if let Some((_, wanted)) = &self.record.snapshot.access_log {
            wanted.capture_trailers(trailers, &mut self.record.captured);
        }
    }

    fn finish_tunnel(mut self: Box<Self>, relayed: Relayed) {
        self.record.flags |= relay_flags(relayed.end);
        self.finish(Instant::now());
    }
}

/// The flag of bytes both ways that ended early.
pub fn relay_flags(end: Option<RelayEnd>) -> ResponseFlags {
    match end {
        Some(RelayEnd::Upstream) => ResponseFlags::UC,
        Some(RelayEnd::Client) => ResponseFlags::DC,
        Some(RelayEnd::Idle) => ResponseFlags::SI,
        None => ResponseFlags::NONE,
    }
}

//! The response's body on its way down: it counts, it has a deadline, and when it ends the exchange is accounted for.

use super::{
    Exchange,
    attempt::{Hold, Response},
    reply,
    send::Lease,
};
use crate::codec::{Answer, Body, BodyError, Tunnel, tunnel::RelayEnd, tunnel::Relayed};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use sidle_telemetry::ResponseFlags;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;

/// The answer for an upstream's response; accounting moves into its body.
pub fn answer(mut exchange: Exchange, response: Response) -> Answer {
    let Response { head, body, lease, upgraded, client, timeout, hold } = response;
    exchange.record.grpc_status = reply::grpc_status(&head.headers);
    if let Some(upstream) = upgraded {
        let tunnel = Tunnel::new(upstream, None, move |relayed| {
            drop((lease, hold));
            exchange.finish_tunnel(relayed);
        });
        return Answer { head, body: client, tunnel: Some(tunnel) };
    }
    if body.is_end_stream() {
        lease.give_back();
        drop(hold);
        exchange.finish();
        return Answer { head, body: Body::Empty, tunnel: None };
    }
    let limit = exchange.connection.limits().stream_idle_timeout;
    let idle = (!exchange.record.grpc && !limit.is_zero()).then_some(limit);
    let progress = exchange.request_body.clone();
    let deadline = timeout.map(|(from, timeout)| {
        Box::pin(async move { progress.deadline(from, timeout).await }) as Pin<Box<dyn Future<Output = ()>>>
    });
    let whole = Whole { exchange, lease, _hold: hold };
    let body = ResponseBody { body, whole: Some(whole), deadline, idle, timer: None };
    Answer { head, body: Body::Watched(Box::pin(body)), tunnel: None }
}

/// What ends with the last byte.
struct Whole {
    exchange: Exchange,
    lease: Lease,
    _hold: Hold,
}

struct ResponseBody {
    body: Body,
    /// Gone once the body has ended.
    whole: Option<Whole>,
    deadline: Option<Pin<Box<dyn Future<Output = ()>>>>,
    idle: Option<Duration>,
    /// Armed while the next frame is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(BodyError::Deadline);
        }
        let Some(limit) = self.idle else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| BodyError::Idle)
    }

    fn seen(&mut self, frame: &Frame<Bytes>) {
        let Some(whole) = &mut self.whole else { return };
        if let Some(data) = frame.data_ref() {
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

    fn ended(&mut self) {
        if let Some(Whole { exchange, lease, _hold }) = self.whole.take() {
            lease.give_back();
            exchange.finish();
        }
    }

    fn failed(&mut self, error: BodyError) {
        if let Some(Whole { mut exchange, .. }) = self.whole.take() {
            let (flag, details) = match error {
                BodyError::Deadline => (ResponseFlags::UT, "response_timeout"),
                BodyError::Idle => (ResponseFlags::SI, "stream_idle_timeout"),
                BodyError::Reset(_) => {
                    (ResponseFlags::UR, "upstream_reset_after_response_started{remote_reset}")
                }
                BodyError::Malformed => {
                    (ResponseFlags::UPE, "upstream_reset_after_response_started{protocol_error}")
                }
                BodyError::Closed => {
                    (ResponseFlags::UC, "upstream_reset_after_response_started{connection_termination}")
                }
            };
            exchange.record.flags |= flag;
            exchange.record.details = details.into();
            exchange.finish();
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
        this.timer = None;
        match &frame {
            Some(Ok(frame)) => {
                this.seen(frame);
                if this.body.is_end_stream() || frame.is_trailers() {
                    this.ended();
                }
            }
            Some(Err(error)) => this.failed(*error),
            None => this.ended(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Exchange {
    fn see_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = reply::grpc_status(trailers) {
            self.record.grpc_status = Some(status);
        }
        if let Some((_, wanted)) = &self.snapshot.access_log {
            wanted.capture_trailers(trailers, &mut self.record.captured);
        }
    }

    fn finish_tunnel(mut self, relayed: Relayed) {
        self.record.bytes_sent = relayed.sent;
        self.request_body.count_tunnel(relayed.received);
        match relayed.end {
            Some(RelayEnd::Upstream) => self.record.flags |= ResponseFlags::UC,
            Some(RelayEnd::Client) => self.record.flags |= ResponseFlags::DC,
            Some(RelayEnd::Idle) => self.record.flags |= ResponseFlags::SI,
            None => {}
        }
        self.finish();
    }
}

//! The request's body on its way up: counted and timed.

use super::idle::IdleTimer;
use crate::codec::{Body, BodyError, grpc::MessageCounter};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use sidle_model::ir::Limits;
use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep},
};

/// How far a request's body has come.
#[derive(Default)]
pub struct Progress {
    received: Cell<u64>,
    moved_at: Cell<Option<Instant>>,
    messages: Cell<MessageCounter>,
    completed_at: Cell<Option<Instant>>,
    completed: Notify,
    failed: Cell<Option<BodyError>>,
}

impl Progress {
    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// When a byte last moved, either way.
    pub fn moved_at(&self) -> Option<Instant> {
        self.moved_at.get()
    }

    /// A byte moved, either way.
    pub fn touch(&self, now: Instant) {
        self.moved_at.set(Some(now));
    }

    /// gRPC messages so far; 0 for anything else.
    pub fn messages(&self) -> u64 {
        self.messages.get().count()
    }

    /// When the last byte came.
    pub fn completed_at(&self) -> Option<Instant> {
        self.completed_at.get()
    }

    /// Why it will never come whole.
    pub fn failed(&self) -> Option<BodyError> {
        self.failed.get()
    }

    /// Counts what a tunnel carried from the client.
    pub fn count_tunnel(&self, received: u64) {
        self.received.set(received);
        self.complete(Instant::now());
    }

    fn see(&self, data: &[u8], grpc: bool) {
        self.received.set(self.received.get() + data.len() as u64);
        self.touch(Instant::now());
        if grpc {
            let mut messages = self.messages.get();
            messages.see(data);
            self.messages.set(messages);
        }
    }

    /// The last byte has come.
    pub fn complete(&self, now: Instant) {
        if self.completed_at.get().is_none() {
            self.completed_at.set(Some(now));
            self.completed.notify_waiters();
        }
    }

    /// How much is left of `timeout`, as [`Self::deadline`] counts it: all of it before the last byte has come.
    pub fn left(&self, from: Instant, timeout: Duration) -> Duration {
        let spent = self.completed_at.get().map(|at| at.max(from).elapsed());
        timeout.saturating_sub(spent.unwrap_or_default())
    }

    /// Waits until the request has been received whole, and forwarded (`from`), for `timeout`: Envoy's clock for a route's
    /// timeout. An injected delay comes before `from`.
    pub async fn deadline(&self, from: Instant, timeout: Duration) {
        let completed = match self.completed_at.get() {
            Some(at) => at,
            None => {
                self.completed.notified().await;
                self.completed_at.get().unwrap_or_else(Instant::now)
            }
        };
        tokio::time::sleep_until(completed.max(from) + timeout).await;
    }
}

/// Watches a body of a request that begins `now`.
pub fn watch(body: Body, grpc: bool, progress: &Rc<Progress>, limits: &Limits, now: Instant) -> Body {
    if body.is_end_stream() {
        progress.complete(now);
        return body;
    }
    Body::Watched(Box::pin(Counted {
        body,
        progress: progress.clone(),
        grpc,
        idle: IdleTimer::new(limits.stream_idle_timeout).filter(|_| !grpc),
        whole: limits.request_timeout.map(|limit| (now + limit, None)),
    }))
}

struct Counted {
    body: Body,
    progress: Rc<Progress>,
    grpc: bool,
    idle: Option<IdleTimer>,
    /// When all of it has to be here; the timer is armed once it is waited for.
    whole: Option<(Instant, Option<Pin<Box<Sleep>>>)>,
}

impl Counted {
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        if let Some((deadline, sleep)) = &mut self.whole {
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*deadline)));
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(BodyError::Deadline);
            }
        }
        match &mut self.idle {
            Some(idle) => idle.poll(&self.progress, cx).map(|()| BodyError::Idle),
            None => Poll::Pending,
        }
    }
}

impl HttpBody for Counted {
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
                if let Some(data) = frame.data_ref() {
                    this.progress.see(data, this.grpc);
                }
                if this.body.is_end_stream() {
                    this.progress.complete(Instant::now());
                }
            }
            Some(Err(error)) => this.progress.failed.set(Some(*error)),
            None => this.progress.complete(Instant::now()),
        }
        Poll::Ready(frame)
    }

    /// HTTP/2 may end it without another frame: who asks is the first to know, and does not read on.
    fn is_end_stream(&self) -> bool {
        let ended = self.body.is_end_stream();
        if ended && self.progress.completed_at().is_none() {
            self.progress.complete(Instant::now());
        }
        ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The request's body on its way up: counted and timed.

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
        self.complete();
    }

    fn see(&self, data: &[u8], grpc: bool) {
        self.received.set(self.received.get() + data.len() as u64);
        if grpc {
            let mut messages = self.messages.get();
            messages.see(data);
            self.messages.set(messages);
        }
    }

    /// The last byte has come.
    pub fn complete(&self) {
        if self.completed_at.get().is_none() {
            self.completed_at.set(Some(Instant::now()));
            self.completed.notify_waiters();
        }
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

/// Watches a body.
pub fn watch(body: Body, grpc: bool, progress: &Rc<Progress>, limits: &Limits) -> Body {
    if body.is_end_stream() {
        progress.complete();
        return body;
    }
    let idle = (!grpc).then_some(limits.stream_idle_timeout).filter(|limit| !limit.is_zero());
    Body::Watched(Box::pin(Counted { body, progress: progress.clone(), grpc, idle, timer: None }))
}

struct Counted {
    body: Body,
    progress: Rc<Progress>,
    grpc: bool,
    idle: Option<Duration>,
    /// Armed while the next frame is waited for.
    timer: Option<Pin<Box<Sleep>>>,
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
            Poll::Pending => match this.idle {
                None => return Poll::Pending,
                Some(limit) => {
                    let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    match timer.as_mut().poll(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(()) => Some(Err(BodyError::Idle)),
                    }
                }
            },
        };
        this.timer = None;
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.progress.see(data, this.grpc);
                }
                if this.body.is_end_stream() {
                    this.progress.complete();
                }
            }
            Some(Err(error)) => this.progress.failed.set(Some(*error)),
            None => this.progress.complete(),
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

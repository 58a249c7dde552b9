//! Bodies of answers.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any kind.
pub type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Bytes.
pub fn full(bytes: impl Into<Bytes>) -> ReplyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// So many zero bytes, made as they are sent.
pub fn zeros(count: u64) -> ReplyBody {
    static CHUNK: [u8; 64 << 10] = [0; 64 << 10];
    let chunks = stream::unfold(count, |left| async move {
        let length = left.min(CHUNK.len() as u64);
        let frame = Frame::data(Bytes::from_static(&CHUNK[..length as usize]));
        (length > 0).then_some((Ok::<_, BoxError>(frame), left - length))
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}

/// A body that never says anything.
pub fn silence() -> ReplyBody {
    BodyExt::boxed_unsync(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>()))
}

/// A body that says nothing more, and does not end.
pub fn with_silence(body: ReplyBody) -> ReplyBody {
    let frames = BodyStream::new(body).chain(stream::pending());
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// What came, sent back, and then `trailers`.
pub fn returned(body: hyper::body::Incoming, trailers: Option<HeaderMap>) -> ReplyBody {
    let data = body.map_err(BoxError::from);
    match trailers {
        Some(trailers) => data.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync(),
        None => data.boxed_unsync(),
    }
}

/// Counts an answer that was dropped before its end.
pub(super) struct Watched {
    inner: ReplyBody,
    guard: CancelGuard,
}

/// Counts unless it was disarmed.
pub(super) struct CancelGuard(pub(super) Option<Arc<super::State>>);

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            let counter: &AtomicU64 = &state.cancelled;
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Watched {
    pub(super) fn new(inner: ReplyBody, mut guard: CancelGuard) -> Self {
        // A body that is known to be empty is never polled.
        if http_body::Body::is_end_stream(&inner) {
            guard.0 = None;
        }
        Watched { inner, guard }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let ended = matches!(polled, Poll::Ready(None)) || http_body::Body::is_end_stream(&self.inner);
        if ended {
            self.guard.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

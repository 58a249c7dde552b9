//! Message bodies as one enum: no engine's type shows, and the common ones need no box.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use sidle_http2::{
    Code,
    connection::{Receiving, StreamError, accuses},
};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A request's or a response's body, with its trailers.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes at hand.
    Full(Bytes),
    /// From an HTTP/1 connection.
    Http1(super::h1::Incoming),
    /// From an HTTP/2 stream.
    Http2(Http2Body),
    /// With something done on the way: counted, recorded, timed.
    Watched(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>),
}

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection was closed or reset.
    #[error("connection closed before the body ended")]
    Closed,
    /// The bytes break the protocol.
    #[error("malformed body")]
    Malformed,
    /// The peer reset the stream with this HTTP/2 code.
    #[error("stream reset with code {0}")]
    Reset(u32),
    /// The proxy gave up: a deadline.
    #[error("deadline exceeded")]
    Deadline,
    /// The proxy gave up: nothing came for too long.
    #[error("idle for too long")]
    Idle,
}

/// The receiving half of an HTTP/2 stream.
pub struct Http2Body {
    stream: Receiving,
    /// Kept so that dropping the body stops the request that is still being sent.
    sending: Option<super::SendingBody>,
}

impl Http2Body {
    /// Wraps a stream.
    pub fn new(stream: Receiving) -> Self {
        Http2Body { stream, sending: None }
    }

    /// Stops sending the request when the response is let go of.
    pub fn with_sending(mut self, sending: Option<super::SendingBody>) -> Self {
        self.sending = sending;
        self
    }

    /// Data until END_STREAM or trailers. It is taken only when the next hop can take it, so the window follows its pace.
    pub(super) fn poll_data_only(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.stream.poll_data(cx).map(|data| data.map(|data| data.map_err(BodyError::from)))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(self.poll_data_only(cx)) {
            Some(data) => Some(data.map(Frame::data)),
            None => self.stream.take_trailers().map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }
}

impl From<StreamError> for BodyError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Reset(code) => BodyError::Reset(code.0),
            StreamError::Malformed(_) => BodyError::Malformed,
            StreamError::Ended(code) if accuses(code) || code == Code::ENHANCE_YOUR_CALM => {
                BodyError::Malformed
            }
            StreamError::Ended(_)
            | StreamError::Closed
            | StreamError::Local(_)
            | StreamError::Unprocessed => BodyError::Closed,
        }
    }
}

impl Body {
    /// The request's content, if this is an answer that came before all of it was sent, and reading this sends the rest.
    pub fn upload(&self) -> Option<super::h1::Uploading> {
        match self {
            Body::Http1(body) => body.upload(),
            _ => None, // an HTTP/2 stream's content has a task of its own
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Body::Http1(body) => body.poll_next(cx),
            Body::Http2(body) => body.poll_frame(cx),
            Body::Watched(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Http1(body) => body.has_ended(),
            Body::Http2(body) => body.stream.is_end(),
            Body::Watched(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Http1(body) => body.size(),
            Body::Http2(body) if body.stream.is_end() => SizeHint::with_exact(0),
            Body::Http2(_) => SizeHint::default(),
            Body::Watched(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Empty => "Empty",
            Body::Full(_) => "Full",
            Body::Http1(_) => "Http1",
            Body::Http2(_) => "Http2",
            Body::Watched(_) => "Watched",
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }
}

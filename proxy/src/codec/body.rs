//! Message bodies as one enum: no engine's type shows, and the common ones need no box.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
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
    stream: h2::RecvStream,
    data_done: bool,
    /// Kept so that dropping the body stops the request that is still being sent.
    sending: Option<super::SendingBody>,
}

impl Http2Body {
    /// Wraps a stream.
    pub fn new(stream: h2::RecvStream) -> Self {
        Http2Body { stream, data_done: false, sending: None }
    }

    /// Stops sending the request when the response is let go of.
    pub fn with_sending(mut self, sending: Option<super::SendingBody>) -> Self {
        self.sending = sending;
        self
    }

    /// Data until END_STREAM or trailers.
    pub(super) fn poll_data_only(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // Frames are pulled only when the next hop can take them, so the window follows its pace.
                let _ = self.stream.flow_control().release_capacity(data.len());
                Some(Ok(data))
            }
            Some(Err(error)) => Some(Err(from_h2(&error))),
            None => None,
        })
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.data_done {
            match ready!(self.poll_data_only(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_done = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(from_h2(&error)))),
        }
    }
}

fn from_h2(error: &h2::Error) -> BodyError {
    match error.reason() {
        Some(reason) if error.is_remote() => BodyError::Reset(reason.into()),
        Some(_) => BodyError::Malformed,
        None => BodyError::Closed,
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
            Body::Http2(body) => body.stream.is_end_stream(),
            Body::Watched(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Http1(body) => body.size(),
            Body::Http2(body) if body.stream.is_end_stream() => SizeHint::with_exact(0),
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

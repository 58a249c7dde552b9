//! A message's content on its way out.

use super::{
    encode::{Encoder, WrongLength},
    framing::Framing,
    output::Output,
};
use crate::codec::{Body, BodyError, hop_by_hop};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// See [`Upload::has_little_left`].
const LITTLE: u64 = 4 << 10;

/// A body, and how it is framed.
pub struct Upload {
    body: Body,
    encoder: Encoder,
    ended: bool,
}

impl Upload {
    /// Of `body`, after a head that announced `framing`; `None`: no content.
    pub fn new(body: Body, framing: Option<Framing>) -> Self {
        let body = if framing.is_some() { body } else { Body::Empty };
        let ended = body.is_end_stream();
        Upload { body, encoder: Encoder::new(framing.unwrap_or(Framing::Length(0))), ended }
    }

    /// Whether all of it was written.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the rest is so short that it had better leave with what waits already: a packet of its own costs as much as a large one.
    pub fn has_little_left(&self) -> bool {
        self.encoder.left().is_some_and(|left| left <= LITTLE)
    }

    /// The body's next frame.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// Writes that frame, or the end.
    ///
    /// # Errors
    /// The body's own; [`BodyError::Malformed`] when it has another length than was announced.
    pub fn write(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
        out: &mut Output,
    ) -> Result<(), BodyError> {
        let written = match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => {
                let written = self.encoder.data(out, data);
                if self.body.is_end_stream() { written.and_then(|()| self.end(out, None)) } else { written }
            }
            Some(Err(frame)) => self.end(out, frame.into_trailers().ok()),
            None => self.end(out, None),
        };
        written.map_err(|WrongLength| BodyError::Malformed)
    }

    fn end(&mut self, out: &mut Output, trailers: Option<http::HeaderMap>) -> Result<(), WrongLength> {
        self.ended = true;
        let trailers = trailers.map(|mut trailers| {
            hop_by_hop::strip_trailers(&mut trailers);
            trailers
        });
        self.encoder.end(out, trailers.as_ref())
    }
}

//! A response's body with its trailers as the last frame, and in base64 where the client wants text.
//!
//! Text is padded where a message ends, so that a client has each message as soon as it is whole.

use crate::codec::{Body, BodyError, grpc::MessageCounter, hop_by_hop};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Marks a frame of trailers.
const TRAILERS: u8 = 0x80;
/// Bytes that four characters stand for.
const GROUP: usize = 3;

/// `body` with its trailers in it; `text`: in base64.
pub fn with_trailers(body: Body, text: bool) -> Body {
    let text = text.then(Text::default);
    Body::Watched(Box::pin(Encoding { body, text, ended: false }))
}

/// The frame that stands for trailers.
fn frame_of(trailers: &HeaderMap) -> Bytes {
    let mut block = Vec::new();
    for (name, value) in trailers {
        block.extend_from_slice(name.as_str().as_bytes());
        block.push(b':');
        block.extend_from_slice(value.as_bytes());
        block.extend_from_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(block.len() + 5);
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(block.len()).unwrap_or(u32::MAX));
    frame.put_slice(&block);
    frame.freeze()
}

/// Base64 of a stream.
#[derive(Default)]
struct Text {
    messages: MessageCounter,
    /// The beginning of a group.
    begun: Vec<u8>,
}

impl Text {
    /// The text of `data`, up to its last whole group; all of it where a message ends.
    fn data(&mut self, data: &[u8]) -> Bytes {
        self.messages.see(data);
        self.encode(data, self.messages.is_between_messages())
    }

    fn encode(&mut self, data: &[u8], all: bool) -> Bytes {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(data);
        if !all {
            self.begun = bytes.split_off(bytes.len() / GROUP * GROUP);
        }
        STANDARD.encode(&bytes).into()
    }
}

struct Encoding {
    body: Body,
    text: Option<Text>,
    ended: bool,
}

impl Encoding {
    fn data(&mut self, data: Bytes) -> Bytes {
        self.ended = self.body.is_end_stream();
        match &mut self.text {
            None => data,
            Some(text) if self.ended => text.encode(&data, true),
            Some(text) => text.data(&data),
        }
    }

    fn trailers(&mut self, mut trailers: HeaderMap) -> Bytes {
        self.ended = true;
        hop_by_hop::strip_trailers(&mut trailers);
        let frame = frame_of(&trailers);
        match &mut self.text {
            Some(text) => text.encode(&frame, true),
            None => frame,
        }
    }

    /// What is left of a body without trailers.
    fn rest(&mut self) -> Bytes {
        self.ended = true;
        self.text.as_mut().map(|text| text.encode(&[], true)).unwrap_or_default()
    }
}

impl HttpBody for Encoding {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        while !this.ended {
            let bytes = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.data(data),
                    Err(frame) => this.trailers(frame.into_trailers().unwrap_or_default()),
                },
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.rest(),
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn trailers_are_a_frame_of_lines() {
        let frame = frame_of(&trailers(&[("grpc-status", "0"), ("x-a", "b: c")]));
        assert_eq!(&frame[..], b"\x80\0\0\0\x19grpc-status:0\r\nx-a:b: c\r\n");
        assert_eq!(&frame_of(&HeaderMap::new())[..], b"\x80\0\0\0\0");
    }

    #[test]
    fn text_is_padded_where_a_message_ends_and_only_there() {
        let mut text = Text::default();
        assert_eq!(&text.data(b"\0\0\0\0\x05ab")[..], b"AAAAAAVh", "seven of ten bytes: two groups");
        assert_eq!(&text.data(b"cde")[..], b"YmNkZQ==");
        assert_eq!(&text.data(b"\0\0\0\0\0")[..], b"AAAAAAA=", "an empty message");
        assert_eq!(&text.encode(b"\x80\0\0\0\0", true)[..], b"gAAAAAA=");
    }
}

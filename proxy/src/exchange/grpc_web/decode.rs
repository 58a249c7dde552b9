//! A request's body out of base64, as it comes.
//!
//! Clients encode piece by piece: padding may stand after any group of four, and a new piece begins behind it.

use crate::codec::{Body, BodyError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Characters that stand for three bytes.
const GROUP: usize = 4;

/// The bytes that `body` stands for.
pub fn from_base64(body: Body) -> Body {
    Body::Watched(Box::pin(Decoding { body, decoder: Decoder::default(), failed: false }))
}

/// Decodes a stream of padded pieces.
#[derive(Default)]
struct Decoder {
    /// The beginning of a group.
    begun: Vec<u8>,
}

impl Decoder {
    /// The bytes of all groups that are whole now; `None` if one is none.
    fn take(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity((self.begun.len() + data.len()) / GROUP * 3);
        let mut data = data;
        if !self.begun.is_empty() {
            let (missing, rest) = data.split_at(data.len().min(GROUP - self.begun.len()));
            self.begun.extend_from_slice(missing);
            data = rest;
            if self.begun.len() < GROUP {
                return Some(out);
            }
            STANDARD.decode_vec(&self.begun, &mut out).ok()?;
            self.begun.clear();
        }
        let (mut groups, rest) = data.split_at(data.len() / GROUP * GROUP);
        while !groups.is_empty() {
            let padded = groups.chunks_exact(GROUP).position(|group| group[GROUP - 1] == b'=');
            let (piece, after) = groups.split_at(padded.map_or(groups.len(), |at| (at + 1) * GROUP));
            STANDARD.decode_vec(piece, &mut out).ok()?;
            groups = after;
        }
        self.begun.extend_from_slice(rest);
        Some(out)
    }
}

struct Decoding {
    body: Body,
    decoder: Decoder,
    failed: bool,
}

impl HttpBody for Decoding {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        while !this.failed {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None if this.decoder.begun.is_empty() => return Poll::Ready(None),
                None => break,
                failed => return Poll::Ready(failed),
            };
            let Some(data) = frame.data_ref() else { return Poll::Ready(Some(Ok(frame))) };
            match this.decoder.take(data) {
                Some(decoded) if decoded.is_empty() => {}
                Some(decoded) => return Poll::Ready(Some(Ok(Frame::data(decoded.into())))),
                None => break,
            }
        }
        let again = std::mem::replace(&mut this.failed, true);
        Poll::Ready((!again).then_some(Err(BodyError::Malformed)))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || (self.decoder.begun.is_empty() && self.body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&str]) -> Option<Vec<u8>> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(decoder.take(piece.as_bytes())?);
        }
        decoder.begun.is_empty().then_some(out)
    }

    #[test]
    fn padded_pieces_follow_one_another() {
        assert_eq!(decode(&["AAAAAAE=", "YQ=="]).unwrap(), b"\0\0\0\0\x01a");
        assert_eq!(decode(&["AAAAAAE=YQ=="]).unwrap(), b"\0\0\0\0\x01a");
        assert_eq!(decode(&["A", "AAA", "AAFh"]).unwrap(), b"\0\0\0\0\x01a");
        assert_eq!(decode(&[""]).unwrap(), b"");
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for bad in ["AAA", "AA=A", "A===", "====", "AA*A", "AAAA\r\nAA", "AB==", "YQ==Y", "_-AA"] {
            assert_eq!(decode(&[bad]), None, "{bad}");
        }
    }

    proptest! {
        /// However the text is cut and wherever it is padded, the bytes are the same.
        #[test]
        fn cuts_do_not_matter(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8), cut in 1usize..9) {
            let text: String = pieces.iter().map(|piece| STANDARD.encode(piece)).collect();
            let cuts: Vec<&str> =
                text.as_bytes().chunks(cut).map(|cut| std::str::from_utf8(cut).unwrap()).collect();
            prop_assert_eq!(decode(&cuts).unwrap(), pieces.concat());
        }
    }
}

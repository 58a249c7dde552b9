//! The beginning of a body, read before the request goes on.
//!
//! Invariants: what was read is read again, first and in order; at most a bound, and the frame that crosses it, is kept.

use super::piece::Piece;
use crate::codec::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

/// What was read of a body.
pub struct Beginning {
    /// At most as much as was asked for.
    pub bytes: Bytes,
    /// Whether that is all.
    pub whole: bool,
}

/// Reads `limit` bytes of `body`, or all of it if it is shorter; leaves `body` as it was before.
///
/// # Errors
/// The body broke off.
pub async fn read(body: &mut Body, limit: usize) -> Result<Beginning, BodyError> {
    let size = body.size_hint();
    let (mut pieces, mut length, mut whole) = (VecDeque::new(), 0, body.is_end_stream());
    while !whole && length <= limit {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.transpose()? {
            Some(frame) => {
                let piece = Piece::new(frame);
                length += piece.len();
                pieces.push_back(piece);
                whole = body.is_end_stream();
            }
            None => whole = true,
        }
    }
    let mut bytes = BytesMut::with_capacity(length.min(limit));
    for piece in &pieces {
        if let Piece::Data(data) = piece {
            bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
        }
    }
    if !pieces.is_empty() {
        let rest = std::mem::take(body);
        *body = Body::Watched(Box::pin(Again { pieces, rest, size: Some(size) }));
    }
    Ok(Beginning { bytes: bytes.freeze(), whole: whole && length <= limit })
}

/// What was read, then the rest.
struct Again {
    pieces: VecDeque<Piece>,
    rest: Body,
    /// Until something is taken.
    size: Option<SizeHint>,
}

impl HttpBody for Again {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.size = None;
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(piece.frame()))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.size {
            Some(size) => size,
            None if self.pieces.is_empty() => self.rest.size_hint(),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::piece::testing::{frames, read as texts};

    async fn beginning(texts: &[&str], limit: usize) -> (String, bool, Body) {
        let mut body = frames(texts.iter().copied());
        let beginning = read(&mut body, limit).await.unwrap();
        (String::from_utf8(beginning.bytes.to_vec()).unwrap(), beginning.whole, body)
    }

    #[tokio::test]
    async fn a_short_body_is_seen_whole_and_sent_whole() {
        let (seen, whole, mut body) = beginning(&["ab", "cd"], 4).await;
        assert_eq!((&*seen, whole), ("abcd", true));
        assert_eq!(texts(&mut body, 9).await, "abcd");
    }

    #[tokio::test]
    async fn of_a_long_body_the_beginning_is_seen_and_all_is_sent() {
        let (seen, whole, mut body) = beginning(&["ab", "cd", "ef"], 3).await;
        assert_eq!((&*seen, whole), ("abc", false));
        assert_eq!(texts(&mut body, 9).await, "abcdef");
    }

    #[tokio::test]
    async fn nothing_stays_nothing() {
        let mut body = Body::Empty;
        let beginning = read(&mut body, 3).await.unwrap();
        assert!(beginning.whole && beginning.bytes.is_empty() && matches!(body, Body::Empty));
    }
}

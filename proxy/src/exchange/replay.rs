//! A request's body kept for another try, within a bound.
//!
//! Not here: whether there is to be another try (`attempt`).

use super::piece::Piece;
use crate::codec::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use smallvec::SmallVec;
use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// A body that can be sent more than once, as long as what was sent fits a bound. `None`: there is no content.
#[derive(Clone)]
pub struct Replay(Option<Rc<RefCell<Kept>>>);

struct Kept {
    source: Body,
    /// Most have one.
    frames: SmallVec<[Piece; 1]>,
    bytes: usize,
    limit: usize,
    /// Too much came to keep: what was sent is gone.
    overflowed: bool,
    ended: bool,
    /// Why the source broke off: what came of it is no body.
    failed: Option<BodyError>,
    /// No further try will come: what has been read may go.
    last: bool,
    /// The source's own length, before anything was read.
    size: SizeHint,
}

impl Replay {
    /// Keeps up to `limit` bytes.
    pub fn new(source: Body, limit: usize) -> Self {
        if matches!(source, Body::Empty) {
            return Replay(None);
        }
        let (size, ended) = (source.size_hint(), source.is_end_stream());
        Replay(Some(Rc::new(RefCell::new(Kept {
            source,
            frames: SmallVec::new(),
            bytes: 0,
            limit,
            overflowed: false,
            ended,
            failed: None,
            last: false,
            size,
        }))))
    }

    /// The body from its first byte; `None` once too much has been sent, or it broke off.
    ///
    /// Only the newest reader may be read, one try at a time, unless the body is [settled](Self::is_settled).
    pub fn reader(&self) -> Option<Body> {
        let Some(shared) = &self.0 else { return Some(Body::Empty) };
        let kept = shared.borrow();
        if kept.overflowed || kept.failed.is_some() {
            return None;
        }
        Some(if kept.ended && kept.frames.is_empty() {
            Body::Empty
        } else {
            Body::Watched(Box::pin(Reader { kept: shared.clone(), next: 0 }))
        })
    }

    /// No further try will come: nothing more is kept.
    pub fn forget(&self) {
        if let Some(kept) = &self.0 {
            kept.borrow_mut().last = true;
        }
    }

    /// Whether it has come to its end and is kept: several tries may read it at once.
    pub fn is_settled(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| {
            let kept = kept.borrow();
            (kept.ended || kept.source.is_end_stream()) && !kept.overflowed && kept.failed.is_none()
        })
    }

    /// Whether [`Self::reader`] would give one.
    pub fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| {
            let kept = kept.borrow();
            !kept.overflowed && kept.failed.is_none()
        })
    }
}

struct Reader {
    kept: Rc<RefCell<Kept>>,
    next: usize,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut kept = this.kept.borrow_mut();
        if !kept.overflowed
            && let Some(piece) = kept.frames.get(this.next)
        {
            this.next += 1;
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        if kept.last && !kept.overflowed {
            kept.overflowed = true;
            kept.frames = SmallVec::new();
        }
        if let Some(error) = kept.failed {
            return Poll::Ready(Some(Err(error)));
        }
        if kept.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut kept.source).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                this.next += 1;
                Poll::Ready(Some(Ok(kept.keep(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                kept.failed = Some(error);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                kept.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.borrow();
        (kept.overflowed || self.next >= kept.frames.len())
            && kept.failed.is_none()
            && (kept.ended || kept.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.next {
            0 => self.kept.borrow().size,
            _ => SizeHint::default(),
        }
    }
}

impl Kept {
    fn keep(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let piece = Piece::new(frame);
        self.bytes += piece.len();
        if self.bytes > self.limit {
            self.overflowed = true;
            self.frames = SmallVec::new();
        }
        let frame = piece.frame();
        if !self.overflowed {
            self.frames.push(piece);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::piece::testing::{frames, read};
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_second_try_sees_all_that_the_first_saw() {
        let replay = Replay::new(frames(["ab", "cd", "ef"]), 6);
        let mut first = replay.reader().unwrap();
        assert_eq!(read(&mut first, 2).await, "abcd");
        assert_eq!(read(&mut replay.reader().unwrap(), 9).await, "abcdef");
        assert_eq!(read(&mut replay.reader().unwrap(), 9).await, "abcdef", "and so does a third");
    }

    #[tokio::test]
    async fn beyond_the_bound_the_body_flows_on_and_cannot_be_repeated() {
        let replay = Replay::new(frames(["ab", "cd", "ef"]), 3);
        let mut first = replay.reader().unwrap();
        assert_eq!(read(&mut first, 9).await, "abcdef");
        assert!(!replay.is_whole() && replay.reader().is_none());
    }

    #[tokio::test]
    async fn two_tries_may_read_what_has_come_whole() {
        let replay = Replay::new(frames(["ab", "cd"]), 6);
        let mut first = replay.reader().unwrap();
        assert_eq!(read(&mut first, 1).await, "ab");
        assert!(!replay.is_settled(), "the rest is still to come");
        assert_eq!(read(&mut first, 9).await, "cd");
        assert!(replay.is_settled());
        let (mut one, mut two) = (replay.reader().unwrap(), replay.reader().unwrap());
        assert_eq!(read(&mut one, 1).await + &read(&mut two, 1).await, "abab");
        replay.forget();
        assert_eq!(read(&mut two, 9).await, "cd");
        assert!(Replay::new(Body::Empty, 0).is_settled());
    }

    #[tokio::test]
    async fn an_empty_body_stays_empty() {
        let replay = Replay::new(Body::Empty, 3);
        assert!(matches!(replay.reader(), Some(Body::Empty)));
        assert!(replay.reader().unwrap().is_end_stream());
    }

    /// The next try would send what came of it as if it were all.
    #[tokio::test]
    async fn a_body_that_broke_off_is_not_sent_again() {
        for came in [&["ab"][..], &[]] {
            let frames = came.iter().map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes()))));
            let frames = frames.chain([Err(BodyError::Malformed)]).collect::<Vec<_>>();
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
            let replay = Replay::new(Body::Watched(Box::pin(body)), 6);
            let mut first = replay.reader().unwrap();
            assert_eq!(read(&mut first, 9).await, came.concat());
            assert!(!replay.is_whole() && replay.reader().is_none());
            assert!(!first.is_end_stream());
            assert!(matches!(first.frame().await, Some(Err(BodyError::Malformed))), "also when asked again");
        }
    }
}

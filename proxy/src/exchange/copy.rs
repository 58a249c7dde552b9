//! A request's body copied for mirrors, which must never slow the request down.

use super::piece::Piece;
use crate::codec::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// A copy of a body for a mirror, as it is being sent; given up when the mirror falls too far behind.
#[derive(Clone, Default)]
pub struct Copy(Rc<RefCell<Behind>>);

#[derive(Default)]
struct Behind {
    frames: VecDeque<Piece>,
    bytes: usize,
    ended: Option<Result<(), BodyError>>,
    reader: Option<std::task::Waker>,
}

/// How far a mirror may fall behind.
const MAX_BEHIND: usize = 1 << 20;

impl Copy {
    /// A body that also goes to `copies`.
    pub fn tee(body: Body, copies: Vec<Copy>) -> Body {
        if body.is_end_stream() {
            copies.iter().for_each(|copy| copy.end(Ok(())));
            return body;
        }
        Body::Watched(Box::pin(Tee { body, copies }))
    }

    /// The mirror's side.
    pub fn reader(self) -> Body {
        Body::Watched(Box::pin(CopyReader(self)))
    }

    fn push(&self, piece: Piece) {
        let mut behind = self.0.borrow_mut();
        if behind.ended.is_some() {
            return;
        }
        behind.bytes += piece.len();
        if behind.bytes > MAX_BEHIND {
            drop(behind);
            return self.end(Err(BodyError::Closed));
        }
        behind.frames.push_back(piece);
        if let Some(waker) = behind.reader.take() {
            waker.wake();
        }
    }

    fn end(&self, end: Result<(), BodyError>) {
        let mut behind = self.0.borrow_mut();
        behind.ended.get_or_insert(end);
        if let Some(waker) = behind.reader.take() {
            waker.wake();
        }
    }
}

struct Tee {
    body: Body,
    copies: Vec<Copy>,
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        let frame = match frame {
            Some(Ok(frame)) => {
                let piece = Piece::new(frame);
                this.copies.iter().for_each(|copy| copy.push(piece.clone()));
                Some(Ok(piece.frame()))
            }
            other => other,
        };
        let end = match &frame {
            Some(Err(error)) => Some(Err(*error)),
            None => Some(Ok(())),
            Some(Ok(_)) => this.body.is_end_stream().then_some(Ok(())),
        };
        if let Some(end) = end {
            this.copies.iter().for_each(|copy| copy.end(end));
        }
        Poll::Ready(frame)
    }

    /// HTTP/2 may end it without another frame: who asks is the first to know, and does not read on.
    fn is_end_stream(&self) -> bool {
        let ended = self.body.is_end_stream();
        if ended {
            self.copies.iter().for_each(|copy| copy.end(Ok(())));
        }
        ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.copies.iter().for_each(|copy| copy.end(Err(BodyError::Closed)));
    }
}

struct CopyReader(Copy);

impl HttpBody for CopyReader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut behind = self.0.0.borrow_mut();
        if let Some(piece) = behind.frames.pop_front() {
            behind.bytes -= piece.len();
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        match behind.ended {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                behind.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::piece::testing::{frames, read};
    use std::cell::Cell;

    #[tokio::test]
    async fn the_copy_is_the_body() {
        let copy = Copy::default();
        let mut body = Copy::tee(frames(["ab", "cd"]), vec![copy.clone()]);
        assert_eq!(read(&mut body, 9).await, "abcd");
        assert_eq!(read(&mut copy.reader(), 9).await, "abcd");
    }

    #[tokio::test]
    async fn a_mirror_that_does_not_read_never_holds_the_body_back() {
        let big = "x".repeat(MAX_BEHIND / 2 + 1);
        let copy = Copy::default();
        let mut body = Copy::tee(frames([&big, &big, &big]), vec![copy.clone()]);
        assert_eq!(read(&mut body, 9).await.len(), big.len() * 3);
        let mut mirrored = copy.reader();
        assert_eq!(read(&mut mirrored, 1).await.len(), big.len(), "what fitted");
        let end = std::future::poll_fn(|cx| Pin::new(&mut mirrored).poll_frame(cx)).await;
        assert!(matches!(end, Some(Err(BodyError::Closed))), "and then it was given up");
    }

    #[tokio::test]
    async fn a_request_that_breaks_off_breaks_its_copy_off() {
        let copy = Copy::default();
        let mut body = Copy::tee(frames(["ab", "cd"]), vec![copy.clone()]);
        assert_eq!(read(&mut body, 1).await, "ab");
        drop(body);
        let mut mirrored = copy.reader();
        assert_eq!(read(&mut mirrored, 1).await, "ab");
        let end = std::future::poll_fn(|cx| Pin::new(&mut mirrored).poll_frame(cx)).await;
        assert!(matches!(end, Some(Err(BodyError::Closed))));
    }

    /// A body that ends, when it is told, without another frame: as HTTP/2's may.
    struct EndsLater {
        data: Option<Bytes>,
        ended: Rc<Cell<bool>>,
    }

    impl HttpBody for EndsLater {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.data.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
        }

        fn is_end_stream(&self) -> bool {
            self.data.is_none() && self.ended.get()
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_read_on_since_it_has_ended_ends_its_copy() {
        let (copy, ended) = (Copy::default(), Rc::<Cell<bool>>::default());
        let body = EndsLater { data: Some(Bytes::from_static(b"ab")), ended: ended.clone() };
        let mut body = Copy::tee(Body::Watched(Box::pin(body)), vec![copy.clone()]);
        assert_eq!(read(&mut body, 1).await, "ab");
        ended.set(true);
        assert!(body.is_end_stream());
        drop(body);
        let mut mirrored = copy.reader();
        assert_eq!(read(&mut mirrored, 1).await, "ab");
        let end = std::future::poll_fn(|cx| Pin::new(&mut mirrored).poll_frame(cx)).await;
        assert!(end.is_none(), "whole");
    }
}

//! What others hold of a connection: the content that is read from it, and the content that is sent on it meanwhile.

use super::wire::Wire;
use crate::codec::BodyError;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    cell::RefCell,
    num::NonZeroU64,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
};

/// The content of one message, read from its connection as it is asked for.
pub struct Incoming {
    wire: Rc<RefCell<Wire>>,
    /// Its number on the connection, until it was read to its end. Then the connection may begin another one, while whoever reads
    /// this one still holds the last piece.
    message: Option<NonZeroU64>,
    /// As it was announced.
    size: SizeHint,
}

impl Incoming {
    /// The message with this number, which says that it is so long.
    pub(super) fn new(wire: Rc<RefCell<Wire>>, message: u64, size: SizeHint) -> Self {
        Incoming { wire, message: NonZeroU64::new(message), size }
    }

    /// The other direction's message, if some of it is still to be sent.
    pub(in crate::codec) fn upload(&self) -> Option<Uploading> {
        let number = self.wire.borrow().uploading()?;
        Some(Uploading { wire: Rc::downgrade(&self.wire), number })
    }

    pub(in crate::codec) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(message) = self.message else { return Poll::Ready(None) };
        let mut wire = self.wire.borrow_mut();
        if wire.message != message.get() {
            return Poll::Ready(Some(Err(BodyError::Closed)));
        }
        let frame = ready!(wire.poll_frame(cx));
        if wire.decoder.is_done() {
            self.message = None;
        }
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(left)) = (frame.data_ref(), self.size.exact())
        {
            self.size = SizeHint::with_exact(left.saturating_sub(data.len() as u64));
        }
        Poll::Ready(frame)
    }

    pub(in crate::codec) fn has_ended(&self) -> bool {
        self.message.is_none()
    }

    pub(in crate::codec) fn size(&self) -> SizeHint {
        self.size
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A connection that is being taken apart holds its own borrow; then nobody waits.
        if let Some(message) = self.message
            && let Ok(mut wire) = self.wire.try_borrow_mut()
            && wire.message == message.get()
        {
            wire.abandoned = true;
            wire.tell_watcher();
        }
    }
}

/// A request's content on its way to a server that answers already. Reading the answer sends it, too; whoever cannot take more of
/// the answer for now sends it by [`Uploading::poll`], so that neither direction waits for the other.
///
/// It may outlive the request: the end of the answer gives the connection back before the client has taken all of it. What is sent on
/// it then is another task's.
#[derive(Debug)]
pub struct Uploading {
    wire: Weak<RefCell<Wire>>,
    number: u64,
}

impl Uploading {
    /// Sends what can be sent; ready when there will be no more of it, and the answer's body says why.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire().map_or(Poll::Pending, |wire| wire.borrow_mut().drive_upload(cx))
    }

    /// Bytes that the server took, as long as the request is the connection's last.
    pub fn sent(&self) -> u64 {
        self.wire().map_or(0, |wire| wire.borrow().output.written())
    }

    fn wire(&self) -> Option<Rc<RefCell<Wire>>> {
        self.wire.upgrade().filter(|wire| wire.borrow().is_last_upload(self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{
        Body, Stream,
        buffers::Size,
        h1::{decode::Decoder, framing::Framing, upload::Upload},
        portion,
    };
    use std::future::poll_fn;
    use std::{pin::Pin, task::Waker};
    use tokio::{io::AsyncWriteExt as _, net::UnixStream};

    /// A request's content that never comes; counts who asks for it.
    struct Asked(Rc<RefCell<u32>>);

    impl http_body::Body for Asked {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            *self.0.borrow_mut() += 1;
            Poll::Pending
        }
    }

    fn begin_upload(wire: &Rc<RefCell<Wire>>) -> Rc<RefCell<u32>> {
        let asked = Rc::new(RefCell::new(0));
        let body = Body::Watched(Box::pin(Asked(asked.clone())));
        wire.borrow_mut().begin_upload(Upload::new(body, Some(Framing::Chunked)));
        asked
    }

    /// Its waker would be the wrong one, and the error someone else's.
    #[tokio::test]
    async fn what_was_said_of_one_request_does_not_send_the_next_one() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let wire = Rc::new(RefCell::new(Wire::new(Stream::from(ours))));
        let first_asked = begin_upload(&wire);
        let Body::Http1(answer) = Wire::begin_message(&wire, Decoder::new(Framing::Length(1))) else {
            panic!("an answer with content")
        };
        let first = answer.upload().unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(first.poll(cx).is_pending());
        assert_eq!(*first_asked.borrow(), 1);
        let asked = begin_upload(&wire);
        assert!(first.poll(cx).is_pending());
        assert_eq!((*asked.borrow(), first.sent()), (0, 0));
    }

    /// Who sends an answer on may still have its last piece when the connection serves the next request.
    #[tokio::test]
    async fn content_that_was_read_whole_has_ended_whatever_the_connection_reads_next() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let wire = Rc::new(RefCell::new(Wire::to_server(Stream::from(ours))));
        let begin = || match Wire::begin_message(&wire, Decoder::new(Framing::Length(2))) {
            Body::Http1(body) => body,
            _ => panic!("an answer with content"),
        };
        theirs.write_all(b"okx").await.unwrap();
        let mut whole = begin();
        assert_eq!(piece(&mut whole).await, "ok");
        let mut broken = begin();
        assert_eq!(piece(&mut broken).await, "x");
        let _next = begin();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(whole.has_ended() && !broken.has_ended());
        assert!(matches!(whole.poll_next(cx), Poll::Ready(None)));
        assert!(matches!(broken.poll_next(cx), Poll::Ready(Some(Err(BodyError::Closed)))));
    }

    async fn piece(body: &mut Incoming) -> Bytes {
        let frame = poll_fn(|cx| body.poll_next(cx)).await.unwrap().unwrap();
        frame.into_data().unwrap()
    }

    /// So a fast download has one buffer, and a connection that waits for content has none.
    #[tokio::test]
    async fn content_is_read_into_the_same_bytes_once_the_piece_before_is_gone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let wire = Rc::new(RefCell::new(Wire::to_server(Stream::from(ours))));
        let Body::Http1(mut body) = Wire::begin_message(&wire, Decoder::new(Framing::Length(1 << 20))) else {
            panic!("an answer with content")
        };
        let mut send = async |byte| theirs.write_all(&[byte; 18 << 10]).await.unwrap();
        send(b'a').await;
        let first = piece(&mut body).await;
        send(b'b').await;
        let second = piece(&mut body).await;
        assert!(
            first.iter().all(|&byte| byte == b'a') && second.iter().all(|&byte| byte == b'b'),
            "both are held"
        );
        let at = first.as_ptr();
        drop((first, second));
        send(b'c').await;
        assert_eq!(piece(&mut body).await.as_ptr(), at);
        assert!(body.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(wire.borrow().input.capacity(), 0);
    }

    #[tokio::test]
    async fn no_more_is_read_than_goes_on() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let wire = Rc::new(RefCell::new(Wire::to_server(Stream::from(ours))));
        let Body::Http1(mut body) = Wire::begin_message(&wire, Decoder::new(Framing::Length(1 << 20))) else {
            panic!("an answer with content")
        };
        theirs.write_all(&[b'a'; 50 << 10]).await.unwrap();
        for (goes_on, wanted) in [(0, portion::LITTLE), (9_000, 9_000), (portion::LITTLE, portion::LITTLE)] {
            let frame = poll_fn(|cx| portion::at_most(goes_on, || body.poll_next(cx))).await;
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap().len(), wanted);
            let held = if goes_on <= portion::LITTLE { Size::Head } else { Size::Content };
            assert!(wire.borrow().input.capacity() < held.bytes(), "{}", wire.borrow().input.capacity());
        }
        assert_eq!(piece(&mut body).await.len(), (50 << 10) - 9_000 - 2 * portion::LITTLE);
    }
}

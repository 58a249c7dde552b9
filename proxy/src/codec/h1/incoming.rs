//! What others hold of a connection: the content that is read from it, and the content that is sent on it meanwhile.

use super::wire::Wire;
use crate::codec::BodyError;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
};

/// The content of one message, read from its connection as it is asked for.
pub struct Incoming {
    wire: Rc<RefCell<Wire>>,
    message: u64,
    /// As it was announced.
    size: SizeHint,
}

impl Incoming {
    /// The message with this number, which says that it is so long.
    pub(super) fn new(wire: Rc<RefCell<Wire>>, message: u64, size: SizeHint) -> Self {
        Incoming { wire, message, size }
    }

    /// The other direction's message, if some of it is still to be sent.
    pub(in crate::codec) fn upload(&self) -> Option<Uploading> {
        self.wire.borrow().is_uploading().then(|| Uploading(Rc::downgrade(&self.wire)))
    }

    pub(in crate::codec) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut wire = self.wire.borrow_mut();
        if wire.message != self.message {
            return Poll::Ready(Some(Err(BodyError::Closed)));
        }
        let frame = ready!(wire.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(left)) = (frame.data_ref(), self.size.exact())
        {
            self.size = SizeHint::with_exact(left.saturating_sub(data.len() as u64));
        }
        Poll::Ready(frame)
    }

    pub(in crate::codec) fn has_ended(&self) -> bool {
        let wire = self.wire.borrow();
        wire.message == self.message && wire.decoder.is_done()
    }

    pub(in crate::codec) fn size(&self) -> SizeHint {
        self.size
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A connection that is being taken apart holds its own borrow; then nobody waits.
        if let Ok(mut wire) = self.wire.try_borrow_mut()
            && wire.message == self.message
            && !wire.decoder.is_done()
        {
            wire.abandoned = true;
            wire.tell_watcher();
        }
    }
}

/// A request's content on its way to a server that answers already. Reading the answer sends it, too; whoever cannot take more of
/// the answer for now sends it by [`Uploading::poll`], so that neither direction waits for the other.
#[derive(Debug)]
pub struct Uploading(Weak<RefCell<Wire>>);

impl Uploading {
    /// Sends what can be sent; ready when there will be no more of it, and the answer's body says why.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            Some(wire) => wire.borrow_mut().drive_upload(cx),
            None => Poll::Pending,
        }
    }

    /// Bytes that the server took.
    pub fn sent(&self) -> u64 {
        self.0.upgrade().map_or(0, |wire| wire.borrow().output.written())
    }
}

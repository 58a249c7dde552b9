//! The two halves of a stream, for whoever serves it.

use super::{
    Core,
    fields::ResponseFields,
    stream::{StreamError, remember},
};
use crate::code::Code;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sidle_fields::Fields;
use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

/// What is sent on a stream. Once this and [`Receiving`] are gone, a stream that is not over is reset.
#[derive(Debug)]
pub struct Sending {
    core: Rc<RefCell<Core>>,
    key: u32,
}

impl Sending {
    pub(super) fn new(core: Rc<RefCell<Core>>, key: u32) -> Self {
        Sending { core, key }
    }

    /// Sends the head of an answer. Fields about the connection are left out.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn respond(&mut self, status: StatusCode, headers: &Fields, ends: bool) -> Result<(), StreamError> {
        self.core.borrow_mut().respond(self.key, status, headers, ends)
    }

    /// For interim answers.
    pub fn interim(&self) -> InterimSender {
        let id = self.core.borrow().table.look(self.key).id;
        InterimSender { core: Rc::downgrade(&self.core), key: self.key, id }
    }

    /// How much data may be sent now. Whoever is told so has the turn: it sends some now, or says [`Sending::pass`]; others wait for that.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        self.core.borrow_mut().poll_room(self.key, cx)
    }

    /// There is nothing to send now: others have the turn.
    pub fn pass(&mut self) {
        self.core.borrow_mut().leave_line(self.key);
    }

    /// How much data could be sent at once if there were some now.
    pub fn outlook(&self) -> usize {
        self.core.borrow().outlook(self.key)
    }

    /// Sends data, which ends the turn: no more than there is room for; none needs no room.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn data(&mut self, data: Bytes, ends: bool) -> Result<(), StreamError> {
        let core = &mut *self.core.borrow_mut();
        core.put_data(self.key, data, ends)?;
        core.leave_line(self.key);
        Ok(())
    }

    /// Sends data, and keeps the turn and what is left of its room: more comes now, or [`Sending::pass`].
    ///
    /// # Errors
    /// The stream has ended.
    pub fn more(&mut self, data: Bytes) -> Result<(), StreamError> {
        self.core.borrow_mut().put_data(self.key, data, false)
    }

    /// Sends trailers, which end the message.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn trailers(&mut self, trailers: &HeaderMap) -> Result<(), StreamError> {
        let core = &mut *self.core.borrow_mut();
        let stream = core.table.look(self.key);
        if !stream.sending {
            return Err(stream.error.unwrap_or(StreamError::Closed));
        }
        core.put_block(stream.id, true, |block| Core::put_fields(block, trailers));
        core.sent(self.key, true);
        Ok(())
    }

    /// Resets the stream, unless it is over.
    pub fn reset(&mut self, code: Code) {
        self.core.borrow_mut().reset(self.key, code);
    }

    /// Ready once the stream has ended early.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let core = &mut *self.core.borrow_mut();
        let stream = core.table.at(self.key);
        match stream.error {
            Some(error) => Poll::Ready(error),
            None => {
                remember(&mut stream.sender, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.core.borrow_mut().let_go(self.key, false);
    }
}

/// What comes on a stream.
#[derive(Debug)]
pub struct Receiving {
    core: Rc<RefCell<Core>>,
    key: u32,
}

impl Receiving {
    pub(super) fn new(core: Rc<RefCell<Core>>, key: u32) -> Self {
        Receiving { core, key }
    }

    /// Whether nothing more comes: no data and no trailers.
    pub fn is_end(&self) -> bool {
        let core = self.core.borrow();
        let stream = core.table.look(self.key);
        !stream.receiving && !stream.cut && stream.queued == 0 && stream.trailers.is_none()
    }

    /// The next head of the answer, of a client: interim ones first.
    ///
    /// # Errors
    /// The stream has ended before.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseFields, StreamError>> {
        let core = &mut *self.core.borrow_mut();
        let stream = core.table.at(self.key);
        if let Some(head) = stream.heads.pop_front() {
            return Poll::Ready(Ok(head));
        }
        if stream.receiving {
            remember(&mut stream.receiver, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Err(stream.error.unwrap_or(StreamError::Closed)))
    }

    /// The next data; `None`: trailers come next, or nothing does. What is taken opens the window again.
    ///
    /// # Errors
    /// The stream has ended before.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let core = &mut *self.core.borrow_mut();
        let stream = core.table.at(self.key);
        if let Some(data) = stream.take() {
            let id = stream.id;
            core.took(Some(self.key), id, data.len() as u32);
            return Poll::Ready(Some(Ok(data)));
        }
        if stream.receiving {
            remember(&mut stream.receiver, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(stream.cut.then(|| Err(stream.error.unwrap_or(StreamError::Closed))))
    }

    /// Trailers, once there is no more data.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        let trailers = self.core.borrow_mut().table.at(self.key).trailers.take();
        trailers.map(|trailers| *trailers)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.core.borrow_mut().let_go(self.key, true);
    }
}

/// Sends interim answers (1xx), as long as their stream is open. Holds nothing.
#[derive(Clone, Debug)]
pub struct InterimSender {
    core: Weak<RefCell<Core>>,
    key: u32,
    id: u32,
}

impl InterimSender {
    /// Sends one; if the stream has ended, nothing.
    pub fn send(&self, status: StatusCode, headers: &Fields) {
        if let Some(core) = self.core.upgrade() {
            let core = &mut *core.borrow_mut();
            if core.table.of(self.key, self.id).is_some() {
                let _ = core.respond(self.key, status, headers, false);
            }
        }
    }
}

impl Core {
    fn respond(
        &mut self,
        key: u32,
        status: StatusCode,
        headers: &Fields,
        ends: bool,
    ) -> Result<(), StreamError> {
        let stream = self.table.at(key);
        if !stream.sending {
            return Err(stream.error.unwrap_or(StreamError::Closed));
        }
        if stream.answered {
            return Ok(()); // a word that comes too late
        }
        stream.answered = !status.is_informational();
        let id = stream.id;
        self.put_block(id, ends, |block| {
            block.status(status);
            Core::put_fields(block, headers);
        });
        self.sent(key, ends);
        Ok(())
    }
}

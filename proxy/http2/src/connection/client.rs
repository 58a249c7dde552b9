//! Opening streams.

use super::{
    Core,
    handle::{Receiving, Sending},
    stream::StreamError,
};
use crate::{
    frame::{MOST_31_BITS, window::Window},
    hpack::Pseudo,
};
use http::Method;
use sidle_fields::Fields;
use std::{cell::RefCell, rc::Rc};

/// A request to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `:method`; not CONNECT.
    pub method: &'a Method,
    /// `:scheme`
    pub scheme: &'a str,
    /// `:authority`
    pub authority: &'a str,
    /// `:path`
    pub path: &'a str,
    /// The other fields. `host`, and those about the connection, are left out.
    pub headers: &'a Fields,
}

/// Opens streams on a connection. Once it is gone, the connection ends with its last stream.
#[derive(Debug)]
pub struct Opener(Rc<RefCell<Core>>);

impl Opener {
    pub(super) fn new(core: Rc<RefCell<Core>>) -> Self {
        Opener(core)
    }

    /// Sends a request's head; it `ends` if there is no content.
    ///
    /// # Errors
    /// No stream can be opened here: nothing was sent.
    pub fn open(&self, request: Request<'_>, ends: bool) -> Result<(Sending, Receiving), StreamError> {
        let key = self.0.borrow_mut().open(request, ends)?;
        Ok((Sending::new(self.0.clone(), key), Receiving::new(self.0.clone(), key)))
    }

    /// Whether streams can be opened, if there is room for them.
    pub fn is_open(&self) -> bool {
        let core = self.0.borrow();
        !core.leaving && core.end.is_none() && core.next_own <= MOST_31_BITS
    }

    /// Whether the peer takes one more now.
    pub fn has_room(&self) -> bool {
        let core = self.0.borrow();
        core.table.active() < core.peer.max_streams
    }

    /// Streams that the peer takes at once.
    pub fn max_streams(&self) -> u32 {
        self.0.borrow().peer.max_streams
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let core = &mut *self.0.borrow_mut();
        core.leaving = true;
        core.wake_driver();
    }
}

impl Core {
    fn open(&mut self, request: Request<'_>, ends: bool) -> Result<u32, StreamError> {
        let full = self.table.active() >= self.peer.max_streams || self.next_own > MOST_31_BITS;
        if self.end.is_some() || self.leaving || full {
            return Err(StreamError::Unprocessed);
        }
        let id = self.next_own;
        self.next_own += 2;
        let send_window = Window::new(self.peer.initial_window);
        let key = self.table.begin(id, self.new_receive_window(), send_window);
        let stream = self.table.at(key);
        stream.handles = 2;
        stream.bodyless = *request.method == Method::HEAD;
        self.put_block(id, ends, |block| {
            block.method(request.method);
            block.pseudo(Pseudo::Scheme, request.scheme.as_bytes());
            block.pseudo(Pseudo::Authority, request.authority.as_bytes());
            block.pseudo(Pseudo::Path, request.path.as_bytes());
            Core::put_fields(block, request.headers);
        });
        self.budget.sent_request();
        self.sent(key, ends);
        Ok(key)
    }
}

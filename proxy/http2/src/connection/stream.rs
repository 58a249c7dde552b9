//! One stream: what came for it and nobody has taken yet, its windows, and how far both sides are.

use super::fields::ResponseFields;
use crate::{code::Code, frame::window::Window};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use std::{collections::VecDeque, task::Waker};

/// Data that is gathered while nobody takes it: a peer may send it byte by byte.
const GATHERED: usize = 16 << 10;

/// Why a stream has ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer reset it.
    #[error("reset by the peer: {0}")]
    Reset(Code),
    /// The peer's message is malformed, or the stream was not treated as one may be: the peer was told.
    #[error("malformed: {0}")]
    Malformed(Code),
    /// This side reset it.
    #[error("reset: {0}")]
    Local(Code),
    /// The connection was closed or failed.
    #[error("the connection has closed")]
    Closed,
    /// The connection was ended, for something that its peer did.
    #[error("the connection was ended: {0}")]
    Ended(Code),
    /// The peer is leaving and has not looked at it.
    #[error("the peer is leaving")]
    Unprocessed,
}

/// A stream. Its place is used again, with the memory of its queues.
#[derive(Debug)]
pub struct Stream {
    /// 0: there is none here.
    pub id: u32,
    /// Handles that refer to it.
    pub handles: u8,
    /// The peer has not ended its message.
    pub receiving: bool,
    /// We have not ended ours.
    pub sending: bool,
    /// Whether it counts as open.
    pub open: bool,
    /// Somebody takes what comes.
    pub wanted: bool,
    /// A final head has come; of a server's streams, always.
    pub has_head: bool,
    /// The final head of the answer was sent, by a server.
    pub answered: bool,
    /// The answer has no content, whatever its fields say.
    pub bodyless: bool,
    /// It stands in line for room.
    pub waiting: bool,
    /// Interim heads are many, or too many.
    pub interim: u8,
    /// Why it has ended early.
    pub error: Option<StreamError>,
    /// The peer's message was not whole then.
    pub cut: bool,
    /// What content-length leaves to come.
    pub content_left: Option<u64>,
    pub receive_window: Window,
    /// What was taken since the peer was told.
    pub taken: u32,
    pub send_window: Window,
    /// Bytes in `data` and `tail`.
    pub queued: u32,
    pub heads: VecDeque<ResponseFields>,
    data: VecDeque<Bytes>,
    tail: BytesMut,
    pub trailers: Option<Box<HeaderMap>>,
    pub receiver: Option<Waker>,
    pub sender: Option<Waker>,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            id: 0,
            handles: 0,
            receiving: false,
            sending: false,
            open: false,
            wanted: false,
            has_head: false,
            answered: false,
            bodyless: false,
            waiting: false,
            interim: 0,
            error: None,
            cut: false,
            content_left: None,
            receive_window: Window::new(0),
            taken: 0,
            send_window: Window::new(0),
            queued: 0,
            heads: VecDeque::new(),
            data: VecDeque::new(),
            tail: BytesMut::new(),
            trailers: None,
            receiver: None,
            sender: None,
        }
    }
}

impl Stream {
    /// Makes this a new stream.
    pub fn begin(&mut self, id: u32, receive_window: Window, send_window: Window) {
        *self = Stream {
            id,
            receiving: true,
            sending: true,
            open: true,
            wanted: true,
            receive_window,
            send_window,
            heads: std::mem::take(&mut self.heads),
            data: std::mem::take(&mut self.data),
            ..Stream::default()
        };
    }

    /// Makes this nobody's place.
    pub fn clear(&mut self) {
        self.id = 0;
        self.heads.clear();
        self.forget_data();
        self.trailers = None;
        self.receiver = None;
        self.sender = None;
    }

    /// Whether both messages have ended.
    pub fn is_over(&self) -> bool {
        !self.receiving && !self.sending
    }

    /// Keeps data until somebody takes it.
    pub fn keep(&mut self, piece: &[u8]) {
        self.queued += piece.len() as u32;
        if self.data.is_empty() && self.tail.is_empty() {
            self.data.push_back(Bytes::copy_from_slice(piece));
            return;
        }
        if self.tail.len() + piece.len() > GATHERED {
            let whole = std::mem::take(&mut self.tail).freeze();
            if !whole.is_empty() {
                self.data.push_back(whole);
            }
        }
        self.tail.extend_from_slice(piece);
    }

    /// The data that comes next.
    pub fn take(&mut self) -> Option<Bytes> {
        let data = match self.data.pop_front() {
            Some(data) => data,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.queued -= data.len() as u32;
        Some(data)
    }

    /// Lets go of data that nobody will take; how much it was.
    pub fn forget_data(&mut self) -> u32 {
        self.data.clear();
        self.tail = BytesMut::new();
        std::mem::take(&mut self.queued)
    }

    /// Says why both sides end, unless somebody has; the place is to be closed next.
    pub fn fail(&mut self, error: StreamError) {
        if !self.is_over() {
            self.error.get_or_insert(error);
            self.cut |= self.receiving;
        }
        self.wake_receiver();
        self.wake_sender();
    }

    pub fn wake_receiver(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    pub fn wake_sender(&mut self) {
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
    }
}

/// Remembers whom to wake.
pub fn remember(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) => known.clone_from(waker),
        none => *none = Some(waker.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_comes_byte_by_byte_is_gathered() {
        let mut stream = Stream::default();
        for _ in 0..100_000 {
            stream.keep(b"x");
        }
        assert_eq!(stream.queued, 100_000);
        assert!(stream.data.len() < 10, "{}", stream.data.len());
        let mut taken = 0;
        while let Some(data) = stream.take() {
            taken += data.len();
        }
        assert_eq!((taken, stream.queued), (100_000, 0));
    }

    #[test]
    fn order_is_kept() {
        let (mut stream, mut wanted, mut taken) = (Stream::default(), Vec::new(), Vec::new());
        for round in 0..2_000_u32 {
            let piece = vec![round as u8; (round as usize * 7) % 300];
            if !piece.is_empty() {
                stream.keep(&piece);
            }
            wanted.extend(piece);
            if round % 300 == 0
                && let Some(data) = stream.take()
            {
                taken.extend_from_slice(&data);
            }
        }
        while let Some(data) = stream.take() {
            taken.extend_from_slice(&data);
        }
        assert!(taken == wanted);
    }
}

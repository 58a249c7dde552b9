//! Sending a body on an HTTP/2 stream, at the pace of the peer's window.
//!
//! Invariant: a stream that waits holds little of an HTTP/1 body: no more is read than can be sent at once, or than shows how it goes on.

use crate::codec::{
    Body, BodyError,
    h1::Uploading,
    hop_by_hop, portion,
    timer::{Stall, Timer},
};
use bytes::Bytes;
use http_body::{Body as _, Frame};
use sidle_http2::{
    Code,
    connection::{Sending, accuses},
};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

/// What waits for room and is shorter than this is copied.
const SMALL: usize = 2 << 10;
/// Room that is left of a turn and is worth another read: of a frame's turn, what is behind the little that was read before.
const ROOM: usize = (16 << 10) - portion::LITTLE;

/// A body on its way to a stream.
pub struct Pump {
    sending: Sending,
    body: Body,
    /// Data that waits for room.
    left: Bytes,
    /// Runs while it waits.
    stall: Option<(Stall, Timer)>,
    patience: Option<Duration>,
}

impl Pump {
    /// Sends `body`; data that finds no window for as long as `patience` ends it.
    pub fn new(sending: Sending, body: Body, patience: Option<Duration>) -> Self {
        Pump { sending, body, left: Bytes::new(), stall: None, patience }
    }

    /// The body, which accounts for itself when it is dropped.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Sends what there is, with its trailers, and END_STREAM. While there is no room for it, `beside` goes the other way, and
    /// counts as movement.
    ///
    /// # Errors
    /// When the peer reset the stream, or the body failed, or the peer took nothing, and the stream was reset for it.
    pub fn poll(&mut self, beside: Option<&Uploading>, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            match self.poll_room(beside, cx)? {
                Poll::Ready(room) => {
                    if ready!(self.poll_turn(room, cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending if self.left.is_empty() => {
                    // It may end here, which needs no room; and if it does not, the peer keeps something waiting.
                    if ready!(portion::at_most(0, || self.poll_next(cx)))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending => {
                    if self.left.len() < SMALL {
                        self.left = Bytes::copy_from_slice(&self.left); // what it was read into is larger
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Sends what the stream's turn has room for; whether that was all. Pending: there is no more for now.
    fn poll_turn(&mut self, mut room: usize, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        loop {
            if self.left.is_empty() {
                let Poll::Ready(ended) = portion::at_most(room, || self.poll_next(cx))? else {
                    self.sending.pass();
                    return Poll::Pending;
                };
                if ended {
                    return Poll::Ready(Ok(true));
                }
            }
            let chunk = self.left.split_to(room.min(self.left.len()));
            room -= chunk.len();
            let ends = self.left.is_empty() && self.body.is_end_stream();
            if ends || room < ROOM {
                self.sending.data(chunk, ends)?;
                return Poll::Ready(Ok(ends));
            }
            self.sending.more(chunk)?;
        }
    }

    /// Takes the next data of the body, or sends its end; whether it has ended.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        loop {
            match ready!(self.poll_frame(cx))?.map(Frame::into_data) {
                None => self.sending.data(Bytes::new(), true)?,
                Some(Ok(data)) if !data.is_empty() => {
                    self.left = data;
                    return Poll::Ready(Ok(false));
                }
                Some(Ok(_)) if !self.body.is_end_stream() => continue,
                Some(Ok(nothing)) => self.sending.data(nothing, true)?,
                Some(Err(frame)) => {
                    let Ok(mut trailers) = frame.into_trailers() else { continue };
                    hop_by_hop::strip_trailers(&mut trailers);
                    self.sending.trailers(&trailers)?;
                }
            }
            return Poll::Ready(Ok(true));
        }
    }

    /// The next frame of the body, unless the stream ends first.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
            Poll::Ready(Some(Err(error))) => {
                self.sending.reset(reset_code(error));
                Poll::Ready(Err(error))
            }
            Poll::Pending => self.sending.poll_ended(cx).map(|error| Err(error.into())),
        }
    }

    fn poll_room(
        &mut self,
        beside: Option<&Uploading>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, BodyError>> {
        if let Poll::Ready(room) = self.sending.poll_room(cx) {
            self.stall = None;
            return Poll::Ready(room.map_err(BodyError::from));
        }
        let mut moved = 0;
        if let Some(beside) = beside {
            let _ = beside.poll(cx); // if it fails, the body says so when its turn comes
            moved = beside.sent();
        }
        if self.left.is_empty() {
            return Poll::Pending; // the peer may owe nothing
        }
        let patience = self.patience.unwrap_or_default();
        let (stall, timer) = self.stall.get_or_insert_with(|| (Stall::new(patience), Timer::default()));
        ready!(stall.poll(moved, timer, cx));
        self.sending.reset(reset_code(BodyError::Idle));
        Poll::Ready(Err(BodyError::Idle))
    }
}

/// A body being sent by a task of its own; dropping this stops it and resets the stream.
#[derive(Debug)]
pub struct SendingBody(tokio::task::AbortHandle);

impl SendingBody {
    /// Sends what there is of `body` now, and the rest from a task of its own; `None` if that was all.
    pub async fn start(sending: Sending, body: Body, patience: Option<Duration>) -> Option<Self> {
        let mut pump = Pump::new(sending, body, patience);
        if poll_fn(|cx| Poll::Ready(pump.poll(None, cx))).await.is_ready() {
            return None;
        }
        let rest = async move { poll_fn(|cx| pump.poll(None, cx)).await };
        Some(SendingBody(tokio::task::spawn_local(rest).abort_handle()))
    }
}

impl Drop for SendingBody {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a body that failed is reported to the peer of its stream, which has no part in it: an accusation stays here, and so
/// does the claim that nothing was done.
fn reset_code(error: BodyError) -> Code {
    match error {
        BodyError::Reset(code) if accuses(Code(code)) || Code(code) == Code::REFUSED_STREAM => {
            Code::INTERNAL_ERROR
        }
        BodyError::Reset(code) => Code(code),
        BodyError::Deadline | BodyError::Idle => Code::CANCEL,
        BodyError::Closed | BodyError::Malformed => Code::INTERNAL_ERROR,
    }
}

//! Sending a body on an HTTP/2 stream, at the pace of the peer's window.

use super::guard::accuses;
use crate::codec::{
    Body, BodyError,
    h1::Uploading,
    hop_by_hop,
    timer::{Stall, Timer},
};
use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use http_body::Body as _;
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

/// A body being sent by a task of its own; dropping this stops it and resets the stream.
#[derive(Debug)]
pub struct SendingBody(tokio::task::AbortHandle);

impl SendingBody {
    /// Sends `body` from a task of its own; see [`body`] for `patience`.
    pub fn spawn(sending: SendStream<Bytes>, mut body: Body, patience: Option<Duration>) -> Self {
        let sending = async move { self::body(sending, &mut body, None, patience).await };
        SendingBody(tokio::task::spawn_local(sending).abort_handle())
    }
}

impl Drop for SendingBody {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends `body` with its trailers, and END_STREAM. While there is no window for it, `beside` goes the other way; when that does not
/// move either for as long as `patience`, it ends.
///
/// # Errors
/// When the peer reset the stream, or `body` failed, or the peer took nothing, and the stream was reset for it.
pub async fn body(
    mut sending: SendStream<Bytes>,
    body: &mut Body,
    beside: Option<&Uploading>,
    patience: Option<Duration>,
) -> Result<(), BodyError> {
    loop {
        let frame = poll_fn(|cx| poll_frame(&mut sending, body, cx)).await?;
        match frame.map(http_body::Frame::into_data) {
            None => return end(sending.send_data(Bytes::new(), true)),
            Some(Ok(data)) => {
                let last = body.is_end_stream();
                if data.is_empty() && !last {
                    continue;
                }
                data_frames(&mut sending, data, last, beside, patience).await?;
                if last {
                    return Ok(());
                }
            }
            Some(Err(frame)) => {
                if let Ok(mut trailers) = frame.into_trailers() {
                    hop_by_hop::strip_trailers(&mut trailers);
                    return end(sending.send_trailers(trailers));
                }
            }
        }
    }
}

fn end(sent: Result<(), h2::Error>) -> Result<(), BodyError> {
    sent.map_err(|_| BodyError::Closed)
}

/// The next frame of `body`, unless the peer resets the stream first.
fn poll_frame(
    sending: &mut SendStream<Bytes>,
    body: &mut Body,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<http_body::Frame<Bytes>>, BodyError>> {
    match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
        Poll::Ready(None) => Poll::Ready(Ok(None)),
        Poll::Ready(Some(Err(error))) => {
            sending.send_reset(reset_reason(error));
            Poll::Ready(Err(error))
        }
        Poll::Pending => poll_reset(sending, cx),
    }
}

fn poll_reset<T>(sending: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<T, BodyError>> {
    match ready!(sending.poll_reset(cx)) {
        Ok(reason) => Poll::Ready(Err(BodyError::Reset(reason.into()))),
        Err(_) => Poll::Ready(Err(BodyError::Closed)),
    }
}

async fn data_frames(
    sending: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
    beside: Option<&Uploading>,
    patience: Option<Duration>,
) -> Result<(), BodyError> {
    if data.is_empty() {
        return end(sending.send_data(data, last));
    }
    while data.has_remaining() {
        sending.reserve_capacity(data.len());
        let mut stall = (Stall::new(patience.unwrap_or_default()), Timer::default());
        let room = poll_fn(|cx| poll_room_in_time(sending, &mut stall, beside, cx)).await?;
        let chunk = data.split_to(room.min(data.len()));
        let ends = last && data.is_empty();
        sending.send_data(chunk, ends).map_err(|_| BodyError::Closed)?;
    }
    Ok(())
}

fn poll_room_in_time(
    sending: &mut SendStream<Bytes>,
    (stall, timer): &mut (Stall, Timer),
    beside: Option<&Uploading>,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, BodyError>> {
    let room = poll_room(sending, cx);
    if room.is_ready() {
        return room;
    }
    let mut moved = 0;
    if let Some(beside) = beside {
        let _ = beside.poll(cx); // if it fails, the body says so when its turn comes
        moved = beside.sent();
    }
    ready!(stall.poll(moved, timer, cx));
    sending.send_reset(reset_reason(BodyError::Idle));
    Poll::Ready(Err(BodyError::Idle))
}

/// How a body that failed is reported to the peer of its stream, which has no part in it: an accusation stays here, and so
/// does the claim that nothing was done.
fn reset_reason(error: BodyError) -> Reason {
    match error {
        BodyError::Reset(code) if accuses(code) => Reason::INTERNAL_ERROR,
        BodyError::Reset(code) if Reason::from(code) == Reason::REFUSED_STREAM => Reason::INTERNAL_ERROR,
        BodyError::Reset(code) => Reason::from(code),
        BodyError::Deadline | BodyError::Idle => Reason::CANCEL,
        BodyError::Closed | BodyError::Malformed => Reason::INTERNAL_ERROR,
    }
}

fn poll_room(sending: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
    loop {
        if sending.capacity() > 0 {
            return Poll::Ready(Ok(sending.capacity()));
        }
        match sending.poll_capacity(cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => {
                let reason =
                    error.reason().map_or(BodyError::Closed, |reason| BodyError::Reset(reason.into()));
                return Poll::Ready(Err(reason));
            }
            Poll::Ready(None) => {
                let Poll::Ready(why) = poll_reset(sending, cx) else {
                    return Poll::Ready(Err(BodyError::Closed));
                };
                return Poll::Ready(why);
            }
            Poll::Pending => return poll_reset(sending, cx),
        }
    }
}

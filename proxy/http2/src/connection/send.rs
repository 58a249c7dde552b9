//! What goes to the peer.
//!
//! Invariants: no more data than the windows of the stream and of the connection have, nor than the output has room for; streams that
//! wait for room have it in their turn.

use super::{
    Core, DATA_WATER, End, FRAME, Role,
    fields::is_of_connection,
    stream::{StreamError, remember},
};
use crate::{
    code::Code,
    frame::{END_HEADERS, END_STREAM, HEAD_BYTES, Head, Kind, payload},
    hpack::Block,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use std::{
    borrow::Cow,
    task::{Context, Poll},
};

impl Core {
    /// Appends a head, or trailers.
    pub fn put_block(&mut self, id: u32, ends: bool, write: impl FnOnce(&mut Block<'_>)) {
        let out = self.output.small();
        let begin = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        write(&mut self.encoder.block(out));
        let length = out.len() - begin - HEAD_BYTES;
        let flags = if ends { END_STREAM } else { 0 };
        if length <= FRAME {
            let head =
                Head { length: length as u32, kind: Kind::Headers, flags: flags | END_HEADERS, stream: id };
            out[begin..begin + HEAD_BYTES].copy_from_slice(&head.bytes());
            return;
        }
        let block = out.split_off(begin).split_off(HEAD_BYTES);
        let last = block.len().div_ceil(FRAME) - 1;
        for (number, part) in block.chunks(FRAME).enumerate() {
            let kind = if number == 0 { Kind::Headers } else { Kind::Continuation };
            let flags = if number == 0 { flags } else { 0 } | if number == last { END_HEADERS } else { 0 };
            Head { length: part.len() as u32, kind, flags, stream: id }.put(out);
            out.extend_from_slice(part);
        }
    }

    /// Fields of a head or of trailers, without `host`, whose place is `:authority`. A length that HTTP/1 lets be said twice is said once.
    pub fn put_fields<'a>(
        block: &mut Block<'_>,
        headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) {
        let mut has_length = false;
        for (name, value) in headers {
            if *name == header::CONTENT_LENGTH {
                if !std::mem::replace(&mut has_length, true) {
                    block.field(name, &one_of(value));
                }
            } else if !is_of_connection(name) && *name != header::HOST {
                block.field(name, value);
            }
        }
    }

    /// How much data may go now. Whoever is told has the turn: until it has sent something, or has left the line, others wait. While
    /// others do, a turn is a frame.
    pub fn poll_room(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        let room = self.room();
        let next = self.waiting.front().copied();
        let stream = self.table.at(key);
        if !stream.sending {
            return Poll::Ready(Err(stream.error.unwrap_or(StreamError::Closed)));
        }
        let own = stream.send_window.available();
        if own == 0 {
            remember(&mut stream.sender, cx.waker());
            self.leave_line(key);
            return Poll::Pending;
        }
        if room == 0 || next.is_some_and(|next| next != key) {
            remember(&mut stream.sender, cx.waker());
            if !std::mem::replace(&mut stream.waiting, true) {
                self.waiting.push_back(key);
            }
            return Poll::Pending;
        }
        let others = self.waiting.len() > usize::from(stream.waiting);
        let turn = if others { FRAME } else { usize::MAX };
        Poll::Ready(Ok(own.min(room).min(turn)))
    }

    /// What a stream could send at once if it had something now.
    pub fn outlook(&self, key: u32) -> usize {
        let own = self.table.look(key).send_window.available();
        if self.waiting.is_empty() { own.min(self.room()) } else { 0 }
    }

    /// What any stream may send. Little room in the output is none: there will be more at once, and data goes in fewer pieces.
    fn room(&self) -> usize {
        let left = DATA_WATER.saturating_sub(self.output.len());
        if left < FRAME { 0 } else { left.min(self.send_window.available()) }
    }

    /// Wakes the stream that has waited longest, if there is room: it is its turn until it has sent something, or cannot.
    #[inline]
    pub fn grant(&mut self) {
        if let Some(next) = self.waiting.front().copied()
            && self.room() > 0
        {
            self.table.at(next).wake_sender();
        }
    }

    /// A stream has nothing to send now: the next has its turn.
    #[inline]
    pub fn leave_line(&mut self, key: u32) {
        if std::mem::take(&mut self.table.at(key).waiting) {
            self.take_out_of_line(key);
        }
    }

    fn take_out_of_line(&mut self, key: u32) {
        if self.waiting.front() == Some(&key) {
            self.waiting.pop_front();
        } else {
            self.waiting.retain(|other| *other != key);
        }
        self.grant();
    }

    /// Sends data for which [`Core::poll_room`] has found room, as a part of the stream's turn.
    pub fn put_data(&mut self, key: u32, mut data: Bytes, ends: bool) -> Result<(), StreamError> {
        let stream = self.table.at(key);
        if !stream.sending {
            return Err(stream.error.unwrap_or(StreamError::Closed));
        }
        let (id, length) = (stream.id, data.len() as u32);
        let room = stream.send_window.take(id, length).and_then(|()| self.send_window.take(0, length));
        debug_assert!(room.is_ok(), "room was asked for");
        room.map_err(|_| StreamError::Local(Code::INTERNAL_ERROR))?;
        while data.len() > FRAME {
            let frame = data.split_to(FRAME);
            self.put_frame(id, frame, 0);
        }
        self.put_frame(id, data, if ends { END_STREAM } else { 0 });
        self.sent(key, ends);
        Ok(())
    }

    #[inline]
    fn put_frame(&mut self, stream: u32, data: Bytes, flags: u8) {
        if !data.is_empty() {
            self.budget.sent_data();
        }
        Head { length: data.len() as u32, kind: Kind::Data, flags, stream }.put(self.output.small());
        self.output.data(data);
    }

    /// Something was put out for a stream.
    pub fn sent(&mut self, key: u32, ends: bool) {
        if ends {
            let stream = self.table.at(key);
            stream.sending = false;
            if stream.is_over() {
                self.close(key);
            } else {
                self.leave_line(key);
            }
        }
        self.wake_driver();
    }

    /// Bytes were taken, or thrown away: the peer may send as many again. A stream whose message has ended needs no window.
    pub fn took(&mut self, key: Option<u32>, id: u32, bytes: u32) {
        self.taken += bytes;
        if self.end.is_some() {
            return;
        }
        // Streams that nobody reads may hold most of the window: what is left of it must not end before the peer is told of more.
        if self.taken > 0 && self.taken as usize >= self.receive_window.available() {
            let more = std::mem::take(&mut self.taken);
            if self.receive_window.open(0, more).is_ok() {
                payload::put_window_update(self.output.small(), 0, more);
                self.wake_driver();
            }
        }
        let half = self.config.stream_window / 2;
        let Some(stream) = key.and_then(|key| self.table.of(key, id)).filter(|stream| stream.receiving)
        else {
            return;
        };
        stream.taken += bytes;
        if stream.taken >= half.max(1) {
            let more = std::mem::take(&mut stream.taken);
            if stream.receive_window.open(id, more).is_ok() {
                payload::put_window_update(self.output.small(), id, more);
                self.wake_driver();
            }
        }
    }

    /// Resets a stream, unless it is over.
    pub fn reset(&mut self, key: u32, code: Code) {
        let stream = self.table.at(key);
        if !stream.open {
            return;
        }
        let id = stream.id;
        stream.fail(StreamError::Local(code));
        self.close(key);
        self.tell_reset(id, code);
        if let Some(flood) = self.budget.sent_reset(code) {
            self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
        }
    }

    /// Tells the peer that a stream has ended.
    pub fn tell_reset(&mut self, id: u32, code: Code) {
        payload::put_rst_stream(self.output.small(), id, code);
        self.table.remember_reset(id);
        self.wake_driver();
    }

    /// Ends a stream here.
    pub fn close(&mut self, key: u32) {
        self.leave_line(key);
        let stream = self.table.at(key);
        if stream.handles == 0 {
            let left = stream.forget_data();
            self.took(None, 0, left);
        }
        self.table.close(key);
        if self.table.active() == 0 {
            self.wake_driver(); // it may be the last
        }
    }

    /// A handle is gone.
    pub fn let_go(&mut self, key: u32, was_receiving: bool) {
        let stream = self.table.at(key);
        stream.handles -= 1;
        if was_receiving {
            stream.wanted = false;
            stream.receiver = None;
            let (id, left) = (stream.id, stream.forget_data());
            if left > 0 {
                self.took(Some(key), id, left);
            }
        } else {
            stream.sender = None;
            self.leave_line(key);
        }
        let stream = self.table.at(key);
        if stream.handles > 0 {
            return;
        }
        if stream.open {
            // An answer that is whole may end the request (RFC 9113 section 8.1).
            let answered = self.role == Role::Server && !stream.sending;
            self.reset(key, if answered { Code::NO_ERROR } else { Code::CANCEL });
        } else {
            self.close(key);
        }
    }
}

/// The first of equal lengths in one field.
fn one_of(length: &HeaderValue) -> Cow<'_, HeaderValue> {
    let bytes = length.as_bytes();
    let first = bytes.iter().position(|byte| *byte == b',').map(|at| bytes[..at].trim_ascii());
    let first = first.and_then(|first| HeaderValue::from_bytes(first).ok());
    first.map_or(Cow::Borrowed(length), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::{Decoder, Encoder, Field, Huffman, Part};

    #[test]
    fn a_length_is_said_once() {
        for lengths in [&["4"][..], &["4", "4"], &["4, 4"], &["4 ,4", "4"]] {
            let mut headers = sidle_fields::Fields::new();
            for length in lengths {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            headers.append(HeaderName::from_static("x"), HeaderValue::from_static("a, b"));
            headers.append(header::CONNECTION, HeaderValue::from_static("close"));
            let (mut out, mut lines) = (Vec::new(), Vec::new());
            Core::put_fields(&mut Encoder::new(Huffman::Never).block(&mut out), &headers);
            let mut line = |field| match field {
                Field::Regular(name, value) => {
                    lines.push(format!("{name}: {}", value.to_str().unwrap_or_default()))
                }
                Field::Pseudo(..) => {}
            };
            assert!(Decoder::new(4096).decode(&out, Part::Trailers, &mut line).is_ok());
            assert_eq!(lines, ["content-length: 4", "x: a, b"]);
        }
    }
}

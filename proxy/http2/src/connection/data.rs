//! Data that comes: whose it is, and where messages end.
//!
//! Invariants: what comes for nobody goes back to the connection's window; no content goes on that its head did not promise.

use super::{
    Core, End,
    input::{DataFrame, Expect},
};
use crate::{
    code::{Code, Violation},
    frame::{END_STREAM, Head, PADDED},
};

impl Core {
    pub(super) fn data_head(&mut self, head: Head) -> Result<(), Violation> {
        self.receive_window.take(0, head.length)?;
        if head.length == 0 && head.has(PADDED) {
            return Err(Violation::Connection(Code::FRAME_SIZE_ERROR, "padding without its length"));
        }
        let mut frame = DataFrame {
            stream: head.stream,
            key: None,
            left: head.length,
            padding: (!head.has(PADDED)).then_some(0),
            ends: head.has(END_STREAM),
        };
        let expected = self.data_expected(&head);
        if let Ok(key) = expected {
            frame.key = key;
        }
        self.input.expect = Expect::Data(frame);
        let outcome = expected.map(drop);
        self.took(None, 0, 0); // what was taken of other streams may be needed now
        if head.length == 0 {
            self.input.expect = Expect::Head;
            return outcome.and_then(|()| self.data_ends(frame));
        }
        outcome
    }

    /// Whose data this is; `None`: nobody's, and no fault.
    fn data_expected(&mut self, head: &Head) -> Result<Option<u32>, Violation> {
        let closed = Violation::Stream(head.stream, Code::STREAM_CLOSED, "data for a stream that is closed");
        self.not_idle(head.stream)?;
        let Some(key) = self.table.find(head.stream) else {
            if !self.is_ignored(head.stream) {
                return Err(closed);
            }
            if head.length == 0
                && head.has(END_STREAM)
                && let Some(flood) = self.budget.received_nothing()
            {
                self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
            }
            return Ok(None);
        };
        let stream = self.table.at(key);
        if !stream.receiving {
            return Err(closed);
        }
        if !stream.has_head {
            return Err(Violation::Stream(head.stream, Code::PROTOCOL_ERROR, "data before a head"));
        }
        stream.receive_window.take(head.stream, head.length)?;
        Ok(Some(key))
    }

    /// Data comes, a piece of a frame at a time.
    pub(super) fn data(&mut self, mut frame: DataFrame, bytes: &mut &[u8]) -> Result<(), Violation> {
        let padding = match frame.padding {
            Some(padding) => padding,
            None => {
                let padding = u32::from(bytes[0]);
                *bytes = &bytes[1..];
                frame.left -= 1;
                if padding > frame.left {
                    return Err(Violation::Connection(Code::PROTOCOL_ERROR, "more padding than data"));
                }
                frame.padding = Some(padding);
                if frame.left == padding
                    && !frame.ends
                    && let Some(flood) = self.budget.received_nothing()
                {
                    self.finish(End::Flood(flood), Some(Code::ENHANCE_YOUR_CALM));
                    return Ok(());
                }
                self.took(frame.key, frame.stream, 1 + padding);
                padding
            }
        };
        let content = (frame.left - padding) as usize;
        let (piece, rest) = bytes.split_at(content.min(bytes.len()));
        let skipped = if piece.len() == content { rest.len().min(padding as usize) } else { 0 };
        *bytes = &rest[skipped..];
        frame.left -= (piece.len() + skipped) as u32;
        if piece.len() == content && skipped > 0 {
            frame.padding = Some(padding - skipped as u32);
        }
        self.input.expect = if frame.left == 0 { Expect::Head } else { Expect::Data(frame) };
        let kept = self.keep(frame, piece);
        match frame.left {
            0 => kept.and_then(|()| self.data_ends(frame)),
            _ => kept,
        }
    }

    /// Keeps a piece of data for whoever waits for it.
    fn keep(&mut self, frame: DataFrame, piece: &[u8]) -> Result<(), Violation> {
        let length = piece.len() as u32;
        if length == 0 {
            return Ok(());
        }
        let stream = frame.key.and_then(|key| self.table.of(key, frame.stream));
        let Some(stream) = stream else {
            self.took(None, frame.stream, length);
            return Ok(());
        };
        if let Some(left) = &mut stream.content_left {
            match left.checked_sub(u64::from(length)) {
                Some(rest) => *left = rest,
                None => {
                    self.took(None, frame.stream, length);
                    return Err(Violation::Stream(
                        frame.stream,
                        Code::PROTOCOL_ERROR,
                        "more content than its length",
                    ));
                }
            }
        }
        if stream.wanted {
            stream.keep(piece);
            stream.wake_receiver();
        } else {
            self.took(frame.key, frame.stream, length);
        }
        Ok(())
    }

    fn data_ends(&mut self, frame: DataFrame) -> Result<(), Violation> {
        let open = frame.key.is_some_and(|key| self.table.of(key, frame.stream).is_some());
        match frame.key {
            Some(key) if frame.ends && open => self.message_ends(key),
            _ => Ok(()),
        }
    }

    /// The peer's message is whole.
    pub(super) fn message_ends(&mut self, key: u32) -> Result<(), Violation> {
        let stream = self.table.at(key);
        if stream.content_left.is_some_and(|left| left > 0) {
            return Err(Violation::Stream(stream.id, Code::PROTOCOL_ERROR, "less content than its length"));
        }
        stream.receiving = false;
        stream.wake_receiver();
        if stream.is_over() {
            self.close(key);
        }
        Ok(())
    }
}

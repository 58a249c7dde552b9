//! A message's content out of its framing.
//!
//! In:  bytes as they came.   Out: [`Decoded`] pieces.
//! Invariants: what is not exactly a chunk ends the message as malformed, and nothing after it is looked at; what frames
//! and is not content is bounded.
//! Source: RFC 9112 section 7.1. Extensions are read over, as it demands.

use super::{
    framing::{Framing, MAX_LENGTH},
    parse,
};
use crate::codec::hop_by_hop;
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

/// Chunk extensions of one message, and its trailers, may take this many bytes each.
const MAX_OVERHEAD: usize = 16 << 10;
const MAX_TRAILERS: usize = 100;
/// `ffffffffffffffff`.
const MAX_SIZE_DIGITS: usize = 16;

/// Reads one message's content.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far.
    overhead: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Malformed,
}

/// What came out.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    /// Content; never empty.
    Data(Bytes),
    /// The last thing of a message in chunks; forbidden fields are gone, the rest is not empty.
    Trailers(HeaderMap),
    /// The message is over.
    End,
    /// More bytes are needed.
    Incomplete,
}

/// The bytes are not what the framing said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Decoder {
    /// For a message without content.
    pub fn done() -> Self {
        Decoder { state: State::Done, overhead: 0 }
    }

    /// For a message with this framing.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Decoder { state, overhead: 0 }
    }

    /// Whether all of the message was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes still to come, where the framing tells.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Bytes that are surely content and not yet read: a hint for the next read.
    pub fn wanted(&self) -> u64 {
        match self.state {
            State::Length(left) | State::ChunkData(left) => left,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Whether the end of the connection is the end of the message. If so, it is over.
    pub fn ends_with_connection(&mut self) -> bool {
        let ends = self.state == State::UntilClose;
        if ends {
            self.state = State::Done;
        }
        ends
    }

    /// Takes the next piece from the front of `input`.
    ///
    /// # Errors
    /// [`Malformed`], now and ever after.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            let next = match self.state {
                State::Done => return Ok(Decoded::End),
                State::Malformed => return Err(Malformed),
                State::UntilClose if input.is_empty() => return Ok(Decoded::Incomplete),
                State::UntilClose => return Ok(Decoded::Data(input.split().freeze())),
                State::Length(left) => match take(input, left) {
                    None => return Ok(Decoded::Incomplete),
                    Some(data) => {
                        let left = left - data.len() as u64;
                        self.state = if left == 0 { State::Done } else { State::Length(left) };
                        return Ok(Decoded::Data(data));
                    }
                },
                State::ChunkData(left) => match take(input, left) {
                    None => return Ok(Decoded::Incomplete),
                    Some(data) => {
                        let left = left - data.len() as u64;
                        self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                        return Ok(Decoded::Data(data));
                    }
                },
                State::ChunkEnd => chunk_end(input),
                State::ChunkSize => self.chunk_size(input),
                State::Trailers => match self.trailers(input) {
                    Ok(Some(trailers)) if trailers.is_empty() => Ok(Some(State::Done)),
                    Ok(Some(trailers)) => {
                        self.state = State::Done;
                        return Ok(Decoded::Trailers(trailers));
                    }
                    Ok(None) => Ok(None),
                    Err(Malformed) => Err(Malformed),
                },
            };
            match next {
                Ok(Some(state)) => self.state = state,
                Ok(None) => return Ok(Decoded::Incomplete),
                Err(Malformed) => self.state = State::Malformed,
            }
        }
    }

    /// The line before a chunk: its size, perhaps extensions.
    fn chunk_size(&mut self, input: &mut BytesMut) -> Result<Option<State>, Malformed> {
        let digits =
            input.iter().take(MAX_SIZE_DIGITS + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > MAX_SIZE_DIGITS {
            return Err(Malformed);
        }
        let Some(end) = memchr::memchr(b'\n', input) else {
            // What can never become a size line is not waited for.
            let hopeless = match input.get(digits) {
                Some(b';') => digits == 0,
                Some(b'\r') => digits == 0 || input.len() > digits + 1,
                Some(_) => true,
                None => false,
            };
            if hopeless || input.len() > MAX_OVERHEAD {
                return Err(Malformed);
            }
            return Ok(None);
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(Malformed)?;
        let extension = &line[digits..];
        self.overhead += extension.len();
        let plain = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if digits == 0
            || !(extension.is_empty() || extension[0] == b';')
            || !extension.iter().all(plain)
            || self.overhead > MAX_OVERHEAD
        {
            return Err(Malformed);
        }
        let size = line[..digits].iter().fold(0_u64, |size, &digit| size << 4 | u64::from(hex(digit)));
        if size > MAX_LENGTH {
            return Err(Malformed);
        }
        input.advance(end + 1);
        Ok(Some(if size == 0 { State::Trailers } else { State::ChunkData(size) }))
    }

    fn trailers(&self, input: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            return Ok(Some(HeaderMap::new()));
        }
        let end = parse::LineScanner::default().end(input).map_err(|parse::BareLineEnd| Malformed)?;
        let Some(end) = end.filter(|&end| end <= MAX_OVERHEAD) else {
            return if input.len() > MAX_OVERHEAD { Err(Malformed) } else { Ok(None) };
        };
        let section = input.split_to(end).freeze();
        let mut trailers = parse::fields(&section, MAX_TRAILERS).ok_or(Malformed)?;
        hop_by_hop::strip_trailers(&mut trailers);
        Ok(Some(trailers))
    }
}

/// Up to `left` bytes; `None` if there are none.
fn take(input: &mut BytesMut, left: u64) -> Option<Bytes> {
    if input.is_empty() {
        return None;
    }
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    Some(input.split_to(length).freeze())
}

fn chunk_end(input: &mut BytesMut) -> Result<Option<State>, Malformed> {
    match input[..] {
        [b'\r', b'\n', ..] => {
            input.advance(2);
            Ok(Some(State::ChunkSize))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(Malformed),
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;

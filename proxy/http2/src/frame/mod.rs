//! The head of a frame, and what its kind demands of it.
//!
//! Invariants: [`Head::check`] refuses a frame by its nine bytes, before anything of it is waited for; a frame of a kind that is
//! not known passes, and is to be ignored.
//! Source: RFC 9113 sections 4 and 6.

pub mod payload;
pub mod sequence;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod window;

use crate::code::{Code, Violation};

/// Bytes of a head.
pub const HEAD_BYTES: usize = 9;
/// What every peer must take, and the most before other settings are acknowledged.
pub const LEAST_MAX_FRAME_SIZE: u32 = 1 << 14;
/// The most that a peer can be told to take.
pub const MOST_MAX_FRAME_SIZE: u32 = (1 << 24) - 1;
/// The largest window, increment and stream identifier.
pub const MOST_31_BITS: u32 = (1 << 31) - 1;
/// What a client sends before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// END_STREAM, of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// ACK, of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// END_HEADERS, of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// PADDED, of DATA and HEADERS.
pub const PADDED: u8 = 0x8;
/// PRIORITY, of HEADERS.
pub const PRIORITY: u8 = 0x20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes of a body.
    Data,
    /// The beginning of a block of fields.
    Headers,
    /// What a stream depends on; no longer used.
    Priority,
    /// The end of a stream, by error.
    RstStream,
    /// What the sender takes.
    Settings,
    /// A request that the server makes up; never taken.
    PushPromise,
    /// Are you there?
    Ping,
    /// No more streams.
    GoAway,
    /// More may be sent.
    WindowUpdate,
    /// More of a block.
    Continuation,
    /// Another kind: ignored.
    Unknown(u8),
}

impl Kind {
    /// From its byte.
    pub fn of(byte: u8) -> Self {
        match byte {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }

    /// Its byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::RstStream => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::Unknown(other) => other,
        }
    }
}

/// The nine bytes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload: 24 bits.
    pub length: u32,
    /// What it is.
    pub kind: Kind,
    /// By kind.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// The reserved bit before the stream is ignored.
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MOST_31_BITS,
        }
    }

    /// The nine bytes.
    pub fn bytes(&self) -> [u8; HEAD_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = (self.stream & MOST_31_BITS).to_be_bytes();
        [l0, l1, l2, self.kind.byte(), self.flags, s0, s1, s2, s3]
    }

    /// Appends the nine bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        debug_assert!(self.length <= MOST_MAX_FRAME_SIZE);
        out.extend_from_slice(&self.bytes());
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether length and stream are such as the kind may have, with `max_frame_size` as we announced it.
    ///
    /// # Errors
    /// A frame that is too long ends the connection, whatever it is: nobody waits for what it would bring. PUSH_PROMISE does,
    /// too, for we always say that we take none.
    pub fn check(&self, max_frame_size: u32) -> Result<(), Violation> {
        if self.length > max_frame_size {
            return Err(Violation::Connection(Code::FRAME_SIZE_ERROR, "a frame longer than announced"));
        }
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => self.of_a_stream(),
            Kind::Priority => {
                self.of_a_stream()?;
                match self.length {
                    5 => Ok(()),
                    _ => Err(Violation::Stream(self.stream, Code::FRAME_SIZE_ERROR, "PRIORITY is 5 bytes")),
                }
            }
            Kind::RstStream => {
                self.of_a_stream()?;
                self.length_is(self.length == 4, "RST_STREAM is 4 bytes")
            }
            Kind::Settings => {
                self.of_the_connection()?;
                self.length_is(!self.has(ACK) || self.length == 0, "acknowledged SETTINGS are empty")?;
                self.length_is(self.length.is_multiple_of(6), "SETTINGS are 6 bytes each")
            }
            Kind::PushPromise => Err(Violation::Connection(Code::PROTOCOL_ERROR, "nothing is pushed")),
            Kind::Ping => {
                self.of_the_connection()?;
                self.length_is(self.length == 8, "PING is 8 bytes")
            }
            Kind::GoAway => {
                self.of_the_connection()?;
                self.length_is(self.length >= 8, "GOAWAY is 8 bytes at least")
            }
            Kind::WindowUpdate => self.length_is(self.length == 4, "WINDOW_UPDATE is 4 bytes"),
            Kind::Unknown(_) => Ok(()),
        }
    }

    fn of_a_stream(&self) -> Result<(), Violation> {
        match self.stream {
            0 => Err(Violation::Connection(Code::PROTOCOL_ERROR, "a frame without its stream")),
            _ => Ok(()),
        }
    }

    fn of_the_connection(&self) -> Result<(), Violation> {
        match self.stream {
            0 => Ok(()),
            _ => Err(Violation::Connection(Code::PROTOCOL_ERROR, "a frame that no stream may have")),
        }
    }

    fn length_is(&self, right: bool, why: &'static str) -> Result<(), Violation> {
        match right {
            true => Ok(()),
            false => Err(Violation::Connection(Code::FRAME_SIZE_ERROR, why)),
        }
    }
}

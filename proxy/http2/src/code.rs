//! What the peer is told went wrong.

use std::fmt;

/// An error code of RST_STREAM and GOAWAY (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// All is well.
    pub const NO_ERROR: Self = Self(0x0);
    /// Against the protocol, and no other code says it better.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// It is our fault.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More than a window allows, or a window that is too large.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// Settings were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a length that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// Nothing was done for this stream: it may be tried again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// The two ends no longer agree on the compression of fields.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection behind a CONNECT failed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer does what costs too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// TLS is too weak.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// To be tried with HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name in RFC 9113; `None` for a code that it does not have.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::CONNECT_ERROR => "CONNECT_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
            Self::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
            _ => return None,
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the peer did against the protocol, and what ends because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The connection ends, by GOAWAY.
    #[error("{0}: {1}")]
    Connection(Code, &'static str),
    /// One stream ends, by RST_STREAM.
    #[error("stream {0}: {1}: {2}")]
    Stream(u32, Code, &'static str),
}

impl Violation {
    /// What the peer is told.
    pub fn code(self) -> Code {
        match self {
            Self::Connection(code, _) | Self::Stream(_, code, _) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_and_strangers_numbered() {
        assert_eq!(Code(0xd).to_string(), "HTTP_1_1_REQUIRED");
        assert_eq!(Code(0xe).to_string(), "0xe");
        assert!((0..=0xd).all(|code| Code(code).name().is_some()));
        assert_eq!(Violation::Stream(3, Code::CANCEL, "gone").to_string(), "stream 3: CANCEL: gone");
    }
}

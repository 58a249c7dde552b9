//! Frames of HTTP/2 (RFC 9113).

use crate::void::Void;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest payload that everybody takes.
pub const LONGEST: usize = 16_384;
/// What may be sent on a stream or a connection before the other end says more.
pub const WINDOW: i64 = 65_535;

const HEAD: usize = 9;

/// Kinds of frames.
pub const DATA: u8 = 0;
/// Fields.
pub const HEADERS: u8 = 1;
/// The end of a stream.
pub const RST_STREAM: u8 = 3;
/// What an end wants.
pub const SETTINGS: u8 = 4;
/// Is anybody there?
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// More fields.
pub const CONTINUATION: u8 = 9;

/// The stream has no more; of SETTINGS and PING: this is an answer.
pub const END_STREAM: u8 = 1;
/// An answer to SETTINGS or PING.
pub const ACK: u8 = 1;
/// No CONTINUATION follows.
pub const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Settings by number.
pub const HEADER_TABLE_SIZE: u16 = 1;
/// Whether a server may push.
pub const ENABLE_PUSH: u16 = 2;
/// Streams at once.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
/// The window of a new stream.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame that is all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// What it is.
    pub kind: u8,
    /// More of what it is.
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: &'b [u8],
}

impl<'b> Frame<'b> {
    /// Takes the first frame off `bytes`; `None` while it is not all there.
    pub fn take(bytes: &mut &'b [u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = bytes.get(HEAD..HEAD + length)?;
        *bytes = &bytes[HEAD + length..];
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1), payload })
    }

    /// Whether the stream has no more.
    pub fn ends(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    ///
    /// # Errors
    /// When there is less than it says, or more fields follow.
    pub fn content(&self) -> Result<&'b [u8], Void> {
        let short = || Void::because("a frame shorter than it says");
        let mut content = self.payload;
        let mut padding = 0;
        if self.flags & PADDED != 0 {
            let (first, rest) = content.split_first().ok_or_else(short)?;
            (padding, content) = (usize::from(*first), rest);
        }
        if self.kind == HEADERS {
            if self.flags & END_HEADERS == 0 {
                return Err(Void::because("fields of more than one frame"));
            }
            if self.flags & PRIORITY != 0 {
                content = content.get(5..).ok_or_else(short)?;
            }
        }
        content.get(..content.len().checked_sub(padding).ok_or_else(short)?).ok_or_else(short)
    }

    /// The number that WINDOW_UPDATE and RST_STREAM carry.
    pub fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// What SETTINGS say.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> + use<'b> {
        self.payload.chunks_exact(6).map(|setting| {
            let (name, value) = (u16::from_be_bytes([setting[0], setting[1]]), &setting[2..6]);
            (name, u32::from_be_bytes([value[0], value[1], value[2], value[3]]))
        })
    }

    /// Appends it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        head(out, self.kind, self.flags, self.stream, self.payload.len());
        out.extend_from_slice(self.payload);
    }
}

/// Appends the head of a frame whose payload follows.
pub fn head(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Appends SETTINGS.
pub fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    head(out, SETTINGS, 0, 0, settings.len() * 6);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends WINDOW_UPDATE.
pub fn window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    head(out, WINDOW_UPDATE, 0, stream, 4);
    out.extend_from_slice(&more.to_be_bytes());
}

/// Answers what has to be answered whoever is asked: SETTINGS and PING.
pub fn acknowledge(out: &mut Vec<u8>, frame: &Frame<'_>) {
    match frame.kind {
        SETTINGS if frame.flags & ACK == 0 => head(out, SETTINGS, ACK, 0, 0),
        PING if frame.flags & ACK == 0 => Frame { flags: ACK, ..*frame }.write(out),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_written() {
        let mut bytes = Vec::new();
        let frame = Frame { kind: DATA, flags: END_STREAM, stream: 7, payload: b"abc" };
        frame.write(&mut bytes);
        settings(&mut bytes, &[(INITIAL_WINDOW_SIZE, 1 << 20), (ENABLE_PUSH, 0)]);
        window_update(&mut bytes, 9, 300);
        let mut rest = &bytes[..];
        assert_eq!(Frame::take(&mut rest), Some(frame));
        let said: Vec<_> = Frame::take(&mut rest).unwrap().settings().collect();
        assert_eq!(said, [(INITIAL_WINDOW_SIZE, 1 << 20), (ENABLE_PUSH, 0)]);
        for cut in 0..rest.len() {
            assert_eq!(Frame::take(&mut &rest[..cut]), None);
        }
        let update = Frame::take(&mut rest).unwrap();
        assert_eq!((update.stream, update.number(), rest.len()), (9, 300, 0));
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let frame = Frame {
            kind: HEADERS,
            flags: PADDED | PRIORITY | END_HEADERS,
            stream: 1,
            payload: b"\x02PRIORabc\0\0",
        };
        assert_eq!(frame.content().unwrap(), b"abc");
        assert!(Frame { payload: b"\x09PRIORabc", ..frame }.content().is_err());
        assert!(Frame { flags: 0, ..frame }.content().is_err(), "CONTINUATION follows");
        assert_eq!(Frame { kind: DATA, flags: 0, ..frame }.content().unwrap(), frame.payload);
    }

    #[test]
    fn settings_and_pings_are_answered_once() {
        let mut out = Vec::new();
        acknowledge(&mut out, &Frame { kind: PING, flags: 0, stream: 0, payload: b"12345678" });
        let mut rest = &out[..];
        let pong = Frame::take(&mut rest).unwrap();
        assert_eq!((pong.flags, pong.payload), (ACK, &b"12345678"[..]));
        let length = out.len();
        acknowledge(&mut out, &Frame { kind: PING, flags: ACK, stream: 0, payload: b"12345678" });
        assert_eq!(out.len(), length);
    }
}

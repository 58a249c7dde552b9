//! What came back to a client, read strictly: HTTP/1 answers, or HTTP/2 frames.
//!
//! Not here: receiving it (`client`), judging it (`verdict`).

use crate::{
    hpack,
    wire::{self, Chunked, Framing},
};

/// An HTTP/1 answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, without framing.
    pub body: Vec<u8>,
}

/// The first request of a row, as far as it says where its answer ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum First {
    /// HEAD: no body.
    Head,
    /// CONNECT: after 2xx, a tunnel.
    Connect,
    /// Any other.
    #[default]
    Other,
}

/// The final answers in front of `bytes`; `closed`: nothing will follow, so that a body that ends with the connection is whole.
pub fn answers(mut bytes: &[u8], first: First, closed: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = wire::head_end(bytes) {
        let (head, rest) = bytes.split_at(end);
        let Some(status) = head.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok())
        else {
            break;
        };
        if (100..200).contains(&status) && status != 101 {
            bytes = rest;
            continue;
        }
        let asked = if answers.is_empty() { first } else { First::Other };
        if status == 101 || (asked == First::Connect && (200..300).contains(&status)) {
            // What follows belongs to another protocol.
            answers.push(Answer { status, body: Vec::new() });
            break;
        }
        let empty = asked == First::Head || matches!(status, 204 | 304);
        let framing = if empty { Some(Framing::Length(0)) } else { wire::framing(head, false) };
        let (body, length) = match framing {
            Some(Framing::Length(length)) if length <= rest.len() => (rest[..length].to_vec(), length),
            Some(Framing::Chunked) => match wire::chunked(rest) {
                Chunked::Whole(body, length) => (body, length),
                _ => break,
            },
            Some(Framing::Close) if closed => (rest.to_vec(), rest.len()),
            _ => break,
        };
        answers.push(Answer { status, body });
        bytes = &rest[length..];
    }
    answers
}

/// What HTTP/2 frames say, in order: `goaway CODE`, `rst CODE`, a status.
pub fn events(mut bytes: &[u8]) -> Vec<String> {
    let mut events = Vec::new();
    while bytes.len() >= 9 {
        let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let Some(payload) = bytes.get(9..9 + length) else { break };
        match bytes[3] {
            1 => events.extend(hpack::status(payload).map(|status| status.to_string())),
            3 if length == 4 => events.push(format!("rst {}", code(payload))),
            7 if length >= 8 => events.push(format!("goaway {}", code(&payload[4..8]))),
            _ => {}
        }
        bytes = &bytes[9 + length..];
    }
    events
}

/// The name of an error code, by RFC 9113 section 7.
fn code(bytes: &[u8]) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(usize::from(bytes[3])).copied().unwrap_or("UNKNOWN")
}

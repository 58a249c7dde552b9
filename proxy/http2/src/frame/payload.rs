//! What stands in frames, SETTINGS apart: read and written.
//!
//! Each function takes a payload whose head has passed [`Head::check`]; one that has not is an error, never a panic.

use super::{ACK, Head, Kind, MOST_31_BITS, PADDED, PRIORITY};
use crate::code::{Code, Violation};
use std::ops::Range;

const SHORT: Violation = Violation::Connection(Code::FRAME_SIZE_ERROR, "a payload that is too short");
const PADDING: Violation =
    Violation::Connection(Code::PROTOCOL_ERROR, "more padding than the frame has bytes");

/// Where in the payload of DATA the data is. What is around it counts for windows, too.
///
/// # Errors
/// Padding that is longer than the frame.
pub fn data(head: &Head, payload: &[u8]) -> Result<Range<usize>, Violation> {
    if !head.has(PADDED) {
        return Ok(0..payload.len());
    }
    let padding = usize::from(*payload.first().ok_or(SHORT)?);
    let end = payload.len().checked_sub(padding).filter(|end| *end >= 1).ok_or(PADDING)?;
    Ok(1..end)
}

/// Where in the payload of HEADERS the block is. What a stream would depend on is checked, and forgotten.
///
/// # Errors
/// Padding that is longer than the frame, a stream that depends on itself. All of them end the connection: the block will not be
/// decoded, and so none that follows could be.
pub fn headers(head: &Head, payload: &[u8]) -> Result<Range<usize>, Violation> {
    let Range { mut start, end } = data(head, payload)?;
    if head.has(PRIORITY) {
        let stated = payload.get(start..end).ok_or(SHORT)?;
        if stated.len() < 5 {
            return Err(SHORT);
        }
        if depends_on_itself(head, stated)? {
            return Err(Violation::Connection(Code::PROTOCOL_ERROR, "a stream depends on itself"));
        }
        start += 5;
    }
    Ok(start..end)
}

/// PRIORITY says nothing that is heeded (RFC 9113 section 5.3.2).
///
/// # Errors
/// A stream that depends on itself (RFC 7540 section 5.3.1).
pub fn priority(head: &Head, payload: &[u8]) -> Result<(), Violation> {
    match depends_on_itself(head, payload)? {
        true => Err(Violation::Stream(head.stream, Code::PROTOCOL_ERROR, "a stream depends on itself")),
        false => Ok(()),
    }
}

fn depends_on_itself(head: &Head, stated: &[u8]) -> Result<bool, Violation> {
    Ok(number(stated)? & MOST_31_BITS == head.stream)
}

/// Why a stream was reset.
///
/// # Errors
/// A payload that is too short.
pub fn rst_stream(payload: &[u8]) -> Result<Code, Violation> {
    number(payload).map(Code)
}

/// How much more may be sent: at least 1.
///
/// # Errors
/// Nothing more: of the stream, or of the connection.
pub fn window_update(head: &Head, payload: &[u8]) -> Result<u32, Violation> {
    match (number(payload)? & MOST_31_BITS, head.stream) {
        (0, 0) => Err(Violation::Connection(Code::PROTOCOL_ERROR, "a window that opens by nothing")),
        (0, stream) => Err(Violation::Stream(stream, Code::PROTOCOL_ERROR, "a window that opens by nothing")),
        (more, _) => Ok(more),
    }
}

/// The eight bytes that a PING brings, and its answer takes back.
///
/// # Errors
/// A payload of another length.
pub fn ping(payload: &[u8]) -> Result<[u8; 8], Violation> {
    payload.try_into().map_err(|_| SHORT)
}

/// What GOAWAY says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// Streams above it were not looked at.
    pub last_stream: u32,
    /// Why.
    pub code: Code,
    /// For those who look for the fault; not to be trusted.
    pub debug: &'a [u8],
}

/// Reads GOAWAY.
///
/// # Errors
/// A payload that is too short.
pub fn go_away(payload: &[u8]) -> Result<GoAway<'_>, Violation> {
    let (last, rest) = payload.split_first_chunk::<4>().ok_or(SHORT)?;
    let (code, debug) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    Ok(GoAway {
        last_stream: u32::from_be_bytes(*last) & MOST_31_BITS,
        code: Code(u32::from_be_bytes(*code)),
        debug,
    })
}

fn number(payload: &[u8]) -> Result<u32, Violation> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(SHORT)
}

/// Appends RST_STREAM.
pub fn put_rst_stream(out: &mut Vec<u8>, stream: u32, code: Code) {
    Head { length: 4, kind: Kind::RstStream, flags: 0, stream }.put(out);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE; `more` is 1 at least.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    debug_assert!((1..=MOST_31_BITS).contains(&more));
    Head { length: 4, kind: Kind::WindowUpdate, flags: 0, stream }.put(out);
    out.extend_from_slice(&more.to_be_bytes());
}

/// Appends PING, or the answer to one.
pub fn put_ping(out: &mut Vec<u8>, bytes: [u8; 8], answer: bool) {
    Head { length: 8, kind: Kind::Ping, flags: if answer { ACK } else { 0 }, stream: 0 }.put(out);
    out.extend_from_slice(&bytes);
}

/// Appends GOAWAY.
pub fn put_go_away(out: &mut Vec<u8>, last_stream: u32, code: Code) {
    Head { length: 8, kind: Kind::GoAway, flags: 0, stream: 0 }.put(out);
    out.extend_from_slice(&(last_stream & MOST_31_BITS).to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

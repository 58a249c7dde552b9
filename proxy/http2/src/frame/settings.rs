//! SETTINGS: what one end takes.
//!
//! Invariants: what is not said is `None`, and stays as it was; of a setting that is said twice the last counts, but the least
//! size of the compression table is kept, for it empties the table on the way.
//! Source: RFC 9113 section 6.5, RFC 8441 section 3, RFC 9218 section 2.1.

use super::{ACK, Head, Kind, LEAST_MAX_FRAME_SIZE, MOST_31_BITS, MOST_MAX_FRAME_SIZE};
use crate::code::{Code, Violation};

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// What one end takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the table that its decoder has.
    pub header_table_size: Option<u32>,
    /// The least of them where the frame has more than one.
    pub least_header_table_size: Option<u32>,
    /// Whether it takes pushed requests; a server never says so.
    pub enable_push: Option<bool>,
    /// Streams that the other end may have at once.
    pub max_concurrent_streams: Option<u32>,
    /// The window of each stream.
    pub initial_window_size: Option<u32>,
    /// Bytes of a payload.
    pub max_frame_size: Option<u32>,
    /// Bytes of the fields of a message: names, values, and 32 each.
    pub max_header_list_size: Option<u32>,
    /// Whether CONNECT may have `:protocol`.
    pub enable_connect_protocol: Option<bool>,
}

/// Who sent the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client.
    Client,
    /// A server: it may not ask for pushed requests.
    Server,
}

/// Reads SETTINGS that are no acknowledgement.
///
/// # Errors
/// A value that a setting cannot have.
pub fn parse(payload: &[u8], sender: Sender) -> Result<Settings, Violation> {
    let (pairs, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Violation::Connection(Code::FRAME_SIZE_ERROR, "SETTINGS are 6 bytes each"));
    }
    let mut settings = Settings::default();
    for [i0, i1, v0, v1, v2, v3] in pairs {
        settings.read(u16::from_be_bytes([*i0, *i1]), u32::from_be_bytes([*v0, *v1, *v2, *v3]), sender)?;
    }
    Ok(settings)
}

impl Settings {
    fn read(&mut self, identifier: u16, value: u32, sender: Sender) -> Result<(), Violation> {
        match identifier {
            HEADER_TABLE_SIZE => {
                let least = self.least_header_table_size.unwrap_or(value);
                self.least_header_table_size = Some(least.min(value));
                self.header_table_size = Some(value);
            }
            ENABLE_PUSH => {
                let push = switch(value, "ENABLE_PUSH is 0 or 1")?;
                if push && sender == Sender::Server {
                    return Err(Violation::Connection(Code::PROTOCOL_ERROR, "a server does not enable push"));
                }
                self.enable_push = Some(push);
            }
            MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = Some(value),
            INITIAL_WINDOW_SIZE if value > MOST_31_BITS => {
                return Err(Violation::Connection(
                    Code::FLOW_CONTROL_ERROR,
                    "INITIAL_WINDOW_SIZE above 2^31-1",
                ));
            }
            INITIAL_WINDOW_SIZE => self.initial_window_size = Some(value),
            MAX_FRAME_SIZE if !(LEAST_MAX_FRAME_SIZE..=MOST_MAX_FRAME_SIZE).contains(&value) => {
                return Err(Violation::Connection(Code::PROTOCOL_ERROR, "MAX_FRAME_SIZE out of its bounds"));
            }
            MAX_FRAME_SIZE => self.max_frame_size = Some(value),
            MAX_HEADER_LIST_SIZE => self.max_header_list_size = Some(value),
            ENABLE_CONNECT_PROTOCOL => {
                self.enable_connect_protocol = Some(switch(value, "ENABLE_CONNECT_PROTOCOL is 0 or 1")?);
            }
            NO_RFC7540_PRIORITIES => {
                switch(value, "NO_RFC7540_PRIORITIES is 0 or 1")?;
            }
            _ => {} // settings that are not known are ignored
        }
        Ok(())
    }

    /// Appends a SETTINGS frame with what is said here.
    pub fn put(&self, out: &mut Vec<u8>) {
        let pairs = [
            (HEADER_TABLE_SIZE, self.header_table_size),
            (ENABLE_PUSH, self.enable_push.map(u32::from)),
            (MAX_CONCURRENT_STREAMS, self.max_concurrent_streams),
            (INITIAL_WINDOW_SIZE, self.initial_window_size),
            (MAX_FRAME_SIZE, self.max_frame_size),
            (MAX_HEADER_LIST_SIZE, self.max_header_list_size),
            (ENABLE_CONNECT_PROTOCOL, self.enable_connect_protocol.map(u32::from)),
        ];
        let said = || pairs.iter().filter_map(|(identifier, value)| Some((*identifier, (*value)?)));
        let length = said().map(|_| 6).sum();
        Head { length, kind: Kind::Settings, flags: 0, stream: 0 }.put(out);
        for (identifier, value) in said() {
            out.extend_from_slice(&identifier.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn switch(value: u32, why: &'static str) -> Result<bool, Violation> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::Connection(Code::PROTOCOL_ERROR, why)),
    }
}

/// Appends the acknowledgement of SETTINGS.
pub fn put_acknowledgement(out: &mut Vec<u8>) {
    Head { length: 0, kind: Kind::Settings, flags: ACK, stream: 0 }.put(out);
}

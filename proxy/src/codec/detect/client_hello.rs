//! The ClientHello of a TLS connection.
//!
//! In:  bytes that begin with a handshake record.   Out: server name and ALPN offers.
//! Invariants: the message may be spread over any number of records. What violates the grammar, down to the last length, is
//! not TLS. Nothing is copied unless the message is spread.
//! Not here: judging versions, ciphers and keys (rustls does).
//! Source: RFC 8446 sections 4.1.2 and 5.1; RFC 6066 section 3; RFC 7301 section 3.1.

use super::{ClientHello, Detection, MAX_BYTES};
use sidle_model::ir::ApplicationProtocol;
use std::borrow::Cow;

/// The type of a record that carries handshake messages.
pub(super) const HANDSHAKE_RECORD: u8 = 22;
const RECORD_HEADER: usize = 5;
const MAX_FRAGMENT: usize = 1 << 14;

const CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER: usize = 4;
const RANDOM: usize = 32;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;
const MAX_HOST_NAME: usize = 255;

/// Why there is no message.
enum Stop {
    NeedMore,
    Nonsense,
}

/// What a connection that begins with a handshake record speaks.
pub(super) fn detect(bytes: &[u8]) -> Detection {
    match message(bytes) {
        Ok(message) => read(&message).map_or(Detection::Opaque, Detection::Tls),
        Err(Stop::NeedMore) => Detection::NeedMore,
        Err(Stop::Nonsense) => Detection::Opaque,
    }
}

/// The ClientHello without its header, put together from the records.
fn message(mut bytes: &[u8]) -> Result<Cow<'_, [u8]>, Stop> {
    let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        let fragment = next_fragment(&mut bytes)?;
        if joined.is_empty() {
            joined = Cow::Borrowed(fragment);
        } else {
            joined.to_mut().extend_from_slice(fragment);
        }
        if let Some(end) = message_end(&joined)?
            && joined.len() >= end
        {
            return Ok(match joined {
                Cow::Borrowed(message) => Cow::Borrowed(&message[MESSAGE_HEADER..end]),
                Cow::Owned(message) => Cow::Owned(message[MESSAGE_HEADER..end].to_vec()),
            });
        }
    }
}

/// Where the message ends, once its header is there.
fn message_end(joined: &[u8]) -> Result<Option<usize>, Stop> {
    match *joined {
        [CLIENT_HELLO, high, middle, low, ..] => {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length < MAX_BYTES { Ok(Some(MESSAGE_HEADER + length)) } else { Err(Stop::Nonsense) }
        }
        [CLIENT_HELLO, ..] | [] => Ok(None),
        _ => Err(Stop::Nonsense),
    }
}

/// Cuts the next record off `bytes`, as much of it as there is.
fn next_fragment<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], Stop> {
    let header = &bytes[..bytes.len().min(RECORD_HEADER)];
    // Versions 3.0 to 3.4: what clients put there differs, and does not matter.
    let plausible = match *header {
        [kind, major, minor, ..] => kind == HANDSHAKE_RECORD && major == 3 && minor <= 4,
        [kind, major] => kind == HANDSHAKE_RECORD && major == 3,
        [kind] => kind == HANDSHAKE_RECORD,
        [] => true,
    };
    let length = match *header {
        _ if !plausible => return Err(Stop::Nonsense),
        [_, _, _, high, low] => usize::from(u16::from_be_bytes([high, low])),
        _ => return Err(Stop::NeedMore),
    };
    if length == 0 || length > MAX_FRAGMENT {
        return Err(Stop::Nonsense);
    }
    let (_, rest) = bytes.split_at(RECORD_HEADER);
    let (fragment, rest) = rest.split_at(length.min(rest.len()));
    *bytes = rest;
    Ok(fragment)
}

/// Reads a whole ClientHello; `None`: it violates the grammar.
fn read(message: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(message);
    let version = reader.u16()?;
    reader.take(RANDOM)?;
    let session = reader.vector8()?;
    let ciphers = reader.vector16()?;
    let compressions = reader.vector8()?;
    let sane = version >> 8 == 3
        && session.len() <= 32
        && !ciphers.is_empty()
        && ciphers.len().is_multiple_of(2)
        && !compressions.is_empty();
    if !sane {
        return None;
    }
    let mut hello = ClientHello::default();
    if reader.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(reader.vector16()?);
    let (mut names, mut offers) = (false, false);
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.vector16()?;
        // The two that matter may come once; the others are rustls' to judge.
        match kind {
            SERVER_NAME if !std::mem::replace(&mut names, true) => {
                hello.server_name = Some(server_name(body)?)
            }
            ALPN if !std::mem::replace(&mut offers, true) => hello.alpn = alpn(body)?,
            SERVER_NAME | ALPN => return None,
            _ => {}
        }
    }
    reader.is_empty().then_some(hello)
}

/// The host name of a `server_name` extension; the list holds exactly one, as clients send it.
fn server_name(body: &[u8]) -> Option<Box<str>> {
    let mut body = Reader(body);
    let mut list = Reader(body.vector16()?);
    let kind = list.u8()?;
    let name = list.vector16()?;
    let sane = kind == HOST_NAME
        && (1..=MAX_HOST_NAME).contains(&name.len())
        && name.iter().all(u8::is_ascii_graphic)
        && list.is_empty()
        && body.is_empty();
    let name = std::str::from_utf8(name).ok().filter(|_| sane)?;
    Some(name.to_ascii_lowercase().into())
}

/// The known protocols of an ALPN extension.
fn alpn(body: &[u8]) -> Option<Vec<ApplicationProtocol>> {
    let mut body = Reader(body);
    let mut list = Reader(body.vector16()?);
    let mut known = Vec::new();
    if list.is_empty() || !body.is_empty() {
        return None;
    }
    while !list.is_empty() {
        let protocol = match list.vector8()? {
            [] => return None,
            b"http/1.0" => ApplicationProtocol::Http1,
            offer => match ApplicationProtocol::ALL.iter().find(|known| known.alpn().as_bytes() == offer) {
                Some(known) => *known,
                None => continue,
            },
        };
        if !known.contains(&protocol) {
            known.push(protocol);
        }
    }
    Some(known)
}

/// Takes values off the front; `None` when there are too few bytes.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let byte = self.take(1)?;
        byte.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    /// Bytes behind a length of one byte.
    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes behind a length of two bytes.
    fn vector16(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

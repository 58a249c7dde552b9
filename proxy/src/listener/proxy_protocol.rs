//! The PROXY protocol: who the client of a load balancer is, told in front of what he sends.
//!
//! In:  the first bytes of a connection.   Out: his address and the one that he connected to.
//! Invariants: arbitrary bytes never panic; at most [`MAX_BYTES`] are waited for; the two versions cannot be taken for each other,
//! nor for any protocol that is served here.
//! Not here: what the type-length-value list of version 2 says (authority, TLS): it is passed over.
//! Source: HAProxy's "The PROXY protocol", versions 1 and 2.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// The longest header of version 1, line end included.
const MAX_V1: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED: usize = 16;
/// The longest header that is waited for: what every receiver must take.
pub const MAX_BYTES: usize = 536;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Incomplete,
    /// A header of `length` bytes.
    Header {
        /// Behind it begins what the client sent.
        length: usize,
        /// `None`: the connection is the load balancer's own, or of a kind that has no IP address.
        addresses: Option<Addresses>,
    },
    /// No header, or one that is broken.
    Invalid,
}

/// Who connected to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What he connected to.
    pub destination: SocketAddr,
}

/// Reads a header of either version from the front of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    match bytes.first() {
        None => Parsed::Incomplete,
        Some(b'P') => version_1(bytes),
        Some(_) => version_2(bytes).unwrap_or_else(|failed| failed),
    }
}

fn version_1(bytes: &[u8]) -> Parsed {
    const START: &[u8] = b"PROXY ";
    let compared = bytes.len().min(START.len());
    if bytes[..compared] != START[..compared] {
        return Parsed::Invalid;
    }
    let window = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = window.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < MAX_V1 { Parsed::Incomplete } else { Parsed::Invalid };
    };
    let Ok(line) = std::str::from_utf8(&window[START.len()..end]) else { return Parsed::Invalid };
    let mut words = line.split(' ');
    let addresses = match words.next() {
        Some("UNKNOWN") => return Parsed::Header { length: end + 2, addresses: None },
        Some("TCP4") => words_1::<Ipv4Addr>(words),
        Some("TCP6") => words_1::<Ipv6Addr>(words),
        _ => None,
    };
    match addresses {
        Some(addresses) => Parsed::Header { length: end + 2, addresses: Some(addresses) },
        None => Parsed::Invalid,
    }
}

/// Two addresses and two ports, nothing more.
fn words_1<'a, Ip: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<Addresses> {
    let mut ip = || words.next()?.parse::<Ip>().ok().map(Into::into);
    let (source, destination) = (ip()?, ip()?);
    let mut port = || {
        let text = words.next()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let (source, destination) = (SocketAddr::new(source, port()?), SocketAddr::new(destination, port()?));
    words.next().is_none().then_some(Addresses { source, destination })
}

fn version_2(bytes: &[u8]) -> Result<Parsed, Parsed> {
    let compared = bytes.len().min(SIGNATURE.len());
    if bytes[..compared] != SIGNATURE[..compared] {
        return Err(Parsed::Invalid);
    }
    let &[command, family, high, low] =
        bytes.get(SIGNATURE.len()..FIXED).and_then(|fixed| fixed.first_chunk()).ok_or(Parsed::Incomplete)?;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BYTES || !matches!(command, 0x20 | 0x21) {
        return Err(Parsed::Invalid);
    }
    let payload = bytes.get(FIXED..length).ok_or(Parsed::Incomplete)?;
    let addresses = match (command, family) {
        (0x20, _) => None,        // LOCAL: a health check
        (_, 0x00 | 0x31) => None, // unspecified, Unix stream
        (_, 0x11) => Some(payload_2::<4>(payload)?),
        (_, 0x21) => Some(payload_2::<16>(payload)?),
        _ => return Err(Parsed::Invalid), // datagrams, and what is not assigned
    };
    Ok(Parsed::Header { length, addresses })
}

/// Two addresses of `N` bytes, then two ports.
fn payload_2<const N: usize>(payload: &[u8]) -> Result<Addresses, Parsed>
where
    IpAddr: From<[u8; N]>,
{
    let ip =
        |at: usize| payload.get(at..).and_then(|rest| rest.first_chunk::<N>()).map(|ip| IpAddr::from(*ip));
    let port = |at: usize| {
        payload.get(at..).and_then(|rest| rest.first_chunk::<2>()).map(|port| u16::from_be_bytes(*port))
    };
    let address = |ip: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(ip?, port?));
    let source = address(ip(0), port(2 * N)).ok_or(Parsed::Invalid)?;
    let destination = address(ip(N), port(2 * N + 2)).ok_or(Parsed::Invalid)?;
    Ok(Addresses { source, destination })
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;

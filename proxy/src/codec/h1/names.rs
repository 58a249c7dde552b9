//! Names of fields: those that most heads have are told at a glance, and those that decide how a message is read are noted.
//!
//! In:  a line of a head.   Out: the name that it begins with, and what that is to the codec.
//! Invariant: [`read`] gives what `HeaderName::from_bytes` does, for less.

use crate::codec::hop_by_hop;
use http::{HeaderName, header};

/// Which of the fields that matter to the codec a head has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen(u8);

impl Seen {
    /// `content-length` or `transfer-encoding`: the message may have content.
    pub const FRAMING: Seen = Seen(Seen::LENGTH.0 | Seen::CODING.0);
    /// `content-length`.
    pub const LENGTH: Seen = Seen(1);
    /// `transfer-encoding`.
    pub const CODING: Seen = Seen(32);
    /// `connection`.
    pub const CONNECTION: Seen = Seen(2);
    /// A field that ends at the next hop, `connection` among them.
    pub const HOP_BY_HOP: Seen = Seen(4);
    /// `expect`.
    pub const EXPECT: Seen = Seen(8);
    /// A name with `_`.
    pub const UNDERSCORE: Seen = Seen(16);

    /// Whether the head has one of these.
    pub fn has(self, other: Seen) -> bool {
        self.0 & other.0 != 0
    }

    /// Notes another field.
    pub fn note(&mut self, other: Seen) {
        self.0 |= other.0;
    }

    fn of(name: &HeaderName) -> Self {
        let name = name.as_str();
        match name {
            "content-length" => Seen::LENGTH,
            "transfer-encoding" => Seen(Seen::CODING.0 | Seen::HOP_BY_HOP.0),
            "connection" => Seen(Seen::CONNECTION.0 | Seen::HOP_BY_HOP.0),
            "expect" => Seen::EXPECT,
            name if hop_by_hop::is_hop_by_hop(name) => Seen::HOP_BY_HOP,
            // All of it is looked at, which takes fewer steps than to stop early.
            name if name.bytes().fold(false, |found, byte| found | (byte == b'_')) => Seen::UNDERSCORE,
            _ => Seen::default(),
        }
    }
}

/// The name that `text` begins with, up to a `:`, how long it is, and what it is to the codec; `None`: there is none.
pub fn read(text: &[u8]) -> Option<(HeaderName, usize, Seen)> {
    if let Some(start) = text.first_chunk()
        && let Some((name, length, seen)) = common(u128::from_le_bytes(*start))
    {
        return Some((name, length, seen));
    }
    let length = memchr::memchr(b':', text)?;
    let name = HeaderName::from_bytes(&text[..length]).ok()?;
    let seen = Seen::of(&name);
    Some((name, length, seen))
}

/// One of the names that most heads have, of up to 15 letters and `-`, if `:` is behind it.
fn common(text: u128) -> Option<(HeaderName, usize, Seen)> {
    let length = before_colon(text)?;
    // Lower case: what has the bit of letters gets that of small ones. Of such bytes only capital letters become letters.
    let lower = text | (text >> 1 & SMALL);
    let key = lower & (u128::MAX >> (8 * (15 - length)));
    let plain = Seen::default();
    let (name, seen) = match (length, key) {
        (4, HOST) => (header::HOST, plain),
        (4, DATE) => (header::DATE, plain),
        (4, ETAG) => (header::ETAG, plain),
        (4, VARY) => (header::VARY, plain),
        (6, ACCEPT) => (header::ACCEPT, plain),
        (6, COOKIE) => (header::COOKIE, plain),
        (6, SERVER) => (header::SERVER, plain),
        (10, CONNECTION) => (header::CONNECTION, Seen(Seen::CONNECTION.0 | Seen::HOP_BY_HOP.0)),
        (10, USER_AGENT) => (header::USER_AGENT, plain),
        (11, TRACEPARENT) => (custom::TRACEPARENT, plain),
        (12, CONTENT_TYPE) => (header::CONTENT_TYPE, plain),
        (12, X_REQUEST_ID) => (custom::X_REQUEST_ID, plain),
        (13, CACHE_CONTROL) => (header::CACHE_CONTROL, plain),
        (13, AUTHORIZATION) => (header::AUTHORIZATION, plain),
        (13, LAST_MODIFIED) => (header::LAST_MODIFIED, plain),
        (14, CONTENT_LENGTH) => (header::CONTENT_LENGTH, Seen::LENGTH),
        (15, ACCEPT_ENCODING) => (header::ACCEPT_ENCODING, plain),
        (15, ACCEPT_LANGUAGE) => (header::ACCEPT_LANGUAGE, plain),
        (15, X_FORWARDED_FOR) => (custom::X_FORWARDED_FOR, plain),
        _ => return None,
    };
    Some((name, length, seen))
}

/// How many of 16 bytes stand before the first `:`.
fn before_colon(text: u128) -> Option<usize> {
    const ONES: u128 = u128::from_le_bytes([1; 16]);
    let zero = text ^ (ONES * b':' as u128);
    // The lowest bit that is set is that of the first byte that is zero.
    let found = zero.wrapping_sub(ONES) & !zero & (ONES << 7);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// Names that are not the standard's.
mod custom {
    use http::HeaderName;

    pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
}

const SMALL: u128 = u128::from_le_bytes([0x20; 16]);
const HOST: u128 = key("host");
const DATE: u128 = key("date");
const ETAG: u128 = key("etag");
const VARY: u128 = key("vary");
const ACCEPT: u128 = key("accept");
const COOKIE: u128 = key("cookie");
const SERVER: u128 = key("server");
const CONNECTION: u128 = key("connection");
const USER_AGENT: u128 = key("user-agent");
const TRACEPARENT: u128 = key("traceparent");
const CONTENT_TYPE: u128 = key("content-type");
const X_REQUEST_ID: u128 = key("x-request-id");
const CACHE_CONTROL: u128 = key("cache-control");
const AUTHORIZATION: u128 = key("authorization");
const LAST_MODIFIED: u128 = key("last-modified");
const CONTENT_LENGTH: u128 = key("content-length");
const ACCEPT_ENCODING: u128 = key("accept-encoding");
const ACCEPT_LANGUAGE: u128 = key("accept-language");
const X_FORWARDED_FOR: u128 = key("x-forwarded-for");

/// The name with its colon.
const fn key(name: &str) -> u128 {
    let (mut text, bytes) = ([0; 16], name.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        text[at] = bytes[at];
        at += 1;
    }
    text[at] = b':';
    u128::from_le_bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_standard_has_it_be() {
        let known = "host date etag vary accept cookie server connection user-agent traceparent content-type x-request-id \
                     cache-control authorization last-modified content-length accept-encoding accept-language x-forwarded-for";
        let word =
            |name: &str| u128::from_le_bytes(*format!("{name}: {name:16}").as_bytes().first_chunk().unwrap());
        assert!(known.split_whitespace().all(|name| common(word(name)).is_some()));
        let others = "hosts dat x-host transfer-encoding te upgrade keep-alive expect x_a proxy-connection http2-settings \
                      x-forwarded-host accept-encodings accept-encodinge";
        for name in known.split_whitespace().chain(others.split_whitespace()) {
            assert!(known.contains(name) || common(word(name)).is_none());
            for written in [name.to_owned(), name.to_uppercase(), name[..1].to_uppercase() + &name[1..]] {
                for behind in ["", " ", "::: a:b\r\n\r\n and more"] {
                    let (read, length, seen) = read(format!("{written}:{behind}").as_bytes()).unwrap();
                    assert_eq!(read, HeaderName::from_bytes(written.as_bytes()).unwrap());
                    assert_eq!((length, seen), (name.len(), Seen::of(&read)), "{written}");
                }
            }
        }
        for bad in
            ["", ":", "a", "a b:", "a\u{e9}:", "host", "host :", " host:", "host\r\na:", "host and no colon"]
        {
            for behind in ["", " something long enough"] {
                assert!(read(format!("{bad}{behind}").as_bytes()).is_none(), "{bad:?}");
            }
        }
        // One byte of a name that is known, changed to any other.
        for name in known.split_whitespace() {
            for at in 0..name.len() {
                for byte in 0..=255 {
                    let mut written = name.as_bytes().to_vec();
                    written[at] = byte;
                    let name = HeaderName::from_bytes(&written).ok().filter(|_| byte != b':');
                    written.extend_from_slice(b": something behind it");
                    let read = read(&written).filter(|_| byte != b':');
                    assert_eq!(read.map(|(read, ..)| read), name);
                }
            }
        }
    }

    #[test]
    fn what_matters_is_noted() {
        for (name, notes) in [
            ("Content-Length", &[Seen::FRAMING, Seen::LENGTH][..]),
            ("transfer-encoding", &[Seen::FRAMING, Seen::CODING, Seen::HOP_BY_HOP]),
            ("connection", &[Seen::CONNECTION, Seen::HOP_BY_HOP]),
            ("TE", &[Seen::HOP_BY_HOP]),
            ("Upgrade", &[Seen::HOP_BY_HOP]),
            ("keep-alive", &[Seen::HOP_BY_HOP]),
            ("proxy-connection", &[Seen::HOP_BY_HOP]),
            ("http2-settings", &[Seen::HOP_BY_HOP]),
            ("Expect", &[Seen::EXPECT]),
            ("x_a", &[Seen::UNDERSCORE]),
            ("x-a", &[]),
        ] {
            let seen = read(format!("{name}:").as_bytes()).unwrap().2;
            let all = [
                Seen::FRAMING,
                Seen::LENGTH,
                Seen::CODING,
                Seen::CONNECTION,
                Seen::HOP_BY_HOP,
                Seen::EXPECT,
                Seen::UNDERSCORE,
            ];
            for note in all {
                assert_eq!(seen.has(note), notes.contains(&note), "{name}: {note:?}");
            }
        }
    }
}

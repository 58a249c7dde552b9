//! Names of fields: those that most heads have are told at a glance, and those that decide how a message is read are noted.
//!
//! In:  a name as it was written, which `httparse` has found to be a token.   Out: the name, and what it is to the codec.
//! Invariant: [`read`] gives what `HeaderName::from_bytes` does, for less.

use crate::codec::hop_by_hop;
use http::{HeaderName, header};

/// Which of the fields that matter to the codec a head has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen(u8);

impl Seen {
    /// `content-length` or `transfer-encoding`: the message may have content.
    pub const FRAMING: Seen = Seen(1);
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
        let mut seen = Seen::default();
        let notes = [
            (*name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING, Seen::FRAMING),
            (*name == header::CONNECTION, Seen::CONNECTION),
            (hop_by_hop::is_hop_by_hop(name), Seen::HOP_BY_HOP),
            (*name == header::EXPECT, Seen::EXPECT),
            (name.as_str().contains('_'), Seen::UNDERSCORE),
        ];
        notes.iter().filter(|(is, _)| *is).for_each(|(_, note)| seen.note(*note));
        seen
    }
}

/// The name, and what it is to the codec; `None`: it is no name.
pub fn read(written: &[u8]) -> Option<(HeaderName, Seen)> {
    if let Some(name) = common(written) {
        return Some((name, Seen::default()));
    }
    let name = HeaderName::from_bytes(written).ok()?;
    let seen = Seen::of(&name);
    Some((name, seen))
}

/// Names of up to 16 letters and `-`, which mean nothing to the codec.
fn common(written: &[u8]) -> Option<HeaderName> {
    let mut text = [b' '; 16];
    text.get_mut(..written.len())?.copy_from_slice(written);
    // Lower case: of what may be in a name only a capital letter becomes a letter by this, and nothing becomes `-`.
    let key = u128::from_le_bytes(text) | SPACES;
    Some(match key {
        HOST => header::HOST,
        DATE => header::DATE,
        ETAG => header::ETAG,
        VARY => header::VARY,
        ACCEPT => header::ACCEPT,
        COOKIE => header::COOKIE,
        SERVER => header::SERVER,
        USER_AGENT => header::USER_AGENT,
        CONTENT_TYPE => header::CONTENT_TYPE,
        CACHE_CONTROL => header::CACHE_CONTROL,
        AUTHORIZATION => header::AUTHORIZATION,
        LAST_MODIFIED => header::LAST_MODIFIED,
        ACCEPT_ENCODING => header::ACCEPT_ENCODING,
        ACCEPT_LANGUAGE => header::ACCEPT_LANGUAGE,
        _ => return None,
    })
}

const SPACES: u128 = u128::from_le_bytes([b' '; 16]);
const HOST: u128 = key("host");
const DATE: u128 = key("date");
const ETAG: u128 = key("etag");
const VARY: u128 = key("vary");
const ACCEPT: u128 = key("accept");
const COOKIE: u128 = key("cookie");
const SERVER: u128 = key("server");
const USER_AGENT: u128 = key("user-agent");
const CONTENT_TYPE: u128 = key("content-type");
const CACHE_CONTROL: u128 = key("cache-control");
const AUTHORIZATION: u128 = key("authorization");
const LAST_MODIFIED: u128 = key("last-modified");
const ACCEPT_ENCODING: u128 = key("accept-encoding");
const ACCEPT_LANGUAGE: u128 = key("accept-language");

const fn key(name: &str) -> u128 {
    let (mut text, bytes) = ([b' '; 16], name.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        text[at] = bytes[at];
        at += 1;
    }
    u128::from_le_bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_standard_has_it_be() {
        let known = "host date etag vary accept cookie server user-agent content-type cache-control authorization \
                     last-modified accept-encoding accept-language";
        assert!(known.split_whitespace().all(|name| common(name.as_bytes()).is_some()));
        let others = "hosts dat x-host content-length transfer-encoding connection te upgrade keep-alive expect x_a \
                      proxy-connection http2-settings x-forwarded-for accept-encodings accept-encodinge";
        for name in known.split_whitespace().chain(others.split_whitespace()) {
            for written in [name.to_owned(), name.to_uppercase(), name[..1].to_uppercase() + &name[1..]] {
                let (read, seen) = read(written.as_bytes()).unwrap();
                assert_eq!(read, HeaderName::from_bytes(written.as_bytes()).unwrap());
                assert_eq!(seen, Seen::of(&read), "{written}");
            }
        }
        for bad in ["", "a b", "a\u{e9}", "a:"] {
            assert!(read(bad.as_bytes()).is_none(), "{bad:?}");
        }
        // One byte of a name that is known, changed to any other.
        for name in known.split_whitespace() {
            for at in 0..name.len() {
                for byte in 0..=255 {
                    let mut written = name.as_bytes().to_vec();
                    written[at] = byte;
                    if let Ok(name) = HeaderName::from_bytes(&written) {
                        assert_eq!(read(&written).map(|(read, _)| read), Some(name));
                    }
                }
            }
        }
    }

    #[test]
    fn what_matters_is_noted() {
        for (name, notes) in [
            ("Content-Length", &[Seen::FRAMING][..]),
            ("transfer-encoding", &[Seen::FRAMING, Seen::HOP_BY_HOP]),
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
            let seen = read(name.as_bytes()).unwrap().1;
            for note in [Seen::FRAMING, Seen::CONNECTION, Seen::HOP_BY_HOP, Seen::EXPECT, Seen::UNDERSCORE] {
                assert_eq!(seen.has(note), notes.contains(&note), "{name}: {note:?}");
            }
        }
    }
}

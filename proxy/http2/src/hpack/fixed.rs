//! The static table (RFC 7541, appendix A).

use super::{
    field::{Content, Fault, Field, Name, Pseudo},
    table::Entry,
};
use crate::hpack::OVERHEAD;
use http::{HeaderName, HeaderValue, header};

/// Entries; their indices begin with 1.
pub const ENTRIES: usize = 61;
/// The first with a regular name.
pub const FIRST_REGULAR: usize = 15;

/// `:authority`
pub const AUTHORITY: usize = 1;
/// `:method: GET`
pub const GET: usize = 2;
/// `:method: POST`
pub const POST: usize = 3;
/// `:path: /`
pub const ROOT: usize = 4;
/// `:path: /index.html`
pub const INDEX_HTML: usize = 5;
/// `:scheme: http`
pub const HTTP: usize = 6;
/// `:scheme: https`
pub const HTTPS: usize = 7;
/// `:status: 200`, and six others after it
pub const STATUS: usize = 8;
/// `accept-encoding: gzip, deflate`
pub const GZIP_DEFLATE: usize = 16;

/// `transfer-encoding`, which no message of HTTP/2 has
const TRANSFER_ENCODING: usize = 57;

/// The names from [`FIRST_REGULAR`] on, in their order.
static NAMES: [HeaderName; ENTRIES + 1 - FIRST_REGULAR] = [
    header::ACCEPT_CHARSET,              // 15
    header::ACCEPT_ENCODING,             // 16
    header::ACCEPT_LANGUAGE,             // 17
    header::ACCEPT_RANGES,               // 18
    header::ACCEPT,                      // 19
    header::ACCESS_CONTROL_ALLOW_ORIGIN, // 20
    header::AGE,                         // 21
    header::ALLOW,                       // 22
    header::AUTHORIZATION,               // 23
    header::CACHE_CONTROL,               // 24
    header::CONTENT_DISPOSITION,         // 25
    header::CONTENT_ENCODING,            // 26
    header::CONTENT_LANGUAGE,            // 27
    header::CONTENT_LENGTH,              // 28
    header::CONTENT_LOCATION,            // 29
    header::CONTENT_RANGE,               // 30
    header::CONTENT_TYPE,                // 31
    header::COOKIE,                      // 32
    header::DATE,                        // 33
    header::ETAG,                        // 34
    header::EXPECT,                      // 35
    header::EXPIRES,                     // 36
    header::FROM,                        // 37
    header::HOST,                        // 38
    header::IF_MATCH,                    // 39
    header::IF_MODIFIED_SINCE,           // 40
    header::IF_NONE_MATCH,               // 41
    header::IF_RANGE,                    // 42
    header::IF_UNMODIFIED_SINCE,         // 43
    header::LAST_MODIFIED,               // 44
    header::LINK,                        // 45
    header::LOCATION,                    // 46
    header::MAX_FORWARDS,                // 47
    header::PROXY_AUTHENTICATE,          // 48
    header::PROXY_AUTHORIZATION,         // 49
    header::RANGE,                       // 50
    header::REFERER,                     // 51
    header::REFRESH,                     // 52
    header::RETRY_AFTER,                 // 53
    header::SERVER,                      // 54
    header::SET_COOKIE,                  // 55
    header::STRICT_TRANSPORT_SECURITY,   // 56
    header::TRANSFER_ENCODING,           // 57
    header::USER_AGENT,                  // 58
    header::VARY,                        // 59
    header::VIA,                         // 60
    header::WWW_AUTHENTICATE,            // 61
];

/// The value of [`GZIP_DEFLATE`].
pub const GZIP_DEFLATE_VALUE: &str = "gzip, deflate";

/// An entry with a pseudo-header field.
#[derive(Debug)]
pub struct Fixed {
    /// Its name.
    pub pseudo: Pseudo,
    /// Its value.
    pub value: &'static str,
    /// Bytes of both, and 32.
    pub size: usize,
}

const fn of(pseudo: Pseudo, value: &'static str) -> Fixed {
    Fixed { pseudo, value, size: pseudo.name().len() + value.len() + OVERHEAD }
}

static PSEUDO: [Fixed; FIRST_REGULAR - 1] = [
    of(Pseudo::Authority, ""),
    of(Pseudo::Method, "GET"),
    of(Pseudo::Method, "POST"),
    of(Pseudo::Path, "/"),
    of(Pseudo::Path, "/index.html"),
    of(Pseudo::Scheme, "http"),
    of(Pseudo::Scheme, "https"),
    of(Pseudo::Status, "200"),
    of(Pseudo::Status, "204"),
    of(Pseudo::Status, "206"),
    of(Pseudo::Status, "304"),
    of(Pseudo::Status, "400"),
    of(Pseudo::Status, "404"),
    of(Pseudo::Status, "500"),
];

/// The entry of an index, if it has a pseudo-header field.
#[inline]
pub fn pseudo(index: usize) -> Option<&'static Fixed> {
    PSEUDO.get(index.wrapping_sub(1))
}

/// The entry of an index, if it has a regular field.
pub fn regular(index: usize) -> Option<Entry> {
    let value = if index == GZIP_DEFLATE { GZIP_DEFLATE_VALUE } else { "" };
    let (size, content) = match name(index)? {
        Name::Pseudo(_) => return None,
        Name::Regular(name) => (
            name.as_str().len() + value.len() + OVERHEAD,
            Content::Field(Field::Regular(name, HeaderValue::from_static(value))),
        ),
        name @ Name::Wrong(..) => (name.len() + OVERHEAD, Content::Wrong(Fault::ConnectionSpecific, name)),
    };
    Some(Entry { content, size })
}

/// The name of an index from 1 to [`ENTRIES`].
#[inline]
pub fn name(index: usize) -> Option<Name> {
    if let Some(entry) = pseudo(index) {
        return Some(Name::Pseudo(entry.pseudo));
    }
    let name = NAMES.get(index.checked_sub(FIRST_REGULAR)?)?;
    Some(match index {
        TRANSFER_ENCODING => Name::Wrong(Fault::ConnectionSpecific, name.as_str().len()),
        _ => Name::Regular(name.clone()),
    })
}

/// Places of the table that finds a name.
const SLOTS: usize = 128;

/// Where a name is looked for: no two names of the table share a place, which is checked when this is built.
#[inline]
const fn slot(name: &[u8]) -> usize {
    match name {
        [] => 0,
        [first, ..] => {
            let (middle, last) = (name[name.len() / 2] as usize, name[name.len() - 1] as usize);
            (name.len() + *first as usize * 63 + last * 13 + middle * 5) % SLOTS
        }
    }
}

/// By place: the index; 0 where there is none.
static INDICES: [u8; SLOTS] = indices();

const fn indices() -> [u8; SLOTS] {
    let mut indices = [0; SLOTS];
    let mut place = 0;
    while place < TEXTS.len() {
        let slot = slot(TEXTS[place].as_bytes());
        assert!(indices[slot] == 0);
        indices[slot] = (place + FIRST_REGULAR) as u8;
        place += 1;
    }
    indices
}

/// The names as texts, for [`indices`].
const TEXTS: [&str; ENTRIES + 1 - FIRST_REGULAR] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// The index of a regular name in lower case.
#[inline]
pub fn index_of(name: &str) -> Option<usize> {
    let index = usize::from(INDICES[slot(name.as_bytes())]);
    let place = index.checked_sub(FIRST_REGULAR)?;
    (TEXTS[place] == name).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_and_no_other() {
        for (place, name) in NAMES.iter().enumerate() {
            assert_eq!(name.as_str(), TEXTS[place]);
            assert_eq!(index_of(name.as_str()), Some(FIRST_REGULAR + place), "{name}");
        }
        for name in ["", "a", "x-request-id", "content-typf", "dat", "te", "viax"] {
            assert_eq!(index_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_ends_of_the_table() {
        assert!(pseudo(0).is_none() && pseudo(15).is_none());
        assert!([0, 14, 62, usize::MAX].into_iter().all(|index| regular(index).is_none()));
        assert!(name(0).is_none() && name(62).is_none());
        assert_eq!(pseudo(1).unwrap().size, 42);
        let last = pseudo(14).unwrap();
        assert_eq!((last.pseudo, last.value, last.size), (Pseudo::Status, "500", 42));
        let field = |index| match regular(index).unwrap().content {
            Content::Field(Field::Regular(name, value)) => (name, value),
            other => panic!("{index}: {other:?}"),
        };
        assert_eq!(field(16), (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate")));
        assert_eq!(regular(16).unwrap().size, 60);
        assert_eq!(field(61), (header::WWW_AUTHENTICATE, HeaderValue::from_static("")));
        assert!(matches!(regular(57).unwrap().content, Content::Wrong(Fault::ConnectionSpecific, _)));
    }
}

//! Heads of messages: bytes to method, target, status and fields.
//!
//! In:  a whole head.   Out: [`Request`], [`Response`], header maps.
//! Invariants: every line ends with CRLF; nothing is folded, no name is followed by a space; values share the
//! buffer that they came in.
//! Not here: what the fields mean (`framing`, `convert`).

use super::{
    Casing,
    names::{self, Seen},
};
use crate::{
    codec::{buffers, head::ADDED_FIELDS, target},
    error::Refusal,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use std::mem::MaybeUninit;

/// Fields that fit on the stack.
const FEW: usize = 256;

/// Finds the end of a head in bytes that come bit by bit, each looked at once.
#[derive(Debug, Default)]
pub struct LineScanner {
    line: usize,
    searched: usize,
}

/// A line that ends without CR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareLineEnd;

impl LineScanner {
    /// How long the head is, its empty line included; `None`: it is not whole.
    ///
    /// # Errors
    /// [`BareLineEnd`].
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, BareLineEnd> {
        for at in memchr::memchr_iter(b'\n', &bytes[self.searched..]) {
            let end = self.searched + at;
            let line = bytes[self.line..end].strip_suffix(b"\r").ok_or(BareLineEnd)?;
            if line.is_empty() {
                return Ok(Some(end + 1));
            }
            self.line = end + 1;
        }
        self.searched = bytes.len();
        Ok(None)
    }

    /// Whether the first line is whole.
    pub fn has_first_line(&self) -> bool {
        self.line > 0
    }
}

/// Whether bytes begin as a request of HTTP does, however wrongly: by a word of its first line.
pub fn is_http(bytes: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return true };
    let line = bytes[..end].to_ascii_uppercase();
    let method = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    memchr::memmem::find(&line, b"HTTP").is_some()
        || [&b"GET"[..], b"POST", b"HEAD", b"PUT"].contains(&method)
}

/// A request's head as it was written.
#[derive(Debug)]
pub struct Request {
    /// No lower-case letter in it.
    pub method: Method,
    /// In any form.
    pub target: Uri,
    /// 1.0 or 1.1.
    pub version: Version,
    /// All of them.
    pub headers: HeaderMap,
    /// Which matter.
    pub seen: Seen,
    /// Empty unless it was to be kept.
    pub casing: Casing,
}

/// A response's head as it was written.
#[derive(Debug)]
pub struct Response {
    /// 100 to 599.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// All of them.
    pub headers: HeaderMap,
    /// Which matter.
    pub seen: Seen,
    /// Empty unless it was to be kept.
    pub casing: Casing,
}

/// Parses a whole request head.
///
/// # Errors
/// Anything that is not exactly a head with at most `max_fields` fields.
pub fn request(head: &Bytes, max_fields: usize, keep_case: bool) -> Result<Request, Refusal> {
    with_room(max_fields, |room| {
        let mut parsed = httparse::Request::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_request_with_uninit_headers(&mut parsed, head, room) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyHeaders),
            Err(httparse::Error::Version) => return Err(Refusal::BadRequest("unknown version")),
            _ => return Err(Refusal::BadRequest("malformed head")),
        }
        let (Some(written_method), Some(written_target)) = (parsed.method, parsed.path) else {
            return Err(Refusal::BadRequest("malformed request line"));
        };
        let version = version(parsed.version).ok_or(Refusal::BadRequest("unknown version"))?;
        let Fields { headers, seen, casing } =
            collect(head, parsed.headers, keep_case).ok_or(Refusal::BadRequest("malformed field"))?;
        let (method, target) = (method(written_method)?, uri(head, written_target)?);
        Ok(Request { method, target, version, headers, seen, casing })
    })
}

fn method(text: &str) -> Result<Method, Refusal> {
    let method = Method::from_bytes(text.as_bytes()).ok().filter(target::is_method);
    method.ok_or(Refusal::BadRequest("invalid method"))
}

/// A fragment has no place in a target (RFC 9112 section 3.2), and programs differ in where they cut it off.
fn uri(head: &Bytes, text: &str) -> Result<Uri, Refusal> {
    if text.contains('#') {
        return Err(Refusal::BadTarget);
    }
    Uri::from_maybe_shared(head.slice_ref(text.as_bytes())).map_err(|_| Refusal::BadTarget)
}

/// Parses a whole response head.
pub fn response(head: &Bytes, max_fields: usize, keep_case: bool) -> Option<Response> {
    with_room(max_fields, |room| {
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = config.parse_response_with_uninit_headers(&mut parsed, head, room).ok()?;
        if length != httparse::Status::Complete(head.len()) {
            return None;
        }
        let status = StatusCode::from_u16(parsed.code?).ok().filter(|status| status.as_u16() < 600)?;
        let version = version(parsed.version)?;
        let Fields { headers, seen, casing } = collect(head, parsed.headers, keep_case)?;
        Some(Response { status, version, headers, seen, casing })
    })
}

/// Parses fields, up to and with their empty line: trailers.
pub fn fields(section: &Bytes, max_fields: usize) -> Option<HeaderMap> {
    let mut room = vec![httparse::EMPTY_HEADER; max_fields];
    let Ok(httparse::Status::Complete((length, fields))) = httparse::parse_headers(section, &mut room) else {
        return None;
    };
    (length == section.len()).then_some(())?;
    collect(section, fields, false).map(|fields| fields.headers)
}

/// Gives `parse` room for the fields: on the stack unless the limit is unusual.
fn with_room<'b, T>(
    max_fields: usize,
    parse: impl FnOnce(&mut [MaybeUninit<httparse::Header<'b>>]) -> T,
) -> T {
    if max_fields <= FEW {
        parse(&mut [const { MaybeUninit::uninit() }; FEW][..max_fields])
    } else {
        parse(&mut vec![MaybeUninit::uninit(); max_fields])
    }
}

fn version(minor: Option<u8>) -> Option<Version> {
    match minor? {
        0 => Some(Version::HTTP_10),
        1 => Some(Version::HTTP_11),
        _ => None,
    }
}

struct Fields {
    headers: HeaderMap,
    seen: Seen,
    casing: Casing,
}

fn collect(buffer: &Bytes, fields: &[httparse::Header<'_>], keep_case: bool) -> Option<Fields> {
    let mut headers = buffers::take_map(fields.len() + ADDED_FIELDS);
    let (mut seen, mut casing) = (Seen::default(), Casing::default());
    for field in fields {
        let (name, note) = names::read(field.name.as_bytes())?;
        seen.note(note);
        let value = HeaderValue::from_maybe_shared(buffer.slice_ref(field.value)).ok()?;
        if keep_case {
            casing.keep(&name, buffer.slice_ref(field.name.as_bytes()));
        }
        headers.try_append(name, value).ok()?;
    }
    Some(Fields { headers, seen, casing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn parse(text: &str) -> Result<Request, Refusal> {
        request(&Bytes::copy_from_slice(text.as_bytes()), 3, true)
    }

    #[test]
    fn a_head_is_read() {
        let head = parse("GET /a?b HTTP/1.1\r\nHost: x\r\nX-A:\t1 \r\nX-a: 2\r\n\r\n").unwrap();
        assert_eq!(
            (head.method, head.target.to_string(), head.version),
            (Method::GET, "/a?b".into(), Version::HTTP_11)
        );
        assert_eq!(head.headers["host"], "x");
        let values: Vec<_> = head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        let name = HeaderName::from_static("x-a");
        assert_eq!((head.casing.of(&name, 0), head.casing.of(&name, 1)), (&b"X-A"[..], &b"X-a"[..]));
    }

    #[test]
    fn what_is_not_a_head_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            "GET / HTTP/1.1\r\n: b\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET /\t HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET /\r\n\r\n",
            "get / HTTP/1.1\r\n\r\n",
            "GE(T / HTTP/1.1\r\n\r\n",
            "GET /a#b HTTP/1.1\r\n\r\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let long = format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(100));
        assert_eq!(parse(&long).unwrap_err(), Refusal::BadRequest("invalid method"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(4));
        assert_eq!(parse(&many).unwrap_err(), Refusal::TooManyHeaders);
    }

    #[test]
    fn what_speaks_something_else_is_told_apart() {
        assert!(is_http(b"GET / HTTP/3.0\r\n") && is_http(b"GET / HT") && is_http(b""));
        assert!(is_http(b"GET\t/a\r\n") && is_http(b"X /a http/1.1\n"));
        assert!(!is_http(b"INVALID CONNECTION PREFACE\r\n\r\n") && !is_http(b"EHLO a\r\n HTTP/1.1"));
    }

    #[test]
    fn responses() {
        let parse = |text: &str| response(&Bytes::copy_from_slice(text.as_bytes()), 200, false);
        let head = parse("HTTP/1.1 404 Not Found\r\na: b\r\n\r\n").unwrap();
        assert_eq!(
            (head.status.as_u16(), head.version, head.casing.is_empty()),
            (404, Version::HTTP_11, true)
        );
        assert!(parse("HTTP/1.0 200\r\n\r\n").is_some());
        for bad in [
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_end_is_found_wherever_the_pieces_are_cut() {
        let head = b"GET / HTTP/1.1\r\na: b\r\n\r\nrest";
        for cut in 0..head.len() {
            let mut scanner = LineScanner::default();
            let first = scanner.end(&head[..cut]).unwrap();
            assert_eq!(first.or_else(|| scanner.end(head).unwrap()), Some(24), "{cut}");
        }
        for bad in
            [&b"GET / HTTP/1.1\na: b\r\n\r\n"[..], b"GET / HTTP/1.1\r\na: b\n\r\n", b"GET / HTTP/1.1\r\n\n"]
        {
            assert_eq!(LineScanner::default().end(bad), Err(BareLineEnd));
        }
    }
}

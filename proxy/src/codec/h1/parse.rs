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
    codec::{head::ADDED_FIELDS, target},
    error::Refusal,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, uri::PathAndQuery};
use sidle_fields::{Fields, spare};

/// Fields that most heads have no more of: there is room for so many at once.
const FEW: usize = 6;

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
    pub headers: Fields,
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
    pub headers: Fields,
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
    const MALFORMED: Refusal = Refusal::BadRequest("malformed head");
    let (line, rest) = first_line(head).ok_or(MALFORMED)?;
    let (method, line) = cut(line, b' ').ok_or(MALFORMED)?;
    let (target, version) = cut(line, b' ').ok_or(MALFORMED)?;
    if !is_target(target) {
        return Err(MALFORMED);
    }
    let version = self::version(version).ok_or(Refusal::BadRequest("unknown version"))?;
    let Section { headers, seen, casing } =
        read_fields(head, rest, max_fields, keep_case).map_err(|wrong| match wrong {
            Wrong::Malformed => MALFORMED,
            Wrong::TooMany => Refusal::TooManyHeaders,
        })?;
    let method = self::method(method)?;
    let target = uri(head, target, &method)?;
    Ok(Request { method, target, version, headers, seen, casing })
}

fn method(written: &[u8]) -> Result<Method, Refusal> {
    let method = Method::from_bytes(written).ok().filter(target::is_method);
    method.ok_or(Refusal::BadRequest("invalid method"))
}

/// A target is text, and one word.
fn is_target(bytes: &[u8]) -> bool {
    // All of them are looked at, which takes fewer steps than to stop early.
    let bad = bytes.iter().fold(bytes.is_empty(), |bad, &byte| bad | (byte <= b' ') | (byte == 0x7f));
    !bad && (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok())
}

/// A fragment has no place in a target (RFC 9112 section 3.2), and programs differ in where they cut it off. `OPTIONS http://a` is about
/// the whole server (section 3.2.4).
fn uri(head: &Bytes, target: &[u8], method: &Method) -> Result<Uri, Refusal> {
    if target.iter().fold(false, |found, &byte| found | (byte == b'#')) {
        return Err(Refusal::BadTarget);
    }
    let uri = Uri::from_maybe_shared(head.slice_ref(target)).map_err(|_| Refusal::BadTarget)?;
    let has_path = uri.path() != "/" || uri.query().is_some() || target.ends_with(b"/");
    if *method != Method::OPTIONS || uri.scheme().is_none() || has_path {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).map_err(|_| Refusal::BadTarget)
}

/// Parses a whole response head.
pub fn response(head: &Bytes, max_fields: usize, keep_case: bool) -> Option<Response> {
    let (line, rest) = first_line(head)?;
    let (version, line) = line.split_at_checked("HTTP/1.1".len())?;
    let version = self::version(version)?;
    let (code, reason) = line.strip_prefix(b" ")?.split_at_checked(3)?;
    let status = StatusCode::from_bytes(code).ok().filter(|status| status.as_u16() < 600)?;
    if !(reason.is_empty() || reason[0] == b' ' && reason.iter().all(is_text)) {
        return None;
    }
    let Section { headers, seen, casing } = read_fields(head, rest, max_fields, keep_case).ok()?;
    Some(Response { status, version, headers, seen, casing })
}

/// Parses fields, up to and with their empty line: trailers.
pub fn fields(section: &Bytes, max_fields: usize) -> Option<HeaderMap> {
    read_fields(section, section, max_fields, false).ok()?.headers.try_into().ok()
}

/// The first line, and what is behind it.
fn first_line(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = cut(head, b'\n')?;
    Some((line.strip_suffix(b"\r")?, rest))
}

/// What stands before the first such byte, and behind it.
fn cut(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = memchr::memchr(at, bytes)?;
    Some((&bytes[..found], &bytes[found + 1..]))
}

/// What may stand in a reason.
fn is_text(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)
}

fn version(written: &[u8]) -> Option<Version> {
    match written {
        b"HTTP/1.1" => Some(Version::HTTP_11),
        b"HTTP/1.0" => Some(Version::HTTP_10),
        _ => None,
    }
}

struct Section {
    headers: Fields,
    seen: Seen,
    casing: Casing,
}

/// What is wrong with fields.
enum Wrong {
    Malformed,
    TooMany,
}

/// Reads `lines`, the rest of `head` behind its first line, in one go: what may be in a name and a value is for `http` to say.
fn read_fields(head: &Bytes, mut lines: &[u8], max: usize, keep_case: bool) -> Result<Section, Wrong> {
    let mut headers = spare::take(FEW + ADDED_FIELDS);
    let (mut seen, mut casing) = (Seen::default(), Casing::default());
    let mut count = 0;
    while !lines.starts_with(b"\r\n") {
        // A line without `:` has no name: what is before the next `:` holds the end of that line.
        let (name, length, note) = names::read(lines).ok_or(Wrong::Malformed)?;
        let (written, rest) = lines.split_at(length);
        let (value, rest) = first_line(&rest[1..]).ok_or(Wrong::Malformed)?;
        let value = head.slice_ref(trim(value));
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Wrong::Malformed)?;
        count += 1;
        if count > max {
            return Err(Wrong::TooMany);
        }
        if keep_case {
            casing.keep(&name, head.slice_ref(written));
        }
        seen.note(note);
        headers.append(name, value);
        lines = rest;
    }
    if lines.len() > 2 {
        return Err(Wrong::Malformed); // there is more than a head
    }
    Ok(Section { headers, seen, casing })
}

/// A value without the spaces and tabs around it.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
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
        let values: Vec<_> = head.headers.get_all("x-a").collect();
        assert_eq!(values, ["1", "2"]);
        let name = HeaderName::from_static("x-a");
        let mut spellings = head.casing.spellings();
        assert_eq!((spellings.next(&name), spellings.next(&name)), (&b"X-A"[..], &b"X-a"[..]));
    }

    #[test]
    fn options_of_a_server_and_of_its_root_are_two() {
        for (line, target) in [
            ("OPTIONS http://a", "*"),
            ("OPTIONS http://a:80", "*"),
            ("OPTIONS http://a/", "/"),
            ("OPTIONS http://a?b", "?b"),
            ("OPTIONS /", "/"),
            ("GET http://a", "/"),
        ] {
            let head = parse(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!(head.target.path_and_query().unwrap(), target, "{line}");
        }
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

    type Read = Option<(String, Vec<(String, Vec<u8>)>)>;

    fn by_us(start: String, headers: &Fields) -> Read {
        let fields = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Some((start, fields.collect()))
    }

    fn by_httparse(start: String, fields: &[httparse::Header<'_>]) -> Read {
        let mut headers = Fields::new();
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        by_us(start, &headers)
    }

    /// Heads that somebody broke at random are read as another parser reads those whose lines end as they should.
    #[test]
    fn heads_are_read_as_another_parser_reads_them() {
        let requests =
            "GET /a?b=%20 HTTP/1.1\r\nHost: a:1\r\nX-Request-Id:\t1 \r\nContent-Length:0\r\nA:\r\n\r\n";
        let answers = "HTTP/1.1 200 O K\r\nserver: x\r\nLast-Modified: a\r\nx-b: c d\t\r\n\r\n";
        let bytes = b" \t\r\n:\0\x7f\x80\xc3\xa9/#?*aA09-_\"(HTP1.";
        let mut random = fastrand::Rng::with_seed(9);
        let mut taken = [0; 2];
        for round in 0..60_000 {
            let is_request = round % 2 == 0;
            let mut head = if is_request { requests } else { answers }.as_bytes().to_vec();
            for _ in 0..random.usize(0..4) {
                let (at, byte) = (random.usize(..head.len()), bytes[random.usize(..bytes.len())]);
                match random.u8(..3) {
                    0 => head[at] = byte,
                    1 => head.insert(at, byte),
                    _ => drop(head.remove(at)),
                }
            }
            let Ok(Some(end)) = LineScanner::default().end(&head) else { continue };
            let head = Bytes::from(head).slice(..end);
            let mut room = [httparse::EMPTY_HEADER; 5];
            let (ours, theirs) = if is_request {
                let ours = request(&head, 5, false).ok();
                let ours = ours
                    .and_then(|r| by_us(format!("{} {} {:?}", r.method, r.target, r.version), &r.headers));
                let mut parsed = httparse::Request::new(&mut room);
                let whole = parsed.parse(&head) == Ok(httparse::Status::Complete(head.len()));
                let theirs = whole.then(|| {
                    let method = method(parsed.method?.as_bytes()).ok()?;
                    let target = uri(&head, parsed.path?.as_bytes(), &method).ok()?;
                    by_httparse(format!("{method} {target} HTTP/1.{}", parsed.version?), parsed.headers)
                });
                (ours, theirs)
            } else {
                let ours = response(&head, 5, false);
                let ours =
                    ours.and_then(|r| by_us(format!("{} {:?}", r.status.as_u16(), r.version), &r.headers));
                let mut parsed = httparse::Response::new(&mut room);
                let whole = parsed.parse(&head) == Ok(httparse::Status::Complete(head.len()));
                let code = parsed.code.filter(|code| (100..600).contains(code));
                let theirs = whole
                    .then(|| by_httparse(format!("{} HTTP/1.{}", code?, parsed.version?), parsed.headers));
                (ours, theirs)
            };
            assert_eq!(ours, theirs.flatten(), "{head:?}");
            taken[usize::from(is_request)] += usize::from(ours.is_some());
        }
        assert!(taken.iter().all(|taken| *taken > 5_000), "{taken:?}");
    }
}

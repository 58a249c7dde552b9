//! HTTP/1 messages in bytes, found by the letter of RFC 9112 and by no library: the recorder and the client must not share
//! a mistake with what they watch.
//!
//! Not here: sockets.

/// Where a message's head ends, past its empty line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The values of a header field, trimmed.
pub fn header<'a>(head: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        })
        .collect()
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(usize),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// How the body after this head ends; `None` when two readers could disagree.
pub fn framing(head: &[u8], request: bool) -> Option<Framing> {
    let lengths = header(head, "content-length");
    match (lengths.as_slice(), header(head, "transfer-encoding").as_slice()) {
        ([], []) if request => Some(Framing::Length(0)),
        ([], []) => Some(Framing::Close),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(length).ok()?.parse().ok().map(Framing::Length)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        _ => None,
    }
}

/// A chunked body in front of `bytes`: its content and its length on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunked {
    /// It is all there.
    Whole(Vec<u8>, usize),
    /// It goes on.
    Partial,
    /// It is none.
    Broken,
}

/// Reads a chunked body; extensions and trailers are passed over.
pub fn chunked(bytes: &[u8]) -> Chunked {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return Chunked::Partial;
        };
        let line = &bytes[at..at + end];
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
        let Some(size) = size.and_then(|digits| usize::from_str_radix(digits, 16).ok()) else {
            return Chunked::Broken;
        };
        at += end + 2;
        if size == 0 {
            return trailers(&bytes[at..])
                .map_or(Chunked::Partial, |length| Chunked::Whole(body, at + length));
        }
        let Some(after) = at.checked_add(size).and_then(|end| bytes.get(end..end.checked_add(2)?)) else {
            return Chunked::Partial;
        };
        if after != b"\r\n" {
            return Chunked::Broken;
        }
        body.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
    }
}

/// The length of a trailer section, its empty line included.
fn trailers(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\r\n") { Some(2) } else { head_end(bytes) }
}

/// Whether `bytes` hold `part`; letter case does not count.
pub fn holds(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Known messages, checked before the rows are.
pub fn check() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX:  b \r\n\r\nrest";
    assert_eq!((head_end(head), header(head, "x")), (Some(35), vec![&b"b"[..]]));
    assert_eq!(framing(b"P\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", true), None);
    assert_eq!(chunked(b"1;x=y\r\na\r\n0\r\nT: x\r\n\r\nGET"), Chunked::Whole(b"a".to_vec(), 21));
    assert_eq!(chunked(b"1\r\nab\r\n"), Chunked::Broken);
    assert_eq!(chunked(b"5\r\nab"), Chunked::Partial);
    assert_eq!(chunked(b"0\r\n"), Chunked::Partial);
}

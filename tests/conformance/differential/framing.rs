//! Where HTTP/1 requests begin and end in a stream of bytes, read as RFC 9112 says and in no other way.
//!
//! In:  bytes.   Out: a [`Message`] and its length, [`Next::Incomplete`], or [`Next::Broken`] and why.
//! Invariant: nothing is forgiven. A proxy writes for the least forgiving reader.

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length,
    Chunked,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub method: String,
    pub target: String,
    pub host: String,
    pub framing: Framing,
    pub body: Vec<u8>,
    /// Whether it asks for a `100 Continue`.
    pub expects: bool,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole request of so many bytes.
    Whole(Message, usize),
    /// The beginning of one; its head, if that is whole.
    Incomplete(Option<Message>),
    /// No request.
    Broken(String),
}

/// Reads one request.
pub fn next(bytes: &[u8]) -> Next {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Next::Incomplete(None);
    };
    match head(&bytes[..end]) {
        Err(why) => Next::Broken(why),
        Ok((message, length)) => body(message, length, bytes, end + 4),
    }
}

fn body(mut message: Message, length: usize, bytes: &[u8], start: usize) -> Next {
    if message.framing == Framing::Chunked {
        return match chunks(&bytes[start..]) {
            Err(why) => Next::Broken(why),
            Ok(None) => Next::Incomplete(Some(message)),
            Ok(Some((body, used))) => {
                message.body = body;
                Next::Whole(message, start + used)
            }
        };
    }
    match bytes.get(start..start.saturating_add(length)) {
        None => Next::Incomplete(Some(message)),
        Some(body) => {
            message.body = body.to_vec();
            Next::Whole(message, start + length)
        }
    }
}

fn head(bytes: &[u8]) -> Result<(Message, usize), String> {
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let parts: Vec<_> = first.split(' ').collect();
    let [method, target, version] = parts[..] else { return Err(format!("request line {first:?}")) };
    let visible = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if !method.chars().all(is_token) || !visible(target) || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(format!("request line {first:?}"));
    }
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let all = |name: &str| fields.iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect::<Vec<_>>();
    let (framing, length) = match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => (Framing::None, 0),
        ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            (Framing::Length, length.parse().map_err(|_| format!("content-length {length:?}"))?)
        }
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => {
            (Framing::Chunked, 0)
        }
        (codings, lengths) => return Err(format!("framing {codings:?} {lengths:?}")),
    };
    let [host] = all("host")[..] else { return Err(format!("hosts {:?}", all("host"))) };
    let message = Message {
        method: method.to_owned(),
        target: target.to_owned(),
        host: host.to_owned(),
        framing,
        body: Vec::new(),
        expects: all("expect").iter().any(|value| value.eq_ignore_ascii_case("100-continue")),
    };
    Ok((message, length))
}

fn field(line: &str) -> Result<(String, &str), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("field {line:?}"))?;
    let value = value.trim_matches([' ', '\t']);
    if name.is_empty()
        || !name.chars().all(is_token)
        || value.chars().any(|c| c < ' ' && c != '\t' || c == '\x7f')
    {
        return Err(format!("field {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value))
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// The data of a chunked body and how many bytes it took.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line(&bytes[at..]) else { return Ok(None) };
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let text = String::from_utf8_lossy(digits);
        if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("chunk size {:?}", String::from_utf8_lossy(line)));
        }
        let size = usize::from_str_radix(&text, 16).map_err(|error| error.to_string())?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("no line end after a chunk".to_owned());
        }
        data.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    loop {
        let Some(trailer) = line(&bytes[at..]) else { return Ok(None) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(Some((data, at)));
        }
        field(&String::from_utf8_lossy(trailer))?;
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|two| two == b"\r\n").map(|end| &bytes[..end])
}

#[test]
fn requests_are_read_strictly() {
    let whole = |bytes: &str| match next(bytes.as_bytes()) {
        Next::Whole(message, used) => (String::from_utf8(message.body).unwrap(), bytes.len() - used),
        other => panic!("{bytes:?}: {other:?}"),
    };
    assert_eq!(whole("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabX"), ("ab".to_owned(), 1));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(whole(&format!("{chunked}2;x\r\nab\r\n0\r\nt: v\r\n\r\nXY")), ("ab".to_owned(), 2));
    for incomplete in ["", "GET / HTTP/1.1\r\n", &format!("{chunked}2\r\na")] {
        assert!(matches!(next(incomplete.as_bytes()), Next::Incomplete(_)), "{incomplete:?}");
    }
    for broken in [
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(),
        chunked.replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\n"),
        format!("{chunked}+2\r\nab\r\n0\r\n\r\n"),
        format!("{chunked}2\r\nabc\r\n0\r\n\r\n"),
    ] {
        assert!(matches!(next(broken.as_bytes()), Next::Broken(_)), "{broken:?}");
    }
}

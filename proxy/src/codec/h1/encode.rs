//! Heads and content to bytes.
//!
//! Invariants: what frames a message is written here and nowhere else; a body never exceeds the length that was announced;
//! no name or value can end a line (`http`'s types hold none that could).
//! Source: RFC 9112 sections 4, 5 and 7.1.

use super::{Casing, framing::Framing, output::Output};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sidle_fields::Fields;
use std::io::Write as _;

/// Writes the status line.
pub fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes one field.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes all fields but those that frame the message; `host` in place of the value of that field.
pub fn fields(out: &mut Vec<u8>, headers: &Fields, casing: &Casing, host: Option<&str>) {
    let mut write = |name: &HeaderName, written: &[u8], value: &HeaderValue| match host {
        Some(host) if *name == header::HOST => field(out, written, host.as_bytes()),
        _ => field(out, written, value.as_bytes()),
    };
    if casing.is_empty() {
        headers.iter().filter(|(name, _)| !frames(name)).for_each(|(name, value)| {
            write(name, name.as_str().as_bytes(), value);
        });
        return;
    }
    let mut spellings = casing.spellings();
    for (name, value) in headers.iter().filter(|(name, _)| !frames(name)) {
        write(name, spellings.next(name), value);
    }
}

fn frames(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING
}

/// Writes the field that says where the message ends; nothing for [`Framing::UntilClose`].
pub fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            let mut text = itoa::Buffer::new();
            field(out, b"content-length", text.format(length).as_bytes());
        }
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
        Framing::UntilClose => {}
    }
}

/// Writes a message's content.
#[derive(Debug)]
pub struct Encoder(Framing);

/// The body has another length than was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongLength;

impl Encoder {
    /// For a message with this framing.
    pub fn new(framing: Framing) -> Self {
        Encoder(framing)
    }

    /// Bytes still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            Framing::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Writes some content.
    ///
    /// # Errors
    /// [`WrongLength`]: there is more than was announced.
    pub fn data(&mut self, out: &mut Output, data: Bytes) -> Result<(), WrongLength> {
        match &mut self.0 {
            _ if data.is_empty() => {}
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                out.push(data);
            }
            Framing::Chunked => {
                let _ = write!(out.small(), "{:x}\r\n", data.len()); // a Vec takes all
                out.push(data);
                out.small().extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => out.push(data),
        }
        Ok(())
    }

    /// Writes the end, with trailers where the framing has room for them.
    ///
    /// # Errors
    /// [`WrongLength`]: less was written than was announced.
    pub fn end(&mut self, out: &mut Output, trailers: Option<&HeaderMap>) -> Result<(), WrongLength> {
        match self.0 {
            Framing::Length(0) | Framing::UntilClose => Ok(()),
            Framing::Length(_) => Err(WrongLength),
            Framing::Chunked => {
                let out = out.small();
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    field(out, name.as_str().as_bytes(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// The announced length of a body that goes out with these headers.
pub fn announced(headers: &Fields) -> Option<u64> {
    let value: &HeaderValue = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        framing: Framing,
        parts: &[&'static str],
        trailers: Option<HeaderMap>,
    ) -> Result<String, WrongLength> {
        let (mut out, mut encoder) = (Output::default(), Encoder::new(framing));
        for part in parts {
            encoder.data(&mut out, Bytes::from_static(part.as_bytes()))?;
        }
        encoder.end(&mut out, trailers.as_ref())?;
        Ok(String::from_utf8(out.take_all()).unwrap())
    }

    #[test]
    fn content_has_the_length_that_was_announced() {
        assert_eq!(written(Framing::Length(4), &["ab", "", "cd"], None).as_deref(), Ok("abcd"));
        assert_eq!(written(Framing::Length(3), &["ab", "cd"], None), Err(WrongLength));
        assert_eq!(written(Framing::Length(5), &["ab", "cd"], None), Err(WrongLength));
    }

    #[test]
    fn chunks_and_trailers() {
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("x"), HeaderValue::from_static("1"))]);
        let chunked = written(Framing::Chunked, &["hello world 1234", "", "a"], Some(trailers));
        assert_eq!(chunked.as_deref(), Ok("10\r\nhello world 1234\r\n1\r\na\r\n0\r\nx: 1\r\n\r\n"));
        assert_eq!(written(Framing::Chunked, &[], None).as_deref(), Ok("0\r\n\r\n"));
    }

    #[test]
    fn fields_keep_their_order_and_spelling() {
        let mut headers = Fields::new();
        for (name, value) in [("b", "1"), ("content-length", "9"), ("a", "2"), ("b", "3")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        fields(&mut out, &headers, &Casing::default(), None);
        assert_eq!(out, b"b: 1\r\na: 2\r\nb: 3\r\n");
        let mut casing = Casing::default();
        casing.keep(&HeaderName::from_static("b"), Bytes::from_static(b"B"));
        out.clear();
        fields(&mut out, &headers, &casing, None);
        assert_eq!(out, b"B: 1\r\na: 2\r\nb: 3\r\n");
    }
}

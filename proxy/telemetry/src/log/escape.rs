//! Bytes from outside, made harmless for a line of text or a JSON string, and cut to a length.

use std::fmt;

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A line of text, or a header value: control bytes become `\xNN`, all else stays, as in Envoy.
    Text,
    /// A JSON string.
    Json,
}

/// Appends what is written to it, escaped, up to a length that counts bytes before escaping.
pub(super) struct Escaped<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
    left: usize,
}

impl<'a> Escaped<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: Style, length: Option<usize>) -> Self {
        Escaped { out, style, left: length.unwrap_or(usize::MAX) }
    }

    /// For what needs no escape: digits and the like.
    pub(super) fn push_plain(&mut self, bytes: &[u8]) {
        let bytes = cut(bytes, self.left);
        self.left -= bytes.len();
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes = cut(bytes, self.left);
        self.left -= bytes.len();
        match self.style {
            Style::Text => text(bytes, self.out),
            Style::Json => json(bytes, self.out),
        }
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// At most `length` bytes, without half of a UTF-8 character at the end.
fn cut(bytes: &[u8], length: usize) -> &[u8] {
    if bytes.len() <= length {
        return bytes;
    }
    let is_continuation = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    let start = (length.saturating_sub(3)..=length).rev().find(|at| !is_continuation(*at));
    &bytes[..start.unwrap_or(length)]
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    // All of it is looked at, which takes fewer steps than to stop early.
    if !bytes.iter().fold(false, |found, byte| found | byte.is_ascii_control()) {
        return out.extend_from_slice(bytes);
    }
    for run in bytes.split_inclusive(u8::is_ascii_control) {
        match run.split_last() {
            Some((last, before)) if last.is_ascii_control() => {
                out.extend_from_slice(before);
                out.extend_from_slice(b"\\x");
                out.extend_from_slice(&hex(*last));
            }
            _ => out.extend_from_slice(run),
        }
    }
}

fn json(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        let special = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\');
        for run in chunk.valid().as_bytes().split_inclusive(special) {
            match run.split_last() {
                Some((last, before)) if special(last) => {
                    out.extend_from_slice(before);
                    json_escape(*last, out);
                }
                _ => out.extend_from_slice(run),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn json_escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&hex(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8], style: Style, length: Option<usize>) -> Vec<u8> {
        let mut out = Vec::new();
        Escaped::new(&mut out, style, length).push(bytes);
        out
    }

    #[test]
    fn a_line_cannot_be_forged() {
        assert_eq!(
            escaped(b"a\r\n[fake]\x1b[31m\"q\" \xff", Style::Text, None),
            b"a\\x0d\\x0a[fake]\\x1b[31m\"q\" \xff"
        );
        assert_eq!(
            escaped(b"a\n\"q\"\\\x01\xffz", Style::Json, None),
            "a\\n\\\"q\\\"\\\\\\u0001\u{fffd}z".as_bytes()
        );
    }

    #[test]
    fn cuts_fall_between_characters() {
        assert_eq!(escaped("häuser".as_bytes(), Style::Json, Some(2)), b"h");
        assert_eq!(escaped("häuser".as_bytes(), Style::Json, Some(3)), "hä".as_bytes());
        assert_eq!(escaped(b"abc", Style::Text, Some(0)), b"");
        assert_eq!(
            escaped(b"\x80\x80\x80\x80\x80\x80", Style::Text, Some(4)).len(),
            4,
            "not UTF-8: cut anywhere"
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_in_one_json_string_comes_out(bytes: Vec<u8>, length in proptest::option::of(0usize..40)) {
            let mut out = vec![b'"'];
            out.extend(escaped(&bytes, Style::Json, length));
            out.push(b'"');
            let text: String = serde_json::from_slice(&out).unwrap();
            if length.is_none() {
                prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn text_holds_no_control_byte(bytes: Vec<u8>) {
            prop_assert!(!escaped(&bytes, Style::Text, None).iter().any(u8::is_ascii_control));
        }
    }
}

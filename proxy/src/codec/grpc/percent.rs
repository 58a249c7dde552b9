//! `grpc-message`: text as a header takes it.

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS};

/// What is encoded besides what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Printable ASCII as it is but for `%`, every other byte as `%XX`.
pub fn encode(text: &[u8]) -> HeaderValue {
    let encoded = percent_encoding::percent_encode(text, ENCODED).to_string();
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_ascii_stays() {
        assert_eq!(encode(b"no route: /a?b=c ~"), "no route: /a?b=c ~");
        assert_eq!(encode("100% \u{e9}\r\n\x7f".as_bytes()), "100%25 %C3%A9%0D%0A%7F");
        assert_eq!(encode(b"\xff\x00"), "%FF%00");
        assert_eq!(encode(b""), "");
    }

    #[test]
    fn every_byte_makes_a_header() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let decoded: Vec<u8> = percent_encoding::percent_decode(encode(&all).as_bytes()).collect();
        assert_eq!(decoded, all);
    }
}

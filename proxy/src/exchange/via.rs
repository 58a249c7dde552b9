//! `via`: the name of this proxy on messages that it passes on. Source: RFC 9110 section 7.6.3.

use http::{HeaderValue, Version, header};
use sidle_fields::Fields;

/// Appends `name`, behind the protocol version that the message was received with.
pub fn append(headers: &mut Fields, name: &HeaderValue, received: Version) {
    let version: &[u8] = match received {
        Version::HTTP_10 => b"1.0 ",
        Version::HTTP_2 => b"2 ",
        _ => b"1.1 ",
    };
    if let Ok(value) = HeaderValue::from_bytes(&[version, name.as_bytes()].concat()) {
        headers.append(header::VIA, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_last() {
        let mut headers = Fields::new();
        headers.insert(header::VIA, HeaderValue::from_static("1.0 fred"));
        append(&mut headers, &HeaderValue::from_static("sidle"), Version::HTTP_11);
        append(&mut headers, &HeaderValue::from_static("sidle"), Version::HTTP_2);
        let vias: Vec<_> = headers.get_all(header::VIA).collect();
        assert_eq!(vias, ["1.0 fred", "1.1 sidle", "2 sidle"]);
    }
}

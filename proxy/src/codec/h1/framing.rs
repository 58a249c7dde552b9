//! Where a message ends. The one place that decides it, for both sides, and refuses whatever two programs could read in
//! two ways.
//!
//! In:  a message's version, status and header fields.   Out: [`Framing`].
//! Invariants: a length and a coding are never both believed; what is not plainly `chunked` is not chunked.
//! Source: RFC 9112 section 6.

use super::names::Seen;
use crate::error::Refusal;
use http::{Method, StatusCode, Version, header};
use sidle_fields::Fields;

/// The longest length that is believed: others count in signed numbers.
pub const MAX_LENGTH: u64 = i64::MAX as u64;

/// How far a message's content reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes; 0: none.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// To the end of the connection; responses only.
    UntilClose,
}

/// The framing of a request.
///
/// # Errors
/// 501 for a coding that is not spoken here; 400 for anything that is not one length or plainly `chunked`.
pub fn of_request(version: Version, headers: &Fields) -> Result<Framing, Refusal> {
    let length =
        content_length(headers).map_err(|Ambiguous| Refusal::BadRequest("invalid content-length"))?;
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(Framing::Length(length.unwrap_or(0)));
    }
    if version != Version::HTTP_11 {
        return Err(Refusal::BadRequest("transfer-encoding in HTTP/1.0"));
    }
    match coding(headers) {
        Coding::Chunked if length.is_none() => Ok(Framing::Chunked),
        Coding::Chunked => Err(Refusal::BadRequest("content-length beside transfer-encoding")),
        Coding::Unknown => Err(Refusal::NotImplementedTransferCoding),
        Coding::Broken => Err(Refusal::BadRequest("invalid transfer-encoding")),
    }
}

/// The framing of a response to `method`, of whose fields these were `seen`.
///
/// # Errors
/// [`Ambiguous`]; then the connection is of no further use.
pub fn of_response(
    method: &Method,
    status: StatusCode,
    version: Version,
    headers: &Fields,
    seen: Seen,
) -> Result<Framing, Ambiguous> {
    let length = if seen.has(Seen::LENGTH) { content_length(headers)? } else { None };
    let coded = seen.has(Seen::CODING);
    if coded && (length.is_some() || version != Version::HTTP_11 || coding(headers) != Coding::Chunked) {
        return Err(Ambiguous);
    }
    if *method == Method::HEAD || has_no_content(status) {
        return Ok(Framing::Length(0));
    }
    Ok(match length {
        _ if coded => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

/// Whether responses with this status end with their head (RFC 9110 section 6.4.1).
pub fn has_no_content(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Lengths that disagree, or fields that say more than one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

/// `content-length`, which may be repeated only with the same value.
///
/// # Errors
/// Anything but digits, and values that differ.
pub fn content_length(headers: &Fields) -> Result<Option<u64>, Ambiguous> {
    let mut length = None;
    for field in headers.get_all(header::CONTENT_LENGTH) {
        for value in field.as_bytes().split(|&byte| byte == b',') {
            let value = digits(value.trim_ascii()).ok_or(Ambiguous)?;
            if length.is_some_and(|before| before != value) {
                return Err(Ambiguous);
            }
            length = Some(value);
        }
    }
    Ok(length)
}

fn digits(text: &[u8]) -> Option<u64> {
    let digit = |&byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    if text.is_empty() {
        return None;
    }
    let length = text.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(10)?.checked_add(digit(byte)?))?;
    (length <= MAX_LENGTH).then_some(length)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Well formed, ends in `chunked`, and has a coding before that.
    Unknown,
    Broken,
}

fn coding(headers: &Fields) -> Coding {
    let mut codings: smallvec::SmallVec<[&[u8]; 4]> = smallvec::SmallVec::new();
    for field in headers.get_all(header::TRANSFER_ENCODING) {
        codings.extend(field.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii));
    }
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let chunked = codings.iter().filter(|coding| is_chunked(coding)).count();
    match codings.last() {
        Some(last) if chunked == 1 && is_chunked(last) => match codings.len() {
            1 => Coding::Chunked,
            _ if codings.iter().all(|coding| is_coding(coding)) => Coding::Unknown,
            _ => Coding::Broken,
        },
        _ => Coding::Broken,
    }
}

/// A registered coding (RFC 9112 section 7) that could stand before `chunked`; `identity` is none any more.
fn is_coding(coding: &[u8]) -> bool {
    [&b"chunked"[..], b"gzip", b"x-gzip", b"compress", b"x-compress", b"deflate"]
        .iter()
        .any(|known| coding.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::{super::names::read, *};
    use http::{HeaderName, HeaderValue};

    fn headers(fields: &[(&'static str, &str)]) -> Fields {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn request(fields: &[(&'static str, &str)]) -> Result<Framing, u16> {
        of_request(Version::HTTP_11, &headers(fields))
            .map_err(|refusal| crate::error::ProxyError::Refused(refusal).status().as_u16())
    }

    #[test]
    fn one_length_is_one_length() {
        assert_eq!(request(&[]), Ok(Framing::Length(0)));
        for value in ["5", "00005", "5, 5", "5,5"] {
            assert_eq!(request(&[("content-length", value)]), Ok(Framing::Length(5)), "{value}");
        }
        assert_eq!(request(&[("content-length", "5"), ("content-length", "5")]), Ok(Framing::Length(5)));
        for value in [
            "",
            "5, 6",
            "+5",
            "-0",
            "0x5",
            "5 5",
            "1_0",
            "18446744073709551615",
            "9223372036854775808",
            "5,",
            "\u{b2}",
        ] {
            assert_eq!(request(&[("content-length", value)]), Err(400), "{value}");
        }
        assert_eq!(request(&[("content-length", "5"), ("content-length", "6")]), Err(400));
    }

    #[test]
    fn only_chunked_is_chunked() {
        for value in ["chunked", "Chunked", "chunked\t"] {
            assert_eq!(request(&[("transfer-encoding", value)]), Ok(Framing::Chunked), "{value}");
        }
        for value in
            ["", "identity", "xchunked", "chunked, chunked", "chunked, gzip", "identity, chunked", ",chunked"]
        {
            assert_eq!(request(&[("transfer-encoding", value)]), Err(400), "{value}");
        }
        for fields in [["chunked", "x"], ["chunked", "chunked"], ["x", "chunked"]] {
            let fields = fields.map(|value| ("transfer-encoding", value));
            assert_eq!(request(&fields), Err(400), "{fields:?}");
        }
        assert_eq!(request(&[("transfer-encoding", "gzip, chunked")]), Err(501));
        assert_eq!(request(&[("transfer-encoding", "chunked"), ("content-length", "5")]), Err(400));
        let chunked = headers(&[("transfer-encoding", "chunked")]);
        assert!(of_request(Version::HTTP_10, &chunked).is_err());
    }

    #[test]
    fn responses_end_where_their_request_and_status_say() {
        let framing = |method, status, fields: &[_]| {
            let status = StatusCode::from_u16(status).unwrap();
            let mut seen = Seen::default();
            fields.iter().for_each(|(name, _)| seen.note(read(format!("{name}:").as_bytes()).unwrap().2));
            of_response(&method, status, Version::HTTP_11, &headers(fields), seen)
        };
        let five = [("content-length", "5")];
        assert_eq!(framing(Method::GET, 200, &five), Ok(Framing::Length(5)));
        assert_eq!(framing(Method::GET, 200, &[]), Ok(Framing::UntilClose));
        assert_eq!(framing(Method::GET, 200, &[("transfer-encoding", "chunked")]), Ok(Framing::Chunked));
        for (method, status) in
            [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::GET, 103)]
        {
            assert_eq!(framing(method, status, &five), Ok(Framing::Length(0)));
        }
        for bad in [
            &[("content-length", "5"), ("transfer-encoding", "chunked")][..],
            &[("content-length", "5"), ("content-length", "6")],
            &[("transfer-encoding", "gzip")],
        ] {
            assert_eq!(framing(Method::GET, 200, bad), Err(Ambiguous), "{bad:?}");
        }
    }
}

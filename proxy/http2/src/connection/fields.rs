//! Heads, from their fields.
//!
//! Invariants: what stands in a head here is all that RFC 9113 section 8.3 demands, and nothing that it forbids.

use crate::hpack::{Field, Pseudo};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use sidle_fields::{Fields, spare};

/// Room for the fields that a head usually has, and those that a proxy adds.
const HEAD: usize = 20;
/// Room for the fields that trailers usually have.
const TRAILERS: usize = 4;

/// A request's head.
#[derive(Debug, Default)]
pub struct RequestFields {
    /// Any token.
    pub method: Method,
    /// `:scheme`; `None` for CONNECT.
    pub scheme: Option<Bytes>,
    /// `:authority`, if there is one.
    pub authority: Option<Bytes>,
    /// `:path`, not empty; `None` for CONNECT.
    pub path: Option<Bytes>,
    /// `:protocol`: only with CONNECT.
    pub protocol: Option<Bytes>,
    /// The others, in their order.
    pub headers: Fields,
}

/// A response's head, or an interim one.
#[derive(Debug)]
pub struct ResponseFields {
    /// 100 to 999, and never 101.
    pub status: StatusCode,
    /// The others, in their order.
    pub headers: Fields,
}

/// Gathers what a block has.
#[derive(Debug, Default)]
pub struct Gathered {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    status: Option<Bytes>,
    pub headers: Fields,
}

impl Gathered {
    /// For a head.
    pub fn head() -> Self {
        Gathered { headers: spare::take(HEAD), ..Gathered::default() }
    }

    /// For trailers.
    pub fn trailers() -> Self {
        Gathered { headers: spare::take(TRAILERS), ..Gathered::default() }
    }

    /// Takes a field.
    pub fn add(&mut self, field: Field) {
        match field {
            Field::Regular(name, value) => {
                self.headers.append(name, value);
            }
            Field::Pseudo(pseudo, value) => {
                let place = match pseudo {
                    Pseudo::Method => &mut self.method,
                    Pseudo::Scheme => &mut self.scheme,
                    Pseudo::Authority => &mut self.authority,
                    Pseudo::Path => &mut self.path,
                    Pseudo::Protocol => &mut self.protocol,
                    Pseudo::Status => &mut self.status,
                };
                *place = Some(value);
            }
        }
    }

    /// As a request's head; `None`: it is malformed.
    pub fn request(self) -> Option<RequestFields> {
        let Gathered { method, scheme, authority, path, protocol, status, headers } = self;
        let method = match method.as_deref()? {
            b"GET" => Method::GET,
            b"POST" => Method::POST,
            other => Method::from_bytes(other).ok()?,
        };
        let connect = method == Method::CONNECT;
        let right = match (connect, &protocol) {
            (true, None) => scheme.is_none() && path.is_none() && authority.is_some(),
            (true, Some(_)) => scheme.is_some() && path.is_some() && authority.is_some(),
            (false, None) => scheme.is_some() && path.is_some(),
            (false, Some(_)) => false,
        };
        let empty = path.as_ref().is_some_and(Bytes::is_empty);
        (right && !empty && status.is_none()).then_some(RequestFields {
            method,
            scheme,
            authority,
            path,
            protocol,
            headers,
        })
    }

    /// As a response's head; `None`: it is malformed.
    pub fn response(self) -> Option<ResponseFields> {
        let Gathered { method, scheme, authority, path, protocol, status, headers } = self;
        let others = [method, scheme, authority, path, protocol];
        let status = match status.as_deref()? {
            b"200" => StatusCode::OK,
            other => StatusCode::from_bytes(other).ok()?,
        };
        (status != StatusCode::SWITCHING_PROTOCOLS && others.iter().all(Option::is_none))
            .then_some(ResponseFields { status, headers })
    }

    /// Whether there is nothing but a part: a head that was too large.
    pub fn partial(self) -> RequestFields {
        RequestFields { headers: self.headers, ..RequestFields::default() }
    }
}

/// What content-length says: `Err` if it says nothing that can be.
pub fn content_length(headers: &Fields) -> Result<Option<u64>, ()> {
    let mut values = headers.get_all(header::CONTENT_LENGTH);
    let Some(first) = values.next() else { return Ok(None) };
    let length = number(first).ok_or(())?;
    match values.all(|other| number(other) == Some(length)) {
        true => Ok(Some(length)),
        false => Err(()),
    }
}

/// Digits alone: `+1` is no length.
fn number(value: &HeaderValue) -> Option<u64> {
    let bytes = value.as_bytes();
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    digits.then(|| value.to_str().ok()?.parse().ok())?
}

/// Whether a field is about an HTTP/1 connection, and must not be sent (RFC 9113 section 8.2.2).
pub fn is_of_connection(name: &HeaderName) -> bool {
    let text = name.as_str();
    match text.len() {
        7 => text == "upgrade",
        10 => text == "connection" || text == "keep-alive",
        16 => text == "proxy-connection",
        17 => text == "transfer-encoding",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(fields: &[(Pseudo, &'static str)]) -> Gathered {
        let mut gathered = Gathered::head();
        for (pseudo, value) in fields {
            gathered.add(Field::Pseudo(*pseudo, Bytes::from_static(value.as_bytes())));
        }
        gathered
    }

    #[test]
    fn a_request_has_what_it_must_have() {
        use Pseudo::*;
        const GET: (Pseudo, &str) = (Method, "GET");
        const CONNECT: (Pseudo, &str) = (Method, "CONNECT");
        const HTTP: (Pseudo, &str) = (Scheme, "http");
        const ROOT: (Pseudo, &str) = (Path, "/");
        const HOST: (Pseudo, &str) = (Authority, "a");
        const WEBSOCKET: (Pseudo, &str) = (Protocol, "websocket");
        for (fields, right) in [
            (&[GET, HTTP, ROOT][..], true),
            (&[GET, HTTP, ROOT, HOST], true),
            (&[GET, HTTP], false),
            (&[GET, ROOT], false),
            (&[HTTP, ROOT], false),
            (&[GET, HTTP, (Path, "")], false),
            (&[GET, HTTP, ROOT, (Status, "200")], false),
            (&[GET, HTTP, ROOT, WEBSOCKET], false),
            (&[(Method, "G T"), HTTP, ROOT], false),
            (&[CONNECT, HOST], true),
            (&[CONNECT], false),
            (&[CONNECT, HOST, ROOT], false),
            (&[CONNECT, HOST, HTTP, ROOT, WEBSOCKET], true),
            (&[CONNECT, HOST, WEBSOCKET], false),
        ] {
            assert_eq!(gathered(fields).request().is_some(), right, "{fields:?}");
        }
    }

    #[test]
    fn a_response_has_a_status_and_nothing_else() {
        use Pseudo::*;
        for (fields, right) in [
            (&[(Status, "200")][..], true),
            (&[(Status, "103")], true),
            (&[(Status, "101")], false),
            (&[(Status, "99")], false),
            (&[(Status, "2000")], false),
            (&[(Status, "200"), (Path, "/")], false),
            (&[], false),
        ] {
            assert_eq!(gathered(fields).response().is_some(), right, "{fields:?}");
        }
    }

    #[test]
    fn lengths_are_digits_and_agree() {
        let of = |values: &[&'static str]| {
            let mut headers = Fields::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            content_length(&headers)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["12"]), Ok(Some(12)));
        assert_eq!(of(&["12", "12"]), Ok(Some(12)));
        for wrong in [&["12", "13"][..], &["+1"], &["-1"], &[""], &["1, 1"], &["18446744073709551616"]] {
            assert_eq!(of(wrong), Err(()), "{wrong:?}");
        }
    }
}

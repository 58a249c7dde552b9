//! A response head that is taken says one thing about where its content ends.

use bytes::Bytes;
use http::Method;
use sidle::codec::h1::{
    framing::{self, Framing},
    parse::{self, LineScanner},
};

/// Finds, parses and frames a head.
pub fn run(data: &[u8]) {
    let Ok(Some(end)) = LineScanner::default().end(data) else { return };
    let Some(response) = parse::response(&Bytes::copy_from_slice(&data[..end]), 256, true) else { return };
    let of = |method| {
        framing::of_response(&method, response.status, response.version, &response.headers, response.seen)
    };
    let (get, head) = (of(Method::GET), of(Method::HEAD));
    assert_eq!(get.is_ok(), head.is_ok(), "what is ambiguous is so for every method");
    assert!(head.is_err() || head == Ok(Framing::Length(0)));
    let both =
        response.headers.contains_key("content-length") && response.headers.contains_key("transfer-encoding");
    assert!(!both || get.is_err(), "never both believed");
}

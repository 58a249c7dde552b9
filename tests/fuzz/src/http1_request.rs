//! A request head that is taken is one head, whatever pieces it came in and however often it is written and read again.

use bytes::Bytes;
use sidle::codec::h1::{
    framing,
    parse::{self, LineScanner},
};

/// Finds, parses, frames and writes a head, then reads it again.
pub fn run(data: &[u8]) {
    let whole = LineScanner::default().end(data);
    let mut trickle = LineScanner::default();
    let stepped = (0..=data.len()).map(|end| trickle.end(&data[..end])).find(|found| found != &Ok(None));
    assert_eq!(stepped.unwrap_or(Ok(None)), whole, "the end does not depend on the pieces");
    let Ok(Some(end)) = whole else { return };
    let Ok(request) = parse::request(&Bytes::copy_from_slice(&data[..end]), 100, true) else { return };
    let framed = framing::of_request(request.version, &request.headers);

    let mut written = format!("{} {} {:?}\r\n", request.method, request.target, request.version).into_bytes();
    for (name, value) in &request.headers {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
        written.extend_from_slice(name.as_str().as_bytes());
        written.extend_from_slice(b": ");
        written.extend_from_slice(value.as_bytes());
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"\r\n");
    assert_eq!(LineScanner::default().end(&written), Ok(Some(written.len())), "one head, and all of it");
    let again = parse::request(&written.into(), 100, false).expect("what was taken can be read again");
    assert_eq!((&again.method, &again.headers), (&request.method, &request.headers));
    assert_eq!(framing::of_request(again.version, &again.headers), framed);
}

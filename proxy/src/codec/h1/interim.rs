//! Interim answers (1xx) to a client: heads between its request and the answer.
//!
//! Not here: which of them a client is to get (`RequestHead::pass_on`).

use super::{encode, wire::Wire};
use crate::codec::ResponseHead;
use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

/// Writes interim answers to the client of a request, as long as it is there.
#[derive(Clone)]
pub struct InterimSender(Weak<RefCell<Wire>>);

impl InterimSender {
    pub(super) fn new(wire: &Rc<RefCell<Wire>>) -> Self {
        InterimSender(Rc::downgrade(wire))
    }

    /// Writes one; nothing if the client has gone.
    pub fn send(&self, head: &ResponseHead) {
        let Some(wire) = self.0.upgrade() else { return };
        let mut wire = wire.borrow_mut();
        let out = wire.output.small();
        encode::status_line(out, head.status);
        encode::fields(out, &head.headers, &head.original_case, None);
        out.extend_from_slice(b"\r\n");
        // The connection's task flushes after it has polled the exchange, which called this.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Interim, RequestHead, Scheme, Stream, h1::Casing};
    use http::{HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
    use sidle_fields::Fields;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn a_client_that_did_not_ask_for_100_gets_none() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let wire = Rc::new(RefCell::new(Wire::new(Stream::from(ours))));
        let mut head = RequestHead {
            method: Method::POST,
            scheme: Scheme::Http,
            authority: None,
            target: PathAndQuery::from_static("/"),
            version: Version::HTTP_2,
            headers: Fields::new(),
            upgrade: None,
            original_case: Casing::default(),
            interim: Some(Interim::Http1(InterimSender::new(&wire))),
        };
        let pass_on = |head: &RequestHead| {
            for status in [StatusCode::CONTINUE, StatusCode::EARLY_HINTS] {
                head.pass_on(ResponseHead::new(status));
            }
            String::from_utf8(wire.borrow_mut().output.take_all()).unwrap()
        };
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
        assert_eq!(pass_on(&head), hints);
        head.headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
        assert_eq!(pass_on(&head), format!("HTTP/1.1 100 Continue\r\n\r\n{hints}"));
        drop(wire);
        head.pass_on(ResponseHead::new(StatusCode::EARLY_HINTS)); // to nobody
    }
}

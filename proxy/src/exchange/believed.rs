//! A request as rules see it: its head, and what its token says.

use crate::codec::RequestHead;
use http::HeaderName;
use sidle_jwt::{VerifiedToken, claim_at};
use sidle_routing::RequestView;

/// A head, and the token that came with it.
pub struct Believed<'a> {
    pub head: &'a RequestHead,
    pub token: Option<&'a VerifiedToken>,
}

impl RequestView for Believed<'_> {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn scheme(&self) -> &str {
        self.head.scheme()
    }

    fn authority(&self) -> &str {
        self.head.authority()
    }

    fn path(&self) -> &str {
        self.head.path()
    }

    fn query(&self) -> Option<&str> {
        self.head.query()
    }

    fn is_connect(&self) -> bool {
        self.head.is_connect()
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        RequestView::header(self.head, name)
    }

    fn claim(&self, path: &[String]) -> Option<&serde_json::Value> {
        claim_at(&self.token?.claims, path)
    }
}

//! Request and response heads as the corridor sees them: no engine's types, only `http`'s.
//!
//! Invariants: `authority` is the one truth about the host; the `host` header, if there is one, is only its place in the
//! header order and is rewritten by the codec that sends. Hop-by-hop fields are gone.

use super::{
    Authority,
    h1::{self, Casing},
    hop_by_hop,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
use sidle_fields::{Fields, spare};
use sidle_routing::RequestView;

/// Fields that the proxy adds to a head: room for them is made at once.
pub const ADDED_FIELDS: usize = 6;

/// `http` or `https`, as the client meant it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A request's head.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Case-sensitive.
    pub method: Method,
    /// As the client meant it.
    pub scheme: Scheme,
    /// Always there, but for HTTP/1.0 without `host`.
    pub authority: Option<Authority>,
    /// Normalised; `/` for CONNECT, which has none.
    pub target: PathAndQuery,
    /// What the client spoke.
    pub version: Version,
    /// In order; names lower-case.
    pub headers: Fields,
    /// The protocol that the client wants to switch to: an HTTP/1 `upgrade` token, or HTTP/2 `:protocol`.
    pub upgrade: Option<HeaderValue>,
    /// Header names as the client wrote them, where HTTP/1 keeps case.
    pub original_case: Casing,
    /// Where interim responses go; `None`: the client takes none.
    pub interim: Option<Interim>,
}

/// Sends an interim response (1xx) down, before the response itself.
#[derive(Clone)]
pub enum Interim {
    /// On a connection of HTTP/1.
    Http1(h1::InterimSender),
    /// On a stream of HTTP/2.
    Http2(sidle_http2::connection::InterimSender),
}

impl Interim {
    /// Sends one; nothing if the client has gone.
    pub fn send(&self, head: ResponseHead) {
        match self {
            Interim::Http1(sender) => sender.send(&head),
            Interim::Http2(stream) => stream.send(head.status, &head.headers),
        }
    }
}

impl std::fmt::Debug for Interim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interim")
    }
}

impl RequestHead {
    /// The request is over: the room of its fields serves another.
    pub fn recycle(&mut self) {
        spare::give_back(std::mem::take(&mut self.headers));
    }

    /// Whether this is gRPC (`content-type: application/grpc`, with any suffix but gRPC-Web's).
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.headers)
    }

    /// Whether this asks for a tunnel: CONNECT without `:protocol`.
    pub fn is_connect(&self) -> bool {
        self.method == Method::CONNECT && self.upgrade.is_none()
    }

    /// Passes an upstream's interim response on; 100 only to a client that waits for it.
    pub fn pass_on(&self, mut response: ResponseHead) {
        let wanted =
            response.status != StatusCode::CONTINUE || self.headers.contains_key(http::header::EXPECT);
        if let Some(interim) = self.interim.as_ref().filter(|_| wanted) {
            hop_by_hop::strip(&mut response.headers);
            interim.send(response);
        }
    }
}

/// Whether `content-type` says gRPC.
pub fn is_grpc(headers: &Fields) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.is_empty() || matches!(rest[0], b'+' | b';'))
    })
}

impl RequestView for RequestHead {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn scheme(&self) -> &str {
        self.scheme.as_str()
    }

    fn authority(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::as_str)
    }

    fn path(&self) -> &str {
        self.target.path()
    }

    fn query(&self) -> Option<&str> {
        self.target.query()
    }

    fn is_connect(&self) -> bool {
        self.is_connect()
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        // Rules of Istio's users look for `upgrade: websocket`, which is not among the fields any more.
        let upgrade = self.upgrade.as_ref().filter(|_| *name == http::header::UPGRADE);
        self.headers.get_all(name).chain(upgrade).map(HeaderValue::as_bytes)
    }
}

/// A response's head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: StatusCode,
    /// In order; names lower-case.
    pub headers: Fields,
    /// As in [`RequestHead::original_case`].
    pub original_case: Casing,
}

impl ResponseHead {
    /// A head with no headers.
    pub fn new(status: StatusCode) -> Self {
        ResponseHead { status, headers: Fields::new(), original_case: Casing::default() }
    }
}

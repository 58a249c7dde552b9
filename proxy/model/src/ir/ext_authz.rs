//! External authorisation: services that decide about requests in the proxy's place.
//!
//! Source: Envoy's `ext_authz` filter; Istio's `extensionProviders`.

use http::{HeaderName, HeaderValue, StatusCode};
use std::{sync::Arc, time::Duration};

/// A service that decides.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtAuthz {
    /// What policies call it.
    pub name: Arc<str>,
    /// Name of its [`super::Cluster`].
    pub cluster: Arc<str>,
    /// `host:port` of the service, for gRPC.
    pub authority: Arc<str>,
    /// How it is asked.
    pub transport: ExtAuthzTransport,
    /// To an answer.
    pub timeout: Duration,
    /// Whether requests pass when it fails.
    pub fail_open: bool,
    /// What a client gets when it fails.
    pub status_on_error: StatusCode,
    /// How much of the body it sees; `None`: nothing.
    pub body: Option<BodyInCheck>,
}

/// How a service is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum ExtAuthzTransport {
    /// By a request like the one in question.
    Http(ExtAuthzHttp),
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}

/// What is told by HTTP, and what is taken from the answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExtAuthzHttp {
    /// In front of the path; empty or with a leading `/`.
    pub path_prefix: Arc<str>,
    /// Headers of the request that the service sees, besides those that it always does.
    pub request_headers: Vec<HeaderNameMatch>,
    /// More headers for it.
    pub additional_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of its answer for the upstream.
    pub upstream_on_allow: Vec<HeaderNameMatch>,
    /// Headers of its answer for a client who is let pass.
    pub client_on_allow: Vec<HeaderNameMatch>,
    /// Headers of its answer for a client who is refused; empty: all.
    pub client_on_deny: Vec<HeaderNameMatch>,
}

/// How much of a body is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyInCheck {
    /// At most.
    pub max_bytes: u32,
    /// Whether a part of a longer one will do; else it is 413.
    pub allow_partial: bool,
    /// gRPC: whether as bytes.
    pub as_bytes: bool,
}

/// Which header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderNameMatch {
    /// This one.
    Exact(HeaderName),
    /// Those that begin so; lower-case.
    Prefix(Arc<str>),
    /// Those that end so; lower-case.
    Suffix(Arc<str>),
}

impl HeaderNameMatch {
    /// From `name`, `prefix*`, `*suffix` or `*`; `None`: that is no header's name.
    pub fn parse(text: &str) -> Option<Self> {
        let part = |part: &str| {
            let part = part.to_ascii_lowercase();
            (part.is_empty() || !part.contains('*') && HeaderName::from_bytes(part.as_bytes()).is_ok())
                .then(|| Arc::from(part))
        };
        match (text.strip_suffix('*'), text.strip_prefix('*')) {
            (Some(prefix), _) => part(prefix).map(HeaderNameMatch::Prefix),
            (None, Some(suffix)) => part(suffix).map(HeaderNameMatch::Suffix),
            (None, None) if text.contains('*') => None,
            (None, None) => HeaderName::from_bytes(text.as_bytes()).ok().map(HeaderNameMatch::Exact),
        }
    }

    /// Whether it is one of those.
    pub fn matches(&self, name: &HeaderName) -> bool {
        match self {
            HeaderNameMatch::Exact(exact) => exact == name,
            HeaderNameMatch::Prefix(prefix) => name.as_str().starts_with(&**prefix),
            HeaderNameMatch::Suffix(suffix) => name.as_str().ends_with(&**suffix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_their_beginning_or_end() {
        let name = HeaderName::from_static("x-user-id");
        for (text, expected) in [
            ("x-user-id", Some(true)),
            ("X-User-ID", Some(true)),
            ("X-User-*", Some(true)),
            ("*-ID", Some(true)),
            ("*", Some(true)),
            ("x-user", Some(false)),
            ("x-id-*", Some(false)),
            ("*-user", Some(false)),
            ("", None),
            ("a b", None),
            ("x-*-id", None),
            ("*x*", None),
        ] {
            let matched = HeaderNameMatch::parse(text).map(|pattern| pattern.matches(&name));
            assert_eq!(matched, expected, "{text:?}");
        }
    }
}

//! The `location` of a redirect.
//!
//! In:  [`ir::Redirect`] with the [`ir::RouteMatch`] of its route, then a request.   Out: status and an absolute location.
//! Invariants: the port of `location` is never the default of its scheme when the redirect chose it (`:80` with http, `:443`
//! with https).
//! Not here: the response (`proxy/src/exchange`).
//! Source: Envoy `RedirectAction`; Istio `HTTPRedirect`.

use crate::{RequestView, host::split_host_port, rewrite::PathRewriter};
use http::StatusCode;
use sidle_model::ir::{self, RedirectPort};
use std::sync::Arc;

/// A compiled [`ir::Redirect`].
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    scheme: Option<Arc<str>>,
    authority: Option<Arc<str>>,
    port: RedirectPort,
    path: Option<PathRewriter>,
}

impl Redirect {
    /// Compiles the redirect of a route.
    pub fn new(redirect: &ir::Redirect, matches: &ir::RouteMatch) -> Self {
        Redirect {
            status: redirect.status,
            scheme: redirect.scheme.clone(),
            authority: redirect.authority.clone(),
            port: redirect.port,
            path: redirect.path.as_ref().map(|path| PathRewriter::new(path, matches)),
        }
    }

    /// Where the client is sent. `listener_port` is the port that the connection came in on. Relative if neither the redirect
    /// nor the request names a host.
    pub fn location(&self, request: &impl RequestView, listener_port: u16) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme());
        let authority = self.authority(request, scheme, listener_port);
        let target = self.target(request);
        if authority.is_empty() { target } else { format!("{scheme}://{authority}{target}") }
    }

    fn authority(&self, request: &impl RequestView, scheme: &str, listener_port: u16) -> String {
        let authority = self.authority.as_deref().unwrap_or(request.authority());
        let (host, port) = split_host_port(authority);
        // A port that the configuration wrote into the new host stays; only the request's goes.
        let without_port = || if self.authority.is_some() { authority.to_owned() } else { host.to_owned() };
        let with_port = |number: u16| {
            let needless = host.is_empty() || Some(number) == default_port(scheme);
            if needless { without_port() } else { format!("{host}:{number}") }
        };
        match self.port {
            RedirectPort::Number(number) => with_port(number),
            RedirectPort::Listener => with_port(listener_port),
            RedirectPort::SchemeDefault => without_port(),
            RedirectPort::Keep => {
                let moved = self.authority.is_none() && scheme != request.scheme();
                let stale = moved && port.is_some() && port == default_port(request.scheme());
                if stale { host.to_owned() } else { authority.to_owned() }
            }
        }
    }

    /// The path and the query; a new path that brings its own query replaces the request's.
    fn target(&self, request: &impl RequestView) -> String {
        let mut target = match &self.path {
            Some(path) => path.path(request.path()),
            None => request.path().to_owned(),
        };
        let brings_query = self.path.is_some() && target.contains('?');
        if let Some(query) = request.query().filter(|_| !brings_query) {
            target.push('?');
            target.push_str(query);
        }
        target
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{TestRequest, route_match};
    use sidle_model::ir::{PathMatch, PathRewrite};

    fn redirect() -> ir::Redirect {
        ir::Redirect {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: None,
            authority: None,
            port: RedirectPort::Keep,
            path: None,
        }
    }

    fn location(redirect: &ir::Redirect, url: &str) -> String {
        let matches = route_match(PathMatch::Prefix("/old".into()));
        Redirect::new(redirect, &matches).location(&TestRequest::new("GET", url), 8443)
    }

    #[test]
    fn hosts_and_ports() {
        let https = || Some(Arc::from("https"));
        let to = || Some(Arc::from("new.io"));
        for (wanted, url, redirect) in [
            ("http://a:8080/old?q", "http://a:8080/old?q", redirect()),
            ("https://a/old", "http://a:80/old", ir::Redirect { scheme: https(), ..redirect() }),
            ("https://a:8080/old", "http://a:8080/old", ir::Redirect { scheme: https(), ..redirect() }),
            ("https://[::1]/old", "http://[::1]:80/old", ir::Redirect { scheme: https(), ..redirect() }),
            ("http://a:80/old", "http://a:80/old", redirect()),
            ("http://new.io/old", "http://a:8080/old", ir::Redirect { authority: to(), ..redirect() }),
            (
                "http://b:90/old",
                "http://a/old",
                ir::Redirect { authority: Some("b:90".into()), ..redirect() },
            ),
            (
                "http://a:90/old",
                "http://a:8/old",
                ir::Redirect { port: RedirectPort::Number(90), ..redirect() },
            ),
            ("http://a/old", "http://a:8/old", ir::Redirect { port: RedirectPort::Number(80), ..redirect() }),
            (
                "http://a/old",
                "http://a:8/old",
                ir::Redirect { port: RedirectPort::SchemeDefault, ..redirect() },
            ),
            (
                "http://a:8443/old",
                "http://a/old",
                ir::Redirect { port: RedirectPort::Listener, ..redirect() },
            ),
            (
                "https://a/old",
                "http://a/old",
                ir::Redirect { scheme: https(), port: RedirectPort::Number(443), ..redirect() },
            ),
            (
                "https://b:80/old",
                "http://a:80/old",
                ir::Redirect { scheme: https(), authority: Some("b:80".into()), ..redirect() },
            ),
        ] {
            assert_eq!(location(&redirect, url), wanted, "{redirect:?}");
        }
    }

    #[test]
    fn a_request_without_a_host_gets_a_relative_location() {
        let request = TestRequest { authority: String::new(), ..TestRequest::new("GET", "http://a/old?q") };
        let with_port = ir::Redirect { port: RedirectPort::Number(90), ..redirect() };
        let location = Redirect::new(&with_port, &route_match(PathMatch::Any)).location(&request, 80);
        assert_eq!(location, "/old?q");
    }

    #[test]
    fn paths_keep_the_query_unless_they_bring_one() {
        for (path, wanted) in [
            (PathRewrite::Full("/new".into()), "http://a/new?q=1"),
            (PathRewrite::Full("/new?z=2".into()), "http://a/new?z=2"),
            (PathRewrite::Prefix("/new".into()), "http://a/new/x?q=1"),
        ] {
            let redirect = ir::Redirect { path: Some(path), ..redirect() };
            assert_eq!(location(&redirect, "http://a/old/x?q=1"), wanted);
        }
    }
}

//! What the tests of this crate share, and the property that holds it together.

mod agreement;
mod semantics;

use crate::RequestView;
use http::{HeaderMap, HeaderName, HeaderValue};
use sidle_model::ir;
use std::sync::Arc;

/// A request as parts.
#[derive(Debug, Clone)]
pub(crate) struct TestRequest {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) claims: serde_json::Map<String, serde_json::Value>,
}

impl TestRequest {
    /// From `scheme://authority/path?query`.
    pub(crate) fn new(method: &str, url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        TestRequest {
            method: method.into(),
            scheme: scheme.into(),
            authority: authority.into(),
            path: path.into(),
            query,
            headers: HeaderMap::new(),
            claims: Default::default(),
        }
    }

    /// With one more header line.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }
}

impl RequestView for TestRequest {
    fn method(&self) -> &str {
        &self.method
    }
    fn scheme(&self) -> &str {
        &self.scheme
    }
    fn authority(&self) -> &str {
        &self.authority
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }
    fn claim(&self, path: &[String]) -> Option<&serde_json::Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.claims.get(first)?, |value, name| value.get(name))
    }
}

/// Conditions on nothing but the path.
pub(crate) fn route_match(path: ir::PathMatch) -> ir::RouteMatch {
    ir::RouteMatch {
        path,
        ignore_case: false,
        scheme: None,
        method: None,
        authority: None,
        headers: Vec::new(),
        query: Vec::new(),
        claims: Vec::new(),
    }
}

/// A route that answers 200.
pub(crate) fn route(name: &str, matches: ir::RouteMatch) -> Arc<ir::Route> {
    Arc::new(ir::Route {
        name: name.into(),
        matches,
        action: ir::RouteAction::Direct(ir::DirectResponse {
            status: http::StatusCode::OK,
            body: Arc::from(&b""[..]),
        }),
        request_headers: Default::default(),
        response_headers: Default::default(),
        fault: None,
        cors: None,
        origin: ir::Origin::built_in(),
    })
}

/// A virtual host called by its first domain.
pub(crate) fn virtual_host(domains: &[&str], routes: Vec<Arc<ir::Route>>) -> Arc<ir::VirtualHost> {
    Arc::new(ir::VirtualHost {
        name: domains[0].into(),
        domains: domains.iter().map(|domain| ir::HostPattern::new(domain).unwrap()).collect(),
        routes,
        origin: ir::Origin::built_in(),
    })
}

/// A table of hosts.
pub(crate) fn configuration(
    ignore_port_in_host: bool,
    virtual_hosts: Vec<Arc<ir::VirtualHost>>,
) -> ir::RouteConfiguration {
    ir::RouteConfiguration { name: "test".into(), virtual_hosts, ignore_port_in_host }
}

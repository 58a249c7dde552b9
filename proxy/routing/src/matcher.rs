//! The compiled conditions of one route.
//!
//! In:  [`ir::RouteMatch`] and a request.   Out: the first condition that does not hold, if there is one.
//! Invariants: all conditions must hold, and are asked in one fixed order, cheapest first. A [`Mismatch`] is two words and is
//! made without formatting, so the fast path and `explain` share this code.
//! Not here: words for a mismatch (`explain`), the order of routes (`table`).

use crate::{RequestView, StringMatcher};
use http::{HeaderName, header::HOST};
use regex::bytes::Regex;
use serde_json::Value;
use sidle_model::ir;
use std::sync::Arc;

/// The condition that does not hold. Indexes are those of the [`ir::RouteMatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The route is for CONNECT and the request is not, or the other way about.
    Connect,
    Path,
    Method,
    Scheme,
    Authority,
    Header(usize),
    Query(usize),
    Claim(usize),
}

/// The compiled conditions of one route. What few routes have stands in a box: a mesh has many routes.
#[derive(Debug)]
pub struct RouteMatcher {
    path: PathMatcher,
    others: Option<Box<Others>>,
}

/// All conditions but that on the path.
#[derive(Debug)]
struct Others {
    method: Option<StringMatcher>,
    scheme: Option<StringMatcher>,
    authority: Option<StringMatcher>,
    headers: Box<[HeaderMatcher]>,
    query: Box<[QueryMatcher]>,
    claims: Box<[ClaimMatcher]>,
}

impl RouteMatcher {
    /// Compiles the conditions of `source`.
    pub fn new(source: &ir::RouteMatch) -> Self {
        RouteMatcher {
            path: PathMatcher::new(&source.path, source.ignore_case),
            others: Others::new(source).map(Box::new),
        }
    }

    /// Whether all conditions hold.
    pub fn matches(&self, request: &impl RequestView) -> bool {
        self.mismatch(request).is_none()
    }

    /// The first condition that does not hold; `None`: the request matches.
    #[inline]
    pub(crate) fn mismatch(&self, request: &impl RequestView) -> Option<Mismatch> {
        if request.is_connect() != matches!(self.path, PathMatcher::Connect) {
            return Some(Mismatch::Connect);
        }
        if !self.path.matches(request.path()) {
            return Some(Mismatch::Path);
        }
        self.others.as_ref()?.mismatch(request)
    }
}

impl Others {
    /// `None` if there are none.
    fn new(source: &ir::RouteMatch) -> Option<Self> {
        let ir::RouteMatch { path: _, ignore_case: _, scheme, method, authority, headers, query, claims } =
            source;
        let one = |condition: &Option<Box<ir::StringMatch>>| condition.as_deref().map(StringMatcher::new);
        let others = Others {
            method: one(method),
            scheme: one(scheme),
            authority: one(authority),
            headers: headers.iter().map(HeaderMatcher::new).collect(),
            query: query.iter().map(QueryMatcher::new).collect(),
            claims: claims.iter().map(ClaimMatcher::new).collect(),
        };
        let is_any = others.method.is_some()
            || others.scheme.is_some()
            || others.authority.is_some()
            || !(headers.is_empty() && query.is_empty() && claims.is_empty());
        is_any.then_some(others)
    }

    fn mismatch(&self, request: &impl RequestView) -> Option<Mismatch> {
        let fails = |matcher: &Option<StringMatcher>, value: &str| {
            matcher.as_ref().is_some_and(|matcher| !matcher.matches(value.as_bytes()))
        };
        if fails(&self.method, request.method()) {
            return Some(Mismatch::Method);
        }
        if fails(&self.scheme, request.scheme()) {
            return Some(Mismatch::Scheme);
        }
        if fails(&self.authority, request.authority()) {
            return Some(Mismatch::Authority);
        }
        if let Some(at) = self.headers.iter().position(|header| !header.matches(request)) {
            return Some(Mismatch::Header(at));
        }
        if let Some(at) = self.query.iter().position(|query| !query.matches(request.query())) {
            return Some(Mismatch::Query(at));
        }
        self.claims.iter().position(|claim| !claim.matches(request)).map(Mismatch::Claim)
    }
}

#[derive(Debug)]
enum PathMatcher {
    Any,
    Exact(Arc<str>),
    ExactIgnoreCase(Arc<str>),
    Prefix(Arc<str>),
    PrefixIgnoreCase(Arc<str>),
    /// In a box: it is twice as large as the others.
    Regex(Box<Regex>),
    Connect,
}

impl PathMatcher {
    fn new(source: &ir::PathMatch, ignore_case: bool) -> Self {
        match source {
            ir::PathMatch::Any => PathMatcher::Any,
            ir::PathMatch::Exact(path) if ignore_case => PathMatcher::ExactIgnoreCase(path.clone()),
            ir::PathMatch::Exact(path) => PathMatcher::Exact(path.clone()),
            ir::PathMatch::Prefix(prefix) if ignore_case => PathMatcher::PrefixIgnoreCase(prefix.clone()),
            ir::PathMatch::Prefix(prefix) => PathMatcher::Prefix(prefix.clone()),
            ir::PathMatch::Regex(pattern) => PathMatcher::Regex(Box::new(pattern.full_match())),
            ir::PathMatch::Connect => PathMatcher::Connect,
        }
    }

    fn matches(&self, path: &str) -> bool {
        let bytes = path.as_bytes();
        match self {
            PathMatcher::Any | PathMatcher::Connect => true,
            PathMatcher::Exact(wanted) => **wanted == *path,
            PathMatcher::ExactIgnoreCase(wanted) => wanted.eq_ignore_ascii_case(path),
            PathMatcher::Prefix(prefix) => bytes.starts_with(prefix.as_bytes()),
            PathMatcher::PrefixIgnoreCase(prefix) => {
                bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            PathMatcher::Regex(regex) => regex.is_match(bytes),
        }
    }
}

#[derive(Debug)]
struct HeaderMatcher {
    name: HeaderName,
    value: StringMatcher,
    invert: bool,
}

impl HeaderMatcher {
    fn new(source: &ir::HeaderMatch) -> Self {
        HeaderMatcher {
            name: source.name.clone(),
            value: StringMatcher::new(&source.value),
            invert: source.invert,
        }
    }

    fn matches(&self, request: &impl RequestView) -> bool {
        let mut values = header_values(request, &self.name).peekable();
        let matched = match values.peek() {
            // Each value for itself, as in Envoy: one cannot hide behind another.
            Some(_) => values.any(|value| self.value.matches(value)),
            // Only for `withoutHeaders` does a missing header count as an empty one.
            None => self.invert && !self.value.is_presence() && self.value.matches(b""),
        };
        matched != self.invert
    }
}

/// The values of a header, in order. `host` is the authority, whichever way the client sent it.
pub(crate) fn header_values<'r>(
    request: &'r impl RequestView,
    name: &HeaderName,
) -> impl Iterator<Item = &'r [u8]> {
    let is_host = *name == HOST;
    let authority = Some(request.authority().as_bytes()).filter(|authority| is_host && !authority.is_empty());
    let others = (!is_host).then(|| request.header(name)).into_iter().flatten();
    authority.into_iter().chain(others)
}

#[derive(Debug)]
struct QueryMatcher {
    name: Arc<str>,
    value: StringMatcher,
}

impl QueryMatcher {
    fn new(source: &ir::QueryMatch) -> Self {
        QueryMatcher { name: source.name.clone(), value: StringMatcher::new(&source.value) }
    }

    fn matches(&self, query: Option<&str>) -> bool {
        query_value(query, &self.name).is_some_and(|value| self.value.matches(value.as_bytes()))
    }
}

#[derive(Debug)]
struct ClaimMatcher {
    path: Arc<[String]>,
    value: StringMatcher,
    invert: bool,
}

impl ClaimMatcher {
    fn new(source: &ir::ClaimMatch) -> Self {
        ClaimMatcher {
            path: source.path.clone(),
            value: StringMatcher::new(&source.value),
            invert: source.invert,
        }
    }

    fn matches(&self, request: &impl RequestView) -> bool {
        let text = |value: &Value| value.as_str().is_some_and(|text| self.value.matches(text.as_bytes()));
        let matched = match request.claim(&self.path) {
            Some(Value::Array(list)) => list.iter().any(text),
            Some(value) => text(value),
            None => false,
        };
        matched != self.invert
    }
}

/// The first value of a query parameter, as sent; a parameter without `=` is empty.
pub(crate) fn query_value<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .find_map(|(key, value)| (key == name).then_some(value))
}

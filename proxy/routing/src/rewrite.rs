//! New paths.
//!
//! In:  [`ir::PathRewrite`] with the [`ir::RouteMatch`] of its route, then the path and the query of a request.   Out: the new
//! path with the query.
//! Invariants: the new path begins with `/`; the query is kept as sent. What does not begin with `/` (`OPTIONS *`, CONNECT)
//! is left alone.
//! Not here: `x-envoy-original-path` and the authority (`proxy/src/policy`).
//! Source: Envoy `prefix_rewrite`, `path_redirect`, `regex_rewrite`; RE2 `Rewrite`.

use regex::bytes::{Captures, Regex, Replacer};
use sidle_model::ir::{self, PathMatch};
use std::sync::Arc;

/// A compiled [`ir::PathRewrite`].
#[derive(Debug, Clone)]
pub struct PathRewriter(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// Puts `text` in the place of the first `length` bytes; `None`: of the whole path.
    Replace { length: Option<usize>, text: Arc<str> },
    /// In a box: few routes have one.
    Regex(Box<(Regex, Box<[Piece]>)>),
}

/// A part of a substitution.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Group(usize),
}

impl PathRewriter {
    /// Compiles the rewrite of a route. The matched prefix of a route that is not by prefix is the whole path; of one that
    /// takes every path it is `/`, as Istio makes `prefix: /` of a rule without a `uri`.
    pub fn new(rewrite: &ir::PathRewrite, matches: &ir::RouteMatch) -> Self {
        PathRewriter(match rewrite {
            ir::PathRewrite::Prefix(text) => {
                let length = match &matches.path {
                    PathMatch::Prefix(prefix) => Some(prefix.len()),
                    PathMatch::Any => Some(1),
                    PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => None,
                };
                Kind::Replace { length, text: text.clone() }
            }
            ir::PathRewrite::Full(text) => Kind::Replace { length: None, text: text.clone() },
            ir::PathRewrite::Regex { pattern, substitution } => {
                Kind::Regex(Box::new((pattern.search(), parse_substitution(substitution))))
            }
        })
    }

    /// The new path of a request that the route matched, followed by `?` and the query if there is one.
    pub fn rewrite(&self, path: &str, query: Option<&str>) -> String {
        let mut target = if path.starts_with('/') { self.path(path) } else { path.to_owned() };
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        target
    }

    /// The new path alone.
    pub(crate) fn path(&self, path: &str) -> String {
        let mut new = match &self.0 {
            Kind::Replace { length, text } => {
                let rest = length.and_then(|length| path.get(length..)).unwrap_or("");
                [&**text, rest].concat()
            }
            Kind::Regex(regex) => {
                let (regex, substitution) = &**regex;
                let replaced = regex.replace_all(path.as_bytes(), Substitution(substitution));
                String::from_utf8_lossy(&replaced).into_owned()
            }
        };
        if !new.starts_with('/') {
            new.insert(0, '/');
        }
        new
    }
}

/// `\0` to `\9` are groups and `\\` is a backslash; a backslash before anything else stands for itself.
fn parse_substitution(text: &str) -> Box<[Piece]> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped =
            characters.next_if(|next| character == '\\' && (next.is_ascii_digit() || *next == '\\'));
        match escaped.map(|next| next.to_digit(10)) {
            Some(Some(group)) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                }
                pieces.push(Piece::Group(group as usize));
            }
            // Either an escaped backslash, which is one, or a character that stands for itself.
            Some(None) | None => literal.push(character),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    pieces.into()
}

struct Substitution<'p>(&'p [Piece]);

impl Replacer for Substitution<'_> {
    fn replace_append(&mut self, captures: &Captures<'_>, new: &mut Vec<u8>) {
        for piece in self.0 {
            match piece {
                Piece::Literal(text) => new.extend_from_slice(text.as_bytes()),
                // A group that took no part in the match, or that there is not, is empty.
                Piece::Group(group) => {
                    new.extend_from_slice(captures.get(*group).map_or(&b""[..], |group| group.as_bytes()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::route_match;

    fn rewrite(path: PathMatch, rewrite: ir::PathRewrite, request: &str) -> String {
        let (path_part, query) = match request.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request, None),
        };
        PathRewriter::new(&rewrite, &route_match(path)).rewrite(path_part, query)
    }

    fn prefix(matched: &str, to: &str, request: &str) -> String {
        rewrite(PathMatch::Prefix(matched.into()), ir::PathRewrite::Prefix(to.into()), request)
    }

    #[test]
    fn a_prefix_replaces_only_what_matched() {
        assert_eq!(prefix("/api", "/v1", "/api/users?x=1"), "/v1/users?x=1");
        assert_eq!(prefix("/api/", "/", "/api/users"), "/users");
        assert_eq!(prefix("/api", "/", "/api/users"), "//users", "raw, as in Envoy");
        assert_eq!(prefix("/api", "/v1", "/API/users"), "/v1/users", "matched ignoring case");
        assert_eq!(prefix("/api/", "", "/api/users?"), "/users?", "begins with a slash");
        assert_eq!(rewrite(PathMatch::Any, ir::PathRewrite::Prefix("/v1/".into()), "/users"), "/v1/users");
        let regex = PathMatch::Regex(ir::Pattern::new("/a.*").unwrap());
        assert_eq!(rewrite(regex, ir::PathRewrite::Prefix("/b".into()), "/abc?q"), "/b?q");
    }

    #[test]
    fn full_replaces_the_path_and_keeps_the_query() {
        let full = ir::PathRewrite::Full("/new".into());
        assert_eq!(rewrite(PathMatch::Exact("/old".into()), full.clone(), "/old?x"), "/new?x");
        assert_eq!(rewrite(PathMatch::Any, full, "*"), "*", "not a path");
    }

    #[test]
    fn a_regex_replaces_every_match_with_its_groups() {
        let regex = |pattern: &str, substitution: &str| ir::PathRewrite::Regex {
            pattern: ir::Pattern::new(pattern).unwrap(),
            substitution: substitution.into(),
        };
        for (pattern, substitution, request, wanted) in [
            (
                "^/service/([^/]+)(/.*)$",
                r"\2/instance/\1",
                "/service/foo/v1/api?q=1",
                "/v1/api/instance/foo?q=1",
            ),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            ("a(b)?", r"<\1>", "/a/ab", "/<>/<b>"),
            ("a", r"\\\0\9$1", "/a", r"/\a$1"),
            ("^/", "", "/x", "/x"),
        ] {
            let target = rewrite(PathMatch::Any, regex(pattern, substitution), request);
            assert_eq!(target, wanted, "{pattern} -> {substitution}");
        }
    }
}

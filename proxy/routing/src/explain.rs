//! Why a request takes the route that it takes.
//!
//! In:  a [`RouteTable`] and a request.   Out: an [`Explanation`]: the hosts that cover it and, for each rule of the chosen one,
//! the first condition that did not hold.
//! Invariants: the winner is the one that [`RouteTable::select`] returns; the words come from the same [`Mismatch`].
//! Not here: printing (`proxy/src/cli/explain.rs`).

use crate::{
    CompiledRoute, RequestView, RouteTable,
    matcher::{Mismatch, header_values, query_value},
    table::Domain,
};
use sidle_model::ir::{self, HostPattern, PathMatch, StringMatch};
use std::sync::Arc;

/// Why a request takes the route that it takes.
#[derive(Debug)]
pub struct Explanation<'t, A> {
    /// The request's authority as it was looked up.
    pub host: String,
    /// Domains that cover it, most specific first. The first was chosen; empty: no virtual host.
    pub candidates: Vec<HostCandidate<'t>>,
    /// Every rule of the chosen host, in order.
    pub rules: Vec<Rule<'t, A>>,
    /// The rule that was chosen; `None`: no route.
    pub winner: Option<&'t CompiledRoute<A>>,
}

/// A domain that covers the request's host.
#[derive(Debug, Clone)]
pub struct HostCandidate<'t> {
    /// The domain as configured.
    pub pattern: &'t HostPattern,
    /// Whose domain it is.
    pub virtual_host: &'t Arc<ir::VirtualHost>,
}

/// A rule, and what became of it.
#[derive(Debug)]
pub struct Rule<'t, A> {
    /// The rule.
    pub route: &'t CompiledRoute<A>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The first that matches.
    Wins,
    /// It does not match; this is the first condition that does not hold.
    Differs(Difference),
    /// A rule before it won.
    NotReached,
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As in a VirtualService: `uri`, `method`, `headers[x-user]`, `withoutHeaders[x-user]`, `queryParams[q]`.
    pub field: String,
    /// `prefix "/api"`, `exact "GET"`, `regex "a+"`, `present`, with `not ` before it for `withoutHeaders`.
    pub wanted: String,
    /// What the request has; `None`: nothing.
    pub found: Option<String>,
}

impl<A> RouteTable<A> {
    /// Why [`RouteTable::select`] chooses what it chooses.
    pub fn explain<'t>(&'t self, request: &impl RequestView) -> Explanation<'t, A> {
        let host = self.lookup_key(request).into_owned();
        let domains: Vec<Domain> = self.covering(&host).collect();
        let candidates = domains.iter().map(|&domain| {
            let virtual_host = &self.host(domain).virtual_host;
            HostCandidate { pattern: &virtual_host.domains[domain.domain as usize], virtual_host }
        });
        let candidates = candidates.collect();
        let routes = domains.first().map_or(&[][..], |&domain| &self.host(domain).routes);
        let mut winner = None;
        let rules = routes.iter().map(|route| {
            let route = &**route;
            let verdict = match winner {
                Some(_) => Verdict::NotReached,
                None => match route.matcher.mismatch(request) {
                    Some(mismatch) => Verdict::Differs(describe(mismatch, &route.route.matches, request)),
                    None => {
                        winner = Some(route);
                        Verdict::Wins
                    }
                },
            };
            Rule { route, verdict }
        });
        let rules = rules.collect();
        Explanation { host, candidates, rules, winner }
    }
}

/// Puts a mismatch into words.
fn describe(mismatch: Mismatch, wanted: &ir::RouteMatch, request: &impl RequestView) -> Difference {
    let pseudo = |field: &str, wanted: &Option<Box<StringMatch>>, found: &str| Difference {
        field: field.into(),
        wanted: wanted.as_deref().map(string_match).unwrap_or_default(),
        found: (!found.is_empty()).then(|| found.to_owned()),
    };
    match mismatch {
        Mismatch::Connect => Difference {
            field: "method".into(),
            wanted: if request.is_connect() { "not exact \"CONNECT\"" } else { "exact \"CONNECT\"" }.into(),
            found: Some(request.method().to_owned()),
        },
        Mismatch::Path => Difference {
            field: "uri".into(),
            wanted: path_match(&wanted.path, wanted.ignore_case),
            found: Some(request.path().to_owned()),
        },
        Mismatch::Method => pseudo("method", &wanted.method, request.method()),
        Mismatch::Scheme => pseudo("scheme", &wanted.scheme, request.scheme()),
        Mismatch::Authority => pseudo("authority", &wanted.authority, request.authority()),
        Mismatch::Header(at) => header(&wanted.headers[at], request),
        Mismatch::Claim(at) => claim(&wanted.claims[at], request),
        Mismatch::Query(at) => {
            let ir::QueryMatch { name, value } = &wanted.query[at];
            Difference {
                field: format!("queryParams[{name}]"),
                wanted: string_match(value),
                found: query_value(request.query(), name).map(str::to_owned),
            }
        }
    }
}

fn header(wanted: &ir::HeaderMatch, request: &impl RequestView) -> Difference {
    let (field, not) = if wanted.invert { ("withoutHeaders", "not ") } else { ("headers", "") };
    Difference {
        field: format!("{field}[{}]", wanted.name),
        wanted: format!("{not}{}", string_match(&wanted.value)),
        found: {
            let values: Vec<_> = header_values(request, &wanted.name)
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect();
            (!values.is_empty()).then(|| values.join(","))
        },
    }
}

fn claim(wanted: &ir::ClaimMatch, request: &impl RequestView) -> Difference {
    let (field, not) = if wanted.invert { ("withoutHeaders", "not ") } else { ("headers", "") };
    Difference {
        field: format!("{field}[@request.auth.claims[{}]]", wanted.path.join("][")),
        wanted: format!("{not}{}", string_match(&wanted.value)),
        found: request.claim(&wanted.path).map(ToString::to_string),
    }
}

fn string_match(wanted: &StringMatch) -> String {
    match wanted {
        StringMatch::Exact(value) => format!("exact {value:?}"),
        StringMatch::Prefix(value) => format!("prefix {value:?}"),
        StringMatch::Regex(pattern) => format!("regex \"{}\"", pattern.as_str()),
        StringMatch::Present => "present".into(),
    }
}

fn path_match(wanted: &PathMatch, ignore_case: bool) -> String {
    let ignoring = if ignore_case { " ignoring case" } else { "" };
    match wanted {
        PathMatch::Any => "any".into(),
        PathMatch::Exact(path) => format!("exact {path:?}{ignoring}"),
        PathMatch::Prefix(path) => format!("prefix {path:?}{ignoring}"),
        PathMatch::Regex(pattern) => format!("regex \"{}\"", pattern.as_str()),
        PathMatch::Connect => "CONNECT".into(),
    }
}

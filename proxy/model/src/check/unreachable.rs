//! Rules of a VirtualService that never get a request, because an earlier one takes it (R1).
//!
//! A match covers another if every request that meets the second meets the first. What cannot be told (two different
//! regular expressions) counts as not covered: a warning here is always right.

use super::report::{At, Report};
use crate::{
    Map,
    diagnostic::codes,
    istio::{HttpMatchRequest, L4MatchAttributes, StringMatch, VirtualService},
    pause,
};
use std::collections::BTreeMap;

/// Comparisons in one VirtualService at most; beyond that the rest is not compared, so that a huge one is still checked in
/// bounded time.
const MOST_COMPARISONS: usize = 2_000_000;

pub(super) fn check(spec: &VirtualService, report: &mut Report<'_>) {
    http(spec, report);
    tcp(spec, report);
}

/// One `match` entry and where it stands; a rule without entries has one that holds for everything.
struct Candidate<'a> {
    rule: usize,
    entry: Option<usize>,
    request: &'a HttpMatchRequest,
}

fn http(spec: &VirtualService, report: &mut Report<'_>) {
    let everything = HttpMatchRequest::default();
    let mut candidates = Vec::new();
    for (rule, route) in spec.http.iter().enumerate() {
        if route.matches.is_empty() {
            candidates.push(Candidate { rule, entry: None, request: &everything });
        }
        let entries = route.matches.iter().enumerate();
        candidates.extend(entries.map(|(entry, request)| Candidate { rule, entry: Some(entry), request }));
    }
    let mesh = ["mesh".to_owned()];
    let gateways = if spec.gateways.is_empty() { &mesh[..] } else { &spec.gateways };
    let mut comparisons = 0;
    let mut covered: BTreeMap<usize, Vec<(&Candidate<'_>, &Candidate<'_>)>> = BTreeMap::new();
    for (index, later) in pause::each(&candidates).enumerate() {
        if comparisons > MOST_COMPARISONS {
            break;
        }
        let mut earlier = candidates[..index].iter().take_while(|earlier| earlier.rule < later.rule);
        let by = earlier.find(|earlier| {
            comparisons += 1;
            covers(earlier.request, later.request, gateways)
        });
        if let Some(by) = by {
            covered.entry(later.rule).or_default().push((later, by));
        }
    }
    for (rule, entries) in covered {
        let whole_rule = entries.len() == spec.http[rule].matches.len().max(1);
        for (later, by) in if whole_rule { &entries[..1] } else { &entries[..] } {
            tell(later, by, whole_rule, report);
        }
    }
}

fn tell(later: &Candidate<'_>, by: &Candidate<'_>, whole_rule: bool, report: &mut Report<'_>) {
    let root = At::SPEC;
    let http = root.to("http");
    let rule = http.to(later.rule);
    let matches = rule.to("match");
    let at = match later.entry {
        Some(entry) if !whole_rule => matches.to(entry),
        _ => rule,
    };
    let earlier = http.to(by.rule);
    let earlier_matches = earlier.to("match");
    let place = by.entry.map_or(report.span(earlier), |entry| report.span(earlier_matches.to(entry)));
    let what = if whole_rule { "this rule" } else { "this match" };
    let message = format!(
        "{what} gets no request: the one at line {}, column {} takes them all",
        place.line, place.column
    );
    let help = "rules are tried in order and the first that matches wins: put the narrower one first";
    report.warn_help(at, codes::UNREACHABLE_ROUTE, message, help);
}

/// Whether every request that meets `inner` meets `outer`; `default` gateways hold where a match names none.
fn covers(outer: &HttpMatchRequest, inner: &HttpMatchRequest, default: &[String]) -> bool {
    let gateways = |request: &'_ HttpMatchRequest| request.gateways.is_empty();
    let outer_gateways = if gateways(outer) { default } else { &outer.gateways };
    let inner_gateways = if gateways(inner) { default } else { &inner.gateways };
    // With gateways of its own, a match does not look at the client's labels (R19).
    let outer_labels = if gateways(outer) { &outer.source_labels } else { &Map::new() };
    let inner_labels = if gateways(inner) { &inner.source_labels } else { &Map::new() };
    path_covers(outer, inner)
        && text_covers(outer.scheme.as_deref(), inner.scheme.as_deref())
        && text_covers(outer.method.as_deref(), inner.method.as_deref())
        && text_covers(outer.authority.as_deref(), inner.authority.as_deref())
        && values_cover(&outer.headers, &inner.headers)
        && values_cover(&outer.query_params, &inner.query_params)
        && outer.without_headers.iter().all(|(name, value)| inner.without_headers.get(name) == Some(value))
        && (outer.port.is_none() || outer.port == inner.port)
        && outer_labels.iter().all(|(key, value)| inner_labels.get(key) == Some(value))
        && (outer.source_namespace.is_none() || outer.source_namespace == inner.source_namespace)
        && inner_gateways.iter().all(|gateway| outer_gateways.contains(gateway))
}

fn path_covers(outer: &HttpMatchRequest, inner: &HttpMatchRequest) -> bool {
    let everything = |uri: &StringMatch| *uri == StringMatch::default() || uri.prefix.as_deref() == Some("/");
    let Some(outer_uri) = outer.uri.as_ref().filter(|uri| !everything(uri)) else { return true };
    let Some(inner_uri) = &inner.uri else { return false };
    if outer_uri.regex.is_some() || inner_uri.regex.is_some() {
        return outer_uri.regex.is_some() && outer_uri.regex == inner_uri.regex;
    }
    match (outer.ignore_uri_case, inner.ignore_uri_case) {
        (true, _) => match_covers(&lower(outer_uri), &lower(inner_uri)),
        (false, false) => match_covers(outer_uri, inner_uri),
        // The inner one also holds for spellings that the outer one does not.
        (false, true) => false,
    }
}

fn lower(value: &StringMatch) -> StringMatch {
    let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_ascii_lowercase());
    StringMatch { exact: lower(&value.exact), prefix: lower(&value.prefix), regex: value.regex.clone() }
}

fn text_covers(outer: Option<&StringMatch>, inner: Option<&StringMatch>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(outer), Some(inner)) => match_covers(outer, inner),
        (Some(_), None) => false,
    }
}

/// Whether every value that `inner` holds for is one that `outer` holds for; an empty match holds for every value.
fn match_covers(outer: &StringMatch, inner: &StringMatch) -> bool {
    let present =
        |value: &StringMatch| *value == StringMatch::default() || value.regex.as_deref() == Some("*");
    if present(outer) {
        return true;
    }
    match (outer, inner) {
        (StringMatch { exact: Some(outer), .. }, _) => inner.exact.as_ref() == Some(outer),
        (StringMatch { prefix: Some(outer), .. }, _) => inner
            .exact
            .as_ref()
            .or(inner.prefix.as_ref())
            .is_some_and(|inner| inner.starts_with(outer.as_str())),
        _ => outer.regex == inner.regex,
    }
}

fn values_cover(outer: &Map<StringMatch>, inner: &Map<StringMatch>) -> bool {
    outer.iter().all(|(name, value)| inner.get(name).is_some_and(|inner| match_covers(value, inner)))
}

/// TCP rules after one that takes every connection.
fn tcp(spec: &VirtualService, report: &mut Report<'_>) {
    let root = At::SPEC;
    let tcp = root.to("tcp");
    let takes_all = |entry: &L4MatchAttributes| {
        *entry == L4MatchAttributes { gateways: entry.gateways.clone(), ..Default::default() }
            && entry.gateways.is_empty()
    };
    let first =
        spec.tcp.iter().position(|rule| rule.matches.is_empty() || rule.matches.iter().any(takes_all));
    let Some(first) = first else { return };
    for later in first + 1..spec.tcp.len() {
        let line = report.span(tcp.to(first)).line;
        let message = format!("this rule gets no connection: the one at line {line} takes them all");
        report.warn_help(tcp.to(later), codes::UNREACHABLE_ROUTE, message, "put the narrower rule first");
    }
}

//! Conditions of an HTTP rule.
//!
//! In:  an `HTTPMatchRequest`, and where the rule is to hold.   Out: an [`RouteMatch`].
//! Invariants: what can be decided now is (port, gateways, labels and namespace of the client); the rest is the request's.
//! Not here: matching requests (`sidle-routing`).
//! Source: R1, R19.

use super::{registry::selects, virtual_services::gateway_name};
use crate::{
    ir::{ClaimMatch, HeaderMatch, Node, PathMatch, Pattern, QueryMatch, RouteMatch, StringMatch},
    istio,
};
use http::HeaderName;

/// Where rules are about to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'s> {
    /// The service's port, or the gateway server's.
    pub port: u16,
    /// `mesh`, or `namespace/name` of a Gateway.
    pub gateway: &'s str,
}

impl Site<'_> {
    /// Whether a match can hold here at all. `match.gateways` replaces `sourceLabels` (R19).
    pub fn meets(&self, condition: &istio::HttpMatchRequest, rule_namespace: &str, node: &Node) -> bool {
        if condition.port.is_some_and(|port| port != self.port) {
            return false;
        }
        if !condition.gateways.is_empty() {
            return self.is_one_of(&condition.gateways, rule_namespace);
        }
        selects(&condition.source_labels, &node.labels)
            && condition.source_namespace.as_ref().is_none_or(|namespace| *namespace == node.namespace)
    }

    /// Whether the list names this gateway.
    pub fn is_one_of(&self, gateways: &[String], rule_namespace: &str) -> bool {
        gateways.iter().any(|name| gateway_name(name, rule_namespace) == self.gateway)
    }
}

/// Every request but CONNECT.
pub(super) fn everything() -> RouteMatch {
    RouteMatch {
        path: PathMatch::Any,
        ignore_case: false,
        scheme: None,
        method: None,
        authority: None,
        headers: Vec::new(),
        query: Vec::new(),
        claims: Vec::new(),
    }
}

/// The request's part of a match. `None`: no request can meet it.
pub(super) fn lower(condition: &istio::HttpMatchRequest) -> Option<RouteMatch> {
    let one = |text: &Option<Box<istio::StringMatch>>| {
        text.as_deref().map(string_match).transpose().map(|one| one.map(Box::new))
    };
    let mut lowered = RouteMatch {
        path: condition.uri.as_ref().map_or(Some(PathMatch::Any), path)?,
        ignore_case: condition.ignore_uri_case,
        scheme: one(&condition.scheme).ok()?,
        method: one(&condition.method).ok()?,
        authority: one(&condition.authority).ok()?,
        headers: Vec::with_capacity(condition.headers.len() + condition.without_headers.len()),
        query: Vec::with_capacity(condition.query_params.len()),
        claims: Vec::new(),
    };
    for (name, value) in &condition.headers {
        header(&mut lowered, name, string_match(value).ok()?, false)?;
    }
    for (name, value) in &condition.without_headers {
        header(&mut lowered, name, string_match(value).ok()?, true)?;
    }
    for (name, value) in &condition.query_params {
        lowered.query.push(QueryMatch { name: name.as_str().into(), value: string_match(value).ok()? });
    }
    Some(lowered)
}

/// Names that Istio takes for fields of the match, and ignores as headers; `check` tells.
const IGNORED_HEADERS: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// What begins the name of a claim among headers.
const CLAIMS: &str = "@request.auth.claims";

/// The path of `@request.auth.claims.a.b` or `@request.auth.claims[a][b]`; `None`: it is the name of a header. `Err`: it is neither.
pub(crate) fn claim_path(name: &str) -> Option<Result<Vec<String>, String>> {
    let start = name.get(..CLAIMS.len())?;
    let rest = name.get(CLAIMS.len()..).filter(|_| start.eq_ignore_ascii_case(CLAIMS))?;
    let path: Vec<&str> = match rest.strip_prefix('.') {
        Some(dotted) => dotted.split('.').collect(),
        None => {
            rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or("").split("][").collect()
        }
    };
    let wrong = path.iter().any(|claim| claim.is_empty() || claim.contains(['[', ']']));
    Some(match wrong {
        true => Err(format!("`{name}` names no claim: `{CLAIMS}.NAME`, or `{CLAIMS}[NAME][NAME]`")),
        false => Ok(path.into_iter().map(str::to_owned).collect()),
    })
}

/// Adds a header condition. `None`: it can never hold.
fn header(lowered: &mut RouteMatch, name: &str, value: StringMatch, invert: bool) -> Option<()> {
    if let Some(path) = claim_path(name) {
        lowered.claims.push(ClaimMatch { path: path.ok()?.into(), value, invert });
        return Some(());
    }
    if IGNORED_HEADERS.contains(&name) {
        return Some(());
    }
    let lower_case = name.to_ascii_lowercase();
    let field = match (&*lower_case, invert) {
        (":authority" | "host", false) => &mut lowered.authority,
        (":method", false) => &mut lowered.method,
        (":scheme", false) => &mut lowered.scheme,
        _ => {
            let name = HeaderName::from_bytes(lower_case.as_bytes()).ok()?;
            lowered.headers.push(HeaderMatch { name, value, invert });
            return Some(());
        }
    };
    match field {
        None => *field = Some(Box::new(value)),
        Some(same) if **same == value => {}
        Some(_) => return None,
    }
    Some(())
}

fn path(uri: &istio::StringMatch) -> Option<PathMatch> {
    Some(match string_match(uri).ok()? {
        StringMatch::Exact(text) => PathMatch::Exact(text),
        StringMatch::Prefix(text) => PathMatch::Prefix(text),
        StringMatch::Regex(pattern) => PathMatch::Regex(pattern),
        StringMatch::Present => PathMatch::Any,
    })
}

/// `{}` and the regex `*` ask for presence. `Err`: the expression does not compile, which `check` refuses.
pub(super) fn string_match(text: &istio::StringMatch) -> Result<StringMatch, String> {
    Ok(match (&text.exact, &text.prefix, &text.regex) {
        (Some(exact), _, _) => StringMatch::Exact(exact.as_str().into()),
        (None, Some(prefix), _) => StringMatch::Prefix(prefix.as_str().into()),
        (None, None, Some(regex)) if regex == "*" => StringMatch::Present,
        (None, None, Some(regex)) => StringMatch::Regex(Pattern::new(regex)?),
        (None, None, None) => StringMatch::Present,
    })
}

/// Whether every request meets it, so that nothing after it is ever reached.
pub(super) fn is_catch_all(matches: &RouteMatch) -> bool {
    let path = match &matches.path {
        PathMatch::Any => true,
        PathMatch::Prefix(prefix) => matches!(&**prefix, "" | "/"),
        PathMatch::Regex(pattern) => pattern.as_str() == ".*",
        PathMatch::Exact(_) | PathMatch::Connect => false,
    };
    path && matches.scheme.is_none()
        && matches.method.is_none()
        && matches.authority.is_none()
        && matches.headers.is_empty()
        && matches.query.is_empty()
        && matches.claims.is_empty()
}

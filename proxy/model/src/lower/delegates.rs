//! Delegates: routes of a root VirtualService that continue in another one (R18).
//!
//! In:  a root.   Out: its `http` rules, each delegating one replaced by the delegate's, merged.
//! Invariants: one level; a delegate's rule stays within its root's match, or is dropped with a note; what the delegate
//! leaves unset comes from the root.
//! Not here: delegates that do not exist (`crate::check` tells; the rule is dropped).

use super::{names, notes::Notes, virtual_services::HttpRule};
use crate::{
    Map,
    config::Resource,
    diagnostic::codes,
    istio::{HttpMatchRequest, HttpRoute, StringMatch, VirtualService},
    pause,
};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// VirtualServices without hosts, by namespace and name.
pub(super) struct Delegates<'a>(HashMap<(&'a str, &'a str), &'a Resource<VirtualService>>);

impl<'a> Delegates<'a> {
    pub fn new(resources: &[&'a Resource<VirtualService>]) -> Self {
        let delegates = pause::each(resources).filter(|resource| resource.spec.hosts.is_empty());
        let key = |resource: &&'a Resource<VirtualService>| {
            ((&*resource.metadata.namespace, &*resource.metadata.name), *resource)
        };
        Delegates(delegates.map(key).collect())
    }
}

/// The HTTP rules of a root, with its delegates'.
pub(super) fn expand<'a>(
    root: &'a Resource<VirtualService>,
    title: &Arc<str>,
    delegates: &Delegates<'a>,
    notes: &mut Notes,
) -> Vec<HttpRule<'a>> {
    let mut rules = Vec::with_capacity(root.spec.http.len());
    for (at, route) in pause::each(&root.spec.http).enumerate() {
        let own = route.route.is_empty() && route.redirect.is_none() && route.direct_response.is_none();
        match &route.delegate {
            Some(delegate) if own => {
                let namespace = delegate.namespace.as_deref().unwrap_or(&root.metadata.namespace);
                let Some(found) = delegates.0.get(&(namespace, &*delegate.name)) else { continue };
                if names::exported(&found.spec.export_to, namespace, &root.metadata.namespace) {
                    merge_all(root, at, found, &mut rules, notes);
                } else {
                    let message = format!(
                        "rule dropped: {} is not exported to `{}`",
                        found.title(),
                        root.metadata.namespace
                    );
                    notes.warn(root, codes::HIDDEN, &["http".into(), at.into(), "delegate".into()], message);
                }
            }
            _ => rules.push(HttpRule {
                route: Cow::Borrowed(route),
                resource: root,
                title: title.clone(),
                at,
                match_places: Vec::new(),
            }),
        }
    }
    rules
}

fn merge_all<'a>(
    root: &'a Resource<VirtualService>,
    root_at: usize,
    delegate: &'a Resource<VirtualService>,
    rules: &mut Vec<HttpRule<'a>>,
    notes: &mut Notes,
) {
    let title: Arc<str> = delegate.title().into();
    let root_route = &root.spec.http[root_at];
    for (at, route) in delegate.spec.http.iter().enumerate() {
        if route.delegate.is_some() {
            let message = "rule dropped: a delegate cannot delegate further";
            notes.warn(delegate, codes::DROPPED, &["http".into(), at.into(), "delegate".into()], message);
            continue;
        }
        match merge_matches(&root_route.matches, &route.matches) {
            Ok((matches, match_places)) => {
                let route = Cow::Owned(merge(root_route, route, matches));
                rules.push(HttpRule { route, resource: delegate, title: title.clone(), at, match_places });
            }
            Err(place) => {
                let message = format!(
                    "rule dropped: this match is not within any match of the rule that delegates to it ({})",
                    root.origin(&["http".into(), root_at.into()])
                );
                let path = ["http".into(), at.into(), "match".into(), place.into()];
                notes.warn(delegate, codes::DROPPED, &path, message);
            }
        }
    }
}

/// The delegate's route; what it leaves unset comes from the root.
fn merge(root: &HttpRoute, delegate: &HttpRoute, matches: Vec<HttpMatchRequest>) -> HttpRoute {
    let own_mirror = delegate.mirror.is_some() || !delegate.mirrors.is_empty();
    let mirroring = if own_mirror { delegate } else { root };
    HttpRoute {
        name: match (&root.name, &delegate.name) {
            (Some(root), Some(delegate)) => Some(format!("{root}-{delegate}")),
            (root, delegate) => delegate.clone().or_else(|| root.clone()),
        },
        matches,
        route: delegate.route.clone(),
        redirect: delegate.redirect.clone(),
        direct_response: delegate.direct_response.clone(),
        delegate: None,
        rewrite: delegate.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: delegate.timeout.or(root.timeout),
        retries: delegate.retries.clone().or_else(|| root.retries.clone()),
        fault: delegate.fault.clone().or_else(|| root.fault.clone()),
        mirror: mirroring.mirror.clone(),
        mirrors: mirroring.mirrors.clone(),
        mirror_percent: mirroring.mirror_percent,
        mirror_percentage: mirroring.mirror_percentage.clone(),
        cors_policy: delegate.cors_policy.clone().or_else(|| root.cors_policy.clone()),
        headers: delegate.headers.clone().or_else(|| root.headers.clone()),
    }
}

/// Every pair of a root's and a delegate's match that do not contradict. `Err`: the place of a delegate's match that lies
/// within no match of the root.
#[allow(clippy::type_complexity, reason = "two parallel lists, used at one place")]
fn merge_matches(
    root: &[HttpMatchRequest],
    delegate: &[HttpMatchRequest],
) -> Result<(Vec<HttpMatchRequest>, Vec<Option<usize>>), usize> {
    if delegate.is_empty() {
        return Ok((root.to_vec(), vec![None; root.len()]));
    }
    if root.is_empty() {
        return Ok((delegate.to_vec(), Vec::new()));
    }
    let (mut matches, mut places) = (Vec::new(), Vec::new());
    for (at, inner) in delegate.iter().enumerate() {
        let before = matches.len();
        for outer in root.iter().filter(|outer| within(outer, inner)) {
            matches.push(merge_match(outer, inner));
            places.push(Some(at));
        }
        if matches.len() == before {
            return Err(at);
        }
    }
    Ok((matches, places))
}

/// Whether a delegate's match does not leave the root's.
fn within(root: &HttpMatchRequest, delegate: &HttpMatchRequest) -> bool {
    fn texts(root: &Map<StringMatch>, delegate: &Map<StringMatch>) -> bool {
        delegate.iter().all(|(key, inner)| implied(root.get(key), Some(inner)))
    }
    let agree = |a: Option<&str>, b: Option<&str>| a.is_none() || b.is_none() || a == b;
    let labels = delegate.source_labels.iter();
    implied(root.uri.as_ref(), delegate.uri.as_ref())
        && implied(root.scheme.as_deref(), delegate.scheme.as_deref())
        && implied(root.method.as_deref(), delegate.method.as_deref())
        && implied(root.authority.as_deref(), delegate.authority.as_deref())
        && texts(&root.headers, &delegate.headers)
        && texts(&root.without_headers, &delegate.without_headers)
        && texts(&root.query_params, &delegate.query_params)
        && root.ignore_uri_case == delegate.ignore_uri_case
        && (root.port.is_none() || delegate.port.is_none() || root.port == delegate.port)
        && agree(root.source_namespace.as_deref(), delegate.source_namespace.as_deref())
        && labels.into_iter().all(|(key, value)| root.source_labels.get(key).is_none_or(|root| root == value))
        && (root.gateways.is_empty() || delegate.gateways.iter().all(|name| root.gateways.contains(name)))
}

/// Whether what `delegate` matches is matched by `root`. Expressions only imply themselves.
fn implied(root: Option<&StringMatch>, delegate: Option<&StringMatch>) -> bool {
    let (Some(root), Some(delegate)) = (root, delegate) else { return true };
    if root.regex.is_some() || delegate.regex.is_some() {
        return root == delegate;
    }
    match (&root.exact, &root.prefix, &delegate.exact, &delegate.prefix) {
        (Some(root), _, Some(delegate), _) => root == delegate,
        (None, Some(root), Some(delegate), _) | (None, Some(root), None, Some(delegate)) => {
            delegate.starts_with(root)
        }
        // The root only asks for the value to be there.
        (None, None, _, _) => true,
        _ => false,
    }
}

/// Both conditions; where both have one, the delegate's, which is the narrower.
fn merge_match(root: &HttpMatchRequest, delegate: &HttpMatchRequest) -> HttpMatchRequest {
    HttpMatchRequest {
        name: match (&root.name, &delegate.name) {
            (Some(root), Some(delegate)) => Some(format!("{root}-{delegate}")),
            (root, delegate) => delegate.clone().or_else(|| root.clone()),
        },
        uri: delegate.uri.clone().or_else(|| root.uri.clone()),
        scheme: delegate.scheme.clone().or_else(|| root.scheme.clone()),
        method: delegate.method.clone().or_else(|| root.method.clone()),
        authority: delegate.authority.clone().or_else(|| root.authority.clone()),
        headers: root.headers.with(&delegate.headers),
        without_headers: root.without_headers.with(&delegate.without_headers),
        query_params: root.query_params.with(&delegate.query_params),
        port: delegate.port.or(root.port),
        source_labels: root.source_labels.with(&delegate.source_labels),
        source_namespace: delegate.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        gateways: if delegate.gateways.is_empty() {
            root.gateways.clone()
        } else {
            delegate.gateways.clone()
        },
        ignore_uri_case: delegate.ignore_uri_case,
        stat_prefix: delegate.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    }
}

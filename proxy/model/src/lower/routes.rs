//! HTTP rules become routes.
//!
//! In:  a VirtualService's rules, the port and gateway where they are to hold.   Out: [`Route`]s in the order of the rules.
//! Invariants: every match entry is a route of its own; nothing follows a route that takes everything; a list is made once
//! for each rule, port and gateway, and shared.
//! Not here: which rules hold for a host (`outbound`, `gateways`), conditions (`matches`).
//! Source: R1, R8, R9, R17.

use super::{
    Mesh, actions,
    clusters::Clusters,
    headers::{self, Changes},
    matches::{self, Site},
    memo::{Led, Memo},
    notes::Notes,
    policies,
    virtual_services::{HttpRule, Rules},
};
use crate::{
    config::Step,
    diagnostic::codes,
    ir::{Origin, PathMatch, PathRewrite, Route, RouteAction, RouteMatch},
    istio, pause,
};
use std::{collections::HashMap, sync::Arc};

/// Routes of one rule set at one place, shared.
pub(super) type RouteList = Arc<[Arc<Route>]>;

/// Makes routes.
#[derive(Debug)]
pub(super) struct Routes<'a> {
    pub mesh: &'a Mesh<'a>,
    pub clusters: Clusters<'a>,
    pub notes: Notes,
    /// By place of the rules, port and gateway.
    pub made: HashMap<(usize, u16, String), RouteList>,
    pub memo: &'a mut Memo,
    /// Where the destinations of the list in the making led.
    pub led: Vec<Led>,
}

impl<'a> Routes<'a> {
    pub fn new(mesh: &'a Mesh<'a>, notes: Notes, memo: &'a mut Memo) -> Self {
        memo.begin(mesh);
        let made = HashMap::with_capacity(mesh.virtual_services.list.len());
        Routes { mesh, clusters: Clusters::new(mesh), notes, made, memo, led: Vec::new() }
    }

    /// The routes of the rules at this place of [`super::virtual_services::VirtualServices::list`].
    pub fn of_rules(&mut self, at: usize, site: Site<'_>) -> RouteList {
        pause::here();
        let key = (at, site.port, site.gateway.to_owned());
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let rules = &self.mesh.virtual_services.list[at];
        let routes = match self.remembered(rules, site) {
            Some(routes) => routes,
            None => {
                let told = self.notes.told();
                self.led.clear();
                let routes = self.make(rules, site).into();
                self.remember(rules, site, &routes, told);
                routes
            }
        };
        self.made.insert(key, routes.clone());
        routes
    }

    fn make(&mut self, rules: &'a Rules<'a>, site: Site<'_>) -> Vec<Arc<Route>> {
        let mut routes: Vec<Arc<Route>> = Vec::with_capacity(rules.http.len());
        for rule in pause::each(&rules.http) {
            let mut action = None;
            for (condition, place) in rule.matches() {
                if condition
                    .is_some_and(|c| !site.meets(c, &rule.resource.metadata.namespace, &self.mesh.node))
                {
                    continue;
                }
                let Some(matches) = self.conditions(rule, condition, place) else { continue };
                let action = match &action {
                    Some(action) => action,
                    None => match actions::lower(self, rule, site) {
                        Some(made) => action.insert(made),
                        None => break, // nothing to do: `check` refuses it
                    },
                };
                let route = assemble(rule, condition, place, matches, action.clone());
                let last = matches::is_catch_all(&route.matches);
                routes.push(Arc::new(route));
                if last {
                    return routes;
                }
            }
        }
        routes
    }

    /// The request's part of a match, with notes on what is not looked at.
    fn conditions(
        &mut self,
        rule: &HttpRule<'a>,
        condition: Option<&istio::HttpMatchRequest>,
        place: Option<usize>,
    ) -> Option<RouteMatch> {
        let Some(condition) = condition else { return Some(matches::everything()) };
        let path = path_of(rule, place);
        if !condition.gateways.is_empty() && !condition.source_labels.is_empty() {
            let message = "`sourceLabels` is not looked at in a match that has `gateways`";
            self.notes.warn(rule.resource, codes::DROPPED, &path, message);
        }
        let lowered = matches::lower(condition);
        // Claims of tokens that nobody verifies are for `check` to tell.
        let has_claims =
            condition.headers.keys().chain(condition.without_headers.keys()).any(|n| n.starts_with('@'));
        if lowered.is_none() && !has_claims {
            let message = "no request can meet these conditions, so the rule never applies";
            self.notes.warn(rule.resource, codes::NEVER_MATCHES, &path, message);
        }
        lowered
    }
}

/// Where a match was written: its entry, or the rule's that has none.
fn path_of(rule: &HttpRule<'_>, place: Option<usize>) -> Vec<Step<'static>> {
    let mut path = vec!["http".into(), rule.at.into()];
    if let Some(place) = place {
        path.extend([Step::Key("match"), place.into()]);
    }
    path
}

fn assemble(
    rule: &HttpRule<'_>,
    condition: Option<&istio::HttpMatchRequest>,
    place: Option<usize>,
    mut matches: RouteMatch,
    mut action: RouteAction,
) -> Route {
    fit_rewrite(&mut matches, &mut action);
    let forwards = matches!(action, RouteAction::Forward(_));
    let Changes { mut request, mut response, .. } = Changes::new(rule.route.headers.as_deref());
    if let RouteAction::Forward(forward) = &mut action
        && let ([_], [only]) = (&*rule.route.route, &mut *forward.clusters)
    {
        request = headers::merge(request, std::mem::take(&mut only.request_headers).into());
        response = headers::merge(response, std::mem::take(&mut only.response_headers).into());
    }
    Route {
        name: route_name(
            rule.route.name.as_deref(),
            condition.and_then(|condition| condition.name.as_deref()),
        ),
        matches,
        action,
        request_headers: request.into(),
        response_headers: response.into(),
        fault: rule.route.fault.as_deref().filter(|_| forwards).and_then(policies::fault).map(Box::new),
        cors: rule.route.cors_policy.as_deref().map(policies::cors).map(Box::new),
        origin: origin(rule, place),
    }
}

fn origin(rule: &HttpRule<'_>, place: Option<usize>) -> Origin {
    rule.resource.origin_titled(rule.title.clone(), &path_of(rule, place))
}

/// `rule`, `rule.match`, or nothing for rules without a name.
fn route_name(rule: Option<&str>, condition: Option<&str>) -> Arc<str> {
    match (rule, condition) {
        (Some(rule), Some(condition)) => format!("{rule}.{condition}").into(),
        (name, other) => name.or(other).unwrap_or_default().into(),
    }
}

/// A prefix is replaced where one is matched; the whole path where it is matched whole. No condition on the path is the
/// prefix `/`.
fn fit_rewrite(matches: &mut RouteMatch, action: &mut RouteAction) {
    let rewrite = match action {
        RouteAction::Forward(forward) => &mut forward.path_rewrite,
        RouteAction::Redirect(redirect) => &mut redirect.path,
        RouteAction::Direct(_) => return,
    };
    if let Some(PathRewrite::Prefix(text)) = rewrite {
        match matches.path {
            PathMatch::Any => matches.path = PathMatch::Prefix("/".into()),
            PathMatch::Prefix(_) => {}
            PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => {
                *rewrite = Some(PathRewrite::Full(text.clone()));
            }
        }
    }
}

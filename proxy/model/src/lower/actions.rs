//! What a rule does with a request: forward, redirect, answer.
//!
//! In:  an HTTP rule and the port where it holds.   Out: a [`RouteAction`], with clusters that exist.
//! Invariants: weights are never all zero.
//! Not here: conditions (`matches`), faults and CORS (`policies`).
//! Source: R8, R9, R17.

use super::{
    clusters::Place,
    headers::Changes,
    matches::Site,
    memo::{Led, Part},
    policies, retries,
    routes::Routes,
    virtual_services::HttpRule,
};
use crate::{
    config::Step,
    ir::{
        self, DirectResponse, Forward, Mirror, PathRewrite, Pattern, Percent, Redirect, RedirectPort,
        RouteAction, WeightedCluster,
    },
    istio,
};
use http::StatusCode;
use std::sync::Arc;

/// What a rule does. `None`: it does not say.
pub(super) fn lower(routes: &mut Routes<'_>, rule: &HttpRule<'_>, site: Site<'_>) -> Option<RouteAction> {
    let route = &*rule.route;
    if let Some(to) = &route.redirect {
        return Some(RouteAction::Redirect(Box::new(redirect(to, site.port))));
    }
    if let Some(response) = &route.direct_response {
        return Some(RouteAction::Direct(direct(response)));
    }
    (!route.route.is_empty()).then(|| RouteAction::Forward(Box::new(forward(routes, rule, site))))
}

fn redirect(to: &istio::HttpRedirect, port: u16) -> Redirect {
    let status = to.redirect_code.and_then(|code| u16::try_from(code).ok()).unwrap_or(301);
    let path = match (&to.uri, &to.prefix_rewrite) {
        (Some(uri), _) => Some(PathRewrite::Full(uri.as_str().into())),
        (None, Some(prefix)) => Some(PathRewrite::Prefix(prefix.as_str().into())),
        (None, None) => None,
    };
    Redirect {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::MOVED_PERMANENTLY),
        scheme: to.scheme.as_deref().map(Into::into),
        authority: to.authority.as_deref().map(Into::into),
        port: match (to.port, to.derive_port) {
            (Some(port), _) => RedirectPort::Number(port),
            (None, Some(istio::RedirectPortSelection::FromProtocolDefault)) => RedirectPort::SchemeDefault,
            // The port that the client called, which here is known, not the proxy's own.
            (None, Some(istio::RedirectPortSelection::FromRequestPort)) => RedirectPort::Number(port),
            (None, None) => RedirectPort::Keep,
        },
        path,
    }
}

fn direct(response: &istio::HttpDirectResponse) -> DirectResponse {
    let status = u16::try_from(response.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let body = response.body.as_ref().and_then(|body| match (&body.string, &body.bytes) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(bytes)) => policies::base64(bytes),
        (None, None) => None,
    });
    DirectResponse {
        status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        body: body.unwrap_or_default().into(),
    }
}

fn forward(routes: &mut Routes<'_>, rule: &HttpRule<'_>, site: Site<'_>) -> Forward {
    let route = &*rule.route;
    let mut clusters = Vec::with_capacity(route.route.len());
    let mut hash = Vec::new();
    for (at, split) in route.route.iter().enumerate() {
        let target = destination(routes, rule, &split.destination, Part::Route(at), site);
        if at == 0 {
            hash = policies::hash_policies(target.policy.load_balancer);
        }
        let Changes { request, response, authority } = Changes::new(split.headers.as_deref());
        clusters.push(WeightedCluster {
            cluster: target.cluster,
            weight: split.weight,
            request_headers: request.into(),
            response_headers: response.into(),
            authority,
        });
    }
    settle_weights(&mut clusters);
    let sticky = clusters.len() == 1 && !hash.is_empty();
    let rewrite = route.rewrite.as_deref();
    let own_authority = rewrite.and_then(|rewrite| rewrite.authority.as_deref().map(Into::into));
    Forward {
        clusters,
        path_rewrite: rewrite.and_then(path_rewrite),
        authority_rewrite: own_authority.or_else(|| Changes::new(route.headers.as_deref()).authority),
        timeout: route.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero()),
        retry: retry(routes, route.retries.as_deref(), sticky),
        hash_policies: hash,
        mirrors: mirrors(routes, rule, site),
    }
}

fn destination<'a>(
    routes: &mut Routes<'a>,
    rule: &HttpRule<'_>,
    destination: &istio::Destination,
    part: Part,
    site: Site<'_>,
) -> super::clusters::Target<'a> {
    let path: Vec<_> = [Step::Key("http"), rule.at.into()].into_iter().chain(part.path()).collect();
    let place = Place { resource: rule.resource, path: &path };
    let target = routes.clusters.destination(destination, site.port, place, &mut routes.notes);
    routes.led.push(Led::to(&target, rule.at, part));
    target
}

/// One destination takes everything whatever its weight; of several those without weight are left out (R9).
pub(super) fn settle_weights(clusters: &mut Vec<WeightedCluster>) {
    if let [only] = &mut clusters[..] {
        only.weight = only.weight.max(1);
    } else if clusters.iter().any(|cluster| cluster.weight > 0) {
        clusters.retain(|cluster| cluster.weight > 0);
    } else {
        // `check` refuses weights that sum to 0.
        clusters.iter_mut().for_each(|cluster| cluster.weight = 1);
    }
}

/// A sticky route must find its host again, so it does not avoid it unless told to.
fn retry(
    routes: &Routes<'_>,
    retries: Option<&istio::HttpRetry>,
    sticky: bool,
) -> Option<Arc<ir::RetryPolicy>> {
    let own = |retries| retries::lower(retries).map(Arc::new);
    let mut policy = retries.map_or_else(|| routes.mesh.default_retry.clone(), own)?;
    if sticky && retries.and_then(|retries| retries.retry_ignore_previous_hosts).is_none() {
        Arc::make_mut(&mut policy).avoid_previous_hosts = false;
    }
    Some(policy)
}

fn path_rewrite(rewrite: &istio::HttpRewrite) -> Option<PathRewrite> {
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        let pattern = Pattern::new(&regex.pattern).ok()?;
        return Some(PathRewrite::Regex { pattern, substitution: regex.rewrite.as_str().into() });
    }
    rewrite.uri.as_deref().map(|uri| PathRewrite::Prefix(uri.into()))
}

fn mirrors(routes: &mut Routes<'_>, rule: &HttpRule<'_>, site: Site<'_>) -> Vec<Mirror> {
    let route = &*rule.route;
    let mut mirrors = Vec::new();
    if let Some(to) = &route.mirror {
        let percent = match (&route.mirror_percentage, route.mirror_percent) {
            (Some(share), _) => policies::percent(share),
            (None, Some(share)) => Percent::new(f64::from(share)).unwrap_or(Percent::ALWAYS),
            (None, None) => Percent::ALWAYS,
        };
        let target = destination(routes, rule, to, Part::Mirror, site);
        mirrors.push(Mirror { cluster: target.cluster, percent });
    }
    for (at, mirror) in route.mirrors.iter().enumerate() {
        let percent = mirror.percentage.as_ref().map_or(Percent::ALWAYS, policies::percent);
        let target = destination(routes, rule, &mirror.destination, Part::Mirrors(at), site);
        mirrors.push(Mirror { cluster: target.cluster, percent });
    }
    mirrors.retain(|mirror| mirror.percent != Percent::NEVER);
    mirrors
}

//! Tokens: which RequestAuthentications hold for the node.
//!
//! In:  RequestAuthentications, the node.   Out: one list of providers, on every inbound and gateway listener.
//! Invariants: all that select the node hold, those of the root namespace first, the older before the younger (R12).
//! Not here: keys being fetched, tokens.

use super::{Mesh, registry::selects};
use crate::{
    config::{Resource, age_order},
    ir::{Direction, JwtKeys, JwtProvider, Listener, NetworkFilter, Node, TokenPlace},
    istio::{JwtRule, MatchLabels, PolicyTargetReference, RequestAuthentication},
};
use http::HeaderName;
use std::{sync::Arc, time::Duration};

/// For one fetch of keys.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Claims that OAuth defines as lists of words (RFC 8693 section 4.2, and many servers).
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];
/// Labels that name the Gateway of the Gateway API that a proxy serves.
const GATEWAY_NAME: [&str; 2] = ["gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name"];
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Gives every listener that takes requests from others what holds.
pub(super) fn apply(mesh: &Mesh<'_>, listeners: &mut [Listener]) {
    let providers = providers(mesh);
    if providers.is_empty() {
        return;
    }
    for listener in listeners.iter_mut().filter(|listener| listener.direction != Direction::Outbound) {
        for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
            if let NetworkFilter::Http(http) = &mut chain.filter {
                http.admission.authentication = providers.clone();
            }
        }
    }
}

fn providers(mesh: &Mesh<'_>) -> Arc<[JwtProvider]> {
    let node = &mesh.node;
    let mut policies: Vec<_> = mesh.config.request_authentications.iter().collect();
    policies.sort_by(|a, b| {
        let root =
            |policy: &Resource<RequestAuthentication>| policy.metadata.namespace != node.root_namespace;
        root(a).cmp(&root(b)).then_with(|| age_order(a, b))
    });
    let holding = policies.into_iter().filter(|policy| {
        let spec = &policy.spec;
        holds(node, &policy.metadata.namespace, spec.selector.as_ref(), spec.targets().1)
    });
    holding
        .flat_map(|policy| {
            let rules = policy.spec.jwt_rules.iter().enumerate();
            rules.map(|(at, rule)| provider(policy, at, rule))
        })
        .collect()
}

/// Whether a policy that stands in `namespace` holds for the node.
fn holds(
    node: &Node,
    namespace: &str,
    selector: Option<&MatchLabels>,
    targets: &[PolicyTargetReference],
) -> bool {
    if !targets.is_empty() {
        let own = GATEWAY_NAME.iter().find_map(|label| node.labels.get(*label));
        let is_own = |target: &PolicyTargetReference| {
            target.group == GATEWAY_API && target.kind == "Gateway" && Some(&target.name) == own
        };
        return namespace == node.namespace && targets.iter().any(is_own);
    }
    let reaches = namespace == node.root_namespace || namespace == node.namespace;
    reaches && selector.is_none_or(|selector| selects(&selector.match_labels, &node.labels))
}

fn provider(policy: &Resource<RequestAuthentication>, at: usize, rule: &JwtRule) -> JwtProvider {
    let shared = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let header = |name: &str| HeaderName::try_from(name).ok();
    let timeout = rule.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    let mut space_delimited: Vec<Arc<str>> = shared(&rule.space_delimited_claims);
    space_delimited.extend(SPACE_DELIMITED.map(Arc::from));
    let claims = rule.output_claim_to_headers.iter();
    JwtProvider {
        issuer: rule.issuer.as_str().into(),
        audiences: shared(&rule.audiences),
        keys: match (&rule.jwks, &rule.jwks_uri) {
            (Some(keys), _) => JwtKeys::Inline(keys.as_str().into()),
            (None, Some(uri)) => JwtKeys::Remote { uri: uri.as_str().into(), timeout },
            (None, None) => JwtKeys::Discovered { timeout },
        },
        places: places(rule),
        forward: rule.forward_original_token,
        payload_header: rule.output_payload_to_header.as_deref().and_then(header),
        claim_headers: claims
            .filter_map(|to| {
                let path = to.claim.split('.').map(str::to_owned).collect();
                Some((path, header(&to.header)?))
            })
            .collect(),
        space_delimited,
        origin: policy.origin(&["jwtRules".into(), at.into()]),
    }
}

fn places(rule: &JwtRule) -> Vec<TokenPlace> {
    let headers = rule.from_headers.iter().filter_map(|header| {
        let prefix = header.prefix.as_deref().unwrap_or_default().into();
        let name = HeaderName::try_from(header.name.as_str()).ok()?;
        Some(TokenPlace::Header { name, prefix, any_case: false })
    });
    let parameters = rule.from_params.iter().map(|name| TokenPlace::Parameter(name.as_str().into()));
    let cookies = rule.from_cookies.iter().map(|name| TokenPlace::Cookie(name.as_str().into()));
    let places: Vec<_> = headers.chain(parameters).chain(cookies).collect();
    if places.is_empty() { TokenPlace::defaults() } else { places }
}

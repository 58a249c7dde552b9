//! Tokens: which RequestAuthentications hold for the node.
//!
//! In:  RequestAuthentications, the node.   Out: one list of providers, on every inbound and gateway listener.
//! Invariants: nothing private of a key is in the IR; all that select the node hold, those of the root namespace first, the older before the younger (R12).
//! Not here: keys being fetched, tokens.

use super::{attachment, notes::Notes};
use crate::{
    config::{Config, Resource, age_order},
    diagnostic::codes,
    ir::{Direction, JwtKeys, JwtProvider, KeyFetching, Listener, NetworkFilter, Node, TokenPlace},
    istio::{JwtRule, RequestAuthentication},
};
use http::HeaderName;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

/// For one fetch of keys.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Claims that OAuth defines as lists of words (RFC 8693 section 4.2, and many servers).
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];
/// Gives every listener that takes requests from others what holds.
pub(super) fn apply(providers: &Arc<[JwtProvider]>, listeners: &mut [Listener]) {
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

/// Whose tokens the node believes.
pub(super) fn providers(
    config: &Config,
    node: &Node,
    fetching: &KeyFetching,
    notes: &mut Notes,
) -> Arc<[JwtProvider]> {
    let of_root = |policy: &Resource<RequestAuthentication>| policy.metadata.namespace == node.root_namespace;
    let mut policies: Vec<_> = config.request_authentications.iter().collect();
    policies.sort_by(|a, b| of_root(b).cmp(&of_root(a)).then_with(|| age_order(a, b)));
    let mut providers = Vec::new();
    for policy in policies {
        if !attachment::holds(node, policy, policy.spec.attachment(), notes) {
            continue;
        }
        for (at, rule) in policy.spec.jwt_rules.iter().enumerate() {
            note_refused(policy, at, rule, fetching, notes);
            providers.push(provider(policy, at, rule));
        }
    }
    providers.into()
}

/// Keys at an address that may not be asked never come.
fn note_refused(
    policy: &Resource<RequestAuthentication>,
    at: usize,
    rule: &JwtRule,
    fetching: &KeyFetching,
    notes: &mut Notes,
) {
    let (field, url) = match &rule.jwks_uri {
        _ if rule.jwks.is_some() => return,
        Some(uri) => ("jwksUri", uri),
        None => ("issuer", &rule.issuer),
    };
    let host =
        url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let refused = match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(address) => !fetching.permits(address),
        Err(_) => host == "localhost" && !fetching.permits(Ipv4Addr::LOCALHOST.into()),
    };
    if refused {
        let message = format!(
            "no keys are fetched from {host}, and every token of this issuer is refused: `jwks.allowPrivate` or \
             `jwks.allowAddresses` of `kind: Proxy` permits addresses that are not of the internet"
        );
        notes.warn(policy, codes::DROPPED, &["jwtRules".into(), at.into(), field.into()], message);
    }
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
            (Some(keys), _) => JwtKeys::Inline(sidle_jwt::public_part(keys).into()),
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

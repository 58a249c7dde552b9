//! Services that policies name as their providers.
//!
//! In:  `extensionProviders` of the Proxy resource.   Out: [`ExtAuthz`], with its cluster.
//! Invariants: a provider whose service is not known has a cluster without endpoints: it fails, and lets nothing pass unless it
//! was said to fail open.
//! Not here: which policies name them.
//! Source: Istio's mesh configuration, `ExtensionProvider`.

use super::{clusters::Clusters, names};
use crate::{
    ir::{self, BodyInCheck, ExtAuthz, ExtAuthzTransport, HeaderNameMatch},
    sidle::{ExtAuthzHttp, ExtensionProvider, Proxy, RequestBodyInCheck},
};
use http::{HeaderName, HeaderValue, StatusCode};
use std::{sync::Arc, time::Duration};

/// Istio's.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The provider of this name, if it is of a kind.
pub(super) fn find<'a>(proxy: &'a Proxy, name: &str) -> Option<&'a ExtensionProvider> {
    let provider = proxy.extension_providers.iter().find(|provider| provider.name == name)?;
    (provider.envoy_ext_authz_http.is_some() || provider.envoy_ext_authz_grpc.is_some()).then_some(provider)
}

/// As a listener asks it; `None`: there is none, or it is of no kind.
pub(super) fn ext_authz(clusters: &mut Clusters<'_>, name: &str) -> Option<ExtAuthz> {
    let mesh = clusters.mesh();
    let proxy = mesh.proxy?;
    let provider = find(&proxy.spec, name)?;
    let (asked, transport) = match (&provider.envoy_ext_authz_http, &provider.envoy_ext_authz_grpc) {
        (Some(by), _) => (by.asked(), ExtAuthzTransport::Http(http(by))),
        (None, Some(by)) => (by.asked(), ExtAuthzTransport::Grpc),
        (None, None) => return None,
    };
    let (cluster, authority) = place(clusters, asked.service, asked.port, &proxy.metadata.namespace);
    Some(ExtAuthz {
        name: name.into(),
        cluster,
        authority,
        transport,
        timeout: asked.timeout.map_or(TIMEOUT, |timeout| timeout.0),
        fail_open: asked.fail_open,
        status_on_error: asked.status_on_error.and_then(status_code).unwrap_or(StatusCode::FORBIDDEN),
        body: asked.body.map(in_check),
    })
}

/// The cluster of a service that is asked, `[namespace/]host`, and its authority.
pub(super) fn place(
    clusters: &mut Clusters<'_>,
    service: &str,
    port: u16,
    namespace: &str,
) -> (Arc<str>, Arc<str>) {
    let mesh = clusters.mesh();
    let (namespace, host) = service.split_once('/').unwrap_or((namespace, service));
    let host = names::complete(host, namespace, &mesh.node.domain);
    let known = mesh.registry.find(&host);
    let cluster = match known.and_then(|service| Some((service, service.port(port)?))) {
        Some((service, port)) => clusters.service(service, port).cluster,
        None => ir::BLACK_HOLE_CLUSTER.into(),
    };
    (cluster, format!("{host}:{port}").into())
}

/// A status that an answer can have.
pub(crate) fn status_code(text: &str) -> Option<StatusCode> {
    let code: u16 = text.parse().ok()?;
    StatusCode::from_u16(code).ok().filter(|_| (200..600).contains(&code))
}

fn in_check(body: &RequestBodyInCheck) -> BodyInCheck {
    BodyInCheck {
        max_bytes: body.max_request_bytes,
        allow_partial: body.allow_partial_message,
        as_bytes: body.pack_as_bytes,
    }
}

fn http(by: &ExtAuthzHttp) -> ir::ExtAuthzHttp {
    let names = |list: &[String]| list.iter().filter_map(|name| HeaderNameMatch::parse(name)).collect();
    let additional = by.include_additional_headers_in_check.iter();
    let additional = additional.filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    ir::ExtAuthzHttp {
        path_prefix: by.path_prefix.as_deref().unwrap_or_default().trim_end_matches('/').into(),
        request_headers: names(by.headers_in_check()),
        additional_headers: additional.collect(),
        upstream_on_allow: names(&by.headers_to_upstream_on_allow),
        client_on_allow: names(&by.headers_to_downstream_on_allow),
        client_on_deny: names(&by.headers_to_downstream_on_deny),
    }
}

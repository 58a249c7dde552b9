//! Forwarding to wherever the request says.
//!
//! A cluster of [`Discovery::OriginalDestination`] follows the original destination of a redirected connection, and the
//! authority of a request that came without redirection. Envoy has one cluster type for each, so connection managers
//! of filter chains that do not look at the original destination use a twin of the cluster: a dynamic forward proxy
//! that answers to the same name in logs and statistics.
//! Not here: which chains those are (`listener`).

use crate::{
    context::{Chains, Context, TableContext},
    tls,
    value::{Object, extension},
};
use serde_json::Value;
use sidle_model::ir::{Cluster, Discovery, FilterChain, NetworkFilter, RouteAction, RouteConfiguration};
use std::collections::BTreeSet;

/// All dynamic forward proxies share one DNS cache: Envoy asks that equal names have equal settings.
const CACHE_NAME: &str = "sidle";

/// The twin's name, not one that a service could have.
pub(crate) fn twin_name(cluster: &str) -> String {
    format!("{cluster};by-authority")
}

/// Whether connections of `chain` are told apart by where they were going before they were redirected.
pub(crate) fn is_captured(chain: &FilterChain) -> bool {
    chain.matches.destination_port.is_some() || !chain.matches.destinations.is_empty()
}

/// The cluster settings that resolve the authority. Envoy asks to be told where a certificate is not checked against it.
pub(crate) fn cluster_type(cluster: &Cluster) -> Value {
    extension(
        "envoy.clusters.dynamic_forward_proxy",
        Object::typed("extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig")
            .with("dns_cache_config", cache())
            .with_true("allow_insecure_cluster_options", !tls::names_follow_authority(cluster.tls.as_ref())),
    )
}

/// The HTTP filter without which those clusters cannot work.
pub(crate) fn http_filter() -> Value {
    extension(
        FILTER_NAME,
        Object::typed("extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig")
            .with("dns_cache_config", cache()),
    )
}

/// Name of [`http_filter`], under which a route configures it.
pub(crate) const FILTER_NAME: &str = "envoy.filters.http.dynamic_forward_proxy";

/// The filter runs before the router rewrites the authority, so a route that does must tell it.
pub(crate) fn route_config(authority: &str) -> Object {
    Object::typed("extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig")
        .with("host_rewrite_literal", authority)
}

fn cache() -> Object {
    Object::new().with("name", CACHE_NAME).with("dns_lookup_family", crate::cluster::DNS_LOOKUP_FAMILY)
}

/// Whether a route of `table` leads to a cluster that resolves the authority.
pub(crate) fn is_used(context: &TableContext<'_>, table: &RouteConfiguration) -> bool {
    clusters_of(table).any(|name| context.resolves_authority(name))
}

/// The clusters that need a twin.
pub(crate) fn twins<'a>(context: &Context<'a>) -> BTreeSet<&'a str> {
    let uncaptured =
        context.ir.listeners.iter().flat_map(|l| l.all_chains()).filter(|chain| !is_captured(chain));
    let tables: BTreeSet<&str> = uncaptured
        .filter_map(|chain| match &chain.filter {
            NetworkFilter::Http(manager) => Some(&*manager.route_configuration),
            NetworkFilter::Tcp(_) => None,
        })
        .collect();
    let tables = tables.into_iter().filter_map(|name| context.table(name));
    let followed = |name: &&str| matches!(context.discovery(name), Some(Discovery::OriginalDestination));
    tables.flat_map(clusters_of).filter(followed).collect()
}

fn clusters_of(table: &RouteConfiguration) -> impl Iterator<Item = &str> {
    table.virtual_hosts.iter().flat_map(|host| &host.routes).flat_map(|route| {
        let forward = match &route.action {
            RouteAction::Forward(forward) => Some(forward),
            RouteAction::Redirect(_) | RouteAction::Direct(_) => None,
        };
        forward.into_iter().flat_map(|forward| {
            let mirrors = forward.mirrors.iter().map(|mirror| &*mirror.cluster);
            forward.clusters.iter().map(|weighted| &*weighted.cluster).chain(mirrors)
        })
    })
}

//! Forwarding: clusters, rewrites, timeouts, hashing, copies.
//!
//! Not here: retries (`retry`), what happens before and after (`route`).

use crate::{
    context::TableContext,
    header::operations,
    retry,
    value::{Object, duration, regex, share},
};
use serde_json::{Value, json};
use sidle_model::ir::{Forward, HashPolicy, Mirror, PathMatch, PathRewrite, WeightedCluster};
use std::time::Duration;

/// A `RouteAction`.
pub(crate) fn action(context: &TableContext<'_>, path: &PathMatch, forward: &Forward) -> Value {
    clusters(context, forward)
        .merge(path_rewrite(forward.path_rewrite.as_ref()))
        .with_some("host_rewrite_literal", forward.authority_rewrite.as_deref())
        .merge(timeouts(forward.timeout))
        .with_some("retry_policy", forward.retry.as_deref().map(retry::retry_policy))
        .with_list("hash_policy", forward.hash_policies.iter().map(hash_policy).collect())
        .with_list("request_mirror_policies", forward.mirrors.iter().map(|m| mirror(context, m)).collect())
        .with_list("upgrade_configs", upgrades(path))
        .into()
}

fn clusters(context: &TableContext<'_>, forward: &Forward) -> Object {
    match &forward.clusters[..] {
        [only] if is_plain(only) => Object::new().with("cluster", context.cluster_name(&only.cluster)),
        several => {
            let weighted = several.iter().map(|cluster| weighted_cluster(context, forward, cluster));
            Object::new().with("weighted_clusters", json!({"clusters": weighted.collect::<Vec<_>>()}))
        }
    }
}

/// Whether a destination changes nothing itself.
fn is_plain(cluster: &WeightedCluster) -> bool {
    cluster.request_headers.is_empty() && cluster.response_headers.is_empty() && cluster.authority.is_none()
}

fn weighted_cluster(context: &TableContext<'_>, forward: &Forward, cluster: &WeightedCluster) -> Value {
    // A route's rewrite wins, whatever Envoy makes of two.
    let authority = cluster.authority.as_ref().filter(|_| forward.authority_rewrite.is_none());
    // A lone destination gets everything, whatever its weight.
    let weight = if forward.clusters.len() == 1 { cluster.weight.max(1) } else { cluster.weight };
    Object::new()
        .with("name", context.cluster_name(&cluster.cluster))
        .with("weight", weight)
        .merge(operations("request", &cluster.request_headers))
        .merge(operations("response", &cluster.response_headers))
        .with_some("host_rewrite_literal", authority.map(|authority| &**authority))
        .into()
}

/// The route's timeout, which is also the most that `grpc-timeout` may ask for; without one, what the client asks for.
///
/// Envoy forgets `timeout` on routes with a `max_stream_duration`, so where there is a timeout the bound is written in the
/// old way, as Istio writes it: Envoy warns of it, and does what is meant.
fn timeouts(timeout: Option<Duration>) -> Object {
    match timeout {
        None => Object::new()
            .with("timeout", "0s")
            .with("max_stream_duration", json!({"grpc_timeout_header_max": "0s"})),
        Some(timeout) => {
            Object::new().with("timeout", duration(timeout)).with("max_grpc_timeout", duration(timeout))
        }
    }
}

/// The field of a route or redirect that rewrites the path.
pub(crate) fn path_rewrite(rewrite: Option<&PathRewrite>) -> Object {
    let substitute =
        |pattern: &str, substitution: &str| json!({"pattern": regex(pattern), "substitution": substitution});
    match rewrite {
        None => Object::new(),
        Some(PathRewrite::Prefix(prefix)) => Object::new().with("prefix_rewrite", &**prefix),
        Some(PathRewrite::Full(path)) => {
            Object::new().with("regex_rewrite", substitute("^.*$", &path.replace('\\', r"\\")))
        }
        Some(PathRewrite::Regex { pattern, substitution }) => {
            Object::new().with("regex_rewrite", substitute(pattern.as_str(), substitution))
        }
    }
}

fn hash_policy(policy: &HashPolicy) -> Value {
    match policy {
        HashPolicy::Header(name) => json!({"header": {"header_name": name.as_str()}}),
        HashPolicy::Cookie { name, path, ttl, attributes } => {
            let attributes =
                attributes.iter().map(|(name, value)| json!({"name": &**name, "value": &**value})).collect();
            let cookie = Object::new()
                .with("name", &**name)
                .with_some("path", path.as_deref())
                .with_some("ttl", ttl.map(duration))
                .with_list("attributes", attributes);
            Object::new().with("cookie", cookie).into()
        }
        HashPolicy::SourceIp => json!({"connection_properties": {"source_ip": true}}),
        HashPolicy::QueryParameter(name) => json!({"query_parameter": {"name": &**name}}),
    }
}

fn mirror(context: &TableContext<'_>, mirror: &Mirror) -> Value {
    json!({
        "cluster": context.cluster_name(&mirror.cluster),
        "runtime_fraction": {"default_value": share(mirror.percent)},
        "disable_shadow_host_suffix_append": true,
    })
}

/// A CONNECT request ends here and its bytes go on as TCP.
fn upgrades(path: &PathMatch) -> Vec<Value> {
    match path {
        PathMatch::Connect => vec![json!({"upgrade_type": "CONNECT", "connect_config": {}})],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_model::ir::Pattern;

    #[test]
    fn a_full_rewrite_is_literal() {
        let given = PathRewrite::Full(r"/a\1".into());
        assert_eq!(
            Value::from(path_rewrite(Some(&given))),
            json!({"regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": r"/a\\1"}})
        );
        let given = PathRewrite::Regex { pattern: Pattern::new("a(.)").unwrap(), substitution: r"\1".into() };
        assert_eq!(
            Value::from(path_rewrite(Some(&given))),
            json!({"regex_rewrite": {"pattern": {"regex": "a(.)"}, "substitution": r"\1"}})
        );
    }

    #[test]
    fn hash_policies() {
        let cookie = HashPolicy::Cookie {
            name: "c".into(),
            path: Some("/".into()),
            ttl: Some(std::time::Duration::ZERO),
            attributes: vec![("SameSite".into(), "Lax".into())],
        };
        assert_eq!(
            hash_policy(&cookie),
            json!({"cookie": {
                "name": "c", "path": "/", "ttl": "0s", "attributes": [{"name": "SameSite", "value": "Lax"}],
            }})
        );
        assert_eq!(hash_policy(&HashPolicy::SourceIp), json!({"connection_properties": {"source_ip": true}}));
    }
}

//! External authorization: CUSTOM policies, as Istio writes them.
//!
//! In:  [`Authorization`].   Out: for a provider that can be asked, an RBAC filter whose shadow rules say when, and an `ext_authz` filter that
//! is enabled by what they say; for all others an RBAC filter that refuses.
//! Not here: the other actions (`rbac`).

use crate::{
    rbac,
    value::{Object, duration, extension},
};
use serde_json::{Value, json};
use sidle_model::ir::{
    Authorization, AuthorizationAction, AuthorizationPolicy, ExtAuthz, ExtAuthzHttp, ExtAuthzTransport,
    HeaderNameMatch,
};

/// What Istio has the shadow rules write in front of their results.
const SHADOW: &str = "istio_ext_authz_";
/// At the end of the names of rules that refuse because nobody can be asked.
const NOBODY: &str = "-deny-due-to-bad-CUSTOM-action";
/// The statuses that Envoy's protocol can say, beside those that are a whole range.
const STATUSES: [std::ops::RangeInclusive<u16>; 8] =
    [200..=208, 226..=226, 300..=305, 307..=308, 400..=417, 421..=424, 428..=429, 500..=508];
const MORE_STATUSES: [u16; 4] = [426, 431, 510, 511];

/// The filters of a connection manager.
pub(crate) fn http_filters(authorization: Option<&Authorization>) -> Vec<Value> {
    let filter = |provider: &ExtAuthz| extension("envoy.filters.http.ext_authz", http(provider));
    filters(authorization, &rbac::HTTP, filter)
}

/// The filters before a TCP proxy.
pub(crate) fn network_filters(authorization: Option<&Authorization>) -> Vec<Value> {
    let filter = |provider: &ExtAuthz| extension("envoy.filters.network.ext_authz", network(provider));
    filters(authorization, &rbac::NETWORK, filter)
}

fn filters(
    authorization: Option<&Authorization>,
    kind: &rbac::Kind,
    ask: impl Fn(&ExtAuthz) -> Value,
) -> Vec<Value> {
    let Some(Authorization { policies, providers, port }) = authorization else { return Vec::new() };
    let named = |policy: &&AuthorizationPolicy, wanted: &dyn Fn(&str) -> bool| matches!(&policy.action, AuthorizationAction::Custom(name) if wanted(name));
    let is_known = |name: &str| providers.iter().any(|provider| *provider.name == *name);
    let unknown: Vec<_> = policies.iter().filter(|policy| named(policy, &|name| !is_known(name))).collect();
    let mut filters = Vec::new();
    if !unknown.is_empty() {
        filters.push(kind.filter(kind.config().with("rules", rbac::rules("DENY", &unknown, port, NOBODY))));
    }
    for provider in providers {
        let own = policies.iter().filter(|policy| named(policy, &|name| *name == *provider.name));
        let rules = rbac::rules("DENY", &own.collect::<Vec<_>>(), port, "");
        let shadow = kind.config().with("shadow_rules", rules).with("shadow_rules_stat_prefix", SHADOW);
        filters.extend([kind.filter(shadow), ask(provider)]);
    }
    filters
}

fn http(provider: &ExtAuthz) -> Object {
    let body = provider.body.map(|body| {
        json!({
            "max_request_bytes": body.max_bytes,
            "allow_partial_message": body.allow_partial,
            "pack_as_bytes": body.as_bytes,
        })
    });
    let status = provider.status_on_error.as_u16();
    let can_be_said = STATUSES.iter().any(|range| range.contains(&status)) || MORE_STATUSES.contains(&status);
    let service = match &provider.transport {
        ExtAuthzTransport::Grpc => Object::new().with("grpc_service", grpc_service(provider)),
        ExtAuthzTransport::Http(by) => http_service(provider, by),
    };
    Object::typed("extensions.filters.http.ext_authz.v3.ExtAuthz")
        .with("stat_prefix", &*provider.name)
        .with_some("status_on_error", can_be_said.then(|| json!({"code": status})))
        .with_true("failure_mode_allow_header_add", provider.fail_open)
        .with("clear_route_cache", true)
        .with_some("with_request_body", body)
        .merge(common(provider, &rbac::HTTP))
        .merge(service)
}

fn network(provider: &ExtAuthz) -> Object {
    Object::typed("extensions.filters.network.ext_authz.v3.ExtAuthz")
        .with("stat_prefix", &*provider.name)
        .merge(common(provider, &rbac::NETWORK))
        .with("grpc_service", grpc_service(provider))
}

/// Fields of both filters.
fn common(provider: &ExtAuthz, kind: &rbac::Kind) -> Object {
    let result = json!([{"key": format!("{SHADOW}shadow_effective_policy_id")}]);
    let rule = json!({"string_match": {"prefix": rbac::custom_name(&provider.name, "")}});
    Object::new()
        .with("transport_api_version", "V3")
        .with_true("failure_mode_allow", provider.fail_open)
        .with("include_tls_session", true)
        .with("filter_enabled_metadata", json!({"filter": kind.name, "path": result, "value": rule}))
}

fn grpc_service(provider: &ExtAuthz) -> Value {
    let service = json!({"cluster_name": &*provider.cluster, "authority": &*provider.authority});
    json!({"envoy_grpc": service, "timeout": duration(provider.timeout)})
}

/// The URI is asked for, and only its path is looked at.
fn http_service(provider: &ExtAuthz, by: &ExtAuthzHttp) -> Object {
    let uri = format!("http://{}", provider.authority);
    let server = json!({"uri": uri, "cluster": &*provider.cluster, "timeout": duration(provider.timeout)});
    let additional = by.additional_headers.iter().map(
        |(name, value)| json!({"key": name.as_str(), "value": String::from_utf8_lossy(value.as_bytes())}),
    );
    let request = Object::new().with_list("headers_to_add", additional.collect());
    let response = Object::new()
        .with_some("allowed_upstream_headers", names(&by.upstream_on_allow))
        .with_some("allowed_client_headers", names(&by.client_on_deny))
        .with_some("allowed_client_headers_on_success", names(&by.client_on_allow));
    let service = Object::new()
        .with("server_uri", server)
        .with_some("path_prefix", Some(&*by.path_prefix).filter(|prefix| !prefix.is_empty()))
        .with("authorization_request", request)
        .with("authorization_response", response);
    Object::new().with("http_service", service).with_some("allowed_headers", names(&by.request_headers))
}

/// A `ListStringMatcher`; `None`: of nothing.
fn names(list: &[HeaderNameMatch]) -> Option<Value> {
    let matcher = |name: &HeaderNameMatch| match name {
        HeaderNameMatch::Exact(name) => json!({"exact": name.as_str()}),
        HeaderNameMatch::Prefix(part) | HeaderNameMatch::Suffix(part) if part.is_empty() => {
            json!({"safe_regex": {"regex": ".*"}})
        }
        HeaderNameMatch::Prefix(prefix) => json!({"prefix": &**prefix}),
        HeaderNameMatch::Suffix(suffix) => json!({"suffix": &**suffix}),
    };
    let patterns: Vec<_> = list.iter().map(matcher).collect();
    (!patterns.is_empty()).then(|| json!({ "patterns": patterns }))
}

#[cfg(test)]
mod tests {
    use crate::tests::export;
    use serde_json::{Value, json};
    use sidle_model::{ir::Node, source::Text};

    /// What is exported for a workload with a port of HTTP and one of bytes, whose policy names this provider.
    fn exported(provider: &str) -> (Vec<Value>, Vec<Value>) {
        let manifests = format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: proxy}}\nspec:\n  extensionProviders:\n    - {provider}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: judge}}\nspec:\n  hosts: [judge.test]\n  \
             resolution: STATIC\n  ports: [{{number: 9000, name: grpc, protocol: GRPC}}]\n  endpoints: [{{address: 127.0.0.1}}]\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec: {{selector: {{app: shop}}, ports: [{{name: http, port: 80}}, {{name: tcp, port: 90}}]}}\n---\n\
             apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\nspec:\n  jwtRules:\n    \
             - {{issuer: a, jwksUri: 'https://keys.test/k'}}\n    - {{issuer: b, jwksUri: 'http://1.1.1.1:8080/k'}}\n    \
             - {{issuer: c, jwksUri: 'https://1.1.1.1/k'}}\n    - {{issuer: d, jwksUri: 'https://10.0.0.1/k'}}\n---\n\
             apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: ask}}\n\
             spec: {{action: CUSTOM, provider: {{name: judge}}, rules: [{{to: [{{operation: {{ports: ['80', '90']}}}}]}}]}}\n"
        );
        let node = Node { labels: [("app".to_owned(), "shop".to_owned())].into(), ..Node::default() };
        let loaded =
            sidle_model::load_texts(vec![Text { name: "p.yaml".into(), content: manifests.into() }], &node);
        let export = export(&loaded.ir.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics)));
        let listeners = export["static_resources"]["listeners"].as_array().unwrap();
        let inbound = listeners.iter().find(|one| one["name"] == "virtualInbound").unwrap();
        let chain = |name: &str| {
            let chains = inbound["filter_chains"].as_array().unwrap();
            chains.iter().find(|chain| chain["name"] == name).unwrap()["filters"].as_array().unwrap().clone()
        };
        let http = chain("inbound_80")[0]["typed_config"]["http_filters"].as_array().unwrap().clone();
        (http, chain("inbound_90"))
    }

    fn names(filters: &[Value]) -> Vec<&str> {
        filters.iter().map(|filter| filter["name"].as_str().unwrap().rsplit('.').next().unwrap()).collect()
    }

    #[test]
    fn a_grpc_provider_is_asked_where_shadow_rules_hold() {
        let (http, bytes) = exported(
            "{name: judge, envoyExtAuthzGrpc: {service: judge.test, port: 9000, timeout: 1s, failOpen: true, statusOnError: '418'}}",
        );
        assert_eq!(names(&http)[..3], ["rbac", "ext_authz", "jwt_authn"]);
        assert_eq!(names(&bytes), ["rbac", "ext_authz", "tcp_proxy"]);
        for (filters, metadata) in
            [(&http, "envoy.filters.http.rbac"), (&bytes, "envoy.filters.network.rbac")]
        {
            let (rbac, asked) = (&filters[0]["typed_config"], &filters[1]["typed_config"]);
            assert!(rbac.get("rules").is_none(), "{rbac}");
            assert_eq!(rbac["shadow_rules_stat_prefix"], "istio_ext_authz_");
            let rules: Vec<_> = rbac["shadow_rules"]["policies"].as_object().unwrap().keys().collect();
            assert_eq!(rules, ["istio-ext-authz-judge-ns[default]-policy[ask]-rule[0]"]);
            let enabled = json!({
                "filter": metadata,
                "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
                "value": {"string_match": {"prefix": "istio-ext-authz-judge-"}},
            });
            assert_eq!(asked["filter_enabled_metadata"], enabled);
            assert_eq!(
                (&asked["failure_mode_allow"], &asked["stat_prefix"]),
                (&true.into(), &"judge".into())
            );
            let service = json!({
                "envoy_grpc": {"cluster_name": "outbound|9000||judge.test", "authority": "judge.test:9000"},
                "timeout": "1s",
            });
            assert_eq!(asked["grpc_service"], service);
        }
        assert_eq!(http[1]["typed_config"].get("status_on_error"), None, "Envoy has no word for 418");
    }

    #[test]
    fn a_provider_by_http_is_asked_about_requests_and_refuses_bytes() {
        let (http, bytes) = exported(
            "{name: judge, envoyExtAuthzHttp: {service: judge.test, port: 9000, pathPrefix: /check, statusOnError: '503', \
             includeRequestHeadersInCheck: [x-a, 'x-b-*', '*-c', '*'], includeAdditionalHeadersInCheck: {x-d: e}, \
             headersToUpstreamOnAllow: [x-f], headersToDownstreamOnDeny: [x-g], headersToDownstreamOnAllow: [x-h], \
             includeRequestBodyInCheck: {maxRequestBytes: 7, allowPartialMessage: true}}}",
        );
        assert_eq!(names(&http)[..3], ["rbac", "ext_authz", "jwt_authn"]);
        let asked = &http[1]["typed_config"];
        let patterns =
            json!([{"exact": "x-a"}, {"prefix": "x-b-"}, {"suffix": "-c"}, {"safe_regex": {"regex": ".*"}}]);
        assert_eq!(asked["allowed_headers"]["patterns"], patterns);
        assert_eq!(asked["status_on_error"], json!({"code": 503}));
        let body = json!({"max_request_bytes": 7, "allow_partial_message": true, "pack_as_bytes": false});
        assert_eq!(asked["with_request_body"], body);
        let service = json!({
            "server_uri": {"uri": "http://judge.test:9000", "cluster": "outbound|9000||judge.test", "timeout": "600s"},
            "path_prefix": "/check",
            "authorization_request": {"headers_to_add": [{"key": "x-d", "value": "e"}]},
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": [{"exact": "x-f"}]},
                "allowed_client_headers": {"patterns": [{"exact": "x-g"}]},
                "allowed_client_headers_on_success": {"patterns": [{"exact": "x-h"}]},
            },
        });
        assert_eq!(asked["http_service"], service);
        assert_eq!(names(&bytes), ["rbac", "tcp_proxy"]);
        let refused = bytes[0]["typed_config"]["rules"]["policies"].as_object().unwrap();
        assert!(refused.keys().all(|name| name.ends_with("-deny-due-to-bad-CUSTOM-action")), "{refused:?}");
    }

    #[test]
    fn keys_are_fetched_from_where_they_are() {
        let (http, _) = exported("{name: judge, envoyExtAuthzGrpc: {service: judge.test, port: 9000}}");
        let providers = &http[2]["typed_config"]["providers"];
        let from = |at: usize| {
            let jwks = &providers[format!("origins-{at}")]["remote_jwks"];
            let text = |field: &str| jwks["http_uri"][field].as_str().unwrap().to_owned();
            assert_eq!(
                (&jwks["cache_duration"], &jwks["async_fetch"]["fast_listener"]),
                (&"1200s".into(), &true.into())
            );
            (text("uri"), text("cluster"))
        };
        let is = |uri: &str, cluster: &str| (uri.to_owned(), cluster.to_owned());
        assert_eq!(from(0), is("https://keys.test/k", "jwks|443|https|keys.test"));
        assert_eq!(from(1), is("http://1.1.1.1:8080/k", "jwks|8080|http|1.1.1.1"));
        assert_eq!(from(2), is("https://1.1.1.1/k", "jwks|443|https|1.1.1.1"));
        assert_eq!(from(3), is("http://keys.invalid/", "BlackHoleCluster"), "it is not to be asked");
    }
}

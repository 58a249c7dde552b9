//! Which RequestAuthentications hold where.

use super::{Lowered, assert_note, istio, lowered_for, node};
use crate::ir::{Direction, JwtKeys, JwtProvider, NetworkFilter, TokenPlace};

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    istio("RequestAuthentication", namespace, name, spec).replace("networking.istio.io", "security.istio.io")
}

fn rule(issuer: &str) -> String {
    format!("  jwtRules: [{{issuer: {issuer}, jwksUri: 'https://keys.test/{issuer}'}}]")
}

/// Issuers by listener; those without any are left out.
fn issuers(lowered: &Lowered) -> Vec<(Direction, Vec<&str>)> {
    let mut found = Vec::new();
    for listener in &lowered.ir.listeners {
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            if let NetworkFilter::Http(http) = &chain.filter {
                let issuers: Vec<_> = http.admission.authentication.iter().map(|p| &*p.issuer).collect();
                if !issuers.is_empty() {
                    found.push((listener.direction, issuers));
                }
            }
        }
    }
    found.dedup();
    found
}

fn first(lowered: &Lowered) -> JwtProvider {
    let chains = lowered.ir.listeners.iter().flat_map(|listener| &listener.filter_chains);
    let mut lists = chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => http.admission.authentication.first(),
        NetworkFilter::Tcp(_) => None,
    });
    lists.next().unwrap().clone()
}

const WORKLOAD: &str = "---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec: {selector: {app: shop}, servers: [{port: {number: 8081, name: http, protocol: HTTP}, hosts: ['*']}]}
";

#[test]
fn all_that_select_the_workload_hold_those_of_the_root_namespace_first() {
    let selecting =
        |labels: &str, issuer: &str| format!("  selector: {{matchLabels: {{{labels}}}}}\n{}", rule(issuer));
    let files = WORKLOAD.to_owned()
        + &policy("default", "own", &selecting("app: shop", "own"))
        + &policy("default", "all", &rule("all"))
        + &policy("default", "others", &selecting("app: bank", "others"))
        + &policy("elsewhere", "elsewhere", &rule("elsewhere"))
        + &policy("istio-system", "mesh", &rule("mesh"))
        + &policy("istio-system", "some", &selecting("app: shop", "some"));
    let lowered = lowered_for(&node("default", "app=shop"), &files);
    let expected = vec!["mesh", "some", "own", "all"];
    assert_eq!(issuers(&lowered), [(Direction::Gateway, expected.clone()), (Direction::Inbound, expected)]);
    let other = lowered_for(&node("default", "app=other"), &files);
    assert!(issuers(&other).iter().all(|(_, issuers)| *issuers == ["mesh", "all"]), "{:?}", issuers(&other));
}

#[test]
fn targets_are_for_gateways_of_the_gateway_api() {
    let spec = format!(
        "  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: front}}]\n{}",
        rule("a")
    );
    let files = WORKLOAD.to_owned() + &policy("default", "x", &spec);
    let sidecar = lowered_for(&node("default", "app=shop"), &files);
    assert_eq!(issuers(&sidecar), []);
    assert_note(&sidecar, "SDL0601", "passes over a policy with targets");
    let gateway = "app=shop,gateway.networking.k8s.io/gateway-name=front";
    assert!(!issuers(&lowered_for(&node("default", gateway), &files)).is_empty());
    let other = "app=shop,gateway.networking.k8s.io/gateway-name=other";
    assert_eq!(issuers(&lowered_for(&node("default", other), &files)), []);
}

#[test]
fn what_a_rule_comes_to() {
    let of = |rule: &str| {
        let files = WORKLOAD.to_owned()
            + &policy("default", "x", &format!("  jwtRules: [{{issuer: 'https://a.test', {rule}}}]"));
        first(&lowered_for(&node("default", "app=shop"), &files))
    };
    let plain = of("audiences: [b]");
    assert_eq!(plain.keys, JwtKeys::Discovered { timeout: std::time::Duration::from_secs(5) });
    assert_eq!((plain.places, plain.forward), (TokenPlace::defaults(), false));
    assert_eq!(plain.space_delimited.iter().map(|name| &**name).collect::<Vec<_>>(), ["scope", "permission"]);
    let chosen = of(
        "jwks_uri: 'https://k.test/', timeout: 1s, fromHeaders: [{name: X-A, prefix: 'T '}], fromCookies: [c], fromParams: [p], outputClaimToHeaders: [{header: x-b, claim: a.b}]",
    );
    let JwtKeys::Remote { uri, timeout } = &chosen.keys else { panic!("{:?}", chosen.keys) };
    assert_eq!((&**uri, timeout.as_secs()), ("https://k.test/", 1));
    let header = TokenPlace::Header {
        name: http::HeaderName::from_static("x-a"),
        prefix: "T ".into(),
        any_case: false,
    };
    assert_eq!(chosen.places, [header, TokenPlace::Parameter("p".into()), TokenPlace::Cookie("c".into())]);
    assert_eq!(*chosen.claim_headers[0].0, ["a".to_owned(), "b".to_owned()]);
}

#[test]
fn keys_that_will_not_be_fetched_are_told() {
    let files = |uri: &str| {
        WORKLOAD.to_owned()
            + &policy("default", "x", &format!("  jwtRules: [{{issuer: a, jwksUri: '{uri}'}}]"))
    };
    for (uri, refused) in [
        ("https://10.0.0.1/keys", true),
        ("https://[::1]/keys", true),
        ("http://localhost:8080/keys", true),
        ("https://keys.test/", false),
        ("https://8.8.8.8/", false),
    ] {
        let lowered = lowered_for(&node("default", "app=shop"), &files(uri));
        let told = lowered.diagnostics.iter().any(|d| d.message.contains("no keys are fetched"));
        assert_eq!(told, refused, "{uri}");
    }
    let allowed = "---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {jwks: {allowPrivate: true}}\n";
    let lowered = lowered_for(&node("default", "app=shop"), &(files("https://10.0.0.1/keys") + allowed));
    assert!(lowered.diagnostics.iter().all(|d| !d.message.contains("no keys are fetched")));
}

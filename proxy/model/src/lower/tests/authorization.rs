//! Which policies hold where, and what is left of them where bytes are served.

use super::*;
use crate::ir::{Authorization, AuthorizationPolicy, Direction, WorkloadPort};
use std::sync::Arc;

const PORTS: &str = "---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 90, targetPort: 9090}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec: {selector: {app: shop}, servers: [{port: {number: 7000, name: http, protocol: HTTP}, hosts: ['*']}]}
";

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// Every chain with what is asked on it: `listener chain: policies`.
fn guarded_of(ir: &Ir) -> Vec<(String, Option<Authorization>)> {
    let chains = ir.listeners.iter().flat_map(|listener| {
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
        chains.map(move |chain| (listener, chain))
    });
    let of = |(listener, chain): (&Arc<Listener>, &FilterChain)| {
        let (kind, authorization) = match &chain.filter {
            NetworkFilter::Http(http) => ("http", http.admission.authorization.clone()),
            NetworkFilter::Tcp(tcp) => ("tcp", tcp.authorization.clone()),
        };
        assert_eq!(authorization.is_some(), listener.direction != Direction::Outbound, "{}", listener.name);
        (format!("{} {} {kind}", listener.name, chain.name), authorization)
    };
    chains.map(of).filter(|(_, authorization)| authorization.is_some()).collect()
}

fn names(policies: &[AuthorizationPolicy]) -> String {
    policies
        .iter()
        .map(|policy| format!("{}/{}", policy.namespace, policy.name))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn policies_add_up_and_stand_on_every_inbound_and_gateway_chain() {
    let text = [
        PORTS.to_owned(),
        policy("default", "all", "rules: [{}]"),
        policy("default", "own", "selector: {matchLabels: {app: shop}}, rules: [{}]"),
        policy("default", "other", "selector: {matchLabels: {app: other}}, rules: [{}]"),
        policy("elsewhere", "all", "rules: [{}]"),
        policy("istio-system", "mesh", "rules: [{}]"),
        policy("istio-system", "labelled", "selector: {matchLabels: {app: shop}}, rules: [{}]"),
        policy(
            "default",
            "attached",
            "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: x}], rules: [{}]",
        ),
    ];
    let lowered = lowered_for(&node("default", "app=shop"), &text.concat());
    let guarded = guarded_of(&lowered.ir);
    let chains: Vec<&str> = guarded.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        chains,
        [
            "0.0.0.0_7000 http.7000 http",
            "virtualInbound inbound_8080 http",
            "virtualInbound inbound_9090 tcp",
            "virtualInbound inbound_captured http",
            "virtualInbound inbound_captured tcp",
            "virtualInbound virtualInbound http",
        ]
    );
    let ports = |name: &str| {
        guarded.iter().find(|(one, _)| one == name).map(|(_, given)| given.clone().unwrap().port)
    };
    assert_eq!(ports("virtualInbound inbound_8080 http"), Some(WorkloadPort::OfConnection));
    assert_eq!(
        ports("virtualInbound virtualInbound http"),
        Some(WorkloadPort::OfCluster(
            [("inbound|8080||".into(), 8080), ("inbound|9090||".into(), 9090)].into()
        ))
    );
    for (_, authorization) in &guarded {
        let policies = &authorization.as_ref().unwrap().policies;
        assert_eq!(names(policies), "istio-system/labelled istio-system/mesh default/all default/own");
    }
    assert!(
        lowered.diagnostics.iter().any(|told| told.message.contains("passes over a policy with targets"))
    );
    for label in ["gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name"] {
        let node = node("default", &format!("app=shop,{label}=x"));
        let gateway = lowered_for(&node, &(PORTS.to_owned() + &text[7]));
        assert_eq!(names(&guarded_of(&gateway.ir)[0].1.as_ref().unwrap().policies), "default/attached");
    }
}

#[test]
fn a_single_port_is_known_without_capture() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: shop}, ports: [{name: NAME, port: 80, targetPort: 8080}]}\n";
    for name in ["http", "tcp"] {
        let text = service.replace("NAME", name) + &policy("default", "all", "rules: [{}]");
        let guarded = guarded_of(&lowered_for(&node("default", "app=shop"), &text).ir);
        let (_, uncaptured) = guarded.iter().find(|(chain, _)| chain.contains(" virtualInbound ")).unwrap();
        assert_eq!(uncaptured.as_ref().unwrap().port, WorkloadPort::Fixed(8080), "{name}");
    }
}

#[test]
fn where_bytes_are_served_allow_narrows_and_all_else_widens() {
    let rules = "rules: [{to: [{operation: {methods: [GET], ports: ['1']}}]}, {to: [{operation: {ports: ['2']}}]}, \
                 {from: [{source: {requestPrincipals: ['*']}}, {source: {ipBlocks: [10.0.0.1]}}]}]";
    let text = [
        PORTS.to_owned(),
        policy("default", "a-allow", rules),
        policy("default", "b-deny", &format!("action: DENY, {rules}")),
    ];
    let lowered = lowered_for(&node("default", "app=shop"), &text.concat());
    let guarded = guarded_of(&lowered.ir);
    let (_, bytes) = guarded.iter().find(|(chain, _)| chain.ends_with(" tcp")).unwrap();
    let policies = &bytes.as_ref().unwrap().policies;
    let shown = |policy: &AuthorizationPolicy| {
        let rules = policy.rules.iter().map(|rule| {
            let clauses = rule.from.iter().chain(&rule.to);
            let fields =
                clauses.map(|clause| clause.iter().map(|one| &*one.field).collect::<Vec<_>>().join("+"));
            format!(
                "{}: {}",
                &rule.id[rule.id.len() - 2..rule.id.len() - 1],
                fields.collect::<Vec<_>>().join(" or ")
            )
        });
        rules.collect::<Vec<_>>()
    };
    assert_eq!(shown(&policies[0]), ["1: to[0].operation.ports"]);
    assert_eq!(
        shown(&policies[1]),
        ["0: to[0].operation.ports", "1: to[0].operation.ports", "2:  or from[1].source.ipBlocks"]
    );
    let told: Vec<_> = lowered.diagnostics.iter().filter(|told| told.code == "SDL0607").collect();
    assert_eq!(told.len(), 4, "{told:#?}");
}

#[test]
fn a_provider_is_asked_where_it_can_be_and_several_nowhere() {
    const PROVIDERS: &str = "---
apiVersion: sidle.dev/v1
kind: Proxy
metadata: {name: proxy}
spec:
  extensionProviders:
    - {name: g, envoyExtAuthzGrpc: {service: judge.test, port: 9000}}
    - {name: h, envoyExtAuthzHttp: {service: judge.test, port: 9000}}
";
    let custom = |name: &str, provider: &str| {
        policy("default", name, &format!("action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]"))
    };
    let asked = |named: &[&str], elsewhere: &str| {
        let policies = named.iter().map(|provider| custom(&format!("of-{provider}"), provider));
        let text: String = [PORTS.to_owned(), PROVIDERS.to_owned(), elsewhere.to_owned()]
            .into_iter()
            .chain(policies)
            .collect();
        let lowered = lowered_for(&node("default", "app=shop"), &text);
        let of = |end: &str| {
            let guarded = guarded_of(&lowered.ir);
            let (_, given) = guarded.into_iter().find(|(chain, _)| chain.ends_with(end)).unwrap();
            given.unwrap().providers.iter().map(|one| one.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        let told = lowered.diagnostics.iter().filter(|told| told.code == "SDL0501");
        let words = [
            "several providers, `g`, `h`",
            "provider `x` is another proxy's",
            "no words for connections of bytes",
        ];
        let told = told.map(|told| words.iter().find(|words| told.message.contains(**words)).unwrap());
        (of(" http"), of(" tcp"), told.copied().collect::<Vec<_>>())
    };
    let said =
        |http: &str, tcp: &str, told: &[&'static str]| (http.to_owned(), tcp.to_owned(), told.to_vec());
    assert_eq!(asked(&["g"], ""), said("g", "g", &[]));
    assert_eq!(asked(&["h"], ""), said("h", "", &["no words for connections of bytes"]));
    assert_eq!(asked(&["x"], ""), said("", "", &[]), "`check` tells of what nobody defines");
    let others = PROVIDERS.replace("name: proxy", "name: second").replace("name: g", "name: x");
    assert_eq!(asked(&["x"], &others), said("", "", &["provider `x` is another proxy's"]));
    assert_eq!(asked(&["g", "h"], ""), said("", "", &["several providers, `g`, `h`"; 2]));
    let other = custom("other", "h").replace("namespace: default", "namespace: elsewhere");
    assert_eq!(asked(&["g"], &other), said("g", "g", &[]), "that holds for others");
}

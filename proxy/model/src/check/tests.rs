//! Mistakes and what is said of them: kind, `spec`, and `line:column code` of each diagnostic. A `spec` begins at line 5.

mod kubernetes_fields;
mod other_kinds;
mod overlaps;
mod policies;
mod request_authentications;
mod virtual_services;

use crate::{
    config::Config,
    diagnostic::{self, Diagnostic},
    ir::Node,
    manifest::Manifests,
    source::Text,
};

fn judge(content: &str) -> (Config, Vec<Diagnostic>) {
    let text = Text { name: "f.yaml".into(), content: content.into() };
    let Manifests { config, mut diagnostics, .. } = Manifests::of(&text, "default");
    diagnostics.extend(super::check(&config, &Node::default()));
    diagnostic::sort(&mut diagnostics);
    (config, diagnostics)
}

fn told(content: &str) -> Vec<String> {
    let place = |d: &Diagnostic| {
        let span = d.span.unwrap();
        format!(
            "{}:{} {}{}",
            span.line,
            span.column,
            &d.severity.to_string()[..1],
            d.code.trim_start_matches("SDL")
        )
    };
    judge(content).1.iter().map(place).collect()
}

fn manifest(kind: &str, spec: &str) -> String {
    let api = match kind {
        "Service" => "v1",
        "Proxy" | "HealthPolicy" | "ConcurrencyPolicy" | "RateLimitPolicy" | "UpstreamPolicy"
        | "FaultPolicy" => "sidle.dev/v1",
        "AuthorizationPolicy" | "RequestAuthentication" => "security.istio.io/v1",
        _ => "networking.istio.io/v1",
    };
    format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\nspec:\n{spec}\n{DEFINED}")
}

/// What references may name.
const DEFINED: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: defined}
spec: {hosts: [d.io], resolution: DNS, ports: [{name: http, number: 80, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: defined}
spec: {host: d.io, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['./b.shop.io', 'other/*.shop.io', d.io]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: delegate}
spec: {http: [{route: [{destination: {host: d.io}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec: {hosts: [root.io], http: [{delegate: {name: delegate}}]}
---
apiVersion: sidle.dev/v1
kind: Proxy
metadata: {name: defined}
spec: {selector: {app: other}, extensionProviders: [{name: judge, envoyExtAuthzGrpc: {service: d.io, port: 80}}, {name: x, envoyExtAuthzGrpc: {service: d.io, port: 80}}]}
";

const VS: &str = "VirtualService";

/// Kind, `spec`, and what is told.
type Mistake = (&'static str, &'static str, &'static [&'static str]);

#[test]
fn every_mistake_has_its_place() {
    let mut wrong = String::new();
    let tables = [
        virtual_services::MISTAKES,
        other_kinds::MISTAKES,
        policies::MISTAKES,
        request_authentications::MISTAKES,
    ];
    for (kind, spec, expected) in tables.into_iter().flatten() {
        let found = told(&manifest(kind, spec));
        if found != *expected {
            wrong.push_str(&format!("{kind}\n{spec}\n   expected {expected:?}\n   found    {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Mistakes between manifests, and around their `spec`.
#[test]
fn manifests_and_metadata() {
    let vs = |metadata: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {metadata}\nspec: {{hosts: [a.io], http: [{{directResponse: {{status: 200}}}}]}}\n"
        )
    };
    let policy =
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {}\n";
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", vs("{name: x}").replace('\n', "\n  "));
    let cases: &[(String, &[&str])] = &[
        (vs("{name: x}"), &[]),
        (list.trim_end().to_owned(), &[]),
        (vs("{name: x, uid: 5, managedFields: [], creationTimestamp: null}"), &[]),
        (vs("{}"), &["3:1 e0104"]),
        (vs("{name: X, namespace: a.b}"), &["3:18 e0219", "3:32 e0219"]),
        (vs("{name: x, lables: {a: b}}"), &["3:21 e0101"]),
        (vs("{name: x, labels: {a b: c, d: 5}}"), &["3:35 e0218", "3:41 e0102"]),
        (vs("{name: x, creationTimestamp: yesterday}"), &["3:40 e0222"]),
        (vs("{name: x, creationTimestamp: 5}"), &["3:40 e0222"]),
        (vs("{name: x, creationTimestamp: [5]}"), &["3:21 e0222"]),
        (vs("{name: x}") + "---\n" + &vs("{name: x}"), &["8:18 e0013"]),
        (vs("{name: x}") + "extra: 1\n", &["5:1 e0101"]),
        (vs("{name: x}") + "hosts: [a]\n", &["5:1 e0101"]),
        ("just text\n".into(), &["1:1 e0010"]),
        ("a: 1\n".into(), &["1:1 e0010"]),
        ("apiVersion: v1\n".into(), &["1:1 e0010"]),
        (policy.into(), &[]),
        (policy.replace("spec: {}", "spec: {rule: []}"), &["4:8 e0101"]),
        (
            policy.replace("security", "extensions").replace("AuthorizationPolicy", "WasmPlugin"),
            &["2:7 w0503"],
        ),
        ("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n".into(), &["2:7 w0503"]),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {x: 1}\n".into(), &[]),
        ("apiVersion: cert-manager.io/v1\nkind: Certificate\n".into(), &["2:7 i0505"]),
        (vs("{name: x}").replace("io/v1\n", "io/v2\n"), &["2:7 e0011"]),
        (vs("{name: x}").replace("networking.istio.io/v1\n", "v1\n"), &["2:7 e0011"]),
        (vs("{name: x}").replace("networking", "networkin"), &["2:7 e0011"]),
        ("apiVersion: sidle.dev/v1\nkind: Proxies\nmetadata: {name: x}\n".into(), &["2:7 e0011"]),
        ("apiVersion: apps/v1\nkind: Deploymet\n".into(), &["2:7 e0011"]),
        ("apiVersion: networking.istio.io/v1\nkind: Service\n".into(), &["2:7 e0011"]),
    ];
    for (text, expected) in cases {
        assert_eq!(told(text), *expected, "\n{text}{:?}", judge(text).1);
    }
}

#[test]
fn resources_are_typed_and_in_order() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: n, labels: {app: a}, creationTimestamp: 2026-01-31T12:00:00Z}\n\
        spec: {containers: [{name: c, ports: [{containerPort: 80, name: web}], image: x}], serviceAccountName: sa}\n\
        status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'False'}]}\n---\n\
        apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: j}\n\
        spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: b}}}}}}\n---\n\
        apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\n\
        endpoints: [{addresses: [10.0.0.2]}]\nports: [{port: 80}]\n";
    let (config, diagnostics) = judge(text);
    assert_eq!(diagnostics, []);
    let pod = &config.pods[0];
    assert_eq!(pod.title(), "Pod n/p");
    assert_eq!((pod.spec.address(), pod.spec.is_ready()), (Some("10.0.0.1"), false));
    assert_eq!(pod.spec.spec.containers[0].ports[0].container_port, 80);
    assert!(pod.metadata.creation_timestamp.is_some());
    let job = &config.workloads[0];
    assert_eq!((job.kind, job.metadata.namespace.as_str()), ("CronJob", "default"));
    assert_eq!(job.spec.pod_template().metadata.labels.get("app").unwrap(), "b");
    assert_eq!(config.endpoint_slices[0].spec.endpoints[0].addresses, ["10.0.0.2"]);
    assert_eq!((pod.order, job.order, config.endpoint_slices[0].order), (0, 1, 2));
    let origin = pod.origin(&["spec".into(), "containers".into(), 0.into(), "ports".into()]);
    assert_eq!((origin.line, origin.column), (4, 31));
}

#[test]
fn age_decides_ties() {
    let service = |name: &str, time: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}{time}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let (old, new) =
        (", creationTimestamp: 2025-01-01T00:00:00Z", ", creationTimestamp: 2026-01-01T00:00:00Z");
    let text = [service("a", ""), service("b", new), service("c", old), service("d", "")].concat();
    let (mut config, _) = judge(&text);
    config.services.sort_by(crate::age_order);
    let names: Vec<_> = config.services.iter().map(|service| service.metadata.name.as_str()).collect();
    assert_eq!(names, ["c", "b", "a", "d"]);
}

/// What a release of Istio's samples writes passes without a word.
#[test]
fn all_fields_are_known() {
    let text = manifest(
        VS,
        "  hosts: [reviews.io]\n  gateways: [mesh, public]\n  exportTo: ['.']\n  http:\n  - name: a\n    match:\n    - name: m\n      \
         uri: {prefix: /a}\n      scheme: {exact: https}\n      method: {regex: GET|POST}\n      authority: {prefix: rev}\n      \
         headers: {end-user: {exact: jason}}\n      withoutHeaders: {x: {}}\n      queryParams: {q: {regex: '*'}}\n      port: 80\n      \
         sourceLabels: {app: x}\n      sourceNamespace: n\n      ignoreUriCase: true\n    \
         route: [{destination: {host: d.io, subset: v1, port: {number: 80}}, weight: 100, headers: {response: {add: {a: b}}}}]\n    \
         rewrite: {uri: /b, authority: c}\n    timeout: 1m30s\n    retries: {attempts: 3, perTryTimeout: 500ms, retryOn: '5xx,503', backoff: 50ms, retryIgnorePreviousHosts: false}\n    \
         fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 418, percentage: {value: 1}}}\n    \
         mirror: {host: d.io}\n    mirrorPercentage: {value: 5}\n    corsPolicy: {allowOrigins: [{exact: '*'}], allowMethods: [GET], maxAge: 24h, allowCredentials: true}\n    \
         headers: {request: {set: {x-a: '%REQ(x-b)%'}, remove: [y]}}\n  - directResponse: {status: 503, body: {string: sorry}}",
    );
    assert_eq!(told(&text), Vec::<String>::new(), "{:?}", judge(&text).1);
}

/// A document with a great many mistakes is told of in bounded time, and not to the last.
#[test]
fn mistakes_without_end_are_cut_off() {
    let unknown = (0..5_000).fold(String::new(), |text, n| text + &format!("  zzz{n}: {{}}\n"));
    let weights = "    - {destination: {host: '*'}, weight: -1}\n".repeat(4_000);
    let rules = "  - match: [{uri: {exact: /}}]\n    directResponse: {status: 1}\n".repeat(2_000);
    for spec in [
        unknown,
        format!("  hosts: [a.io]\n  http:\n  - route:\n{weights}"),
        format!("  hosts: [a.io]\n  http:\n{rules}"),
    ] {
        let begin = std::time::Instant::now();
        let found = judge(&manifest(VS, &spec)).1;
        assert!((1000..5000).contains(&found.len()), "{}", found.len());
        // Unoptimised and on a busy machine.
        assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    }
}

//! Gateways: R3, R19, R25 at the edge.

use super::*;
use crate::ir::{Certificates, Direction, TlsVersion, Trust};

fn gateway(name: &str, servers: &str) -> String {
    istio("Gateway", "default", name, &format!("  selector: {{app: edge}}\n  servers:\n{servers}"))
}

fn edge(yaml: &str) -> Lowered {
    lowered_for(&node("default", "app=edge"), yaml)
}

fn rules(name: &str, hosts: &str, more: &str) -> String {
    istio("VirtualService", "default", name, &format!("  hosts: {hosts}\n  gateways: [g]\n{more}"))
}

fn to(path: &str, host: &str) -> String {
    format!("  - match: [{{uri: {{prefix: {path}}}}}]\n    route: [{{destination: {{host: {host}.com}}}}]\n")
}

const HTTP: &str = "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}\n";

#[test]
fn a_gateway_is_for_the_proxies_that_it_selects() {
    let yaml = gateway("g", HTTP) + &rules("v", "['*']", &("  http:\n".to_owned() + &to("/api", "a")));
    let ir = edge(&yaml).ir;
    assert_eq!(chains(&ir, "0.0.0.0_80"), ["default -> http http.80"]);
    assert_eq!(routes(&ir, "http.80", "*"), ["prefix /api -> outbound|80||a.com"]);
    assert!(table(&ir, "http.80").ignore_port_in_host);
    let listener = listener(&ir, "0.0.0.0_80");
    assert_eq!(
        (listener.direction, listener.address.to_string()),
        (Direction::Gateway, "0.0.0.0:80".to_owned())
    );
    let Some(NetworkFilter::Http(http)) = listener.default_filter_chain.as_ref().map(|chain| &chain.filter)
    else {
        panic!()
    };
    assert!(http.edge);
    assert_eq!(lowered(&yaml).ir.listeners.len(), 2, "not selected");
    let everybody = yaml.replace("  selector: {app: edge}\n", "");
    assert_eq!(lowered(&everybody).ir.listeners.len(), 3, "an empty selector selects all");
}

#[test]
fn r3_rules_of_one_host_are_merged_with_those_for_everything_last() {
    let all = "  - route: [{destination: {host: all.com}}]\n";
    let yaml = gateway("g", HTTP)
        + &rules("a", "[x.com]", &("  http:\n".to_owned() + &to("/a", "a") + all))
        + &rules("b", "[x.com, y.com]", &("  http:\n".to_owned() + &to("/b", "b") + all));
    let lowered = edge(&yaml);
    assert_eq!(
        routes(&lowered.ir, "http.80", "x.com"),
        ["prefix /a -> outbound|80||a.com", "prefix /b -> outbound|80||b.com", "any -> outbound|80||all.com"]
    );
    assert_eq!(routes(&lowered.ir, "http.80", "y.com").len(), 2);
    assert_note(&lowered, "SDL0401", "never reached for `x.com`");
    let told = notes(&lowered).into_iter().find(|note| note.contains("SDL0401")).unwrap();
    assert!(told.starts_with("32 ") && told.contains("(a.yaml:20)"), "{told}");
}

#[test]
fn hosts_of_server_and_rules_intersect_within_the_servers_namespaces() {
    let servers =
        "  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['./*.a.com', 'blue/b.com', 'c.com']}\n";
    let rule = |namespace: &str, hosts: &str| {
        let http = "  http: [{directResponse: {status: 200}}]";
        let spec = format!("  hosts: {hosts}\n  gateways: [default/g]\n{http}");
        istio("VirtualService", namespace, "v", &spec)
    };
    let served = |yaml: &str| {
        let lowered = edge(yaml);
        table(&lowered.ir, "http.80").virtual_hosts.iter().flat_map(|host| domains(host)).collect::<Vec<_>>()
    };
    let base = gateway("g", servers);
    assert_eq!(
        served(&(base.clone() + &rule("default", "[x.a.com, '*.com', a.com, b.com]"))),
        ["x.a.com", "*.a.com", "c.com"]
    );
    assert_eq!(served(&(base.clone() + &rule("blue", "[x.a.com, b.com, '*']"))), ["b.com", "c.com"]);
    assert!(served(&(base + &rule("green", "[x.a.com]"))).is_empty());
}

#[test]
fn match_ports_and_redirect_ports_are_the_servers() {
    let servers = "  - {port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}\n  - {port: {number: 81, name: b, protocol: HTTP}, hosts: ['*']}\n";
    let service = service("default", "edge", &[("http", 80)])
        .replace("spec:", "spec:\n  selector: {app: edge}")
        .replace("port: 80", "port: 80, targetPort: 8080");
    let yaml = gateway("g", servers)
        + &service
        + &rules(
            "v",
            "['*']",
            "  http:\n  - match: [{port: 80}]\n    redirect: {derivePort: FROM_REQUEST_PORT}\n  - match: [{port: 81}]\n    redirect: {derivePort: FROM_PROTOCOL_DEFAULT}\n",
        );
    let ir = edge(&yaml).ir;
    assert_eq!(routes(&ir, "http.8080", "*"), ["any -> redirect 301 None None Number(80)"]);
    assert_eq!(routes(&ir, "http.81", "*"), ["any -> redirect 301 None None SchemeDefault"]);
    assert_eq!(chains(&ir, "0.0.0.0_8080"), ["default -> http http.8080"]);
    assert!(chains(&ir, "virtualInbound").is_empty(), "the Service is the gateway's own");
}

#[test]
fn https_redirect_needs_no_rules() {
    let servers = "  - {port: {number: 80, name: a, protocol: HTTP}, hosts: [a.com], tls: {httpsRedirect: true}}\n  - {port: {number: 80, name: b, protocol: HTTP}, hosts: [b.com]}\n";
    let yaml = gateway("g", servers) + &rules("v", "['*']", &("  http:\n".to_owned() + &to("/", "b")));
    let ir = edge(&yaml).ir;
    assert_eq!(routes(&ir, "http.80", "a.com"), ["any -> redirect 301 Some(\"https\") None Keep"]);
    assert_eq!(routes(&ir, "http.80", "b.com"), ["prefix / -> outbound|80||b.com"]);
}

#[test]
fn tls_servers_are_told_apart_by_name() {
    let servers = "
  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}
  - {port: {number: 443, name: b, protocol: HTTPS}, hosts: ['*'], tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, minProtocolVersion: TLSV1_3}}
  - {port: {number: 443, name: c, protocol: TLS}, hosts: ['*.p.com'], tls: {mode: PASSTHROUGH}}
  - {port: {number: 443, name: d, protocol: TLS}, hosts: [t.com], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}
  - {port: {number: 443, name: e, protocol: HTTPS}, hosts: [e.com], tls: {mode: SIMPLE, credentialName: secret}}
  - {port: {number: 443, name: f, protocol: HTTP}, hosts: ['*']}
";
    let yaml = gateway("g", servers)
        + &rules(
            "v",
            "['*']",
            "  http: [{route: [{destination: {host: web.com}}]}]
  tls:
  - match: [{sniHosts: [x.p.com, q.com]}, {sniHosts: ['*']}]
    route: [{destination: {host: pass.com}}]
  tcp: [{route: [{destination: {host: bytes.com}}]}]",
        );
    let lowered = edge(&yaml);
    let ir = &lowered.ir;
    assert_eq!(
        chains(ir, "0.0.0.0_443"),
        [
            "* sni=a.com Tls opened -> http https.443.a.g.default",
            "* Tls opened -> http https.443.b.g.default",
            "* sni=x.p.com Tls -> tcp 1 outbound|443||pass.com",
            "* sni=*.p.com Tls -> tcp 1 outbound|443||pass.com",
            "* sni=t.com Tls opened -> tcp 1 outbound|443||bytes.com",
        ]
    );
    let tls: Vec<_> =
        listener(ir, "0.0.0.0_443").filter_chains.iter().filter_map(|chain| chain.tls.as_ref()).collect();
    assert_eq!(
        (tls[0].client_ca.is_some(), tls[0].min_version, tls[0].alpn.len()),
        (false, TlsVersion::V1_2, 2)
    );
    assert_eq!(
        (tls[1].client_ca.is_some(), tls[1].min_version, tls[1].max_version),
        (true, TlsVersion::V1_3, TlsVersion::V1_3)
    );
    assert_eq!(tls[2].alpn, []);
    assert_eq!(routes(ir, "https.443.a.g.default", "a.com"), ["any -> outbound|443||web.com"]);
    assert_note(&lowered, "SDL0501", "there is no Secret `secret`");
    assert_note(&lowered, "SDL0602", "opens the same port for HTTPS");
}

#[test]
fn tcp_servers() {
    let servers = "  - {port: {number: 9000, name: a, protocol: TCP}, hosts: ['*'], bind: 127.0.0.9}\n";
    let yaml = gateway("g", servers)
        + &rules("v", "['*']", "  tcp: [{match: [{port: 9000}], route: [{destination: {host: bytes.com}}]}]");
    assert_eq!(chains(&edge(&yaml).ir, "127.0.0.9_9000"), ["default -> tcp 1 outbound|9000||bytes.com"]);
    let lowered = edge(&gateway("g", servers));
    assert!(chains(&lowered.ir, "127.0.0.9_9000").is_empty());
    assert_note(&lowered, "SDL0601", "has a `tcp` rule for this server");
}

#[test]
fn r19_rules_for_the_mesh_alone_are_not_for_gateways() {
    let yaml = gateway("g", HTTP)
        + &istio(
            "VirtualService",
            "default",
            "v",
            "  hosts: [a.com]\n  gateways: [mesh, g]\n  http:\n  - match: [{gateways: [mesh]}]\n    directResponse: {status: 201}\n  - directResponse: {status: 202}",
        );
    let ir = edge(&yaml).ir;
    assert_eq!(routes(&ir, "http.80", "a.com"), ["any -> direct 202 \"\""]);
    assert_eq!(http_routes(&ir, "http_proxy", "a.com"), ["any -> direct 201 \"\""]);
}

const SECRETS: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: shop, namespace: default}
type: kubernetes.io/tls
data: {tls.crt: Q0hBSU4=, tls.key: S0VZ, ca.crt: Uk9PVFM=}
---
apiVersion: v1
kind: Secret
metadata: {name: generic, namespace: default}
stringData: {cert: chain, key: private, crl: x}
---
apiVersion: v1
kind: Secret
metadata: {name: generic-cacert, namespace: default}
stringData: {cacert: roots}
---
apiVersion: v1
kind: Secret
metadata: {name: elsewhere, namespace: other}
stringData: {cert: chain, key: private}
";

#[test]
fn certificates_come_from_secrets_of_the_proxys_namespace() {
    let tls = |settings: &str| {
        let servers = format!(
            "  - {{port: {{number: 443, name: a, protocol: HTTPS}}, hosts: [a.com], tls: {{{settings}}}}}\n"
        );
        let lowered = edge(&(gateway("g", &servers) + SECRETS));
        let chain = listener(&lowered.ir, "0.0.0.0_443").filter_chains.first().cloned();
        (chain.and_then(|chain| chain.tls), lowered)
    };
    let (found, _) = tls("mode: MUTUAL, credentialName: shop");
    let found = found.unwrap();
    let Certificates::Inline(pairs) = &found.certificates else { panic!("{found:?}") };
    assert_eq!((pairs[0].chain.as_bytes(), pairs[0].key.as_bytes()), (&b"CHAIN"[..], &b"KEY"[..]));
    assert!(matches!(&found.client_ca, Some(Trust::Inline { text, .. }) if text.as_bytes() == b"ROOTS"));
    let shown = format!("{found:?}");
    assert!(shown.contains("Secret default/shop") && !shown.contains("75"), "{shown}"); // K is 75
    let (found, _) =
        tls("mode: OPTIONAL_MUTUAL, credentialNames: [shop, generic], caCertCredentialName: generic");
    let found = found.unwrap();
    assert!(matches!(&found.certificates, Certificates::Inline(pairs) if pairs.len() == 2));
    assert!(matches!(&found.client_ca, Some(Trust::Inline { text, .. }) if text.as_bytes() == b"roots"));
    for (settings, lacks) in [
        ("mode: SIMPLE, credentialName: elsewhere", "no Secret `elsewhere` in namespace `default`"),
        ("mode: SIMPLE, credentialName: generic-cacert", "neither `tls.crt` nor `cert`"),
        ("mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertCredentialName: x", "no Secret `x`"),
    ] {
        let (found, lowered) = tls(settings);
        assert_eq!(found, None, "{settings}");
        assert_note(&lowered, "SDL0501", lacks);
    }
}

#[test]
fn auto_passthrough_routes_mtls_by_the_cluster_in_its_server_name() {
    let servers = "  - {port: {number: 15443, name: tls, protocol: TLS}, hosts: ['*.blue.svc.cluster.local'], tls: {mode: AUTO_PASSTHROUGH}}\n";
    let rule =
        "  host: a\n  trafficPolicy: {tls: {mode: SIMPLE}}\n  subsets: [{name: v1, labels: {version: v1}}]";
    let yaml = gateway("east", servers)
        + &service("blue", "a", &[("http", 80)])
        + &service("red", "b", &[("http", 80)])
        + &istio("DestinationRule", "blue", "a", rule);
    let ir = edge(&yaml).ir;
    let name = |subset: &str| format!("outbound_.80_.{subset}_.a.blue.svc.cluster.local");
    let line = |subset: &str| format!("* sni={0} Tls detected -> tcp 1 {0}", name(subset));
    assert_eq!(chains(&ir, "0.0.0.0_15443"), [line(""), line("v1")], "only what its hosts cover");
    assert!(cluster(&ir, "outbound|80||a.blue.svc.cluster.local").tls.is_some());
    assert_eq!(cluster(&ir, &name("")).tls, None, "bytes pass as they are");
    assert_eq!(&*cluster(&ir, &name("v1")).subset, "v1");
}

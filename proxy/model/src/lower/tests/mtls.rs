//! R11 and R14: mTLS of the mesh, both ways.

use super::*;
use crate::ir::{Certificates, ServerTls, Trust};

/// A Proxy resource with an identity.
const IDENTITY: &str = "---
apiVersion: sidle.dev/v1
kind: Proxy
metadata: {name: p, namespace: default}
spec: {identity: {directory: /etc/certs}, trustDomainAliases: [old.test]}
";

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    let head = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n";
    format!("{head}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n")
}

/// A Service of the node with ports `name:number`.
fn own_service(ports: &[(&str, u16)]) -> String {
    service("default", "own", ports).replace("spec:\n", "spec:\n  selector: {app: own}\n")
}

fn inbound(yaml: &str) -> Vec<String> {
    let ir = lowered_for(&node("default", "app=own"), yaml).ir;
    let listener = listener(&ir, "virtualInbound");
    let default = listener.default_filter_chain.iter();
    let line = |chain: &crate::ir::FilterChain| {
        let matches = &chain.matches;
        let port = matches.destination_port.map_or_else(|| "*".to_owned(), |port| port.to_string());
        let alpn: Vec<_> = matches.application_protocols.iter().map(|protocol| protocol.alpn()).collect();
        let transport = matches.transport.map(|transport| format!(" {transport:?}")).unwrap_or_default();
        let opened = match &chain.tls {
            None => "",
            Some(ServerTls {
                certificates: Certificates::Workload,
                client_ca: Some(Trust::Workload),
                ..
            }) => " mTLS",
            Some(other) => panic!("{other:?}"),
        };
        let to = match &chain.filter {
            NetworkFilter::Http(http) => format!("http {}", http.route_configuration),
            NetworkFilter::Tcp(tcp) => format!("tcp {}", tcp.clusters[0].cluster),
        };
        format!("{port}{transport} [{}]{opened} -> {to}", alpn.join(" "))
    };
    let by_port = listener.filter_chains.iter().filter(|chain| !chain.matches.captured);
    by_port.chain(default).map(line).collect()
}

const MESH: &str = "istio istio-peer-exchange istio-http/1.0 istio-http/1.1 istio-h2";

#[test]
fn r11_without_an_identity_and_without_a_policy_nothing_changes() {
    let plain = inbound(&own_service(&[("http", 80), ("tcp", 90)]));
    assert_eq!(plain, ["80 [] -> http inbound|80||", "90 [] -> tcp inbound|90||", "* [] -> http inbound",]);
    let disabled = IDENTITY.to_owned() + &policy("istio-system", "default", "{mtls: {mode: DISABLE}}");
    assert_eq!(inbound(&(own_service(&[("http", 80), ("tcp", 90)]) + &disabled)), plain);
}

#[test]
fn r11_permissive_tells_mtls_by_alpn_and_passes_other_tls_on() {
    let yaml = own_service(&[("http", 80), ("tcp", 90), ("web", 70)]) + IDENTITY;
    assert_eq!(
        inbound(&yaml),
        [
            format!("80 Tls [{MESH}] mTLS -> http inbound|80||"),
            "80 RawBuffer [] -> http inbound|80||".into(),
            format!("90 Tls [{MESH}] mTLS -> tcp inbound|90||"),
            "90 Tls [] -> tcp inbound|90||".into(),
            "90 RawBuffer [] -> tcp inbound|90||".into(),
            "70 Tls [istio-http/1.0 istio-http/1.1 istio-h2] mTLS -> http inbound|70||".into(),
            "70 RawBuffer [http/1.1 h2] -> http inbound|70||".into(),
            "70 Tls [istio-peer-exchange istio] mTLS -> tcp inbound|70||".into(),
            "70 Tls [] -> tcp inbound|70||".into(),
            "70 RawBuffer [] -> tcp inbound|70||".into(),
            format!("* Tls [{MESH}] mTLS -> http inbound"),
            "* RawBuffer [] -> http inbound".into(),
        ]
    );
}

#[test]
fn r11_strict_takes_no_plain_text_and_has_no_default_chain() {
    let strict = policy("istio-system", "default", "{mtls: {mode: STRICT}}");
    let yaml = own_service(&[("http", 80), ("tcp", 90), ("web", 70)]) + IDENTITY + &strict;
    assert_eq!(
        inbound(&yaml),
        [
            "80 Tls [] mTLS -> http inbound|80||",
            "90 Tls [] mTLS -> tcp inbound|90||",
            "70 Tls [istio-http/1.0 istio-http/1.1 istio-h2] mTLS -> http inbound|70||",
            "70 Tls [] mTLS -> tcp inbound|70||",
            "* Tls [] mTLS -> http inbound",
        ]
    );
    // Without an identity it is the same: nobody can get through the handshake.
    let without = own_service(&[("http", 80)]) + &strict;
    assert_eq!(inbound(&without), ["80 Tls [] mTLS -> http inbound|80||", "* Tls [] mTLS -> http inbound"]);
}

#[test]
fn r11_who_comes_in_plain_text_without_capture_finds_open_ports_only() {
    let own = policy(
        "default",
        "own",
        "{selector: {matchLabels: {app: own}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}",
    );
    let yaml = own_service(&[("http", 80), ("http-b", 81)]) + IDENTITY + &own;
    assert_eq!(
        inbound(&yaml)[3..],
        [format!("* Tls [{MESH}] mTLS -> http inbound"), "* RawBuffer [] -> http inbound_plaintext".into()]
    );
    let ir = lowered_for(&node("default", "app=own"), &yaml).ir;
    assert!(host(&ir, "inbound", "own:81").is_some() && host(&ir, "inbound_plaintext", "own:81").is_none());
    assert!(host(&ir, "inbound_plaintext", "own").is_some());
}

#[test]
fn r11_the_closest_policy_holds_and_of_one_level_the_oldest() {
    let selecting = |mode: &str, ports: &str| {
        format!(
            "{{selector: {{matchLabels: {{app: own}}}}, mtls: {{mode: {mode}}}, portLevelMtls: {{{ports}}}}}"
        )
    };
    let mode = |policies: &[String]| {
        let yaml = own_service(&[("http", 80)]) + IDENTITY + &policies.concat();
        let chains = inbound(&yaml);
        match chains.iter().filter(|chain| chain.starts_with("80 ")).count() {
            2 => "PERMISSIVE",
            _ if chains[0].contains("mTLS") => "STRICT",
            _ => "DISABLE",
        }
    };
    let mesh = |mode: &str| policy("istio-system", "mesh", &format!("{{mtls: {{mode: {mode}}}}}"));
    let space = |mode: &str| policy("default", "space", &format!("{{mtls: {{mode: {mode}}}}}"));
    let own = |mode: &str, ports: &str| policy("default", "own", &selecting(mode, ports));
    for (policies, expected) in [
        (vec![], "PERMISSIVE"),
        (vec![mesh("STRICT")], "STRICT"),
        (vec![mesh("STRICT"), space("DISABLE")], "DISABLE"),
        (vec![mesh("STRICT"), space("UNSET")], "STRICT"),
        (vec![mesh("DISABLE"), space("PERMISSIVE"), own("STRICT", "")], "STRICT"),
        (vec![mesh("DISABLE"), own("UNSET", "")], "DISABLE"),
        (vec![own("STRICT", "80: {mode: DISABLE}")], "DISABLE"),
        (vec![own("STRICT", "81: {mode: DISABLE}")], "STRICT"),
        (vec![own("STRICT", "80: {mode: UNSET}")], "STRICT"),
        (vec![space("STRICT"), policy("default", "later", "{mtls: {mode: DISABLE}}")], "STRICT"),
        (vec![policy("other", "x", "{mtls: {mode: STRICT}}")], "PERMISSIVE"),
        (vec![policy("istio-system", "x", &selecting("STRICT", ""))], "PERMISSIVE"),
        (vec![own("DISABLE", "").replace("app: own", "app: other")], "PERMISSIVE"),
    ] {
        assert_eq!(mode(&policies), expected, "{policies:#?}");
    }
}

/// A service of the mesh with one endpoint whose proxy takes mTLS, and one that has none.
const SHOP: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, serviceAccount: shop, labels: {app: shop, security.istio.io/tlsMode: istio}}
  - {address: 10.0.0.2, labels: {app: shop, version: v2}}
";

/// `auto SNI [names]`, `always SNI [names]`, or `plain`, then the endpoints that take mTLS.
fn outbound(yaml: &str) -> String {
    let ir = lowered(yaml).ir;
    let cluster = cluster(&ir, "outbound|80||shop.test");
    let tls = |kind: &str, tls: &crate::ir::ClientTls| {
        assert_eq!((&tls.certificate, &tls.ca), (&Some(Certificates::Workload), &Trust::Workload));
        format!("{kind} {} {:?}", tls.sni.as_deref().unwrap_or("-"), tls.subject_alt_names)
    };
    let text = match (&cluster.tls, &cluster.auto_mtls) {
        (None, None) => "plain".into(),
        (Some(always), None) => tls("always", always),
        (None, Some(auto)) => tls("auto", auto),
        both => panic!("{both:?}"),
    };
    let endpoints = match &cluster.discovery {
        Discovery::Static(endpoints) => endpoints.as_slice(),
        _ => &[],
    };
    endpoints
        .iter()
        .filter(|endpoint| endpoint.mtls)
        .fold(text, |text, one| format!("{text} {}", one.address))
}

const ACCOUNTS: &str =
    r#"["spiffe://cluster.local/ns/default/sa/shop", "spiffe://old.test/ns/default/sa/shop"]"#;

#[test]
fn r14_without_a_rule_endpoints_that_take_mtls_get_it() {
    let yaml = SHOP.to_owned() + IDENTITY;
    assert_eq!(outbound(&yaml), format!("auto outbound_.80_._.shop.test {ACCOUNTS} 10.0.0.1:80"));
    assert_eq!(outbound(SHOP), "plain 10.0.0.1:80", "without an identity");
    assert_eq!(outbound(&yaml.replace("MESH_INTERNAL", "MESH_EXTERNAL")), "plain 10.0.0.1:80");
    assert_eq!(outbound(&yaml.replace("protocol: HTTP", "protocol: TLS")), "plain 10.0.0.1:80");
    let off = policy("default", "shop", "{selector: {matchLabels: {app: shop}}, mtls: {mode: DISABLE}}");
    assert_eq!(outbound(&(yaml.clone() + &off)), "plain", "the other side takes none");
    let of_port = off.replace("mtls: {mode: DISABLE}", "portLevelMtls: {80: {mode: DISABLE}}");
    assert_eq!(outbound(&(yaml + &of_port)), "plain");
}

#[test]
fn r14_any_rule_that_has_a_tls_block_turns_that_off() {
    let rule = |policy: &str| {
        let rule = istio(
            "DestinationRule",
            "default",
            "r",
            &format!("  host: shop.test\n  trafficPolicy: {policy}"),
        );
        outbound(&(SHOP.to_owned() + IDENTITY + &rule))
    };
    let auto = format!("auto outbound_.80_._.shop.test {ACCOUNTS} 10.0.0.1:80");
    assert_eq!(rule("{tls: {mode: DISABLE}}"), "plain 10.0.0.1:80");
    assert_eq!(rule("{loadBalancer: {simple: RANDOM}}"), auto);
    assert_eq!(
        rule("{tls: {mode: ISTIO_MUTUAL}}"),
        format!("always outbound_.80_._.shop.test {ACCOUNTS} 10.0.0.1:80")
    );
    assert_eq!(
        rule("{tls: {mode: ISTIO_MUTUAL, sni: s, subjectAltNames: ['spiffe://x/y']}}"),
        r#"always s ["spiffe://x/y"] 10.0.0.1:80"#
    );
    // A port's settings replace all blocks: without `tls` there, it is automatic again.
    assert_eq!(
        rule(
            "{tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"
        ),
        auto
    );
}

#[test]
fn r14_a_subset_has_its_own_server_name() {
    let rule =
        "  host: shop.test\n  subsets: [{name: v1, labels: {app: shop}}, {name: v2, labels: {version: v2}}]";
    let yaml = SHOP.to_owned() + IDENTITY + &istio("DestinationRule", "default", "r", rule);
    let ir = lowered(&yaml).ir;
    let v1 = cluster(&ir, "outbound|80|v1|shop.test").auto_mtls.clone().unwrap();
    assert_eq!(v1.sni.as_deref(), Some("outbound_.80_.v1_.shop.test"));
    assert_eq!(cluster(&ir, "outbound|80|v2|shop.test").auto_mtls, None, "nobody there takes it");
}

#[test]
fn ports_that_nobody_listens_at_are_told() {
    let own =
        "{selector: {matchLabels: {app: own}}, portLevelMtls: {80: {mode: STRICT}, 8080: {mode: DISABLE}}}";
    let yaml = own_service(&[("http", 80)]) + IDENTITY + &policy("default", "own", own);
    assert_note(&lowered_for(&node("default", "app=own"), &yaml), "SDL0307", "no port 8080");
}

//! What holds for every IR.

use super::*;
use crate::ir::HostPattern;
use std::collections::HashSet;

/// Every name that is used exists, domains are unique and lower-case, weights are usable, everything is in order.
pub(super) fn assert_sound(ir: &Ir) {
    let clusters: HashSet<_> = ir.clusters.iter().map(|cluster| &cluster.name).collect();
    assert_eq!(clusters.len(), ir.clusters.len(), "cluster names are unique");
    assert!(ir.clusters.is_sorted_by_key(|cluster| cluster.name.clone()));
    for name in [crate::ir::BLACK_HOLE_CLUSTER, crate::ir::PASSTHROUGH_CLUSTER] {
        cluster(ir, name);
    }
    let tables: HashSet<_> = ir.route_configurations.iter().map(|table| &table.name).collect();
    assert_eq!(tables.len(), ir.route_configurations.len(), "table names are unique: {:?}", table_names(ir));
    for table in &ir.route_configurations {
        let mut seen = HashSet::new();
        let mut names = HashSet::new();
        for host in &table.virtual_hosts {
            assert!(names.insert(&host.name), "virtual host {} twice in {}", host.name, table.name);
            assert!(!host.domains.is_empty());
            for domain in &host.domains {
                assert!(seen.insert(domain), "{domain} twice in {}", table.name);
                assert_eq!(domain.to_string(), domain.to_string().to_ascii_lowercase());
            }
            host.routes.iter().for_each(|route| assert_route(route, &clusters));
        }
    }
    let mut listeners = HashSet::new();
    for listener in &ir.listeners {
        assert!(listeners.insert(&listener.name), "listener {} twice", listener.name);
        let mut matches = Vec::new();
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            match &chain.filter {
                NetworkFilter::Http(http) => assert!(tables.contains(&http.route_configuration), "{http:?}"),
                NetworkFilter::Tcp(tcp) => {
                    assert!(!tcp.clusters.is_empty());
                    tcp.clusters
                        .iter()
                        .for_each(|split| assert!(clusters.contains(&split.cluster), "{split:?}"));
                }
            }
        }
        for chain in &listener.filter_chains {
            assert!(!matches.contains(&&chain.matches), "{:?} twice in {}", chain.matches, listener.name);
            matches.push(&chain.matches);
        }
    }
}

fn assert_route(route: &Route, clusters: &HashSet<&std::sync::Arc<str>>) {
    let RouteAction::Forward(forward) = &route.action else { return };
    assert!(!forward.clusters.is_empty());
    assert!(forward.clusters.iter().all(|split| split.weight > 0));
    for split in &forward.clusters {
        assert!(clusters.contains(&split.cluster), "{}", split.cluster);
    }
    assert!(forward.mirrors.iter().all(|mirror| clusters.contains(&mirror.cluster)));
    if let Some(PathRewrite::Prefix(_)) = forward.path_rewrite {
        assert!(matches!(route.matches.path, PathMatch::Prefix(_)));
    }
    if let Some(retry) = &forward.retry {
        assert!(retry.attempts > 0);
    }
}

#[test]
fn nothing_at_all_gives_a_proxy_that_passes_everything() {
    let ir = lowered("").ir;
    assert_eq!(chains(&ir, "virtualOutbound"), ["default -> http http_proxy"]);
    assert!(chains(&ir, "virtualInbound").is_empty());
    assert_eq!(
        routes(&ir, "http_proxy", "*"),
        ["any -> PassthroughCluster", "CONNECT -> PassthroughCluster"]
    );
    assert_eq!(host(&ir, "http_proxy", "*").unwrap().domains, [HostPattern::Any]);
}

mod random {
    use super::*;
    use proptest::{prelude::*, sample::select};

    const HOSTS: [&str; 10] = [
        "a",
        "b",
        "a.blue",
        "a.blue.svc.cluster.local",
        "'*.blue.svc.cluster.local'",
        "x.com",
        "'*.com'",
        "'*.x.com'",
        "B.X.com",
        "10.0.0.1",
    ];
    const NAMESPACES: [&str; 3] = ["default", "blue", "istio-system"];
    const PORTS: [&str; 6] = ["http", "tcp", "tls", "grpc", "web", "https"];

    fn host() -> impl Strategy<Value = &'static str> {
        select(&HOSTS[..])
    }

    fn number() -> impl Strategy<Value = u16> {
        select(&[80u16, 81, 443][..])
    }

    fn destination() -> impl Strategy<Value = String> {
        (host(), proptest::option::of(number()), proptest::option::of(select(&["v1", "v2"][..]))).prop_map(
            |(host, port, subset)| {
                let port = port.map_or(String::new(), |port| format!(", port: {{number: {port}}}"));
                let subset = subset.map_or(String::new(), |subset| format!(", subset: {subset}"));
                format!("{{host: {host}{port}{subset}}}")
            },
        )
    }

    fn condition() -> impl Strategy<Value = String> {
        let fields = select(
            &[
                "uri: {prefix: /}",
                "uri: {prefix: /a}",
                "uri: {exact: /a/b}",
                "uri: {regex: '/a.*'}",
                "method: {exact: GET}",
                "headers: {x: {exact: y}}",
                "port: 80",
                "gateways: [mesh]",
                "gateways: [g, blue/g]",
                "sourceLabels: {app: web}",
            ][..],
        );
        proptest::collection::btree_set(fields, 1..3).prop_map(|fields| {
            let mut keys = HashSet::new();
            let fields: Vec<_> =
                fields.into_iter().filter(|f| keys.insert(f.split(':').next().unwrap_or(f))).collect();
            format!("{{{}}}", fields.join(", "))
        })
    }

    fn http_rule() -> impl Strategy<Value = String> {
        let conditions = proptest::collection::vec(condition(), 0..3);
        let splits = proptest::collection::vec((destination(), 0u32..3), 1..3);
        let extra = select(
            &[
                "",
                ", rewrite: {uri: /new}",
                ", timeout: 1s",
                ", retries: {attempts: 0}",
                ", fault: {abort: {httpStatus: 500, percentage: {value: 10}}}",
                ", mirror: {host: b}",
                ", headers: {request: {set: {Host: h}}}",
            ][..],
        );
        (conditions, splits, extra, 0u8..6).prop_map(|(conditions, splits, extra, kind)| {
            let conditions = conditions.join(", ");
            match kind {
                0 => format!("  - {{match: [{conditions}], redirect: {{uri: /r}}}}\n"),
                1 => format!("  - {{match: [{conditions}], delegate: {{name: d}}}}\n"),
                2 => format!("  - {{match: [{conditions}], directResponse: {{status: 200}}}}\n"),
                _ => {
                    let splits =
                        splits.iter().map(|(to, weight)| format!("{{destination: {to}, weight: {weight}}}"));
                    let splits = splits.collect::<Vec<_>>().join(", ");
                    format!("  - {{match: [{conditions}], route: [{splits}]{extra}}}\n")
                }
            }
        })
    }

    fn virtual_service() -> impl Strategy<Value = String> {
        let hosts = proptest::collection::btree_set(host(), 0..3);
        let gateways = select(&["[]", "[mesh]", "[g]", "[mesh, blue/g]"][..]);
        let http = proptest::collection::vec(http_rule(), 0..4);
        (select(&NAMESPACES[..]), select(&["d", "v", "w"][..]), hosts, gateways, http, destination(), any::<bool>()).prop_map(
            |(namespace, name, hosts, gateways, http, to, bytes)| {
                let hosts = hosts.into_iter().collect::<Vec<_>>().join(", ");
                let mut spec = format!("  hosts: [{hosts}]\n  gateways: {gateways}\n  http:\n{}", http.concat());
                if http.is_empty() {
                    spec.truncate(spec.len() - "  http:\n".len());
                }
                if bytes {
                    spec += &format!("  tls: [{{match: [{{sniHosts: [b.x.com, '*.com']}}], route: [{{destination: {to}}}]}}]\n");
                    spec += &format!("  tcp: [{{match: [{{port: 81}}], route: [{{destination: {to}}}]}}]\n");
                }
                istio("VirtualService", namespace, name, &spec)
            },
        )
    }

    fn others() -> impl Strategy<Value = String> {
        let port = (select(&PORTS[..]), number());
        let service_kind = (select(&NAMESPACES[..]), select(&["a", "b"][..]), port, any::<bool>()).prop_map(
            |(namespace, name, (port, number), selects)| {
                let text = service(namespace, name, &[(port, number), ("http-more", 8080)]);
                if selects { text.replace("spec:", "spec:\n  selector: {app: web}") } else { text }
            },
        );
        let resolution = select(&["NONE", "DNS", "DNS_ROUND_ROBIN", "STATIC", "DYNAMIC_DNS"][..]);
        let entry = (select(&NAMESPACES[..]), host(), number(), resolution, any::<bool>()).prop_map(
            |(namespace, host, number, resolution, address)| {
                let address = if address { "  addresses: [10.9.9.9]\n" } else { "" };
                let protocol = if number == 80 { "HTTP" } else { "TLS" };
                istio(
                    "ServiceEntry",
                    namespace,
                    "e",
                    &format!("  hosts: [{host}]\n{address}  resolution: {resolution}\n  ports: [{{number: {number}, name: p, protocol: {protocol}}}]"),
                )
            },
        );
        let rule = (select(&NAMESPACES[..]), host(), number(), any::<bool>()).prop_map(|(namespace, host, port, private)| {
            let export = if private { "  exportTo: ['.']\n" } else { "" };
            istio(
                "DestinationRule",
                namespace,
                "r",
                &format!("  host: {host}\n{export}  subsets: [{{name: v1, labels: {{version: v1}}}}]\n  trafficPolicy: {{portLevelSettings: [{{port: {{number: {port}}}, loadBalancer: {{consistentHash: {{useSourceIp: true}}}}}}]}}"),
            )
        });
        let gateway = (select(&NAMESPACES[..]), host(), number(), select(&["HTTP", "TCP", "TLS"][..])).prop_map(
            |(namespace, host, number, protocol)| {
                let tls = if protocol == "TLS" { ", tls: {mode: PASSTHROUGH}" } else { "" };
                istio("Gateway", namespace, "g", &format!("  servers:\n  - {{port: {{number: {number}, name: n, protocol: {protocol}}}, hosts: [{host}, '*']{tls}}}"))
            },
        );
        let imports = select(&["*/*", "./*", "blue/*", "~/*", "*/a.blue.svc.cluster.local"][..]);
        let sidecar = (select(&NAMESPACES[..]), imports, number(), select(&["HTTP", "TCP", "HTTP_PROXY", "TLS"][..])).prop_map(
            |(namespace, imports, number, protocol)| {
                istio(
                    "Sidecar",
                    namespace,
                    "s",
                    &format!("  egress:\n  - {{port: {{number: {number}, name: p, protocol: {protocol}}}, bind: 127.0.0.5, hosts: ['{imports}']}}\n  - hosts: ['{imports}']"),
                )
            },
        );
        prop_oneof![service_kind, entry, rule, gateway, sidecar]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..Default::default() })]

        /// Whatever parses is lowered, soundly ([`lowered_for`] asserts it), and twice the same.
        #[test]
        fn whatever_parses_is_lowered(
            rules in proptest::collection::vec(virtual_service(), 0..4),
            others in proptest::collection::vec(others(), 0..8),
            web in any::<bool>(),
        ) {
            let node = node("default", if web { "app=web" } else { "" });
            let yaml = rules.concat() + &others.concat();
            let first = lowered_for(&node, &yaml);
            let again = lowered_for(&node, &yaml);
            prop_assert_eq!(format!("{:?}", first.ir), format!("{:?}", again.ir));
            prop_assert_eq!(first.diagnostics, again.diagnostics);
        }
    }
}

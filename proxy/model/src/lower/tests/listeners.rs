//! R20, R21, R25, and the outbound and inbound listeners.

use super::*;
use crate::ir::{Direction, ListenAddress};

fn entry(host: &str, more: &str) -> String {
    istio(
        "ServiceEntry",
        "default",
        &host.replace('*', "all"),
        &format!("  hosts: ['{host}']\n  resolution: DNS\n{more}"),
    )
}

fn rules(spec: &str) -> String {
    istio("VirtualService", "default", "v", spec)
}

#[test]
fn captured_connections_that_nobody_declared_go_on_as_the_policies_have_it() {
    let captured = |yaml: &str, name: &str| -> Vec<String> {
        let ir = lowered_for(&node("default", "app=own"), yaml).ir;
        let chains = listener(&ir, name).filter_chains.iter().filter(|chain| chain.matches.captured);
        let line = |chain: &crate::ir::FilterChain| {
            let opened = if chain.tls.is_some() { " opened" } else { "" };
            match &chain.filter {
                NetworkFilter::Http(http) => format!("http{opened} {}", http.route_configuration),
                NetworkFilter::Tcp(tcp) => format!("bytes{opened} {}", tcp.clusters[0].cluster),
            }
        };
        chains.map(line).collect()
    };
    assert_eq!(captured("", "virtualOutbound"), ["bytes PassthroughCluster"]);
    let closed = "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n";
    assert_eq!(captured(closed, "virtualOutbound"), ["bytes BlackHoleCluster"]);
    let passed = "InboundPassthroughCluster";
    assert_eq!(captured("", "virtualInbound"), [format!("http {passed}"), format!("bytes {passed}")]);
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: STRICT}}\n";
    let expected = [format!("http opened {passed}"), format!("bytes opened {passed}")];
    assert_eq!(captured(strict, "virtualInbound"), expected, "and nothing in plain text");
}

#[test]
fn r21_ports_become_chains_by_what_they_are_declared_to_be() {
    let yaml = service("default", "a", &[("http", 80), ("tcp", 90), ("tls", 443), ("web", 70), ("udp", 5)])
        .replace("{name: udp, port: 5}", "{name: udp, port: 5, protocol: UDP}");
    let ir = lowered(&yaml).ir;
    let to = |port: u16| format!("tcp 1 outbound|{port}||a.default.svc.cluster.local");
    assert_eq!(
        chains(&ir, "virtualOutbound"),
        [
            "70 detected -> http 70".to_owned(),
            format!("70 -> {}", to(70)),
            "80 -> http 80".into(),
            format!("90 -> {}", to(90)),
            format!("443 -> {}", to(443)),
            "default -> http http_proxy".into(),
        ]
    );
    assert_eq!(table_names(&ir), ["70", "80", "InboundPassthroughCluster", "http_proxy"]);
    let connect = |port: u16| format!("CONNECT -> outbound|{port}||a.default.svc.cluster.local");
    assert_eq!(routes(&ir, "http_proxy", "a:90"), [connect(90)]);
    assert_eq!(routes(&ir, "http_proxy", "a:443"), [connect(443)]);
    assert_eq!(routes(&ir, "http_proxy", "a:70").len(), 2);
    assert_eq!(routes(&ir, "http_proxy", "a:80")[1], connect(80));
    assert!(host(&ir, "http_proxy", "a:5").is_none());
    let outbound = listener(&ir, "virtualOutbound");
    assert_eq!(
        (outbound.direction, outbound.address.to_string()),
        (Direction::Outbound, "127.0.0.1:15001".to_owned())
    );
}

#[test]
fn r21_a_service_entry_is_known_by_its_protocol_field_only() {
    let ports = "  ports: [{number: 80, name: http-x}, {number: 81, name: tcp-x, protocol: GRPC}]";
    let ir = lowered(&entry("a.com", ports)).ir;
    assert_eq!(
        chains(&ir, "virtualOutbound")[..3],
        ["80 detected -> http 80", "80 -> tcp 1 outbound|80||a.com", "81 -> http 81"]
    );
}

#[test]
fn virtual_addresses_tell_services_of_one_port_apart() {
    let port =
        |protocol: &str| format!("  ports: [{{number: 90, name: p, protocol: {protocol}}}]\n  addresses: [");
    let yaml = entry("a.com", &(port("TCP") + "10.0.0.1]"))
        + &entry("b.com", &(port("TCP") + "10.0.0.2, 10.0.0.3]"))
        + &entry("c.com", "  ports: [{number: 90, name: p, protocol: HTTP}]")
        + &entry("d.com", "  ports: [{number: 90, name: p, protocol: TCP}]")
        + &entry("e.com", "  ports: [{number: 90, name: p, protocol: TCP}]");
    assert_eq!(
        chains(&lowered(&yaml).ir, "virtualOutbound"),
        [
            "90 detected -> http 90",
            "90 [10.0.0.1/32] -> tcp 1 outbound|90||a.com",
            "90 [10.0.0.2/32, 10.0.0.3/32] -> tcp 1 outbound|90||b.com",
            "90 -> tcp 1 outbound|90||d.com",
            "default -> http http_proxy",
        ]
    );
}

#[test]
fn r25_server_names_before_tcp_rules_before_the_service() {
    let yaml = entry("*.a.com", "  ports: [{number: 443, name: tls, protocol: TLS}]").replace("DNS", "NONE")
        + &entry("x.com", "  ports: [{number: 443, name: tls, protocol: TLS}]")
        + &rules(
            "
  hosts: ['*.a.com', x.com]
  tls:
  - match: [{sniHosts: ['*.a.com', other.org], port: 443}]
    route: [{destination: {host: x.com}, weight: 3}, {destination: {host: '*.a.com'}, weight: 1}]
  - match: [{sniHosts: [one.a.com]}, {sniHosts: ['*.a.com']}, {sniHosts: [two.a.com], port: 444}]
    route: [{destination: {host: x.com}}]
  tcp:
  - match: [{destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: y.com}}]
  - route: [{destination: {host: z.com}}]
  - route: [{destination: {host: never.com}}]",
        );
    let lowered = lowered(&yaml);
    let split = "3 outbound|443||x.com, 1 outbound|443||*.a.com";
    assert_eq!(
        chains(&lowered.ir, "virtualOutbound"),
        [
            format!("443 sni=*.a.com Tls -> tcp {split}"),
            "443 sni=one.a.com Tls -> tcp 1 outbound|443||x.com".into(),
            r#"443 [10.0.0.0/8] -> tcp 1 outbound|443||y.com"#.into(),
            "443 -> tcp 1 outbound|443||z.com".into(),
            "default -> http http_proxy".into(),
        ]
    );
    // By name alone: the server name is the host.
    assert_eq!(routes(&lowered.ir, "http_proxy", "*.a.com:443"), [format!("CONNECT -> {split}")]);
    assert_eq!(routes(&lowered.ir, "http_proxy", "x.com:443"), ["CONNECT -> outbound|443||z.com"]);
    assert!(!cluster_names(&lowered.ir).contains(&"outbound|443||never.com"));
    assert_note(&lowered, "SDL0601", "`other.org` is not covered");
}

#[test]
fn r25_tcp_rules_split_and_are_ignored_for_http_ports() {
    let spec = |port: &str| {
        format!(
            "\n  hosts: [a]\n  tcp:\n  - match: [{{port: {port}}}]\n    route: [{{destination: {{host: b}}, weight: 1}}, {{destination: {{host: a}}, weight: 2}}]\n  - match: [{{port: {port}}}]\n    route: [{{destination: {{host: never}}}}]"
        )
    };
    let a = service("default", "a", &[("http", 80), ("tcp", 90)]);
    let to = |port: u16| {
        format!(
            "1 outbound|{port}||b.default.svc.cluster.local, 2 outbound|{port}||a.default.svc.cluster.local"
        )
    };
    let good = lowered(&(a.clone() + &rules(&spec("90"))));
    assert!(chains(&good.ir, "virtualOutbound").contains(&format!("90 -> tcp {}", to(90))));
    assert_eq!(routes(&good.ir, "http_proxy", "a:90"), [format!("CONNECT -> {}", to(90))]);
    assert!(
        !cluster_names(&good.ir).iter().any(|name| name.contains("never")),
        "the first rule takes everything"
    );
    let ignored = lowered(&(a + &rules(&spec("80"))));
    assert_eq!(
        routes(&ignored.ir, "http_proxy", "a:80")[1],
        "CONNECT -> outbound|80||a.default.svc.cluster.local"
    );
    let told = notes(&ignored)
        .iter()
        .filter(|note| note.contains("Service default/a declares these ports as HTTP"))
        .count();
    assert_eq!(told, 2, "one for each rule");
}

#[test]
fn rules_for_a_kind_of_port_that_is_not_there_are_told_of() {
    let yaml = service("default", "a", &[("tcp", 90)])
        + &rules("\n  hosts: [a]\n  http: [{route: [{destination: {host: a}}]}]");
    assert_note(&lowered(&yaml), "SDL0601", "has no HTTP port");
}

#[test]
fn tcp_rules_alone_serve_a_host_that_no_service_has() {
    let yaml = rules(
        "\n  hosts: [db.example.com]\n  tcp: [{match: [{port: 5432}], route: [{destination: {host: db.example.com, port: {number: 6432}}}]}]",
    );
    let ir = lowered(&yaml).ir;
    assert_eq!(
        routes(&ir, "http_proxy", "db.example.com:5432"),
        ["CONNECT -> outbound|6432||db.example.com"]
    );
}

const TWO: &str = "
  egress:
  - hosts: ['./*', 'blue/b.blue.svc.cluster.local', 'green/*', '~green/*']";

fn services() -> String {
    service("default", "a", &[("http", 80)])
        + &service("blue", "b", &[("http", 80), ("tcp", 90)])
        + &service("blue", "c", &[("http", 80)])
        + &service("green", "d", &[("http", 80)])
}

fn served(ir: &Ir, table_name: &str) -> Vec<String> {
    table(ir, table_name).virtual_hosts.iter().map(|host| host.name.to_string()).collect()
}

#[test]
fn r20_imports_limit_services_and_rules() {
    let sidecar = istio("Sidecar", "default", "s", TWO);
    let ir = lowered(&(services() + &sidecar)).ir;
    assert_eq!(
        served(&ir, "80"),
        ["a.default.svc.cluster.local:80", "b.blue.svc.cluster.local:80", "allow_any"]
    );
    assert!(!cluster_names(&ir).contains(&"outbound|80||c.blue.svc.cluster.local"));
    let rule = |namespace: &str, host: &str| {
        istio(
            "VirtualService",
            namespace,
            "v",
            &format!(
                "\n  hosts: [{host}]\n  http: [{{route: [{{destination: {{host: d.green.svc.cluster.local}}}}]}}]"
            ),
        )
    };
    let imported = lowered(&(services() + &sidecar + &rule("blue", "b"))).ir;
    assert_eq!(http_routes(&imported, "80", "b.blue"), ["any -> outbound|80||d.green.svc.cluster.local"]);
    assert!(
        served(&imported, "80").contains(&"d.green.svc.cluster.local:80".into()),
        "pulled in by the rule"
    );
    let invisible = lowered(&(services() + &sidecar + &rule("green", "a.default.svc.cluster.local"))).ir;
    assert_eq!(http_routes(&invisible, "80", "a"), ["any -> outbound|80||a.default.svc.cluster.local"]);
}

#[test]
fn r20_which_sidecar_holds() {
    let sidecar = |namespace: &str, name: &str, more: &str, host: &str| {
        istio("Sidecar", namespace, name, &format!("{more}\n  egress: [{{hosts: ['{host}']}}]"))
    };
    let root = sidecar("istio-system", "root", "", "green/*");
    let of_namespace = sidecar("default", "ns", "", "blue/c.blue.svc.cluster.local");
    let younger = sidecar("default", "younger", "", "*/*");
    let selected = sidecar("default", "sel", "  workloadSelector: {labels: {app: web}}", "./*");
    let nothing = sidecar("default", "none", "", "~/*");
    let web = node("default", "app=web");
    let db = node("default", "app=db");
    for (node, yaml, expected) in [
        (&web, [&root, &of_namespace, &selected], vec!["a.default"]),
        (&db, [&root, &of_namespace, &selected], vec!["c.blue"]),
        (&db, [&of_namespace, &younger, &root], vec!["c.blue"]),
        (&db, [&root, &selected, &selected], vec!["d.green"]),
        (&db, [&nothing, &root, &root], vec![]),
    ] {
        let text = services() + &yaml.map(String::as_str).concat();
        let ir = lowered_for(node, &text).ir;
        let found: Vec<_> = match table_names(&ir).contains(&"80") {
            true => served(&ir, "80"),
            false => Vec::new(),
        };
        let found: Vec<_> =
            found.iter().filter_map(|name| name.strip_suffix(".svc.cluster.local:80")).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn r20_what_happens_to_unknown_destinations() {
    let proxy = |mode: &str| {
        format!(
            "---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {{outboundTrafficPolicy: {{mode: {mode}}}}}\n"
        )
    };
    let sidecar =
        |policy: &str| istio("Sidecar", "default", "s", &format!("  outboundTrafficPolicy: {policy}"));
    for (yaml, expected) in [
        (String::new(), "PassthroughCluster"),
        (proxy("REGISTRY_ONLY"), "BlackHoleCluster"),
        (sidecar("{}"), "BlackHoleCluster"),
        (sidecar("{mode: ALLOW_ANY}") + &proxy("REGISTRY_ONLY"), "PassthroughCluster"),
        (
            sidecar("{mode: ALLOW_ANY, egressProxy: {host: a, port: {number: 80}}}"),
            "outbound|80||a.default.svc.cluster.local",
        ),
    ] {
        let ir = lowered(&(services() + &yaml)).ir;
        assert_eq!(
            routes(&ir, "http_proxy", "*"),
            [format!("any -> {expected}"), format!("CONNECT -> {expected}")]
        );
        assert_eq!(routes(&ir, "80", "*")[0], format!("any -> {expected}"));
    }
}

#[test]
fn r20_egress_ports_with_sockets_of_their_own() {
    let yaml = services()
        + &istio(
            "Sidecar",
            "default",
            "s",
            "
  egress:
  - {port: {number: 80, protocol: HTTP, name: a}, captureMode: NONE, hosts: ['./a.default.svc.cluster.local']}
  - {port: {number: 8080, protocol: HTTP, name: b}, bind: 127.0.0.2, hosts: ['./*', 'green/*']}
  - {port: {number: 90, protocol: TCP, name: c}, bind: 127.0.0.1, hosts: ['blue/b.blue.svc.cluster.local']}
  - {port: {number: 3128, protocol: HTTP_PROXY, name: d}, captureMode: NONE, hosts: ['blue/*']}
  - {port: {number: 99, protocol: TCP, name: e}, captureMode: NONE, hosts: ['~/*']}
  - hosts: ['green/*', './*']",
        );
    let lowered = lowered(&yaml);
    let ir = &lowered.ir;
    assert_eq!(chains(ir, "127.0.0.1_80"), ["default -> http 127.0.0.1_80"]);
    assert_eq!(routes(ir, "127.0.0.1_80", "*"), ["any -> outbound|80||a.default.svc.cluster.local"]);
    assert_eq!(
        served(ir, "127.0.0.2_8080"),
        ["a.default.svc.cluster.local:80", "d.green.svc.cluster.local:80", "allow_any"]
    );
    assert_eq!(listener(ir, "127.0.0.2_8080").address.to_string(), "127.0.0.2:8080");
    assert_eq!(chains(ir, "127.0.0.1_90"), ["default -> tcp 1 outbound|90||b.blue.svc.cluster.local"]);
    assert_eq!(
        routes(ir, "127.0.0.1_3128", "b.blue:90"),
        ["CONNECT -> outbound|90||b.blue.svc.cluster.local"]
    );
    assert!(!table(ir, "127.0.0.1_3128").ignore_port_in_host);
    assert!(chains(ir, "127.0.0.1_99").is_empty());
    assert_note(&lowered, "SDL0601", "no imported service has a port for this listener");
    // What has a port of its own is not served a second time.
    assert_eq!(served(ir, "http_proxy"), ["d.green.svc.cluster.local:80", "allow_any"]);
}

#[test]
fn inbound_ports_are_those_of_the_services_that_pick_the_node() {
    let own = service("default", "web", &[("http", 80)])
        .replace("spec:", "spec:\n  selector: {app: web}")
        .replace("port: 80", "port: 80, targetPort: 8080");
    let web = node("default", "app=web");
    let ir = lowered_for(&web, &own).ir;
    assert_eq!(chains(&ir, "virtualInbound"), ["8080 -> http inbound|8080||", "default -> http inbound"]);
    assert_eq!(endpoints(&ir, "inbound|8080||"), "static 127.0.0.1:8080");
    assert_eq!(cluster(&ir, "inbound|8080||").idle_timeout.unwrap().as_secs(), 3);
    for name in ["*", "web", "web.default:80"] {
        assert_eq!(routes(&ir, "inbound", name), ["any -> inbound|8080||"], "{name}");
    }
    let two = own.clone()
        + &own.replace("name: web,", "name: two,").replace("8080", "9090").replace("port: 80", "port: 81");
    let ir = lowered_for(&web, &two).ir;
    assert!(host(&ir, "inbound", "*").is_none());
    assert_eq!(routes(&ir, "inbound", "two"), ["any -> inbound|9090||"]);
    let tcp = own.replace("name: http", "name: tcp");
    assert_eq!(
        chains(&lowered_for(&web, &tcp).ir, "virtualInbound"),
        ["8080 -> tcp 1 inbound|8080||", "default -> tcp 1 inbound|8080||"]
    );
    let detected = own.replace("name: http", "name: web");
    assert_eq!(
        chains(&lowered_for(&web, &detected).ir, "virtualInbound"),
        [
            "8080 detected -> http inbound|8080||",
            "8080 -> tcp 1 inbound|8080||",
            "* detected -> http inbound",
            "default -> tcp 1 inbound|8080||",
        ]
    );
    assert!(chains(&lowered_for(&node("other", "app=web"), &own).ir, "virtualInbound").is_empty());
    let grpc = own.replace("name: http", "name: grpc");
    let ir = lowered_for(&web, &grpc).ir;
    let RouteAction::Forward(forward) = &host(&ir, "inbound", "web").unwrap().routes[0].action else {
        panic!()
    };
    assert_eq!(forward.retry, None, "R8: not for gRPC");
}

#[test]
fn a_named_target_port_is_found_in_the_nodes_own_template() {
    let own = service("default", "web", &[("http", 80)])
        .replace("spec:", "spec:\n  selector: {app: web}")
        .replace("port: 80", "port: 80, targetPort: main");
    let deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: i, ports: [{name: main, containerPort: 8081}]}]}\n";
    let web = node("default", "app=web");
    assert_eq!(
        endpoints(&lowered_for(&web, &(own.clone() + deployment)).ir, "inbound|8081||"),
        "static 127.0.0.1:8081"
    );
    let unknown = lowered_for(&web, &own);
    assert_eq!(endpoints(&unknown.ir, "inbound|80||"), "static 127.0.0.1:80");
    assert_note(&unknown, "SDL0603", "port named `main`");
}

#[test]
fn r20_ingress_replaces_the_ports_of_services() {
    let own = service("default", "web", &[("http", 80), ("http-b", 81)])
        .replace("spec:", "spec:\n  selector: {app: web}")
        .replace("port: 80", "port: 80, targetPort: 8080");
    let sidecar = istio(
        "Sidecar",
        "default",
        "s",
        "
  workloadSelector: {labels: {app: web}}
  inboundConnectionPool: {tcp: {maxConnections: 5}}
  ingress:
  - {port: {number: 8080, protocol: HTTP, name: a}, defaultEndpoint: '127.0.0.1:9000'}
  - {port: {number: 8443, protocol: TCP, name: b}, captureMode: NONE, defaultEndpoint: 'unix:///run/app.sock'}
  - {port: {number: 7000, protocol: HTTP, name: c}, bind: 127.0.0.1, connectionPool: {tcp: {maxConnections: 6}}, defaultEndpoint: '0.0.0.0:7001'}",
    );
    let lowered = lowered_for(&node("default", "app=web"), &(own + &sidecar));
    let ir = &lowered.ir;
    assert_eq!(chains(ir, "virtualInbound"), ["8080 -> http inbound|8080||", "default -> http inbound"]);
    assert_eq!(endpoints(ir, "inbound|8080||"), "static 127.0.0.1:9000");
    assert_eq!(routes(ir, "inbound", "web"), ["any -> inbound|8080||"]);
    assert_eq!(chains(ir, "0.0.0.0_8443"), ["default -> tcp 1 inbound|8443||"]);
    assert_eq!(endpoints(ir, "inbound|8443||"), "static unix:///run/app.sock");
    assert_eq!(chains(ir, "127.0.0.1_7000"), ["default -> http 127.0.0.1_7000"]);
    assert_eq!(endpoints(ir, "inbound|7000||"), "static 127.0.0.1:7001");
    assert_eq!(listener(ir, "127.0.0.1_7000").direction, Direction::Inbound);
    let limit = |name: &str| cluster(ir, name).limits.max_connections;
    assert_eq!([limit("inbound|8080||"), limit("inbound|7000||")], [5, 6]);
}

#[test]
fn r24_inbound_bounds_come_from_the_sidecar_then_from_the_services_own_rule() {
    let own = service("default", "web", &[("http", 80)]).replace("spec:", "spec:\n  selector: {app: web}");
    let rule = istio(
        "DestinationRule",
        "default",
        "r",
        "  host: web\n  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}",
    );
    let sidecar = istio("Sidecar", "default", "s", "  inboundConnectionPool: {tcp: {maxConnections: 8}}");
    let limit = |yaml: &str| {
        let ir = lowered_for(&node("default", "app=web"), yaml).ir;
        cluster(&ir, "inbound|80||").limits.max_connections
    };
    let (without, with) = (own.clone() + &rule, own + &rule + &sidecar);
    assert_eq!([limit(&without), limit(&with)], [7, 8]);
}

#[test]
fn a_proxy_resource_moves_the_listeners() {
    let proxy = "---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {outbound: '127.0.0.1:1', inbound: '[::1]:2', admin: '127.0.0.1:3', protocolDetectionTimeout: 1s, rootNamespace: mesh}\n";
    let ir = lowered(proxy).ir;
    assert_eq!(
        listener(&ir, "virtualOutbound").address,
        ListenAddress::Socket("127.0.0.1:1".parse().unwrap())
    );
    assert_eq!(listener(&ir, "virtualInbound").address, ListenAddress::Socket("[::1]:2".parse().unwrap()));
    assert_eq!(ir.settings.admin.port(), 3);
    assert_eq!(listener(&ir, "virtualOutbound").detection_timeout.as_secs(), 1);
    assert_eq!(ir.node.root_namespace, "mesh");
}

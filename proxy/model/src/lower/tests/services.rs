//! Services, endpoints and resolutions.

use super::*;

fn pod(name: &str, labels: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {labels}}}\n{more}\n"
    )
}

pub(super) fn kubernetes(kind: &str, version: &str, name: &str, body: &str) -> String {
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {name}\n{body}\n")
}

fn web(spec: &str) -> String {
    kubernetes("Service", "v1", "{name: web, namespace: default}", &format!("spec: {spec}"))
}

const WEB: &str = "outbound|80||web.default.svc.cluster.local";

#[test]
fn pods_and_workload_entries_that_the_selector_picks() {
    let yaml = web("{selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}]}")
        + &pod(
            "web-5d4f-a",
            "{app: web, version: v1, pod-template-hash: 5d4f}",
            "spec: {containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}\nstatus: {podIP: 10.0.0.1}",
        )
        + &pod(
            "b",
            "{app: web}",
            "spec: {containers: [{name: c, ports: [{name: other, containerPort: 8080}]}]}\nstatus: {podIP: 10.0.0.2}",
        )
        + &pod(
            "c",
            "{app: web}",
            "spec: {containers: [{name: c, ports: [{name: web, containerPort: 1}]}]}\nstatus: {podIP: 10.0.0.3, phase: Pending}",
        )
        + &pod("d", "{app: db}", "status: {podIP: 10.0.0.4}")
        + &istio(
            "WorkloadEntry",
            "default",
            "vm",
            "  address: 10.0.0.5\n  labels: {app: web}\n  ports: {http: 9090}\n  weight: 3\n  locality: r/z",
        )
        + &istio("WorkloadEntry", "default", "vm2", "  address: 10.0.0.6\n  labels: {app: web}")
        + &istio("WorkloadEntry", "other", "vm3", "  address: 10.0.0.7\n  labels: {app: web}");
    let ir = lowered(&yaml).ir;
    assert_eq!(endpoints(&ir, WEB), "static 10.0.0.1:8080 10.0.0.5:9090 10.0.0.6:80");
    let Discovery::Static(endpoints) = &cluster(&ir, WEB).discovery else { panic!() };
    assert_eq!(endpoints[0].workload.name, "web-5d4f-a".split("-5d4f").next().unwrap());
    assert_eq!(endpoints[0].workload.service_account, "default");
    assert_eq!(
        (endpoints[1].weight, &*endpoints[1].locality, &*endpoints[1].workload.name),
        (3, "r/z", "vm")
    );
}

#[test]
fn slices_beat_endpoints_beat_pods_and_workload_entries_add() {
    let service = web("{selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}");
    let pod = pod("p", "{app: web, version: v1}", "status: {podIP: 10.0.0.1}");
    let entry = istio("WorkloadEntry", "default", "vm", "  address: 10.0.0.9\n  labels: {app: web}");
    let list = kubernetes(
        "Endpoints",
        "v1",
        "{name: web, namespace: default}",
        "subsets: [{addresses: [{ip: 10.0.0.1, targetRef: {kind: Pod, name: p}}, {ip: 10.0.0.2}], notReadyAddresses: [{ip: 10.0.0.3}], ports: [{name: http, port: 8080}, {name: admin, port: 1}]}]",
    );
    let slice = |name: &str, address: &str, ready: &str| {
        kubernetes(
            "EndpointSlice",
            "discovery.k8s.io/v1",
            &format!("{{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: web}}}}"),
            &format!(
                "addressType: IPv4\nendpoints: [{{addresses: [{address}, 10.9.9.9], conditions: {{ready: {ready}}}, zone: z}}]\nports: [{{name: http, port: 8080}}]"
            ),
        )
    };
    let slices = slice("a", "10.1.0.1", "true")
        + &slice("b", "10.1.0.2", "true")
        + &slice("c", "10.1.0.1", "true")
        + &slice("d", "10.1.0.3", "false");
    for (yaml, expected) in [
        (service.clone() + &pod, "static 10.0.0.1:8080"),
        (service.clone() + &pod + &list, "static 10.0.0.1:8080 10.0.0.2:8080"),
        (service.clone() + &pod + &list + &slices, "static 10.1.0.1:8080 10.1.0.2:8080"),
        (
            service.clone() + &pod + &list + &slices + &entry,
            "static 10.1.0.1:8080 10.1.0.2:8080 10.0.0.9:8080",
        ),
    ] {
        assert_eq!(endpoints(&lowered(&yaml).ir, WEB), expected);
    }
    let ir = lowered(&(service + &pod + &list)).ir;
    let Discovery::Static(endpoints) = &cluster(&ir, WEB).discovery else { panic!() };
    assert_eq!(endpoints[0].workload.labels.get("version").map(String::as_str), Some("v1"));
    assert_eq!(endpoints[1].workload.name, "unknown");
}

#[test]
fn not_ready_addresses_count_where_the_service_publishes_them() {
    let service =
        web("{publishNotReadyAddresses: true, selector: {app: web}, ports: [{name: http, port: 80}]}");
    let pod =
        pod("p", "{app: web}", "status: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]}");
    assert_eq!(endpoints(&lowered(&(service + &pod)).ir, WEB), "static 10.0.0.1:80");
}

#[test]
fn a_service_that_nothing_gives_endpoints_is_resolved_or_empty() {
    let service = web("{selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}");
    let alone = lowered(&service);
    assert_eq!(endpoints(&alone.ir, WEB), "dns web:8080");
    assert_note(&alone, "SDL0605", "resolved by DNS");
    let described = lowered(&(service.clone() + &pod("p", "{app: db}", "status: {podIP: 10.0.0.1}")));
    assert_eq!(endpoints(&described.ir, WEB), "static");
    assert_note(&described, "SDL0604", "has no endpoints");
    let foreign = lowered_for(&node("blue", ""), &service);
    assert_eq!(endpoints(&foreign.ir, WEB), "dns web.default:8080");
}

#[test]
fn external_names_headless_services_and_exports() {
    let yaml = web("{type: ExternalName, externalName: db.example.com, ports: [{name: http, port: 80}]}")
        + &kubernetes(
            "Service",
            "v1",
            "{name: pets, namespace: default}",
            "spec: {clusterIP: None, ports: [{name: http, port: 80}]}",
        )
        + &kubernetes(
            "Service",
            "v1",
            "{name: own, namespace: blue, annotations: {networking.istio.io/exportTo: 'green,.'}}",
            "spec: {ports: [{name: http, port: 80}]}",
        )
        + &istio(
            "VirtualService",
            "default",
            "v",
            "  hosts: [web]\n  http: [{route: [{destination: {host: own.blue.svc.cluster.local}}]}]",
        );
    let lowered = lowered(&yaml);
    assert_eq!(endpoints(&lowered.ir, WEB), "dns db.example.com:80");
    assert!(host(&lowered.ir, "80", "*.pets.default.svc.cluster.local").is_some());
    assert!(host(&lowered.ir, "80", "own.blue").is_none());
    assert_eq!(endpoints(&lowered.ir, "outbound|80||own.blue.svc.cluster.local"), "none");
    assert_note(&lowered, "SDL0606", "Service blue/own exists but is not exported");
    assert!(host(&lowered_for(&node("green", ""), &yaml).ir, "80", "own.blue").is_some());
}

fn entry(name: &str, spec: &str) -> String {
    istio("ServiceEntry", "default", name, spec)
}

#[test]
fn resolutions_of_service_entries() {
    let ports = "  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]\n";
    let inline = "  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, ports: {http: 1}, weight: 5}, {address: 10.0.0.1}]";
    for (spec, name, expected) in [
        (format!("  hosts: [a.com]\n{ports}"), "a.com", "original"),
        (format!("  hosts: [a.com]\n{ports}  resolution: DNS"), "a.com", "dns a.com:8080"),
        (format!("  hosts: [a.com]\n{ports}  resolution: DNS_ROUND_ROBIN"), "a.com", "logical a.com:8080"),
        (
            format!("  hosts: [a.com]\n{ports}  resolution: STATIC\n{inline}"),
            "a.com",
            "static 10.0.0.1:8080 10.0.0.2:1",
        ),
        (
            format!(
                "  hosts: [a.com]\n{ports}  resolution: DNS\n  endpoints: [{{address: B.com}}, {{address: 10.0.0.1}}]"
            ),
            "a.com",
            "dns b.com:8080 10.0.0.1:8080",
        ),
        (
            format!(
                "  hosts: [a.com]\n{ports}  resolution: DNS_ROUND_ROBIN\n  endpoints: [{{address: b.com}}]"
            ),
            "a.com",
            "logical b.com:8080",
        ),
        (format!("  hosts: ['*.a.com']\n{ports}  resolution: NONE"), "*.a.com", "original"),
        (format!("  hosts: ['*.a.com']\n{ports}  resolution: DYNAMIC_DNS"), "*.a.com", "forward"),
        (
            format!(
                "  hosts: [a.com]\n{ports}  resolution: STATIC\n  endpoints: [{{address: 'unix:///run/a.sock'}}]"
            ),
            "a.com",
            "static unix:///run/a.sock",
        ),
        (format!("  hosts: [a.com]\n{ports}  resolution: STATIC"), "a.com", "static"),
    ] {
        let lowered = lowered(&entry("e", &spec));
        assert_eq!(endpoints(&lowered.ir, &format!("outbound|80||{name}")), expected, "{spec}");
    }
    assert_note(
        &lowered(&entry("e", &format!("  hosts: [a.com]\n{ports}  resolution: STATIC"))),
        "SDL0604",
        "without",
    );
}

#[test]
fn a_workload_selector_picks_entries_of_its_namespace() {
    let yaml = entry(
        "e",
        "  hosts: [a.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n  workloadSelector: {labels: {app: a}}",
    ) + &istio(
        "WorkloadEntry",
        "default",
        "w1",
        "  address: 10.0.0.1\n  labels: {app: a, version: v1}",
    ) + &istio(
        "WorkloadEntry",
        "default",
        "w2",
        "  address: 10.0.0.2\n  labels: {app: a, version: v2}",
    ) + &istio("WorkloadEntry", "blue", "w3", "  address: 10.0.0.3\n  labels: {app: a}")
        + &istio(
            "DestinationRule",
            "default",
            "d",
            "  host: a.com\n  subsets: [{name: v2, labels: {version: v2}}, {name: all}]",
        );
    let ir = lowered(&yaml).ir;
    assert_eq!(endpoints(&ir, "outbound|80||a.com"), "static 10.0.0.1:80 10.0.0.2:80");
    assert_eq!(endpoints(&ir, "outbound|80|v2|a.com"), "static 10.0.0.2:80");
    assert_eq!(endpoints(&ir, "outbound|80|all|a.com"), "static 10.0.0.1:80 10.0.0.2:80");
    assert_eq!(&*cluster(&ir, "outbound|80|v2|a.com").subset, "v2");
}

#[test]
fn entries_of_one_host_add_their_ports_and_the_clients_namespace_comes_first() {
    let port = |number: u16, to: &str| {
        format!(
            "  hosts: [a.com]\n  ports: [{{number: {number}, name: http-{number}, protocol: HTTP}}]\n  resolution: STATIC\n  endpoints: [{{address: {to}}}]"
        )
    };
    let yaml = istio("ServiceEntry", "blue", "x", &port(80, "10.0.0.9"))
        + &entry("a", &port(80, "10.0.0.1"))
        + &entry("b", &port(81, "10.0.0.2"))
        + &entry("c", &port(80, "10.0.0.3"));
    let ir = lowered(&yaml).ir;
    assert_eq!(endpoints(&ir, "outbound|80||a.com"), "static 10.0.0.1:80");
    assert_eq!(endpoints(&ir, "outbound|81||a.com"), "static 10.0.0.2:81");
    assert_eq!(
        endpoints(&lowered_for(&node("blue", ""), &yaml).ir, "outbound|80||a.com"),
        "static 10.0.0.9:80"
    );
}

#[test]
fn destinations_that_cannot_be_reached_exist_nevertheless() {
    let yaml = service("default", "a", &[("http", 80), ("http-b", 81)])
        + &istio(
            "VirtualService",
            "default",
            "v",
            "
  hosts: [a]
  http:
  - match: [{uri: {prefix: /port}}]
    route: [{destination: {host: a, port: {number: 99}}}]
  - match: [{uri: {prefix: /subset}}]
    route: [{destination: {host: a, subset: nope}}]
  - match: [{uri: {prefix: /dns}}]
    route: [{destination: {host: Api.Example.com, port: {number: 8443}}}]
  - match: [{uri: {prefix: /ip}}]
    route: [{destination: {host: 10.0.0.1}}]
  - route: [{destination: {host: a}}]",
        );
    let ir = lowered(&yaml).ir;
    for (name, expected) in [
        ("outbound|99||a.default.svc.cluster.local", "none"),
        ("outbound|81|nope|a.default.svc.cluster.local", "none"),
        ("outbound|8443||api.example.com", "dns api.example.com:8443"),
        ("outbound|81||10.0.0.1", "static 10.0.0.1:81"),
    ] {
        assert_eq!(endpoints(&ir, name), expected, "{name}");
    }
    // Without a port in the destination of a service with several, it is the port that was called.
    assert_eq!(http_routes(&ir, "81", "a").pop().unwrap(), "any -> outbound|81||a.default.svc.cluster.local");
    assert_eq!(http_routes(&ir, "80", "a").pop().unwrap(), "any -> outbound|80||a.default.svc.cluster.local");
}

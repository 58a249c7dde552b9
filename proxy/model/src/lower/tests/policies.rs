//! R5, R6, R7, R14, R15, R17, R24: which DestinationRule holds, and what it does to a cluster.

use super::*;
use crate::ir::{HashPolicy, HealthAsk, LoadBalancer, UpstreamProtocol};

const A: &str = "outbound|80||a.blue.svc.cluster.local";

fn a() -> String {
    service("blue", "a", &[("http", 80)])
}

/// A rule of which `maxConnections` tells which one it was.
fn rule(namespace: &str, name: &str, host: &str, connections: u32, more: &str) -> String {
    let spec = format!(
        "  host: '{host}'\n  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}\n{more}"
    );
    istio("DestinationRule", namespace, name, &spec)
}

fn winner(node: &Node, rules: &[String]) -> u32 {
    cluster(&lowered_for(node, &(a() + &rules.concat())).ir, A).limits.max_connections
}

#[test]
fn r5_client_then_service_then_root_namespace() {
    let client = rule("default", "c", "a.blue.svc.cluster.local", 1, "");
    let service = rule("blue", "s", "a", 2, "");
    let root = rule("istio-system", "r", "*.svc.cluster.local", 3, "");
    let private = rule("blue", "p", "a", 4, "  exportTo: ['.']");
    let node = node("default", "");
    assert_eq!(winner(&node, &[root.clone(), service.clone(), client]), 1);
    assert_eq!(winner(&node, &[root.clone(), service]), 2);
    assert_eq!(winner(&node, &[root.clone(), private]), 3);
    assert_eq!(winner(&node, &[root]), 3);
    assert_eq!(winner(&node, &[]), 1024);
}

#[test]
fn r5_the_first_stop_wins_whole_and_inside_it_the_most_specific_host() {
    let wide = rule("default", "w", "*.blue.svc.cluster.local", 1, "");
    let wider = rule("default", "v", "*.svc.cluster.local", 2, "");
    let owner = rule("blue", "s", "a", 3, "  subsets: [{name: v1, labels: {version: v1}}]");
    let lowered = lowered(&(a() + &wider + &wide + &owner));
    assert_eq!(cluster(&lowered.ir, A).limits.max_connections, 1);
    assert!(!cluster_names(&lowered.ir).contains(&"outbound|80|v1|a.blue.svc.cluster.local"));
    let hidden = notes(&lowered)
        .into_iter()
        .filter(|note| note.contains("DestinationRule default/w (a.yaml:21)"))
        .count();
    assert_eq!(hidden, 2, "{:#?}", notes(&lowered));
}

#[test]
fn r5_a_client_in_the_root_namespace_sees_its_public_rules_last() {
    let node = node("istio-system", "");
    let public = rule("istio-system", "r", "a.blue.svc.cluster.local", 1, "");
    let private = rule("istio-system", "p", "a.blue.svc.cluster.local", 2, "  exportTo: ['.']");
    let owner = rule("blue", "s", "a", 3, "");
    assert_eq!(winner(&node, &[public.clone(), owner.clone()]), 3);
    assert_eq!(winner(&node, &[public.clone(), private, owner]), 2);
    assert_eq!(winner(&node, &[public]), 1);
}

#[test]
fn r5_a_workload_selector_is_for_its_own_clients_only() {
    let host = "a.blue.svc.cluster.local";
    let everybody = rule("default", "e", host, 1, "");
    let web = rule("default", "w", host, 2, "  workloadSelector: {matchLabels: {app: web}}");
    let foreign = rule("blue", "f", "a", 3, "  workloadSelector: {matchLabels: {app: web}}");
    assert_eq!(winner(&node("default", "app=web"), &[everybody.clone(), web.clone()]), 2);
    assert_eq!(winner(&node("default", "app=db"), &[everybody, web]), 1);
    assert_eq!(winner(&node("default", "app=web"), &[foreign]), 1024);
}

#[test]
fn r6_rules_of_one_host_and_namespace_are_merged() {
    let one =
        istio("DestinationRule", "blue", "one", "  host: a\n  subsets: [{name: v1, labels: {version: v1}}]");
    let two = rule("blue", "two", "a.blue.svc.cluster.local", 7, "  subsets: [{name: v1}, {name: v2}]");
    let three = rule("blue", "three", "a", 9, "");
    let lowered = lowered(&(a() + &one + &two + &three));
    assert_eq!(cluster(&lowered.ir, A).limits.max_connections, 7);
    assert_eq!(endpoints(&lowered.ir, "outbound|80|v1|a.blue.svc.cluster.local"), "static");
    assert_eq!(endpoints(&lowered.ir, "outbound|80|v2|a.blue.svc.cluster.local"), "dns a.blue:80");
    assert_note(&lowered, "SDL0602", "subset `v1` not applied");
    assert_note(&lowered, "SDL0602", "the older DestinationRule blue/one");
    assert_note(&lowered, "SDL0604", "subset `v1`");
}

#[test]
fn r7_blocks_replace_and_port_settings_replace_everything() {
    let spec = "
  host: a
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1}, http: {http2MaxRequests: 2}}
    loadBalancer: {simple: ROUND_ROBIN}
    retryBudget: {percent: 50}
    portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]
  subsets:
  - name: s
    trafficPolicy:
      connectionPool: {tcp: {maxConnections: 3}}
      loadBalancer: {simple: RANDOM}
      portLevelSettings: [{port: {number: 82}, connectionPool: {tcp: {maxConnections: 4}}}]";
    let ports = &[("http-a", 80), ("http-b", 81), ("http-c", 82)];
    let lowered = lowered(&(service("blue", "a", ports) + &istio("DestinationRule", "blue", "r", spec)));
    for (port, subset, connections, requests, balancer) in [
        (80, "", 1, 2, LoadBalancer::RoundRobin),
        (81, "", 1024, 1024, LoadBalancer::Random),
        (82, "", 1, 2, LoadBalancer::RoundRobin),
        (80, "s", 3, 1024, LoadBalancer::Random),
        (81, "s", 3, 1024, LoadBalancer::Random),
        (82, "s", 4, 1024, LoadBalancer::LeastRequest),
    ] {
        let cluster = cluster(&lowered.ir, &format!("outbound|{port}|{subset}|a.blue.svc.cluster.local"));
        let found = (cluster.limits.max_connections, cluster.limits.max_requests, &cluster.load_balancer);
        assert_eq!(found, (connections, requests, &balancer), "{}", cluster.name);
        assert_eq!(cluster.limits.retry_budget.map(|budget| budget.percent), Some(50.0));
        assert!(!cluster.limits.earned_retries);
    }
    assert_note(&lowered, "SDL0603", "in place of `connectionPool` from above");
}

fn with_policy(ports: &[(&str, u16)], policy: &str) -> Ir {
    let spec = format!("  host: a\n  trafficPolicy: {policy}");
    lowered(&(service("blue", "a", ports) + &istio("DestinationRule", "blue", "r", &spec))).ir
}

#[test]
fn r17_balancers() {
    for (policy, expected) in [
        ("{loadBalancer: {}}", LoadBalancer::LeastRequest),
        ("{loadBalancer: {simple: LEAST_CONN}}", LoadBalancer::LeastRequest),
        ("{loadBalancer: {simple: UNSPECIFIED}}", LoadBalancer::LeastRequest),
        ("{loadBalancer: {simple: RANDOM}}", LoadBalancer::Random),
        (
            "{loadBalancer: {consistentHash: {useSourceIp: true}}}",
            LoadBalancer::RingHash { minimum_ring_size: 1024 },
        ),
        (
            "{loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9}}}}",
            LoadBalancer::RingHash { minimum_ring_size: 9 },
        ),
        (
            "{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}}}}",
            LoadBalancer::Maglev { table_size: 65_537 },
        ),
    ] {
        assert_eq!(cluster(&with_policy(&[("http", 80)], policy), A).load_balancer, expected, "{policy}");
    }
    assert_eq!(
        endpoints(&with_policy(&[("http", 80)], "{loadBalancer: {simple: PASSTHROUGH}}"), A),
        "original"
    );
}

#[test]
fn r17_the_route_hashes_by_its_first_destination_and_keeps_its_host() {
    let policy = "{loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s, path: /p}}}}";
    let ir = with_policy(&[("http", 80)], policy);
    let RouteAction::Forward(forward) = &host(&ir, "80", "a.blue").unwrap().routes[0].action else {
        panic!()
    };
    let ttl = Some(std::time::Duration::ZERO);
    let cookie = HashPolicy::Cookie { name: "c".into(), path: Some("/p".into()), ttl, attributes: vec![] };
    assert_eq!(forward.hash_policies, [cookie]);
    assert!(!forward.retry.as_ref().unwrap().avoid_previous_hosts);
    let rules = |more: &str| {
        let spec = format!("\n  hosts: [a]\n  http:\n  - route: [{{destination: {{host: a}}}}{more}]");
        let rule = istio("DestinationRule", "blue", "r", &format!("  host: a\n  trafficPolicy: {policy}"));
        let ir = lowered(
            &(a()
                + &service("blue", "b", &[("http", 80)])
                + &rule
                + &istio("VirtualService", "blue", "v", &spec)),
        )
        .ir;
        let RouteAction::Forward(forward) = &host(&ir, "80", "a.blue").unwrap().routes[0].action else {
            panic!()
        };
        (forward.hash_policies.len(), forward.retry.as_ref().unwrap().avoid_previous_hosts)
    };
    assert_eq!(rules(""), (1, false));
    let two = ", {destination: {host: b}, weight: 1}";
    assert_eq!(rules(two), (1, false), "the first has no weight, so only one is left");
    let weighted = ", {destination: {host: b}, weight: 1}, {destination: {host: b}, weight: 2}";
    assert_eq!(rules(weighted), (1, true));
}

#[test]
fn r21_what_is_spoken_upstream() {
    use UpstreamProtocol::*;
    for (port, policy, expected) in [
        ("http", "{}", Http1),
        ("grpc", "{}", Http2),
        ("http2", "{}", Http2),
        ("grpc-web", "{}", Http2), // the proxy in front of it makes it gRPC
        ("web", "{}", AsDownstream),
        ("http", "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}", Http2),
        ("web", "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}", Http2),
        ("http", "{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}", Http1),
        (
            "http",
            "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}",
            AsDownstream,
        ),
    ] {
        assert_eq!(cluster(&with_policy(&[(port, 80)], policy), A).protocol, expected, "{port} {policy}");
    }
}

#[test]
fn r24_bounds_and_timeouts() {
    let defaults = with_policy(&[("http", 80)], "{}");
    let cluster_a = cluster(&defaults, A);
    assert_eq!(cluster_a.limits, crate::ir::ClusterLimits::default());
    assert_eq!((cluster_a.connect_timeout.as_secs(), cluster_a.idle_timeout.unwrap().as_secs()), (10, 3600));
    assert_eq!(cluster_a.tunnel_idle_timeout.unwrap().as_secs(), 3600);
    let ir = with_policy(
        &[("http", 80)],
        "
    connectionPool:
      tcp: {maxConnections: 0, connectTimeout: 2s, idleTimeout: 5s, maxConnectionDuration: 1m, tcpKeepalive: {time: 7s}}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRetries: 3, maxRequestsPerConnection: 1, maxConcurrentStreams: 4, idleTimeout: 0s}",
    );
    let cluster = cluster(&ir, A);
    let limits = &cluster.limits;
    assert_eq!(limits.max_connections, 1024);
    assert_eq!((limits.max_pending_requests, limits.max_requests, limits.max_retries), (1, 2, 3));
    assert_eq!((limits.max_requests_per_connection, limits.max_concurrent_streams), (1, 4));
    assert_eq!((limits.retry_budget, limits.earned_retries), (None, false));
    assert_eq!(cluster.connect_timeout.as_secs(), 2);
    assert_eq!((cluster.idle_timeout, cluster.tunnel_idle_timeout.unwrap().as_secs()), (None, 5));
    assert_eq!(cluster.max_connection_duration.unwrap().as_secs(), 60);
    assert_eq!(cluster.tcp_keepalive.as_ref().unwrap().time.unwrap().as_secs(), 7);
}

#[test]
fn r15_outlier_detection_defaults() {
    let ir = with_policy(&[("http", 80)], "{outlierDetection: {consecutiveGatewayErrors: 0}}");
    let ejection = cluster(&ir, A).outlier_detection.as_ref().unwrap();
    assert_eq!((ejection.consecutive_5xx, ejection.consecutive_gateway_errors), (Some(5), None));
    assert_eq!((ejection.interval.as_secs(), ejection.base_ejection_time.as_secs()), (10, 30));
    assert_eq!((ejection.max_ejection_percent, ejection.min_health_percent), (10, 0));
    assert_eq!(cluster(&with_policy(&[("http", 80)], "{}"), A).outlier_detection, None);
}

#[test]
fn health_policies_add_to_outlier_detection() {
    let policy = |namespace: &str, name: &str, spec: &str| {
        istio("HealthPolicy", namespace, name, spec).replace("networking.istio.io/v1", "sidle.dev/v1")
    };
    let of_service = policy("blue", "s", "  host: a\n  successRate: {stdevFactor: 2.5}\n");
    let of_client =
        policy("default", "c", "  host: '*.blue.svc.cluster.local'\n  failurePercentage: {threshold: 50}\n");
    let younger = policy("blue", "y", "  host: a\n  failurePercentage: {}\n");
    let detection = |documents: &[&str]| {
        let ir = lowered_for(&node("default", ""), &(a() + &documents.concat())).ir;
        cluster(&ir, A).outlier_detection.clone()
    };
    let alone = detection(&[&of_service, &younger]).unwrap();
    assert_eq!((alone.consecutive_5xx, alone.interval.as_secs(), alone.max_ejection_percent), (None, 10, 10));
    let rate = alone.success_rate.unwrap();
    assert_eq!((rate.minimum_hosts, rate.request_volume, rate.stdev_factor), (5, 100, 2500));
    assert_eq!(alone.failure_percentage, None);
    let rule = istio(
        "DestinationRule",
        "blue",
        "r",
        "  host: a\n  trafficPolicy: {outlierDetection: {interval: 3s}}\n",
    );
    let both = detection(&[&of_service, &of_client, &rule]).unwrap();
    assert_eq!((both.consecutive_5xx, both.interval.as_secs(), both.success_rate), (Some(5), 3, None));
    assert_eq!(both.failure_percentage.unwrap().threshold, 50, "the client's namespace comes first");
    let others = policy("istio-system", "m", "  host: '*'\n  latency: {factor: 2}\n  probing: {}\n");
    let others = detection(&[&others]).unwrap();
    let latency = others.latency.unwrap();
    assert_eq!((latency.factor, latency.minimum.as_millis(), latency.minimum_hosts), (2000, 50, 3));
    assert_eq!((others.probes, detection(&[])), (3, None));
}

#[test]
fn concurrency_policies_hold_for_the_workloads_own_ports() {
    let policy = |namespace: &str, name: &str, spec: &str| {
        istio("ConcurrencyPolicy", namespace, name, spec).replace("networking.istio.io/v1", "sidle.dev/v1")
    };
    let node = node("blue", "app=a");
    let most = |documents: &[String]| {
        let service = a().replace("  ports:", "  selector: {app: a}\n  ports:");
        let ir = lowered_for(&node, &(service + &documents.concat())).ir;
        assert_eq!(cluster(&ir, A).adaptive_concurrency, None, "not for clients");
        cluster(&ir, "inbound|80||").adaptive_concurrency.as_ref().map(|policy| policy.max_concurrency)
    };
    let mesh = policy("istio-system", "m", "  maxConcurrencyLimit: 10");
    let elsewhere = policy("red", "m", "  maxConcurrencyLimit: 11");
    let others = policy("blue", "o", "  selector: {app: b}");
    assert_eq!(most(&[]), None);
    assert_eq!(most(&[elsewhere.clone(), others.clone()]), None);
    assert_eq!(most(&[mesh.clone(), elsewhere]), Some(10));
    let all = policy("blue", "all", "  maxConcurrencyLimit: 20");
    let port = policy("blue", "port", "  ports: [80]\n  maxConcurrencyLimit: 30");
    let wrong = policy("blue", "wrong", "  ports: [81]\n  maxConcurrencyLimit: 40");
    let labels = policy("blue", "labels", "  selector: {app: a}\n  maxConcurrencyLimit: 50");
    let mut documents = vec![mesh, others, wrong, all];
    for (more, expected) in [(None, 20), (Some(port), 30), (Some(labels), 50)] {
        documents.extend(more);
        assert_eq!(most(&documents), Some(expected));
    }
}

#[test]
fn health_policies_have_endpoints_checked() {
    let with = |check: &str| {
        let policy = istio("HealthPolicy", "blue", "s", &format!("  host: a\n  healthCheck: {{{check}}}\n"));
        let policy = policy.replace("networking.istio.io/v1", "sidle.dev/v1");
        cluster(&lowered_for(&node("default", ""), &(a() + &policy)).ir, A).clone()
    };
    let found = with("http: {path: /up, expectedStatuses: [200, 204]}, port: 81, interval: 5s");
    assert_eq!(found.outlier_detection, None, "it ejects nobody");
    let check = found.health_check.unwrap();
    assert_eq!(
        check.ask,
        HealthAsk::Http {
            path: "/up".into(),
            host: "a.blue.svc.cluster.local".into(),
            expected_statuses: vec![(200, 200), (204, 204)]
        }
    );
    assert_eq!((check.port, check.interval.as_secs(), check.interval_jitter.as_secs()), (Some(81), 5, 1));
    assert_eq!((check.timeout.as_secs(), check.unhealthy_threshold, check.healthy_threshold), (3, 3, 2));
    let grpc = with("grpc: {service: s, authority: h}").health_check.unwrap();
    assert_eq!(grpc.ask, HealthAsk::Grpc { service: "s".into(), authority: "h".into() });
    assert_eq!(with("tcp: {}").health_check.unwrap().ask, HealthAsk::Tcp);
}

#[test]
fn r14_tls_to_a_service() {
    let entry = istio(
        "ServiceEntry",
        "blue",
        "e",
        "
  hosts: [e.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  resolution: DNS
  subjectAltNames: [e.com, alt.e.com]",
    );
    let tls = |settings: &str| {
        let rule = istio(
            "DestinationRule",
            "blue",
            "r",
            &format!("  host: e.com\n  trafficPolicy: {{tls: {settings}}}"),
        );
        let ir = lowered(&(entry.clone() + &rule)).ir;
        assert_eq!(endpoints(&ir, "outbound|80||e.com"), "dns e.com:443");
        cluster(&ir, "outbound|80||e.com").tls.clone()
    };
    assert_eq!(tls("{mode: DISABLE}"), None);
    let mutual = "  host: e.com\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}";
    let refused = lowered(&(entry.clone() + &istio("DestinationRule", "blue", "r", mutual))).ir;
    assert_eq!(
        endpoints(&refused, "outbound|80||e.com"),
        "none",
        "never plain text where mTLS was asked for"
    );
    let simple = tls("{mode: SIMPLE}").unwrap();
    assert_eq!((simple.sni, simple.subject_alt_names.len(), simple.certificate), (None, 2, None));
    let mutual = tls(
        "{mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, sni: s, subjectAltNames: [x]}",
    );
    let mutual = mutual.unwrap();
    assert_eq!((mutual.sni.as_deref(), &mutual.subject_alt_names[..]), (Some("s"), &["x".to_owned()][..]));
    assert_eq!(mutual.certificate.unwrap().files()[0].key.to_str(), Some("/k"));
}

#[test]
fn a_limit_of_no_time_is_none() {
    let proxy = |limit| {
        format!(
            "---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {{limits: {{requestTimeout: {limit}}}}}\n"
        )
    };
    assert_eq!(lowered(&proxy("0s")).ir.settings.limits.request_timeout, None);
    assert_eq!(
        lowered(&proxy("1s")).ir.settings.limits.request_timeout.map(|limit| limit.as_secs()),
        Some(1)
    );
}

#[test]
fn upstream_policies_choose_by_latency_and_hedge() {
    let with = |spec: &str, rule: &str| {
        let policy = istio("UpstreamPolicy", "blue", "u", &format!("  host: a\n{spec}"));
        let policy = policy.replace("networking.istio.io/v1", "sidle.dev/v1");
        cluster(&lowered_for(&node("default", ""), &(a() + &policy + rule)).ir, A).clone()
    };
    let (secs, millis) = (std::time::Duration::from_secs, std::time::Duration::from_millis);
    let found = with("  peakEwma: {}\n", "");
    assert!(!found.compares_mirrored && with("  mirrorComparison: {}\n", "").compares_mirrored);
    assert_eq!((&found.load_balancer, &found.hedging), (&LoadBalancer::PeakEwma { decay: secs(10) }, &None));
    let found = with("  peakEwma: {decay: 3s}\n  hedging: {after: 5ms, percentile: 99}\n", "");
    assert_eq!(found.load_balancer, LoadBalancer::PeakEwma { decay: secs(3) });
    let hedging = found.hedging.expect("hedging");
    assert_eq!((hedging.after, hedging.percentile), (Some(millis(5)), Some(99)));
    let rule = "  host: a\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n";
    let rule = istio("DestinationRule", "blue", "r", rule);
    let found = with("  peakEwma: {}\n", &rule);
    assert_eq!(found.load_balancer, LoadBalancer::Random, "it was asked for by name");
    let rule = rule.replace("{simple: RANDOM}", "{warmup: {duration: 9s}}");
    let found = with("  peakEwma: {}\n", &rule);
    assert_eq!(found.load_balancer, LoadBalancer::PeakEwma { decay: secs(10) });
    assert!(found.slow_start.is_some(), "new ones warm up all the same");
}

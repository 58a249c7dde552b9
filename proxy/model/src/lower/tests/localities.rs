//! R16: which endpoints come first, and which localities get how much.

use super::{services::kubernetes, *};
use crate::ir::{Endpoint, SlowStart};
use std::time::Duration;

const CLUSTER: &str = "outbound|80||far.test";
const DETECTED: &str = "outlierDetection: {interval: 1s}";

/// A ServiceEntry with an endpoint in each of these places; the first is 10.0.0.0.
fn entry(localities: &[&str]) -> String {
    let endpoints: Vec<_> = localities
        .iter()
        .enumerate()
        .map(|(at, locality)| {
            let side = if at % 2 == 0 { "even" } else { "odd" };
            format!(
                "{{address: 10.0.0.{at}, locality: '{locality}', labels: {{side: {side}, version: v{at}}}}}"
            )
        })
        .collect();
    let spec = format!(
        "  hosts: [far.test]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  endpoints: [{}]",
        endpoints.join(", ")
    );
    istio("ServiceEntry", "default", "far", &spec)
}

fn rule(policy: &str) -> String {
    istio("DestinationRule", "default", "far", &format!("  host: far.test\n  trafficPolicy: {{{policy}}}"))
}

fn there(locality: &str, yaml: &str) -> Cluster {
    let node = Node { locality: locality.into(), ..node("default", "side=even") };
    cluster(&lowered_for(&node, yaml).ir, CLUSTER).clone()
}

fn given(cluster: &Cluster) -> &[Endpoint] {
    match &cluster.discovery {
        Discovery::Static(endpoints) => endpoints,
        other => panic!("{other:?}"),
    }
}

fn priorities(locality: &str, yaml: &str) -> Vec<u32> {
    given(&there(locality, yaml)).iter().map(|endpoint| endpoint.priority).collect()
}

const PLACES: [&str; 5] = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "asia/a/1"];

#[test]
fn where_failures_are_noticed_near_endpoints_come_first() {
    let service = entry(&PLACES);
    let with = |policy: &str| service.clone() + &rule(policy);
    assert_eq!(priorities("eu/a/1", &with(DETECTED)), [0, 1, 2, 3, 3]);
    assert_eq!(priorities("eu/b/9", &with(DETECTED)), [1, 1, 0, 2, 2], "without gaps");
    assert_eq!(priorities("", &with(DETECTED)), [0; 5], "nobody knows where the node is");
    assert_eq!(priorities("eu/a/1", &service), [0; 5], "nobody would notice");
    let off = format!("{DETECTED}, loadBalancer: {{localityLbSetting: {{enabled: false}}}}");
    assert_eq!(priorities("eu/a/1", &with(&off)), [0; 5]);
}

#[test]
fn the_node_and_pods_may_say_by_labels_where_they_are() {
    let service = entry(&PLACES) + &rule(DETECTED);
    for labels in [
        "istio-locality=eu.a.2",
        "topology.kubernetes.io/region=eu,topology.kubernetes.io/zone=a,topology.istio.io/subzone=2",
    ] {
        let ir = lowered_for(&node("default", labels), &service).ir;
        let found: Vec<_> = given(cluster(&ir, CLUSTER)).iter().map(|endpoint| endpoint.priority).collect();
        assert_eq!(found, [1, 0, 2, 3, 3], "{labels}");
    }
}

#[test]
fn a_region_fails_over_to_the_one_that_is_named() {
    let setting = format!(
        "{DETECTED}, loadBalancer: {{localityLbSetting: {{failover: [{{from: us, to: eu}}, {{from: eu, to: asia}}]}}}}"
    );
    let yaml = entry(&PLACES) + &rule(&setting);
    assert_eq!(priorities("eu/a/1", &yaml), [0, 1, 2, 4, 3]);
    assert_eq!(priorities("us/z/1", &yaml), [1, 1, 1, 0, 2]);
}

#[test]
fn labels_in_order_until_one_differs() {
    let by = |keys: &str, more: &str| {
        let setting =
            format!("{DETECTED}, loadBalancer: {{localityLbSetting: {{failoverPriority: [{keys}]{more}}}}}");
        priorities("eu/a/1", &(entry(&PLACES) + &rule(&setting)))
    };
    assert_eq!(by("side", ""), [0, 1, 0, 1, 0]);
    assert_eq!(by("side=odd", ""), [1, 0, 1, 0, 1], "a value that the node has not");
    assert_eq!(by("topology.kubernetes.io/region, side", ""), [0, 1, 0, 2, 2]);
    assert_eq!(by("side, topology.kubernetes.io/region", ""), [0, 2, 0, 2, 1], "the first one decides");
    assert_eq!(by("side", ", failover: [{from: eu, to: us}]"), [0, 3, 1, 4, 2], "then the regions");
}

#[test]
fn a_distribution_drops_what_it_does_not_list() {
    let setting = "loadBalancer: {localityLbSetting: {distribute: [{from: us/*, to: {us: 100}}, {from: eu/a/*, to: {eu/a/*: 60, eu/b/1: 10, 'us/*': 30}}]}}";
    let yaml = entry(&PLACES) + &rule(setting);
    let found = there("eu/a/1", &yaml);
    assert_eq!(given(&found).len(), 4, "without asia");
    assert!(given(&found).iter().all(|endpoint| endpoint.priority == 0));
    let weights: Vec<_> = found.locality_weights.iter().map(|(name, weight)| (&**name, *weight)).collect();
    assert_eq!(weights, [("eu/a/1", 30_000), ("eu/a/2", 30_000), ("eu/b/1", 10_000), ("us/a/1", 30_000)]);
    let elsewhere = there("asia/a/1", &yaml);
    assert!(given(&elsewhere).len() == 5 && elsewhere.locality_weights.is_empty(), "no rule is for it");
}

#[test]
fn a_service_may_prefer_what_is_close() {
    let slice = |name: &str, ip: &str, zone: &str| {
        kubernetes(
            "EndpointSlice",
            "discovery.k8s.io/v1",
            &format!("{{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: far}}}}"),
            &format!(
                "addressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [{ip}], zone: {zone}}}]"
            ),
        )
    };
    let yaml = |distribution: &str| {
        let spec = format!("spec: {{ports: [{{name: http, port: 80}}]{distribution}}}");
        kubernetes("Service", "v1", "{name: far, namespace: default}", &spec)
            + &slice("x", "10.0.0.1", "b")
            + &slice("y", "10.0.0.2", "a")
    };
    let found = |distribution: &str| {
        let node = Node { locality: "eu/a".into(), ..Node::default() };
        let ir = lowered_for(&node, &yaml(distribution)).ir;
        let endpoints = given(cluster(&ir, "outbound|80||far.default.svc.cluster.local")).to_vec();
        endpoints.iter().map(|endpoint| endpoint.priority).collect::<Vec<_>>()
    };
    assert_eq!(found(""), [0, 0]);
    assert_eq!(found(", trafficDistribution: PreferClose"), [1, 0]);
    assert_eq!(found(", trafficDistribution: PreferSameZone"), [1, 0]);
}

#[test]
fn a_subset_has_priorities_of_its_own() {
    let spec = format!(
        "  host: far.test\n  trafficPolicy: {{{DETECTED}}}\n  subsets: [{{name: odd, labels: {{side: odd}}}}]"
    );
    let yaml = entry(&PLACES) + &istio("DestinationRule", "default", "far", &spec);
    let node = Node { locality: "eu/a/1".into(), ..Node::default() };
    let ir = lowered_for(&node, &yaml).ir;
    let subset = cluster(&ir, "outbound|80|odd|far.test");
    assert_eq!(given(subset).iter().map(|endpoint| endpoint.priority).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn warm_up_is_for_balancers_that_can_give_less() {
    let slow = |balancer: &str| {
        there("", &(entry(&["a"]) + &rule(&format!("loadBalancer: {{{balancer}}}")))).slow_start
    };
    let window = Duration::from_secs(30);
    let default = SlowStart { window, minimum_percent: 10.0, aggression: 1.0 };
    assert_eq!(slow("warmup: {duration: 30s}"), Some(default.clone()));
    assert_eq!(slow("simple: ROUND_ROBIN, warmupDurationSecs: 30s"), Some(default));
    assert_eq!(
        slow("warmup: {duration: 30s, minimumPercent: 0, aggression: 2.5}"),
        Some(SlowStart { window, minimum_percent: 0.0, aggression: 2.5 })
    );
    assert_eq!(slow("simple: RANDOM, warmup: {duration: 30s}"), None);
    assert_eq!(slow("consistentHash: {useSourceIp: true}, warmup: {duration: 30s}"), None);
    assert_eq!(slow("simple: ROUND_ROBIN"), None);
}

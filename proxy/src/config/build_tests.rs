//! What runs goes on while a snapshot is built.

use super::*;
use sidle_balance::EndpointAddr;
use sidle_jwt::KeySet;
use sidle_model::{ir::Node, load_texts, source::Text};
use std::net::SocketAddr;

const DNS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.test]
  location: MESH_INTERNAL
  resolution: DNS
  ports: [{ number: 80, name: http, protocol: HTTP }]
";
const RULE: &str = "\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: a }
spec:
  host: a.test
  trafficPolicy: { loadBalancer: { simple: RANDOM } }
";
const TOKENS: &str = "\
apiVersion: v1
kind: Service
metadata: { name: s }
spec: { selector: { app: s }, ports: [{ name: http, port: 80 }] }
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: r }
spec: { jwtRules: [{ issuer: i, jwksUri: 'https://issuer.test/keys', timeout: 5s }] }
";
const KEYS: &[u8] =
    br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn build(text: &str, previous: Option<&Snapshot>) -> Built {
    let node = Node { labels: [("app".to_owned(), "s".to_owned())].into(), ..Node::default() };
    let mut loaded = load_texts(vec![Text { name: "a.yaml".into(), content: text.into() }], &node);
    let ir = loaded.ir.take().unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    Builder::alone().build(ir, 0, previous).unwrap()
}

fn named(snapshot: &Snapshot) -> Arc<Cluster> {
    snapshot.clusters["outbound|80||a.test"].1.clone()
}

/// A look-up ends.
fn answer(cluster: &Cluster, last: &[u8]) {
    let ir::Discovery::StrictDns(endpoints) = &cluster.config.discovery else { panic!() };
    let found = |last: &u8| {
        let address = SocketAddr::from(([127, 0, 0, *last], 80));
        EndpointSpec::resolved(&endpoints[0], EndpointAddr::Socket(address))
    };
    cluster.update_endpoints(last.iter().map(found).collect());
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.endpoints.load().endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[test]
fn addresses_that_change_during_a_build_are_taken_over() {
    let running = build(DNS, None).snapshot;
    let before = named(&running);
    answer(&before, &[2, 3]);
    let old = before.endpoints.load_full();
    let built = build(&format!("{DNS}{RULE}"), Some(&running));
    let cluster = named(&built.snapshot);
    assert!(!Arc::ptr_eq(&cluster, &before));
    answer(&before, &[3, 4]);
    built.take_over();
    assert_eq!(addresses(&cluster), ["127.0.0.3:80", "127.0.0.4:80"]);
    let state = |set: &sidle_balance::EndpointSet, at: usize| set.endpoints()[at].state.clone();
    let (was, is) = (before.endpoints.load_full(), cluster.endpoints.load_full());
    for at in [0, 1] {
        assert!(Arc::ptr_eq(&state(&was, at), &state(&is, at)), "and what happens there");
        assert!(!state(&is, at).has_left());
    }
    assert!(state(&old, 0).has_left());
}

#[test]
fn a_name_whose_first_look_up_ends_during_a_build_is_known() {
    let running = build(DNS, None).snapshot;
    let before = named(&running);
    let built = build(&format!("{DNS}{RULE}"), Some(&running));
    let cluster = named(&built.snapshot);
    assert!(!cluster.is_resolved());
    answer(&before, &[2]);
    built.take_over();
    assert!(cluster.is_resolved());
    assert_eq!(addresses(&cluster), ["127.0.0.2:80"]);
}

#[test]
fn a_name_that_nobody_has_found_stays_unknown() {
    let running = build(DNS, None).snapshot;
    let built = build(&format!("{DNS}{RULE}"), Some(&running));
    let cluster = named(&built.snapshot);
    answer(&named(&running), &[]);
    built.take_over();
    assert!(!cluster.is_resolved());
    let next = build(DNS, Some(&built.snapshot));
    let cluster = named(&next.snapshot);
    let made = cluster.endpoints.load_full();
    next.take_over();
    assert!(Arc::ptr_eq(&made, &cluster.endpoints.load()), "nothing is done that need not be");
}

#[test]
fn keys_that_come_during_a_build_are_taken_over() {
    let running = build(TOKENS, None).snapshot;
    let before = running.keys.values().next().unwrap();
    let built = build(&TOKENS.replace("timeout: 5s", "timeout: 6s"), Some(&running));
    before.end(Ok(KeySet::parse(KEYS).unwrap()));
    built.take_over();
    let source = built.snapshot.keys.values().next().unwrap();
    assert!(!Arc::ptr_eq(source, before));
    assert_eq!(source.keys().map(|held| held.version), before.keys().map(|held| held.version));
    assert!(source.keys().is_some());
}

//! Gateways by chance that authorization policies guard.
//!
//! Values come from the vocabularies that requests are made of. What the two read in different ways on purpose is left out: hosts that
//! a DENY is about, since Sidle compares them without their port too.

use super::{
    configuration::{PATHS, hosts},
    random::Random,
};
use serde_json::{Map, Value, json};

const METHODS: [&str; 5] = ["GET", "POST", "P*", "*T", "*"];
const NETWORKS: [&str; 4] = ["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "::/0"];
const TEMPLATES: [&str; 4] = ["/api/{*}", "/api/{**}", "/{*}/bar", "/{**}"];

/// The manifests of configuration `seed`: a gateway at `port`, one service in two versions behind it.
pub fn manifests(seed: u64, upstreams: [u16; 2], port: u16) -> String {
    let mut random = Random::new(seed ^ 0xa07);
    let host = &hosts(seed)[0];
    let endpoint = |port: u16| json!({"address": "127.0.0.1", "ports": {"http": port}});
    let mut documents = vec![
        manifest(
            "networking",
            "ServiceEntry",
            "service",
            json!({
                "hosts": [host], "location": "MESH_INTERNAL", "resolution": "STATIC",
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "endpoints": [endpoint(upstreams[0])],
            }),
        ),
        manifest(
            "networking",
            "Gateway",
            "gateway",
            json!({
                "selector": {"istio": "gateway"},
                "servers": [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
            }),
        ),
        manifest(
            "networking",
            "VirtualService",
            "routes",
            json!({
                "hosts": [host], "gateways": ["gateway"],
                "http": [
                    {"match": [{"headers": {"x-user": {"exact": "alice"}}}], "route": [{"destination": {"host": host}}]},
                    {"route": [{"destination": {"host": host}}]},
                ],
            }),
        ),
    ];
    for at in 0..1 + random.below(4) {
        let action = ["ALLOW", "ALLOW", "DENY", "AUDIT"][random.below(4)];
        let rules: Vec<_> = (0..1 + random.below(3)).map(|_| rule(&mut random, action, host)).collect();
        let spec = json!({"action": action, "rules": rules});
        documents.push(manifest("security", "AuthorizationPolicy", &format!("policy-{at}"), spec));
    }
    let texts: Vec<String> = documents.iter().map(|one| serde_json::to_string_pretty(one).unwrap()).collect();
    texts.join("\n---\n")
}

fn manifest(group: &str, kind: &str, name: &str, spec: Value) -> Value {
    let api = format!("{group}.istio.io/v1");
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn rule(random: &mut Random, action: &str, host: &str) -> Value {
    let mut rule = Map::new();
    if random.percent(30) {
        let list =
            ["ipBlocks", "notIpBlocks", "remoteIpBlocks", "notPrincipals", "namespaces"][random.below(5)];
        let value = match list {
            "notPrincipals" => "*",
            "namespaces" => "default",
            _ => NETWORKS[random.below(NETWORKS.len())],
        };
        rule.insert("from".into(), json!([{"source": {list: [value]}}]));
    }
    if random.percent(80) {
        let to: Vec<_> =
            (0..1 + random.below(2)).map(|_| json!({"operation": operation(random, action, host)})).collect();
        rule.insert("to".into(), to.into());
    }
    if random.percent(40) {
        let list = ["values", "notValues"][random.below(2)];
        let value = ["alice", "al*", "*", "*b"][random.below(4)];
        rule.insert("when".into(), json!([{"key": "request.headers[x-user]", list: [value]}]));
    }
    rule.into()
}

fn operation(random: &mut Random, action: &str, host: &str) -> Value {
    let mut operation = Map::new();
    while operation.is_empty() {
        for list in ["paths", "notPaths"] {
            if random.percent(50) {
                let path = paths(random);
                operation.insert(list.into(), json!([path]));
            }
        }
        for list in ["methods", "notMethods"] {
            if random.percent(20) {
                operation.insert(list.into(), json!([METHODS[random.below(METHODS.len())]]));
            }
        }
        if action == "ALLOW" && random.percent(20) {
            operation.insert("hosts".into(), json!([host.to_uppercase(), format!("{host}:*")]));
        }
    }
    operation.into()
}

/// What is read in one way by both: no escapes and no empty segments.
fn paths(random: &mut Random) -> String {
    let plain: Vec<&str> =
        PATHS.into_iter().filter(|path| !path.contains('%') && !path.contains("//")).collect();
    let path = plain[random.below(plain.len())];
    match random.below(5) {
        0 => TEMPLATES[random.below(TEMPLATES.len())].to_owned(),
        1 => format!("{path}*"),
        2 => "*.js".to_owned(),
        3 => "*".to_owned(),
        _ => path.to_owned(),
    }
}

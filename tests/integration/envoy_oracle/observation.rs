//! What one proxy made of one request, and how two of them differ.

use super::request::Ask;
use serde_json::Value;
use sidle_test_support::{client::Answer, echo::Echo};
use std::{collections::BTreeMap, path::Path};

/// Headers whose values are chance or time; that they are there is compared.
const VALUES_IGNORED: [&str; 5] =
    ["date", "set-cookie", "x-envoy-upstream-service-time", "x-oracle", "x-request-id"];

/// The keys of an access log line, and the operators behind them.
pub const LOG_FORMAT: [(&str, &str); 8] = [
    ("id", "%REQ(X-ORACLE)%"),
    ("cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("route", "%ROUTE_NAME%"),
    ("code", "%RESPONSE_CODE%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
];

/// What one proxy made of one request, as names and values.
pub type Observation = BTreeMap<String, String>;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deviation {
    pub what: String,
    pub sidle: String,
    pub envoy: String,
}

/// The answer of a proxy and, inside it, the request as the echo upstream saw it.
pub fn observe(answer: &Result<Answer, String>) -> Observation {
    let mut seen = Observation::new();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            seen.insert("broken answer".into(), error.clone());
            return seen;
        }
    };
    seen.insert("status".into(), answer.status.as_u16().to_string());
    for name in answer.headers.keys() {
        let values = answer.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
        let values = values.collect::<Vec<_>>().join(" | ");
        seen.insert(format!("response header {name}"), shown(name.as_str(), &values));
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(echo) if echo["headers"].is_object() => {
            // The length is that of the description, which says more than lengths do.
            seen.remove("response header content-length");
            observe_upstream(&mut seen, &echo);
        }
        _ => drop(seen.insert("response body".into(), answer.text())),
    }
    seen
}

fn observe_upstream(seen: &mut Observation, echo: &Value) {
    for field in ["version", "protocol", "method", "path", "authority", "body"] {
        seen.insert(format!("upstream {field}"), echo[field].as_str().unwrap_or_default().to_owned());
    }
    for (name, value) in echo["headers"].as_object().unwrap() {
        seen.insert(format!("upstream header {name}"), shown(name, value.as_str().unwrap()));
    }
}

fn shown(name: &str, value: &str) -> String {
    if VALUES_IGNORED.contains(&name) { "(some)".to_owned() } else { value.to_owned() }
}

/// Every request that reached an upstream for `id`: tries and copies too.
pub fn arrivals(id: &str, upstreams: &[Echo]) -> String {
    let received = upstreams.iter().flat_map(Echo::received).filter(|one| one.header("x-oracle") == id);
    let mut all: Vec<String> =
        received.map(|one| format!("{} {} {}", one.method, one.authority, one.path)).collect();
    all.sort();
    all.join(", ")
}

/// The access log by request.
pub fn read_log(path: &Path) -> BTreeMap<String, Observation> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line).ok());
    lines
        .filter_map(|line| {
            let id = line.get("id")?.as_str()?.to_owned();
            let fields = line.into_iter().filter(|(key, _)| key != "id");
            Some((id, fields.map(|(key, value)| (format!("log {key}"), plain(&value))).collect()))
        })
        .collect()
}

/// Envoy writes numbers as numbers and nothing as null.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Everything that `sidle` and `envoy` do not share.
pub fn compare(ask: &Ask, sidle: &Observation, envoy: &Observation) -> Vec<Deviation> {
    let mut names: Vec<&String> = sidle.keys().chain(envoy.keys()).collect();
    names.sort();
    names.dedup();
    let text =
        |seen: &Observation, name: &str| seen.get(name).cloned().unwrap_or_else(|| "(none)".to_owned());
    names
        .into_iter()
        .filter(|name| !is_free_choice(ask, name, sidle))
        .map(|name| Deviation { what: name.clone(), sidle: text(sidle, name), envoy: text(envoy, name) })
        .filter(|deviation| deviation.sidle != deviation.envoy)
        .collect()
}

/// Which endpoint of several is taken is the balancer's business: only a subset names a version.
fn is_free_choice(ask: &Ask, name: &str, sidle: &Observation) -> bool {
    let subset = sidle
        .get("log cluster")
        .is_some_and(|cluster| cluster.split('|').nth(2).is_some_and(|s| !s.is_empty()));
    matches!(name, "upstream version" | "response header x-version") && (ask.tcp || !subset)
}

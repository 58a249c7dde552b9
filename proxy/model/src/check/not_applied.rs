//! Fields that are accepted and not applied: one table, so that `check` never hides one.
//!
//! When a field becomes applied, its line leaves the table.

use super::report::Report;
use crate::{
    config::{Config, Resource},
    diagnostic::{Code, Diagnostic, Severity, codes},
    yaml::{Document, Kind, NodeId},
};

/// A field, and what to expect of it.
struct Row {
    /// The kind that has it.
    kind: &'static str,
    /// The last keys of its path, list positions left out.
    path: &'static [&'static str],
    /// Only with this value.
    value: Option<&'static str>,
    severity: Severity,
    code: Code,
    /// What happens in its place.
    expect: &'static str,
}

const fn not_applied(kind: &'static str, path: &'static [&'static str], expect: &'static str) -> Row {
    Row { kind, path, value: None, severity: Severity::Warning, code: codes::NOT_APPLIED, expect }
}

const fn deprecated(kind: &'static str, path: &'static [&'static str], expect: &'static str) -> Row {
    Row { kind, path, value: None, severity: Severity::Info, code: codes::DEPRECATED, expect }
}

const fn not_shown(kind: &'static str, path: &'static [&'static str], expect: &'static str) -> Row {
    Row { severity: Severity::Info, ..not_applied(kind, path, expect) }
}

const fn value(row: Row, value: &'static str) -> Row {
    Row { value: Some(value), ..row }
}

const VS: &str = "VirtualService";
const DR: &str = "DestinationRule";

const TABLE: &[Row] = &[
    not_applied(VS, &["delay", "exponentialDelay"], "no delay is injected, as in Istio"),
    not_applied(VS, &["abort", "http2Error"], "nothing is aborted, as in Istio"),
    not_applied(VS, &["match", "sourceSubnet"], "the condition is left out, as in Istio"),
    not_shown(VS, &["match", "statPrefix"], "no statistics of this prefix are kept"),
    deprecated(VS, &["corsPolicy", "allowOrigin"], "use `allowOrigins`"),
    deprecated(VS, &["delay", "percent"], "use `percentage`"),
    deprecated(VS, &["mirrorPercent"], "use `mirrorPercentage`"),
    deprecated(VS, &["mirror_percent"], "use `mirrorPercentage`"),
    not_applied(DR, &["loadBalancer", "zoneAwareLbSetting"], "endpoints are chosen without regard to zones"),
    deprecated(DR, &["loadBalancer", "warmupDurationSecs"], "use `warmup.duration`"),
    not_applied(DR, &["trafficPolicy", "tunnel"], "connections go straight to the destination"),
    not_applied(DR, &["trafficPolicy", "proxyProtocol"], "no PROXY header is sent"),
    not_applied(DR, &["retryBudget", "budgetInterval"], "only current requests count"),
    not_applied(DR, &["http", "http2KeepAlive"], "no HTTP/2 PING is sent"),
    deprecated(DR, &["outlierDetection", "consecutiveErrors"], "it is ignored; use `consecutive5xxErrors`"),
    deprecated(DR, &["consistentHash", "minimumRingSize"], "use `ringHash.minimumRingSize`"),
    value(deprecated(DR, &["loadBalancer", "simple"], "use `LEAST_REQUEST`"), "LEAST_CONN"),
    not_applied("ServiceEntry", &["endpoints", "network"], "the endpoint is called directly"),
    not_applied("WorkloadEntry", &["network"], "the endpoint is called directly"),
    not_applied("WorkloadGroup", &["template"], "no entries are made of it: write WorkloadEntries"),
    not_applied(
        "WorkloadGroup",
        &["probe"],
        "no probe is run: entries are endpoints while they are in the files",
    ),
    not_shown("Gateway", &["servers", "name"], "no statistics of this name are kept"),
    not_applied("Gateway", &["servers", "defaultEndpoint"], "it is ignored, as in Istio"),
    not_applied("Gateway", &["tls", "insecureSkipVerify"], "client certificates are always checked"),
    deprecated("Gateway", &["port", "targetPort"], "it is ignored"),
    not_applied(
        "Sidecar",
        &["outboundTrafficPolicy", "egressProxy"],
        "unknown traffic is treated as `mode` says",
    ),
    not_applied("Sidecar", &["http", "http2KeepAlive"], "no HTTP/2 PING is sent"),
    deprecated("Sidecar", &["port", "targetPort"], "it is ignored"),
    value(not_applied("Service", &["internalTrafficPolicy"], "endpoints of every node are called"), "Local"),
    value(not_shown("Service", &["ports", "protocol"], "only TCP is proxied"), "UDP"),
    value(not_shown("Service", &["ports", "protocol"], "only TCP is proxied"), "SCTP"),
    value(not_shown("ServiceEntry", &["ports", "protocol"], "only TCP is proxied"), "UDP"),
    value(
        not_applied("Service", &["trafficDistribution"], "endpoints of the same zone are preferred"),
        "PreferSameNode",
    ),
    value(
        not_applied("Service", &["sessionAffinity"], "requests of a client go to any endpoint"),
        "ClientIP",
    ),
];

pub(super) fn check(config: &Config, out: &mut Vec<Diagnostic>) {
    macro_rules! each {
        ($($list:ident),*) => { $(config.$list.iter().for_each(|resource| one(resource, out));)* };
    }
    each!(
        virtual_services,
        destination_rules,
        service_entries,
        workload_entries,
        workload_groups,
        gateways,
        sidecars
    );
    each!(services);
}

fn one<T>(resource: &Resource<T>, out: &mut Vec<Diagnostic>) {
    let rows: Vec<&Row> = TABLE.iter().filter(|row| row.kind == resource.kind).collect();
    let mut walk = Walk { document: &resource.document, rows, keys: Vec::new(), found: Vec::new() };
    walk.below(resource.body);
    let found = walk.found;
    let mut report = Report::new(resource, out);
    for (row, key, value) in found {
        report.at_entry(row.severity, row.code, key, value, message(row));
    }
}

fn message(row: &Row) -> String {
    let name = match (row.path.last(), row.value) {
        (Some(field), Some(value)) => format!("`{field}: {value}`"),
        (field, _) => format!("`{}`", field.unwrap_or(&"")),
    };
    match row.code {
        codes::DEPRECATED => format!("{name} is deprecated: {}", row.expect),
        _ => format!("{name} is accepted and not applied: {}", row.expect),
    }
}

struct Walk<'a> {
    document: &'a Document,
    rows: Vec<&'static Row>,
    keys: Vec<&'a str>,
    found: Vec<(&'static Row, NodeId, NodeId)>,
}

impl Walk<'_> {
    fn below(&mut self, node: NodeId) {
        let document = self.document;
        match document.kind(node) {
            Kind::Sequence => document.items(node).for_each(|item| self.below(item)),
            Kind::Mapping => {
                for (key, value) in document.entries(node) {
                    self.keys.push(document.text(key));
                    let hit = |row: &&&Row| {
                        self.keys.ends_with(row.path)
                            && row.value.is_none_or(|wanted| document.text(value) == wanted)
                    };
                    if let Some(row) = self.rows.iter().find(hit) {
                        self.found.push((row, key, value));
                    } else {
                        self.below(value);
                    }
                    self.keys.pop();
                }
            }
            _ => {}
        }
    }
}

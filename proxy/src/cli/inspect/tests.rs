//! Tables from what an admin server answers.

use super::*;
use serde_json::json;

fn clusters() -> Value {
    let endpoint = |port, active: &str, health| {
        json!({
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "weight": 2,
            "health_status": health,
            "stats": [{"name": "rq_active", "value": active, "type": "GAUGE"}, {"name": "rq_total", "value": 5}],
        })
    };
    json!({"cluster_statuses": [{"name": "outbound|80||a", "host_statuses": [
        endpoint(1, "3", json!({"eds_health_status": "HEALTHY"})),
        endpoint(2, "4", json!({"eds_health_status": "HEALTHY", "failed_outlier_check": true})),
    ]}]})
}

#[test]
fn clusters_are_summed_up() {
    assert_eq!(
        clusters_table(&clusters()).render(Terminal::default()),
        "CLUSTER         ENDPOINTS  HEALTHY  ACTIVE  REQUESTS  ERRORS\n\
         outbound|80||a  2          1        7       10        0\n"
    );
}

#[test]
fn endpoints_are_a_line_each() {
    let text = endpoints_table(&clusters()).render(Terminal::default());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[1],
        "127.0.0.1:1  HEALTHY  OK             0         2       3       5         0       outbound|80||a"
    );
    assert!(lines[2].starts_with("127.0.0.1:2  HEALTHY  FAILED "));
}

#[test]
fn addresses_of_all_kinds() {
    let socket = |ip| json!({"socket_address": {"address": ip, "port_value": 80}});
    assert_eq!(address(&socket("::1")), "[::1]:80");
    assert_eq!(address(&json!({"pipe": {"path": "/run/a.sock"}})), "/run/a.sock");
}

#[test]
fn a_refused_configuration_is_told_with_its_places() {
    let status = json!({
        "version": "3f9a61c204d7.2", "appliedAt": "2026-01-01T00:00:00Z", "files": [{"name": "a.yaml"}],
        "lastAttempt": {"at": "2026-01-01T00:00:01Z", "durationMs": 1.5, "cause": "files", "result": "rejected",
            "diagnostics": [{"severity": "error", "code": "SDL0101", "message": "unknown field `hots`\u{1b}[31m",
                "file": "a.yaml", "span": {"line": 2, "column": 3, "length": 4}, "help": "did you mean `hosts`?"},
                {"severity": "warning", "code": "SDL0012", "message": "nothing", "file": "", "span": null}]},
    });
    let text = status_text(&status, Terminal::default());
    assert!(
        text.contains("last attempt  rejected at 2026-01-01T00:00:01Z in 1.5 ms, because of: files\n"),
        "{text}"
    );
    let told = "a.yaml:2:3: error[SDL0101]: unknown field `hots`[31m (did you mean `hosts`?)\n\
                warning[SDL0012]: nothing\n";
    assert!(text.ends_with(told), "{text}");
}

#[test]
fn routes_are_a_line_each() {
    let dump = json!({"configs": [{
        "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
        "dynamic_route_configs": [{"route_config": {"name": "http_proxy", "virtual_hosts": [{
            "name": "a", "domains": ["a.test:80", "a.test"], "routes": [
                {"name": "one", "match": {"prefix": "/api", "headers": [
                    {"name": "x", "string_match": {"exact": "1"}, "invert_match": true}]},
                 "route": {"weighted_clusters": {"clusters": [
                    {"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]}}},
                {"match": {"path": "/x"}, "direct_response": {"status": 204}},
            ],
        }]}}],
    }]});
    let text = routes::table(&routes::route_configurations(&dump)).render(Terminal::default());
    assert_eq!(
        text,
        "TABLE       HOST            MATCH       TO            RULE\n\
         http_proxy  a.test:80 (+1)  /api* !x=1  90 v1, 10 v2  one\n\
         http_proxy  a.test:80 (+1)  =/x         answer 204    -\n"
    );
}

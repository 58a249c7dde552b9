//! What Prometheus reads.

use super::*;
use crate::{
    ResponseFlags,
    names::{ALL, Kind},
};
use sidle_model::ir::ServiceIdentity;
use std::collections::HashSet;

fn labels(destination: &str) -> RequestLabels {
    let end = |name: &str| Arc::new(WorkloadLabels { workload: name.into(), ..WorkloadLabels::unknown() });
    RequestLabels {
        reporter: Reporter::Source,
        source: end("a"),
        destination: end(destination),
        service: ServiceIdentity {
            host: "b.default.svc".into(),
            name: "b".into(),
            namespace: "default".into(),
        },
        request_protocol: RequestProtocol::Http,
        connection_security_policy: ConnectionSecurityPolicy::Unknown,
    }
}

fn tcp_labels() -> TcpLabels {
    let RequestLabels { reporter, source, destination, service, connection_security_policy, .. } =
        labels("db");
    TcpLabels { reporter, source, destination, service, connection_security_policy }
}

fn text(telemetry: &Telemetry) -> String {
    let (content_type, text) = telemetry.encode(None);
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
    String::from_utf8(text).unwrap()
}

/// The value of the only line that begins with `name` and holds all `parts`.
fn value(text: &str, name: &str, parts: &[&str]) -> f64 {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| {
            line.split(['{', ' ']).next() == Some(name) && parts.iter().all(|part| line.contains(part))
        })
        .collect();
    let [line] = lines[..] else { panic!("{name} {parts:?}: {lines:#?}\n{text}") };
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn answered(code: u16) -> RequestRecord {
    RequestRecord {
        response_code: code,
        duration: Duration::from_millis(5),
        request_bytes: 10,
        response_bytes: 11,
        ..RequestRecord::default()
    }
}

/// Everything that can be counted, once.
fn count_everything(telemetry: &Telemetry) -> [Arc<dyn std::any::Any + Send + Sync>; 7] {
    let requests = telemetry.request_metrics(&labels("b"));
    requests.record(&RequestRecord {
        request_messages: 2,
        response_messages: 3,
        grpc_status: Some(0),
        ..answered(200)
    });
    let tcp = telemetry.tcp_metrics(&tcp_labels());
    tcp.opened();
    tcp.transferred(7, 8);
    tcp.closed(ResponseFlags::UF);
    let cluster = telemetry.cluster_metrics(&"outbound|80||b".into());
    cluster.set_endpoints(3);
    cluster.request_started();
    cluster.overflowed(Overflow::Pending);
    cluster.outliers().detected(Some(Outlier::ConsecutiveGatewayFailure), true);
    cluster.outliers().detected(Some(Outlier::Consecutive5xx), false);
    cluster.membership().set(3, 2);
    cluster.mirror().compared(Compared::Body);
    cluster.health_checks().checked(HealthCheckResult::Passed);
    cluster.health_checks().checked(HealthCheckResult::Unanswered);
    let listener = telemetry.listener_metrics(&"virtualOutbound".into());
    listener.connection_opened();
    listener.http2_flood(Http2Flood::Stalled);
    listener.http2_streams_refused(3);
    listener.authorized(Authorized::Denied);
    let authoriser = telemetry.ext_authz_metrics(&"judge".into());
    authoriser.request(ExtAuthzOutcome::Error);
    authoriser.request(ExtAuthzOutcome::FailureModeAllowed);
    authoriser.connection(ExtAuthzOutcome::Denied);
    cluster.rate_limits().judged(RateLimitOutcome::Ok);
    cluster.concurrency().read(|| ([10, 4, 1], [Duration::from_millis(20), Duration::from_millis(25)]));
    let limit = telemetry.rate_limit_metrics(&"shop/each-client".into());
    limit.judged(true);
    limit.judged(false);
    telemetry.reloaded(Reload::Applied("v1"));
    telemetry.identity().rotated(0, u64::MAX);
    let keys = telemetry.jwks_metrics("https://issuer.test/keys");
    keys.fetched(true);
    [requests, tcp, cluster, listener, authoriser, Arc::new(keys), limit]
}

#[test]
fn metrics_of_keys_go_with_their_last_holder() {
    let telemetry = Telemetry::new();
    let keys = telemetry.jwks_metrics("https://issuer.test/keys");
    keys.fetched(true);
    keys.fetched(false);
    let taken_over = keys.clone();
    drop(keys);
    let shown = text(&telemetry);
    assert_eq!(value(&shown, "sidle_jwks_fetches_total", &["result=\"failure\"", "issuer.test"]), 1.0);
    assert!(value(&shown, "sidle_jwks_last_success_timestamp_seconds", &["issuer.test"]) > 1e9);
    drop(taken_over);
    assert!(!text(&telemetry).contains("issuer.test"));
}

#[test]
fn every_family_of_the_list_is_shown_and_no_other() {
    let telemetry = Telemetry::new();
    let _held = count_everything(&telemetry);
    let keys = telemetry.jwks_metrics("https://issuer.test/keys");
    keys.fetched(true);
    let text = text(&telemetry);
    let shown: HashSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let listed: Vec<_> = ALL.iter().map(|family| format!("{} {}", family.name, kind(family.kind))).collect();
    assert_eq!(shown, listed.iter().map(String::as_str).collect());
    assert_eq!(value(&text, "sidle_cluster_endpoints", &["outbound|80||b"]), 3.0);
    assert_eq!(value(&text, "sidle_cluster_overflows_total", &["limit=\"pending\""]), 1.0);
    for (name, wanted) in [
        ("membership_total", 3.0),
        ("membership_healthy", 2.0),
        ("health_check_attempt", 2.0),
        ("health_check_success", 1.0),
        ("health_check_failure", 1.0),
        ("health_check_network_failure", 1.0),
    ] {
        assert_eq!(value(&text, &format!("envoy_cluster_{name}"), &["outbound|80||b"]), wanted, "{name}");
    }
    for (name, wanted) in [
        ("enforced_total", 1.0),
        ("overflow", 1.0),
        ("detected_consecutive_gateway_failure", 1.0),
        ("enforced_consecutive_gateway_failure", 1.0),
        ("detected_consecutive_5xx", 1.0),
        ("enforced_consecutive_5xx", 0.0),
    ] {
        let name = format!("envoy_cluster_outlier_detection_ejections_{name}");
        assert_eq!(value(&text, &name, &["envoy_cluster_name=\"outbound|80||b\""]), wanted, "{name}");
    }
    assert_eq!(value(&text, "sidle_listener_connections_active", &["virtualOutbound"]), 1.0);
    assert_eq!(value(&text, "sidle_http2_streams_refused_total", &["virtualOutbound"]), 3.0);
    assert_eq!(value(&text, "sidle_http2_floods_total", &["virtualOutbound", "kind=\"stalled\""]), 1.0);
    assert!(value(&text, "istio_agent_cert_expiry_seconds", &["default"]) < 0.0, "it has run out");
    assert!(value(&text, "istio_agent_cert_expiry_seconds", &["ROOTCA"]) > 0.0);
    assert_eq!(value(&text, "sidle_authorizations_total", &["virtualOutbound", "result=\"denied\""]), 1.0);
    let judge = &["envoy_ext_authz_prefix=\"judge\""];
    for (name, wanted) in [
        ("envoy_http_ext_authz_error", 1.0),
        ("envoy_http_ext_authz_failure_mode_allowed", 1.0),
        ("envoy_http_ext_authz_ok", 0.0),
        ("envoy_ext_authz_denied", 1.0),
        ("envoy_ext_authz_disabled", 0.0),
    ] {
        assert_eq!(value(&text, name, judge), wanted, "{name}");
    }
    assert_eq!(value(&text, "istio_tcp_sent_bytes_total", &["response_flags=\"-\""]), 7.0);
    assert_eq!(value(&text, "istio_tcp_connections_closed_total", &["response_flags=\"UF\""]), 1.0);
}

#[test]
fn all_lines_of_a_family_have_its_labels_in_order() {
    let telemetry = Telemetry::new();
    let _held = count_everything(&telemetry);
    for line in text(&telemetry).lines().filter(|line| line.starts_with("istio_")) {
        let (name, rest) = line.split_once('{').unwrap();
        let pairs = rest.split_once('}').unwrap().0;
        let names: Vec<_> =
            pairs.split("\",").map(|pair| pair.split_once('=').unwrap().0).filter(|n| *n != "le").collect();
        let plain =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let family = ALL.iter().find(|family| family.name == plain).unwrap();
        assert_eq!(names, family.labels, "{line}");
    }
}

#[test]
fn a_request_is_in_the_counter_and_in_each_histogram() {
    let telemetry = Telemetry::new();
    let metrics = telemetry.request_metrics(&labels("b"));
    metrics.record(&answered(200));
    metrics.record(&answered(200));
    metrics.record(&RequestRecord { flags: ResponseFlags::UF | ResponseFlags::URX, ..answered(503) });
    let text = text(&telemetry);
    let ok = "response_code=\"200\"";
    assert_eq!(value(&text, "istio_requests_total", &[ok, "response_flags=\"-\""]), 2.0);
    assert_eq!(
        value(&text, "istio_requests_total", &["response_code=\"503\"", "response_flags=\"UF,URX\""]),
        1.0
    );
    let duration = |part| value(&text, "istio_request_duration_milliseconds_bucket", &[ok, part]);
    assert_eq!(
        (duration("le=\"1\""), duration("le=\"5\""), duration("le=\"+Inf\"")),
        (0.0, 2.0, 2.0),
        "le is inclusive"
    );
    assert_eq!(value(&text, "istio_request_duration_milliseconds_sum", &[ok]), 10.0);
    assert_eq!(value(&text, "istio_request_bytes_count", &[ok]), 2.0);
    assert_eq!(value(&text, "istio_response_bytes_sum", &[ok]), 22.0);
    assert!(!text.contains("istio_request_messages_total"), "only gRPC has messages");
}

#[test]
fn equal_labels_have_one_owner_and_series_leave_with_their_configuration() {
    let telemetry = Telemetry::new();
    let metrics = telemetry.request_metrics(&labels("b"));
    assert!(Arc::ptr_eq(&metrics, &telemetry.request_metrics(&labels("b"))));
    metrics.record(&answered(200));
    drop(metrics);
    let now = Instant::now();
    telemetry.sweep(now);
    telemetry.request_metrics(&labels("b")).record(&answered(200));
    assert_eq!(
        value(&text(&telemetry), "istio_requests_total", &[]),
        2.0,
        "a reload does not reset counters"
    );
    telemetry.sweep(now + Duration::from_secs(1));
    telemetry.sweep(now + Duration::from_secs(2) + table::GRACE);
    let text = text(&telemetry);
    assert!(!text.contains("istio_requests_total{"), "{text}");
    assert_eq!(value(&text, "sidle_metrics_series", &[]), 0.0);
}

#[test]
fn beyond_the_bound_totals_stay_right() {
    let telemetry = Telemetry::with_series_limit(8);
    let held: Vec<_> = (0..5).map(|n| telemetry.request_metrics(&labels(&format!("b{n}")))).collect();
    held.iter().for_each(|metrics| metrics.record(&answered(200)));
    let late = telemetry.request_metrics(&labels("late"));
    late.record(&answered(200));
    let text = text(&telemetry);
    let total: f64 = text
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(total, 6.0);
    assert_eq!(
        value(&text, "istio_requests_total", &["reporter=\"source\"", "destination_workload=\"other\""]),
        4.0
    );
    assert_eq!(value(&text, "sidle_metrics_series_dropped_total", &[]), 4.0);
    assert_eq!(value(&text, "sidle_metrics_series", &[]), 8.0);
}

#[test]
fn reloads_are_counted_and_one_version_is_in_force() {
    let telemetry = Telemetry::new();
    for outcome in [Reload::Applied("v1"), Reload::Unchanged, Reload::Applied("v2"), Reload::Rejected] {
        telemetry.reloaded(outcome);
    }
    let text = text(&telemetry);
    assert_eq!(value(&text, "sidle_config_info", &[]), 1.0);
    assert_eq!(value(&text, "sidle_config_info", &["version=\"v2\""]), 1.0);
    assert_eq!(value(&text, "sidle_config_last_reload_successful", &[]), 0.0);
    assert_eq!(value(&text, "sidle_config_reloads_total", &["result=\"applied\""]), 2.0);
    assert!(value(&text, "sidle_config_last_reload_success_timestamp_seconds", &[]) > 1.6e9);
}

#[test]
fn names_from_the_configuration_cannot_break_the_text() {
    let telemetry = Telemetry::new();
    let cluster = telemetry.cluster_metrics(&"a\"b\\c\nd{} 1".into());
    cluster.set_endpoints(1);
    let text = text(&telemetry);
    assert!(text.contains(r#"sidle_cluster_endpoints{cluster="a\"b\\c\nd{} 1"} 1"#), "{text}");
}

/// The table of the crate's README is this list; on failure the test prints what it should be.
#[test]
fn the_readme_lists_every_metric() {
    let row = |family: &names::Family| {
        let labels = match family.labels {
            names::REQUEST_LABELS => "Istio's, and `response_code`, `grpc_response_status`".to_owned(),
            names::TCP_LABELS => "Istio's".to_owned(),
            labels => labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", "),
        };
        let kind = format!("{:?}", family.kind).to_lowercase();
        format!("| `{}` | {kind} | {labels} | {} |\n", family.name, family.help)
    };
    let table: String = ALL.iter().map(row).collect();
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&table), "README.md must hold these rows:\n{table}");
    let hop = names::TCP_LABELS.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    assert!(readme.replace('\n', " ").contains(&hop), "README.md must hold these labels: {hop}");
}

/// The limits table of the proxy tells where each limit is seen.
#[test]
fn every_metric_of_the_limits_table_exists() {
    let readme = include_str!("../../../README.md");
    let named = readme.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: Vec<_> = named.filter(|word| word.starts_with("sidle_")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(ALL.iter().any(|family| family.name == name), "{name}");
    }
}

/// Prometheus' own check of names and format, where it is installed (`tests/run` installs it). It complains about names that are
/// Istio's and Envoy's.
#[test]
fn promtool_accepts_the_text() {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let telemetry = Telemetry::new();
    let _held = count_everything(&telemetry);
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return };
    child.stdin.take().unwrap().write_all(text(&telemetry).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let unexpected: Vec<_> = said
        .lines()
        .filter(|line| !line.starts_with("istio_request_duration_milliseconds use base unit \"seconds\""))
        .filter(|line| {
            !(line.starts_with("envoy_") && line.ends_with("counter metrics should have \"_total\" suffix"))
        })
        .collect();
    assert_eq!(unexpected, [""; 0]);
}

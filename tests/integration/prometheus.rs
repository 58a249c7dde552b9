//! Metrics, as Prometheus reads them.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    peers, ports,
    process::Process,
    sidle::{Sidle, http_get},
    wait,
};
use std::{
    io::Write,
    process::{Command, Stdio},
};

async fn used() -> (Stage, Sidle) {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let mut client = client(&sidle).await;
    for path in ["/", "/", "/?status=500"] {
        client.get(HOST, path).await;
    }
    (stage, sidle)
}

#[tokio::test]
async fn istio_metrics_have_their_names_labels_and_buckets() {
    let (_stage, sidle) = used().await;
    let metrics = sidle.metrics();
    let labels = [
        ("reporter", "source"),
        ("destination_service", HOST),
        ("destination_service_namespace", "default"),
        ("destination_app", "echo"),
        ("destination_version", "v1"),
        ("destination_canonical_service", "echo"),
        ("request_protocol", "http"),
        ("source_workload_namespace", "default"),
    ];
    for (name, value) in labels {
        let found = metrics
            .samples("istio_requests_total", &[])
            .next()
            .map(|sample| sample.labels.get(name).cloned());
        assert_eq!(found, Some(Some(value.to_owned())), "{name}");
    }
    let ok = [("response_code", "200"), ("response_flags", "-"), ("grpc_response_status", "")];
    assert_eq!(metrics.sum("istio_requests_total", &ok), 2.0, "{}", metrics.text);
    assert_eq!(metrics.sum("istio_requests_total", &[("response_code", "500")]), 1.0);
    assert_eq!(metrics.sum("istio_request_duration_milliseconds_count", &[]), 3.0);
    assert_eq!(metrics.sum("istio_request_duration_milliseconds_bucket", &[("le", "+Inf")]), 3.0);
    assert!(
        metrics.samples("istio_request_duration_milliseconds_bucket", &[("le", "2500")]).next().is_some()
    );
    for name in ["istio_request_bytes_count", "istio_response_bytes_count"] {
        assert_eq!(metrics.sum(name, &[]), 3.0, "{name}");
    }
    assert_eq!(metrics.sum("sidle_config_last_reload_successful", &[]), 1.0);
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let Some(promtool) = peers::find("promtool") else { return };
    let (_stage, sidle) = used().await;
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(sidle.metrics().text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Istio's name, which dashboards know.
    let known = "istio_request_duration_milliseconds use base unit \"seconds\" instead of \"milliseconds\"";
    let findings: Vec<_> = said.lines().filter(|line| !line.is_empty() && *line != known).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

#[tokio::test]
async fn prometheus_scrapes_it() {
    let Some(prometheus) = peers::find("prometheus") else { return };
    let (_stage, sidle) = used().await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: sidle\n    metrics_path: /stats/prometheus\n    \
         static_configs: [{{ targets: ['{}'] }}]\n",
        sidle.ports.metrics
    );
    std::fs::write(&configuration, text).unwrap();
    let address = ports::free();
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"));
    let server = Process::start(command);
    let query = |expression: &str| -> Option<String> {
        let answer = http_get(address, &format!("/api/v1/query?query={expression}")).ok()?;
        if answer.status != 200 {
            return None;
        }
        let json = answer.json();
        json["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    };
    wait::until("Prometheus to say up", || (query("up")? == "1").then_some(()));
    assert_eq!(query("sum(istio_requests_total)").as_deref(), Some("3"), "{}", server.output());
}

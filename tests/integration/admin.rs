//! The admin server: what it tells, and whom.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::sidle::{Sidle, http_get, http_request};

#[tokio::test]
async fn it_tells_what_runs() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    client(&sidle).await.get(HOST, "/").await;
    for path in [
        "/",
        "/ready",
        "/stats",
        "/stats/prometheus",
        "/metrics",
        "/server_info",
        "/memory",
        "/certs",
        "/config/status",
    ] {
        assert_eq!(sidle.admin(path).status, 200, "{path}");
    }
    let clusters = sidle.admin("/clusters");
    assert!(
        clusters.body.contains(&format!("outbound|80|v1|{HOST}::127.0.0.1:{}::", stage.v1.port())),
        "{}",
        clusters.body
    );
    let clusters = sidle.admin("/clusters?format=json").json();
    let names: Vec<_> =
        clusters["cluster_statuses"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert!(names.contains(&format!("outbound|80||{HOST}").into()), "{names:?}");
    let listeners = sidle.admin("/listeners?format=json").json();
    assert!(listeners["listener_statuses"].to_string().contains("virtualOutbound"), "{listeners}");
    let dump = sidle.admin("/config_dump").json();
    let types: Vec<_> = dump["configs"].as_array().unwrap().iter().map(|c| c["@type"].to_string()).collect();
    for kind in ["ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump"] {
        assert!(types.iter().any(|name| name.contains(kind)), "{kind} in {types:?}");
    }
}

#[test]
fn readiness_has_a_port_of_its_own() {
    let sidle = Sidle::run("");
    assert_eq!(http_get(sidle.ports.health, "/healthz/ready").unwrap().status, 200);
    assert_eq!(http_get(sidle.ports.health, "/config_dump").unwrap().status, 404);
    assert_eq!(sidle.admin_post("/healthcheck/fail").status, 200);
    assert_eq!(http_get(sidle.ports.health, "/healthz/ready").unwrap().status, 503);
    assert_eq!(sidle.admin_post("/healthcheck/ok").status, 200);
    assert_eq!(http_get(sidle.ports.health, "/healthz/ready").unwrap().status, 200);
}

#[test]
fn a_foreign_host_and_a_cross_site_post_are_refused() {
    let sidle = Sidle::run("");
    let admin = sidle.ports.admin;
    let status = |method: &str, path: &str, headers: &[(&str, &str)]| {
        http_request(admin, method, path, headers).unwrap().status
    };
    assert_eq!(status("GET", "/stats", &[("host", "attacker.example")]), 403);
    assert_eq!(status("GET", "/stats", &[("host", &format!("localhost:{}", admin.port()))]), 200);
    assert_eq!(status("POST", "/reload", &[("origin", "https://attacker.example")]), 403);
    assert_eq!(status("POST", "/reload", &[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(status("POST", "/reload", &[]), 200);
    assert_eq!(status("GET", "/quitquitquit", &[]), 405);
}

#[test]
fn quitquitquit_ends_the_process() {
    let mut sidle = Sidle::run("");
    assert_eq!(sidle.admin_post("/quitquitquit").status, 200);
    assert!(sidle.wait().success(), "{}", sidle.output());
}

#[test]
fn the_command_line_reads_a_running_proxy() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let admin = sidle.ports.admin.to_string();
    for (command, shows) in
        [("routes", HOST), ("clusters", HOST), ("endpoints", "127.0.0.1"), ("listeners", "virtualOutbound")]
    {
        let output =
            sidle_test_support::sidle::command().args([command, "--admin", &admin]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(shows),
            "{command}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    }
}

#[test]
fn the_log_takes_levels_and_targets_that_exist() {
    let sidle = Sidle::run("");
    for (level, status) in
        [("debug", 200), ("foo", 400), ("foo=debug", 400), ("info,sidle=warn", 200), ("inof", 400)]
    {
        let answer = sidle.admin_post(&format!("/logging?level={level}"));
        assert_eq!(answer.status, status, "{level}");
        assert!(status == 200 || answer.body.contains("expected error, warn, info"), "{}", answer.body);
    }
    assert!(sidle.admin_post("/logging").body.contains("sidle=warn"), "the last good one holds");
}

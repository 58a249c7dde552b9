//! Bounds of a cluster: what is too much is refused at once, and said so.

use crate::stage::{HOST, client};
use sidle_test_support::{
    client::{Client, request},
    echo::{Answer, Echo, zeros},
    manifest::{service, subsets},
    sidle::Sidle,
    wait,
};
use std::time::Duration;

fn run(echo: &Echo, http: &str, tcp: &str) -> Sidle {
    let policy = format!("  trafficPolicy:\n    connectionPool:\n      http: {http}\n      tcp: {tcp}\n");
    let manifests =
        service("echo", HOST, "HTTP", &[("v1", echo.port())]) + &subsets("echo", HOST, &["v1"], &policy);
    Sidle::builder().file("test.yaml", &manifests).arguments(&["--workers", "1"]).start()
}

#[tokio::test]
async fn too_many_active_requests_overflow() {
    let echo = Echo::start("v1");
    echo.answer(|seen| {
        seen.path.starts_with("/slow").then(|| Answer { delay: Duration::from_secs(2), ..Answer::default() })
    });
    let sidle = run(&echo, "{ http2MaxRequests: 2 }", "{}");
    let outbound = sidle.outbound();
    let slow: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { Client::http1(outbound).await.get(HOST, "/slow").await.status }))
        .collect();
    wait::eventually("both slow requests", || async { (echo.requests() == 2).then_some(()) }).await;
    let refused = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("x-envoy-overloaded")),
        (503, "true"),
        "{}",
        refused.text()
    );
    for slow in slow {
        assert_eq!(slow.await.unwrap(), 200);
    }
    assert_eq!(client(&sidle).await.get(HOST, "/").await.status, 200, "room again");
    assert!(sidle.metrics().sum("istio_requests_total", &[("response_flags", "UO")]) >= 1.0);
}

#[tokio::test]
async fn requests_wait_for_one_of_few_connections() {
    let echo = Echo::start("v1");
    let sidle = run(&echo, "{ http1MaxPendingRequests: 100 }", "{ maxConnections: 2 }");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = client(&sidle).await;
        calls.spawn(async move { client.get(HOST, "/?delay=50ms").await.status });
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert!(echo.connections() <= 2, "{} connections", echo.connections());
}

#[tokio::test]
async fn one_request_a_connection_disables_keep_alive() {
    let echo = Echo::start("v1");
    let sidle = run(&echo, "{ maxRequestsPerConnection: 1 }", "{}");
    let mut client = client(&sidle).await;
    for _ in 0..5 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    assert_eq!(echo.connections(), 5);
}

#[tokio::test]
async fn a_limit_of_no_time_is_none() {
    let echo = Echo::start("v1");
    let limits = "  limits: { streamIdleTimeout: 0s, connectionIdleTimeout: 0s, requestTimeout: 0s }\n  \
                  protocolDetectionTimeout: 0s\n";
    let sidle = Sidle::builder()
        .file("test.yaml", &service("echo", HOST, "HTTP", &[("v1", echo.port())]))
        .settings(limits)
        .start();
    for mut client in [Client::http1(sidle.outbound()).await, Client::http2(sidle.outbound()).await] {
        assert_eq!(client.get(HOST, "/").await.status.as_u16(), 200);
        // The last of its connection: the answer begins before the request has ended.
        let post = request("POST", HOST, "/?echo").body(zeros(1 << 20)).unwrap();
        let answer = client.exchange(post).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 1 << 20));
    }
}

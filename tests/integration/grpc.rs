//! gRPC: a real grpcio client and server on both sides, and what the proxy itself answers.

use crate::stage::HOST;
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{Echo, full},
    manifest::{service, virtual_service},
    peers, ports,
    process::Process,
    sidle::Sidle,
    wait,
};
use std::process::Command;

fn peer(python: &std::path::Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(python);
    command.arg(peers::root().join("tests/peers/grpc_peer.py")).args(arguments);
    Process::start(command)
}

#[test]
fn the_four_kinds_with_metadata_deadline_and_cancellation() {
    let Some(python) = peers::find("python") else { return };
    let port = ports::free().port();
    let server = peer(&python, &["serve", &port.to_string()]);
    wait::until("the gRPC server", || server.output().contains("listening").then_some(()));
    let sidle = Sidle::run(&service("kinds", HOST, "GRPC", &[("v1", port)]));

    let mut client = peer(&python, &["check", &sidle.outbound().to_string(), HOST]);
    let status = client.wait();
    assert!(status.success(), "{}\n{}", client.output(), sidle.output());
    for kind in ["unary ok", "server stream ok", "client stream ok", "bidirectional stream ok", "deadline ok"]
    {
        assert!(client.output().contains(kind), "{kind}: {}", client.output());
    }
    for caller in ["cancelled deadline", "cancelled by-client"] {
        wait::until("the server to hear of the cancellation", || {
            server.output().contains(caller).then_some(())
        });
    }
    let metrics = sidle.metrics();
    let wanted = [("request_protocol", "grpc"), ("grpc_response_status", "9"), ("response_code", "200")];
    assert_eq!(metrics.sum("istio_requests_total", &wanted), 1.0, "{}", metrics.text);
    assert!(metrics.sum("istio_request_messages_total", &[]) > 10.0);
}

async fn call(sidle: &Sidle, authority: &str, headers: &[(&str, &str)]) -> Answer {
    let mut ask = request("POST", authority, "/p.S/M")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        ask = ask.header(*name, *value);
    }
    Client::http2(sidle.outbound()).await.exchange(ask.body(full(&b"\0\0\0\0\x01a"[..])).unwrap()).await
}

/// A local reply: 200, no body, and a status in the only header block.
fn assert_local(answer: &Answer, status: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, status), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/grpc");
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn local_replies_are_grpc_statuses() {
    let dead = ports::free().port();
    let echo = Echo::start("v1");
    let manifests = service("dead", "dead.test", "GRPC", &[("v1", dead)])
        + &service("slow", "slow.test", "GRPC", &[("v1", echo.port())])
        + &virtual_service(
            "slow",
            "slow.test",
            "    - timeout: 200ms\n      route: [{ destination: { host: slow.test } }]",
        )
        + &service("none", "none.test", "GRPC", &[("v1", echo.port())])
        + &virtual_service(
            "none",
            "none.test",
            "    - match: [{ uri: { exact: /x } }]\n      directResponse: { status: 200 }",
        );
    echo.answer(|_| {
        Some(sidle_test_support::echo::Answer {
            delay: std::time::Duration::from_secs(5),
            ..Default::default()
        })
    });
    let sidle = Sidle::run(&manifests);
    assert_local(&call(&sidle, "dead.test", &[]).await, "14");
    assert_local(&call(&sidle, "none.test", &[]).await, "12");
    assert_local(&call(&sidle, "slow.test", &[]).await, "4");
}

#[tokio::test]
async fn a_grpc_timeout_is_honoured_without_a_route_timeout() {
    let echo = Echo::start("v1");
    echo.answer(|_| {
        Some(sidle_test_support::echo::Answer {
            delay: std::time::Duration::from_secs(10),
            ..Default::default()
        })
    });
    let sidle = Sidle::run(&service("slow", HOST, "GRPC", &[("v1", echo.port())]));
    let begin = std::time::Instant::now();
    assert_local(&call(&sidle, HOST, &[("grpc-timeout", "300m")]).await, "4");
    assert!(begin.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn a_status_in_the_only_header_block_is_retried() {
    let echo = Echo::start("v1");
    echo.answer(|seen| {
        (seen.header("x-envoy-attempt-count") == "1").then(|| {
            sidle_test_support::echo::Answer::default()
                .header("content-type", "application/grpc")
                .header("grpc-status", "14")
        })
    });
    let sidle = Sidle::run(&service("flaky", HOST, "GRPC", &[("v1", echo.port())]));
    let answer = call(&sidle, HOST, &[]).await;
    assert_eq!(
        answer.trailers.get("grpc-status").map(|status| status.as_bytes()),
        Some(&b"0"[..]),
        "{answer:?}"
    );
    assert_eq!(echo.requests(), 2);
}

/// What the caller waits for, and the route: whoever answers later answers nobody.
#[tokio::test]
async fn a_deadline_is_handed_on_lowered() {
    let echo = Echo::start("v1");
    let http = format!("    - route: [{{ destination: {{ host: {HOST} }} }}]\n      timeout: 3s");
    let manifests =
        service("echo", HOST, "GRPC", &[("v1", echo.port())]) + &virtual_service("echo", HOST, &http);
    let sidle = Sidle::run(&manifests);
    for (asked, most) in
        [(&[("grpc-timeout", "2S")][..], 2_000), (&[("grpc-timeout", "1H")], 3_000), (&[], 3_000)]
    {
        call(&sidle, HOST, asked).await;
        let told = echo.last().header("grpc-timeout").strip_suffix('m').unwrap().parse::<u32>().unwrap();
        assert!((most - 900..=most).contains(&told), "{told} ms for {asked:?}");
    }
}

//! Injected faults.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::client::{Client, request};
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_abort_answers_at_once_and_is_not_retried() {
    let stage = Stage::new();
    let sidle = stage.route_v1(
        "      fault: { abort: { httpStatus: 503, percentage: { value: 100 } } }\n      retries: { attempts: 3, retryOn: 5xx }",
    );
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "fault filter abort"));
    assert_eq!(stage.v1.requests(), 0);
}

#[tokio::test]
async fn half_of_the_requests_are_aborted() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      fault: { abort: { httpStatus: 418, percentage: { value: 50 } } }");
    let mut client = client(&sidle).await;
    let mut aborted = 0.0;
    for _ in 0..1_000 {
        aborted += f64::from(client.get(HOST, "/").await.status == 418);
    }
    assert!((aborted - 500.0_f64).abs() < 4.0 * 250.0_f64.sqrt(), "{aborted} of 1000");
}

#[tokio::test]
async fn a_delay_comes_before_the_upstream_and_outside_the_timeout() {
    let stage = Stage::new();
    let sidle = stage.route_v1(
        "      fault: { delay: { fixedDelay: 400ms, percentage: { value: 100 } } }\n      timeout: 200ms",
    );
    let begin = Instant::now();
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_abort_can_be_a_grpc_status() {
    let stage = Stage::new();
    let sidle =
        stage.route_v1("      fault: { abort: { grpcStatus: UNAVAILABLE, percentage: { value: 100 } } }");
    let call = request("POST", HOST, "/p.S/M").header("content-type", "application/grpc");
    let answer = Client::http2(sidle.outbound()).await.ask(call).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "14"));
}

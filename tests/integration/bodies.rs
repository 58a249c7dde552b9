//! Large bodies stream; memory stays small.

use bytes::Bytes;
use http_body_util::BodyExt;
use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, zeros},
    manifest::service,
    sidle::Sidle,
};

const HOST: &str = "echo.test";
const GIBIBYTE: u64 = 1 << 30;
const LIMIT: u64 = 50 << 20;

/// Reads a body and forgets it.
async fn length(body: hyper::body::Incoming) -> u64 {
    let mut body = body;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
    }
    length
}

async fn both_ways(protocol: &str, client: impl AsyncFn(&Sidle) -> Client) {
    let echo = Echo::start("v1");
    let sidle = Sidle::run(&service("echo", HOST, protocol, &[("v1", echo.port())]));
    let post = request("POST", HOST, "/?echo").body(zeros(GIBIBYTE)).unwrap();
    let response = client(&sidle).await.send(post).await.unwrap();
    assert_eq!(length(response.into_body()).await, GIBIBYTE);
    let peak = sidle.peak_resident_bytes();
    println!("1 GiB both ways: {} KiB resident at the most", peak >> 10);
    assert!(peak < LIMIT, "{} MiB resident at the most", peak >> 20);
}

#[tokio::test]
async fn a_gibibyte_streams_both_ways_over_http_1() {
    let _machine = crate::MACHINE.lock().await;
    both_ways("HTTP", async |sidle| Client::http1(sidle.outbound()).await).await;
}

#[tokio::test]
async fn a_gibibyte_streams_both_ways_over_http_2() {
    let _machine = crate::MACHINE.lock().await;
    both_ways("HTTP2", async |sidle| Client::http2(sidle.outbound()).await).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    let _machine = crate::MACHINE.lock().await;
    let echo = Echo::start("v1");
    let sidle = Sidle::run(&service("echo", HOST, "HTTP", &[("v1", echo.port())]));
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut client = Client::http1(sidle.outbound()).await;
        let ask = request("GET", HOST, "/?bytes=200000000").body(sidle_test_support::echo::full("")).unwrap();
        stuck.push((client.send(ask).await.unwrap(), client));
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let resident = sidle.resident_bytes();
    assert!(resident < LIMIT, "{} MiB resident with 20 stuck clients", resident >> 20);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstream_request() {
    let _machine = crate::MACHINE.lock().await;
    for protocol in ["HTTP", "HTTP2"] {
        let echo = Echo::start("v1");
        let sidle = Sidle::run(&service("echo", HOST, protocol, &[("v1", echo.port())]));
        let mut client = Client::http1(sidle.outbound()).await;
        let ask =
            request("GET", HOST, "/?bytes=1000000000").body(sidle_test_support::echo::full("")).unwrap();
        let response = client.send(ask).await.unwrap();
        drop((response, client));
        sidle_test_support::wait::eventually("the upstream to hear of it", || async {
            (echo.cancelled() == 1).then_some(())
        })
        .await;
    }
}

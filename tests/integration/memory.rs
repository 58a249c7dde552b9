//! Memory runs short: who is served goes on, who idles is sent away, and what is too much is told to come again.

use crate::stage::{HOST, Stage};
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::full,
    sidle::Sidle,
    wait,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Puts a limit in force of which the proxy uses this share now.
fn limit(sidle: &Sidle, share: f64) {
    let bytes = sidle.resident_bytes() as f64 / share;
    let settings = format!("  limits: {{ maxMemoryBytes: {bytes:.0} }}\n");
    sidle.replace("00-proxy.yaml", &sidle.ports.document(&settings));
    assert_eq!(sidle.admin_post("/reload").status, 200);
}

fn pressure(sidle: &Sidle) -> f64 {
    sidle.metrics().sum("sidle_memory_pressure", &[])
}

/// A request on a connection of its own; `None`: there was no answer.
async fn ask(sidle: &Sidle) -> Option<Answer> {
    let stream = tokio::net::TcpStream::connect(sidle.outbound()).await.ok()?;
    let mut client = Client::http1_over(stream).await;
    client.try_exchange(request("GET", HOST, "/").body(full("")).unwrap()).await.ok()
}

#[tokio::test]
async fn requests_are_shed_before_memory_is_gone() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    assert_eq!(pressure(&sidle), 0.0, "no limit, no pressure");
    let mut idle = Client::http1(sidle.outbound()).await;
    assert_eq!(idle.get(HOST, "/").await.status, 200);

    // What the process uses moves a little between looking and limiting.
    let refused = wait::eventually("a request that is refused", || async {
        limit(&sidle, 0.965);
        wait::eventually("a measurement", || async { (pressure(&sidle) > 0.9).then_some(()) }).await;
        ask(&sidle).await.filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!((refused.header("retry-after"), refused.text()), ("1", "overloaded".to_owned()));
    assert!(sidle.metrics().sum("istio_requests_total", &[("response_flags", "OM")]) >= 1.0);
    wait::eventually("the end of an idle connection", || async { idle.is_closed().then_some(()) }).await;

    limit(&sidle, 2.0);
    wait::until("a measurement", || (pressure(&sidle) > 1.5).then_some(()));
    wait::until("connections that are kept out", || {
        let mut stream = TcpStream::connect(sidle.outbound()).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "an orderly end");
        let by = [("limit", "memory")];
        (sidle.metrics().sum("sidle_listener_connections_refused_total", &by) > 0.0).then_some(())
    });

    limit(&sidle, 0.1);
    wait::until("relief", || (pressure(&sidle) < 0.5).then_some(()));
    let mut client = Client::http1(sidle.outbound()).await;
    for _ in 0..2 {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
}

/// What was freed is free, though the C library has not given it back.
#[tokio::test]
async fn a_burst_is_over_once_its_clients_have_left() {
    const CLIENTS: usize = 600;
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let mut client = Client::http1(sidle.outbound()).await;
    assert_eq!(client.get(HOST, "/").await.status, 200);
    limit(&sidle, 0.7);
    let mut burst = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(sidle.outbound()).unwrap();
        let ask = format!("GET /?bytes=10000000 HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let _ = stream.write_all(ask.as_bytes()); // the last ones are turned away
        burst.push(stream);
    }
    wait::until("a shortage", || (pressure(&sidle) > 0.98).then_some(()));
    drop(burst);
    wait::eventually("an answer", || async { ask(&sidle).await.filter(|answer| answer.status == 200) }).await;
    wait::until("relief", || (pressure(&sidle) < 0.9).then_some(()));
}

//! The keep-alive race: an upstream closes an idle connection at the moment of its reuse. A client never sees it.

use crate::stage::{HOST, client};
use sidle_test_support::{
    client::request,
    echo::full,
    manifest::{service, virtual_service},
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    wait,
};
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// No retries by configuration: what is repeated here, the pool repeats.
fn run(port: u16) -> Sidle {
    let route =
        format!("    - retries: {{ attempts: 0 }}\n      route: [{{ destination: {{ host: {HOST} }} }}]");
    Sidle::run(&(service("echo", HOST, "HTTP", &[("v1", port)]) + &virtual_service("echo", HOST, &route)))
}

#[tokio::test]
async fn a_safe_request_goes_again_on_a_fresh_connection() {
    let server = TcpServer::one_request_a_connection();
    let sidle = run(server.port());
    let mut client = client(&sidle).await;
    for number in 0..500 {
        let answer = client.get(HOST, "/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ok"), "request {number}");
    }
}

#[tokio::test]
async fn any_request_survives_a_connection_that_closed_before_it() {
    // Closes a moment after each answer, so that reuse meets every state of the closing.
    let server = TcpServer::start(|mut stream, number| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            std::thread::sleep(Duration::from_micros(number % 40 * 50));
        }
    });
    let sidle = run(server.port());
    let mut client = client(&sidle).await;
    for number in 0..500 {
        let answer = client.get(HOST, "/").await;
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
        tokio::time::sleep(Duration::from_micros(number % 23 * 100)).await;
    }
}

#[tokio::test]
async fn a_post_goes_on_a_fresh_connection_when_the_pooled_one_has_closed() {
    let closed = Arc::new(AtomicU64::new(0));
    let count = closed.clone();
    let server = TcpServer::start(move |mut stream, _| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        drop(stream);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let sidle = run(server.port());
    let mut client = client(&sidle).await;
    for number in 0..50 {
        let answer = client.exchange(request("POST", HOST, "/").body(full("pay")).unwrap()).await;
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
        wait::eventually("the end of its connection", || async {
            (closed.load(Ordering::Relaxed) > number).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_post_that_was_written_is_never_repeated() {
    let posts = Arc::new(AtomicU64::new(0));
    let seen = posts.clone();
    let server = TcpServer::start(move |mut stream, _| {
        while let Some(head) = read_request(&mut stream) {
            if head.starts_with("POST") {
                seen.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let sidle = run(server.port());
    let mut client = client(&sidle).await;
    assert_eq!(client.get(HOST, "/").await.status, 200);
    let answer = client.exchange(request("POST", HOST, "/").body(full("pay")).unwrap()).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(posts.load(Ordering::Relaxed), 1);
}

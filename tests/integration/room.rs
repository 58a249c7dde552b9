//! The room that a thousand connections take, and a thousand requests under way: bounds that catch a doubling. What Sidle takes is measured,
//! beside other proxies, by `sidle-bench compare --scenarios idle,idle-h2`.

use http_body_util::BodyExt as _;
use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, full},
    manifest::service,
    sidle::Sidle,
    wait,
};
use std::time::Duration;
use tokio::task::JoinSet;

const HOST: &str = "echo.test";
const COUNT: usize = 1000;
/// Requests under way on one connection.
const STREAMS: usize = 100;
/// An unoptimised build keeps more.
const SCALE: usize = if cfg!(debug_assertions) { 2 } else { 1 };
/// Until memory that nobody needs any more is given back.
const REST: Duration = Duration::from_millis(500);

/// A proxy that has served already, so that what every process needs once is there.
async fn proxy(echo: &Echo, protocol: &str) -> Sidle {
    let service = service("echo", HOST, protocol, &[("v1", echo.port())]);
    let sidle = Sidle::builder().settings("  concurrency: 1\n").file("mesh.yaml", &service).start();
    for mut client in [Client::http1(sidle.outbound()).await, Client::http2(sidle.outbound()).await] {
        assert_eq!(client.get(HOST, "/").await.status, 200);
    }
    sidle
}

/// Bytes of each of [`COUNT`] things that have come since `before`.
async fn of_each(sidle: &Sidle, before: u64) -> usize {
    tokio::time::sleep(REST).await;
    sidle.resident_bytes().saturating_sub(before) as usize / COUNT
}

#[tokio::test]
async fn idle_connections_take_little_room() {
    let _machine = crate::MACHINE.lock().await;
    let echo = Echo::start("v1");
    for (protocol, most) in [("HTTP/1.1", 6 << 10), ("HTTP/2", 16 << 10)] {
        let sidle = proxy(&echo, "HTTP").await;
        let before = sidle.resident_bytes();
        let mut idle = Vec::with_capacity(COUNT);
        while idle.len() < COUNT {
            let mut client = match protocol {
                "HTTP/2" => Client::http2(sidle.outbound()).await,
                _ => Client::http1(sidle.outbound()).await,
            };
            assert_eq!(client.get(HOST, "/").await.status, 200);
            idle.push(client);
        }
        let bytes = of_each(&sidle, before).await;
        println!("an idle connection of {protocol}: {bytes} bytes");
        assert!(bytes < most * SCALE, "an idle connection of {protocol} takes {bytes} bytes");
        assert!(!idle.iter().any(Client::is_closed));
    }
}

#[tokio::test]
async fn open_streams_take_little_room() {
    let _machine = crate::MACHINE.lock().await;
    let echo = Echo::start("v1");
    let sidle = proxy(&echo, "HTTP2").await;
    let (before, asked) = (sidle.resident_bytes(), echo.requests());
    let mut streams = JoinSet::new();
    for _ in 0..COUNT / STREAMS {
        let Client::Http2(sender) = Client::http2(sidle.outbound()).await else { continue };
        for _ in 0..STREAMS {
            let mut stream = sender.clone();
            let question = request("GET", HOST, "/?hang").body(full("")).unwrap();
            streams.spawn(async move { stream.send_request(question).await?.into_body().collect().await });
        }
    }
    wait::eventually("requests under way", || async {
        (echo.requests() - asked >= COUNT as u64).then_some(())
    })
    .await;
    let bytes = of_each(&sidle, before).await;
    println!("an open stream: {bytes} bytes");
    assert!(bytes < (20 << 10) * SCALE, "an open stream takes {bytes} bytes");
    assert_eq!(streams.len(), COUNT);
    let ended = streams.try_join_next();
    assert!(ended.is_none(), "{ended:?}");
}

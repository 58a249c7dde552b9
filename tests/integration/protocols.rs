//! HTTP/1.1, HTTP/2 and WebSocket, in any mix of the two sides.

use crate::{
    raw::OK,
    stage::{HOST, Stage},
};
use http::Version;
use sidle_test_support::{
    client::{Client, request},
    echo::{Answer, Echo, full},
    http2::{END_STREAM, Http2, frame, kind},
    manifest::{service, subsets},
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    websocket::WebSocket,
};
use std::io::Write as _;

async fn clients(sidle: &Sidle) -> [Client; 2] {
    [Client::http1(sidle.outbound()).await, Client::http2(sidle.outbound()).await]
}

#[tokio::test]
async fn any_version_comes_in_and_the_declared_one_goes_out() {
    for (protocol, wanted) in
        [("HTTP", Version::HTTP_11), ("HTTP2", Version::HTTP_2), ("GRPC", Version::HTTP_2)]
    {
        let echo = Echo::start("v1");
        let sidle = Sidle::run(&service("echo", HOST, protocol, &[("v1", echo.port())]));
        for mut client in clients(&sidle).await {
            let body = request("POST", HOST, "/p?q").header("x-a", "b").body(full("text")).unwrap();
            let answer = client.exchange(body).await.json();
            assert_eq!(echo.last().protocol, wanted, "{protocol}");
            for (field, value) in
                [("method", "POST"), ("path", "/p?q"), ("authority", HOST), ("body", "text")]
            {
                assert_eq!(answer[field], value, "{protocol} {field}");
            }
        }
    }
}

#[tokio::test]
async fn trailers_arrive_from_an_http_2_upstream() {
    let echo = Echo::start("v1");
    echo.answer(|_| {
        Some(Answer { body: "text".into(), trailers: vec![("x-sum", "42".to_owned())], ..Answer::default() })
    });
    let sidle = Sidle::run(&service("echo", HOST, "HTTP2", &[("v1", echo.port())]));
    let mut client = Client::http2(sidle.outbound()).await;
    let answer = client.get(HOST, "/").await;
    assert_eq!((answer.text().as_str(), &answer.trailers["x-sum"]), ("text", &"42".parse().unwrap()));
}

#[tokio::test]
async fn h2_upgrade_policy_makes_http_2_of_http_1() {
    let echo = Echo::start("v1");
    let policy = "  trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: UPGRADE } } }\n";
    let manifests =
        service("echo", HOST, "HTTP", &[("v1", echo.port())]) + &subsets("echo", HOST, &["v1"], policy);
    let sidle = Sidle::run(&manifests);
    Client::http1(sidle.outbound()).await.get(HOST, "/").await;
    assert_eq!(echo.last().protocol, Version::HTTP_2);
}

#[tokio::test]
async fn many_streams_share_one_http_2_connection() {
    let echo = Echo::start("v1");
    let sidle = Sidle::run(&service("echo", HOST, "HTTP2", &[("v1", echo.port())]));
    let Client::Http2(sender) = Client::http2(sidle.outbound()).await else { unreachable!() };
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..80 {
        let mut client = Client::Http2(sender.clone());
        calls.spawn(async move { client.get(HOST, &format!("/{number}?delay=100ms")).await.status });
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert!(echo.connections() <= 2, "{} connections", echo.connections());
}

#[tokio::test]
async fn head_and_empty_answers_have_no_body() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    for mut client in clients(&sidle).await {
        let head = client.ask(request("HEAD", HOST, "/?bytes=100")).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        assert_eq!(client.get(HOST, "/?status=204").await.status, 204);
        assert_eq!(client.get(HOST, "/?status=304").await.status, 304);
        assert_eq!(client.get(HOST, "/").await.status, 200, "the connection is still in step");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    use std::io::{Read, Write};
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let mut stream = std::net::TcpStream::connect(sidle.outbound()).unwrap();
    let one = |path: &str, last: bool| {
        let close = if last { "connection: close\r\n" } else { "" };
        format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{close}\r\n")
    };
    let all = one("/first?delay=100ms", false) + &one("/second", false) + &one("/third", true);
    stream.write_all(all.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let places: Vec<_> = ["/first", "/second", "/third"].iter().map(|path| text.find(path)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[tokio::test]
async fn a_websocket_is_echoed() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      timeout: 2s");
    let mut socket = WebSocket::open(sidle.outbound(), HOST, "/chat").await.unwrap();
    assert_eq!(socket.response.status(), 101);
    assert_eq!(socket.response.headers()["x-version"], "v1");
    for text in ["hello", "", &"long ".repeat(50_000)] {
        assert_eq!(socket.exchange(text).await.unwrap(), text);
    }
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    assert_eq!(socket.exchange("later").await.unwrap(), "later", "the timeout bounds the handshake only");
    socket.close().await.unwrap();
}

#[tokio::test]
async fn a_websocket_can_be_a_stream_of_http_2() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let mut client = Client::http2(sidle.outbound()).await;
    // The server's leave for it is in its SETTINGS, which are there once anything was answered.
    assert_eq!(client.get(HOST, "/").await.status, 200);
    let mut socket = WebSocket::open_stream(&mut client, HOST, "/chat").await.unwrap();
    assert_eq!(socket.exchange("hello").await.unwrap(), "hello");
    assert_eq!(client.get(HOST, "/").await.status, 200, "beside it");
    assert_eq!(socket.exchange("later").await.unwrap(), "later");
    socket.close().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_its_answer() {
    let stage = Stage::new();
    stage.v1.answer(|_| Some(Answer::status(403)));
    let sidle = stage.route_v1("");
    let mut client = Client::http1(sidle.outbound()).await;
    let ask = request("GET", HOST, "/").header("connection", "upgrade").header("upgrade", "other");
    assert_eq!(client.ask(ask).await.status, 403);
    assert_eq!(client.get(HOST, "/").await.status, 403, "the connection goes on");
}

#[tokio::test]
async fn bad_requests_are_400() {
    use std::io::{Read, Write};
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    for bad in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: b\r\nconnection: close\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nbad name: x\r\n\r\n"),
    ] {
        let mut stream = std::net::TcpStream::connect(sidle.outbound()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        stream.write_all(bad.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{error} after {bad:?}"));
        assert_eq!(&answer, b"HTTP/1.1 400", "{bad:?}");
    }
    assert_eq!(stage.v1.requests(), 0);
}

/// The content of an answer that was read to its end may wait for window while its connection already serves the next request.
#[test]
fn answers_that_wait_for_window_end_whole() {
    let server =
        TcpServer::start(
            |mut stream, _| {
                while read_request(&mut stream).is_some_and(|_| stream.write_all(OK).is_ok()) {}
            },
        );
    let sidle = Sidle::run(&service("echo", HOST, "HTTP", &[("v1", server.port())]));
    let mut client = Http2::connect(sidle.outbound(), &[(4, 0)]);
    let streams = || (0..8).map(|n| 2 * n + 1);
    for stream in streams() {
        client.request(
            stream,
            true,
            &[(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")],
        );
        client.find(|frame| frame.kind == kind::HEADERS && frame.stream == stream);
    }
    assert_eq!(server.connections(), 1, "it was used again");
    for stream in streams() {
        client.send(&frame(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]));
        let last = client.find(|frame| frame.stream == stream);
        assert_eq!((last.kind, last.flags, &*last.payload), (kind::DATA, END_STREAM, &b"ok"[..]));
    }
}

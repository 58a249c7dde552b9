use super::*;
use crate::{
    client::{Client, request},
    wait,
    websocket::WebSocket,
};
use std::io::{Read, Write};

#[tokio::test]
async fn one_port_speaks_http_1_and_2() {
    let echo = Echo::start("v1");
    for mut client in [Client::http1(echo.address()).await, Client::http2(echo.address()).await] {
        let answer = client.ask(request("PUT", "a.test", "/b?c=d").header("x-e", "f")).await;
        assert_eq!(answer.version(), "v1");
        let json = answer.json();
        assert_eq!((json["method"].as_str(), json["path"].as_str()), (Some("PUT"), Some("/b?c=d")));
        assert_eq!(
            (json["authority"].as_str(), json["headers"]["x-e"].as_str()),
            (Some("a.test"), Some("f"))
        );
    }
    assert_eq!(echo.requests(), 2);
    assert_eq!(echo.last().protocol, Version::HTTP_2);
}

#[tokio::test]
async fn the_query_asks_for_other_answers() {
    let echo = Echo::start("v1");
    let mut client = Client::http1(echo.address()).await;
    assert_eq!(client.get("a", "/?status=418").await.status, 418);
    assert_eq!(client.get("a", "/?bytes=200000").await.body.len(), 200_000);
    assert_eq!(client.get("a", "/?fail=1").await.status, 503);
    let second = request("GET", "a", "/?fail=1").header("x-envoy-attempt-count", "2");
    assert_eq!(client.ask(second).await.status, 200);
    let echoed = client.exchange(request("POST", "a", "/?echo").body(full("text")).unwrap()).await;
    assert_eq!(echoed.text(), "text");
    assert!(client.try_exchange(request("GET", "a", "/?reset").body(full("")).unwrap()).await.is_err());
}

#[tokio::test]
async fn grpc_is_echoed_with_trailers() {
    let echo = Echo::start("v1");
    let mut client = Client::http2(echo.address()).await;
    let call = request("POST", "a", "/p.S/M").header("content-type", "application/grpc");
    let answer = client.exchange(call.body(full(&b"\0\0\0\0\x01a"[..])).unwrap()).await;
    assert_eq!(answer.text(), "\0\0\0\0\x01a");
    assert_eq!(answer.trailers["grpc-status"], "0");
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_is_counted() {
    let echo = Echo::start("v1");
    let mut client = Client::http2(echo.address()).await;
    drop(client.send(request("GET", "a", "/?hang").body(full("")).unwrap()).await.unwrap());
    wait::eventually("the cancellation", || async { (echo.cancelled() == 1).then_some(()) }).await;
    client.get("a", "/").await;
    assert_eq!(echo.cancelled(), 1);
}

#[tokio::test]
async fn websockets_and_plain_tcp_are_echoed() {
    let echo = Echo::start("v1");
    let mut socket = WebSocket::open(echo.address(), "a.test", "/chat").await.unwrap();
    assert_eq!(socket.exchange("hello").await.unwrap(), "hello");
    socket.close().await.unwrap();

    let mut stream = std::net::TcpStream::connect(echo.address()).unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "v1 hello\n");
}

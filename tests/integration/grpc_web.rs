//! gRPC-Web: raw requests as browsers send them, in bytes and in text, to a real grpcio server and to one that fails.

use crate::stage::HOST;
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{self, Echo, full},
    manifest::{service, virtual_service},
    peers, ports,
    process::Process,
    sidle::Sidle,
    wait,
};
use std::{net::SocketAddr, process::Command};

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";
const TEXT_ANSWER: &str = "application/grpc-web-text+proto";

/// grpcio's server of `test.Kinds`.
fn serve() -> Option<(Process, u16)> {
    let python = peers::find("python")?;
    let port = ports::free().port();
    let mut command = Command::new(python);
    command.arg(peers::root().join("tests/peers/grpc_peer.py")).args(["serve", &port.to_string()]);
    let server = Process::start(command);
    wait::until("the gRPC server", || server.output().contains("listening").then_some(()));
    Some((server, port))
}

async fn call(proxy: SocketAddr, method: &str, media_type: &str, body: impl AsRef<[u8]>) -> Answer {
    let ask = request("POST", HOST, &format!("/test.Kinds/{method}"))
        .header("content-type", media_type)
        .header("accept", media_type)
        .header("x-grpc-web", "1");
    Client::http1(proxy).await.exchange(ask.body(full(body.as_ref().to_vec())).unwrap()).await
}

/// The frames of a body: flag and content.
fn frames(mut body: &[u8]) -> Vec<(u8, String)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        frames.push((head[0], String::from_utf8_lossy(&rest[..length]).into_owned()));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "{body:?} is no frame");
    frames
}

/// The bytes of a text that is padded here and there.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => 0,
        other => panic!("{other} is not of base64"),
    };
    let (groups, rest) = text.as_chunks::<4>();
    assert!(rest.is_empty(), "{} characters", text.len());
    let mut bytes = Vec::new();
    for group in groups {
        let padding = group.iter().filter(|&&byte| byte == b'=').count();
        let value = group.iter().fold(0, |value, &byte| value << 6 | digit(byte));
        bytes.extend_from_slice(&value.to_be_bytes()[1..4 - padding]);
    }
    bytes
}

fn assert_trailers(frame: &(u8, String), status: &str) {
    assert_eq!(frame.0, 0x80, "{frame:?}");
    assert!(frame.1.contains(&format!("grpc-status:{status}\r\n")) && frame.1.ends_with("\r\n"), "{frame:?}");
}

#[tokio::test]
async fn calls_in_bytes_and_in_text() {
    let Some((_server, port)) = serve() else { return };
    let sidle = Sidle::run(&service("kinds", HOST, "GRPC-WEB", &[("v1", port)]));
    let proxy = sidle.outbound();

    let answer = call(proxy, "Unary", BINARY, b"\0\0\0\0\x01a").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, BINARY), "{answer:?}");
    assert!(answer.trailers.is_empty());
    let found = frames(&answer.body);
    assert_eq!((found.len(), &found[0]), (2, &(0, "got a".to_owned())));
    assert_trailers(&found[1], "0");
    assert!(found[1].1.contains("x-trailing:2\r\n"), "{found:?}");

    let text = call(proxy, "Unary", TEXT, "AAAAAAE=YQ==").await;
    assert_eq!(text.header("content-type"), TEXT_ANSWER, "{text:?}");
    assert_eq!(frames(&decoded(&text.body)).first(), Some(&(0, "got a".to_owned())));

    for (media_type, body) in [(BINARY, &b"\0\0\0\0\x023\x30"[..]), (TEXT, b"AAAAAAIzMA==")] {
        let stream = call(proxy, "ServerStream", media_type, body).await;
        let bytes = if media_type == TEXT { decoded(&stream.body) } else { stream.body.to_vec() };
        let mut found = frames(&bytes);
        assert_trailers(&found.pop().unwrap(), "0");
        let wanted: Vec<_> = (0..30).map(|index| (0, index.to_string())).collect();
        assert_eq!(found, wanted);
    }

    let refused = call(proxy, "Fail", BINARY, b"\0\0\0\0\0").await;
    let told =
        frames(&refused.body).pop().map_or_else(|| refused.header("grpc-status").to_owned(), |frame| frame.1);
    assert!(told.contains('9'), "{refused:?}");

    let metrics = sidle.metrics();
    let ok = [("request_protocol", "grpc"), ("grpc_response_status", "0"), ("response_code", "200")];
    assert_eq!(metrics.sum("istio_requests_total", &ok), 4.0, "{}", metrics.text);
    assert_eq!(metrics.sum("istio_request_messages_total", &ok), 4.0);
    assert_eq!(metrics.sum("istio_response_messages_total", &ok), 62.0);
}

#[tokio::test]
async fn what_goes_wrong_is_a_status() {
    let echo = Echo::start("v1");
    echo.answer(|_| Some(echo::Answer::status(503).header("content-type", "text/html")));
    let dead = ports::free().port();
    let manifests = service("page", HOST, "GRPC", &[("v1", echo.port())])
        + &service("dead", "dead.test", "GRPC", &[("v1", dead)])
        + &virtual_service(
            "page",
            HOST,
            "    - retries: { attempts: 0 }\n      route: [{ destination: { host: echo.test } }]",
        );
    let sidle = Sidle::run(&manifests);
    let answer = call(sidle.outbound(), "M", TEXT, "AAAAAAA=").await;
    let told = |answer: &Answer| {
        (
            answer.status.as_u16(),
            answer.header("content-type").to_owned(),
            answer.header("grpc-status").to_owned(),
        )
    };
    assert_eq!(told(&answer), (503, TEXT_ANSWER.to_owned(), "14".to_owned()), "{answer:?}");
    assert!(answer.body.is_empty());
    let seen = echo.last();
    assert_eq!((seen.header("content-type"), seen.header("te")), ("application/grpc", "trailers"));

    let bad = call(sidle.outbound(), "M", TEXT, "AAAAAA").await;
    assert_eq!(told(&bad), (200, TEXT_ANSWER.to_owned(), "13".to_owned()), "{bad:?}");

    let ask = request("POST", "dead.test", "/a/b").header("content-type", BINARY);
    let local = Client::http2(sidle.outbound()).await.exchange(ask.body(full("\0\0\0\0\0")).unwrap()).await;
    assert_eq!(told(&local), (200, BINARY.to_owned(), "14".to_owned()), "{local:?}");
    let metrics = sidle.metrics();
    let grpc = [("request_protocol", "grpc"), ("grpc_response_status", "14"), ("response_code", "503")];
    assert_eq!(metrics.sum("istio_requests_total", &grpc), 1.0, "{}", metrics.text);
}

//! Heads, lengths and trailers of HTTP/2 requests: what is malformed is refused on its stream and goes nowhere.

use crate::{
    http2::{Proxy, get, post},
    stage::HOST,
};
use sidle_test_support::{
    echo::Answer,
    http2::{END_HEADERS, END_STREAM, block, frame, has_status, kind},
};

const PROTOCOL_ERROR: u32 = 1;

#[tokio::test]
async fn a_length_that_is_not_the_bodys_resets_the_stream() {
    let proxy = Proxy::start("");
    let mut fields = post("/length");
    fields.push(("content-length", "5"));
    for (n, (body, ends)) in
        [(&b""[..], true), (b"", false), (b"abc", false), (b"0123456789", false)].iter().enumerate()
    {
        let mut client = proxy.connect();
        client.request(1, *ends, &fields);
        if !ends {
            client.send(&frame(kind::DATA, END_STREAM, 1, body));
        }
        assert_eq!(client.reset_of(1), PROTOCOL_ERROR, "case {n}");
    }
    let seen = proxy.stage.v1.received();
    assert!(seen.iter().all(|seen| seen.body.is_empty()), "nothing but whole bodies: {seen:?}");
}

#[tokio::test]
async fn malformed_heads_are_refused_and_go_nowhere() {
    let proxy = Proxy::start("");
    let with = |name: &'static str, value: &'static str| [get("/"), vec![(name, value)]].concat();
    let without = |name: &str| get("/").into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let replaced = |name: &'static str, value: &'static str| {
        get("/").into_iter().map(|(n, v)| (n, if n == name { value } else { v })).collect::<Vec<_>>()
    };
    let resets = [
        with("transfer-encoding", "chunked"),
        with("connection", "close"),
        with("keep-alive", "1"),
        with("proxy-connection", "x"),
        with("upgrade", "h2c"),
        with("te", "gzip"),
        with("a: b\r\nx", "y"),
        with("x", "y\r\nTransfer-Encoding: chunked"),
        with("x", "a\0b"),
        with("X-Upper", "y"),
        with(":status", "200"),
        with(":path", "/again"),
        with(":unknown", "x"),
        without(":method"),
        without(":scheme"),
        without(":path"),
        replaced(":method", "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"),
        replaced(":path", ""),
        [vec![("x", "before")], get("/")].concat(),
    ];
    for fields in resets {
        let mut client = proxy.connect();
        client.request(1, true, &fields);
        let end = client.find(|frame| matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY));
        assert_eq!(end.code(), PROTOCOL_ERROR, "{fields:?}");
    }
    for fields in [
        replaced(":path", "/a b"),
        replaced(":path", "/a\0b"),
        replaced(":path", "/a\r\nx: y"),
        replaced(":path", "no-slash"),
        replaced(":scheme", "javascript"),
        replaced(":authority", "user@echo.test"),
    ] {
        let mut client = proxy.connect();
        client.request(1, true, &fields);
        let end = client.find(|frame| matches!(frame.kind, kind::HEADERS | kind::RST_STREAM));
        let refused = end.kind == kind::RST_STREAM || end.payload[0] == 0x8c; // 400
        assert!(refused, "{fields:?}: {end:?}");
    }
    assert_eq!(proxy.stage.v1.requests(), 0);
    proxy.serves().await;
}

#[tokio::test]
async fn trailers_end_a_stream_or_break_it() {
    let proxy = Proxy::start("");
    let mut client = proxy.connect();
    client.request(1, false, &post("/"));
    client.send(&frame(kind::HEADERS, END_HEADERS, 1, &block([("x", "y")])));
    assert_eq!(client.reset_of(1), PROTOCOL_ERROR);
    client.request(3, false, &post("/"));
    client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 3, &block([("x", "y")])));
    let head = client.find(|frame| frame.kind == kind::HEADERS && frame.stream == 3);
    assert_eq!(head.payload[0], 0x88, "200");
}

#[tokio::test]
async fn one_host_one_cookie_field() {
    let proxy = Proxy::start("");
    proxy.stage.v1.answer(|_| Some(Answer::status(200)));
    let mut client = proxy.connect();
    let fields = [get("/"), vec![("host", "evil.test"), ("cookie", "a=1"), ("cookie", "b=2; c=3")]].concat();
    client.request(1, true, &fields);
    client.find(|frame| frame.kind == kind::HEADERS);
    let seen = proxy.stage.v1.last();
    assert_eq!(seen.authority, HOST);
    let cookies: Vec<_> = seen.headers.get_all("cookie").into_iter().collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn heads_that_are_too_large_are_answered() {
    let proxy = Proxy::start("");
    let names: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let many = names.iter().map(|name| (name.as_str(), "y"));
    let large = "y".repeat(34_000);
    for fields in
        [get("/").into_iter().chain(many).collect::<Vec<_>>(), [get("/"), vec![("x", &large)]].concat()]
    {
        let mut client = proxy.connect();
        let block = block(fields.iter().copied());
        let (first, rest) = block.split_at(block.len().min(16_000));
        let (second, third) = rest.split_at(rest.len().min(16_000));
        client.send(&frame(kind::HEADERS, END_STREAM, 1, first));
        client.send(&frame(kind::CONTINUATION, 0, 1, second));
        client.send(&frame(kind::CONTINUATION, END_HEADERS, 1, third));
        let head = client.find(|frame| frame.kind == kind::HEADERS);
        assert!(has_status(&head, "431"), "{:02x?}", head.payload);
        client.request(3, true, &get("/"));
        let next = client.find(|frame| frame.kind == kind::HEADERS && frame.stream == 3);
        assert_eq!(next.payload[0], 0x88, "the connection goes on");
    }
    // Two were refused, one of them before it was whole, and two were served.
    for details in ["http1.too_many_headers", "http1.headers_too_large"] {
        let lines = proxy.logged(4, details);
        assert!(lines.len() == 1 && lines[0].contains(" HTTP/2\" 431 DPE "), "{lines:?}");
    }
    let metrics = proxy.sidle.metrics();
    assert_eq!(metrics.sum("istio_requests_total", &[("response_code", "431")]), 2.0);
    assert_eq!(metrics.sum("sidle_listener_protocol_errors_total", &[]), 2.0);
}

//! HTTP/2 upstreams in bad faith, or in trouble: no request is lost that need not be, and none waits for ever.

use crate::stage::{HOST, client};
use sidle_test_support::{
    client::Client,
    echo::Echo,
    http2::{END_HEADERS, END_STREAM, Frame, Http2, block, frame, has_status, kind},
    manifest::{service, subsets, virtual_service},
    sidle::Sidle,
    tcp::TcpServer,
    tls::Authority,
    wait,
};
use std::sync::{Mutex, mpsc::channel};

/// A proxy in front of one HTTP/2 upstream.
fn run(upstream: &TcpServer) -> Sidle {
    Sidle::run(&service("echo", HOST, "HTTP2", &[("v1", upstream.port())]))
}

fn status(code: &str, stream: u32, end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(kind::HEADERS, flags, stream, &block([(":status", code)]))
}

/// The next request, whose body is not waited for; `None` when the proxy has closed.
fn request(upstream: &mut Http2) -> Option<Frame> {
    loop {
        let frame = upstream.frame()?;
        if frame.kind == kind::HEADERS {
            return Some(frame);
        }
    }
}

/// Answers every request with `answer`, given its stream.
fn answering(answer: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> TcpServer {
    TcpServer::start(move |stream, _| {
        let mut upstream = Http2::accept(stream, &[]);
        while let Some(request) = request(&mut upstream) {
            if !upstream.send(&answer(request.stream)) {
                return;
            }
        }
    })
}

async fn get(sidle: &Sidle) -> u16 {
    client(sidle).await.get(HOST, "/").await.status.as_u16()
}

#[tokio::test]
async fn interim_responses_reach_the_client_in_order() {
    let upstream = answering(|stream| {
        let hints = block([(":status", "103"), ("link", "</a.css>"), ("connection", "close")]);
        let hints = frame(kind::HEADERS, END_HEADERS, stream, &hints[..hints.len() - 18]);
        [status("100", stream, false), hints, status("204", stream, true)].concat()
    });
    let sidle = run(&upstream);
    let mut client = Http2::connect(sidle.outbound(), &[]);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", "/"),
        ("expect", "100-continue"),
    ];
    client.request(1, false, &fields);
    let heads: Vec<Frame> = (0..3).map(|_| client.find(|frame| frame.kind == kind::HEADERS)).collect();
    for (head, status) in heads.iter().zip(["100", "103", "204"]) {
        assert!(has_status(head, status), "{heads:02x?}");
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_an_error() {
    let few =
        answering(|stream| [status("103", stream, false).repeat(8), status("200", stream, true)].concat());
    assert_eq!(get(&run(&few)).await, 200);
    let many =
        answering(|stream| [status("103", stream, false).repeat(9), status("200", stream, true)].concat());
    assert_eq!(get(&run(&many)).await, 502);
    let flood = answering(|stream| status("103", stream, false).repeat(100_000));
    assert_eq!(get(&run(&flood)).await, 502);
}

#[tokio::test]
async fn broken_responses_are_the_upstreams_fault() {
    let malformed = |fields: &'static [(&'static str, &'static str)]| {
        answering(move |stream| {
            frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(fields.iter().copied()))
        })
    };
    for fields in [
        &[(":status", "200"), ("content-length", "5")][..],
        &[(":status", "200"), ("x", "a\r\nb")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("Upper", "x")],
        &[(":status", "99999")],
        &[("x", "no status")],
        &[(":status", "101")],
    ] {
        assert_eq!(get(&run(&malformed(fields))).await, 502, "{fields:?}");
    }
    let promise = answering(|stream| {
        let promised =
            [&2_u32.to_be_bytes()[..], &block([(":method", "GET"), (":scheme", "http"), (":path", "/")])]
                .concat();
        [frame(kind::PUSH_PROMISE, END_HEADERS, stream, &promised), status("200", stream, true)].concat()
    });
    assert!(get(&run(&promise)).await >= 502);
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_not_passed_as_whole() {
    let upstream = answering(|stream| {
        let head = block([(":status", "200"), ("content-length", "5")]);
        [frame(kind::HEADERS, END_HEADERS, stream, &head), frame(kind::DATA, END_STREAM, stream, b"abc")]
            .concat()
    });
    let sidle = run(&upstream);
    let mut client = Client::http2(sidle.outbound()).await;
    let request = sidle_test_support::client::request("GET", HOST, "/");
    let answer = client.try_exchange(request.body(sidle_test_support::echo::full("")).unwrap()).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 502), "not whole");
}

#[tokio::test]
async fn floods_end_the_connection() {
    for flood in
        [frame(kind::SETTINGS, 0, 0, &[]), frame(kind::PING, 0, 0, b"12345678"), frame(0x42, 0, 0, b"x")]
    {
        let kind = flood[3];
        let upstream = answering(move |_| flood.repeat(100_000));
        assert_eq!(get(&run(&upstream)).await, 502, "kind {kind}");
    }
}

/// The first connection takes `refused` requests, and then says that it has looked at none of them.
fn going_away(refused: usize) -> TcpServer {
    TcpServer::start(move |stream, connection| {
        let mut upstream = Http2::accept(stream, &[]);
        if connection == 0 {
            for _ in 0..refused {
                request(&mut upstream).unwrap();
            }
            upstream.send(&frame(kind::GOAWAY, 0, 0, &[0; 8]));
            while upstream.frame().is_some() {}
            return;
        }
        while let Some(request) = request(&mut upstream) {
            upstream.send(&status("200", request.stream, true));
        }
    })
}

#[tokio::test]
async fn requests_that_were_not_looked_at_go_again() {
    let upstream = going_away(20);
    let sidle = Sidle::builder()
        .file("test.yaml", &service("echo", HOST, "HTTP2", &[("v1", upstream.port())]))
        .arguments(&["--workers", "1"])
        .start();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = client(&sidle).await;
        calls.spawn(async move { client.get(HOST, "/").await.status.as_u16() });
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert!(upstream.connections() <= 3, "{} connections", upstream.connections());
}

#[tokio::test]
async fn a_limit_of_streams_that_shrinks_loses_nothing() {
    let upstream = TcpServer::start(|stream, connection| {
        let limit = if connection == 0 { 0 } else { 100 };
        let mut upstream = Http2::accept(stream, &[(3, limit)]);
        let mut told = limit > 0;
        while let Some(next) = upstream.frame() {
            match next.kind {
                // Sent before the limit was known.
                kind::HEADERS if !told => {
                    upstream.send(&frame(kind::RST_STREAM, 0, next.stream, &[0, 0, 0, 7]))
                }
                kind::HEADERS => upstream.send(&status("200", next.stream, true)),
                kind::SETTINGS if next.flags == 1 && !told => {
                    told = true;
                    upstream.send(&frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]))
                }
                _ => true,
            };
        }
    });
    let sidle = run(&upstream);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = client(&sidle).await;
        calls.spawn(async move { client.get(HOST, "/").await });
    }
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{} {:?}", answer.text(), answer.headers);
    }
}

#[tokio::test]
async fn a_connection_serves_only_the_name_that_its_certificate_was_checked_for() {
    let authority = Authority::new();
    let echo = Echo::start_tls("secure", authority.issue(&["a.test", "b.test"]));
    let builder = Sidle::builder();
    let ca = builder.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let policy = format!("  trafficPolicy:\n    tls: {{ mode: SIMPLE, caCertificates: {} }}\n", ca.display());
    let manifests = service("echo", "'*.test'", "HTTP2", &[("v1", echo.port())])
        + &subsets("echo", "'*.test'", &["v1"], &policy);
    let sidle = builder.file("test.yaml", &manifests).arguments(&["--workers", "1"]).start();
    let mut client = client(&sidle).await;
    for _ in 0..3 {
        for host in ["a.test", "b.test"] {
            let answer = client.get(host, "/").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(client.get("c.test", "/").await.status, 503, "the certificate is not for it");
    }
    wait::until("one connection for each name", || (echo.open_connections() == 2).then_some(()));
}

/// HTTP/2 may end a message by a frame of its own, while what came before still waits for the client's window.
#[test]
fn an_answer_that_an_empty_frame_ends_is_whole_in_the_log() {
    let ((end, told), (ended, seen)) = (channel(), channel());
    let told = Mutex::new(told);
    let upstream = TcpServer::start(move |stream, _| {
        let mut upstream = Http2::accept(stream, &[]);
        let Some(Frame { stream, .. }) = request(&mut upstream) else { return };
        upstream.send(&[status("200", stream, false), frame(kind::DATA, 0, stream, &[b'x'; 100])].concat());
        told.lock().unwrap().recv().unwrap();
        let ping = frame(kind::PING, 0, 0, b"arrived?");
        upstream.send(&[frame(kind::DATA, END_STREAM, stream, b""), ping].concat());
        upstream.find(|frame| frame.kind == kind::PING && frame.payload == b"arrived?");
        ended.send(()).unwrap();
        while upstream.frame().is_some() {}
    });
    let manifests = service("echo", HOST, "HTTP2", &[("v1", upstream.port())]);
    let builder = Sidle::builder().file("test.yaml", &manifests);
    let log = builder.folder().join("log");
    let format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_SENT%\\n";
    let settings = format!("  accessLogFile: {}\n  accessLogFormat: \"{format}\"\n", log.display());
    let sidle = builder.settings(&settings).start();
    let mut client = Http2::connect(sidle.outbound(), &[(4, 10)]);
    client.request(1, true, &[(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")]);
    client.find(|frame| frame.kind == kind::DATA && frame.payload.len() == 10);
    end.send(()).unwrap();
    seen.recv().unwrap();
    client.send(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 90]));
    let mut rest = 90;
    while rest > 0 {
        rest -= client.find(|frame| frame.kind == kind::DATA).payload.len();
    }
    let line =
        wait::until("the log", || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(line, "200 - 100\n");
}

/// The time for an answer counts from the end of the request, whatever frame that comes in.
#[test]
fn a_request_that_an_empty_frame_ends_has_its_timeout() {
    let upstream = TcpServer::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink()); // never answers
    });
    let rule = format!(
        "    - fault: {{ delay: {{ fixedDelay: 1s, percentage: {{ value: 100 }} }} }}\n      timeout: 500ms\n      \
         route: [{{ destination: {{ host: {HOST} }} }}]\n"
    );
    let manifests =
        service("echo", HOST, "HTTP", &[("v1", upstream.port())]) + &virtual_service("echo", HOST, &rule);
    let sidle = Sidle::run(&manifests);
    let mut client = Http2::connect(sidle.outbound(), &[]);
    client.request(
        1,
        false,
        &[(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")],
    );
    for ping in [b"begun???", b"delayed?"] {
        client.send(&frame(kind::PING, 0, 0, ping));
        client.find(|frame| frame.kind == kind::PING && frame.payload == ping);
    }
    client.send(&frame(kind::DATA, END_STREAM, 1, b""));
    let head = client.find(|frame| frame.kind == kind::HEADERS);
    assert!(has_status(&head, "504"), "{head:02x?}");
}

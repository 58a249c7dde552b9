//! HTTP/1.1 as an intermediary speaks it, byte by byte: what a correct client sends arrives as sent, and its connection is
//! told the truth.

use crate::{
    raw::{OK, Raw, get},
    stage::{HOST, Stage},
};
use sidle_test_support::{
    manifest::service,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    wait,
};
use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A proxy in front of one upstream.
fn run(server: &TcpServer) -> Sidle {
    Sidle::run(&service("echo", HOST, "HTTP", &[("v1", server.port())]))
}

#[test]
fn interim_answers_reach_the_client_before_the_answer() {
    let server = TcpServer::start(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
            stream.write_all(hints).unwrap();
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap(); // nobody asked: not passed on
            stream.write_all(OK).unwrap();
        }
    });
    let sidle = run(&server);
    let mut client = Raw::connect(&sidle);
    for _ in 0..2 {
        let answer = client.send(&get("/", "")).read(|text| text.ends_with("\r\n\r\nok"));
        assert!(
            answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"),
            "{answer}"
        );
        assert!(answer.contains("HTTP/1.1 200 OK\r\n") && !answer.contains("100 Continue"), "{answer}");
    }
}

#[test]
fn a_flood_of_interim_answers_is_a_bad_upstream() {
    let server = TcpServer::start(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(&b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100));
            let _ = stream.write_all(OK);
        }
    });
    let sidle = run(&server);
    let answer = Raw::connect(&sidle).send(&get("/", "Connection: close\r\n")).rest();
    assert!(answer.contains("HTTP/1.1 502 "), "{answer}");
    assert!(answer.matches("103 Early").count() <= 32, "each try passes a few at most");
}

#[test]
fn an_expectation_goes_end_to_end() {
    let seen = Arc::new(Mutex::new(String::new()));
    let head = seen.clone();
    let server = TcpServer::start(move |mut stream, _| {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        *head.lock().unwrap() = String::from_utf8(text).unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"hello");
        stream.write_all(OK).unwrap();
    });
    let sidle = run(&server);
    let mut client = Raw::connect(&sidle);
    client.send(&format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(client.read(|text| text.ends_with("\r\n\r\n")), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(
        seen.lock().unwrap().contains("expect: 100-continue\r\n"),
        "the upstream gives leave, not the proxy"
    );
    assert!(client.send("hello").read(|text| text.ends_with("ok")).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn an_expectation_that_is_not_met_costs_the_connection_and_nothing_else() {
    let server = TcpServer::start(|mut stream, _| {
        let mut head = [0; 4096];
        if let Ok(read) = stream.read(&mut head) {
            let content = if head[..read].starts_with(b"POST /why") { "2\r\n\r\nno" } else { "0\r\n\r\n" };
            let answer = format!("HTTP/1.1 413 Content Too Large\r\ncontent-length: {content}");
            let _ = stream.write_all(answer.as_bytes());
        }
        let _ = stream.read(&mut head); // the request's content never comes
    });
    let sidle = run(&server);
    for path in ["/", "/why"] {
        let mut client = Raw::connect(&sidle);
        client.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "no leave was given: {answer}");
    }
}

#[test]
fn fields_keep_their_order() {
    let heads = Arc::new(Mutex::new(String::new()));
    let seen = heads.clone();
    let server = TcpServer::start(move |mut stream, _| {
        while let Some(head) = read_request(&mut stream) {
            *seen.lock().unwrap() = head;
            let answer =
                b"HTTP/1.1 200 OK\r\nz: 1\r\na: 2\r\nKeep-Alive: x\r\nm: 3\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).unwrap();
        }
    });
    let sidle = run(&server);
    let answer = Raw::connect(&sidle)
        .send(&get("/", "Z: 1\r\nAccept: */*\r\nB: 2\r\nC: 3\r\nConnection: close\r\n"))
        .rest();
    let order = |text: &str, names: &[&str]| names.iter().map(|name| text.find(name).unwrap()).is_sorted();
    assert!(order(&heads.lock().unwrap(), &["\r\nhost:", "\r\nz:", "\r\naccept:", "\r\nb:", "\r\nc:"]));
    assert!(answer.find("\r\nz: 1").unwrap() < answer.find("\r\na: 2").unwrap(), "{answer}");
}

#[test]
fn an_early_answer_ends_an_upload_in_peace() {
    let server = TcpServer::start(|mut stream, _| {
        let mut some = [0; 1024];
        let _ = stream.read(&mut some);
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nstop");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while matches!(stream.read(&mut some), Ok(1..)) {}
    });
    let sidle = run(&server);
    let mut client = Raw::connect(&sidle);
    client.send(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n"));
    client.send(&"x".repeat(10_000));
    let answer = client.rest();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("stop"), "{answer}");
}

#[test]
fn a_short_body_that_nobody_wanted_does_not_cost_the_connection() {
    let stage = Stage::new();
    let sidle =
        stage.route("    - match: [{ uri: { prefix: /no } }]\n      directResponse: { status: 403 }\n");
    let mut client = Raw::connect(&sidle);
    let post = format!("POST /no HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello");
    for _ in 0..3 {
        let answer = client.send(&post).read(|text| text.ends_with("\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("connection: close"), "{answer}");
    }
    client.send(&format!("POST /no HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"));
    assert!(client.rest().contains("connection: close\r\n"), "where an unknown rest ends is not waited for");
}

#[test]
fn http_1_0_is_spoken_only_where_it_is_allowed() {
    let stage = Stage::new();
    let request = format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n");
    let refused = Raw::connect(&Sidle::run(&stage.manifests())).send(&request).rest();
    assert!(refused.starts_with("HTTP/1.1 426 "), "{refused}");
    let sidle =
        Sidle::builder().file("test.yaml", &stage.manifests()).settings("  acceptHttp10: true\n").start();
    let answer = Raw::connect(&sidle).send(&request).rest();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
    let mut client = Raw::connect(&sidle);
    for _ in 0..2 {
        let again = request.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.send(&again).read(|text| text.contains("\r\n\r\n"));
        assert!(answer.contains("connection: keep-alive\r\n") && !answer.contains("chunked"), "{answer}");
        client.1.clear();
    }
}

#[test]
fn a_head_that_trickles_is_given_up_whether_first_or_pipelined() {
    let stage = Stage::new();
    let sidle = Sidle::builder()
        .file("test.yaml", &stage.manifests())
        .settings("  limits: { requestHeadersTimeout: 300ms }\n")
        .start();
    for before in ["", &get("/", "")] {
        for piece in ["G", "GET / HTTP/1.1\r\nHo"] {
            let mut client = Raw::connect(&sidle);
            let begun = Instant::now();
            let answer = client.send(&format!("{before}{piece}")).rest();
            assert!(answer.contains("HTTP/1.1 408 Request Timeout\r\n"), "{before:?} {piece:?}: {answer}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    let stage = Stage::new();
    let sidle = Sidle::builder()
        .file("test.yaml", &stage.manifests())
        .settings("  limits: { streamIdleTimeout: 500ms }\n")
        .start();
    let mut client = Raw::connect(&sidle);
    client.send(&get("/?bytes=100000000", ""));
    wait::until("the request is given up", || {
        (sidle.metrics().sum("istio_requests_total", &[]) >= 1.0).then_some(())
    });
}

#[test]
fn what_cannot_be_one_request_is_refused() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    for (head, status) in [
        (format!("get / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\nHost: {HOST}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\n"), 400),
        (format!("GET /a#b HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501),
        (format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(40_000)), 414),
        (format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: x\r\n\r\n"), 417),
    ] {
        let answer = Raw::connect(&sidle).send(&head).rest();
        let told =
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains("connection: close\r\n");
        assert!(told, "{head:.80}: {answer}");
    }
    assert_eq!(stage.v1.requests(), 0);
}

/// A proxy with these settings before a server that answers every request alike.
fn before_ok(settings: &str) -> (Sidle, TcpServer) {
    let server = TcpServer::start(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            stream.write_all(OK).unwrap();
        }
    });
    let sidle = Sidle::builder()
        .file("test.yaml", &service("echo", HOST, "HTTP", &[("v1", server.port())]))
        .settings(settings)
        .start();
    (sidle, server)
}

#[test]
fn a_client_that_pauses_is_served_on_and_its_idle_time_counts_from_its_last_answer() {
    let (sidle, _server) = before_ok("  limits: { connectionIdleTimeout: 3s }\n");
    // The machine may make a client notice an end late, though hardly each time.
    let on_time = (0..3).any(|_| {
        let mut client = Raw::connect(&sidle);
        for _ in 0..3 {
            client.send(&get("/", "")).read(|text| text.ends_with("\r\n\r\nok"));
            std::thread::sleep(Duration::from_millis(1200)); // longer than the room of a request is kept
        }
        let since = Instant::now();
        client.send(&get("/", "")).read(|text| text.ends_with("\r\n\r\nok"));
        assert_eq!(client.rest(), "");
        let waited = since.elapsed();
        assert!(waited >= Duration::from_millis(2900), "{waited:?}");
        waited < Duration::from_millis(3800)
    });
    assert!(on_time, "it ends a whole time after the last answer, and not later");
}

/// Its bytes come as the network likes.
#[test]
fn an_empty_line_before_a_request_may_come_in_two_pieces() {
    let (sidle, _server) = before_ok("");
    let mut client = Raw::connect(&sidle);
    for _ in 0..2 {
        for piece in ["\r", "\n", "\r", "\n\r\n"] {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(50)); // a packet of its own
        }
        client.send(&get("/", "")).read(|text| text.ends_with("\r\n\r\nok"));
    }
}

/// Also once its requests' room was given up.
#[test]
fn a_connection_at_rest_hears_of_a_drain() {
    let (sidle, _server) = before_ok("  drain: { minimum: 1s, deadline: 15s }\n");
    let mut client = Raw::connect(&sidle);
    client.send(&get("/", "")).read(|text| text.ends_with("\r\n\r\nok"));
    std::thread::sleep(Duration::from_millis(1300));
    let since = Instant::now();
    sidle.signal("TERM");
    assert_eq!(client.rest(), "");
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

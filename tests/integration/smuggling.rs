//! Requests whose end two servers could see in two places. One request comes in, at most one goes on, and nothing that
//! stands in a body is ever taken for a request.

use crate::stage::{HOST, Stage};
use sidle_test_support::{sidle::Sidle, wait};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Sends bytes, and returns what comes until the proxy closes or has nothing more to say.
fn send(sidle: &Sidle, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(sidle.outbound()).unwrap();
    // The first word may take its time on a busy machine.
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
        stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    }
    String::from_utf8_lossy(&answer).into_owned()
}

const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: echo.test\r\n\r\n";

/// A POST with these header lines and a body in which a second request hides.
fn post(headers: &str, body: &str) -> String {
    format!("POST /good HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n{body}")
}

/// Asserts that the upstream never sees `/evil`; with `refused`, that the answer is a 400 and it sees nothing at all.
fn harmless(cases: &[String], refused: bool) {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    for case in cases {
        stage.v1.forget();
        let answer = send(&sidle, case.as_bytes());
        let seen: Vec<_> = stage.v1.received().into_iter().map(|seen| seen.path).collect();
        assert!(!seen.iter().any(|path| path.contains("evil")), "{case:?} reached the upstream as {seen:?}");
        assert!(seen.len() <= 1, "{case:?}: {seen:?}");
        if refused {
            assert!(
                answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 501 "),
                "{case:?}: {answer:?}"
            );
            assert!(seen.is_empty(), "{case:?} went on");
        }
    }
}

#[test]
fn two_lengths_are_never_both_believed() {
    let chunked_end = format!("0\r\n\r\n{EVIL}");
    harmless(
        &[
            post(
                &format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked_end.len()),
                &chunked_end,
            ),
            post(
                &format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked_end.len()),
                &chunked_end,
            ),
        ],
        false,
    );
    let length = EVIL.len();
    harmless(
        &[
            post(&format!("Content-Length: 5\r\nContent-Length: {length}\r\n"), EVIL),
            post(&format!("Content-Length: 5, {length}\r\n"), EVIL),
            post(&format!("Content-Length: +{length}\r\n"), EVIL),
            post("Content-Length: 0x5\r\n", EVIL),
            post("Content-Length: 5 5\r\n", EVIL),
            post("Content-Length: -0\r\n", EVIL),
            post("Content-Length: 18446744073709551616\r\n", EVIL),
        ],
        true,
    );
}

#[test]
fn transfer_encodings_that_are_not_plainly_chunked_are_refused() {
    let body = format!("0\r\n\r\n{EVIL}");
    let cases = [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ];
    harmless(&cases.map(|headers| post(headers, &body)), true);
    harmless(
        &[format!("POST /good HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}")],
        true,
    );
}

#[test]
fn broken_chunks_end_the_connection() {
    for chunk in [
        "+5\r\nhello\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "5_\r\nhello\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "5\r\nhelloX\r\n",
        "5\nhello\r\n",
    ] {
        harmless(&[post("Transfer-Encoding: chunked\r\n", &format!("{chunk}0\r\n\r\n{EVIL}"))], false);
    }
}

#[test]
fn line_ends_and_hosts_are_taken_strictly() {
    harmless(
        &[
            format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\nX: a\rb\r\n\r\n"),
            format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n obs: fold\r\n\r\n"),
            format!("GET /evil HTTP/1.1\r\nHost: {HOST}, other\r\n\r\n"),
            format!("GET /evil HTTP/1.1\r\nHost: {HOST}\x00\r\n\r\n"),
            format!("GET /evil HTTP/1.1\r\nHost: user@{HOST}\r\n\r\n"),
            "GET /evil HTTP/1.1\r\nHost:\r\nHost: echo.test\r\n\r\n".to_owned(),
            format!("GET /evil x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        ],
        true,
    );
}

#[test]
fn a_body_that_is_delimited_by_the_end_of_the_connection_is_none() {
    let case = format!("POST /good HTTP/1.0\r\nHost: {HOST}\r\n\r\n{EVIL}");
    harmless(&[case], false);
}

#[test]
fn an_upgrade_that_is_not_accepted_leaves_no_bytes_behind() {
    let stage = Stage::new();
    // Refuses the upgrade as a server does that knows none.
    stage.v1.answer(|_| Some(sidle_test_support::echo::Answer::status(200)));
    let sidle = stage.route_v1("");
    let head = format!(
        "GET /upgrade HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n\
         GET /second HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    );
    send(&sidle, head.as_bytes());
    let seen = stage.v1.received();
    assert_eq!(seen[0].path, "/upgrade");
    assert!(seen[0].body.is_empty(), "what follows the head is not the upgrade's: {:?}", seen[0].body);
    // The rest is a request of its own, on a connection of its own or after the first answer; or it was dropped.
    assert!(seen.len() == 1 || seen[1].path == "/second");
}

#[test]
fn an_h2c_upgrade_stays_http_1() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let case = format!(
        "GET /good HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
    );
    let answer = send(&sidle, case.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = stage.v1.last();
    assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), ("", ""));
}

#[test]
fn heads_that_are_too_large_or_too_slow_are_refused() {
    let stage = Stage::new();
    let sidle = Sidle::builder()
        .file("test.yaml", &stage.manifests())
        .settings("  limits: { requestHeadersTimeout: 300ms }\n")
        .start();
    let large = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    assert!(
        send(&sidle, large.as_bytes()).starts_with("HTTP/1.1 431 "),
        "{}",
        send(&sidle, large.as_bytes())
    );
    let many = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X: y\r\n".repeat(150));
    assert!(send(&sidle, many.as_bytes()).starts_with("HTTP/1.1 431 "), "{}", send(&sidle, many.as_bytes()));
    let slow = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: never ends");
    assert!(send(&sidle, slow.as_bytes()).starts_with("HTTP/1.1 408 "), "{}", send(&sidle, slow.as_bytes()));
    assert_eq!(stage.v1.requests() + stage.v2.requests(), 0);
}

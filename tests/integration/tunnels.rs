//! CONNECT, raw TCP, TLS passthrough by SNI.

use crate::{
    raw::Raw,
    stage::{HOST, Stage},
};
use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::{service_on, subsets},
    sidle::Sidle,
    tcp::TcpServer,
    tls::Authority,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Asks for a tunnel and returns it, with the status of the answer.
fn connect(proxy: SocketAddr, target: &str) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let status = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().parse().unwrap();
    (stream, status)
}

/// Sends text, closes the sending half, reads to the end.
fn exchange(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn connect_tunnels_to_a_tcp_service() {
    let echo = Echo::start("v1");
    let sidle = Sidle::run(&service_on("ledger", "ledger.test", 9000, "TCP", &[("v1", echo.port())]));
    let (stream, status) = connect(sidle.outbound(), "ledger.test:9000");
    assert_eq!(status, 200);
    assert_eq!(exchange(stream, "hello"), "v1 hello");
}

#[test]
fn connect_tunnels_to_an_unknown_host() {
    let echo = Echo::start("outside");
    let sidle = Sidle::run("");
    let (stream, status) = connect(sidle.outbound(), &format!("127.0.0.1:{}", echo.port()));
    assert_eq!(status, 200);
    assert_eq!(exchange(stream, "hello"), "outside hello");
}

#[test]
fn connect_to_nowhere_is_an_error() {
    let sidle = Sidle::run("");
    let (_, status) = connect(sidle.outbound(), &sidle_test_support::ports::free().to_string());
    assert_eq!(status, 503);
}

#[test]
fn a_silent_tunnel_ends_when_its_destination_says_so() {
    let echo = TcpServer::echo();
    let policy = "  trafficPolicy: { connectionPool: { tcp: { idleTimeout: 2s } } }\n";
    let sidle = Sidle::run(
        &(service_on("ledger", "ledger.test", 9000, "TCP", &[("v1", echo.port())])
            + &subsets("ledger", "ledger.test", &["v1"], policy)),
    );
    let (mut stream, status) = connect(sidle.outbound(), "ledger.test:9000");
    assert_eq!(status, 200);
    let began = Instant::now();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(800)); // what moves keeps it
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(4400), "{:?}", began.elapsed());
}

#[test]
fn a_side_that_breaks_off_breaks_off_the_other() {
    let upstream = TcpServer::start(|mut stream, _| {
        let _ = stream.read_exact(&mut [0; 5]);
        let _ = stream.write_all(b"half");
        let _ = stream.read_exact(&mut [0]); // until the client has that
        Raw(stream, String::new()).reset();
    });
    let sidle = Sidle::run(&service_on("ledger", "ledger.test", 9000, "TCP", &[("v1", upstream.port())]));
    let (mut stream, _) = connect(sidle.outbound(), "ledger.test:9000");
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    stream.write_all(b"x").unwrap();
    let end = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "an end would say that nothing is missing");
}

#[tokio::test]
async fn connect_carries_tls_end_to_end() {
    let authority = Authority::new();
    let echo = Echo::start_tls("secure", authority.issue(&["secure.test"]));
    let sidle = Sidle::run(&service_on("secure", "secure.test", 443, "TLS", &[("v1", echo.port())]));
    let (stream, status) = connect(sidle.outbound(), "secure.test:443");
    assert_eq!(status, 200);
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let tls = authority.handshake(stream, "secure.test", &[b"h2"]).await.unwrap();
    assert_eq!(Client::http2_over(tls).await.get("secure.test", "/").await.version(), "secure");
}

/// A Sidecar with one egress listener of its own, on a free port.
fn sidecar(port: u16, protocol: &str, hosts: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: local }}\nspec:\n  egress:\n    \
         - port: {{ number: {port}, name: main, protocol: {protocol} }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      \
         hosts: [{hosts}]\n    - hosts: ['./*']\n---\n"
    )
}

#[test]
fn tcp_connections_are_split_by_weight() {
    let stage = Stage::new();
    let port = sidle_test_support::ports::free();
    let manifests = service_on(
        "ledger",
        "ledger.test",
        port.port(),
        "TCP",
        &[("v1", stage.v1.port()), ("v2", stage.v2.port())],
    ) + &subsets("ledger", "ledger.test", &["v1", "v2"], "")
        + &sidecar(port.port(), "TCP", "./ledger.test")
        + "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: ledger }\nspec:\n  \
           hosts: [ledger.test]\n  tcp:\n    - route:\n        \
           - { destination: { host: ledger.test, subset: v1 }, weight: 70 }\n        \
           - { destination: { host: ledger.test, subset: v2 }, weight: 30 }\n";
    let sidle = Sidle::run(&manifests);
    let mut second = 0;
    for _ in 0..600 {
        match exchange(TcpStream::connect(port).unwrap(), "hello").as_str() {
            "v1 hello" => {}
            "v2 hello" => second += 1,
            other => panic!("{other:?}\n{}", sidle.output()),
        }
    }
    // More than five sigma: a fair split misses that once in ten million throws.
    assert!((120..=240).contains(&second), "{second} of 600 on v2");
}

#[tokio::test]
async fn tls_is_passed_through_by_server_name() {
    let authority = Authority::new();
    let first = Echo::start_tls("first", authority.issue(&["first.test"]));
    let second = Echo::start_tls("second", authority.issue(&["second.test"]));
    let port = sidle_test_support::ports::free();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: pass }}\nspec:\n  servers:\n    \
         - port: {{ number: {port}, name: tls, protocol: TLS }}\n      tls: {{ mode: PASSTHROUGH }}\n      hosts: ['*.test']\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: pass }}\nspec:\n  hosts: ['*.test']\n  \
         gateways: [pass]\n  tls:\n    - match: [{{ sniHosts: [first.test] }}]\n      \
         route: [{{ destination: {{ host: first.test }} }}]\n    - match: [{{ sniHosts: [second.test] }}]\n      \
         route: [{{ destination: {{ host: second.test }} }}]\n---\n{}{}",
        service_on("first", "first.test", 443, "TLS", &[("v1", first.port())]),
        service_on("second", "second.test", 443, "TLS", &[("v1", second.port())]),
        port = port.port(),
    );
    let _sidle = Sidle::run(&manifests);
    for (name, wanted) in [("first.test", "first"), ("second.test", "second")] {
        let tls = authority.connect(port, name, &[b"http/1.1"]).await.unwrap();
        assert_eq!(Client::http1_over(tls).await.get(name, "/").await.version(), wanted);
    }
    assert!(authority.connect(port, "other.test", &[]).await.is_err(), "no rule for this name");
}

#[test]
fn half_closed_connections_keep_their_other_half() {
    let server = sidle_test_support::tcp::TcpServer::start(|mut stream, _| {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        std::thread::sleep(Duration::from_millis(200));
        let _ = stream.write_all(format!("{} bytes, and only now an answer", text.len()).as_bytes());
    });
    let sidle = Sidle::run(&service_on("half", HOST, 9000, "TCP", &[("v1", server.port())]));
    let (stream, _) = connect(sidle.outbound(), &format!("{HOST}:9000"));
    assert_eq!(exchange(stream, &"x".repeat(100_000)), "100000 bytes, and only now an answer");
}

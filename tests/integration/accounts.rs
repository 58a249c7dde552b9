//! What the log and the metrics say of what went wrong, of what lasts, and of what was cut.

use crate::stage::{HOST, Stage};
use sidle_test_support::{
    echo::Echo,
    manifest::{service, service_on, subsets},
    sidle::Sidle,
    tcp::TcpServer,
    wait,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A proxy that logs flags, details and byte counts.
fn start(manifests: &str, settings: &str) -> (tempfile::TempDir, Sidle) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let format = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED%";
    let settings =
        format!("  accessLogFile: {}\n  accessLogFormat: \"{format}\\n\"\n{settings}", log.display());
    (folder, Sidle::builder().file("test.yaml", manifests).settings(&settings).start())
}

fn log(folder: &tempfile::TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

/// Waits for a line, and gives the log.
fn line(folder: &tempfile::TempDir, wanted: &str) {
    wait::until(wanted, || log(folder).lines().any(|line| line == wanted).then_some(()));
}

fn raw(proxy: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {head:?}"));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_head_that_is_refused_is_logged_and_counted() {
    let (folder, sidle) = start("", "");
    let mut client = raw(sidle.outbound(), "GET /a HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
    assert!(head(&mut client).starts_with("HTTP/1.1 400 "));
    wait::until("its line", || log(&folder).contains(" 400 DPE http1.invalid_host 0\n").then_some(()));
    let refused = [("response_code", "400"), ("response_flags", "DPE")];
    assert_eq!(sidle.metrics().sum("istio_requests_total", &refused), 1.0);
}

#[test]
fn a_request_that_takes_too_long_to_come_is_told_so() {
    let stage = Stage::new();
    let (folder, sidle) = start(&stage.manifests(), "  limits: { requestTimeout: 500ms }\n");
    let mut client =
        raw(sidle.outbound(), &format!("POST /slow HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 99\r\n\r\n"));
    let mut sending = client.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while sending.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(head(&mut client).starts_with("HTTP/1.1 408 "));
    drop(client);
    wait::until("its line", || {
        log(&folder).contains("POST /slow 408 DT request_overall_timeout ").then_some(())
    });
    drop(sidle);
    drip.join().unwrap();
}

#[test]
fn what_the_drain_deadline_cuts_is_logged() {
    let echo = Echo::start("v1");
    let ledger = TcpServer::echo();
    let manifests = service("echo", HOST, "HTTP", &[("v1", echo.port())])
        + &service_on("ledger", "ledger.test", 9000, "TCP", &[("v1", ledger.port())]);
    let (folder, mut sidle) = start(&manifests, "  drain: { deadline: 1s }\n");
    let _hanging = raw(sidle.outbound(), &format!("GET /?hang HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    let mut tunnel =
        raw(sidle.outbound(), "CONNECT ledger.test:9000 HTTP/1.1\r\nhost: ledger.test:9000\r\n\r\n");
    assert!(head(&mut tunnel).starts_with("HTTP/1.1 200 "));
    tunnel.write_all(b"hello").unwrap();
    tunnel.read_exact(&mut [0; 5]).unwrap();
    wait::until("the request", || (echo.requests() > 0).then_some(()));
    sidle.signal("TERM");
    sidle.wait();
    line(&folder, "GET /?hang 200 DT drain_deadline 0");
    line(&folder, "CONNECT / 200 DT drain_deadline 5");
}

#[test]
fn a_tunnel_is_a_connection_of_its_cluster() {
    let ledger = TcpServer::echo();
    let policy = "  trafficPolicy: { connectionPool: { tcp: { maxConnections: 1 } } }\n";
    let manifests = service_on("ledger", "ledger.test", 9000, "TCP", &[("v1", ledger.port())])
        + &subsets("ledger", "ledger.test", &["v1"], policy);
    let (_folder, sidle) = start(&manifests, "");
    let connect = "CONNECT ledger.test:9000 HTTP/1.1\r\nhost: ledger.test:9000\r\n\r\n";
    let mut first = raw(sidle.outbound(), connect);
    assert!(head(&mut first).starts_with("HTTP/1.1 200 "));
    let cluster = [("cluster", "outbound|9000||ledger.test")];
    let now = || {
        let metrics = sidle.metrics();
        let of = |name| metrics.sum(name, &cluster);
        (
            of("sidle_cluster_connections_active"),
            of("sidle_cluster_requests_active"),
            of("sidle_cluster_requests_total"),
        )
    };
    assert_eq!(now(), (1.0, 1.0, 1.0), "{}", sidle.metrics().text);
    let mut second = raw(sidle.outbound(), connect);
    let refused = head(&mut second);
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("x-envoy-overloaded"), "{refused}");
    drop(first);
    wait::until("the tunnel to end", || (now() == (0.0, 0.0, 2.0)).then_some(()));
    let mut third = raw(sidle.outbound(), connect);
    assert!(head(&mut third).starts_with("HTTP/1.1 200 "));
}

#[test]
fn bytes_of_a_connection_are_counted_while_it_lasts() {
    let ledger = TcpServer::echo();
    let port = sidle_test_support::ports::free().port();
    let manifests = service_on("ledger", "ledger.test", port, "TCP", &[("v1", ledger.port())])
        + &format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: local }}\nspec:\n  egress:\n    \
             - port: {{ number: {port}, name: main, protocol: TCP }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      \
             hosts: [./ledger.test]\n"
        );
    let (folder, sidle) = start(&manifests, "");
    let mut client = raw(SocketAddr::from(([127, 0, 0, 1], port)), "hello");
    client.read_exact(&mut [0; 5]).unwrap();
    wait::until("the bytes", || {
        let metrics = sidle.metrics();
        let sent = metrics.sum("istio_tcp_sent_bytes_total", &[]);
        (sent == 5.0 && metrics.sum("istio_tcp_received_bytes_total", &[]) == 5.0).then_some(())
    });
    let metrics = sidle.metrics();
    assert_eq!(metrics.sum("istio_tcp_connections_closed_total", &[]), 0.0);
    assert_eq!(metrics.sum("sidle_cluster_connections_active", &[]), 1.0);
    drop(client);
    line(&folder, "- - 0 - - 5");
    assert_eq!(sidle.metrics().sum("istio_tcp_sent_bytes_total", &[]), 5.0, "each byte once");
}

#[test]
fn via_names_the_proxy_both_ways() {
    let stage = Stage::new();
    let (_folder, sidle) = start(&stage.manifests(), "  proxyHeaders: { via: sidle-1 }\n");
    let ask = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nvia: 1.0 fred\r\n\r\n");
    let answer = head(&mut raw(sidle.outbound(), &ask));
    assert!(answer.contains("via: 1.1 sidle-1\r\n"), "{answer}");
    let seen = if stage.v1.requests() > 0 { stage.v1.last() } else { stage.v2.last() };
    let vias: Vec<_> =
        seen.headers.get_all("via").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    assert_eq!(vias.join(", "), "1.0 fred, 1.1 sidle-1");
}

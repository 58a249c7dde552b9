//! The door: who is let in, who he is taken for, and what his requests' heads may hold.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    client::{Client, request},
    echo::Echo,
    manifest::service,
    ports,
    sidle::{Builder, Sidle},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A gateway on a port of its own, whose host `shop.example` leads to `echo`.
fn gateway(echo: &Echo) -> (Builder, SocketAddr) {
    let port = ports::free();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - {{ port: {{ number: {}, name: http, protocol: HTTP }}, hosts: ['*'] }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  \
         hosts: [shop.example]\n  gateways: [door]\n  http: [{{ route: [{{ destination: {{ host: shop.internal }} }}] }}]\n---\n",
        port.port()
    ) + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())]);
    (Sidle::builder().file("test.yaml", &manifests), port)
}

/// What comes back for `bytes` until the proxy closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(sidle_test_support::wait::PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    read(&mut stream)
}

fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the proxy does not close"),
            Ok(_) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

fn version_2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(source);
    header.extend([10, 0, 0, 1, 0x30, 0x39, 0, 80]);
    header
}

#[test]
fn the_proxy_protocol_tells_the_client() {
    let echo = Echo::start("v1");
    let (builder, port) = gateway(&echo);
    let log = builder.folder().join("access.log");
    let sidle = builder
        .settings(&format!(
            "  gatewayTopology: {{ proxyProtocol: {{}} }}\n  accessLogFile: {}\n  accessLogFormat: \
             '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%'\n",
            log.display()
        ))
        .start();
    let version_1 = |source: &str| format!("PROXY TCP4 {source} 10.0.0.1 12345 80\r\n").into_bytes();
    for (header, source) in
        [(version_1("198.51.100.7"), "198.51.100.7"), (version_2([198, 51, 100, 8]), "198.51.100.8")]
    {
        let answer = exchange(port, &[&header, GET.as_bytes()].concat());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(echo.last().header("x-forwarded-for"), source);
        let line = format!("{source}:12345 127.0.0.1 10.0.0.1:80");
        sidle_test_support::wait::until("the log line", || {
            std::fs::read_to_string(&log).ok().filter(|text| text.contains(&line))
        });
    }
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let answer = exchange(port, &[header, GET.as_bytes()].concat());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(echo.last().header("x-forwarded-for"), "127.0.0.1", "the load balancer's own");
    }
    let before = echo.requests();
    for bytes in
        [GET.as_bytes(), b"PROXY TCP4 1.1.1.1 2.2.2.2 x 80\r\nGET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"]
    {
        assert_eq!(exchange(port, bytes), "", "closed without a word");
    }
    assert_eq!(echo.requests(), before);
    let failures = || sidle.metrics().sum("sidle_listener_proxy_protocol_failures_total", &[]);
    assert!(failures() >= 2.0, "{}", failures());
}

#[test]
fn a_source_has_a_limit_of_connections_and_others_are_not_hurt() {
    let echo = Echo::start("v1");
    let (builder, port) = gateway(&echo);
    let sidle = builder
        .settings("  gatewayTopology: { proxyProtocol: {} }\n  limits: { maxConnectionsPerSource: 3 }\n")
        .start();
    let keep = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let connect = |source: [u8; 4]| {
        let mut stream = TcpStream::connect(port).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&[&version_2(source), keep.as_bytes()].concat()).unwrap();
        let mut first = [0; 12];
        let served = stream.read(&mut first).unwrap() > 0;
        (served, stream)
    };
    let mut held: Vec<_> = (0..3).map(|_| connect([10, 1, 1, 1])).collect();
    assert!(held.iter().all(|(served, _)| *served));
    let (served, mut stream) = connect([10, 1, 1, 1]);
    assert!(!served, "one too many");
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "an orderly end, no reset");
    assert!(connect([10, 1, 1, 2]).0, "another client");
    let refused = || sidle.metrics().sum("sidle_listener_connections_refused_total", &[("limit", "source")]);
    assert_eq!(refused(), 1.0);
    held.clear();
    sidle_test_support::wait::until("room again", || connect([10, 1, 1, 1]).0.then_some(()));
}

#[tokio::test]
async fn proxies_in_front_are_believed_as_far_as_they_are_trusted() {
    for (trusted, client, scheme) in
        [(0, "127.0.0.1", "http"), (1, "9.9.9.9", "https"), (2, "8.8.8.8", "https")]
    {
        let echo = Echo::start("v1");
        let (builder, port) = gateway(&echo);
        let _sidle =
            builder.settings(&format!("  gatewayTopology: {{ numTrustedProxies: {trusted} }}\n")).start();
        let ask = request("GET", "shop.example", "/")
            .header("x-forwarded-for", "6.6.6.6, 8.8.8.8")
            .header("x-forwarded-for", "9.9.9.9")
            .header("x-envoy-external-address", "6.6.6.6")
            .header("x-forwarded-proto", "https");
        assert_eq!(Client::http1(port).await.ask(ask).await.status, 200);
        let seen = echo.last();
        assert_eq!(seen.header("x-envoy-external-address"), client, "{trusted} trusted");
        assert_eq!(seen.header("x-forwarded-for"), "6.6.6.6, 8.8.8.8,9.9.9.9,127.0.0.1");
        assert_eq!(seen.header("x-forwarded-proto"), scheme, "{trusted} trusted");
    }
}

#[tokio::test]
async fn header_names_with_underscores_stop_at_the_edge() {
    for (setting, status, passes) in [
        ("", 400, false),
        ("  headersWithUnderscoresAction: ALLOW\n", 200, true),
        ("  headersWithUnderscoresAction: DROP_HEADER\n", 200, false),
    ] {
        let echo = Echo::start("v1");
        let (builder, port) = gateway(&echo);
        let _sidle = builder.settings(setting).start();
        for mut client in [Client::http1(port).await, Client::http2(port).await] {
            let ask = request("GET", "shop.example", "/").header("x_role", "admin");
            assert_eq!(client.ask(ask).await.status, status, "{setting}");
            if status == 200 {
                assert_eq!(echo.last().header("x_role") == "admin", passes, "{setting}");
            }
        }
    }
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    let ask = request("GET", HOST, "/").header("x_role", "admin");
    assert_eq!(client(&sidle).await.ask(ask).await.status, 200, "inside the mesh it passes");
    assert_eq!(stage.v1.last().header("x_role"), "admin");
}

#[test]
fn paths_are_as_normal_as_the_configuration_says() {
    for (how, seen) in [
        ("NONE", "//x/../%41%2f..%2Fb"),
        ("BASE", "//A%2f..%2Fb"),
        ("MERGE_SLASHES", "/A%2f..%2Fb"),
        ("DECODE_AND_MERGE_SLASHES", "/b"),
    ] {
        let stage = Stage::new();
        let sidle = Sidle::builder()
            .file("test.yaml", &stage.service("HTTP"))
            .settings(&format!("  pathNormalization: {{ normalization: {how} }}\n"))
            .start();
        let head = format!("GET //x/../%41%2f..%2Fb HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        assert!(exchange(sidle.outbound(), head.as_bytes()).starts_with("HTTP/1.1 200 "), "{how}");
        let received: Vec<_> = stage.v1.received().into_iter().chain(stage.v2.received()).collect();
        assert_eq!(received[0].path, seen, "{how}");
    }
}

#[test]
fn hosts_that_are_none_are_refused() {
    let stage = Stage::new();
    let sidle = stage.route_v1("");
    for head in [
        "GET / HTTP/1.1\r\nHost: echo.test:99999\r\n",
        "GET / HTTP/1.1\r\nHost: echo.test:80x\r\n",
        "GET / HTTP/1.1\r\nHost: echo.test:\r\n",
        "GET / HTTP/1.1\r\nHost: echo..test\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n",
        "GET / HTTP/1.1\r\nHost: ::1\r\n",
        "GET / HTTP/1.1\r\nHost: echo.test%\r\n",
        "CONNECT echo.test HTTP/1.1\r\nHost: echo.test\r\n",
    ] {
        let answer = exchange(sidle.outbound(), format!("{head}\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head}: {answer}");
    }
    assert_eq!(stage.v1.requests() + stage.v2.requests(), 0);
    let answer =
        exchange(sidle.outbound(), b"GET / HTTP/1.1\r\nHost: ECHO.test.:80\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn requests_about_the_way_end_where_they_say() {
    let stage = Stage::new();
    let sidle = Sidle::run(&stage.service("HTTP"));
    let ask = |line: &str, more: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{more}Connection: close\r\n\r\n");
        exchange(sidle.outbound(), head.as_bytes())
    };
    let received = || stage.v1.received().into_iter().chain(stage.v2.received()).collect::<Vec<_>>();
    assert!(ask("TRACE /", "Cookie: secret\r\n").starts_with("HTTP/1.1 405 "));
    let last = ask("OPTIONS /a", "Max-Forwards: 0\r\n");
    assert!(last.starts_with("HTTP/1.1 200 ") && last.contains("allow: GET, "), "{last}");
    assert!(received().is_empty());
    assert!(ask("OPTIONS *", "Max-Forwards: 3\r\n").starts_with("HTTP/1.1 200 "));
    let seen = received();
    assert_eq!((&seen[0].path[..], seen[0].header("max-forwards")), ("*", "2"));
}

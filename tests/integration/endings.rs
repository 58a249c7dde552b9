//! How connections of HTTP/1 end: an answer reaches its client whole, or the client can see that it did not.

use crate::{
    raw::{Raw, get},
    stage::{HOST, Stage},
};
use sidle_test_support::{
    manifest::service,
    ports,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    tls::{Authority, TlsStream},
    wait,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    sync::{Mutex, mpsc::channel},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[test]
fn an_answer_that_was_cut_does_not_look_whole() {
    let (go, told) = channel();
    let told = Mutex::new(told);
    let server = TcpServer::start(move |mut stream, _| {
        let Some(head) = read_request(&mut stream) else { return };
        let framing =
            if head.contains("/chunks") { "transfer-encoding: chunked\r\n\r\n5\r\n" } else { "\r\n" };
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}hello").as_bytes());
        let _ = told.lock().unwrap().recv();
        if head.contains("/reset") {
            Raw(stream, String::new()).reset();
        }
    });
    let sidle = Sidle::builder()
        .file("test.yaml", &service("echo", HOST, "HTTP", &[("v1", server.port())]))
        .settings("  acceptHttp10: true\n")
        .start();
    let ask = |path: &str, version: &str| {
        let mut client = Raw::connect(&sidle);
        client.send(&format!("GET {path} HTTP/1.{version}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
        let mut answer = client.read(|text| text.contains("hello")).into_bytes();
        go.send(()).unwrap();
        let end = client.0.read_to_end(&mut answer);
        (end.map_err(|error| error.kind()), String::from_utf8(answer).unwrap().ends_with("\r\n0\r\n\r\n"))
    };
    for path in ["/chunks", "/reset"] {
        assert_eq!(ask(path, "0").0, Err(ErrorKind::ConnectionReset), "{path}: no end");
        assert!(!ask(path, "1").1, "{path}: no last chunk");
    }
    assert_eq!(ask("/whole", "0").0, Ok(0), "the end of the connection is the answer's");
    assert!(ask("/whole", "1").1, "the last chunk is the answer's");
}

#[test]
fn an_answer_that_its_client_does_not_take_does_not_look_whole() {
    const LENGTH: usize = 32 << 20;
    let server = TcpServer::start(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let _ = stream.write_all(&vec![b'x'; LENGTH]);
        }
    });
    let sidle = Sidle::builder()
        .file("test.yaml", &service("echo", HOST, "HTTP", &[("v1", server.port())]))
        .settings("  acceptHttp10: true\n  limits: { streamIdleTimeout: 500ms }\n")
        .start();
    let mut client = Raw::connect(&sidle);
    client.send(&format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    client.read(|text| text.contains('x'));
    wait::until("the proxy to give up", || {
        (sidle.metrics().sum("sidle_listener_connections_active", &[]) == 0.0).then_some(())
    });
    let end = client.0.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn an_answer_reaches_a_client_that_still_sends() {
    let stage = Stage::new();
    let sidle = stage.route(&format!(
        "    - match: [{{ uri: {{ prefix: /no }} }}]\n      directResponse: {{ status: 403, body: {{ string: never }} }}\n    \
         - route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]\n"
    ));
    let long = format!("POST /no HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n");
    let piece = [b'x'; 16 << 10];
    for (request, status, body) in [
        (long, 403, "never"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: b\r\n\r\n"), 400, ""),
        (format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(40_000)), 414, ""),
        (get("/no", "Connection: close\r\n"), 403, "never"),
    ] {
        let mut client = Raw::connect(&sidle);
        client.send(&request);
        client.0.peek(&mut [0]).unwrap(); // it is answered, and goes on nevertheless
        let answered = Instant::now();
        for sent in 0..(1 << 20) / piece.len() {
            client
                .0
                .write_all(&piece)
                .unwrap_or_else(|error| panic!("{status}: {error} after {sent} pieces"));
            // At its own pace, on a busy machine too within the second that it is listened to.
            if answered.elapsed() < Duration::from_millis(300) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let answer = client.rest();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        assert!(answer.contains("connection: close\r\n") && answer.ends_with(body), "{status}: {answer}");
    }
}

#[test]
fn an_upload_that_nobody_takes_is_given_up() {
    let server = TcpServer::start(|stream, _| {
        wait::until("the proxy to give up", || {
            stream.set_nonblocking(true).unwrap();
            matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
                .then_some(())
        });
    });
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let sidle = Sidle::builder()
        .file("test.yaml", &service("echo", HOST, "HTTP", &[("v1", server.port())]))
        .settings(&format!(
            "  accessLogFile: {}\n  accessLogFormat: \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"\n  \
             limits: {{ streamIdleTimeout: 500ms }}\n",
            log.display()
        ))
        .start();
    let mut client = Raw::connect(&sidle);
    client.send(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000000\r\n\r\n"));
    let mut sending = client.0.try_clone().unwrap();
    let sending = std::thread::spawn(move || while sending.write_all(&[0; 64 << 10]).is_ok() {});
    let answer = client.read(|text| text.contains("\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    wait::until("its line", || {
        (std::fs::read_to_string(&log).unwrap_or_default() == "504 UT response_timeout\n").then_some(())
    });
    drop(client);
    sending.join().unwrap();
}

/// A gateway with TLS in front of the server.
fn door(server: &TcpServer) -> (Authority, SocketAddr, Sidle) {
    let (authority, port, builder) = (Authority::new(), ports::free(), Sidle::builder());
    authority.issue(&["shop.test"]).write(builder.folder(), "shop");
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {}, name: https, protocol: HTTPS }}\n      hosts: ['*']\n      \
         tls: {{ mode: SIMPLE, serverCertificate: {folder}/shop.pem, privateKey: {folder}/shop.key }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: shop }}\nspec:\n  \
         hosts: ['*']\n  gateways: [door]\n  http: [{{ route: [{{ destination: {{ host: {HOST} }} }}] }}]\n---\n{}",
        port.port(),
        service("echo", HOST, "HTTP", &[("v1", server.port())]),
        folder = builder.folder().display(),
    );
    let sidle = builder.file("test.yaml", &manifests).start();
    (authority, port, sidle)
}

/// Asks for so many bytes and reads none; the connection, if the proxy has all of them nevertheless.
async fn taken(
    (authority, port, sidle): &(Authority, SocketAddr, Sidle),
    length: usize,
) -> Option<TlsStream<TcpStream>> {
    let answered = || sidle.metrics().sum("istio_requests_total", &[("response_flags", "-")]);
    let (before, begun) = (answered(), Instant::now());
    let mut tls = authority.connect(*port, "shop.test", &[b"http/1.1"]).await.unwrap();
    let request = format!("GET /{length} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    while begun.elapsed() < Duration::from_millis(500) {
        if answered() > before {
            return Some(tls);
        }
    }
    None
}

/// What a TLS session holds when its socket is full leaves as soon as the client reads on.
#[tokio::test]
async fn the_tail_of_an_answer_leaves_the_tls_session() {
    let server = TcpServer::start(|mut stream, _| {
        while let Some(head) = read_request(&mut stream) {
            let length: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b'x'; length]));
            if sent.is_err() {
                return;
            }
        }
    });
    let door = door(&server);
    // The longest answer that the proxy takes whole while its client reads nothing: the last of it is in the proxy's hands, and
    // of one that is a little shorter, in those of TLS alone.
    let (mut longest, mut too_long) = (0, 32 << 20);
    while too_long - longest > 32 << 10 {
        let length = usize::midpoint(longest, too_long);
        match taken(&door, length).await {
            Some(_) => longest = length,
            None => too_long = length,
        }
    }
    for length in (0..16).map(|shorter| longest.saturating_sub(shorter * (16 << 10))) {
        if let Some(tls) = taken(&door, length).await {
            read(tls, length).await;
        }
    }
}

/// Reads an answer with so much content.
async fn read(mut tls: TlsStream<TcpStream>, length: usize) {
    let (mut read, mut head) = (Vec::new(), None);
    while head.is_none_or(|head| read.len() < head + length) {
        let more = tokio::time::timeout(wait::PATIENCE, tls.read_buf(&mut read)).await;
        let more =
            more.unwrap_or_else(|_| panic!("no more than {} of {length} bytes came", read.len())).unwrap();
        assert!(more > 0, "closed after {} of {length} bytes", read.len());
        head = head.or_else(|| Some(read.windows(4).position(|end| end == b"\r\n\r\n")? + 4));
    }
}

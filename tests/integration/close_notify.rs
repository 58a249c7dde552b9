//! The ends of TLS sessions: `close_notify` tells an end from a cut, on both sides of the proxy.

use crate::stage::{HOST, client};
use sidle_test_support::{
    http2::{END_HEADERS, END_STREAM, frame, kind},
    manifest::{service, service_on, subsets},
    ports,
    sidle::Sidle,
    tcp::{TcpServer, read_request},
    tls::{Authority, TlsStream},
    wait,
};
use std::{
    io::Write as _,
    net::SocketAddr,
    sync::Arc,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};

/// More than a busy machine takes from a connection to its first request.
const LITTLE_PATIENCE: &str = "  limits: { connectionIdleTimeout: 1500ms, requestHeadersTimeout: 1500ms }\n";

/// An upstream of HTTP/1.
fn upstream() -> TcpServer {
    TcpServer::start(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            let _ = stream.write_all(crate::raw::OK);
        }
    })
}

/// Gateways with TLS: HTTP in front of one server, bytes in front of another.
struct Door {
    authority: Authority,
    http: SocketAddr,
    bytes: SocketAddr,
    sidle: Sidle,
}

impl Door {
    fn new(settings: &str, http: &TcpServer, bytes: u16) -> Self {
        let (authority, ports, builder) =
            (Authority::new(), [ports::free(), ports::free()], Sidle::builder());
        authority.issue(&["shop.test"]).write(builder.folder(), "shop");
        let folder = builder.folder().display().to_string();
        let server = |port: SocketAddr, name: &str, protocol: &str| {
            format!(
                "    - port: {{ number: {}, name: {name}, protocol: {protocol} }}\n      hosts: ['*']\n      \
                 tls: {{ mode: SIMPLE, serverCertificate: {folder}/shop.pem, privateKey: {folder}/shop.key }}\n",
                port.port()
            )
        };
        let manifests = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n{}{}---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: shop }}\nspec:\n  \
             hosts: ['*']\n  gateways: [door]\n  http: [{{ route: [{{ destination: {{ host: {HOST} }} }}] }}]\n  \
             tcp: [{{ match: [{{ port: {} }}], route: [{{ destination: {{ host: ledger.test }} }}] }}]\n---\n{}{}{}",
            server(ports[0], "https", "HTTPS"),
            server(ports[1], "tls", "TLS"),
            ports[1].port(),
            service("echo", HOST, "HTTP", &[("v1", http.port())]),
            service_on("ledger", "ledger.test", 9000, "TCP", &[("v1", bytes)]),
            subsets(
                "ledger",
                "ledger.test",
                &["v1"],
                "  trafficPolicy: { connectionPool: { tcp: { idleTimeout: 300ms } } }\n"
            ),
        );
        let sidle = builder.file("test.yaml", &manifests).settings(settings).start();
        Door { authority, http: ports[0], bytes: ports[1], sidle }
    }

    async fn connect(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        self.authority.connect(self.http, "shop.test", alpn).await.unwrap()
    }
}

/// What comes until the session ends by `close_notify`.
async fn until_the_end(what: &str, tls: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut read = Vec::new();
    match wait::within(what, tls.read_to_end(&mut read)).await {
        Ok(_) => read,
        Err(error) => panic!("{what}: {error} after {:?}", String::from_utf8_lossy(&read)),
    }
}

async fn ask(tls: &mut TlsStream<TcpStream>, fields: &str) {
    tls.write_all(format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    tls.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[tokio::test]
async fn idle_sessions_of_clients_end_orderly() {
    let server = upstream();
    let door = Door::new(LITTLE_PATIENCE, &server, server.port());
    let mut asked = door.connect(&[b"http/1.1"]).await;
    ask(&mut asked, "").await;
    let mut silent = door.connect(&[]).await;
    until_the_end("a client that has its answer", &mut asked).await;
    until_the_end("a client that said nothing", &mut silent).await;
    let mut deaf = door.connect(&[b"h2"]).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    deaf.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat()).await.unwrap();
    until_the_end("a client of HTTP/2 that answers no PING", &mut deaf).await;
    let mut bytes = door.authority.connect(door.bytes, "shop.test", &[]).await.unwrap();
    until_the_end("a connection of bytes", &mut bytes).await;
}

#[tokio::test]
async fn an_answer_that_ends_its_connection_ends_its_session() {
    let server = upstream();
    let door = Door::new("", &server, server.port());
    let mut asked = door.connect(&[b"http/1.1"]).await;
    ask(&mut asked, "Connection: close\r\n").await;
    assert!(until_the_end("an answer", &mut asked).await.ends_with(b"ok"));
    let mut leaves = door.connect(&[b"http/1.1"]).await;
    ask(&mut leaves, "").await;
    leaves.shutdown().await.unwrap();
    until_the_end("a client that says that it leaves", &mut leaves).await;
}

#[tokio::test]
async fn draining_ends_sessions_orderly() {
    let server = upstream();
    let mut door =
        Door::new("  drain: { deadline: 15s }\n  limits: { requestHeadersTimeout: 1500ms }\n", &server, 1);
    let mut asked = door.connect(&[b"http/1.1"]).await;
    ask(&mut asked, "").await;
    let mut silent = door.connect(&[]).await;
    let mut deaf = door.connect(&[b"h2"]).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    deaf.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat()).await.unwrap();
    deaf.read_exact(&mut [0; 9]).await.unwrap();
    door.sidle.signal("TERM");
    until_the_end("a client that has its answer", &mut asked).await;
    until_the_end("a client that said nothing", &mut silent).await;
    until_the_end("a client of HTTP/2 that answers no PING", &mut deaf).await;
    assert!(door.sidle.ended().await.success());
}

#[tokio::test]
async fn a_connection_of_bytes_that_leads_nowhere_ends_orderly() {
    let server = upstream();
    let door = Door::new("", &server, ports::free().port());
    let mut bytes = door.authority.connect(door.bytes, "shop.test", &[]).await.unwrap();
    until_the_end("a connection of bytes", &mut bytes).await;
}

/// How many requests came in a session, and why it ended if not by `close_notify`.
type Ended = (u32, Option<String>);

/// A server with TLS that answers each request at once, twice if it is for `/twice`, tells how its sessions end, and that it has
/// answered `/later` for a second time.
fn secure(authority: &Authority) -> (SocketAddr, Receiver<Ended>, Arc<Notify>) {
    let (tell, told) = channel();
    let later = Arc::new(Notify::new());
    let answered = later.clone();
    let acceptor = authority.issue(&["secure.test"]).acceptor();
    let listener = ports::listen();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, tell, answered) = (acceptor.clone(), tell.clone(), answered.clone());
            tokio::spawn(async move {
                let _ = tell.send(serve(acceptor.accept(stream).await.unwrap(), &answered).await);
            });
        }
    });
    (address, told, later)
}

/// Serves a session; how many requests came, and why it ended if not by `close_notify`.
async fn serve(mut tls: tokio_rustls::server::TlsStream<TcpStream>, answered_later: &Notify) -> Ended {
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    if http2 {
        say(&mut tls, &frame(kind::SETTINGS, 0, 0, &[])).await;
    }
    let (mut read, mut requests) = (Vec::new(), 0);
    loop {
        match tls.read_buf(&mut read).await {
            Ok(0) => return (requests, None),
            Err(error) => return (requests, Some(error.to_string())),
            Ok(_) => {}
        }
        // A frame of HEADERS for the first stream begins so.
        if http2 && requests == 0 && read.windows(6).any(|head| [head[0], head[5]] == [kind::HEADERS, 1]) {
            requests = 1;
            say(&mut tls, &frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &[0x88])).await;
        } else if read.ends_with(b"\r\n\r\n") && !http2 {
            requests += 1;
            let (twice, later) = (read.starts_with(b"GET /twice"), read.starts_with(b"GET /later"));
            read.clear();
            say(&mut tls, &crate::raw::OK.repeat(1 + usize::from(twice))).await;
            if later {
                tokio::time::sleep(Duration::from_millis(20)).await;
                say(&mut tls, crate::raw::OK).await;
                answered_later.notify_one();
            }
        }
    }
}

async fn say(tls: &mut tokio_rustls::server::TlsStream<TcpStream>, bytes: &[u8]) {
    tls.write_all(bytes).await.unwrap();
    tls.flush().await.unwrap();
}

/// A proxy in front of that, with further lines of its traffic policy.
fn in_front_of(authority: &Authority, address: SocketAddr, protocol: &str, policy: &str) -> Sidle {
    let builder = Sidle::builder();
    let ca = builder.folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let policy = format!(
        "  trafficPolicy:\n    tls: {{ mode: SIMPLE, caCertificates: {}, sni: secure.test }}\n{policy}",
        ca.display()
    );
    let manifests =
        service("echo", HOST, protocol, &[("v1", address.port())]) + &subsets("echo", HOST, &["v1"], &policy);
    builder.file("test.yaml", &manifests).start()
}

/// How the next session ended, after how many requests.
async fn ended(told: Receiver<Ended>) -> Ended {
    tokio::task::spawn_blocking(move || told.recv_timeout(wait::PATIENCE).unwrap()).await.unwrap()
}

#[tokio::test]
async fn sessions_with_upstreams_end_orderly() {
    let authority = Authority::new();
    for (protocol, pool) in [
        ("HTTP", "idleTimeout: 300ms"),
        ("HTTP", "maxRequestsPerConnection: 1"),
        ("HTTP2", "idleTimeout: 300ms"),
        ("HTTP2", "maxRequestsPerConnection: 1"),
    ] {
        let (address, told, _) = secure(&authority);
        let policy = format!("    connectionPool: {{ http: {{ {pool} }} }}\n");
        let sidle = in_front_of(&authority, address, protocol, &policy);
        assert_eq!(client(&sidle).await.get(HOST, "/").await.status, 200);
        assert_eq!(ended(told).await, (1, None), "{protocol}, {pool}");
    }
}

/// RFC 9112 section 9.2, inside TLS: what nobody asked for may wait in the session.
#[tokio::test]
async fn a_session_with_an_answer_too_many_is_not_used_again() {
    let authority = Authority::new();
    let (address, told, answered_later) = secure(&authority);
    let sidle = in_front_of(&authority, address, "HTTP", "");
    let mut client = client(&sidle).await;
    for path in ["/twice", "/later"] {
        assert_eq!(client.get(HOST, path).await.text(), "ok");
        if path == "/later" {
            wait::within("the answer too many", answered_later.notified()).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // until it is there
    }
    assert_eq!(client.get(HOST, "/").await.text(), "ok");
    drop(sidle);
    let sessions: Vec<_> = tokio::task::spawn_blocking(move || {
        (0..3).map(|_| told.recv_timeout(wait::PATIENCE).unwrap().0).collect()
    })
    .await
    .unwrap();
    assert_eq!(sessions, [1, 1, 1]);
}

//! Clients that begin a TLS handshake and do not end it, or begin one that is too old.

use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::service,
    ports,
    sidle::{Builder, Sidle},
    tls::Authority,
    wait,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

const NAME: &str = "www.shop.example";
const TIMEOUT: Duration = Duration::from_millis(500);
const HALF: usize = 300;

/// A gateway with TLS, and little patience.
fn gateway(port: SocketAddr, authority: &Authority, echo: &Echo) -> Sidle {
    let builder: Builder = Sidle::builder();
    authority.issue(&[NAME]).write(builder.folder(), "www");
    let folder = builder.folder().display().to_string();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {port}, name: https, protocol: HTTPS }}\n      hosts: ['{NAME}']\n      tls: {{ mode: SIMPLE, \
         serverCertificate: {folder}/www.pem, privateKey: {folder}/www.key }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['{NAME}']\n  \
         gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: shop.internal }} }}]\n---\n",
        port = port.port(),
    );
    builder
        .file("test.yaml", &(manifests + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())])))
        .settings("  limits: { tlsHandshakeTimeout: 500ms, requestHeadersTimeout: 500ms }\n")
        .start()
}

/// A ClientHello for the gateway's name, TLS 1.2 in its record, of this version and with these cipher suites.
fn hello(version: [u8; 2], suites: &[u8]) -> Vec<u8> {
    let name = NAME.as_bytes();
    let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut sni = vec![0, 0];
    sni.extend(length(name.len() + 5));
    sni.extend(length(name.len() + 3));
    sni.push(0);
    sni.extend(length(name.len()));
    sni.extend(name);
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(length(suites.len()));
    body.extend(suites);
    body.extend([1, 0]);
    body.extend(length(sni.len()));
    body.extend(sni);
    let mut record = vec![22, 3, 1];
    record.extend(length(body.len() + 4));
    record.extend([1, 0]);
    record.extend(length(body.len()));
    record.extend(body);
    record
}

/// Waits for the end; what came before it.
fn answer(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("still open"),
        _ => bytes,
    }
}

#[tokio::test]
async fn handshakes_that_stall_are_ended_and_others_notice_nothing() {
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let sidle = gateway(port, &authority, &echo);
    let hello = hello([3, 3], &[0xc0, 0x2b, 0xc0, 0x2f]);
    let began = Instant::now();
    let mut silent: Vec<_> = (0..HALF).map(|_| TcpStream::connect(port).unwrap()).collect();
    for (number, stream) in silent.iter_mut().enumerate() {
        stream.write_all(&hello[..number % hello.len()]).unwrap();
    }
    // A byte now and then is no handshake either.
    let (mut slow, stop) = (TcpStream::connect(port).unwrap(), Arc::new(AtomicBool::new(false)));
    let dripping = std::thread::spawn({
        let (hello, stop) = (hello.clone(), stop.clone());
        move || {
            let mut drops = hello.iter().cycle();
            while !stop.load(SeqCst) && slow.write_all(&[*drops.next().unwrap()]).is_ok() {
                std::thread::sleep(TIMEOUT / 20);
            }
        }
    });
    let tls = authority.connect(port, NAME, &[b"h2"]).await.unwrap();
    let mut healthy = Client::http2_over(tls).await;
    while began.elapsed() < TIMEOUT {
        assert_eq!(healthy.get(NAME, "/").await.status, 200);
    }
    for stream in silent {
        answer(stream);
    }
    wait::until("the drips to be refused", || dripping.is_finished().then_some(()));
    stop.store(true, SeqCst);
    dripping.join().unwrap();
    assert_eq!(healthy.get(NAME, "/").await.status, 200);
    let open = sidle.metrics().sum("sidle_listener_connections_active", &[("listener", &listener(&sidle))]);
    assert_eq!(open, 1.0);
}

/// The gateway's, as metrics name it.
fn listener(sidle: &Sidle) -> String {
    let listeners = sidle.admin("/listeners").body;
    let line = listeners.lines().find(|line| !line.starts_with("virtual")).unwrap();
    line.split("::").next().unwrap().to_owned()
}

#[test]
fn old_versions_and_weak_ciphers_are_refused_with_an_alert() {
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let _sidle = gateway(port, &authority, &echo);
    let strong = [0xc0, 0x2b, 0xc0, 0x2f];
    let (triple_des, rc4, cbc) = ([0x00, 0x0a], [0x00, 0x05], [0xc0, 0x13]);
    for (version, suites) in [
        ([3, 0], &strong[..]),
        ([3, 1], &strong),
        ([3, 2], &strong),
        ([3, 3], &triple_des),
        ([3, 3], &rc4),
        ([3, 3], &cbc),
    ] {
        let mut stream = TcpStream::connect(port).unwrap();
        stream.write_all(&hello(version, suites)).unwrap();
        let answer = answer(stream);
        // An alert record, and no ServerHello.
        assert_eq!(answer.first(), Some(&21), "{version:?} {suites:?}: {answer:?}");
        assert_eq!(answer.len(), 7);
    }
    assert_eq!(echo.requests(), 0);
}

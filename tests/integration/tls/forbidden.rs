//! What TLS once had and has no more: old versions, weak ciphers, compression, renegotiation, data before the handshake is over.

use super::{IMPATIENT, NAME, answer, length, start};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    pki_types::ServerName,
};
use sidle_test_support::{
    echo::Echo,
    peers, ports,
    tls::{Authority, client_as},
    wait,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const STRONG: [u8; 4] = [0xc0, 0x2b, 0xc0, 0x2f];
const PLAIN: [u8; 1] = [0];
const DEFLATE: [u8; 1] = [1];

/// A ClientHello for [`NAME`], of this version, with these cipher suites and methods of compression.
fn hello(version: [u8; 2], suites: &[u8], compression: &[u8]) -> Vec<u8> {
    let name = NAME.as_bytes();
    let mut extensions = vec![0, 0];
    extensions.extend(length(name.len() + 5));
    extensions.extend(length(name.len() + 3));
    extensions.push(0);
    extensions.extend(length(name.len()));
    extensions.extend(name);
    // supported_groups: secp256r1; ec_point_formats; signature_algorithms: ECDSA with P-256, RSA-PSS.
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    extensions.extend([0, 13, 0, 6, 0, 4, 4, 3, 8, 4]);
    // extended_master_secret.
    extensions.extend([0, 23, 0, 0]);
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(length(suites.len()));
    body.extend(suites);
    body.push(u8::try_from(compression.len()).unwrap());
    body.extend(compression);
    body.extend(length(extensions.len()));
    body.extend(extensions);
    let mut record = vec![22, 3, 1];
    record.extend(length(body.len() + 4));
    record.extend([1, 0]);
    record.extend(length(body.len()));
    record.extend(body);
    record
}

#[tokio::test]
async fn old_versions_weak_ciphers_and_compression_are_refused_with_an_alert() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let sidle = start(port, &authority, &echo, IMPATIENT);
    let (triple_des, rc4, cbc, null) = ([0x00, 0x0a], [0x00, 0x05], [0xc0, 0x13], [0x00, 0x02]);
    for door in [port, sidle.ports.inbound] {
        let send = |version, suites: &[u8], compression: &[u8]| {
            let mut stream = TcpStream::connect(door).unwrap();
            stream.write_all(&hello(version, suites, compression)).unwrap();
            answer(stream)
        };
        for (version, suites, compression) in [
            ([3, 0], &STRONG[..], &PLAIN[..]),
            ([3, 1], &STRONG, &PLAIN),
            ([3, 2], &STRONG, &PLAIN),
            ([3, 3], &triple_des, &PLAIN),
            ([3, 3], &rc4, &PLAIN),
            ([3, 3], &cbc, &PLAIN),
            ([3, 3], &null, &PLAIN),
            ([3, 3], &STRONG, &DEFLATE),
        ] {
            let answer = send(version, suites, compression);
            // An alert record, and no ServerHello.
            assert_eq!(answer.first(), Some(&21), "{version:?} {suites:?} {compression:?}: {answer:?}");
            assert_eq!(answer.len(), 7);
        }
        // Who has both goes on without: a ServerHello of TLS 1.2 whose method, behind session and suite, is 0.
        let answer = send([3, 3], &STRONG, &[1, 0]);
        assert_eq!((answer[0], answer[5]), (22, 2), "{answer:?}");
        let session = usize::from(answer[43]);
        assert_eq!(answer[44 + session + 2], 0, "compression");
        // SSL 2.0's hello is not TLS at all.
        let mut stream = TcpStream::connect(door).unwrap();
        stream.write_all(&[&[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10][..], &[7; 37]].concat()).unwrap();
        assert_ne!(super::answer(stream).first(), Some(&22));
    }
    assert_eq!(echo.requests(), 0);
}

/// OpenSSL's client, told to negotiate anew.
#[tokio::test]
async fn a_connection_negotiates_once() {
    let _machine = crate::MACHINE.lock().await;
    let Some(openssl) = peers::find("openssl") else { return };
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let _sidle = start(port, &authority, &echo, "  limits: { connectionIdleTimeout: 1s }\n");
    let mut client = Command::new(openssl);
    client.args(["s_client", "-connect", &port.to_string(), "-servername", NAME, "-tls1_2"]);
    let pipe = Stdio::piped;
    let mut client = client.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    // `R` at the start of a line renegotiates; what follows would be a request on the new session.
    let mut commands = client.stdin.take().unwrap();
    commands.write_all(b"R\n").unwrap();
    let status = wait::until("the end of the client", || client.try_wait().unwrap());
    let _ = commands.write_all(b"GET / HTTP/1.1\r\nHost: www.shop.example\r\n\r\n");
    let output = client.wait_with_output().unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (before, after) = said.split_once("---\n").unwrap();
    assert!(before.contains("CONNECTED") && after.contains("TLSv1.2"), "{said}");
    // It asked, waited, and was left alone: no second handshake, no request.
    assert!(complaint.contains("RENEGOTIATING") && !status.success(), "{said}\n{complaint}");
    let (first, second) = complaint.split_once("RENEGOTIATING").unwrap();
    assert!(first.contains("verify") && !second.contains("verify"), "{complaint}");
    assert_eq!(echo.requests(), 0);
}

/// A client that believes each ticket to allow early data, whatever the server said.
#[derive(Debug)]
struct Hasty(ClientSessionMemoryCache);

impl ClientSessionStore for Hasty {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut value = self.0.take_tls13_ticket(name)?;
        value._private_set_max_early_data_size(16_384);
        Some(value)
    }
}

/// A connection; `early` goes out with the first flight, if there is a ticket.
fn connect(config: &Arc<ClientConfig>, stream: &mut TcpStream, early: &[u8]) -> (ClientConnection, usize) {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(config.clone(), name).unwrap();
    let sent = client.early_data().map_or(0, |mut writer| writer.write(early).unwrap());
    while client.is_handshaking() {
        client.complete_io(stream).unwrap();
    }
    (client, sent)
}

fn ask(client: &mut ClientConnection, stream: &mut TcpStream, line: &str) -> String {
    let mut tls = rustls::Stream::new(client, stream);
    write!(tls, "{line} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = vec![0; 4096];
    let read = tls.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn a_request_before_the_end_of_the_handshake_is_not_read() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let _sidle = start(port, &authority, &echo, IMPATIENT);
    let mut config = client_as(None, &[b"http/1.1"], &[&rustls::version::TLS13]);
    config.enable_early_data = true;
    config.resumption = Resumption::store(Arc::new(Hasty(ClientSessionMemoryCache::new(8))));
    let (config, open) = (Arc::new(config), || {
        let stream = TcpStream::connect(port).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    });
    let mut stream = open();
    let (mut client, sent) = connect(&config, &mut stream, b"");
    assert_eq!(sent, 0);
    assert!(ask(&mut client, &mut stream, "GET /first").starts_with("HTTP/1.1 200 "));

    let mut stream = open();
    let early = format!("POST /early HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 0\r\n\r\n");
    let (mut client, sent) = connect(&config, &mut stream, early.as_bytes());
    assert_eq!(sent, early.len(), "it went out with the first flight");
    assert!(!client.is_early_data_accepted());
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Resumed));
    // The connection stands, and what comes on it now is the first of it.
    assert!(ask(&mut client, &mut stream, "GET /second").starts_with("HTTP/1.1 200 "));
    let paths: Vec<_> = echo.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/first", "/second"]);
}

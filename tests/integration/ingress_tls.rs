//! TLS that a port of a Sidecar opens itself, for those who are not of the mesh; and that an exported Envoy opens the same.

use crate::{
    envoy_oracle::{envoy::Envoy, export},
    mtls::told,
};
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{Echo, full},
    peers, ports,
    sidle::Sidle,
    tcp::TcpServer,
    tls::{Authority, Identity},
};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A workload with a port of HTTP and one of bytes, both with TLS of `mode` and listeners of their own.
struct Stage {
    authority: Authority,
    application: Echo,
    _bytes: TcpServer,
    sidle: Sidle,
    /// Of HTTP, and of bytes.
    ports: [SocketAddr; 2],
}

impl Stage {
    fn new(mode: &str) -> Self {
        let (authority, application, bytes) = (Authority::new(), Echo::start("shop"), TcpServer::echo());
        let ports = [ports::free(), ports::free()];
        let builder = Sidle::builder();
        let folder = builder.folder().join("tls");
        std::fs::create_dir(&folder).unwrap();
        authority.issue(&["shop.test"]).write(&folder, "shop");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let tls = format!(
            "{{ mode: {mode}, serverCertificate: {0}/shop.pem, privateKey: {0}/shop.key, caCertificates: {0}/ca.pem }}",
            folder.display()
        );
        let port = |address: SocketAddr, protocol: &str, to: u16| {
            format!(
                "    - port: {{ number: {}, name: p{protocol}, protocol: {protocol} }}\n      bind: 127.0.0.1\n      \
                 captureMode: NONE\n      defaultEndpoint: 127.0.0.1:{to}\n      tls: {tls}\n",
                address.port()
            )
        };
        let manifests = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: shop }}\nspec:\n  ingress:\n{}{}",
            port(ports[0], "HTTPS", application.port()),
            port(ports[1], "TLS", bytes.port()),
        );
        let sidle = builder.file("sidecar.yaml", &manifests).start();
        Stage { authority, application, _bytes: bytes, sidle, ports }
    }

    async fn ask(&self, who: Option<&Identity>, address: SocketAddr, alpn: &[&[u8]]) -> Option<Answer> {
        let tls = self.authority.connect_as(who, address, alpn).await.ok()?;
        let mut client = match alpn {
            [b"h2"] => Client::http2_over(tls).await,
            _ => Client::http1_over(tls).await,
        };
        client.try_exchange(request("GET", "shop.test", "/").body(full("")).unwrap()).await.ok()
    }

    async fn hello(&self, who: Option<&Identity>, address: SocketAddr) -> Option<String> {
        let mut tls = self.authority.connect_as(who, address, &[]).await.ok()?;
        tls.write_all(b"hello").await.ok()?;
        tls.shutdown().await.ok()?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }
}

/// What comes back of a plain request.
async fn in_plain(address: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // a reset is an end too
    answer
}

#[tokio::test]
async fn the_application_gets_what_is_inside() {
    let stage = Stage::new("SIMPLE");
    let [http, bytes] = stage.ports;
    let trusting = stage.authority.connect(http, "shop.test", &[b"http/1.1"]).await;
    assert!(trusting.is_ok(), "the certificate is the port's own");
    for alpn in [b"h2".as_slice(), b"http/1.1"] {
        let answer = stage.ask(None, http, &[alpn]).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.version()), (200, "shop"));
        assert_eq!(told(&answer), None);
    }
    assert_eq!(stage.application.last().header("x-forwarded-proto"), "https");
    assert_eq!(stage.hello(None, bytes).await.as_deref(), Some("hello"));
    for port in stage.ports {
        assert_eq!(String::from_utf8_lossy(&in_plain(port).await), "", "in plain text");
    }
    assert_eq!(stage.application.requests(), 2);
}

#[tokio::test]
async fn clients_may_have_to_show_who_they_are_to_sidle_and_to_an_exported_envoy() {
    let stage = Stage::new("MUTUAL");
    let stranger = Authority::new().issue(&["client.test"]);
    let client = stage.authority.issue(&["client.test"]);
    let mut places = vec![stage.ports];
    let folder = tempfile::tempdir().unwrap();
    let envoy = peers::find("envoy").map(|program| {
        let exported = export(stage.sidle.folder(), &[]);
        Envoy::start(&program, exported, folder.path(), &folder.path().join("log"))
    });
    if let Some(envoy) = &envoy {
        places.push(stage.ports.map(|port| envoy.listeners[&port.port()]));
    }
    for [http, bytes] in places {
        for who in [None, Some(&stranger)] {
            assert!(stage.ask(who, http, &[b"http/1.1"]).await.is_none());
            assert_ne!(stage.hello(who, bytes).await.as_deref(), Some("hello"));
        }
        let answer = stage.ask(Some(&client), http, &[b"http/1.1"]).await.unwrap();
        let told = told(&answer).unwrap();
        assert!(told.contains("Subject=") && told.contains("DNS=client.test"), "{told}");
        assert_eq!(stage.hello(Some(&client), bytes).await.as_deref(), Some("hello"));
    }
}

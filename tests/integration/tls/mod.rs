//! Clients that begin a TLS handshake in a way in which nobody should: too old (`forbidden`), without an end (`flood`), too large
//! (`large`).

mod flood;
mod forbidden;
mod large;

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use sidle_test_support::{
    echo::Echo,
    manifest::service,
    sidle::{Builder, Sidle},
    tls::Authority,
};
use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

const NAME: &str = "www.shop.example";
const SHOP: &str = "spiffe://cluster.local/ns/default/sa/shop";
/// Little patience, for tests that are not about it.
const IMPATIENT: &str = "  limits: { tlsHandshakeTimeout: 500ms, requestHeadersTimeout: 500ms }\n";

/// A gateway at `port` with a certificate for [`NAME`]; its inbound listener takes mTLS only. Behind both is `echo`.
fn start(port: SocketAddr, authority: &Authority, echo: &Echo, settings: &str) -> Sidle {
    let builder: Builder = Sidle::builder();
    authority.issue(&[NAME]).write(builder.folder(), "www");
    let identity = builder.folder().join("identity");
    std::fs::create_dir(&identity).unwrap();
    let workload = authority.issue_workload(SHOP);
    for (name, text) in [
        ("ca.crt", authority.pem()),
        ("tls.crt", workload.certificate_pem.clone()),
        ("tls.key", workload.key_pem()),
    ] {
        std::fs::write(identity.join(name), text).unwrap();
    }
    let folder = builder.folder().display().to_string();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {port}, name: https, protocol: HTTPS }}\n      hosts: ['{NAME}']\n      tls: {{ mode: SIMPLE, \
         serverCertificate: {folder}/www.pem, privateKey: {folder}/www.key }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['{NAME}']\n  \
         gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: shop.internal }} }}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {echo} }}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: shop }}\nspec: {{ mtls: {{ mode: STRICT }} }}\n---\n",
        port = port.port(),
        echo = echo.port(),
    );
    builder
        .file(
            "test.yaml",
            &(manifests + &service("internal", "shop.internal", "HTTP", &[("v1", echo.port())])),
        )
        .settings(&format!("{settings}  identity: {{ directory: {folder}/identity }}\n"))
        .arguments(&["--labels", "app=shop"])
        .start()
}

/// The first flight of a real client.
fn real_hello(config: ClientConfig) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    (client, hello)
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap().to_be_bytes()
}

/// What came before the end of the connection.
///
/// # Panics
/// When it does not end.
fn answer(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still open"),
        _ => bytes,
    }
}

/// The gateway's listener, as metrics name it.
fn listener(sidle: &Sidle) -> String {
    let listeners = sidle.admin("/listeners").body;
    let line = listeners.lines().find(|line| !line.starts_with("virtual")).unwrap();
    line.split("::").next().unwrap().to_owned()
}

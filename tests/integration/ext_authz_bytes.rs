//! External authorisation of connections of bytes: a provider by gRPC is asked before anything goes on; one by HTTP cannot be.

use crate::{
    ext_authz::{AUTHORISER, Authoriser, counted},
    mtls::{SHOP, WEB, with_identity},
    raw::Raw,
};
use serde_json::Value;
use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::service_on,
    ports,
    sidle::{Builder, Sidle},
    tcp::TcpServer,
    tls::Authority,
    wait,
};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A policy that has the provider `judge` asked about everything, and the provider; `provider` holds lines of its block.
pub fn asking(builder: Builder, kind: &str, protocol: &str, port: u16, provider: &str) -> Builder {
    let manifests = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: ask }}\nspec:\n  \
         action: CUSTOM\n  provider: {{ name: judge }}\n  rules: [{{ to: [{{ operation: {{ methods: [GET] }} }}] }}]\n---\n{}",
        service_on("authorizer", AUTHORISER, 8000, protocol, &[("v1", port)]),
    );
    let settings = format!(
        "  accessLogFile: {}\n  extensionProviders:\n    - name: judge\n      {kind}:\n        service: {AUTHORISER}\n        \
         port: 8000\n{provider}",
        builder.folder().join("log").display()
    );
    builder.file("ask.yaml", &manifests).settings(&settings)
}

/// A workload of bytes whose connections are asked about.
pub fn guarded(application: &TcpServer, authoriser: &Authoriser, provider: &str) -> Sidle {
    let builder = asking(Sidle::builder(), "envoyExtAuthzGrpc", "GRPC", authoriser.port, provider);
    serving(builder, application)
}

pub fn serving(builder: Builder, application: &TcpServer) -> Sidle {
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: tcp, port: 80, targetPort: {} }}]\n",
        application.port()
    );
    builder.file("shop.yaml", &service).arguments(&["--labels", "app=shop"]).start()
}

/// The log's lines, once there are so many.
fn log(sidle: &Sidle, lines: usize) -> Vec<String> {
    let path = sidle.folder().join("log");
    wait::until("the log", || {
        let text = std::fs::read_to_string(&path).ok()?;
        let found: Vec<_> = text.lines().map(str::to_owned).collect();
        (found.len() >= lines).then_some(found)
    })
}

/// What comes back of `hello`.
fn hello(sidle: &Sidle) -> String {
    hello_to(sidle.ports.inbound)
}

/// The same, at this address. Who is refused may be so before its word is out, and find the connection reset: that is no answer.
pub fn hello_to(address: SocketAddr) -> String {
    let mut client = Raw::to(address).0;
    let mut answer = Vec::new();
    let _ = client
        .write_all(b"hello")
        .and_then(|()| client.shutdown(Shutdown::Write))
        .and_then(|()| client.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn socket(end: &Value) -> (&str, &Value) {
    let address = &end["address"]["socketAddress"];
    (address["address"].as_str().unwrap(), &address["portValue"])
}

#[test]
fn the_first_bytes_wait_for_the_answer_and_none_is_lost() {
    let Some(authoriser) = Authoriser::start("hold") else { return };
    let application = TcpServer::echo();
    let sidle = guarded(&application, &authoriser, "");
    let mut client = Raw::to(sidle.ports.inbound);
    let own = client.0.local_addr().unwrap();
    client.send("hello").finish();
    let question = authoriser.question(0);
    assert_eq!(application.connections(), 0, "nothing goes on before the answer");
    authoriser.decide("allow");
    assert_eq!(client.rest(), "hello");

    let attributes = &question["attributes"];
    assert_eq!(socket(&attributes["source"]), ("127.0.0.1", &own.port().into()));
    assert_eq!(socket(&attributes["destination"]), ("127.0.0.1", &sidle.ports.inbound.port().into()));
    assert_eq!((attributes.get("request"), attributes.get("tlsSession")), (None, None), "{question}");
    let line = log(&sidle, 1).remove(0);
    assert!(line.contains("\" 0 - - - "), "{line}");
}

#[test]
fn a_refusal_and_a_failure_close_and_the_log_says_so() {
    let Some(authoriser) = Authoriser::start("deny") else { return };
    let application = TcpServer::echo();
    let sidle = guarded(&application, &authoriser, "        timeout: 3s\n        statusOnError: \"503\"\n");
    for (decision, details) in [
        ("deny", "UAEX ext_authz_denied ext_authz_denied"),
        ("fail", "UAEX ext_authz_error ext_authz_error"),
        ("hold", "UAEX ext_authz_error ext_authz_error"),
    ] {
        authoriser.decide(decision);
        let before =
            std::fs::read_to_string(sidle.folder().join("log")).map_or(0, |text| text.lines().count());
        assert_eq!(hello(&sidle), "", "{decision}");
        let line = log(&sidle, before + 1).remove(before);
        assert!(line.contains(details), "{decision}: {line}");
    }
    assert_eq!(application.connections(), 0);
    assert_eq!(counted(&sidle, ""), [0, 1, 2, 1, 0, 0]);
    let metrics = sidle.metrics();
    assert_eq!(
        metrics.sum("istio_tcp_connections_closed_total", &[("response_flags", "UAEX")]),
        3.0,
        "{}",
        metrics.text
    );
}

#[test]
fn a_provider_that_fails_open_lets_pass_what_it_says_nothing_about() {
    let Some(authoriser) = Authoriser::start("hold") else { return };
    let application = TcpServer::echo();
    let sidle = guarded(&application, &authoriser, "        timeout: 3s\n        failOpen: true\n");
    for (decision, answer) in [("hold", "hello"), ("fail", "hello"), ("deny", "")] {
        authoriser.decide(decision);
        assert_eq!(hello(&sidle), answer, "{decision}");
    }
    assert_eq!(counted(&sidle, ""), [0, 1, 2, 1, 2, 0]);
}

#[test]
fn a_client_that_went_away_is_not_waited_for() {
    let Some(authoriser) = Authoriser::start("hold") else { return };
    let application = TcpServer::echo();
    let sidle = guarded(&application, &authoriser, "");
    let mut client = Raw::to(sidle.ports.inbound);
    client.send("hello");
    authoriser.question(0);
    client.reset();
    let line = log(&sidle, 1).remove(0);
    assert!(line.contains("\" 0 DC downstream_remote_disconnect"), "{line}");
}

#[test]
fn a_provider_by_http_cannot_be_asked_and_nothing_passes() {
    let (authoriser, application) = (Echo::start("authoriser"), TcpServer::echo());
    let builder = asking(Sidle::builder(), "envoyExtAuthzHttp", "HTTP", authoriser.port(), "");
    let sidle = serving(builder, &application);
    assert_eq!(hello(&sidle), "");
    let line = log(&sidle, 1).remove(0);
    assert!(line.contains("ns[default]-policy[ask]-rule[0]-deny-due-to-bad-CUSTOM-action]"), "{line}");
    assert_eq!((authoriser.requests(), application.connections()), (0, 0));
    wait::until("the warning", || sidle.output().contains("no words for connections of bytes").then_some(()));
}

#[tokio::test]
async fn the_authoriser_learns_who_a_workload_is() {
    let Some(authoriser) = Authoriser::start("allow") else { return };
    let (authority, application) = (Authority::new(), TcpServer::echo());
    let builder = with_identity(&authority, SHOP);
    let sidle = serving(asking(builder, "envoyExtAuthzGrpc", "GRPC", authoriser.port, ""), &application);
    let web = authority.issue_workload(WEB);
    let mut stream = authority.connect_as(Some(&web), sidle.ports.inbound, &[b"istio"]).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hello");
    let attributes = &authoriser.question(0)["attributes"];
    assert_eq!(
        (&attributes["source"]["principal"], &attributes["destination"]["principal"]),
        (&WEB.into(), &SHOP.into())
    );
    assert_eq!(attributes["tlsSession"]["sni"], "outbound_.80_._.shop.test");
}

#[tokio::test]
async fn a_gateway_asks_before_it_passes_tls_on() {
    let Some(authoriser) = Authoriser::start("allow") else { return };
    let authority = Authority::new();
    let shop = Echo::start_tls("shop", authority.issue(&["shop.test"]));
    let port = ports::free();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: pass }}\nspec:\n  servers:\n    \
         - port: {{ number: {}, name: tls, protocol: TLS }}\n      tls: {{ mode: PASSTHROUGH }}\n      hosts: ['*.test']\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: pass }}\nspec:\n  hosts: ['*.test']\n  \
         gateways: [pass]\n  tls:\n    - match: [{{ sniHosts: [shop.test] }}]\n      \
         route: [{{ destination: {{ host: shop.test }} }}]\n---\n{}",
        port.port(),
        service_on("shop", "shop.test", 443, "TLS", &[("v1", shop.port())]),
    );
    let builder = asking(Sidle::builder(), "envoyExtAuthzGrpc", "GRPC", authoriser.port, "");
    let sidle = builder.file("gateway.yaml", &manifests).start();
    let tls = authority.connect(port, "shop.test", &[b"http/1.1"]).await.unwrap();
    assert_eq!(Client::http1_over(tls).await.get("shop.test", "/").await.version(), "shop");
    assert_eq!(authoriser.question(0)["attributes"]["tlsSession"]["sni"], "shop.test");
    authoriser.decide("deny");
    assert!(authority.connect(port, "shop.test", &[]).await.is_err());
    let lines = log(&sidle, 2);
    assert!(lines.iter().any(|line| line.contains("UAEX ext_authz_denied")), "{lines:?}");
}

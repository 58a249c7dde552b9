//! mTLS between two proxies: what each port takes, what each rule sends, and who is believed.

use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{Echo, full},
    sidle::{Builder, Sidle},
    tcp::{TcpServer, read_request},
    tls::{Authority, Name},
    wait,
};
use std::{
    fmt::Write,
    io::{Read, Write as _},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

pub const SHOP: &str = "spiffe://cluster.local/ns/default/sa/shop";
pub const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";

/// A proxy with the identity `id`.
pub fn with_identity(authority: &Authority, id: &str) -> Builder {
    let builder = Sidle::builder();
    let folder = builder.folder().join("identity");
    write_identity(authority, id, &folder);
    let settings = format!("  identity: {{ directory: {} }}\n", folder.display());
    builder.settings(&settings)
}

/// A folder with an identity, as Kubernetes mounts one.
pub fn write_identity(authority: &Authority, id: &str, folder: &Path) {
    let identity = authority.issue_workload(id);
    std::fs::create_dir(folder).unwrap();
    for (name, text) in [
        ("ca.crt", authority.pem()),
        ("tls.crt", identity.certificate_pem.clone()),
        ("tls.key", identity.key_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// The proxy beside the application `shop`, with a PeerAuthentication of this `spec`.
pub fn server(builder: Builder, application: &Echo, policy: &str) -> Sidle {
    server_of(builder, "http", application.port(), policy)
}

/// The same, with an application that speaks what the port's name says.
pub fn server_of(builder: Builder, protocol: &str, port: u16, policy: &str) -> Sidle {
    let mut manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: {protocol}, port: 80, targetPort: {port} }}]\n"
    );
    if !policy.is_empty() {
        write!(
            manifests,
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: shop }}\nspec: {}\n",
            policy.replace("PORT", &port.to_string())
        )
        .unwrap();
    }
    builder.file("test.yaml", &manifests).arguments(&["--labels", "app=shop"]).start()
}

/// A service of the mesh at `address`, and a rule for it.
pub fn service_of(name: &str, address: SocketAddr, account: &str, labels: &str, rule: &str) -> String {
    let mut manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name} }}\nspec:\n  hosts: [{name}.test, {name}]\n  \
         location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {} }}]\n  \
         endpoints: [{{ address: {}, {account} labels: {{ app: shop, {labels} }} }}]\n",
        address.port(),
        address.ip(),
    );
    if !rule.is_empty() {
        write!(
            manifests,
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: {name} }}\nspec:\n  \
             host: {name}.test\n  trafficPolicy: {{ tls: {rule} }}\n"
        )
        .unwrap();
    }
    manifests
}

/// The proxy of a client of `shop`, which is at `address`.
fn caller(builder: Builder, address: SocketAddr, account: &str, labels: &str, rule: &str) -> Sidle {
    builder.file("test.yaml", &service_of("shop", address, account, labels, rule)).start()
}

/// The label of endpoints whose proxy takes mTLS.
pub const TAKES_MTLS: &str = "security.istio.io/tlsMode: istio";

#[tokio::test]
async fn two_proxies_speak_mtls_and_each_knows_the_other() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: STRICT } }");
    let web =
        caller(with_identity(&authority, WEB), shop.ports.inbound, "serviceAccount: shop,", TAKES_MTLS, "");
    for mut client in [Client::http1(web.outbound()).await, Client::http2(web.outbound()).await] {
        let answer = client.get("shop", "/hello").await;
        assert_eq!((answer.status.as_u16(), answer.version()), (200, "shop"), "{}", answer.text());
    }
    let sides = [("source_principal", WEB), ("destination_principal", SHOP)];
    let at_destination =
        [("reporter", "destination"), ("connection_security_policy", "mutual_tls"), sides[0], sides[1]];
    let metrics = shop.metrics();
    assert_eq!(metrics.sum("istio_requests_total", &at_destination), 2.0, "{}", metrics.text);
    let at_source = [("reporter", "source"), ("connection_security_policy", "unknown"), sides[0], sides[1]];
    let metrics = web.metrics();
    assert_eq!(metrics.sum("istio_requests_total", &at_source), 2.0, "{}", metrics.text);
}

/// What the application was told of its client.
pub fn told(answer: &Answer) -> Option<String> {
    let seen: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    seen["headers"]["x-forwarded-client-cert"].as_str().map(str::to_owned)
}

/// The same, of a client that pretends to tell it.
async fn told_by(address: SocketAddr) -> Option<String> {
    let forged = "By=x;URI=spiffe://cluster.local/admin";
    let asked = request("GET", "shop", "/").header("x-forwarded-client-cert", forged);
    told(&Client::http1(address).await.ask(asked).await)
}

#[tokio::test]
async fn the_application_is_told_who_called_and_nobody_can_forge_it() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: PERMISSIVE } }");
    let web = caller(with_identity(&authority, WEB), shop.ports.inbound, "", TAKES_MTLS, "");
    let told_by_web = told_by(web.outbound()).await.unwrap();
    let (by, rest) = told_by_web.split_once(";Hash=").unwrap();
    assert_eq!(by, format!("By={SHOP}"));
    assert_eq!(rest[64..], format!(";Subject=\"\";URI={WEB}"));
    assert_eq!(told_by(shop.ports.inbound).await, None, "in plain text");
    let metrics = shop.metrics();
    let plain = [("connection_security_policy", "none"), ("source_principal", "unknown")];
    assert_eq!(metrics.sum("istio_requests_total", &plain), 1.0, "{}", metrics.text);
}

/// What comes back for these bytes, up to the end of the connection.
async fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = wait::within("the end of the connection", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn plain_text_to_a_strict_port_is_closed_and_counted() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: STRICT } }");
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"neither\r\n",
    ] {
        assert_eq!(String::from_utf8_lossy(&answer_to(shop.ports.inbound, bytes).await), "");
    }
    let closed = ("sidle_listener_no_filter_chain_match_total", [("listener", "virtualInbound")]);
    assert_eq!(shop.metrics().sum(closed.0, &closed.1), 3.0);
    assert_eq!(application.requests(), 0);
}

#[tokio::test]
async fn tls_to_a_port_of_plain_text_is_no_request() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: DISABLE } }");
    let web = authority.issue_workload(WEB);
    for address in [shop.ports.inbound, shop.ports.outbound, shop.ports.admin] {
        for alpn in [&[&b"istio"[..]][..], &[b"http/1.1"], &[]] {
            let tls = wait::within("a refusal", authority.connect_as(Some(&web), address, alpn)).await;
            assert!(tls.is_err(), "{address} {alpn:?}");
        }
    }
    assert_eq!(application.requests(), 0);
    assert_eq!(shop.admin("/ready").status, 200);
}

/// A server that ends each handshake in a way of its own, and keeps what it was sent.
fn unwilling(how: &'static str) -> (TcpServer, Arc<Mutex<Vec<Vec<u8>>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let server = TcpServer::start(move |mut stream, _| {
        let mut first = vec![0; 16 << 10];
        let read = stream.read(&mut first).unwrap_or(0);
        first.truncate(read);
        let _ = match how {
            "closes" => Ok(()),
            "sends an alert" => stream.write_all(&[21, 3, 3, 0, 2, 2, 40]),
            "speaks plain HTTP" => stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
            // It takes plain text as if nothing had happened.
            _ => {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
                read_request(&mut stream).map_or(Ok(()), |request| {
                    first.extend(request.into_bytes());
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                })
            }
        };
        keep.lock().unwrap().push(first);
    });
    (server, seen)
}

#[tokio::test]
async fn when_mtls_fails_nothing_is_sent_in_plain_text_instead() {
    let authority = Authority::new();
    for how in ["closes", "sends an alert", "speaks plain HTTP", "waits for a request"] {
        let (server, seen) = unwilling(how);
        let builder = with_identity(&authority, WEB);
        let folder = builder.folder().join("identity").display().to_string();
        let mut manifests = String::new();
        let rules = [
            ("auto", TAKES_MTLS, String::new()),
            ("mutual", "", "{ mode: ISTIO_MUTUAL }".to_owned()),
            ("simple", "", format!("{{ mode: SIMPLE, caCertificates: {folder}/ca.crt }}")),
        ];
        for (name, labels, rule) in &rules {
            manifests += &(service_of(name, server.address(), "", labels, rule) + "---\n");
        }
        let web = builder.file("test.yaml", &manifests).start();
        for (name, ..) in &rules {
            let answer = Client::http1(web.outbound()).await.get(&format!("{name}.test"), "/secret").await;
            assert_eq!(answer.status, 503, "{name}, a server that {how}");
        }
        drop(web);
        let seen = seen.lock().unwrap();
        assert!(seen.len() >= rules.len(), "{how}: {}", seen.len());
        for bytes in &*seen {
            assert!(bytes.starts_with(&[22, 3]), "{how}: {}", String::from_utf8_lossy(bytes));
            assert!(!bytes.windows(7).any(|window| window == b"/secret"), "{how}");
        }
    }
}

#[tokio::test]
async fn whoever_is_not_the_service_or_of_another_authority_is_refused() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: STRICT } }");
    let stranger = Authority::new();
    let elsewhere = "spiffe://elsewhere.test/ns/default/sa/web";
    for (who, id, account) in [
        (&stranger, WEB, "serviceAccount: shop,"),
        (&authority, elsewhere, "serviceAccount: shop,"),
        (&authority, WEB, "serviceAccount: other,"),
    ] {
        let web = caller(with_identity(who, id), shop.ports.inbound, account, TAKES_MTLS, "");
        let answer = Client::http1(web.outbound()).await.get("shop", "/").await;
        assert_eq!(answer.status, 503, "{id} {account}");
    }
    assert_eq!(application.requests(), 0);
}

/// Whether a request got through to the application `shop`, by whatever was agreed on.
pub async fn gets_through(
    tls: std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
) -> bool {
    gets_through_to("shop", tls).await
}

/// The same, to another one.
pub async fn gets_through_to(
    name: &str,
    tls: std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
) -> bool {
    let Ok(tls) = tls else { return false };
    let mut client = Client::http1_over(tls).await;
    let asked = request("GET", name, "/").body(full("")).unwrap();
    client.try_exchange(asked).await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn only_a_workload_of_the_mesh_gets_through_the_handshake() {
    let (authority, stranger, application) = (Authority::new(), Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: STRICT } }");
    let nul = format!("{WEB}\0evil");
    let refused = [
        ("nobody", None),
        ("of another authority", Some(stranger.issue_workload(WEB))),
        ("expired", Some(authority.issue_expired(WEB))),
        (
            "of another trust domain",
            Some(authority.issue_workload("spiffe://elsewhere.test/ns/default/sa/web")),
        ),
        ("with two ids", Some(authority.issue_named(&[Name::Uri(WEB), Name::Uri(SHOP)]))),
        ("with its id twice", Some(authority.issue_named(&[Name::Uri(WEB), Name::Uri(WEB)]))),
        ("with NUL in its id", Some(authority.issue_workload(&nul))),
        ("with another scheme", Some(authority.issue_workload("https://cluster.local/ns/default/sa/web"))),
        (
            "with SPIFFE in capitals",
            Some(authority.issue_workload("SPIFFE://cluster.local/ns/default/sa/web")),
        ),
        (
            "of a domain in capitals",
            Some(authority.issue_workload("spiffe://CLUSTER.local/ns/default/sa/web")),
        ),
        (
            "with a wildcard for an id",
            Some(authority.issue_workload("spiffe://cluster.local/ns/default/sa/*")),
        ),
        ("of any domain", Some(authority.issue_workload("spiffe://*/ns/default/sa/web"))),
        ("with an escape", Some(authority.issue_workload("spiffe://cluster.local/ns/default/sa/%77eb"))),
        ("with steps back", Some(authority.issue_workload("spiffe://cluster.local/ns/x/../default/sa/web"))),
        ("with a DNS name alone", Some(authority.issue(&["web"]))),
        ("with its id as a DNS name", Some(authority.issue_named(&[Name::Dns(WEB)]))),
        ("with its id as a common name", Some(authority.issue_named(&[Name::Common(WEB)]))),
        ("with no name", Some(authority.issue_named(&[]))),
    ];
    for (what, who) in &refused {
        for alpn in [&[&b"istio-http/1.1"[..], b"istio", b"http/1.1"][..], &[]] {
            let tls = authority.connect_as(who.as_ref(), shop.ports.inbound, alpn).await;
            assert!(!gets_through(tls).await, "a client {what}, offering {alpn:?}");
        }
    }
    assert_eq!(application.requests(), 0);
    let failures = [("listener", "virtualInbound")];
    let failed = || shop.metrics().sum("sidle_listener_tls_handshake_failures_total", &failures);
    // A client knows of it a moment earlier.
    wait::until("the last failure", || (failed() >= 2.0 * refused.len() as f64).then_some(()));
    assert_eq!(failed(), 2.0 * refused.len() as f64);
    let web = authority.issue_workload(WEB);
    // As with Istio's Envoy, a client whose protocols are all unknown is served, and none is agreed upon.
    for alpn in [
        &[&b"istio-http/1.1"[..], b"istio", b"http/1.1"][..],
        &[b"istio"],
        &[b"istio-http/1.1"],
        &[b"istio-http/1.0"],
        &[b"istio-peer-exchange"],
        &[b"istio-h2"],
        &[],
    ] {
        let tls = authority.connect_as(Some(&web), shop.ports.inbound, alpn).await;
        assert!(gets_through(tls).await, "{alpn:?}");
    }
}

/// What tells TLS from plain text is waited for where nobody else may begin.
#[tokio::test]
async fn a_client_hello_that_comes_late_is_one() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let web = authority.issue_workload(WEB);
    for policy in ["{ mtls: { mode: STRICT } }", "{ mtls: { mode: PERMISSIVE } }"] {
        let builder = with_identity(&authority, SHOP).settings("  protocolDetectionTimeout: 1ms\n");
        let shop = server(builder, &application, policy);
        let stream = TcpStream::connect(shop.ports.inbound).await.unwrap();
        wait::until("the connection", || {
            let active =
                shop.metrics().sum("sidle_listener_connections_active", &[("listener", "virtualInbound")]);
            (active == 1.0).then_some(())
        });
        let tls = authority.handshake_as(Some(&web), stream, &[b"istio"]).await;
        assert!(gets_through(tls).await, "{policy}");
    }
}

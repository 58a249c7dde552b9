//! TLS sessions that are resumed: no certificate is shown again, so that none may be missed.

use crate::mtls::{SHOP, WEB, gets_through, server, service_of, with_identity};
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, ServerConfig, SupportedProtocolVersion,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest, ports,
    sidle::{Builder, Sidle},
    tls::{Authority, Identity, client_as},
    wait,
};
use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

const NAME: &str = "www.shop.example";

/// What rustls keeps, counted.
#[derive(Debug)]
struct Tickets {
    kept: ClientSessionMemoryCache,
    count: AtomicU64,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.count.fetch_add(1, Relaxed);
        self.kept.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.count.fetch_add(1, Relaxed);
        self.kept.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}

/// A client that believes every server and keeps each ticket that it gets.
struct Keeper {
    config: ClientConfig,
    tickets: Arc<Tickets>,
}

impl Keeper {
    fn new(who: Option<&Identity>, alpn: &[&[u8]], versions: &[&'static SupportedProtocolVersion]) -> Self {
        let kept = ClientSessionMemoryCache::new(32);
        let tickets = Arc::new(Tickets { kept, count: AtomicU64::new(0) });
        let mut config = client_as(who, alpn, versions);
        config.resumption = Resumption::store(tickets.clone());
        Keeper { config, tickets }
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(self.config.clone())).connect(name, stream).await
    }

    /// Whether a request got through, and on which kind of handshake.
    async fn asks(&self, address: SocketAddr) -> Option<HandshakeKind> {
        let tls = self.connect(address).await.ok()?;
        let kind = tls.get_ref().1.handshake_kind();
        gets_through(Ok(tls)).await.then_some(kind).flatten()
    }

    fn tickets(&self) -> u64 {
        self.tickets.count.load(Relaxed)
    }
}

/// Servers of a Gateway, with the modes and further fields of `tls`.
fn gateway(
    builder: Builder,
    authority: &Authority,
    application: &Echo,
    servers: &[(SocketAddr, &str)],
) -> Sidle {
    let folder = builder.folder().display().to_string();
    authority.issue(&[NAME]).write(builder.folder(), "www");
    std::fs::write(builder.folder().join("ca.pem"), authority.pem()).unwrap();
    let mut manifests =
        service_of("shop", SocketAddr::from(([127, 0, 0, 1], application.port())), "", "", "");
    manifests += "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: doors }\nspec:\n  servers:\n";
    for (port, tls) in servers {
        writeln!(
            manifests,
            "    - port: {{ number: {port}, name: https-{port}, protocol: HTTPS }}\n      hosts: ['*']\n      tls: {{ \
             serverCertificate: {folder}/www.pem, privateKey: {folder}/www.key, {tls} }}",
            port = port.port(),
            tls = tls.replace("DIR", &folder),
        )
        .unwrap();
    }
    manifests += "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: doors }\nspec:\n  hosts: ['*']\n  \
                  gateways: [doors]\n  http: [{ route: [{ destination: { host: shop.test } }] }]\n";
    builder.file("test.yaml", &manifests).start()
}

const SIMPLE: &str = "mode: SIMPLE";
const MUTUAL: &str = "mode: MUTUAL, caCertificates: DIR/ca.pem";
const OPTIONAL: &str = "mode: OPTIONAL_MUTUAL, caCertificates: DIR/ca.pem";

/// A session that began where nobody asks for certificates is worth nothing where somebody does.
#[tokio::test]
async fn a_ticket_opens_no_door_that_asks_for_certificates() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let [simple, mutual, optional] = [ports::free(), ports::free(), ports::free()];
    let builder = with_identity(&authority, SHOP).arguments(&["--labels", "app=shop"]);
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: default }\nspec: { mtls: { mode: STRICT } }\n";
    let own = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: own }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {} }}]\n",
        application.port()
    );
    let builder = builder.file("strict.yaml", &(strict.to_owned() + &own));
    let sidle = gateway(
        builder,
        &authority,
        &application,
        &[(simple, SIMPLE), (mutual, MUTUAL), (optional, OPTIONAL)],
    );
    for version in [&TLS12, &TLS13] {
        for demanding in [mutual, sidle.ports.inbound] {
            let client = Keeper::new(None, &[b"http/1.1"], &[version]);
            assert_eq!(client.asks(simple).await, Some(HandshakeKind::Full));
            assert_eq!(client.asks(simple).await, Some(HandshakeKind::Resumed), "it has a ticket");
            assert!(client.tickets() > 0);
            assert_eq!(client.asks(demanding).await, None, "{demanding} {version:?}");
        }
        // Where one may come without a certificate there is nothing to resume either: he might bring one the next time.
        let client = Keeper::new(None, &[b"http/1.1"], &[version]);
        for _ in 0..2 {
            assert_eq!(client.asks(optional).await, Some(HandshakeKind::Full));
        }
        assert_eq!(client.tickets(), 0);
        assert_eq!(client.asks(mutual).await, None);
    }
}

/// A permissive port becomes a strict one, and the client's certificate runs out: nothing of before helps.
#[tokio::test]
async fn sidecars_give_no_tickets() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &application, "{ mtls: { mode: PERMISSIVE } }");
    let end = SystemTime::now() + Duration::from_secs(5);
    let web = authority.issue_workload_for(WEB, Duration::from_secs(5));
    let clients = [&TLS12, &TLS13].map(|version| Keeper::new(Some(&web), &[b"istio"], &[version]));
    let all = async |address, expected| {
        for client in &clients {
            assert_eq!(client.asks(address).await, expected);
            assert_eq!(client.tickets(), 0);
        }
    };
    all(shop.ports.inbound, Some(HandshakeKind::Full)).await;
    all(shop.ports.inbound, Some(HandshakeKind::Full)).await;
    assert!(
        gets_through(TcpStream::connect(shop.ports.inbound).await).await,
        "in plain text, under PERMISSIVE"
    );
    let manifests = std::fs::read_to_string(shop.folder().join("test.yaml")).unwrap();
    shop.replace("test.yaml", &manifests.replace("PERMISSIVE", "STRICT"));
    assert_eq!(shop.admin_post("/reload").status, 200); // at once: the certificate lives on for seconds only
    assert!(!gets_through(TcpStream::connect(shop.ports.inbound).await).await, "in plain text, under STRICT");
    all(shop.ports.inbound, Some(HandshakeKind::Full)).await;
    while SystemTime::now() < end + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    all(shop.ports.inbound, None).await;
}

/// Roots that go, a certificate that is revoked, a server that shows another: each ends what was agreed on before.
#[tokio::test]
async fn a_session_ends_with_what_it_was_given_under() {
    let (authority, next, application) = (Authority::new(), Authority::new(), Echo::start("shop"));
    let [simple, mutual, listed] = [ports::free(), ports::free(), ports::free()];
    let builder = Sidle::builder();
    let (list, ca) = (builder.folder().join("crl.pem"), builder.folder().join("ca.pem"));
    std::fs::write(builder.folder().join("others.pem"), authority.pem()).unwrap();
    std::fs::write(&list, authority.revoke(&[])).unwrap();
    let with_list = "mode: MUTUAL, caCertificates: DIR/others.pem, caCrl: DIR/crl.pem";
    let servers = [(simple, SIMPLE), (mutual, MUTUAL), (listed, with_list)];
    let sidle = gateway(builder, &authority, &application, &servers);
    let me = authority.issue_workload(WEB);
    for version in [&TLS12, &TLS13] {
        let keeper = |who| Keeper::new(who, &[b"http/1.1"], &[version]);
        let [at_simple, at_mutual, at_listed] = [keeper(None), keeper(Some(&me)), keeper(Some(&me))];
        for (client, port) in [(&at_simple, simple), (&at_mutual, mutual), (&at_listed, listed)] {
            assert_eq!(client.asks(port).await, Some(HandshakeKind::Full));
        }
        assert_eq!(at_simple.asks(simple).await, Some(HandshakeKind::Resumed));

        let reloads = || sidle.metrics().sum("sidle_tls_files_reloads_total", &[("result", "applied")]);
        let before = reloads();
        authority.issue(&[NAME]).write(sidle.folder(), "www");
        std::fs::write(&ca, next.pem()).unwrap();
        std::fs::write(&list, authority.revoke(&[&me])).unwrap();
        wait::eventually("the files", || async { (reloads() >= before + 3.0).then_some(()) }).await;
        assert_eq!(at_simple.asks(simple).await, Some(HandshakeKind::Full), "another certificate");
        assert_eq!(at_mutual.asks(mutual).await, None, "its authority has gone");
        assert_eq!(at_listed.asks(listed).await, None, "it is revoked");

        // As it was, for the next round.
        std::fs::write(&ca, authority.pem()).unwrap();
        std::fs::write(&list, authority.revoke(&[])).unwrap();
        wait::eventually("the files", || async { (reloads() >= before + 5.0).then_some(()) }).await;
    }
}

/// A server that resumes whatever it can, and counts it.
fn resuming(identity: Identity) -> (SocketAddr, Arc<Mutex<Vec<Option<HandshakeKind>>>>) {
    let listener = ports::listen();
    let (address, kinds) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let (acceptor, seen): (TlsAcceptor, _) = (identity.acceptor(), kinds.clone());
    let config: &Arc<ServerConfig> = acceptor.config();
    assert!(config.send_tls13_tickets > 0);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(stream).await else { continue };
            seen.lock().unwrap().push(tls.get_ref().1.handshake_kind());
            let answer = |_| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(
                    bytes::Bytes::new(),
                )))
            };
            let service = hyper::service::service_fn(answer);
            let io = hyper_util::rt::TokioIo::new(tls);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (address, kinds)
}

/// Real seconds: the server's certificate, or the list of what was revoked, lives for eight of them, in which two proxies start; its tickets
/// for longer.
#[tokio::test]
async fn an_upstream_is_believed_no_longer_than_its_certificate_and_the_list_hold() {
    let (short, long) = (Duration::from_secs(8), Duration::from_secs(3600));
    tokio::join!(believed_for(short, long), believed_for(long, short));
}

async fn believed_for(certificate: Duration, list: Duration) {
    let authority = Authority::new();
    let end = SystemTime::now() + certificate.min(list);
    let (upstream, kinds) = resuming(authority.issue_for(&["upstream.test"], certificate));
    let builder = Sidle::builder();
    std::fs::write(builder.folder().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(builder.folder().join("crl.pem"), authority.revoke_for(&[], list)).unwrap();
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: once }}\nspec:\n  host: upstream.test\n  \
         trafficPolicy:\n    tls: {{ mode: SIMPLE, sni: upstream.test, caCertificates: {0}/ca.pem, caCrl: {0}/crl.pem }}\n    \
         connectionPool: {{ http: {{ maxRequestsPerConnection: 1 }} }}\n",
        builder.folder().display()
    );
    let manifests =
        manifest::service("upstream", "upstream.test", "HTTP", &[("v1", upstream.port())]) + &rule;
    let sidle = builder.file("test.yaml", &manifests).arguments(&["--workers", "1"]).start();
    let mut client = Client::http1(sidle.outbound()).await;
    for _ in 0..3 {
        assert_eq!(client.get("upstream.test", "/").await.status, 200);
    }
    let resumed = |kind: &&Option<HandshakeKind>| **kind == Some(HandshakeKind::Resumed);
    assert!(kinds.lock().unwrap().iter().filter(resumed).count() > 0, "it has tickets");
    while SystemTime::now() < end + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.get("upstream.test", "/").await.status, 503);
}

//! The servers over real sockets, with a source made of constants.

use super::*;
use crate::config::ConfigStatus;
use futures_util::FutureExt;
use sidle_balance::{EndpointSet, EndpointSpec};
use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

struct Fixed {
    telemetry: Arc<Telemetry>,
    healthy: AtomicBool,
    /// What was asked for, in order.
    done: Mutex<Vec<String>>,
    /// Whether a reload ends.
    reloads: bool,
}

impl Fixed {
    fn new() -> Arc<Self> {
        let telemetry = Telemetry::new();
        Arc::new(Fixed { telemetry, healthy: true.into(), done: Mutex::default(), reloads: true })
    }

    fn note(&self, what: impl Into<String>) {
        self.done.lock().unwrap().push(what.into());
    }
}

fn ir() -> ir::Ir {
    ir::Ir {
        node: ir::Node::default(),
        settings: ir::Settings::default(),
        listeners: vec![],
        route_configurations: vec![],
        inbound_mtls: Vec::new(),
        clusters: vec![],
    }
}

fn cluster() -> ir::Cluster {
    ir::Cluster {
        name: "outbound|80||b".into(),
        discovery: ir::Discovery::None,
        load_balancer: ir::LoadBalancer::LeastRequest,
        protocol: ir::UpstreamProtocol::Http1,
        tls: None,
        auto_mtls: None,
        connect_timeout: Duration::from_secs(1),
        limits: ir::ClusterLimits::default(),
        locality_weights: Default::default(),
        slow_start: None,
        health_check: None,
        outlier_detection: None,
        adaptive_concurrency: None,
        hedging: None,
        compares_mirrored: false,
        faults: None,
        tcp_keepalive: None,
        idle_timeout: None,
        tunnel_idle_timeout: None,
        max_connection_duration: None,
        service: ir::ServiceIdentity::default(),
        subset: "".into(),
        origin: ir::Origin::built_in(),
    }
}

impl AdminSource for Fixed {
    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
    fn readiness(&self) -> Readiness {
        let unmet = if self.healthy.load(SeqCst) { vec![] } else { vec!["failed by hand".to_owned()] };
        Readiness { state: State::Live, unmet }
    }
    fn jwks(&self) -> Vec<SourceView> {
        Vec::new()
    }
    fn config_status(&self) -> Arc<ConfigStatus> {
        Arc::default()
    }
    fn ir(&self) -> Option<Arc<ir::Ir>> {
        Some(Arc::new(ir()))
    }
    fn svid(&self) -> Option<Arc<sidle_identity::Svid>> {
        None
    }
    fn clusters(&self) -> Vec<ClusterView> {
        let endpoint = EndpointSpec {
            address: SocketAddr::from(([10, 0, 0, 1], 80)).into(),
            hostname: "".into(),
            weight: 2,
            workload: Arc::default(),
            locality: "r/z".into(),
            priority: 0,
            mtls: false,
        };
        let endpoints = Arc::new(EndpointSet::build(
            &ir::LoadBalancer::LeastRequest.into(),
            vec![endpoint],
            None,
            std::time::Instant::now(),
        ));
        vec![ClusterView { config: Arc::new(cluster()), endpoints, usage: Arc::default(), concurrency: None }]
    }
    fn listeners(&self) -> Vec<ListenerView> {
        let address = ir::ListenAddress::Socket(([127, 0, 0, 1], 15001).into());
        vec![ListenerView { name: "virtualOutbound".into(), address, active: 3 }]
    }
    fn log_level(&self) -> String {
        "info".into()
    }
    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.note(level);
        assert!(level != "defect", "a defect of an endpoint");
        if level == "loud" { Err("no such level".into()) } else { Ok(()) }
    }
    fn reload(&self) -> BoxFuture<'static, Option<Arc<ConfigStatus>>> {
        self.note("reload");
        if self.reloads { std::future::ready(None).boxed() } else { std::future::pending().boxed() }
    }
    fn reopen_logs(&self) {
        self.note("reopen");
    }
    fn drain(&self, drain: DrainRequest) {
        self.note(format!("drain {} {}", drain.inbound_only, drain.graceful));
    }
    fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, SeqCst);
    }
    fn quit(&self) {
        self.note("quit");
    }
}

/// A running server; ends when dropped.
struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(surface: Surface, source: Arc<Fixed>) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), surface, Arc::default()).await.unwrap();
    let address = server.local_addr().unwrap();
    Running { address, task: tokio::spawn(server.serve(source, std::future::pending())) }
}

/// Sends `head` and reads to the end.
async fn raw(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn ask(server: &Running, method: &str, target: &str) -> String {
    raw(
        server.address,
        &format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
    )
    .await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(body(answer)).unwrap()
}

#[tokio::test]
async fn every_endpoint_answers_its_method_and_names_it_to_others() {
    let server = run(Surface::Admin, Fixed::new()).await;
    for endpoint in table::ENDPOINTS {
        let (right, wrong) = if endpoint.post { ("POST", "GET") } else { ("GET", "POST") };
        let answer = ask(&server, right, endpoint.path).await;
        let expected = if endpoint.path == "/reload" { "503" } else { "200" };
        assert_eq!(status(&answer), expected, "{right} {}: {answer}", endpoint.path);
        let answer = ask(&server, wrong, endpoint.path).await;
        assert_eq!(status(&answer), "405", "{wrong} {}", endpoint.path);
        assert!(answer.contains(&format!("allow: {right}")), "{answer}");
    }
    assert_eq!(status(&ask(&server, "HEAD", "/ready").await), "200");
    let nowhere = ask(&server, "GET", "/nowhere").await;
    assert!(status(&nowhere) == "404" && nowhere.contains("/config_dump"), "{nowhere}");
}

#[tokio::test]
async fn the_small_servers_have_nothing_else_and_take_any_host() {
    let paths = ["/stats/prometheus", "/metrics", "/healthz/ready", "/config_dump", "/quitquitquit", "/"];
    for (surface, open) in [(Surface::Metrics, &paths[..2]), (Surface::Health, &paths[2..3])] {
        let server = run(surface, Fixed::new()).await;
        for path in paths {
            let head = format!("GET {path} HTTP/1.1\r\nhost: pod.example:15090\r\nconnection: close\r\n\r\n");
            let expected = if open.contains(&path) { "200" } else { "404" };
            assert_eq!(status(&raw(server.address, &head).await), expected, "{surface:?} {path}");
        }
    }
}

/// A kubelet of a cluster that has IPv6 alone asks there.
#[tokio::test]
async fn a_server_for_everybody_has_both_families_and_one_for_ipv4_has_that() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let settings = sidle_model::ir::Settings::default();
    for (address, surface, families) in [
        (settings.metrics, Surface::Metrics, [true, true]),
        (settings.health, Surface::Health, [true, true]),
        (settings.admin, Surface::Admin, [true, false]),
        ("0.0.0.0:1".parse().unwrap(), Surface::Metrics, [true, false]),
        ("0.0.0.0:1".parse().unwrap(), Surface::Admin, [true, false]),
        ("[::1]:1".parse().unwrap(), Surface::Health, [false, true]),
    ] {
        let anywhere = std::net::SocketAddr::from((address.ip(), 0));
        let server = Server::bind(anywhere, surface, Arc::default()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let is_open = |host: &str| std::net::TcpStream::connect((host, port)).is_ok();
        assert_eq!(["127.0.0.1", "::1"].map(is_open), families, "{surface:?} at {address}");
    }
}

#[tokio::test]
async fn strangers_are_refused_before_anything_happens() {
    let source = Fixed::new();
    let server = run(Surface::Admin, source.clone()).await;
    for head in [
        "POST /quitquitquit HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        "POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\nconnection: close\r\n\r\n",
        "POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\nconnection: close\r\n\r\n",
        "GET /config_dump HTTP/1.1\r\nhost: rebound.example:15000\r\nconnection: close\r\n\r\n",
    ] {
        assert_eq!(status(&raw(server.address, head).await), "403", "{head}");
    }
    assert!(source.done.lock().unwrap().is_empty());
}

#[tokio::test]
async fn actions_reach_the_source() {
    let source = Fixed::new();
    let server = run(Surface::Admin, source.clone()).await;
    for target in [
        "/drain_listeners?graceful&inboundonly",
        "/drain_listeners",
        "/logging?level=debug",
        "/logging",
        "/reopen_logs",
        "/quitquitquit",
    ] {
        assert_eq!(status(&ask(&server, "POST", target).await), "200", "{target}");
    }
    assert_eq!(status(&ask(&server, "POST", "/logging?level=loud").await), "400");
    let done = || source.done.lock().unwrap().clone();
    let start = Instant::now();
    while !done().contains(&"quit".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let done: Vec<_> = done().into_iter().filter(|what| what != "quit").collect();
    assert_eq!(done, ["drain true true", "drain false false", "debug", "reopen", "loud"]);
}

#[tokio::test]
async fn readiness_is_said_with_its_reason() {
    let server = run(Surface::Admin, Fixed::new()).await;
    assert_eq!(body(&ask(&server, "GET", "/ready").await), "LIVE\n");
    ask(&server, "POST", "/healthcheck/fail").await;
    let answer = ask(&server, "GET", "/healthz/ready").await;
    assert_eq!((status(&answer), body(&answer)), ("503", "LIVE\nfailed by hand\n"));
    ask(&server, "POST", "/healthcheck/ok").await;
    assert_eq!(status(&ask(&server, "GET", "/ready").await), "200");
}

#[tokio::test]
async fn clusters_and_listeners_have_envoys_shape() {
    let server = run(Surface::Admin, Fixed::new()).await;
    let clusters = json(&ask(&server, "GET", "/clusters?format=json").await);
    let cluster = &clusters["cluster_statuses"][0];
    let host = &cluster["host_statuses"][0];
    assert_eq!(cluster["name"], "outbound|80||b");
    assert_eq!(cluster["circuit_breakers"]["thresholds"][0]["max_connections"], 1024);
    assert_eq!(host["address"]["socket_address"]["port_value"], 80);
    assert_eq!(host["locality"]["zone"], "z");
    assert_eq!((&host["stats"][7]["name"], &host["stats"][7]["value"]), (&"rq_total".into(), &"0".into()));
    let text = ask(&server, "GET", "/clusters").await;
    assert!(text.contains("\noutbound|80||b::10.0.0.1:80::weight::2\n"), "{text}");
    let listeners = json(&ask(&server, "GET", "/listeners?format=json").await);
    assert_eq!(listeners["listener_statuses"][0]["local_address"]["socket_address"]["address"], "127.0.0.1");
    assert_eq!(body(&ask(&server, "GET", "/listeners").await), "virtualOutbound::127.0.0.1:15001\n");
}

#[tokio::test]
async fn stats_can_be_filtered() {
    let server = run(Surface::Admin, Fixed::new()).await;
    let text = ask(&server, "GET", "/stats?filter=%5Esidle_(ready|workers)%24").await;
    assert_eq!(body(&text), "sidle_ready: 1\nsidle_workers: 0\n");
    assert_eq!(body(&ask(&server, "GET", "/stats?filter=sidle_workers&usedonly").await), "");
    let info = json(&ask(&server, "GET", "/stats?filter=build_info&format=json").await);
    assert_eq!(info["stats"][0]["value"], 1.0);
    assert_eq!(status(&ask(&server, "GET", "/stats?filter=(").await), "400");
    let metrics = ask(&server, "GET", "/stats/prometheus").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("# TYPE sidle_build_info gauge"));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let server = run(Surface::Admin, Fixed::new()).await;
    for begun in ["", "GET /ready HTTP/1.1\r\nhost: loc", "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\nGET"]
    {
        let start = tokio::time::Instant::now();
        raw(server.address, begun).await;
        assert!(start.elapsed() < Duration::from_secs(30), "{begun:?}: {:?}", start.elapsed());
    }
    tokio::time::resume(); // no time passes while the kernel carries bytes
    assert_eq!(status(&ask(&server, "GET", "/ready").await), "200");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_left() {
    let source = Fixed::new();
    // More than socket buffers take.
    let held: Vec<_> = (0..60_000)
        .map(|n| source.telemetry.cluster_metrics(&format!("cluster-with-a-long-name-{n:0200}").into()))
        .collect();
    let server = run(Surface::Metrics, source).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let mut answer = Vec::new();
    // Cut off, with or without a reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < held.len() * 200, "{}", answer.len());
}

#[tokio::test]
async fn answers_beyond_the_bound_are_refused_at_once() {
    let source = Arc::new(Fixed { reloads: false, ..Arc::into_inner(Fixed::new()).unwrap() });
    let server = run(Surface::Admin, source.clone()).await;
    let mut waiting = Vec::new();
    for _ in 0..server::REQUESTS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"POST /reload HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    let start = Instant::now();
    while source.done.lock().unwrap().len() < server::REQUESTS {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&ask(&server, "GET", "/ready").await), "503");
    drop(waiting);
    while status(&ask(&server, "GET", "/ready").await) != "200" {
        assert!(start.elapsed() < Duration::from_secs(20), "room again when clients leave");
    }
}

#[tokio::test]
async fn stopping_ends_the_server_and_its_connections() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Surface::Admin, Arc::default()).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(Fixed::new(), stopped.map(|_| ())));
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).await.unwrap();
    drop(stop);
    tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn certificates_are_described_and_keys_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, missing) = (folder.path().join("a.pem"), folder.path().join("b.pem"));
    let names = vec!["a.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(&pem, made.cert.pem()).unwrap();
    let tls = |ca: &std::path::Path| ir::ClientTls {
        sni: None,
        ca: ir::Trust::File(ca.to_owned()),
        crl: None,
        subject_alt_names: vec![],
        certificate: Some(ir::Certificates::Files(vec![ir::CertificateFiles {
            certificate: pem.clone(),
            key: "/nowhere/key.pem".into(),
        }])),
        insecure_skip_verify: false,
        min_version: ir::TlsVersion::V1_2,
    };
    let clusters = [&pem, &missing].map(|ca| Arc::new(ir::Cluster { tls: Some(tls(ca)), ..cluster() }));
    let list = certs::list(Some(&ir::Ir { clusters: clusters.to_vec(), ..ir() }), None);
    let chain = &list["certificates"][0]["cert_chain"][0];
    assert_eq!(chain["subject_alt_names"][0]["dns"], "a.example");
    assert_eq!(chain["path"], pem.display().to_string());
    assert!(chain["days_until_expiration"].as_str().unwrap().parse::<u64>().unwrap() > 300);
    assert!(list["certificates"][1]["ca_cert"][0]["error"].is_string(), "{list}");
}

#[tokio::test]
async fn a_defect_of_an_endpoint_is_a_500_and_the_server_lives() {
    let server = run(Surface::Admin, Fixed::new()).await;
    assert_eq!(status(&ask(&server, "POST", "/logging?level=defect").await), "500");
    assert_eq!(status(&ask(&server, "GET", "/ready").await), "200");
}

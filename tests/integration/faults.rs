//! Injected faults.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::{
    client::{Client, request},
    manifest, ports,
    sidle::Sidle,
    tcp::TcpServer,
    wait,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

#[tokio::test]
async fn an_abort_answers_at_once_and_is_not_retried() {
    let stage = Stage::new();
    let sidle = stage.route_v1(
        "      fault: { abort: { httpStatus: 503, percentage: { value: 100 } } }\n      retries: { attempts: 3, retryOn: 5xx }",
    );
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "fault filter abort"));
    assert_eq!(stage.v1.requests(), 0);
}

#[tokio::test]
async fn half_of_the_requests_are_aborted() {
    let stage = Stage::new();
    let sidle = stage.route_v1("      fault: { abort: { httpStatus: 418, percentage: { value: 50 } } }");
    let mut client = client(&sidle).await;
    let mut aborted = 0.0;
    for _ in 0..1_000 {
        aborted += f64::from(client.get(HOST, "/").await.status == 418);
    }
    // Once in fifty million runs it is further off.
    assert!((aborted - 500.0_f64).abs() < 5.6 * 250.0_f64.sqrt(), "{aborted} of 1000");
}

#[tokio::test]
async fn a_delay_comes_before_the_upstream_and_outside_the_timeout() {
    let stage = Stage::new();
    let sidle = stage.route_v1(
        "      fault: { delay: { fixedDelay: 2500ms, percentage: { value: 100 } } }\n      timeout: 2s",
    );
    let begin = Instant::now();
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(begin.elapsed() >= Duration::from_millis(2500), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_abort_can_be_a_grpc_status() {
    let stage = Stage::new();
    let sidle =
        stage.route_v1("      fault: { abort: { grpcStatus: UNAVAILABLE, percentage: { value: 100 } } }");
    let call = request("POST", HOST, "/p.S/M").header("content-type", "application/grpc");
    let answer = Client::http2(sidle.outbound()).await.ask(call).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "14"));
}

/// A proxy for HOST, whose route says `route`, with a FaultPolicy.
fn with_policy(stage: &Stage, route: &str, faults: &str) -> Sidle {
    let policy = format!(
        "apiVersion: sidle.dev/v1\nkind: FaultPolicy\nmetadata: {{ name: faults }}\nspec:\n  host: {HOST}\n{faults}\n"
    );
    let sidle = stage.route_v1(route);
    sidle.write("faults.yaml", &policy);
    assert_eq!(sidle.admin_post("/reload").status, 200);
    sidle
}

#[tokio::test]
async fn an_upstreams_abort_is_retried_like_its_own() {
    let stage = Stage::new();
    let route = "      retries: { attempts: 3, retryOn: 5xx }";
    let always = "  http: { abort: { httpStatus: 503, percentage: { value: 100 } } }";
    let sidle = with_policy(&stage, route, always);
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!((answer.status.as_u16(), stage.v1.requests()), (503, 0));
    let retries = || sidle.metrics().sum("sidle_cluster_retries_total", &[]);
    assert_eq!(retries(), 3.0);
    let some = always.replace("100", "30");
    sidle.write("faults.yaml", &format!(
        "apiVersion: sidle.dev/v1\nkind: FaultPolicy\nmetadata: {{ name: faults }}\nspec:\n  host: {HOST}\n{some}\n"
    ));
    assert_eq!(sidle.admin_post("/reload").status, 200);
    let mut client = client(&sidle).await;
    let mut good = 0;
    for _ in 0..100 {
        good += u32::from(client.get(HOST, "/").await.status == 200);
    }
    // Less than one in a hundred fails four times; tried once, thirty would. Some twelve retries fail, of the 50 that may.
    assert!((88..=100).contains(&good), "{good} of 100");
    assert!((8.0..=103.0).contains(&retries()), "{} retries", retries());
    assert_eq!(stage.v1.requests(), u64::from(good), "who is aborted does not get there");
}

#[tokio::test]
async fn an_upstreams_delay_runs_into_the_timeout() {
    let stage = Stage::new();
    let late = "  http: { delay: { fixedDelay: 5s, percentage: { value: 100 } } }";
    let sidle = with_policy(&stage, "      timeout: 200ms\n      retries: { attempts: 0 }", late);
    let begin = Instant::now();
    let answer = client(&sidle).await.get(HOST, "/").await;
    assert_eq!((answer.status.as_u16(), stage.v1.requests()), (504, 0));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

/// A proxy with a port of its own for a service of bytes.
fn bytes(upstream: u16, faults: &str) -> (SocketAddr, Sidle) {
    let door = ports::free();
    let manifests = format!(
        "{}apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: default }}\nspec:\n  egress:\n    \
         - port: {{ number: {}, name: tcp, protocol: TCP }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      \
         hosts: ['*/ledger.test']\n---\n\
         apiVersion: sidle.dev/v1\nkind: FaultPolicy\nmetadata: {{ name: faults }}\nspec:\n  host: ledger.test\n  \
         tcp: {{ {faults} }}\n",
        manifest::service_on("ledger", "ledger.test", door.port(), "TCP", &[("v1", upstream)]),
        door.port(),
    );
    let log = "  accessLogFile: /dev/stdout\n  accessLogFormat: \"LOG %RESPONSE_FLAGS%\\n\"\n";
    (door, Sidle::builder().file("ledger.yaml", &manifests).settings(log).start())
}

fn connected(door: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn connections_of_bytes_are_reset() {
    let upstream = TcpServer::echo();
    let (door, sidle) = bytes(upstream.address().port(), "reset: { percentage: { value: 100 } }");
    let ended = connected(door).read(&mut [0; 16]).unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    assert_eq!(upstream.connections(), 0);
    wait::until("the log", || sidle.output().contains("LOG FI").then_some(()));
}

#[test]
fn connections_of_bytes_wait() {
    let upstream = TcpServer::echo();
    let faults = "delay: { fixedDelay: 400ms, percentage: { value: 100 } }";
    let (door, _sidle) = bytes(upstream.address().port(), faults);
    let begin = Instant::now();
    let mut stream = connected(door);
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
}

#[test]
fn connections_of_bytes_are_cut_in_the_middle() {
    let upstream = TcpServer::echo();
    let faults = "cut: { afterBytes: 6, percentage: { value: 100 } }";
    let (door, _sidle) = bytes(upstream.address().port(), faults);
    let mut stream = connected(door);
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    stream.write_all(b"pong").unwrap();
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    assert!(rest.len() <= 4, "{rest:?}");
}

//! SIGTERM: clients that behave well notice nothing.

use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, full},
    load::Load,
    manifest::service,
    ports,
    sidle::{Sidle, http_get},
    wait,
};
use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// A proxy with a gateway port and one inbound service, both in front of `echo`.
fn start(echo: &Echo, door: SocketAddr) -> Sidle {
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {door}, name: http, protocol: HTTP }}\n      hosts: ['*']\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['*']\n  \
         gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: echo.test }} }}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {port} }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
         address: 127.0.0.1\n  labels: {{ app: shop }}\n---\n{service}",
        door = door.port(),
        port = echo.port(),
        service = service("echo", "echo.test", "HTTP", &[("v1", echo.port())]),
    );
    Sidle::builder()
        .file("test.yaml", &manifests)
        .settings("  drain: { minimum: 1s, deadline: 15s }\n")
        .arguments(&["--labels", "app=shop"])
        .start()
}

async fn under_load(http2: bool, host: &str, of: impl Fn(&Sidle, SocketAddr) -> SocketAddr) {
    let echo = Echo::start("v1");
    let (first_door, second_door) = (ports::free(), ports::free());
    let mut first = start(&echo, first_door);
    let second = start(&echo, second_door);
    let mut load = Load::new(of(&first, first_door), host, "/");
    load.http2 = http2;
    let target = load.target.clone();
    let load = load.start();
    tokio::time::sleep(Duration::from_millis(700)).await;

    first.signal("TERM");
    let health = first.ports.health;
    wait::eventually("readiness to go off", || async {
        (http_get(health, "/healthz/ready").ok()?.status == 503).then_some(())
    })
    .await;
    // What a load balancer does when readiness goes off, a moment later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    target.point_to(of(&second, second_door));

    let begin = Instant::now();
    let status = first.ended().await;
    assert!(status.success(), "{status}: {}", first.output());
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "left at the deadline, not when idle: {:?}",
        begin.elapsed()
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let report = load.stop().await;
    report.assert_no_failure();
    assert!(report.connects.load(Ordering::Relaxed) > 16, "the clients were asked to move");
}

#[tokio::test]
async fn http_1_clients_of_a_gateway_move_on_without_a_failure() {
    let _machine = crate::MACHINE.lock().await;
    under_load(false, "echo.test", |_, door| door).await;
}

#[tokio::test]
async fn http_2_clients_of_a_gateway_move_on_without_a_failure() {
    let _machine = crate::MACHINE.lock().await;
    under_load(true, "echo.test", |_, door| door).await;
}

#[tokio::test]
async fn http_1_clients_of_the_application_move_on_without_a_failure() {
    let _machine = crate::MACHINE.lock().await;
    under_load(false, "shop", |sidle, _| sidle.ports.inbound).await;
}

#[tokio::test]
async fn http_2_clients_of_the_application_move_on_without_a_failure() {
    let _machine = crate::MACHINE.lock().await;
    under_load(true, "shop", |sidle, _| sidle.ports.inbound).await;
}

#[tokio::test]
async fn requests_under_way_end_and_outbound_is_served_to_the_last() {
    let _machine = crate::MACHINE.lock().await;
    let echo = Echo::start("v1");
    let mut sidle = start(&echo, ports::free());
    let inbound = sidle.ports.inbound;
    let slow = tokio::spawn(async move { Client::http1(inbound).await.get("shop", "/?delay=5s").await });
    wait::eventually("the slow request", || async { (echo.connections() > 0).then_some(()) }).await;
    let begin = Instant::now();
    sidle.signal("TERM");

    let mut application = Client::http1(sidle.outbound()).await;
    while begin.elapsed() < Duration::from_secs(2) {
        let answer = application.get("echo.test", "/").await;
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, ""));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(application);
    assert_eq!(slow.await.unwrap().status, 200);
    let status = sidle.ended().await;
    assert!(status.success(), "{}", sidle.output());
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_outlive_the_deadline() {
    let _machine = crate::MACHINE.lock().await;
    let echo = Echo::start("v1");
    let mut sidle = Sidle::builder()
        .file("test.yaml", &service("echo", "echo.test", "HTTP", &[("v1", echo.port())]))
        .settings("  drain: { deadline: 2s }\n")
        .start();
    let mut client = Client::http1(sidle.outbound()).await;
    let _response = client.send(request("GET", "echo.test", "/?hang").body(full("")).unwrap()).await.unwrap();
    let begin = Instant::now();
    sidle.signal("TERM");
    sidle.ended().await;
    assert!((1_500..6_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
}

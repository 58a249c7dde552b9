//! The admin server is for this machine: neither strangers nor hosts that requests name lead to it through the proxy.

use crate::raw::Raw;
use http::Method;
use sidle_test_support::{
    client::{Client, request},
    echo::full,
    sidle::{Ports, Sidle, http_request},
    wait,
};
use std::net::SocketAddr;

const REFUSED: &str = "destination is this proxy's admin server";

/// Under a selector, a Service whose target is `port` of the workload.
fn service(protocol: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: {protocol}, port: 80, targetPort: {port} }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
         address: 127.0.0.1\n  labels: {{ app: shop }}\n"
    )
}

/// A proxy on `ports` with an access log.
fn start(ports: Ports, manifests: &str) -> Sidle {
    let builder = Sidle::builder().on(ports).file("s.yaml", manifests);
    builder.settings("  accessLogFile: /dev/stdout\n").arguments(&["--labels", "app=shop"]).start()
}

/// What a request gets at `listener` that is for `host`.
async fn asked(listener: SocketAddr, method: Method, host: &str, path: &str) -> (u16, String) {
    let ask = request(method.as_str(), host, path).body(full("")).unwrap();
    let answer = Client::http1(listener).await.exchange(ask).await;
    (answer.status.as_u16(), answer.text())
}

/// The access log has a line for it, and admin goes on.
fn said(sidle: &Sidle, lines: usize) {
    let refusals = || sidle.output().matches(" NR destination_is_admin ").count();
    wait::until("the log", || (refusals() == lines).then_some(()));
    assert_eq!(sidle.admin("/ready").status, 200);
}

#[tokio::test]
async fn no_host_that_a_request_names_is_admin() {
    let ports = Ports::free();
    let sidle = start(ports, "");
    let port = ports.admin.port();
    let hosts = ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"];
    for host in hosts {
        let host = format!("{host}:{port}");
        for (method, path) in [(Method::GET, "/config_dump"), (Method::POST, "/quitquitquit")] {
            let got = asked(sidle.outbound(), method, &host, path).await;
            assert_eq!(got, (403, REFUSED.to_owned()), "{host}{path}");
        }
        let mut tunnel = Raw::connect(&sidle);
        tunnel.send(&format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert!(tunnel.read(|text| text.contains(REFUSED)).starts_with("HTTP/1.1 403 "), "{host}");
    }
    said(&sidle, 3 * hosts.len());

    // What anybody may ask can be asked through the proxy, too.
    for (address, path) in [(ports.metrics, "/stats/prometheus"), (ports.health, "/healthz/ready")] {
        assert_eq!(asked(sidle.outbound(), Method::GET, &address.to_string(), path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_gateway_whose_clients_name_hosts_does_not_lead_there() {
    let (ports, port) = (Ports::free(), sidle_test_support::ports::free());
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: edge }}\nspec:\n  selector: {{ app: shop }}\n  \
         servers: [{{ port: {{ number: {}, name: http, protocol: HTTP }}, hosts: ['*'], bind: 127.0.0.1 }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: any }}\nspec:\n  hosts: [any.test]\n  \
         resolution: NONE\n  ports: [{{ number: 80, name: http, protocol: HTTP }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: any }}\nspec:\n  hosts: ['*']\n  \
         gateways: [edge]\n  http: [{{ route: [{{ destination: {{ host: any.test }} }}] }}]\n",
        port.port()
    );
    let sidle = start(ports, &manifests);
    let admin = ports.admin.to_string();
    assert_eq!(asked(port, Method::POST, &admin, "/quitquitquit").await, (403, REFUSED.to_owned()));
    said(&sidle, 1);
}

#[tokio::test]
async fn no_inbound_port_leads_there_whoever_says_so() {
    let ports = Ports::free();
    let sidecar = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: shop }}\nspec:\n  ingress:\n  \
         - port: {{ number: 9080, name: http, protocol: HTTP }}\n    defaultEndpoint: {}\n",
        ports.admin
    );
    for manifests in [service("http", ports.admin.port()), sidecar] {
        let sidle = start(ports, &manifests);
        let admin = ports.admin.to_string();
        let got = asked(ports.inbound, Method::POST, &admin, "/quitquitquit").await;
        assert_eq!(got, (403, REFUSED.to_owned()), "{manifests}");
        said(&sidle, 1);
    }
}

#[tokio::test]
async fn bytes_that_come_in_do_not_get_there() {
    let ports = Ports::free();
    let sidle = start(ports, &service("tcp", ports.admin.port()));
    let answer = http_request(ports.inbound, "POST", "/quitquitquit", &[("host", "localhost")]);
    assert!(answer.is_err(), "{answer:?}");
    said(&sidle, 1);
}

/// One request would become as many as there are connections.
#[tokio::test]
async fn an_inbound_port_that_is_the_proxys_own_is_no_loop() {
    let ports = Ports::free();
    for (own, manifests) in [
        (ports.inbound, service("http", ports.inbound.port())),
        (ports.outbound, service("http", ports.outbound.port())),
    ] {
        let sidle = start(ports, &manifests);
        assert_eq!(asked(ports.inbound, Method::GET, "shop", "/").await.0, 508, "to {own}");
        wait::until("the log", || sidle.output().contains(" loop_detected ").then_some(()));
        assert_eq!(sidle.metrics().sum("sidle_listener_connections_total", &[]), 1.0, "to {own}");
    }
    let sidle = start(ports, &service("tcp", ports.inbound.port()));
    let answer = http_request(ports.inbound, "GET", "/", &[("host", "localhost")]);
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(sidle.metrics().sum("sidle_listener_connections_total", &[]), 1.0);
}

/// The address that is bound counts, not the one that the files have come to say.
#[tokio::test]
async fn a_new_address_that_waits_for_a_restart_opens_no_way_to_the_old_one() {
    let ports = Ports::free();
    let sidle = start(ports, "");
    let moved = Ports { admin: sidle_test_support::ports::free(), ..ports };
    sidle.write("00-proxy.yaml", &moved.document("  accessLogFile: /dev/stdout\n"));
    wait::until("the reload", || sidle.output().contains("a change of `admin`").then_some(()));
    let got = asked(sidle.outbound(), Method::GET, &ports.admin.to_string(), "/ready").await;
    assert_eq!(got, (403, REFUSED.to_owned()));
}

//! Egress listeners of a Sidecar: a local port for a service.

use crate::stage::{HOST, Stage};
use sidle_test_support::{
    client::{Client, request},
    echo::full,
    ports,
    sidle::Sidle,
};

fn sidecar(egress: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: local }}\nspec:\n{egress}\n---\n"
    )
}

#[tokio::test]
async fn a_local_port_leads_to_its_service_whatever_the_host_header() {
    let stage = Stage::new();
    let port = ports::free();
    let egress = format!(
        "  egress:\n    - port: {{ number: {}, name: http, protocol: HTTP }}\n      bind: 127.0.0.1\n      \
         captureMode: NONE\n      hosts: ['./{HOST}']",
        port.port()
    );
    let sidle = Sidle::run(&(stage.manifests() + &sidecar(&egress)));
    let mut client = Client::http1(port).await;
    let answer = client.get(&port.to_string(), "/").await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), sidle.output());
    assert!(["v1", "v2"].contains(&answer.version()));
    assert_eq!(client.get(HOST, "/").await.status, 200);
}

#[tokio::test]
async fn a_host_that_is_not_imported_is_unknown() {
    let stage = Stage::new();
    let egress = "  outboundTrafficPolicy: { mode: REGISTRY_ONLY }\n  egress:\n    - hosts: ['./other.test']";
    let other =
        sidle_test_support::manifest::service("other", "other.test", "HTTP", &[("v2", stage.v2.port())]);
    let sidle = Sidle::run(&(stage.manifests() + &other + &sidecar(egress)));
    let mut client = Client::http1(sidle.outbound()).await;
    assert_eq!(client.get("other.test", "/").await.version(), "v2");
    assert_eq!(client.get(HOST, "/").await.status, 502);
}

#[tokio::test]
async fn an_egress_listener_can_be_an_http_proxy() {
    let stage = Stage::new();
    let port = ports::free();
    let egress = format!(
        "  egress:\n    - port: {{ number: {}, name: http-proxy, protocol: HTTP_PROXY }}\n      bind: 127.0.0.1\n      \
         captureMode: NONE\n      hosts: ['./*']",
        port.port()
    );
    let _sidle = Sidle::run(&(stage.manifests() + &sidecar(&egress)));
    let mut client = Client::http1(port).await;
    let absolute = request("GET", HOST, "/a").header("host", HOST).body(full("")).unwrap();
    assert_eq!(client.send_as_it_is(absolute).await.unwrap().status(), 200);
}

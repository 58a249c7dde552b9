//! mTLS with a real Envoy, configured as Istio configures a sidecar: what it offers, demands and tells.
//!
//! Source: Istio's `listener_inbound.go`, `cluster_tls.go` and its filter `istio.alpn`.

use crate::{
    envoy_oracle::envoy::Envoy,
    mtls::{SHOP, TAKES_MTLS, WEB, server, server_of, service_of, told, with_identity, write_identity},
};
use serde_json::{Value, json};
use sidle_test_support::{
    client::{Client, request},
    echo::Echo,
    peers, ports,
    process::Process,
    sidle::Sidle,
    tls::Authority,
    wait,
};
use std::{net::SocketAddr, path::Path, process::Command};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const STRICT: &str = "{ mtls: { mode: STRICT } }";
const MESH: [&str; 5] = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

fn typed(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
    json!({"name": name, "typed_config": config})
}

/// What both contexts share: Istio gives the same by SDS.
fn common(folder: &Path, alpn: &[&str], peer: Value) -> Value {
    let file = |name: &str| json!({"filename": folder.join(name)});
    json!({
        "alpn_protocols": alpn,
        "tls_certificates": [{"certificate_chain": file("tls.crt"), "private_key": file("tls.key")}],
        "validation_context": {
            "trusted_ca": file("ca.crt"),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}],
        },
    })
}

fn upstream_tls(folder: &Path, alpn: &[&str]) -> Value {
    let config = json!({"sni": "outbound_.80_._.shop.test", "common_tls_context": common(folder, alpn, json!({"exact": SHOP}))});
    typed("tls", "extensions.transport_sockets.tls.v3.UpstreamTlsContext", config)
}

fn downstream_tls(folder: &Path, alpn: &[&str]) -> Value {
    let peer = json!({"prefix": "spiffe://cluster.local/"});
    let config =
        json!({"require_client_certificate": true, "common_tls_context": common(folder, alpn, peer)});
    typed("tls", "extensions.transport_sockets.tls.v3.DownstreamTlsContext", config)
}

fn cluster(name: &str, address: SocketAddr, http2: bool, tls: Option<Value>) -> Value {
    let address =
        json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {protocol: {}},
        }},
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    cluster
}

fn http_filter(cluster: &str) -> Value {
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]);
    let config = json!({
        "stat_prefix": "x",
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": true, "uri": true, "dns": true},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [typed("router", "extensions.filters.http.router.v3.Router", json!({}))],
    });
    typed("hcm", "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", config)
}

fn tcp_filter(cluster: &str) -> Value {
    let config = json!({"stat_prefix": "x", "cluster": cluster});
    typed("tcp", "extensions.filters.network.tcp_proxy.v3.TcpProxy", config)
}

fn listener(port: u16, filter: Value, tls: Option<Value>) -> Value {
    let mut chain = json!({"filters": [filter]});
    let mut filters = Vec::new();
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
        chain["filter_chain_match"] = json!({"transport_protocol": "tls", "application_protocols": MESH});
        let kind = "extensions.filters.listener.tls_inspector.v3.TlsInspector";
        filters.push(typed("tls_inspector", kind, json!({})));
    }
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    json!({"name": port.to_string(), "address": address, "listener_filters": filters, "filter_chains": [chain]})
}

/// An Envoy with these listeners and clusters, the identity in a folder of its own.
fn envoy(
    authority: &Authority,
    id: &str,
    make: impl Fn(&Path) -> (Vec<Value>, Vec<Value>),
) -> Option<(Envoy, TempDir)> {
    let program = peers::find("envoy")?;
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity");
    write_identity(authority, id, &identity);
    let (listeners, clusters) = make(&identity);
    let bootstrap = json!({"static_resources": {"listeners": listeners, "clusters": clusters}});
    Some((Envoy::start(&program, bootstrap, folder.path(), &folder.path().join("log")), folder))
}

/// A gRPC server in another language.
fn grpc_server() -> Option<(Process, u16)> {
    let python = peers::find("python")?;
    let port = ports::free().port();
    let mut command = Command::new(python);
    command.arg(peers::root().join("tests/peers/grpc_peer.py")).args(["serve", &port.to_string()]);
    let server = Process::start(command);
    wait::until("the gRPC server", || server.output().contains("listening").then_some(()));
    Some((server, port))
}

/// Calls all kinds of methods through a proxy.
fn grpc_check(proxy: SocketAddr) {
    let mut command = Command::new(peers::find("python").unwrap());
    command.arg(peers::root().join("tests/peers/grpc_peer.py")).args([
        "check",
        &proxy.to_string(),
        "shop.test",
    ]);
    let mut client = Process::start(command);
    assert!(client.wait().success(), "{}", client.output());
}

/// A server that speaks first.
async fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.read(&mut [0; 5]).await;
        }
    });
    address
}

async fn greeted(proxy: SocketAddr) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let mut bytes = [0; 5];
    let read = wait::within("a greeting", stream.read_exact(&mut bytes)).await;
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn caller(authority: &Authority, at: SocketAddr, protocol: &str, more: &str) -> Sidle {
    let service = service_of("shop", at, "serviceAccount: shop,", TAKES_MTLS, "");
    let service = service.replace("protocol: HTTP", &format!("protocol: {protocol}"));
    with_identity(authority, WEB).file("test.yaml", &(service + more)).start()
}

#[tokio::test]
async fn sidle_calls_an_envoy_sidecar() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let Some((_grpc, grpc_port)) = grpc_server() else { return };
    let greeter = greeter().await;
    let Some((envoy, _folder)) = envoy(&authority, SHOP, |identity| {
        let http = || Some(downstream_tls(identity, &["h2", "http/1.1"]));
        let tcp = downstream_tls(identity, &["istio-peer-exchange", "h2", "http/1.1"]);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        (
            vec![
                listener(1, http_filter("echo"), http()),
                listener(2, http_filter("grpc"), http()),
                listener(3, tcp_filter("greeter"), Some(tcp)),
            ],
            vec![
                cluster("echo", local(application.port()), false, None),
                cluster("grpc", local(grpc_port), true, None),
                cluster("greeter", greeter, false, None),
            ],
        )
    }) else {
        return;
    };
    let same = server(with_identity(&authority, SHOP), &application, STRICT);
    for protocol in ["HTTP", "HTTP2"] {
        // The same client at a Sidle: it tells the same of it.
        let other = service_of("same", same.ports.inbound, "serviceAccount: shop,", TAKES_MTLS, "");
        let web = caller(&authority, envoy.listeners[&1], protocol, &format!("---\n{other}"));
        let mut client = Client::http1(web.outbound()).await;
        let by_envoy = client.ask(request("GET", "shop", "/")).await;
        assert_eq!(by_envoy.status, 200, "{protocol} {}", by_envoy.text());
        let by_sidle = client.ask(request("GET", "same", "/")).await;
        assert_eq!(told(&by_envoy), told(&by_sidle), "{protocol}");
        assert!(told(&by_envoy).is_some_and(|told| told.ends_with(&format!(";URI={WEB}"))));
    }
    grpc_check(caller(&authority, envoy.listeners[&2], "GRPC", "").outbound());
    let sidecar = ports::free();
    let own = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: web }}\nspec:\n  egress:\n    \
         - port: {{ number: {}, name: tcp, protocol: TCP }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      hosts: ['*/shop.test']\n",
        sidecar.port()
    );
    let _web = caller(&authority, envoy.listeners[&3], "TCP", &own);
    assert_eq!(greeted(sidecar).await, "hello");
}

#[tokio::test]
async fn an_envoy_sidecar_calls_sidle() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let Some((_grpc, grpc_port)) = grpc_server() else { return };
    let greeter = greeter().await;
    let http = server(with_identity(&authority, SHOP), &application, STRICT);
    let permissive = server(with_identity(&authority, SHOP), &application, "");
    let undeclared = server_of(with_identity(&authority, SHOP), "web", application.port(), "");
    let grpc = server_of(with_identity(&authority, SHOP), "grpc", grpc_port, STRICT);
    let tcp = server_of(with_identity(&authority, SHOP), "tcp", greeter.port(), "");
    let Some((envoy, _folder)) = envoy(&authority, WEB, |identity| {
        let http1 = || Some(upstream_tls(identity, &["istio-http/1.1", "istio", "http/1.1"]));
        let http2 = || Some(upstream_tls(identity, &["istio-h2", "istio", "h2"]));
        let bytes = || Some(upstream_tls(identity, &["istio-peer-exchange", "istio"]));
        let all = [
            (1, http.ports.inbound, false, http1()),
            (2, http.ports.inbound, true, http2()),
            (3, permissive.ports.inbound, false, http1()),
            (4, permissive.ports.inbound, true, http2()),
            // A client that could not tell what is inside.
            (5, permissive.ports.inbound, false, bytes()),
            (6, undeclared.ports.inbound, true, http2()),
            (7, undeclared.ports.inbound, false, bytes()),
            (8, grpc.ports.inbound, true, http2()),
            (9, tcp.ports.inbound, false, bytes()),
        ];
        let listeners = all.iter().map(|(port, ..)| {
            let name = port.to_string();
            listener(*port, if *port == 9 { tcp_filter(&name) } else { http_filter(&name) }, None)
        });
        let listeners = listeners.collect();
        let clusters =
            all.into_iter().map(|(port, to, http2, tls)| cluster(&port.to_string(), to, http2, tls));
        (listeners, clusters.collect())
    }) else {
        return;
    };
    for port in 1..=7 {
        let mut client = Client::http1(envoy.listeners[&port]).await;
        let answer = client.ask(request("GET", "shop", "/")).await;
        assert_eq!(answer.status, 200, "{port} {}", answer.text());
        if port != 7 {
            let told = told(&answer).unwrap_or_default();
            assert!(told.starts_with(&format!("By={SHOP};Hash=")) && told.ends_with(WEB), "{port} {told}");
        }
    }
    grpc_check(envoy.listeners[&8]);
    assert_eq!(greeted(envoy.listeners[&9]).await, "hello");
    let mutual = [("connection_security_policy", "mutual_tls"), ("source_principal", WEB)];
    let metrics = tcp.metrics();
    assert_eq!(metrics.sum("istio_tcp_connections_opened_total", &mutual), 1.0, "{}", metrics.text);
}

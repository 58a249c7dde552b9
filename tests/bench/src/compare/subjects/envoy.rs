//! Envoy, configured by hand: what a file has to say, and its defaults for the rest.

use super::{Reason, program};
use crate::compare::{
    scenarios::{HOST, Protocol, hosts},
    stage::Setup,
};
use serde_json::{Value, json};
use sidle_test_support::ports;
use std::{net::SocketAddr, process::Command};

const TYPE: &str = "type.googleapis.com/envoy";

/// Envoy with one worker thread.
pub fn command(setup: &Setup<'_>) -> Result<Command, Reason> {
    let program = program("envoy")?;
    let bootstrap = json!({
        "admin": {"address": address(ports::free())},
        "static_resources": {
            "listeners": [{
                "name": "clients",
                "address": address(setup.address),
                "filter_chains": [filter_chain(setup)],
            }],
            "clusters": [cluster(setup, "a", setup.upstreams[0]), cluster(setup, "b", setup.upstreams[1])],
        },
    });
    let mut command = Command::new(program);
    command.arg("-c").arg(setup.file("envoy.json", &bootstrap.to_string())?);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
    Ok(command)
}

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn filter_chain(setup: &Setup<'_>) -> Value {
    let scenario = setup.scenario;
    let route = json!({
        "match": {"prefix": "/svc/"},
        "route": {"weighted_clusters": {"clusters": [
            {"name": "a", "weight": 90},
            {"name": "b", "weight": 10},
        ]}},
    });
    let virtual_hosts: Vec<_> = hosts(scenario.clients.hosts)
        .map(|host| json!({"name": host, "domains": [host], "routes": [route]}))
        .collect();
    let prior_knowledge = scenario.clients.protocol == Protocol::Http2 && !scenario.clients.tls;
    let mut manager = json!({
        "@type": format!("{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "clients",
        "codec_type": if prior_knowledge { "HTTP2" } else { "AUTO" },
        "route_config": {"virtual_hosts": virtual_hosts},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{TYPE}.extensions.filters.http.router.v3.Router")},
        }],
    });
    if scenario.logs {
        manager["access_log"] = json!([{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": format!("{TYPE}.extensions.access_loggers.file.v3.FileAccessLog"),
                "path": setup.log(),
            },
        }]);
    }
    let mut chain = json!({
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    });
    if scenario.clients.tls {
        let mut context = common_tls(setup, "server");
        context["alpn_protocols"] = json!(["h2", "http/1.1"]);
        chain["transport_socket"] = transport_socket(json!({
            "@type": format!("{TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": context,
        }));
    }
    chain
}

fn cluster(setup: &Setup<'_>, name: &str, port: u16) -> Value {
    let upstream = SocketAddr::from(([127, 0, 0, 1], port));
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
        },
    });
    if setup.scenario.upstream == Protocol::Http2 {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
    }
    if setup.scenario.upstream_tls {
        let mut context = common_tls(setup, "client");
        context["alpn_protocols"] = json!(["h2"]);
        context["validation_context"] =
            json!({"trusted_ca": {"filename": setup.certificates.join("ca.pem")}});
        cluster["transport_socket"] = transport_socket(json!({
            "@type": format!("{TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
            "sni": HOST,
            "common_tls_context": context,
        }));
    }
    cluster
}

fn common_tls(setup: &Setup<'_>, identity: &str) -> Value {
    let file = |ending: &str| json!({"filename": setup.certificates.join(format!("{identity}.{ending}"))});
    json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": file("pem"), "private_key": file("key")}],
    })
}

fn transport_socket(context: Value) -> Value {
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

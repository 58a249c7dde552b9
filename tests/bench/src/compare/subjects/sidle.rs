//! Sidle as it ships, on Istio manifests as people write them: beside an application, or as a gateway where TLS comes in.

use super::Reason;
use crate::compare::{
    scenarios::{HOST, Protocol, hosts},
    stage::Setup,
};
use sidle_test_support::{
    manifest,
    sidle::{Ports, command as program},
};
use std::{fmt::Write, process::Command};

/// The service behind the host.
const SERVICE: &str = "service.test";

/// Sidle.
pub fn command(setup: &Setup<'_>) -> Result<Command, Reason> {
    let (scenario, at) = (setup.scenario, setup.certificates.display());
    let mut own = Ports::free();
    let mut manifests = String::new();
    let gateways = if scenario.clients.tls {
        let _ = write!(
            manifests,
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: edge }}\nspec:\n  servers:\n    \
             - port: {{ number: {}, name: https, protocol: HTTPS }}\n      bind: 127.0.0.1\n      hosts: [{HOST}]\n      \
             tls: {{ mode: SIMPLE, serverCertificate: {at}/server.pem, privateKey: {at}/server.key }}\n---\n",
            setup.address.port(),
        );
        "  gateways: [edge]\n"
    } else {
        own.outbound = setup.address;
        ""
    };
    let protocol = match (scenario.upstream, scenario.grpc()) {
        (Protocol::Http1, _) => "HTTP",
        (Protocol::Http2, false) => "HTTP2",
        (Protocol::Http2, true) => "GRPC",
    };
    let [first, second] = setup.upstreams;
    manifests += &manifest::service("service", SERVICE, protocol, &[("a", first), ("b", second)]);
    let tls = if scenario.upstream_tls {
        format!(
            "  trafficPolicy:\n    tls:\n      mode: MUTUAL\n      sni: {HOST}\n      subjectAltNames: [{HOST}]\n      \
             clientCertificate: {at}/client.pem\n      privateKey: {at}/client.key\n      caCertificates: {at}/ca.pem\n"
        )
    } else {
        String::new()
    };
    manifests += &manifest::subsets("service", SERVICE, &["a", "b"], &tls);
    for (number, host) in hosts(scenario.clients.hosts).enumerate() {
        let _ = write!(
            manifests,
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: shop-{number} }}\nspec:\n  \
             hosts: [{host}]\n{gateways}  http:\n    - match: [{{ uri: {{ prefix: /svc/ }} }}]\n      route:\n        \
             - {{ destination: {{ host: {SERVICE}, subset: a }}, weight: 90 }}\n        \
             - {{ destination: {{ host: {SERVICE}, subset: b }}, weight: 10 }}\n---\n"
        );
    }
    let log =
        if scenario.logs { format!("  accessLogFile: {}\n", setup.log().display()) } else { String::new() };
    setup.file("service.yaml", &manifests)?;
    setup.file("proxy.yaml", &own.document(&format!("  concurrency: 1\n{log}")))?;
    let mut command = program();
    command.arg("run").arg("-c").arg(setup.folder());
    Ok(command)
}

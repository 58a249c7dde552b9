//! TLS that a port of a Sidecar opens itself.

use super::*;
use crate::ir::{Certificates, Direction, Transport};

/// The TLS of each chain of inbound ports: `listener chain kind: certificates` and whether clients need one.
fn opened(spec: &str, more: &str) -> (Vec<String>, Vec<String>) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{ingress: [{spec}]}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: pair}}\nstringData: {{tls.crt: c, tls.key: k, ca.crt: r}}\n---\n{more}"
    );
    let lowered = lowered_for(&node("default", "app=shop"), &text);
    let inbound = lowered.ir.listeners.iter().filter(|one| one.direction == Direction::Inbound);
    let chains = inbound.flat_map(|listener| {
        let by_port = listener.filter_chains.iter().filter(|chain| !chain.matches.captured);
        let chains = by_port.chain(&listener.default_filter_chain);
        chains.map(move |chain| {
            let kind = if matches!(chain.filter, NetworkFilter::Http(_)) { "http" } else { "bytes" };
            let tls = match &chain.tls {
                None => "none".to_owned(),
                Some(tls) => {
                    assert_eq!(chain.matches.transport, Some(Transport::Tls));
                    let own = if tls.certificates == Certificates::Workload { "workload" } else { "own" };
                    format!("{own} {}", if tls.client_ca.is_some() { "mutual" } else { "simple" })
                }
            };
            format!("{} {} {kind}: {tls}", listener.name, chain.name)
        })
    });
    let told =
        lowered.diagnostics.iter().filter(|told| told.code == "SDL0501").map(|told| told.message.clone());
    (chains.collect(), told.collect())
}

#[test]
fn a_port_of_a_sidecar_opens_tls_of_its_own() {
    let port = |number: u16, protocol: &str, more: &str| {
        format!("{{port: {{number: {number}, name: p{number}, protocol: {protocol}}}, {more}}}")
    };
    let simple = "tls: {mode: SIMPLE, credentialName: pair}";
    let mutual = "captureMode: NONE, tls: {mode: MUTUAL, credentialName: pair}";
    let (chains, told) = opened(&[port(80, "HTTPS", simple), port(81, "TLS", mutual)].join(", "), "");
    assert_eq!(
        chains,
        [
            "0.0.0.0_81 0.0.0.0_81 bytes: own mutual",
            "virtualInbound inbound_80 http: own simple",
            "virtualInbound virtualInbound http: own simple",
        ]
    );
    assert_eq!(told, [""; 0]);
    // Who comes without capture cannot say that he means the port.
    let (chains, _) = opened(&[port(80, "HTTPS", simple), port(82, "TCP", "bind: ''")].join(", "), "");
    assert_eq!(
        chains,
        [
            "virtualInbound inbound_80 http: own simple",
            "virtualInbound inbound_82 bytes: none",
            "virtualInbound virtualInbound bytes: none",
        ]
    );
}

#[test]
fn a_port_of_a_sidecar_that_cannot_open_tls_is_closed_and_one_with_mtls_does_not_need_to() {
    let missing =
        "{port: {number: 80, name: a, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: other}}";
    let (chains, told) = opened(missing, "");
    assert_eq!(chains, ["virtualInbound inbound_80 bytes: none"], "to the cluster that closes");
    assert!(told[0].starts_with("the port stays closed: "), "{told:?}");
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: STRICT}}\n---\n\
                  apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {identity: {directory: /identity}}\n";
    let good = missing.replace("other", "pair");
    let (chains, told) = opened(&good, strict);
    let expected = [
        "virtualInbound inbound_80_mtls bytes: workload mutual",
        "virtualInbound virtualInbound_mtls bytes: workload mutual",
    ];
    assert_eq!(chains, expected);
    assert!(told[0].contains("only where a PeerAuthentication says DISABLE"), "{told:?}");
}

//! Certificate and key files that manifests name.
//!
//! Invariant: a file that is not there is a warning: it may come before the proxy starts, or the check runs elsewhere.
//! Not here: what is in the files (`sidle-identity`).

use super::report::{At, Report};
use crate::{
    config::Config,
    diagnostic::{Diagnostic, codes},
    istio::{ClientTlsMode, ClientTlsSettings, ServerTlsMode, ServerTlsSettings, TrafficPolicy},
};
use std::path::Path;

/// Warns of files that are named and cannot be found from the working directory.
pub(crate) fn check(config: &Config, out: &mut Vec<Diagnostic>) {
    let root = At::SPEC;
    for resource in &config.destination_rules {
        let report = &mut Report::new(resource, out);
        if let Some(policy) = &resource.spec.traffic_policy {
            traffic_policy(policy, root.to("trafficPolicy"), report);
        }
        for (index, subset) in resource.spec.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                traffic_policy(policy, root.to("subsets").to(index).to("trafficPolicy"), report);
            }
        }
    }
    for resource in &config.proxies {
        let bundle = resource.spec.jwks.as_ref().and_then(|jwks| jwks.ca_certificates.as_deref());
        exists(bundle, root.to("jwks").to("caCertificates"), &mut Report::new(resource, out));
    }
    for resource in &config.gateways {
        let report = &mut Report::new(resource, out);
        for (index, server) in resource.spec.servers.iter().enumerate() {
            if let Some(tls) = &server.tls {
                server_tls(tls, root.to("servers").to(index).to("tls"), report);
            }
        }
    }
}

fn traffic_policy(policy: &TrafficPolicy, at: At<'_>, report: &mut Report<'_>) {
    if let Some(tls) = &policy.tls {
        client_tls(tls, at.to("tls"), report);
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        if let Some(tls) = &port.tls {
            client_tls(tls, at.to("portLevelSettings").to(index).to("tls"), report);
        }
    }
}

fn client_tls(tls: &ClientTlsSettings, at: At<'_>, report: &mut Report<'_>) {
    let own = tls.mode == ClientTlsMode::Mutual;
    if own {
        exists(tls.client_certificate.as_deref(), at.to("clientCertificate"), report);
        exists(tls.private_key.as_deref(), at.to("privateKey"), report);
    }
    if own || tls.mode == ClientTlsMode::Simple {
        exists(tls.ca_certificates.as_deref(), at.to("caCertificates"), report);
        exists(tls.ca_crl.as_deref(), at.to("caCrl"), report);
    }
}

fn server_tls(tls: &ServerTlsSettings, at: At<'_>, report: &mut Report<'_>) {
    if !matches!(tls.mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return;
    }
    exists(tls.server_certificate.as_deref(), at.to("serverCertificate"), report);
    exists(tls.private_key.as_deref(), at.to("privateKey"), report);
    exists(tls.ca_certificates.as_deref(), at.to("caCertificates"), report);
    for (index, pair) in tls.tls_certificates.iter().enumerate() {
        let at = at.to("tlsCertificates");
        let at = at.to(index);
        exists(pair.server_certificate.as_deref(), at.to("serverCertificate"), report);
        exists(pair.private_key.as_deref(), at.to("privateKey"), report);
        exists(pair.ca_certificates.as_deref(), at.to("caCertificates"), report);
    }
}

pub(super) fn exists(path: Option<&str>, at: At<'_>, report: &mut Report<'_>) {
    let Some(path) = path.filter(|path| !Path::new(path).is_file()) else { return };
    let place = std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string());
    let relative = if Path::new(path).is_relative() { ", seen from the working directory" } else { "" };
    let message = format!("there is no file `{place}`{relative}; `run` needs it");
    report.warn_help(at, codes::MISSING_FILE, message, "a certificate or a key is a file in PEM form");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ir::Node, load_texts, source::Text};

    #[test]
    fn files_that_are_missing() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec:\n  host: a.io\n  \
             trafficPolicy:\n    tls: {{mode: MUTUAL, clientCertificate: {own}, privateKey: no/such.key}}\n  \
             subsets: [{{name: b, trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: /no/such.pem}}}}}}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n  servers:\n  - port: \
             {{number: 443, name: a, protocol: HTTPS}}\n    hosts: ['*']\n    tls: {{mode: SIMPLE, serverCertificate: /no/cert, \
             privateKey: {own}}}\n"
        );
        let config =
            load_texts(vec![Text { name: "f".into(), content: text.into() }], &Node::default()).config;
        let mut out = Vec::new();
        check(&config, &mut out);
        let lines: Vec<u32> = out.iter().map(|d| d.span.unwrap().line).collect();
        assert_eq!(lines, [7, 8, 17], "{out:?}");
        let place = std::path::absolute("no/such.key").unwrap();
        assert!(out[0].message.contains(place.to_str().unwrap()) && !out[0].is_error(), "{out:?}");
    }
}

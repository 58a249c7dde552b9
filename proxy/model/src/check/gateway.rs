//! Gateways: servers, their ports, hosts and TLS.

use super::{
    http_match::labels,
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    ir::CipherSuite,
    istio::{Gateway, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol},
    lower::policies::{sha256_of_base64, sha256_of_hex},
};
use std::collections::HashMap;

pub(super) fn check(spec: &Gateway, report: &mut Report<'_>) {
    let root = At::SPEC;
    let servers = root.to("servers");
    labels(&spec.selector, root.to("selector"), report);
    if spec.servers.is_empty() && report.is_written(servers) {
        report.error(servers, codes::EMPTY_LIST, "a Gateway needs at least one server");
    }
    let mut names = HashMap::new();
    for (index, server) in spec.servers.iter().enumerate() {
        let at = servers.to(index);
        check_server(server, at, report);
        if let Some(name) = &server.port.name
            && names.insert(name, index).is_some()
        {
            let message = format!("the port name `{name}` stands here twice");
            report.error(at.to("port").to("name"), codes::DUPLICATE_PORT, message);
        }
    }
    protocols_of_one_port(spec, servers, report);
}

fn check_server(server: &Server, at: At<'_>, report: &mut Report<'_>) {
    let hosts = at.to("hosts");
    if server.hosts.is_empty() && report.is_written(hosts) {
        report.error_help(
            hosts,
            codes::EMPTY_LIST,
            "a server needs at least one host",
            "write `\"*\"` for every host",
        );
    }
    for (index, host) in server.hosts.iter().enumerate() {
        report.judge(hosts.to(index), codes::BAD_HOST, values::namespaced_host(host, false));
    }
    if let Some(bind) = &server.bind {
        report.judge(at.to("bind"), codes::BAD_ADDRESS, values::bind_address(bind));
    }
    let protocol = server.port.protocol.to_ascii_uppercase();
    if protocol.is_empty() {
        return;
    }
    report.judge(at.to("port").to("protocol"), codes::BAD_PROTOCOL, values::protocol(&protocol));
    let secure = matches!(protocol.as_str(), "HTTPS" | "TLS");
    match &server.tls {
        None if secure => {
            let message = format!("a server with `protocol: {protocol}` needs `tls`");
            report.error_help(at, codes::BAD_TLS, message, "add `tls` with a `mode` and a certificate");
        }
        Some(tls) if matches!(protocol.as_str(), "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB") => {
            plain_tls(tls, &protocol, at.to("tls"), report);
        }
        Some(tls) => {
            if tls.https_redirect {
                let message = "`httpsRedirect` is for servers with `protocol: HTTP`";
                report.warn(at.to("tls").to("httpsRedirect"), codes::BAD_TLS, message);
            }
            server_tls(tls, at.to("tls"), report);
        }
        None => {}
    }
}

/// TLS settings of a server that speaks plain HTTP.
fn plain_tls(tls: &ServerTlsSettings, protocol: &str, at: At<'_>, report: &mut Report<'_>) {
    if *tls != (ServerTlsSettings { https_redirect: tls.https_redirect, ..Default::default() }) {
        let message = format!("with `protocol: {protocol}` only `httpsRedirect` has an effect here");
        report.error_help(at, codes::BAD_TLS, message, "set `protocol: HTTPS` to use TLS");
    }
}

/// TLS settings of a Gateway's server or a Sidecar's port.
pub(super) fn server_tls(tls: &ServerTlsSettings, at: At<'_>, report: &mut Report<'_>) {
    let secret = tls.credential_name.is_some() || !tls.credential_names.is_empty();
    let files = tls.server_certificate.is_some() && tls.private_key.is_some();
    let pairs = !tls.tls_certificates.is_empty();
    match tls.mode {
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            for (index, pair) in tls.tls_certificates.iter().enumerate() {
                let at = at.to("tlsCertificates");
                let given =
                    [("serverCertificate", &pair.server_certificate), ("privateKey", &pair.private_key)];
                for (field, _) in given.iter().filter(|(_, file)| file.is_none()) {
                    report.error(at.to(index), codes::BAD_TLS, format!("a certificate needs a `{field}`"));
                }
            }
            if !secret && !pairs && !files {
                let message = "this mode needs a certificate";
                let help = "set `serverCertificate` and `privateKey`, or a `credentialName`";
                report.error_help(at, codes::BAD_TLS, message, help);
            }
            let verifies = tls.mode != ServerTlsMode::Simple;
            let pair_ca = tls.tls_certificates.iter().any(|pair| pair.ca_certificates.is_some());
            if verifies && !secret && tls.ca_certificates.is_none() && !pair_ca {
                let message = "this mode needs `caCertificates` to check clients by, or a `credentialName`";
                report.error(at, codes::BAD_TLS, message);
            }
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual => {
            if secret || files || pairs {
                report.warn(
                    at,
                    codes::BAD_TLS,
                    "this mode uses no certificate of its own: those here have no effect",
                );
            }
        }
    }
    pins(tls, at, report);
    cipher_suites(tls, at, report);
    if tls.max_protocol_version != TlsProtocol::Auto && tls.min_protocol_version > tls.max_protocol_version {
        let message = "`minProtocolVersion` is above `maxProtocolVersion`";
        report.error(at.to("minProtocolVersion"), codes::BAD_TLS, message);
    }
    if matches!(tls.max_protocol_version, TlsProtocol::V1_0 | TlsProtocol::V1_1) {
        report.error(
            at.to("maxProtocolVersion"),
            codes::BAD_TLS,
            "TLS below 1.2 is broken, and not spoken here",
        );
    } else if matches!(tls.min_protocol_version, TlsProtocol::V1_0 | TlsProtocol::V1_1) {
        let message = "TLS below 1.2 is broken, and not spoken here: the least is 1.2";
        report.warn(at.to("minProtocolVersion"), codes::NOT_APPLIED, message);
    }
}

/// Hashes of client certificates and keys.
fn pins(tls: &ServerTlsSettings, at: At<'_>, report: &mut Report<'_>) {
    for (index, text) in tls.verify_certificate_hash.iter().enumerate() {
        if sha256_of_hex(text).is_none() {
            let message = format!("`{text}` is not a SHA-256 in hexadecimal");
            report.error(at.to("verifyCertificateHash").to(index), codes::BAD_VALUE, message);
        }
    }
    for (index, text) in tls.verify_certificate_spki.iter().enumerate() {
        if sha256_of_base64(text).is_none() {
            let message = format!("`{text}` is not a SHA-256 in base64");
            report.error(at.to("verifyCertificateSpki").to(index), codes::BAD_VALUE, message);
        }
    }
    let given = !tls.verify_certificate_hash.is_empty() || !tls.verify_certificate_spki.is_empty();
    if given && !matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        let message = "certificates are compared where clients are asked for them: with `mode: MUTUAL`";
        report.error(at, codes::BAD_TLS, message);
    }
}

/// Weak suites are not spoken, whoever asks for them.
fn cipher_suites(tls: &ServerTlsSettings, at: At<'_>, report: &mut Report<'_>) {
    let is_spoken = |name: &String| CipherSuite::ALL.iter().any(|suite| suite.name() == name);
    let list = at.to("cipherSuites");
    if !tls.cipher_suites.is_empty() && !tls.cipher_suites.iter().any(is_spoken) {
        report.error(list, codes::BAD_TLS, "none of these cipher suites is spoken here");
        return;
    }
    for (index, name) in tls.cipher_suites.iter().enumerate().filter(|(_, name)| !is_spoken(name)) {
        report.warn(
            list.to(index),
            codes::NOT_APPLIED,
            format!("`{name}` is not spoken here: it is left out"),
        );
    }
}

/// A port number has one protocol, told by TLS or not.
fn protocols_of_one_port(spec: &Gateway, servers: At<'_>, report: &mut Report<'_>) {
    let mut first: HashMap<(u16, &Option<String>), (usize, &str)> = HashMap::new();
    for (index, server) in spec.servers.iter().enumerate() {
        let family = match server.port.protocol.to_ascii_uppercase().as_str() {
            "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => "plain HTTP",
            "HTTPS" | "TLS" => "TLS",
            _ => "TCP",
        };
        let (before, known) = *first.entry((server.port.number, &server.bind)).or_insert((index, family));
        if known != family {
            let line = report.span(servers.to(before)).line;
            let message = format!(
                "port {} speaks {known} by line {line}, and cannot also speak {family}",
                server.port.number
            );
            report.error(servers.to(index).to("port").to("protocol"), codes::BAD_PROTOCOL, message);
        }
    }
}

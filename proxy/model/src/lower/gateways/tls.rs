//! TLS and TCP servers of Gateways.
//!
//! In:  servers.   Out: filter chains, and a route table where HTTP is inside.
//! Invariants: a server without a certificate that can be read is dropped with a note, never opened without one.
//! Not here: reading certificates.
//! Source: R25.

use super::{
    super::{
        Mesh,
        captured::{Chains, tcp_chain},
        inbound::mtls,
        names, policies,
        protocol::Class,
        routes::Routes,
        tcp::{self, Choice},
    },
    BoundServer, Kind, auto_passthrough, http, http_chain,
};
use crate::{
    diagnostic::codes,
    ir::{
        ApplicationProtocol, CertificateFiles, CertificatePin, Certificates, CipherSuite, FilterChain,
        FilterChainMatch, HostPattern, RouteConfiguration, ServerTls, TlsVersion, Transport, Trust,
    },
    istio::{ServerTlsMode, ServerTlsSettings, TlsProtocol},
};

/// Adds the chains of a TLS server; the table of its HTTP, if there is any.
pub(super) fn server(
    routes: &mut Routes<'_>,
    chains: &mut Chains,
    server: &BoundServer<'_>,
    port: u16,
) -> Option<RouteConfiguration> {
    if server.kind == Kind::Passthrough {
        match server.server.tls.as_ref().map(|tls| tls.mode) {
            Some(ServerTlsMode::AutoPassthrough) => auto_passthrough::add(routes, chains, server),
            _ => passthrough(routes, chains, server),
        }
        return None;
    }
    let settings = server.server.tls.as_ref()?;
    let tls = match server_tls(settings, server.kind, routes.mesh) {
        Ok(tls) => tls,
        Err(message) => {
            server.warn(&mut routes.notes, codes::NOT_APPLIED, format!("server dropped: {message}"));
            return None;
        }
    };
    let gateway = &server.gateway.metadata;
    let label = server.server.port.name.clone().unwrap_or_else(|| server.server.port.number.to_string());
    let name = format!("https.{port}.{label}.{}.{}", gateway.name, gateway.namespace);
    let matches = FilterChainMatch {
        transport: Some(Transport::Tls),
        server_names: server_names(server),
        ..Default::default()
    };
    if server.kind == Kind::Https {
        if !chains.push(http_chain(&name, &name, matches, Some(tls))) {
            note_taken(routes, server);
            return None;
        }
        return Some(http::table(routes, &name, std::slice::from_ref(server)));
    }
    let choices = tcp_choices(routes, server);
    match choices.into_iter().find(|choice| choice.destinations.is_empty()) {
        Some(choice) => {
            let chain = FilterChain { tls: Some(tls), ..tcp_chain(name, matches, choice.proxy) };
            if !chains.push(chain) {
                note_taken(routes, server);
            }
        }
        None => note_nothing(routes, server, "tcp"),
    }
    None
}

fn note_taken(routes: &mut Routes<'_>, server: &BoundServer<'_>) {
    let message = "server dropped: an older server of the port has the same hosts";
    server.warn(&mut routes.notes, codes::CONFLICT, message);
}

fn note_nothing(routes: &mut Routes<'_>, server: &BoundServer<'_>, list: &str) {
    let message = format!(
        "no VirtualService of this gateway has a `{list}` rule for this server: it closes connections"
    );
    server.warn(&mut routes.notes, codes::DROPPED, message);
}

/// Names that the server's certificate is for; empty: any.
fn server_names(server: &BoundServer<'_>) -> Vec<HostPattern> {
    if server.hosts.iter().any(|(_, host)| host == "*") {
        return Vec::new();
    }
    server.hosts.iter().filter_map(|(_, host)| HostPattern::new(host)).collect()
}

fn tcp_choices(routes: &mut Routes<'_>, server: &BoundServer<'_>) -> Vec<Choice> {
    let mesh = routes.mesh;
    let rules = mesh.virtual_services.of_gateway(&server.name);
    let shares = |at: &&usize| !server.shared_hosts(&mesh.virtual_services.list[**at]).is_empty();
    let rules: Vec<_> = rules.iter().filter(shares).copied().collect();
    tcp::choices(routes, &rules, Class::Tcp, server.site())
}

/// By server name, unopened.
fn passthrough(routes: &mut Routes<'_>, chains: &mut Chains, server: &BoundServer<'_>) {
    let mesh = routes.mesh;
    let mut any = false;
    for at in mesh.virtual_services.of_gateway(&server.name) {
        let namespace = &mesh.virtual_services.list[*at].resource.metadata.namespace;
        let by_name = tcp::choices(routes, &[*at], Class::Tls, server.site()).into_iter();
        for mut choice in by_name.filter(|choice| !choice.server_names.is_empty()) {
            choice.server_names = choice
                .server_names
                .iter()
                .flat_map(|name| {
                    let name = name.to_string();
                    let shared = server
                        .hosts_for(namespace)
                        .filter_map(move |own| names::intersection(own, &name).and_then(HostPattern::new));
                    shared.collect::<Vec<_>>()
                })
                .collect();
            if choice.server_names.is_empty() {
                continue;
            }
            any = true;
            let matches = FilterChainMatch {
                transport: Some(Transport::Tls),
                server_names: choice.server_names,
                destinations: choice.destinations,
                ..Default::default()
            };
            chains.push(tcp_chain(
                format!("{}_{}", server.name, server.server.port.number),
                matches,
                choice.proxy,
            ));
        }
    }
    if !any {
        note_nothing(routes, server, "tls");
    }
}

/// Bytes: the chain for every connection, and those for destination ranges.
pub(super) fn bytes(
    routes: &mut Routes<'_>,
    chains: &mut Chains,
    servers: &[BoundServer<'_>],
) -> Option<FilterChain> {
    let mut default = None;
    for server in servers {
        let choices = tcp_choices(routes, server);
        if choices.is_empty() {
            note_nothing(routes, server, "tcp");
        }
        for choice in choices {
            let matches = FilterChainMatch { destinations: choice.destinations, ..Default::default() };
            let everything = matches.destinations.is_empty();
            let chain =
                tcp_chain(format!("{}_{}", server.name, server.server.port.number), matches, choice.proxy);
            if everything {
                default.get_or_insert(chain);
            } else {
                chains.push(chain);
            }
        }
    }
    default
}

/// How TLS is opened. `Err`: why it cannot be.
fn server_tls(settings: &ServerTlsSettings, kind: Kind, mesh: &Mesh<'_>) -> Result<ServerTls, String> {
    if settings.mode == ServerTlsMode::IstioMutual {
        let tls = mtls::of_mesh(kind == Kind::Https);
        let tls = ServerTls { subject_alt_names: settings.subject_alt_names.clone(), ..tls };
        return mesh.has_identity().then_some(tls).ok_or("this proxy has no identity to show".into());
    }
    let alpn = match kind {
        Kind::Https => vec![ApplicationProtocol::Http2, ApplicationProtocol::Http1],
        _ => Vec::new(),
    };
    Ok(ServerTls {
        certificates: certificates(settings, mesh)?,
        client_ca: client_ca(settings, mesh)?,
        crl: settings.ca_crl.as_ref().map(Into::into),
        client_certificate_optional: settings.mode == ServerTlsMode::OptionalMutual,
        subject_alt_names: settings.subject_alt_names.clone(),
        pins: pins(settings),
        cipher_suites: cipher_suites(settings),
        min_version: version(settings.min_protocol_version, TlsVersion::V1_2),
        max_version: version(settings.max_protocol_version, TlsVersion::V1_3),
        alpn,
    })
}

/// What does not parse is refused by `check`.
fn pins(settings: &ServerTlsSettings) -> Vec<CertificatePin> {
    let certificates =
        settings.verify_certificate_hash.iter().filter_map(|text| policies::sha256_of_hex(text));
    let keys = settings.verify_certificate_spki.iter().filter_map(|text| policies::sha256_of_base64(text));
    certificates.map(CertificatePin::Certificate).chain(keys.map(CertificatePin::Key)).collect()
}

/// Those that are spoken; `check` tells the others.
fn cipher_suites(settings: &ServerTlsSettings) -> Vec<CipherSuite> {
    let named = |name: &String| CipherSuite::ALL.into_iter().find(|suite| suite.name() == name);
    settings.cipher_suites.iter().filter_map(named).collect()
}

/// What is shown: Secrets, else files.
fn certificates(settings: &ServerTlsSettings, mesh: &Mesh<'_>) -> Result<Certificates, String> {
    let secrets: Vec<_> =
        settings.credential_name.iter().chain(&settings.credential_names).map(String::as_str).collect();
    if !secrets.is_empty() {
        return mesh.secrets().certificates(&secrets);
    }
    let own = settings.server_certificate.as_ref().zip(settings.private_key.as_ref());
    let more = settings.tls_certificates.iter();
    let more = more.filter_map(|pair| pair.server_certificate.as_ref().zip(pair.private_key.as_ref()));
    let files = own.into_iter().chain(more);
    let files: Vec<_> = files
        .map(|(certificate, key)| CertificateFiles { certificate: certificate.into(), key: key.into() })
        .collect();
    if files.is_empty() { Err("it has no certificate".into()) } else { Ok(Certificates::Files(files)) }
}

/// What client certificates must chain to, where they are asked for.
fn client_ca(settings: &ServerTlsSettings, mesh: &Mesh<'_>) -> Result<Option<Trust>, String> {
    if !matches!(settings.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return Ok(None);
    }
    let of_pairs = settings.tls_certificates.iter().find_map(|pair| pair.ca_certificates.as_ref());
    if let Some(path) = settings.ca_certificates.as_ref().or(of_pairs) {
        return Ok(Some(Trust::File(path.into())));
    }
    let credential = settings.credential_name.as_ref().or(settings.credential_names.first());
    let secret = settings.ca_cert_credential_name.as_ref().or(credential);
    let secret = secret.ok_or("client certificates cannot be verified without `caCertificates`")?;
    mesh.secrets().roots(secret).map(Some)
}

/// Older versions than 1.2 are not spoken.
fn version(version: TlsProtocol, default: TlsVersion) -> TlsVersion {
    match version {
        TlsProtocol::Auto => default,
        TlsProtocol::V1_3 => TlsVersion::V1_3,
        TlsProtocol::V1_0 | TlsProtocol::V1_1 | TlsProtocol::V1_2 => TlsVersion::V1_2,
    }
}

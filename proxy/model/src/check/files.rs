//! Certificate and key files that manifests name.
//!
//! Invariant: a file that is not there is a warning: it may come before the proxy starts, or the check runs elsewhere.
//! Not here: what is in the files (`sidle-identity`; `sidle check` asks it).

use super::report::{At, Report};
use crate::{
    config::Config,
    diagnostic::{Diagnostic, Span, codes},
    istio::{ClientTlsMode, ClientTlsSettings, ServerTlsMode, ServerTlsSettings, TrafficPolicy},
    sidle::Proxy,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file that a manifest names, or a Secret that holds what could stand in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// As it is named; of a Secret its title, `Secret default/shop-tls`.
    pub path: PathBuf,
    /// Of a key the certificate that it is named beside.
    pub certificate: Option<PathBuf>,
    /// The manifest's file.
    pub file: Arc<str>,
    /// Where it is named there.
    pub span: Span,
}

/// Warns of files that are named and cannot be found from the working directory.
pub(crate) fn check(config: &Config, out: &mut Vec<Diagnostic>) {
    each(config, out, &mut |named, at, report| exists(Some(named.path), at, report));
    for resource in &config.proxies {
        let bundle = resource.spec.jwks.as_ref().and_then(|jwks| jwks.ca_certificates.as_deref());
        exists(bundle, At::SPEC.to("jwks").to("caCertificates"), &mut Report::new(resource, out));
    }
}

/// Every place that names a file which TLS, the workload's identity, the fetching of keys or the access log needs.
pub fn named(config: &Config) -> Vec<NamedFile> {
    let (mut list, mut nothing) = (Vec::new(), Vec::new());
    let mut add = |named: Named<'_>, at: At<'_>, report: &mut Report<'_>| {
        let (file, span) = report.place(at);
        list.push(NamedFile {
            path: named.path.into(),
            certificate: named.certificate.map(Into::into),
            file,
            span,
        });
    };
    each(config, &mut nothing, &mut add);
    for resource in &config.proxies {
        of_proxy(&resource.spec, &mut Report::new(resource, &mut nothing), &mut add);
    }
    for resource in &config.secrets {
        let report = &mut Report::new(resource, &mut nothing);
        let part = if resource.spec.string_data.is_empty() { "data" } else { "stringData" };
        add(Named { path: &resource.title(), certificate: None }, At::SPEC.to(part), report);
    }
    list
}

fn of_proxy(proxy: &Proxy, report: &mut Report<'_>, see: &mut See<'_>) {
    let at = At::SPEC.to("identity");
    if let Some(identity) = &proxy.identity {
        one(identity.directory.as_deref(), at.to("directory"), report, see);
        pair(
            [identity.certificate_chain.as_deref(), identity.private_key.as_deref()],
            [at.to("certificateChain"), at.to("privateKey")],
            report,
            see,
        );
        one(identity.root_certificates.as_deref(), at.to("rootCertificates"), report, see);
        let authority = identity.certificate_authority.as_ref();
        let roots = authority.and_then(|authority| authority.root_certificates.as_deref());
        one(roots, at.to("certificateAuthority").to("rootCertificates"), report, see);
        for (index, bundle) in identity.trust_bundles.iter().enumerate() {
            let at = at.to("trustBundles");
            one(Some(&bundle.root_certificates), at.to(index).to("rootCertificates"), report, see);
        }
    }
    let bundle = proxy.jwks.as_ref().and_then(|jwks| jwks.ca_certificates.as_deref());
    one(bundle, At::SPEC.to("jwks").to("caCertificates"), report, see);
    one(proxy.access_log_file.as_deref(), At::SPEC.to("accessLogFile"), report, see);
}

/// A file as it is named.
#[derive(Clone, Copy)]
struct Named<'a> {
    path: &'a str,
    /// Of a key.
    certificate: Option<&'a str>,
}

/// Looks at a file that is named.
type See<'s> = dyn FnMut(Named<'_>, At<'_>, &mut Report<'_>) + 's;

/// Shows `see` every file that TLS needs and who names it.
fn each(config: &Config, out: &mut Vec<Diagnostic>, see: &mut See<'_>) {
    let root = At::SPEC;
    for resource in &config.destination_rules {
        let report = &mut Report::new(resource, out);
        if let Some(policy) = &resource.spec.traffic_policy {
            traffic_policy(policy, root.to("trafficPolicy"), report, see);
        }
        for (index, subset) in resource.spec.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                traffic_policy(policy, root.to("subsets").to(index).to("trafficPolicy"), report, see);
            }
        }
    }
    for resource in &config.gateways {
        let report = &mut Report::new(resource, out);
        for (index, server) in resource.spec.servers.iter().enumerate() {
            if let Some(tls) = &server.tls {
                server_tls(tls, root.to("servers").to(index).to("tls"), report, see);
            }
        }
    }
    for resource in &config.sidecars {
        let report = &mut Report::new(resource, out);
        for (index, entry) in resource.spec.ingress.iter().enumerate() {
            if let Some(tls) = &entry.tls {
                server_tls(tls, root.to("ingress").to(index).to("tls"), report, see);
            }
        }
    }
}

fn traffic_policy(policy: &TrafficPolicy, at: At<'_>, report: &mut Report<'_>, see: &mut See<'_>) {
    if let Some(tls) = &policy.tls {
        client_tls(tls, at.to("tls"), report, see);
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        if let Some(tls) = &port.tls {
            client_tls(tls, at.to("portLevelSettings").to(index).to("tls"), report, see);
        }
    }
}

fn client_tls(tls: &ClientTlsSettings, at: At<'_>, report: &mut Report<'_>, see: &mut See<'_>) {
    let own = tls.mode == ClientTlsMode::Mutual;
    if own {
        pair(
            [tls.client_certificate.as_deref(), tls.private_key.as_deref()],
            [at.to("clientCertificate"), at.to("privateKey")],
            report,
            see,
        );
    }
    if own || tls.mode == ClientTlsMode::Simple {
        one(tls.ca_certificates.as_deref(), at.to("caCertificates"), report, see);
        one(tls.ca_crl.as_deref(), at.to("caCrl"), report, see);
    }
}

fn server_tls(tls: &ServerTlsSettings, at: At<'_>, report: &mut Report<'_>, see: &mut See<'_>) {
    if !matches!(tls.mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return;
    }
    let places = [at.to("serverCertificate"), at.to("privateKey")];
    pair([tls.server_certificate.as_deref(), tls.private_key.as_deref()], places, report, see);
    one(tls.ca_certificates.as_deref(), at.to("caCertificates"), report, see);
    one(tls.ca_crl.as_deref(), at.to("caCrl"), report, see);
    for (index, given) in tls.tls_certificates.iter().enumerate() {
        let at = at.to("tlsCertificates");
        let at = at.to(index);
        let places = [at.to("serverCertificate"), at.to("privateKey")];
        pair([given.server_certificate.as_deref(), given.private_key.as_deref()], places, report, see);
        one(given.ca_certificates.as_deref(), at.to("caCertificates"), report, see);
    }
}

fn one(path: Option<&str>, at: At<'_>, report: &mut Report<'_>, see: &mut See<'_>) {
    if let Some(path) = path {
        see(Named { path, certificate: None }, at, report);
    }
}

/// A certificate and its key.
fn pair(
    [certificate, key]: [Option<&str>; 2],
    [at_certificate, at_key]: [At<'_>; 2],
    report: &mut Report<'_>,
    see: &mut See<'_>,
) {
    one(certificate, at_certificate, report, see);
    if let Some(path) = key {
        see(Named { path, certificate }, at_key, report);
    }
}

pub(super) fn exists(path: Option<&str>, at: At<'_>, report: &mut Report<'_>) {
    let Some(path) = path.filter(|path| !Path::new(path).is_file()) else { return };
    let place = std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string());
    let relative = if Path::new(path).is_relative() { ", seen from the working directory" } else { "" };
    let what = match Path::new(path).exists() {
        true => format!("`{place}` is no file"),
        false => format!("there is no file `{place}`"),
    };
    let message = format!("{what}{relative}; `run` does not start without it");
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
            load_texts(vec![Text { name: "f".into(), content: text.as_str().into() }], &Node::default())
                .config;
        let mut out = Vec::new();
        check(&config, &mut out);
        let lines: Vec<u32> = out.iter().map(|d| d.span.unwrap().line).collect();
        assert_eq!(lines, [7, 8, 17], "{out:?}");
        let place = std::path::absolute("no/such.key").unwrap();
        assert!(out[0].message.contains(place.to_str().unwrap()) && !out[0].is_error(), "{out:?}");
        let folder = text.replace(own, env!("CARGO_MANIFEST_DIR"));
        let config =
            load_texts(vec![Text { name: "f".into(), content: folder.into() }], &Node::default()).config;
        out.clear();
        check(&config, &mut out);
        assert!(
            out.iter().any(|found| found.message.ends_with("is no file; `run` does not start without it")),
            "{out:?}"
        );
    }
}

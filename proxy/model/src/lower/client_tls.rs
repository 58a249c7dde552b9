//! What is spoken to a cluster: plain text, TLS, or mTLS of the mesh.
//!
//! In:  the `tls` block that holds, who the service is.   Out: [`Cluster::tls`] or [`Cluster::auto_mtls`].
//! Invariants: with a block that asks for TLS nothing is ever sent in plain text: where TLS cannot be had there is no endpoint.
//! Without a block mTLS is spoken to those endpoints whose proxy takes it, and whose PeerAuthentication does not turn it off.
//! Not here: which block holds (`destination_rules`), handshakes.
//! Source: R14; Istio's `cluster_tls.go`.

use super::{
    Mesh,
    protocol::{Class, Protocol},
    registry::{Port, Service, Source},
    secrets::Secrets,
};
use crate::{
    ir::{
        CertificateFiles, Certificates, ClientTls, Cluster, Discovery, Endpoint, MtlsMode, TlsVersion, Trust,
        Workload,
    },
    istio::{ClientTlsMode, ClientTlsSettings},
};
use std::collections::BTreeSet;

/// Whom a cluster stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom<'w, 'a> {
    pub host: &'w str,
    pub port: u16,
    pub protocol: Protocol,
    /// Its service and port; `None`: a name to resolve.
    pub service: Option<(&'w Service<'a>, &'w Port<'a>)>,
}

/// Puts TLS on a cluster.
pub(super) fn apply(
    cluster: &mut Cluster,
    settings: Option<&ClientTlsSettings>,
    whom: Whom<'_, '_>,
    mesh: &Mesh<'_>,
) {
    match settings.map(|settings| (settings.mode, settings)) {
        None => automatic(cluster, whom, mesh),
        Some((ClientTlsMode::Disable, _)) => {}
        Some((ClientTlsMode::IstioMutual, settings)) if mesh.has_identity() => {
            let names = match &settings.subject_alt_names[..] {
                [] => accounts(whom, mesh),
                names => names.to_vec(),
            };
            let sni =
                settings.sni.clone().unwrap_or_else(|| server_name(whom.host, whom.port, &cluster.subset));
            cluster.tls = Some(of_mesh(sni, names));
        }
        Some((ClientTlsMode::IstioMutual, _)) => cluster.discovery = Discovery::None,
        Some((ClientTlsMode::Simple | ClientTlsMode::Mutual, settings)) => {
            let entry_names = whom.service.map_or(&[][..], |(service, _)| service.subject_alt_names);
            match by_settings(settings, entry_names, mesh.secrets()) {
                Ok(tls) => cluster.tls = Some(tls),
                Err(_) => cluster.discovery = Discovery::None, // `check` tells
            }
        }
    }
}

/// mTLS to those endpoints that take it.
fn automatic(cluster: &mut Cluster, whom: Whom<'_, '_>, mesh: &Mesh<'_>) {
    let Some((service, _)) = whom.service.filter(|(service, _)| !service.is_outside()) else { return };
    // The application speaks TLS itself to what is not of Kubernetes.
    let own_tls = whom.protocol.class() == Class::Tls && matches!(service.source, Source::Entry(_));
    if !mesh.has_identity() || own_tls {
        return;
    }
    let refuses = |endpoint: &Endpoint| {
        let Workload { namespace, labels, .. } = &*endpoint.workload;
        let port = endpoint.address.port().unwrap_or(whom.port);
        mesh.peer_authentications.of(namespace, labels, port) == MtlsMode::Disable
    };
    let endpoints = match &mut cluster.discovery {
        Discovery::Static(endpoints) | Discovery::StrictDns(endpoints) => &mut endpoints[..],
        Discovery::LogicalDns(endpoint) => std::slice::from_mut(endpoint),
        Discovery::OriginalDestination | Discovery::DynamicForwardProxy | Discovery::None => return,
    };
    if !mesh.peer_authentications.is_empty() {
        endpoints.iter_mut().for_each(|endpoint| endpoint.mtls = endpoint.mtls && !refuses(endpoint));
    }
    if endpoints.iter().any(|endpoint| endpoint.mtls) {
        cluster.auto_mtls =
            Some(of_mesh(server_name(whom.host, whom.port, &cluster.subset), accounts(whom, mesh)));
    }
}

/// `outbound_.9080_.v1_.reviews.default.svc.cluster.local`: gateways route by it.
pub(super) fn server_name(host: &str, port: u16, subset: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// Who answers for a service, as far as the files tell; empty: anybody of the trust domain.
fn accounts(whom: Whom<'_, '_>, mesh: &Mesh<'_>) -> Vec<String> {
    let Some((service, port)) = whom.service else { return Vec::new() };
    let workloads = port.endpoints.iter().map(|endpoint| &endpoint.workload);
    let known: BTreeSet<_> = workloads
        .filter(|workload| !workload.service_account.is_empty())
        .map(|workload| (workload.namespace.as_str(), workload.service_account.as_str()))
        .collect();
    let of_domain = |domain: &str| {
        let id =
            |(namespace, account): &(&str, &str)| format!("spiffe://{domain}/ns/{namespace}/sa/{account}");
        known.iter().map(id).collect::<Vec<_>>()
    };
    let own = mesh.trust_domains().flat_map(of_domain);
    own.chain(service.subject_alt_names.iter().cloned()).collect()
}

fn of_mesh(sni: String, subject_alt_names: Vec<String>) -> ClientTls {
    ClientTls {
        sni: Some(sni.into()),
        ca: Trust::Workload,
        crl: None,
        subject_alt_names,
        certificate: Some(Certificates::Workload),
        insecure_skip_verify: false,
        min_version: TlsVersion::V1_2,
    }
}

/// TLS as the settings have it. `Err`: what a Secret lacks.
pub(crate) fn by_settings(
    settings: &ClientTlsSettings,
    entry_names: &[String],
    secrets: Secrets<'_>,
) -> Result<ClientTls, String> {
    let is_mutual = settings.mode == ClientTlsMode::Mutual;
    let own = settings.client_certificate.as_ref().zip(settings.private_key.as_ref());
    let names = if settings.subject_alt_names.is_empty() { entry_names } else { &settings.subject_alt_names };
    let insecure = settings.insecure_skip_verify.unwrap_or_default();
    let (certificate, ca) = match &settings.credential_name {
        Some(name) => {
            let certificate = is_mutual.then(|| secrets.certificates(&[name])).transpose()?;
            (certificate, if insecure { Trust::System } else { secrets.roots(name)? })
        }
        None => {
            let files = own.filter(|_| is_mutual).map(|(certificate, key)| CertificateFiles {
                certificate: certificate.into(),
                key: key.into(),
            });
            let ca = settings.ca_certificates.as_ref();
            let ca = ca.map_or(Trust::System, |path| Trust::File(path.into()));
            (files.map(|files| Certificates::Files(vec![files])), ca)
        }
    };
    Ok(ClientTls {
        sni: settings.sni.as_deref().map(Into::into),
        ca,
        crl: settings.ca_crl.as_ref().map(Into::into),
        subject_alt_names: names.to_vec(),
        certificate,
        insecure_skip_verify: insecure,
        min_version: TlsVersion::V1_2,
    })
}

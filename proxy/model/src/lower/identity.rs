//! Where the workload's identity comes from.
//!
//! In:  `identity` of the Proxy resource that holds for the node.   Out: [`Identity`], with every default filled in.
//! Defaults are those of Istio's agent, so that a mounted sidecar's files are found where it has them.

use crate::{
    ir::{CertificateAuthority, CertificateFiles, Identity, IdentitySource, Node},
    sidle::{self, Proxy},
};
use std::time::Duration;

/// Istio's.
const SDS_SOCKET: &str = "/var/run/secrets/workload-spiffe-uds/socket";
const CA_ADDRESS: &str = "istiod.istio-system.svc:15012";
const CA_ROOTS: &str = "/var/run/secrets/istio/root-cert.pem";
const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
const TTL: Duration = Duration::from_secs(24 * 3600);
const TRUST_DOMAIN: &str = "cluster.local";

/// `None`: it names no source, which `check` refuses.
pub(super) fn lower(proxy: &Proxy, node: &Node) -> Option<Identity> {
    let identity = proxy.identity.as_ref()?;
    let bundles = identity.trust_bundles.iter();
    let trust_bundles =
        bundles.map(|bundle| (bundle.trust_domain.clone(), bundle.root_certificates.clone().into()));
    let trust_bundles = trust_bundles.collect();
    // The certificate may be of the mesh's old name while the mesh has its new one already, or the other way round.
    let aliases = proxy.trust_domain.iter().chain(&proxy.trust_domain_aliases).cloned().collect();
    let domain = proxy.trust_domain.as_deref().unwrap_or(TRUST_DOMAIN);
    Some(Identity {
        source: source(identity, node, domain)?,
        domain: domain.to_owned(),
        aliases,
        trust_bundles,
    })
}

fn source(identity: &sidle::Identity, node: &Node, domain: &str) -> Option<IdentitySource> {
    let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
    Some(match identity {
        sidle::Identity { directory: Some(folder), .. } => IdentitySource::Folder(folder.into()),
        sidle::Identity {
            certificate_chain: Some(certificate),
            private_key: Some(key),
            root_certificates: Some(roots),
            ..
        } => IdentitySource::Files {
            pair: CertificateFiles { certificate: certificate.into(), key: key.into() },
            roots: roots.into(),
        },
        sidle::Identity { sds: Some(sds), .. } => IdentitySource::Sds {
            socket: or(&sds.socket, SDS_SOCKET).into(),
            certificate: or(&sds.certificate_name, "default"),
            roots: or(&sds.validation_context_name, "ROOTCA"),
        },
        sidle::Identity { workload_api: Some(api), .. } => IdentitySource::WorkloadApi {
            socket: api.socket.as_ref().map(Into::into),
            hint: api.hint.clone(),
        },
        sidle::Identity { certificate_authority: Some(authority), .. } => {
            let account = or(&authority.service_account, "default");
            IdentitySource::Authority(CertificateAuthority {
                address: or(&authority.address, CA_ADDRESS),
                server_name: authority.server_name.clone(),
                roots: or(&authority.root_certificates, CA_ROOTS).into(),
                token: or(&authority.token_file, TOKEN).into(),
                id: format!("spiffe://{domain}/ns/{}/sa/{account}", node.namespace),
                ttl: authority.secret_ttl.map_or(TTL, |ttl| ttl.0),
                cluster: or(&authority.cluster_id, "Kubernetes"),
            })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_istios() {
        let node = Node { namespace: "shop".into(), ..Node::default() };
        let authority = Some(sidle::CertificateAuthority::default());
        let identity = sidle::Identity { certificate_authority: authority, ..Default::default() };
        let Some(IdentitySource::Authority(authority)) = source(&identity, &node, "td") else { panic!() };
        assert_eq!(authority.id, "spiffe://td/ns/shop/sa/default");
        assert_eq!((authority.address.as_str(), authority.ttl), (CA_ADDRESS, TTL));
        let identity = sidle::Identity { sds: Some(sidle::Sds::default()), ..Default::default() };
        let sds = IdentitySource::Sds {
            socket: SDS_SOCKET.into(),
            certificate: "default".into(),
            roots: "ROOTCA".into(),
        };
        assert_eq!(source(&identity, &node, "td"), Some(sds));
        assert_eq!(source(&sidle::Identity::default(), &node, "td"), None);
    }
    #[test]
    fn every_name_of_the_mesh_is_an_alias() {
        let identity = Some(sidle::Identity { directory: Some("/etc/certs".into()), ..Default::default() });
        let proxy = Proxy {
            trust_domain: Some("new".into()),
            trust_domain_aliases: vec!["old".into()],
            identity,
            ..Proxy::default()
        };
        assert_eq!(lower(&proxy, &Node::default()).unwrap().aliases, ["new", "old"]);
        assert_eq!(lower(&Proxy::default(), &Node::default()), None);
    }
}

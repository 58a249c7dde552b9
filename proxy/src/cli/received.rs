//! How a client's connection is received: what PeerAuthentications make of who asks.
//!
//! In:  what the workload's ports take, a client.   Out: whether the connection is taken, and whether the client's name is known.
//! Invariants: `sidle explain` and `sidle authz simulate` ask this one function. A client with a principal is a proxy of the mesh: it
//! speaks mTLS where a port takes it. One without comes in the clear, or with TLS that shows no certificate.
//! Not here: what a port takes (`sidle_model::lower`), filter chains (`explain::place`).

use super::client::Client;
use crate::identity::read_folder;
use sidle_identity::{SpiffeId, Svid};
use sidle_model::ir::{Identity, IdentitySource, InboundMtls, MtlsMode};

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is closed, for this reason.
    Closed(String),
    /// By mTLS: the principal is known.
    Proven,
    /// Otherwise: the client is nobody.
    Unproven,
    /// The principal is taken as told, although the proxy has no identity to speak mTLS with.
    Assumed,
}

/// Said where [`Received::Assumed`].
pub const ASSUMED: &str =
    "this proxy has no `identity`, and would know nobody's principal; it is taken as told";
/// Said where a principal is told, and [`Received::Unproven`].
pub const UNPROVEN: &str =
    "the port takes no mTLS (DISABLE): the client comes in the clear, and his principal is not known";

/// How `client` is received at one of `ports`, whichever it is.
pub fn received(ports: &[InboundMtls], admitted: Option<&Admitted>, client: &Client) -> Received {
    let has_identity = admitted.is_some();
    let all = |mode| !ports.is_empty() && ports.iter().all(|port| port.mode == mode);
    match (client.has_principal(), ports.first()) {
        (true, _) if !has_identity => Received::Assumed,
        (true, _) if all(MtlsMode::Disable) => Received::Unproven,
        (true, _) => match admitted.and_then(|admitted| admitted.refusal(client)) {
            Some(why) => Received::Closed(why),
            None => Received::Proven,
        },
        (false, Some(port)) if has_identity && all(MtlsMode::Strict) => {
            let origin = &port.origin;
            Received::Closed(format!("mTLS is demanded (STRICT, {origin}), and the client has no principal"))
        }
        (false, _) => Received::Unproven,
    }
}

/// The trust domains whose workloads an identity believes.
#[derive(Debug)]
pub struct Admitted {
    /// `None`: who delivers the identity says so, and is not asked here.
    domains: Option<Vec<String>>,
}

impl Admitted {
    /// Those of `identity`. Its own is what its certificate says, if that can be read here, else the mesh's.
    pub fn by(identity: &Identity) -> Self {
        let own = match &identity.source {
            IdentitySource::Folder(folder) => read_folder(folder).ok().map(|svid| svid.id),
            IdentitySource::Files { pair, roots } => Svid::read(pair, roots).ok().map(|svid| svid.id),
            IdentitySource::Authority(authority) => SpiffeId::parse(&authority.id),
            IdentitySource::Sds { .. } | IdentitySource::WorkloadApi { .. } => {
                return Admitted { domains: None };
            }
        };
        let own = own.map_or_else(|| identity.domain.clone(), |id| id.trust_domain().to_owned());
        let federated = identity.trust_bundles.iter().map(|(domain, _)| domain.clone());
        Admitted { domains: Some(identity.aliases.iter().cloned().chain(federated).chain([own]).collect()) }
    }

    /// Why no handshake with `client` succeeds, if none does.
    pub fn refusal(&self, client: &Client) -> Option<String> {
        let (domains, domain) = (self.domains.as_ref()?, client.trust_domain()?);
        (!domains.iter().any(|known| known == domain)).then(|| {
            format!(
                "the handshake fails: nobody of trust domain `{domain}` is believed, which is not the mesh's, nor in `trustDomainAliases` \
                 or `trustBundles`"
            )
        })
    }
}

/// Those of `ports` that have this number; all of them, if none has.
pub fn at(ports: &[InboundMtls], number: Option<u16>) -> Vec<InboundMtls> {
    let own: Vec<_> = ports.iter().filter(|port| Some(port.port) == number).cloned().collect();
    if own.is_empty() { ports.to_vec() } else { own }
}

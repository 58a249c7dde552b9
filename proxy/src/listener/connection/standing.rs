//! Whether the configuration in force would still take a connection that stands, and a request that comes on it.

use super::Connection;
use crate::{
    codec::{Authority, RequestHead},
    config::Snapshot,
};
use sidle_model::ir::{Direction, IdentitySource, ServerTls, Transport, Trust};
use sidle_routing::{ConnectionView, host::split_host_port};
use std::sync::Arc;

/// Whose certificates a client has to show. `None`: plain text. `Some(None)`: TLS, and nobody's.
fn asked(tls: Option<&Arc<ServerTls>>) -> Option<Option<&Trust>> {
    tls.map(|tls| tls.client_ca.as_ref())
}

impl Connection {
    /// Whether a request on a gateway's TLS connection is for a host that another chain terminates TLS for, or none: its
    /// certificates, versions and client authentication are not those that were agreed on. RFC 9110 section 15.5.20; clients
    /// then open a connection of the host's own. Envoy routes such requests by the routes of the connection's chain.
    pub fn is_misdirected(&self, snapshot: &Snapshot, head: &RequestHead) -> bool {
        if self.tls.is_none() || self.direction != Direction::Gateway {
            return false;
        }
        let Some(plan) = snapshot.listeners.get(&self.listener) else { return false };
        if !plan.chains.chains().any(|chain| chain.name == self.chain) {
            return false; // gone, and serves its last plan
        }
        let authority = head.authority.as_ref().map(Authority::as_str);
        let chosen = plan.chains.select(&ConnectionView {
            destination: self.original_destination(),
            server_name: authority.map(|authority| split_host_port(authority).0),
            transport: Transport::Tls,
            application_protocols: &[],
        });
        chosen.is_none_or(|chosen| chosen.name != self.chain)
    }

    /// Whether a new connection of the same client would no longer be taken in this way: in plain text where mTLS has come to be
    /// demanded, or as one of a trust domain that is believed no more. Requests under way end as they would have.
    pub fn is_outdated(&self, snapshot: &Snapshot) -> bool {
        if self.direction == Direction::Outbound {
            return false;
        }
        let (generation, outdated) = self.outdated.get();
        if generation != snapshot.generation && !outdated {
            self.outdated.set((snapshot.generation, !self.would_be_taken(snapshot)));
        }
        self.outdated.get().1 || !self.is_believed(snapshot)
    }

    fn would_be_taken(&self, snapshot: &Snapshot) -> bool {
        let Some(plan) = snapshot.listeners.get(&self.listener) else { return true }; // it drains
        let chosen = plan.chains.select(&ConnectionView {
            destination: self.original_destination(),
            server_name: self.downstream.server_name.as_deref(),
            transport: if self.first.tls { Transport::Tls } else { Transport::RawBuffer },
            application_protocols: &self.first.offers,
        });
        match chosen {
            Some(chosen) => asked(chosen.tls.as_ref().map(|(tls, _)| tls)) == asked(self.tls.as_ref()),
            None => self.direction == Direction::Gateway, // a server that is gone serves its last plan
        }
    }

    /// Whether the mesh knows the trust domain of a client that proved to be of one.
    fn is_believed(&self, snapshot: &Snapshot) -> bool {
        let Some(Some(Trust::Workload)) = asked(self.tls.as_ref()) else { return true };
        let id = self.downstream.identity.as_ref().and_then(|peer| peer.spiffe_id.as_ref());
        let (Some(id), Some(own)) = (id, snapshot.workload.current()) else { return true };
        let domain = id.trust_domain();
        let named = snapshot.ir.settings.identity.as_ref().is_none_or(|identity| match identity.source {
            IdentitySource::Sds { .. } | IdentitySource::WorkloadApi { .. } => true, // they name others themselves
            _ => {
                own.id.trust_domain() == domain
                    || identity.aliases.iter().any(|alias| alias == domain)
                    || identity.trust_bundles.iter().any(|(known, _)| known == domain)
            }
        });
        named && own.bundles.contains_key(domain)
    }
}

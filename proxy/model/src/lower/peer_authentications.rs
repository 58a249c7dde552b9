//! What each port of each workload takes: mTLS, plain text, or both.
//!
//! In:  PeerAuthentications.   Out: a [`MtlsMode`] for a namespace, labels and a port.
//! Invariants: the policy that selects the workload goes before that of its namespace, that before that of the mesh, and of
//! several at one level the oldest holds; what is unset there is what the level above says, `PERMISSIVE` in the end. A
//! selector in the root namespace picks nothing.
//! Not here: filter chains (`inbound::mtls`).
//! Source: R11.

use super::registry::{Labels, selects};
use crate::{
    config::{Config, Resource, age_order},
    ir::{MtlsMode, Node, Origin},
    istio::{MutualTls, MutualTlsMode, PeerAuthentication},
};
use std::collections::HashMap;

/// All policies, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct PeerAuthentications<'a> {
    of_mesh: Option<&'a Resource<PeerAuthentication>>,
    of_namespace: HashMap<&'a str, &'a Resource<PeerAuthentication>>,
    selecting: HashMap<&'a str, Vec<&'a Resource<PeerAuthentication>>>,
}

impl<'a> PeerAuthentications<'a> {
    pub fn new(config: &'a Config, node: &Node) -> Self {
        let mut resources: Vec<_> = config.peer_authentications.iter().collect();
        resources.sort_by(|a, b| age_order(a, b));
        let mut policies = PeerAuthentications::default();
        for resource in resources {
            let namespace = resource.metadata.namespace.as_str();
            match (namespace == node.root_namespace, resource.spec.labels()) {
                (true, None) => _ = policies.of_mesh.get_or_insert(resource),
                (true, Some(_)) => {}
                (false, None) => _ = policies.of_namespace.entry(namespace).or_insert(resource),
                (false, Some(_)) => policies.selecting.entry(namespace).or_default().push(resource),
            }
        }
        policies
    }

    /// What a port of a workload takes. `port` is the one that the workload listens at.
    pub fn of(&self, namespace: &str, labels: &Labels, port: u16) -> MtlsMode {
        let of_port = self.selecting(namespace, labels).and_then(|policy| {
            let mut ports = policy.spec.port_level_mtls.iter();
            set(ports.find(|(key, _)| key.parse() == Ok(port))?.1)
        });
        let of_all = || set(self.of_all_ports(namespace, labels)?.spec.mtls.as_ref()?);
        of_port.or_else(of_all).unwrap_or(MtlsMode::Permissive)
    }

    /// Where it is written what [`Self::of`] says; built in, where the default holds.
    pub fn origin(&self, namespace: &str, labels: &Labels, port: u16) -> Origin {
        let own = self.selecting(namespace, labels);
        let of_port = own.and_then(|policy| {
            let mut ports = policy.spec.port_level_mtls.iter();
            let (key, settings) = ports.find(|(key, _)| key.parse() == Ok(port))?;
            set(settings)?;
            Some(policy.origin(&["portLevelMtls".into(), key.as_str().into()]))
        });
        let of_all = || Some(self.of_all_ports(namespace, labels)?.origin(&["mtls".into()]));
        of_port.or_else(of_all).unwrap_or_else(Origin::built_in)
    }

    /// The policy that decides for those ports of a workload that it says nothing special about; `None`: the default holds.
    pub fn of_all_ports(&self, namespace: &str, labels: &Labels) -> Option<&'a Resource<PeerAuthentication>> {
        let of_namespace = self.of_namespace.get(namespace).copied();
        let levels = [self.selecting(namespace, labels), of_namespace, self.of_mesh];
        levels
            .into_iter()
            .flatten()
            .find(|policy| policy.spec.mtls.as_ref().is_some_and(|m| set(m).is_some()))
    }

    /// The policy that selects a workload by its labels.
    pub fn selecting(&self, namespace: &str, labels: &Labels) -> Option<&'a Resource<PeerAuthentication>> {
        let picks = |policy: &&&'a Resource<PeerAuthentication>| {
            policy.spec.labels().is_some_and(|wanted| selects(wanted, labels))
        };
        self.selecting.get(namespace)?.iter().find(picks).copied()
    }

    /// Whether nobody says anything.
    pub fn is_empty(&self) -> bool {
        self.of_mesh.is_none() && self.of_namespace.is_empty() && self.selecting.is_empty()
    }
}

/// `None`: unset.
fn set(settings: &MutualTls) -> Option<MtlsMode> {
    match settings.mode {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable => Some(MtlsMode::Disable),
        MutualTlsMode::Permissive => Some(MtlsMode::Permissive),
        MutualTlsMode::Strict => Some(MtlsMode::Strict),
    }
}

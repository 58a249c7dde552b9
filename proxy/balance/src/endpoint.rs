//! Endpoints: one address that can be connected to, and what is known about it.
//!
//! In:  the IR's endpoints, resolved.   Out: what a pick returns.
//! Invariants: an [`Endpoint`] never changes; only its [`EndpointState`] does.
//! Not here: names that still have to be resolved.

use crate::EndpointState;
use sidle_model::ir;
use std::{fmt, net::SocketAddr, path::Path, sync::Arc};

/// An address that can be connected to.
///
/// Its text is Envoy's: `10.0.0.1:80`, `[::1]:80`, `/run/app.sock`. Consistent hashing hashes that text, so it decides which
/// keys an endpoint gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddr {
    /// TCP.
    Socket(SocketAddr),
    /// A Unix domain stream socket.
    Unix(Arc<Path>),
}

impl fmt::Display for EndpointAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddr::Socket(address) => address.fmt(f),
            EndpointAddr::Unix(path) => path.display().fmt(f),
        }
    }
}

impl From<SocketAddr> for EndpointAddr {
    fn from(address: SocketAddr) -> Self {
        EndpointAddr::Socket(address)
    }
}

/// What an endpoint is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where.
    pub address: EndpointAddr,
    /// The name that was resolved to the address; empty for an address that was given as such.
    pub hostname: Arc<str>,
    /// Relative; 0 counts as 1.
    pub weight: u32,
    /// Who answers there.
    pub workload: Arc<ir::Workload>,
    /// `region/zone/subzone`, or empty.
    pub locality: Arc<str>,
    /// 0 is the first; those after it are for when endpoints of the ones before are not well.
    pub priority: u32,
    /// Whether a proxy of the mesh takes mTLS there.
    pub mtls: bool,
}

impl EndpointSpec {
    /// The endpoint of the configuration at one of the addresses that it resolved to.
    pub fn resolved(endpoint: &ir::Endpoint, address: EndpointAddr) -> Self {
        let hostname = match &endpoint.address {
            ir::EndpointAddress::Name(name, _) => name.clone(),
            ir::EndpointAddress::Socket(_) | ir::EndpointAddress::Unix(_) => Arc::from(""),
        };
        EndpointSpec {
            address,
            hostname,
            weight: endpoint.weight,
            workload: endpoint.workload.clone(),
            locality: endpoint.locality.clone(),
            priority: endpoint.priority,
            mtls: endpoint.mtls,
        }
    }

    /// The endpoint of the configuration if nothing has to be resolved; `None` for a name.
    pub fn literal(endpoint: &ir::Endpoint) -> Option<Self> {
        let address = match &endpoint.address {
            ir::EndpointAddress::Socket(address) => EndpointAddr::Socket(*address),
            ir::EndpointAddress::Unix(path) => EndpointAddr::Unix(path.as_path().into()),
            ir::EndpointAddress::Name(..) => return None,
        };
        Some(Self::resolved(endpoint, address))
    }
}

/// One place to send to.
#[derive(Debug)]
pub struct Endpoint {
    /// Where.
    pub address: EndpointAddr,
    /// The name that was resolved to the address; empty for an address that was given as such.
    pub hostname: Arc<str>,
    /// Relative; at least 1.
    pub weight: u32,
    /// Who answers there.
    pub workload: Arc<ir::Workload>,
    /// `region/zone/subzone`, or empty.
    pub locality: Arc<str>,
    /// 0 is the first; those after it are for when endpoints of the ones before are not well.
    pub priority: u32,
    /// Whether a proxy of the mesh takes mTLS there.
    pub mtls: bool,
    /// What happens there now; outlives the endpoint when configuration changes around its address.
    pub state: Arc<EndpointState>,
}

impl Endpoint {
    pub(crate) fn new(spec: EndpointSpec, state: Arc<EndpointState>) -> Self {
        let EndpointSpec { address, hostname, weight, workload, locality, priority, mtls } = spec;
        Endpoint { address, hostname, weight: weight.max(1), workload, locality, priority, mtls, state }
    }

    /// Whether it is what `spec` would make.
    pub(crate) fn is(&self, spec: &EndpointSpec) -> bool {
        self.address == spec.address
            && self.hostname == spec.hostname
            && self.weight == spec.weight.max(1)
            && self.workload == spec.workload
            && self.locality == spec.locality
            && self.priority == spec.priority
            && self.mtls == spec.mtls
    }

    /// Whether both stand for one address of one cluster, even if the configuration around it changed in between.
    pub fn is_same_place(&self, other: &Endpoint) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> ir::Endpoint {
        ir::Endpoint {
            address: ir::EndpointAddress::new(text, 80),
            weight: 3,
            workload: Default::default(),
            locality: "r/z".into(),
            priority: 0,
            mtls: false,
        }
    }

    #[test]
    fn addresses_are_written_as_envoy_writes_them() {
        let text = |spec: &str| EndpointSpec::literal(&named(spec)).map(|s| s.address.to_string());
        assert_eq!(text("10.0.0.1").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(text("::1").as_deref(), Some("[::1]:80"));
        assert_eq!(text("unix:///run/app.sock").as_deref(), Some("/run/app.sock"));
        assert_eq!(text("example.com"), None);
    }

    #[test]
    fn a_resolved_name_is_remembered() {
        let address = EndpointAddr::from(SocketAddr::from(([10, 0, 0, 1], 80)));
        let spec = EndpointSpec::resolved(&named("example.com"), address);
        assert_eq!((&*spec.hostname, spec.weight, &*spec.locality), ("example.com", 3, "r/z"));
    }
}

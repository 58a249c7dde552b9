//! What FaultPolicies add to clusters.

use super::{
    host_policies::HostPolicies,
    policies::{fault, percent},
    registry::selects,
};
use crate::{
    config::Config,
    ir::{Cluster, Node, TcpFaults, UpstreamFaults},
    istio::{self, HttpFaultInjection},
    sidle::{self, FaultPolicy},
};
use std::sync::Arc;

/// All of them that may hold.
#[derive(Debug)]
pub(super) struct FaultPolicies<'a>(HostPolicies<'a, FaultPolicy>);

impl<'a> FaultPolicies<'a> {
    pub fn new(config: &'a Config, node: &Node) -> Self {
        let own = config.fault_policies.iter().filter(|policy| selects(&policy.spec.selector, &node.labels));
        FaultPolicies(HostPolicies::new(own, node, |policy| &policy.host))
    }

    /// Adds what holds for a host to its cluster.
    pub fn apply(&self, cluster: &mut Cluster, host: &str, service_namespace: Option<&str>) {
        let Some(policy) = self.0.of(host, service_namespace) else { return };
        let faults = UpstreamFaults {
            http: policy.http.as_ref().and_then(fault),
            tcp: policy.tcp.as_ref().map(tcp).unwrap_or_default(),
        };
        cluster.faults = (faults != UpstreamFaults::default()).then(|| Arc::new(faults));
    }
}

fn tcp(faults: &sidle::TcpFaults) -> TcpFaults {
    // A wait is the same thing before bytes as before a request.
    let injection = HttpFaultInjection { delay: faults.delay.clone(), abort: None };
    let share = |share: &Option<istio::Percent>| share.as_ref().map(percent);
    TcpFaults {
        delay: fault(&injection).and_then(|fault| fault.delay),
        reset: faults.reset.as_ref().and_then(|reset| share(&reset.percentage)),
        cut: faults.cut.as_ref().and_then(|cut| Some((cut.after_bytes, share(&cut.percentage)?))),
    }
}

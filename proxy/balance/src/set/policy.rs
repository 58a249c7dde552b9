//! What a set of endpoints is made by.

use crate::{ActiveCheck, Endpoint};
use sidle_model::ir;
use std::{collections::BTreeMap, sync::Arc};

/// Envoy's panic threshold, where nobody sets one.
const PANIC_THRESHOLD: u8 = 50;

/// What a set of endpoints is made by, and looked over again.
#[derive(Debug, Clone, PartialEq)]
pub struct SetPolicy {
    /// How one is chosen.
    pub load_balancer: ir::LoadBalancer,
    /// Shares of localities, where they do not follow from their endpoints; empty: they do.
    pub locality_weights: BTreeMap<Arc<str>, u32>,
    /// How new endpoints get their share by and by.
    pub slow_start: Option<ir::SlowStart>,
    /// Percent of the endpoints: when fewer seem to be well, it is not they, and all are used. `None`: nobody is ever kept out.
    pub panic_threshold: Option<u8>,
    /// Whether endpoints are used only after a health check.
    pub is_checked: bool,
}

impl SetPolicy {
    /// That of a cluster.
    pub fn of(cluster: &ir::Cluster) -> Self {
        let given = matches!(cluster.discovery, ir::Discovery::Static(_) | ir::Discovery::StrictDns(_));
        let passive = cluster.outlier_detection.as_ref().map(|detection| detection.min_health_percent);
        let active = cluster.health_check.as_ref().map(|_| PANIC_THRESHOLD);
        SetPolicy {
            load_balancer: cluster.load_balancer.clone(),
            locality_weights: cluster.locality_weights.clone(),
            slow_start: cluster.slow_start.clone(),
            panic_threshold: passive.or(active).filter(|_| given),
            is_checked: given && cluster.health_check.is_some(),
        }
    }
}

impl SetPolicy {
    /// Whether neither outlier detection nor health checks keep an endpoint out.
    pub(super) fn uses(&self, endpoint: &Endpoint) -> bool {
        let fails = || matches!(endpoint.state.active_check(), ActiveCheck::Pending | ActiveCheck::Failed);
        self.panic_threshold.is_none() || !(endpoint.state.is_ejected() || self.is_checked && fails())
    }
}

impl From<ir::LoadBalancer> for SetPolicy {
    /// With nothing else.
    fn from(load_balancer: ir::LoadBalancer) -> Self {
        SetPolicy {
            load_balancer,
            locality_weights: BTreeMap::new(),
            slow_start: None,
            panic_threshold: Some(0),
            is_checked: false,
        }
    }
}

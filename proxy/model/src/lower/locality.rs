//! Near and far: which endpoints come first, and which localities get how much (R16).
//!
//! In:  a `localityLbSetting`, a Service's `trafficDistribution`, where the node is.   Out: priorities of a cluster's endpoints, weights of
//! localities.
//! Invariants: priorities have no gaps; without a setting, and without anything that tells that an endpoint is not well, nothing changes.
//! Not here: what a priority does to the load (`sidle-balance`), which setting holds (`destination_rules`).

use super::registry::Labels;
use crate::{
    Map,
    ir::{Cluster, Discovery, Endpoint, Node},
    istio::{LocalityFailover, LocalityLoadBalancerSetting},
};
use std::{collections::BTreeMap, sync::Arc};

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";

/// Priorities that regions, zones and subzones can make.
const TIERS: u32 = 5;

/// `region/zone/subzone` of a workload by its labels, or empty.
pub(super) fn of_labels(labels: &Labels) -> Arc<str> {
    if let Some(locality) = labels.get("istio-locality") {
        // A label cannot hold slashes.
        return if locality.contains('/') {
            locality.as_str().into()
        } else {
            locality.replace('.', "/").into()
        };
    }
    let part = |key: &str| labels.get(key).map_or("", String::as_str);
    let parts = format!("{}/{}/{}", part(REGION), part(ZONE), part(SUBZONE));
    parts.trim_end_matches('/').into()
}

/// `region/zone/subzone`, each maybe empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Locality<'a> {
    region: &'a str,
    zone: &'a str,
    subzone: &'a str,
}

impl<'a> Locality<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        Locality { region: part(), zone: part(), subzone: part() }
    }

    /// Of an endpoint, seen from `here`. Kubernetes lists the zones of endpoints without their regions.
    fn of(endpoint: &'a Endpoint, here: &Locality<'a>) -> Self {
        let there = Locality::new(&endpoint.locality);
        let same_zone = there.region.is_empty() && !there.zone.is_empty() && there.zone == here.zone;
        Locality { region: if same_zone { here.region } else { there.region }, ..there }
    }

    /// Whether it is one that a rule names; `*` and parts that are left out stand for any.
    fn is_in(&self, rule: &str) -> bool {
        let rule = Locality::new(rule);
        let fits = |part: &str, wanted: &str, rest: bool| {
            wanted == "*" || part == wanted || rest && wanted.is_empty()
        };
        fits(self.region, rule.region, false)
            && fits(self.zone, rule.zone, true)
            && fits(self.subzone, rule.subzone, true)
    }

    /// 0: the same subzone, 1: the same zone, 2: the same region, 3: another.
    fn distance(&self, other: &Locality<'_>) -> u32 {
        match (self.region == other.region, self.zone == other.zone, self.subzone == other.subzone) {
            (false, ..) => 3,
            (true, false, _) => 2,
            (true, true, false) => 1,
            (true, true, true) => 0,
        }
    }
}

/// What a Service's `trafficDistribution` stands for: the labels that near endpoints share.
pub(super) fn of_traffic_distribution(value: Option<&str>) -> Option<Vec<String>> {
    let near = |keys: &[&str]| Some(keys.iter().map(|key| (*key).to_owned()).collect());
    match value? {
        "PreferClose" | "PreferSameZone" | "PreferSameNode" => near(&[REGION, ZONE, SUBZONE]),
        _ => None,
    }
}

/// Puts what holds on a cluster: its own setting, else what its Service prefers, else what a mesh does by default.
pub(super) fn apply(
    cluster: &mut Cluster,
    setting: Option<&LocalityLoadBalancerSetting>,
    preferred: Option<Vec<String>>,
    node: &Node,
) {
    let locality =
        if node.locality.is_empty() { of_labels(&node.labels) } else { node.locality.as_str().into() };
    let here = Locality::new(&locality);
    let notices = cluster.outlier_detection.is_some() || cluster.health_check.is_some();
    let (Discovery::Static(endpoints) | Discovery::StrictDns(endpoints)) = &mut cluster.discovery else {
        return;
    };
    match setting {
        Some(setting) if setting.enabled == Some(false) => return,
        Some(setting) if !setting.distribute.is_empty() => {
            if let Some(rule) = setting.distribute.iter().find(|rule| here.is_in(&rule.from)) {
                cluster.locality_weights = distribute(endpoints, &rule.to);
            }
            return;
        }
        Some(setting) if notices => {
            if !setting.failover_priority.is_empty() {
                by_labels(endpoints, &setting.failover_priority, node, &here);
            }
            if setting.failover_priority.is_empty() || !setting.failover.is_empty() {
                by_region(endpoints, &setting.failover, &here);
            }
        }
        None if preferred.is_some() => {
            by_labels(endpoints, &preferred.unwrap_or_default(), node, &here);
        }
        None if notices => by_region(endpoints, &[], &here),
        _ => return,
    }
    close_gaps(endpoints);
}

/// The same subzone first, then the same zone, the same region, the region that ours fails over to, all others.
fn by_region(endpoints: &mut [Endpoint], failover: &[LocalityFailover], here: &Locality<'_>) {
    if here.region.is_empty() && here.zone.is_empty() {
        return; // nobody knows what is near
    }
    let to = failover.iter().find(|rule| rule.from == here.region).map(|rule| rule.to.as_str());
    for endpoint in endpoints {
        let there = Locality::of(endpoint, here);
        let tier = match here.distance(&there) {
            3 if to.is_some_and(|to| to != there.region) => 4,
            distance => distance,
        };
        endpoint.priority = endpoint.priority * TIERS + tier;
    }
}

/// Those that share the first labels with the node first; `key=value` stands for a value that the node need not have.
fn by_labels(endpoints: &mut [Endpoint], keys: &[String], node: &Node, here: &Locality<'_>) {
    for endpoint in endpoints {
        let there = Locality::of(endpoint, here);
        let shares = |key: &&String| {
            let (key, wanted) = match key.split_once('=') {
                Some((key, value)) => (key, value),
                None => (key.as_str(), label(&node.labels, here, key)),
            };
            label(&endpoint.workload.labels, &there, key) == wanted
        };
        let shared = keys.iter().take_while(shares).count();
        endpoint.priority = (keys.len() - shared) as u32;
    }
}

/// The value of a label, or of what stands for a part of the locality; empty if there is none.
fn label<'a>(labels: &'a Labels, locality: &Locality<'a>, key: &str) -> &'a str {
    match (labels.get(key), key) {
        (Some(value), _) => value,
        (None, REGION) => locality.region,
        (None, ZONE) => locality.zone,
        (None, SUBZONE) => locality.subzone,
        (None, _) => "",
    }
}

/// Priorities in the same order, and each number in use.
fn close_gaps(endpoints: &mut [Endpoint]) {
    let mut numbers: Vec<_> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for endpoint in endpoints {
        endpoint.priority = numbers.partition_point(|number| *number < endpoint.priority) as u32;
    }
}

/// Weights of the localities that the rule lists, and no endpoints elsewhere. What is for many localities is split among them by the
/// weights of their endpoints.
fn distribute(endpoints: &mut Vec<Endpoint>, to: &Map<u32>) -> BTreeMap<Arc<str>, u32> {
    /// So that a split share is not rounded to nothing.
    const SCALE: u64 = 1000;
    // The closest rule counts for a locality that several describe.
    let mut rules: Vec<_> = to.iter().collect();
    let breadth = |rule: &str| {
        let rule = Locality::new(rule);
        [rule.region, rule.zone, rule.subzone].iter().filter(|part| matches!(**part, "" | "*")).count()
    };
    rules.sort_by_key(|(rule, _)| breadth(rule));
    let rule_of = |endpoint: &Endpoint| {
        let there = Locality::new(&endpoint.locality);
        rules.iter().position(|(rule, weight)| **weight > 0 && there.is_in(rule))
    };
    endpoints.retain(|endpoint| rule_of(endpoint).is_some());
    let mut totals = vec![0u64; rules.len()];
    let mut parts = BTreeMap::<Arc<str>, (usize, u64)>::new();
    for endpoint in endpoints {
        let Some(rule) = rule_of(endpoint) else { continue };
        totals[rule] += u64::from(endpoint.weight);
        parts.entry(endpoint.locality.clone()).or_insert((rule, 0)).1 += u64::from(endpoint.weight);
    }
    let weight = |(rule, part): (usize, u64)| {
        let share = u64::from(*rules[rule].1) * SCALE * part / totals[rule].max(1);
        u32::try_from(share.max(1)).unwrap_or(u32::MAX)
    };
    parts.into_iter().map(|(locality, part)| (locality, weight(part))).collect()
}

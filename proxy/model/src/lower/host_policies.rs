//! Sidle's own policies for a host: which one holds.
//!
//! Invariants: one holds for a host: of the client's namespace, else of the service's, else of the root namespace; there the most
//! specific host, and of equal ones the oldest.

use super::names::{self, HostIndex};
use crate::{
    config::{Resource, age_order},
    ir::Node,
};
use std::collections::HashMap;

/// All of a kind that may hold, by namespace and host.
#[derive(Debug)]
pub(super) struct HostPolicies<'a, T> {
    by_namespace: HashMap<&'a str, HostIndex<Option<&'a T>>>,
    stops: [String; 2],
}

impl<'a, T> HostPolicies<'a, T> {
    /// `host` tells the host of one.
    pub fn new(
        resources: impl Iterator<Item = &'a Resource<T>>,
        node: &Node,
        host: impl Fn(&T) -> &str,
    ) -> Self {
        let mut by_namespace = HashMap::<&str, HostIndex<Option<&T>>>::new();
        let mut resources: Vec<_> = resources.collect();
        resources.sort_by(|a, b| age_order(a, b));
        for resource in resources {
            let namespace = &*resource.metadata.namespace;
            let host = names::complete(host(&resource.spec), namespace, &node.domain);
            by_namespace.entry(namespace).or_default().entry(&host).get_or_insert(&*resource.spec);
        }
        HostPolicies { by_namespace, stops: [node.namespace.clone(), node.root_namespace.clone()] }
    }

    /// What holds for a host.
    pub fn of(&self, host: &str, service_namespace: Option<&str>) -> Option<&'a T> {
        let [client, root] = &self.stops;
        let mut stops = [Some(&**client), service_namespace, Some(root)].into_iter().flatten();
        stops.find_map(|stop| *self.by_namespace.get(stop)?.most_specific(host)?)
    }
}

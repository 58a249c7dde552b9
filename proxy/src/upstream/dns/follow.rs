//! One cluster's names, for as long as the cluster is in use.
//!
//! In:  a cluster.   Out: its endpoints, swapped when answers change.
//! Invariants: at most [`AT_ONCE`] names of a cluster are looked up at a time, so that one of many names leaves turns to others.
//! Not here: what is kept of names that cannot be looked up (`names`).

use super::{
    lookup::{Lookup, MAX_TTL},
    names::Names,
};
use crate::upstream::Cluster;
use futures_util::{StreamExt, stream};
use sidle_balance::{EndpointAddr, EndpointSpec};
use sidle_model::ir;
use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

const AT_ONCE: usize = 16;
/// How often to see whether the cluster is still in use, and whether its one address takes connections.
const GLANCE: Duration = Duration::from_secs(5);

/// Keeps the names of a cluster resolved for as long as the cluster is in use.
pub(super) async fn follow(lookup: Lookup, config: Arc<ir::Cluster>, cluster: Weak<Cluster>) {
    let mut following = Following::new(&config, &cluster);
    loop {
        let next = following.refresh(&lookup).await;
        match cluster.upgrade() {
            Some(cluster) => cluster.update_endpoints(following.specs()),
            None => return,
        }
        loop {
            tokio::time::sleep_until(next.min(Instant::now() + GLANCE).into()).await;
            let Some(cluster) = cluster.upgrade() else { return };
            if following.one_at_a_time && following.leave_what_fails(&cluster) {
                cluster.update_endpoints(following.specs());
            }
            if Instant::now() >= next {
                break;
            }
        }
    }
}

struct Following<'a> {
    endpoints: &'a [ir::Endpoint],
    /// Whether one address of the name is used at a time (`DNS_ROUND_ROBIN`).
    one_at_a_time: bool,
    names: Names,
    /// Connections made and failed at the one address, at the last glance.
    seen: (u64, u64),
}

impl<'a> Following<'a> {
    fn new(config: &'a ir::Cluster, cluster: &Weak<Cluster>) -> Self {
        let (endpoints, one_at_a_time) = match &config.discovery {
            ir::Discovery::StrictDns(endpoints) => (endpoints.as_slice(), false),
            ir::Discovery::LogicalDns(endpoint) => (std::slice::from_ref(endpoint), true),
            _ => (&[][..], false),
        };
        let mut names = Names::default();
        let in_use = cluster.upgrade().map(|cluster| cluster.endpoints.load_full());
        for endpoint in in_use.iter().flat_map(|set| set.endpoints()) {
            if let (EndpointAddr::Socket(address), false) = (&endpoint.address, endpoint.hostname.is_empty())
            {
                names.remember(&endpoint.hostname, address.ip());
            }
        }
        Following { endpoints, one_at_a_time, names, seen: (0, 0) }
    }

    /// Looks every name up once; gives when to do it again.
    async fn refresh(&mut self, lookup: &Lookup) -> Instant {
        let names: HashSet<Arc<str>> =
            self.endpoints.iter().filter_map(name_of).map(|(name, _)| name.clone()).collect();
        let answers: Vec<_> = stream::iter(names)
            .map(|name| {
                let lookup = lookup.clone();
                async move { (lookup.answer(&name).await, name) }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let now = Instant::now();
        let due = answers.into_iter().map(|(answer, name)| self.names.answered(&name, answer, now)).min();
        due.unwrap_or(now + MAX_TTL)
    }

    /// The endpoints as they are known now.
    fn specs(&mut self) -> Vec<EndpointSpec> {
        let mut specs = Vec::new();
        for endpoint in self.endpoints {
            let Some((name, port)) = name_of(endpoint) else {
                specs.extend(EndpointSpec::literal(endpoint));
                continue;
            };
            let addresses = match self.one_at_a_time {
                true => self.names.one(name).into_iter().collect(),
                false => self.names.all(name),
            };
            specs.extend(
                addresses.into_iter().map(|ip| {
                    EndpointSpec::resolved(endpoint, EndpointAddr::Socket(SocketAddr::new(ip, port)))
                }),
            );
        }
        specs
    }

    /// Goes on to the next address when, since the last glance, connections to the one in use failed and none was made.
    fn leave_what_fails(&mut self, cluster: &Cluster) -> bool {
        let set = cluster.endpoints.load();
        let [endpoint] = set.endpoints() else { return false };
        let counts = endpoint.state.counts();
        let (made, failed) = std::mem::replace(&mut self.seen, (counts.connections, counts.connect_failures));
        let gets_through = counts.connections > made || counts.connect_failures <= failed;
        if gets_through || !self.names.next(&endpoint.hostname) {
            return false;
        }
        tracing::warn!(name = %endpoint.hostname, address = %endpoint.address, "no connection is made: the name's next address is used");
        self.seen = (0, 0);
        true
    }
}

fn name_of(endpoint: &ir::Endpoint) -> Option<(&Arc<str>, u16)> {
    match &endpoint.address {
        ir::EndpointAddress::Name(name, port) => Some((name, *port)),
        _ => None,
    }
}

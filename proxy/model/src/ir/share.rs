//! What two configurations have in common, held once.
//!
//! Invariants: sharing changes which objects an [`Ir`] is made of, never what it says: not even where it was written, which
//! equality does not look at. What is shared is one object, so that whoever compiled it before can tell at a glance.

use super::{Cluster, Ir, Route, RouteConfiguration, VirtualHost};
use crate::pause;
use std::{collections::HashMap, sync::Arc};

impl Ir {
    /// Takes clusters, virtual hosts and routes over from `running` where they are the same.
    pub fn share(&mut self, running: &Ir) {
        let known: HashMap<&str, &Arc<Cluster>> =
            pause::each(&running.clusters).map(|cluster| (&*cluster.name, cluster)).collect();
        for cluster in pause::each(&mut self.clusters) {
            if let Some(known) = known.get(&*cluster.name)
                && known.origin.is(&cluster.origin)
                && *known == cluster
            {
                *cluster = (*known).clone();
            }
        }
        let routes = pause::each(running.route_configurations.iter().flat_map(|table| &table.virtual_hosts))
            .map(|host| host.routes.len());
        let mut replaced = Replaced(HashMap::with_capacity(routes.sum()));
        for table in &mut self.route_configurations {
            let known = running.route_configurations.iter().find(|known| known.name == table.name);
            if let Some(known) = known {
                replaced.table(table, known);
            }
        }
        pause::drop_each(replaced.0);
    }
}

/// Routes that were compared already: a route stands in several tables.
struct Replaced(HashMap<*const Route, (Arc<Route>, Arc<Route>)>);

impl Replaced {
    fn table(&mut self, table: &mut Arc<RouteConfiguration>, running: &Arc<RouteConfiguration>) {
        let known: HashMap<&str, &Arc<VirtualHost>> =
            pause::each(&running.virtual_hosts).map(|host| (&*host.name, host)).collect();
        let hosts: Vec<_> = pause::each(&table.virtual_hosts)
            .map(|host| match known.get(&*host.name) {
                Some(known) => self.host(host, known),
                None => host.clone(),
            })
            .collect();
        let same = hosts.len() == running.virtual_hosts.len()
            && hosts.iter().zip(&running.virtual_hosts).all(|(a, b)| Arc::ptr_eq(a, b));
        let new = RouteConfiguration { virtual_hosts: hosts, name: table.name.clone(), ..**table };
        *table = if same && new == **running { running.clone() } else { Arc::new(new) };
    }

    fn host(&mut self, host: &Arc<VirtualHost>, running: &Arc<VirtualHost>) -> Arc<VirtualHost> {
        // Rules are put in and taken out more often than moved: look from both ends.
        let (new, old) = (&host.routes, &running.routes);
        let mut routes = new.clone();
        let mut at = 0;
        while at < new.len().min(old.len()) && self.replace(&mut routes[at], &old[at]) {
            at += 1;
        }
        let left = new.len().min(old.len()) - at;
        for back in 1..=left {
            self.replace(&mut routes[new.len() - back], &old[old.len() - back]);
        }
        let same = at == new.len() && at == old.len();
        if same
            && host.name == running.name
            && host.domains == running.domains
            && host.origin.is(&running.origin)
        {
            return running.clone();
        }
        let VirtualHost { name, domains, origin, .. } = &**host;
        Arc::new(VirtualHost { name: name.clone(), domains: domains.clone(), routes, origin: origin.clone() })
    }

    /// Takes `old` in the place of `route` if it is the same; says so.
    fn replace(&mut self, route: &mut Arc<Route>, old: &Arc<Route>) -> bool {
        pause::here();
        if let Some((_, known)) = self.0.get(&Arc::as_ptr(route)) {
            // Of what is one object now there may be several in what runs: this place keeps its own.
            let same = Arc::ptr_eq(known, old) || (known.origin.is(&old.origin) && *known == *old);
            *route = if same { old.clone() } else { known.clone() };
            return same;
        }
        let same = Arc::ptr_eq(route, old) || (route.origin.is(&old.origin) && *route == *old);
        if same {
            let new = std::mem::replace(route, old.clone());
            // The new one is kept, so that no other takes its address meanwhile.
            self.0.insert(Arc::as_ptr(&new), (new, old.clone()));
        }
        same
    }
}

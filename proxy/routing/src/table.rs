//! The route table: a request in, a route out.
//!
//! In:  [`ir::RouteConfiguration`] and the engine's own compiler of routes.   Out: [`CompiledRoute`].
//! Invariants: one virtual host is chosen, by the authority alone; of its routes the first that matches wins, and if none does
//! the answer is "no route", never another host's. The cost does not grow with the number of hosts, and hardly with the
//! number of routes of a host whose paths differ. One route object is compiled once, in however many hosts and tables it stands.
//! Not here: what a route does (`A` is the caller's).
//! Read: `host_map` -> `path_index` -> `matcher`.

use crate::{RequestView, host, host_map::HostMap, matcher::RouteMatcher, path_index::PathIndex};
use foldhash::fast::FixedState;
use sidle_model::{ir, pause};
use std::{collections::HashMap, ops::Index, sync::Arc};

/// Virtual hosts and their routes, compiled. `A` is what the engine compiled for each route.
#[derive(Debug)]
pub struct RouteTable<A> {
    ignore_port: bool,
    domains: HostMap<Domain>,
    hosts: Box<[Arc<Host<A>>]>,
}

/// A route with its compiled conditions.
#[derive(Debug)]
pub struct CompiledRoute<A> {
    /// What the engine compiled.
    pub action: A,
    /// What it was compiled from.
    pub route: Arc<ir::Route>,
    pub(crate) matcher: RouteMatcher,
}

/// Where a route stands in its table: for whoever keeps the table and wants to find the route again.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    host: u32,
    route: u32,
}

/// Which host, and which of its domains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Domain {
    pub(crate) host: u32,
    pub(crate) domain: u32,
}

/// A virtual host, compiled.
#[derive(Debug)]
pub(crate) struct Host<A> {
    pub(crate) virtual_host: Arc<ir::VirtualHost>,
    pub(crate) routes: Box<[Arc<CompiledRoute<A>>]>,
    index: Option<Box<PathIndex>>,
}

/// Large: whoever takes it apart may pause.
impl<A> Drop for Host<A> {
    fn drop(&mut self) {
        pause::drop_each(std::mem::take(&mut self.routes));
    }
}

/// What was compiled so far: the tables that are made with it share their hosts and routes.
#[derive(Debug)]
pub struct Compiled<A> {
    // By address: what stands here keeps its key's object.
    hosts: HashMap<*const ir::VirtualHost, Arc<Host<A>>, FixedState>,
    routes: HashMap<*const ir::Route, Arc<CompiledRoute<A>>, FixedState>,
}

impl<A> Default for Compiled<A> {
    fn default() -> Self {
        Compiled { hosts: HashMap::default(), routes: HashMap::default() }
    }
}

/// Large: whoever takes it apart may pause.
impl<A> Drop for Compiled<A> {
    fn drop(&mut self) {
        pause::drop_each(self.hosts.drain());
        pause::drop_each(self.routes.drain());
    }
}

impl<A> Compiled<A> {
    /// Takes in the hosts and routes of `table`, of which the caller's part still holds.
    pub fn keep(&mut self, table: &RouteTable<A>, holds: impl Fn(&A) -> bool) {
        self.hosts.reserve(table.hosts.len());
        for host in pause::each(&table.hosts) {
            let mut all = true;
            for route in pause::each(&host.routes) {
                if holds(&route.action) {
                    self.routes.insert(Arc::as_ptr(&route.route), route.clone());
                } else {
                    all = false;
                }
            }
            if all {
                self.hosts.insert(Arc::as_ptr(&host.virtual_host), host.clone());
            }
        }
    }

    fn host<E>(
        &mut self,
        virtual_host: &Arc<ir::VirtualHost>,
        compile: &mut impl FnMut(&Arc<ir::Route>) -> Result<A, E>,
    ) -> Result<Arc<Host<A>>, E> {
        if let Some(known) = self.hosts.get(&Arc::as_ptr(virtual_host)) {
            return Ok(known.clone());
        }
        let mut routes = Vec::with_capacity(virtual_host.routes.len());
        for route in pause::each(&virtual_host.routes) {
            routes.push(self.route(route, compile)?);
        }
        let index = PathIndex::new(virtual_host.routes.iter().map(|route| &route.matches)).map(Box::new);
        Ok(Arc::new(Host { virtual_host: virtual_host.clone(), routes: routes.into(), index }))
    }

    fn route<E>(
        &mut self,
        route: &Arc<ir::Route>,
        compile: &mut impl FnMut(&Arc<ir::Route>) -> Result<A, E>,
    ) -> Result<Arc<CompiledRoute<A>>, E> {
        if let Some(known) = self.routes.get(&Arc::as_ptr(route)) {
            return Ok(known.clone());
        }
        let compiled = Arc::new(CompiledRoute {
            action: compile(route)?,
            route: route.clone(),
            matcher: RouteMatcher::new(&route.matches),
        });
        self.routes.insert(Arc::as_ptr(route), compiled.clone());
        Ok(compiled)
    }
}

/// Large: whoever takes it apart may pause.
impl<A> Drop for RouteTable<A> {
    fn drop(&mut self) {
        pause::drop_each(std::mem::take(&mut self.hosts));
    }
}

impl<A> RouteTable<A> {
    /// Compiles a table by itself; `compile` makes the caller's part of each route, in order.
    ///
    /// # Errors
    /// The first error of `compile`.
    pub fn build<E>(
        config: &ir::RouteConfiguration,
        compile: impl FnMut(&Arc<ir::Route>) -> Result<A, E>,
    ) -> Result<Self, E> {
        Self::build_with(&mut Compiled::default(), config, compile)
    }

    /// As [`Self::build`], with what was compiled before.
    ///
    /// # Errors
    /// The first error of `compile`.
    pub fn build_with<E>(
        compiled: &mut Compiled<A>,
        config: &ir::RouteConfiguration,
        mut compile: impl FnMut(&Arc<ir::Route>) -> Result<A, E>,
    ) -> Result<Self, E> {
        let patterns = pause::each(&config.virtual_hosts).map(|host| host.domains.len()).sum();
        let mut domains = HostMap::default();
        domains.reserve(patterns);
        let mut hosts = Vec::with_capacity(config.virtual_hosts.len());
        for (host, virtual_host) in (0..).zip(pause::each(&config.virtual_hosts)) {
            for (domain, pattern) in (0..).zip(&virtual_host.domains) {
                domains.entry(pattern, || Domain { host, domain });
            }
            hosts.push(compiled.host(virtual_host, &mut compile)?);
        }
        Ok(RouteTable { ignore_port: config.ignore_port_in_host, domains, hosts: hosts.into() })
    }

    /// The route of a request; `None`: no route (`NR`).
    pub fn select<'t>(&'t self, request: &impl RequestView) -> Option<&'t CompiledRoute<A>> {
        self.find(request).map(|place| &self[place])
    }

    /// Where the route of a request stands.
    pub fn find(&self, request: &impl RequestView) -> Option<Place> {
        let host = self.domains.find(&self.lookup_key(request))?.host;
        let route = self.hosts[host as usize].find(request)?;
        Some(Place { host, route })
    }

    /// Every route, host by host in the order of the configuration.
    pub fn routes(&self) -> impl Iterator<Item = &CompiledRoute<A>> {
        self.hosts.iter().flat_map(|host| &host.routes).map(|route| &**route)
    }

    /// Every virtual host, in the order of the configuration.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &Arc<ir::VirtualHost>> {
        self.hosts.iter().map(|host| &host.virtual_host)
    }

    /// The text that the request's host is looked up by.
    pub(crate) fn lookup_key<'r>(&self, request: &'r impl RequestView) -> std::borrow::Cow<'r, str> {
        host::normalise(request.authority(), self.ignore_port)
    }

    pub(crate) fn host(&self, domain: Domain) -> &Host<A> {
        &self.hosts[domain.host as usize]
    }

    /// The domains that cover a host, most specific first.
    pub(crate) fn covering(&self, host: &str) -> impl Iterator<Item = Domain> {
        self.domains.covering(host).copied()
    }
}

impl<A> Index<Place> for RouteTable<A> {
    type Output = CompiledRoute<A>;

    fn index(&self, place: Place) -> &CompiledRoute<A> {
        &self.hosts[place.host as usize].routes[place.route as usize]
    }
}

impl<A> Host<A> {
    /// The number of the first route that matches.
    fn find(&self, request: &impl RequestView) -> Option<u32> {
        let matches = |at: &u32| self.routes[*at as usize].matcher.mismatch(request).is_none();
        let all = || (0..self.routes.len() as u32).find(matches);
        let Some(index) = &self.index else { return all() };
        if request.is_connect() {
            return index.connect().iter().copied().find(matches);
        }
        match index.candidates(request.path()) {
            Some(mut candidates) => candidates.find(matches),
            None => all(),
        }
    }
}

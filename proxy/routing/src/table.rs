//! The route table: a request in, a route out.
//!
//! In:  [`ir::RouteConfiguration`] and the engine's own compiler of routes.   Out: [`CompiledRoute`].
//! Invariants: one virtual host is chosen, by the authority alone; of its routes the first that matches wins, and if none does
//! the answer is "no route", never another host's. The cost does not grow with the number of hosts, and hardly with the
//! number of routes of a host whose paths differ.
//! Not here: what a route does (`A` is the caller's).
//! Read: `host_map` -> `path_index` -> `matcher`.

use crate::{RequestView, host, host_map::HostMap, matcher::RouteMatcher, path_index::PathIndex};
use sidle_model::ir;
use std::sync::Arc;

/// Virtual hosts and their routes, compiled. `A` is what the engine compiled for each route.
#[derive(Debug)]
pub struct RouteTable<A> {
    ignore_port: bool,
    domains: HostMap<Domain>,
    hosts: Box<[Host<A>]>,
}

/// A route with its compiled conditions.
#[derive(Debug)]
pub struct CompiledRoute<A> {
    /// What the engine compiled.
    pub action: A,
    /// What it was compiled from.
    pub route: Arc<ir::Route>,
    /// The host that the route belongs to.
    pub virtual_host: Arc<ir::VirtualHost>,
    pub(crate) matcher: RouteMatcher,
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
    pub(crate) routes: Box<[CompiledRoute<A>]>,
    index: Option<PathIndex>,
}

impl<A> RouteTable<A> {
    /// Compiles a table; `compile` makes the caller's part of each route, in order.
    ///
    /// # Errors
    /// The first error of `compile`.
    pub fn build<E>(
        config: &ir::RouteConfiguration,
        mut compile: impl FnMut(&Arc<ir::VirtualHost>, &Arc<ir::Route>) -> Result<A, E>,
    ) -> Result<Self, E> {
        let mut domains = HostMap::default();
        let mut hosts = Vec::with_capacity(config.virtual_hosts.len());
        for (host, virtual_host) in (0..).zip(&config.virtual_hosts) {
            for (domain, pattern) in (0..).zip(&virtual_host.domains) {
                domains.entry(pattern, || Domain { host, domain });
            }
            hosts.push(Host::build(virtual_host, &mut compile)?);
        }
        Ok(RouteTable { ignore_port: config.ignore_port_in_host, domains, hosts: hosts.into() })
    }

    /// The route of a request; `None`: no route (`NR`).
    pub fn select<'t>(&'t self, request: &impl RequestView) -> Option<&'t CompiledRoute<A>> {
        let domain = self.domains.find(&self.lookup_key(request))?;
        self.host(*domain).select(request)
    }

    /// Every route, host by host in the order of the configuration.
    pub fn routes(&self) -> impl Iterator<Item = &CompiledRoute<A>> {
        self.hosts.iter().flat_map(|host| &host.routes)
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

impl<A> Host<A> {
    fn build<E>(
        virtual_host: &Arc<ir::VirtualHost>,
        compile: &mut impl FnMut(&Arc<ir::VirtualHost>, &Arc<ir::Route>) -> Result<A, E>,
    ) -> Result<Self, E> {
        let mut routes = Vec::with_capacity(virtual_host.routes.len());
        for route in &virtual_host.routes {
            routes.push(CompiledRoute {
                action: compile(virtual_host, route)?,
                route: route.clone(),
                virtual_host: virtual_host.clone(),
                matcher: RouteMatcher::new(&route.matches),
            });
        }
        let index = PathIndex::new(virtual_host.routes.iter().map(|route| &route.matches));
        Ok(Host { virtual_host: virtual_host.clone(), routes: routes.into(), index })
    }

    /// The first route that matches.
    pub(crate) fn select(&self, request: &impl RequestView) -> Option<&CompiledRoute<A>> {
        let matches = |route: &&CompiledRoute<A>| route.matcher.mismatch(request).is_none();
        let at = |at: u32| &self.routes[at as usize];
        let Some(index) = &self.index else {
            return self.routes.iter().find(matches);
        };
        if request.is_connect() {
            return index.connect().iter().copied().map(at).find(matches);
        }
        match index.candidates(request.path()) {
            Some(candidates) => candidates.map(at).find(matches),
            None => self.routes.iter().find(matches),
        }
    }
}

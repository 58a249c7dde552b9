//! Route tables: who gets which domain.
//!
//! In:  virtual hosts with the names that they would like.   Out: a [`RouteConfiguration`].
//! Invariants: no two virtual hosts share a domain or a name; a name of one's own beats a short name, the earlier the later; a
//! virtual host that is left without a domain is left out.
//! Not here: which names a service has (`domains`).
//! Source: R2.

use super::{
    domains::{self, Names},
    routes::RouteList,
};
use crate::{
    ir::{HostPattern, Origin, Route, RouteConfiguration, VirtualHost},
    pause,
};
use std::{collections::HashSet, sync::Arc};

/// A table in the making.
#[derive(Debug)]
pub(super) struct Table {
    name: Arc<str>,
    ignore_port: bool,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    own: Vec<HostPattern>,
    short: Vec<HostPattern>,
    host: VirtualHost,
}

/// Which forms of a name are domains.
#[derive(Debug, Clone, Copy)]
pub(super) enum Forms {
    /// `name`: the table ignores ports.
    Bare,
    /// `name:port`.
    WithPort(u16),
    /// `name:port` and `name`.
    Both(u16),
}

impl Table {
    /// Where the port of the request's authority does not matter, because it is known from the connection.
    pub fn of_port(name: impl Into<Arc<str>>) -> Self {
        Table { name: name.into(), ignore_port: true, entries: Vec::new() }
    }

    /// Where the port of the request's authority tells the service's port.
    pub fn of_all_ports(name: impl Into<Arc<str>>) -> Self {
        Table { name: name.into(), ignore_port: false, entries: Vec::new() }
    }

    /// Adds a virtual host.
    pub fn add(
        &mut self,
        name: String,
        names: &Names,
        forms: Forms,
        routes: Vec<Arc<Route>>,
        origin: Origin,
    ) {
        pause::here();
        let host = VirtualHost { name: name.into(), domains: Vec::new(), routes, origin };
        let (own, short) = (patterns(&names.own, forms), patterns(&names.short, forms));
        self.entries.push(Entry { own, short, host });
    }

    /// Adds the virtual host for every other name.
    pub fn add_fallback(&mut self, name: &str, routes: Vec<Arc<Route>>, origin: Origin) {
        let host = VirtualHost { name: name.into(), domains: Vec::new(), routes, origin };
        self.entries.push(Entry { own: vec![HostPattern::Any], short: Vec::new(), host });
    }

    /// Gives each domain to the first that asks for it. Of two virtual hosts of one name the first stays.
    pub fn finish(mut self) -> RouteConfiguration {
        let mut names = HashSet::with_capacity(self.entries.len());
        self.entries.retain(|entry| {
            pause::here();
            names.insert(entry.host.name.clone())
        });
        let patterns = self.entries.iter().map(|entry| entry.own.len() + entry.short.len()).sum();
        let mut taken = HashSet::with_capacity(patterns);
        for entry in &mut self.entries {
            pause::here();
            entry.host.domains.extend(entry.own.drain(..).filter(|domain| taken.insert(domain.clone())));
        }
        for entry in &mut self.entries {
            pause::here();
            entry.host.domains.extend(entry.short.drain(..).filter(|domain| taken.insert(domain.clone())));
        }
        pause::drop_each(taken);
        pause::drop_each(names);
        let at_most = self.entries.len();
        let hosts = self.entries.into_iter().map(|entry| entry.host).filter(|host| !host.domains.is_empty());
        // Not collected: that would keep the room of the entries, which is many times as large.
        let mut virtual_hosts = Vec::with_capacity(at_most);
        virtual_hosts.extend(pause::each(hosts).map(Arc::new));
        RouteConfiguration { name: self.name, virtual_hosts, ignore_port_in_host: self.ignore_port }
    }
}

fn patterns(names: &[String], forms: Forms) -> Vec<HostPattern> {
    let (bare, port) = match forms {
        Forms::Bare => (true, None),
        Forms::WithPort(port) => (false, Some(port)),
        Forms::Both(port) => (true, Some(port)),
    };
    let bare = names.iter().filter(|_| bare).filter_map(|name| HostPattern::new(name));
    let with_port = port.into_iter().flat_map(|port| {
        names.iter().filter_map(move |name| HostPattern::new(&domains::with_port(name, port)))
    });
    bare.chain(with_port).collect()
}

/// A list of routes with one more at its end.
pub(super) fn extended(routes: &RouteList, more: Option<Arc<Route>>) -> Vec<Arc<Route>> {
    routes.iter().cloned().chain(more).collect()
}

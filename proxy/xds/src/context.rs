//! What the encoders of one export share: the IR, looked up by name, and the form that is written.

use crate::authority;
use sidle_model::ir::{Cluster, Discovery, Ir, Listener, NetworkFilter, RouteConfiguration};
use std::{collections::HashMap, path::Path, sync::Arc};

/// Where the JSON goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A static bootstrap that Envoy runs: route tables stand inside their listeners.
    Bootstrap,
    /// `/config_dump`: as if a control plane had sent it, so route tables are referred to by name.
    Dump,
}

/// The IR, looked up by name, and the form that is written.
pub(crate) struct Context<'a> {
    pub(crate) ir: &'a Ir,
    pub(crate) form: Form,
    /// Whether a connection manager keeps the case of header names; then every cluster does too.
    pub(crate) preserve_header_case: bool,
    /// The bundle that stands for the system's trusted roots: Envoy only reads files.
    pub(crate) system_ca: &'a Path,
    clusters: HashMap<&'a str, &'a Cluster>,
    tables: HashMap<&'a str, &'a Arc<RouteConfiguration>>,
}

/// A route table as one connection manager uses it.
pub(crate) struct TableContext<'a> {
    pub(crate) context: &'a Context<'a>,
    /// Whether clusters of the original destination go to the request's authority here; see [`crate::authority`].
    pub(crate) by_authority: bool,
    /// The port that connections come in on, for redirects to it.
    pub(crate) port: Option<u16>,
}

impl<'a> Context<'a> {
    pub(crate) fn bootstrap(ir: &'a Ir, system_ca: Option<&'a Path>) -> Self {
        let context = Context::new(ir, Form::Bootstrap);
        Context { system_ca: system_ca.unwrap_or(context.system_ca), ..context }
    }

    pub(crate) fn dump(ir: &'a Ir) -> Self {
        Context::new(ir, Form::Dump)
    }

    fn new(ir: &'a Ir, form: Form) -> Self {
        Context {
            ir,
            form,
            preserve_header_case: ir.listeners.iter().any(|listener| keeps_case(listener)),
            system_ca: Path::new("/etc/ssl/certs/ca-certificates.crt"),
            clusters: ir.clusters.iter().map(|cluster| (&*cluster.name, &**cluster)).collect(),
            tables: ir.route_configurations.iter().map(|table| (&*table.name, table)).collect(),
        }
    }

    pub(crate) fn table(&self, name: &str) -> Option<&'a RouteConfiguration> {
        self.tables.get(name).map(|table| &***table)
    }

    /// Where the endpoints of the cluster `name` come from.
    pub(crate) fn discovery(&self, name: &str) -> Option<&'a Discovery> {
        self.clusters.get(name).map(|cluster| &cluster.discovery)
    }

    /// `table` as `/config_dump` shows it, with the port of the first listener that uses it.
    pub(crate) fn dumped_table(&self, table: &RouteConfiguration) -> TableContext<'_> {
        let uses = |listener: &Listener| {
            listener.all_chains().any(|chain| match &chain.filter {
                NetworkFilter::Http(manager) => manager.route_configuration == table.name,
                NetworkFilter::Tcp(_) => false,
            })
        };
        let port = self.ir.listeners.iter().find(|listener| uses(listener)).and_then(|l| l.address.port());
        TableContext { context: self, by_authority: false, port }
    }
}

impl TableContext<'_> {
    /// The name under which `cluster` is known to Envoy here.
    pub(crate) fn cluster_name(&self, cluster: &str) -> String {
        match self.context.discovery(cluster) {
            Some(Discovery::OriginalDestination) if self.by_authority => authority::twin_name(cluster),
            _ => cluster.to_owned(),
        }
    }

    /// Whether `cluster` resolves the request's authority here.
    pub(crate) fn resolves_authority(&self, cluster: &str) -> bool {
        match self.context.discovery(cluster) {
            Some(Discovery::DynamicForwardProxy) => true,
            Some(Discovery::OriginalDestination) => self.by_authority,
            _ => false,
        }
    }
}

fn keeps_case(listener: &Listener) -> bool {
    listener.all_chains().any(|chain| match &chain.filter {
        NetworkFilter::Http(manager) => manager.preserve_header_case,
        NetworkFilter::Tcp(_) => false,
    })
}

/// Views of a listener that more than one file here needs.
pub(crate) trait Chains {
    /// Every filter chain that Envoy has words for, the default one last.
    fn all_chains(&self) -> impl Iterator<Item = &sidle_model::ir::FilterChain>;
}

impl Chains for Listener {
    fn all_chains(&self) -> impl Iterator<Item = &sidle_model::ir::FilterChain> {
        let exported = self.filter_chains.iter().filter(|chain| !chain.matches.captured);
        exported.chain(&self.default_filter_chain)
    }
}

/// The port of an address that has one.
pub(crate) trait Port {
    fn port(&self) -> Option<u16>;
}

impl Port for sidle_model::ir::ListenAddress {
    fn port(&self) -> Option<u16> {
        match self {
            sidle_model::ir::ListenAddress::Socket(address) => Some(address.port()),
            sidle_model::ir::ListenAddress::Unix(_) => None,
        }
    }
}

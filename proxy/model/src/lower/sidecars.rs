//! Sidecar resources: which one holds for the node, and what it imports (R20).
//!
//! In:  Sidecars, the node.   Out: a [`Scope`].
//! Invariants: without a Sidecar everything that is exported is imported.
//! Not here: its listeners (`egress`, `inbound`).

use super::{names, registry::selects};
use crate::{
    config::{Config, Resource, age_order},
    ir::Node,
    istio::{CaptureMode, IstioEgressListener, Sidecar},
};

/// What the node sees of the mesh.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub sidecar: Option<&'a Resource<Sidecar>>,
    /// Of the listener for every port that no other takes.
    pub imports: Imports,
    /// Of each egress entry with a listener of its own, by place in `egress`.
    pub own_listeners: Vec<(usize, Imports)>,
}

/// Hosts that an egress entry imports.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// Namespace (`*`: every) and host pattern.
    hosts: Vec<(String, String)>,
    excluded: Vec<(String, String)>,
    everything: bool,
}

impl Imports {
    fn new(hosts: &[String], node: &Node) -> Self {
        let mut imports = Imports::default();
        imports.add(hosts, node);
        imports
    }

    fn add(&mut self, hosts: &[String], node: &Node) {
        for text in hosts {
            let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
            let host = host.to_ascii_lowercase();
            let full = |name: &str| match name {
                "." => node.namespace.clone(),
                "" => "*".to_owned(),
                name => name.to_owned(),
            };
            match kind_of(full, namespace, &host) {
                Kind::Nothing => {}
                Kind::Excluded(name) => self.excluded.push((name, host)),
                Kind::Included(name) => self.hosts.push((name, host)),
            }
        }
        self.everything =
            self.excluded.is_empty() && self.hosts.iter().any(|(ns, host)| ns == "*" && host == "*");
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether a service is imported: all names that it stands for.
    pub fn service(&self, namespace: &str, host: &str) -> bool {
        let hit =
            |(ns, pattern): &(String, String)| (ns == "*" || ns == namespace) && names::covers(pattern, host);
        self.everything || (self.hosts.iter().any(hit) && !self.excluded.iter().any(hit))
    }

    /// Whether a VirtualService is imported: any name that it stands for.
    pub fn rules(&self, namespace: &str, hosts: &[String]) -> bool {
        let in_namespace = |ns: &String| ns == "*" || ns == namespace;
        let hit = |(ns, pattern): &(String, String)| {
            in_namespace(ns) && hosts.iter().any(|host| names::intersection(pattern, host).is_some())
        };
        let excluded = |(ns, pattern): &(String, String)| {
            in_namespace(ns) && hosts.iter().all(|host| names::covers(pattern, host))
        };
        self.everything || (self.hosts.iter().any(hit) && !self.excluded.iter().any(excluded))
    }
}

enum Kind {
    Nothing,
    Included(String),
    Excluded(String),
}

/// `~/*` imports nothing, `~ns/host` and `~/host` exclude.
fn kind_of(complete: impl Fn(&str) -> String, namespace: &str, host: &str) -> Kind {
    match namespace.strip_prefix('~') {
        Some("") if host == "*" => Kind::Nothing,
        Some(excluded) => Kind::Excluded(complete(excluded)),
        None => Kind::Included(complete(namespace)),
    }
}

impl<'a> Scope<'a> {
    pub fn new(config: &'a Config, node: &Node) -> Self {
        let sidecar = choose(config, node);
        let mut imports = Imports::default();
        let mut own_listeners = Vec::new();
        match sidecar {
            Some(resource) if !resource.spec.egress.is_empty() => {
                for (at, egress) in resource.spec.egress.iter().enumerate() {
                    if has_own_listener(egress) {
                        own_listeners.push((at, Imports::new(&egress.hosts, node)));
                    } else {
                        imports.add(&egress.hosts, node);
                    }
                }
            }
            _ => imports.everything = true,
        }
        Scope { sidecar, imports, own_listeners }
    }

    /// Whether any listener imports a service.
    pub fn imports_service(&self, namespace: &str, host: &str) -> bool {
        let own = || self.own_listeners.iter().any(|(_, own)| own.service(namespace, host));
        self.imports.service(namespace, host) || own()
    }

    /// Whether any listener imports the rules for these hosts.
    pub fn imports_rules(&self, namespace: &str, hosts: &[String]) -> bool {
        self.imports.rules(namespace, hosts)
            || self.own_listeners.iter().any(|(_, own)| own.rules(namespace, hosts))
    }
}

/// Whether an egress entry opens a socket. One that only waits for captured traffic joins the listener for all ports.
fn has_own_listener(egress: &IstioEgressListener) -> bool {
    let bound = egress.bind.is_some() || egress.capture_mode == CaptureMode::None;
    bound && (egress.port.is_some() || egress.bind.as_deref().is_some_and(|bind| bind.starts_with("unix://")))
}

/// By workload selector, then of the namespace, then of the root namespace; the oldest of each.
fn choose<'a>(config: &'a Config, node: &Node) -> Option<&'a Resource<Sidecar>> {
    let mut resources: Vec<_> = config.sidecars.iter().collect();
    resources.sort_by(|a, b| age_order(a, b));
    let selecting = resources.iter().find(|resource| {
        let selector = resource.spec.workload_selector.as_ref();
        resource.metadata.namespace == node.namespace
            && selector.is_some_and(|s| !s.labels.is_empty() && selects(&s.labels, &node.labels))
    });
    let default_of = |namespace: &str| {
        resources.iter().find(|resource| {
            let selector = resource.spec.workload_selector.as_ref();
            resource.metadata.namespace == namespace && selector.is_none_or(|s| s.labels.is_empty())
        })
    };
    selecting.or_else(|| default_of(&node.namespace)).or_else(|| default_of(&node.root_namespace)).copied()
}

//! The names of services as domains of virtual hosts (R2).
//!
//! In:  a service, the node.   Out: names without a port; `with_port` puts one on.
//! Invariants: lower-case; the names that belong to the service alone apart from those that are short for several.
//! Not here: who gets a name that two want (`table`).

use super::{names, registry::Service};
use crate::ir::Node;
use std::net::IpAddr;

/// Names of one service, without ports.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Full name, with and without its trailing dot, and virtual addresses.
    pub own: Vec<String>,
    /// Those that depend on the client's namespace; a full name of another service beats them.
    pub short: Vec<String>,
}

impl Names {
    /// The names of a service.
    pub fn of_service(service: &Service<'_>, node: &Node) -> Self {
        let mut names = Names::of_host(&service.host, node);
        for network in &service.addresses {
            if network.prefix_len() == network.max_prefix_len() {
                names.own.push(match network.addr() {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                });
            }
        }
        if service.headless {
            // Its Pods have names below its own: `web-0.web.default.svc.cluster.local`.
            let below: Vec<_> =
                names.own[..1].iter().chain(&names.short).map(|name| format!("*.{name}")).collect();
            names.short.extend(below);
        }
        names
    }

    /// The names of a host.
    pub fn of_host(host: &str, node: &Node) -> Self {
        let mut own = vec![host.to_owned()];
        if !host.starts_with('*') && host.parse::<IpAddr>().is_err() {
            own.push(format!("{host}."));
        }
        Names { own, short: names::short_names(host, &node.namespace, &node.domain) }
    }
}

/// `name:port`.
pub(super) fn with_port(name: &str, port: u16) -> String {
    match name.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{name}]:{port}"),
        Err(_) => format!("{name}:{port}"),
    }
}

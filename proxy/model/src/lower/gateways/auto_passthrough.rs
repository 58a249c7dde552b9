//! Servers that route mTLS of the mesh, unopened, by what its server name says: `outbound_.PORT_.SUBSET_.HOST`.
//!
//! In:  the services that the node sees, a server.   Out: a filter chain and a cluster for each port and subset.
//! Invariants: only names of clusters that exist lead anywhere, and only for hosts that the server has; bytes pass as they are:
//! the clusters have no TLS of their own, whatever rules say.
//! Source: Istio's `buildGatewayListenerTLSContext` and `buildOutboundSniDnatClusters`.

use super::{
    super::{
        captured::{Chains, tcp_chain},
        client_tls,
        clusters::Target,
        destination_rules::Subset,
        names,
        protocol::Protocol,
        registry::{Port, Service},
        routes::Routes,
        tcp,
    },
    BoundServer,
};
use crate::ir::{ApplicationProtocol, FilterChainMatch, HostPattern, Transport};

/// Adds the chains of a server.
pub(super) fn add(routes: &mut Routes<'_>, chains: &mut Chains, server: &BoundServer<'_>) {
    let mesh = routes.mesh;
    let seen = mesh.registry.visible().filter(|service| {
        let mut hosts = server.hosts_for(service.namespace);
        mesh.scope.imports_service(service.namespace, &service.host)
            && hosts.any(|host| names::covers(host, &service.host))
    });
    for service in seen {
        let rule = mesh.destination_rules.find(&service.host, Some(service.namespace));
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            add_one(routes, chains, service, port, None);
            for subset in rule.map_or(&[][..], |rule| &rule.subsets) {
                add_one(routes, chains, service, port, Some(subset));
            }
        }
    }
}

fn add_one<'a>(
    routes: &mut Routes<'a>,
    chains: &mut Chains,
    service: &Service<'a>,
    port: &Port<'a>,
    subset: Option<&Subset<'a>>,
) {
    let subset = subset.map_or("", |subset| &subset.spec.name);
    let name = client_tls::server_name(&service.host, port.number, subset);
    let Some(pattern) = HostPattern::new(&name) else { return };
    let Some(cluster) = routes.clusters.unopened(service, port, subset, &name) else { return };
    let target = Target { cluster: cluster.clone(), policy: Default::default() };
    let proxy = tcp::to_cluster(target, cluster, service.source.origin(&[]));
    let matches = FilterChainMatch {
        server_names: vec![pattern],
        transport: Some(Transport::Tls),
        application_protocols: ApplicationProtocol::MESH.to_vec(),
        ..Default::default()
    };
    chains.push(tcp_chain(name, matches, proxy));
}

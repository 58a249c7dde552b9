//! What holds for every IR.

use super::*;
use crate::ir::HostPattern;
use std::collections::HashSet;

/// Every name that is used exists, domains are unique and lower-case, weights are usable, everything is in order.
pub(super) fn assert_sound(ir: &Ir) {
    let clusters: HashSet<_> = ir.clusters.iter().map(|cluster| &cluster.name).collect();
    assert_eq!(clusters.len(), ir.clusters.len(), "cluster names are unique");
    assert!(ir.clusters.is_sorted_by_key(|cluster| cluster.name.clone()));
    for name in [crate::ir::BLACK_HOLE_CLUSTER, crate::ir::PASSTHROUGH_CLUSTER] {
        cluster(ir, name);
    }
    let tables: HashSet<_> = ir.route_configurations.iter().map(|table| &table.name).collect();
    assert_eq!(tables.len(), ir.route_configurations.len(), "table names are unique: {:?}", table_names(ir));
    for table in &ir.route_configurations {
        let mut seen = HashSet::new();
        let mut names = HashSet::new();
        for host in &table.virtual_hosts {
            assert!(names.insert(&host.name), "virtual host {} twice in {}", host.name, table.name);
            assert!(!host.domains.is_empty());
            for domain in &host.domains {
                assert!(seen.insert(domain), "{domain} twice in {}", table.name);
                assert_eq!(domain.to_string(), domain.to_string().to_ascii_lowercase());
            }
            host.routes.iter().for_each(|route| assert_route(route, &clusters));
        }
    }
    let mut listeners = HashSet::new();
    for listener in &ir.listeners {
        assert!(listeners.insert(&listener.name), "listener {} twice", listener.name);
        let mut matches = Vec::new();
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            match &chain.filter {
                NetworkFilter::Http(http) => assert!(tables.contains(&http.route_configuration), "{http:?}"),
                NetworkFilter::Tcp(tcp) => {
                    assert!(!tcp.clusters.is_empty());
                    tcp.clusters.iter().for_each(|split| assert!(clusters.contains(&split.cluster), "{split:?}"));
                }
            }
        }
        for chain in &listener.filter_chains {
            assert!(!matches.contains(&&chain.matches), "{:?} twice in {}", chain.matches, listener.name);
            matches.push(&chain.matches);
        }
    }
}

fn assert_route(route: &Route, clusters: &HashSet<&std::sync::Arc<str>>) {
    let RouteAction::Forward(forward) = &route.action else { return };
    assert!(!forward.clusters.is_empty());
    assert!(forward.clusters.iter().all(|split| split.weight > 0));
    for split in &forward.clusters {
        assert!(clusters.contains(&split.cluster), "{}", split.cluster);
    }
    assert!(forward.mirrors.iter().all(|mirror| clusters.contains(&mirror.cluster)));
    if let Some(PathRewrite::Prefix(_)) = forward.path_rewrite {
        assert!(matches!(route.matches.path, PathMatch::Prefix(_)));
    }
    if let Some(retry) = &forward.retry {
        assert!(retry.attempts > 0);
    }
}

#[test]
fn nothing_at_all_gives_a_proxy_that_passes_everything() {
    let ir = lowered("").ir;
    assert_eq!(chains(&ir, "virtualOutbound"), ["default -> http http_proxy"]);
    assert!(chains(&ir, "virtualInbound").is_empty());
    assert_eq!(
        routes(&ir, "http_proxy", "*"),
        ["any -> PassthroughCluster", "CONNECT -> PassthroughCluster"]
    );
    assert_eq!(host(&ir, "http_proxy", "*").unwrap().domains, [HostPattern::Any]);
}

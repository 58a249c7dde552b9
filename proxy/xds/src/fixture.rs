//! Hand-built IRs for the tests of this crate.

use http::{HeaderName, HeaderValue, StatusCode};
use sidle_model::{Map, ir::*};
use std::{sync::Arc, time::Duration};

/// An IR with the two clusters that are always there.
pub(crate) fn empty() -> Ir {
    let clusters =
        [(BLACK_HOLE_CLUSTER, Discovery::None), (PASSTHROUGH_CLUSTER, Discovery::OriginalDestination)];
    Ir {
        node: Node::default(),
        settings: Settings::default(),
        listeners: Vec::new(),
        route_configurations: Vec::new(),
        clusters: clusters.into_iter().map(|(name, from)| Arc::new(cluster(name, from))).collect(),
        inbound_mtls: Vec::new(),
    }
}

/// A cluster with the defaults of lowering.
pub(crate) fn cluster(name: &str, discovery: Discovery) -> Cluster {
    Cluster {
        name: name.into(),
        discovery,
        load_balancer: LoadBalancer::LeastRequest,
        protocol: UpstreamProtocol::Http1,
        tls: None,
        auto_mtls: None,
        connect_timeout: Duration::from_secs(10),
        limits: ClusterLimits::default(),
        locality_weights: Default::default(),
        slow_start: None,
        health_check: None,
        outlier_detection: None,
        adaptive_concurrency: None,
        hedging: None,
        compares_mirrored: false,
        faults: None,
        tcp_keepalive: None,
        idle_timeout: Some(Duration::from_secs(3600)),
        tunnel_idle_timeout: Some(Duration::from_secs(3600)),
        max_connection_duration: None,
        service: ServiceIdentity::default(),
        subset: "".into(),
        origin: Origin::built_in(),
    }
}

pub(crate) fn endpoint(text: &str, port: u16, locality: &str) -> Endpoint {
    let workload = Workload {
        name: "reviews-v1".into(),
        namespace: "default".into(),
        labels: Map::from([("app".into(), "reviews".into()), ("version".into(), "v1".into())]),
        service_account: String::new(),
    };
    Endpoint {
        address: EndpointAddress::new(text, port),
        weight: 2,
        workload: Arc::new(workload),
        locality: locality.into(),
        priority: 0,
        mtls: false,
    }
}

/// A route that answers 204 to every path.
pub(crate) fn route(action: RouteAction) -> Route {
    Route {
        name: "default".into(),
        matches: RouteMatch {
            path: PathMatch::Any,
            ignore_case: false,
            scheme: None,
            method: None,
            authority: None,
            headers: Vec::new(),
            query: Vec::new(),
            claims: Vec::new(),
        },
        action,
        request_headers: Default::default(),
        response_headers: Default::default(),
        fault: None,
        cors: None,
        origin: Origin::built_in(),
    }
}

pub(crate) fn direct(status: u16, body: &[u8]) -> RouteAction {
    let status = StatusCode::from_u16(status).unwrap();
    RouteAction::Direct(DirectResponse { status, body: body.into() })
}

pub(crate) fn weighted(name: &str, weight: u32) -> WeightedCluster {
    WeightedCluster {
        cluster: name.into(),
        weight,
        request_headers: Default::default(),
        response_headers: Default::default(),
        authority: None,
    }
}

pub(crate) fn forward(clusters: Vec<WeightedCluster>) -> Forward {
    Forward {
        clusters,
        path_rewrite: None,
        authority_rewrite: None,
        timeout: None,
        retry: None,
        hash_policies: Vec::new(),
        mirrors: Vec::new(),
    }
}

pub(crate) fn http(table: &str) -> NetworkFilter {
    NetworkFilter::Http(HttpConnectionManager {
        route_configuration: table.into(),
        edge: false,
        server_name: Some(HeaderValue::from_static("envoy")),
        preserve_header_case: false,
        options: Default::default(),
        admission: Default::default(),
    })
}

pub(crate) fn tcp(clusters: Vec<WeightedCluster>) -> NetworkFilter {
    NetworkFilter::Tcp(TcpProxy {
        clusters,
        idle_timeout: Some(Duration::from_secs(3600)),
        authorization: None,
        route_name: "default".into(),
        origin: Origin::built_in(),
    })
}

pub(crate) fn chain(name: &str, matches: FilterChainMatch, filter: NetworkFilter) -> FilterChain {
    FilterChain { name: name.into(), matches, tls: None, filter }
}

pub(crate) fn listener(name: &str, port: u16, direction: Direction) -> Listener {
    Listener {
        name: name.into(),
        address: ListenAddress::Socket(([127, 0, 0, 1], port).into()),
        direction,
        detection_timeout: Duration::from_secs(5),
        filter_chains: Vec::new(),
        default_filter_chain: None,
        proxy_protocol: false,
        origin: Origin::built_in(),
    }
}

pub(crate) fn table(name: &str, routes: Vec<Route>) -> RouteConfiguration {
    let host = VirtualHost {
        name: "allow_any".into(),
        domains: vec![HostPattern::Any],
        routes: routes.into_iter().map(Arc::new).collect(),
        origin: Origin::built_in(),
    };
    RouteConfiguration { name: name.into(), virtual_hosts: vec![Arc::new(host)], ignore_port_in_host: false }
}

/// Operations of every kind.
pub(crate) fn operations(tag: &str) -> HeaderOperations {
    let value = |text: &str| HeaderFormat(Format::parse(text).unwrap());
    HeaderOperations {
        set: vec![(HeaderName::from_static("x-set"), value(&format!("{tag} %REQ(:PATH)% 100%%")))],
        add: vec![(HeaderName::from_static("x-add"), value(tag))],
        remove: vec![HeaderName::from_static("x-remove")],
    }
}

/// An outbound listener whose default chain serves `routes`, over `clusters`.
pub(crate) fn outbound(routes: Vec<Route>, clusters: Vec<Cluster>) -> Ir {
    let mut ir = empty();
    let mut listener = listener("virtualOutbound", 15001, Direction::Outbound);
    listener.default_filter_chain = Some(chain("default", FilterChainMatch::default(), http("http_proxy")));
    ir.listeners.push(Arc::new(listener));
    ir.route_configurations.push(Arc::new(table("http_proxy", routes)));
    ir.clusters.extend(clusters.into_iter().map(Arc::new));
    ir
}

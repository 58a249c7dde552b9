//! Where the keys of issuers are fetched from, as clusters.
//!
//! Invariants: a place that Sidle would not ask has no cluster; places with the same scheme, host and port share one.
//! Not here: tokens (`authentication`). Where an issuer has to say first where its keys are, Envoy cannot ask.

use crate::{
    cluster,
    context::{Chains, Context},
};
use serde_json::Value;
use sidle_model::ir::{
    ClientTls, Cluster, ClusterLimits, Discovery, Endpoint, EndpointAddress, Ir, JwtKeys, KeyFetching,
    LoadBalancer, NetworkFilter, Origin, TlsVersion, UpstreamProtocol,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// To connect, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// The clusters that [`cluster_name`] names.
pub(crate) fn clusters(context: &Context<'_>) -> Vec<Value> {
    let fetching = &context.ir.settings.key_fetching;
    let places: BTreeMap<_, _> = uris(context.ir)
        .filter_map(|uri| Place::of(uri, fetching))
        .map(|place| (place.name(), place))
        .collect();
    places.into_values().map(|place| cluster::cluster(context, &place.cluster(fetching))).collect()
}

/// The cluster of the place that `uri` is at; `None`: it is not to be asked.
pub(crate) fn cluster_name(context: &Context<'_>, uri: &str) -> Option<String> {
    Place::of(uri, &context.ir.settings.key_fetching).map(|place| place.name())
}

fn uris(ir: &Ir) -> impl Iterator<Item = &str> {
    let chains = ir.listeners.iter().flat_map(|listener| listener.all_chains());
    let providers = chains.flat_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => &http.admission.authentication[..],
        NetworkFilter::Tcp(_) => &[],
    });
    providers.filter_map(|provider| match &provider.keys {
        JwtKeys::Remote { uri, .. } => Some(&**uri),
        JwtKeys::Inline(_) | JwtKeys::Discovered { .. } => None,
    })
}

/// What is connected to.
#[derive(Debug, PartialEq)]
struct Place<'a> {
    host: &'a str,
    port: u16,
    secure: bool,
}

impl<'a> Place<'a> {
    fn of(uri: &'a str, fetching: &KeyFetching) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let secure = match () {
            () if scheme.eq_ignore_ascii_case("https") => true,
            () if scheme.eq_ignore_ascii_case("http") => false,
            () => return None,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None if secure => 443,
            None => 80,
        };
        let address = match host.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) => (host == "localhost").then_some(Ipv4Addr::LOCALHOST.into()),
        };
        let permitted = address.is_none_or(|address| fetching.permits(address));
        (!host.is_empty() && permitted).then_some(Place { host, port, secure })
    }

    fn name(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("jwks|{}|{scheme}|{}", self.port, self.host)
    }

    fn cluster(&self, fetching: &KeyFetching) -> Cluster {
        let endpoint = Endpoint {
            address: EndpointAddress::new(self.host, self.port),
            weight: 1,
            workload: Default::default(),
            locality: "".into(),
            priority: 0,
            mtls: false,
        };
        let by_name = matches!(endpoint.address, EndpointAddress::Name(..));
        let tls = ClientTls {
            sni: by_name.then(|| self.host.into()),
            ca: fetching.ca.clone(),
            crl: None,
            // An address is no server name.
            subject_alt_names: if by_name { Vec::new() } else { vec![self.host.into()] },
            certificate: None,
            insecure_skip_verify: false,
            min_version: TlsVersion::V1_2,
        };
        Cluster {
            name: self.name().into(),
            discovery: match by_name {
                true => Discovery::LogicalDns(endpoint),
                false => Discovery::Static(vec![endpoint]),
            },
            load_balancer: LoadBalancer::RoundRobin,
            protocol: UpstreamProtocol::Http1,
            tls: self.secure.then_some(tls),
            auto_mtls: None,
            connect_timeout: CONNECT,
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
            idle_timeout: None,
            tunnel_idle_timeout: None,
            max_connection_duration: None,
            service: Default::default(),
            subset: "".into(),
            origin: Origin::built_in(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_sidle_would_ask() {
        let fetching = KeyFetching::default();
        let of = |uri| Place::of(uri, &fetching).map(|place| place.name());
        for (uri, name) in [
            ("https://a.test/keys", Some("jwks|443|https|a.test")),
            ("http://a.test:8080?x", Some("jwks|8080|http|a.test")),
            ("HTTPS://a.test", Some("jwks|443|https|a.test")),
            ("https://[2606:4700::1]:8443/keys", Some("jwks|8443|https|2606:4700::1")),
            ("https://1.1.1.1/", Some("jwks|443|https|1.1.1.1")),
            ("https://10.0.0.1/", None),
            ("http://127.0.0.1:80/", None),
            ("http://[::1]/", None),
            ("http://localhost/", None),
            ("https://a.test:x/", None),
            ("ftp://a.test/", None),
            ("https:///keys", None),
        ] {
            assert_eq!(of(uri).as_deref(), name, "{uri}");
        }
        let private = KeyFetching { allow_private: true, ..fetching };
        assert!(Place::of("http://localhost/", &private).is_some());
    }
}

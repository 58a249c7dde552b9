//! Why a connection does not take a filter chain, in words.
//!
//! In:  a chain's match and a [`ConnectionView`].   Out: the first condition that does not hold.
//! Not here: which chain is chosen of those without one: the most specific, which [`super::FilterChainTable::select`] knows.

use super::ConnectionView;
use crate::{Difference, host::normalise};
use sidle_model::ir::{FilterChainMatch, Transport};
use std::fmt::Display;

/// The first condition of `matches` that does not hold for `connection`; `None`: all do.
pub fn difference(matches: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<Difference> {
    let destination = connection.destination;
    let differs = |field: &str, wanted: String, found: Option<String>| {
        Some(Difference { field: field.to_owned(), wanted, found })
    };
    let port = destination.map(|destination| destination.port());
    if let Some(wanted) = matches.destination_port.filter(|wanted| Some(*wanted) != port) {
        return differs("port", wanted.to_string(), port.map(|port| port.to_string()));
    }
    if matches.captured && destination.is_none() {
        return differs("destination", "a captured connection".to_owned(), None);
    }
    let ip = destination.map(|destination| destination.ip().to_canonical());
    let covers = |network: &ipnet::IpNet| ip.is_some_and(|ip| network.contains(&ip));
    if !matches.destinations.is_empty() && !matches.destinations.iter().any(covers) {
        let ip = ip.filter(|ip| !ip.is_unspecified());
        return differs("destination", list(&matches.destinations), ip.map(|ip| ip.to_string()));
    }
    if matches.transport.is_some_and(|wanted| wanted != connection.transport) {
        let word = |transport| match transport {
            Transport::Tls => "TLS".to_owned(),
            Transport::RawBuffer => "no TLS".to_owned(),
        };
        let wanted = matches.transport.map(word).unwrap_or_default();
        return differs("transport", wanted, Some(word(connection.transport)));
    }
    let name = normalise(connection.server_name.unwrap_or(""), false);
    let named = || matches.server_names.iter().any(|pattern| pattern.matches(&name));
    if !matches.server_names.is_empty() && !named() {
        return differs("sniHosts", list(&matches.server_names), connection.server_name.map(str::to_owned));
    }
    let offers = connection.application_protocols;
    let wanted = &matches.application_protocols;
    if !wanted.is_empty() && !offers.iter().any(|offer| wanted.contains(offer)) {
        let ids =
            |list: &[_]| list.iter().map(|one: &super::ApplicationProtocol| one.alpn()).collect::<Vec<_>>();
        let found = (!offers.is_empty()).then(|| ids(offers).join(", "));
        return differs("protocol", ids(wanted).join(", "), found);
    }
    None
}

fn list<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

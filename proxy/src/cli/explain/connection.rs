//! `sidle explain tcp://10.0.0.5:3306` and `tls://db.shop:443`: a connection of bytes, of which only its destination and the server
//! name are known.
//!
//! In:  a listener, the connection.   Out: its filter chains as rules.
//! Invariants: the winner is the chain that the proxy would take; those that would hold, too, are less specific.
//! Not here: requests (`request`).

use super::{
    report::{Difference, Rule, RuleVerdict},
    request::Request,
};
use sidle_model::ir::{Direction, FilterChain, ListenAddress, Listener, NetworkFilter};
use sidle_routing::{ConnectionView, filter_chain, host::split_host_port};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whether `url` is of a connection.
pub fn is_connection(url: &str) -> bool {
    ["tcp://", "tls://"].iter().any(|scheme| url.starts_with(scheme))
}

/// Where the kernel would say that it was going; `None`: the listener is one that clients connect to themselves.
pub fn destination(listener: &Listener, request: &Request, port: Option<u16>) -> Option<SocketAddr> {
    let ListenAddress::Socket(own) = listener.address else { return None };
    let (host, written) = split_host_port(&request.authority);
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    match (listener.direction, request.is_connection()) {
        (Direction::Gateway, _) => None,
        (Direction::Inbound, true) if &*listener.name == "virtualInbound" => {
            Some(SocketAddr::new(ip.unwrap_or(own.ip()), port.or(written)?))
        }
        (Direction::Outbound, true) if &*listener.name == "virtualOutbound" => {
            Some(SocketAddr::new(ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), written?))
        }
        _ => port.map(|port| SocketAddr::new(own.ip(), port)),
    }
}

/// The chains of the connection's port, and those of any: first those that do not hold, then the one that is `chosen`, then those
/// that it is more specific than.
pub fn rules(
    listener: &Listener,
    connection: &ConnectionView<'_>,
    chosen: Option<&FilterChain>,
) -> Vec<Rule> {
    let port = connection.destination.map(|destination| destination.port());
    let is_chosen = |chain: &FilterChain| chosen.is_some_and(|chosen| std::ptr::eq(chosen, chain));
    let last = listener.default_filter_chain.iter().filter(|chain| port.is_none() || is_chosen(chain));
    let chains = listener.filter_chains.iter().chain(last);
    let chains = chains
        .filter(|chain| chain.matches.destination_port.is_none() || chain.matches.destination_port == port);
    let mut rules: Vec<_> = chains.map(|chain| rule(chain, listener, connection, is_chosen(chain))).collect();
    rules.sort_by_key(|rule| match rule.verdict {
        RuleVerdict::Differs => 0,
        RuleVerdict::Wins => 1,
        RuleVerdict::NotReached | RuleVerdict::LessSpecific => 2,
    });
    rules
}

fn rule(chain: &FilterChain, listener: &Listener, connection: &ConnectionView<'_>, wins: bool) -> Rule {
    let (name, origin) = match &chain.filter {
        NetworkFilter::Tcp(proxy) => (&proxy.route_name, &proxy.origin),
        NetworkFilter::Http(_) => (&chain.name, &listener.origin),
    };
    let difference = filter_chain::difference(&chain.matches, connection).filter(|_| !wins);
    Rule {
        name: name.to_string(),
        origin: origin.to_string(),
        verdict: match (&difference, wins) {
            (_, true) => RuleVerdict::Wins,
            (Some(_), _) => RuleVerdict::Differs,
            (None, _) => RuleVerdict::LessSpecific,
        },
        difference: difference.map(|one| Difference {
            field: one.field,
            wanted: one.wanted,
            found: one.found,
        }),
    }
}

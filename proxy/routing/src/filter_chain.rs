//! Which filter chain a connection takes.
//!
//! In:  the chains of an [`ir::Listener`], then a [`ConnectionView`].   Out: the most specific chain's `F`.
//! Invariants: Envoy's order: destination port, destination address (longest prefix), server name (exact, then longest
//! suffix), transport, application protocol. Each step takes the most specific group that the connection belongs to and
//! never comes back: a chain in a less specific group does not stand in for one that fails a later step. Only the default
//! chain does, and where there are chains for captured connections, not for those.
//! Not here: finding out what a connection is (`proxy/src/codec/detect`).

use crate::{host::normalise, host_map::HostMap};
use foldhash::fast::FixedState;
use ipnet::IpNet;
use sidle_model::ir::{self, ApplicationProtocol, HostPattern, Transport};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

/// What is known of a connection before a chain is chosen.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionView<'c> {
    /// Original destination; `None`: the kernel did not bring the connection here, it came by itself.
    pub destination: Option<SocketAddr>,
    /// SNI.
    pub server_name: Option<&'c str>,
    /// What the first bytes are.
    pub transport: Transport,
    /// ALPN offers in the client's order, or the one protocol that was detected; empty: not known.
    pub application_protocols: &'c [ApplicationProtocol],
}

/// What must be read of a connection before its chain can be chosen. A server that speaks first is only waited for where
/// this is [`Inspection::None`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inspection {
    /// Nothing.
    None,
    /// Whether it begins with a TLS ClientHello, and the server name.
    Transport,
    /// That, and what it speaks above.
    ApplicationProtocol,
}

/// The filter chains of a listener, compiled. `F` is what the engine compiled for each.
#[derive(Debug)]
pub struct FilterChainTable<F> {
    chains: Box<[F]>,
    ports: HashMap<u16, Addresses, FixedState>,
    any_port: Option<Addresses>,
    captured: Option<Addresses>,
    default: Option<F>,
}

/// By destination address.
#[derive(Debug, Default)]
struct Addresses {
    networks: HashMap<IpNet, HostMap<Transports>, FixedState>,
    /// Lengths of the networks' prefixes, longest first.
    lengths: Vec<u8>,
    any: Option<HostMap<Transports>>,
}

/// By transport.
#[derive(Debug, Default)]
struct Transports {
    tls: Option<Protocols>,
    raw: Option<Protocols>,
    any: Option<Protocols>,
}

/// By application protocol; positions of chains.
#[derive(Debug, Default)]
struct Protocols {
    /// In the order of their discriminants.
    offered: [Option<u32>; ApplicationProtocol::ALL.len()],
    any: Option<u32>,
}

impl<F> FilterChainTable<F> {
    /// Compiles; `compile` makes the caller's part of each chain, the default one last.
    ///
    /// # Errors
    /// The first error of `compile`.
    pub fn build<E>(
        listener: &ir::Listener,
        mut compile: impl FnMut(&ir::FilterChain) -> Result<F, E>,
    ) -> Result<Self, E> {
        let mut table = FilterChainTable {
            chains: Box::default(),
            ports: HashMap::default(),
            any_port: None,
            captured: None,
            default: None,
        };
        let mut chains = Vec::with_capacity(listener.filter_chains.len());
        for (at, chain) in (0..).zip(&listener.filter_chains) {
            chains.push(compile(chain)?);
            table.insert(&chain.matches, at);
        }
        table.chains = chains.into();
        table.default = listener.default_filter_chain.as_ref().map(compile).transpose()?;
        Ok(table)
    }

    /// The chain of a connection; `None`: close it.
    pub fn select(&self, connection: &ConnectionView<'_>) -> Option<&F> {
        match self.position(connection) {
            Some(at) => self.chains.get(at as usize),
            None if self.is_captured(connection.destination) => None,
            None => self.default.as_ref(),
        }
    }

    /// Whether the default chain is for others: those who knew where they connected to.
    fn is_captured(&self, destination: Option<SocketAddr>) -> bool {
        destination.is_some() && self.captured.is_some()
    }

    /// What must be read of a connection to `destination` before [`Self::select`].
    pub fn inspection(&self, destination: Option<SocketAddr>) -> Inspection {
        self.names(destination).map_or(Inspection::None, |names| {
            let deepest = names.values().map(Transports::inspection).max().unwrap_or(Inspection::None);
            if names.is_indifferent() { deepest } else { deepest.max(Inspection::Transport) }
        })
    }

    /// Every compiled chain, the default one last.
    pub fn chains(&self) -> impl Iterator<Item = &F> {
        self.chains.iter().chain(&self.default)
    }

    fn position(&self, connection: &ConnectionView<'_>) -> Option<u32> {
        let name = normalise(connection.server_name.unwrap_or(""), false);
        let names = self.names(connection.destination)?;
        let protocols = names.find(&name)?.protocols(connection.transport)?;
        protocols.position(connection.application_protocols)
    }

    fn names(&self, destination: Option<SocketAddr>) -> Option<&HostMap<Transports>> {
        let by_port = destination.and_then(|destination| self.ports.get(&destination.port()));
        let ip = destination.map(|destination| destination.ip().to_canonical());
        if self.is_captured(destination) {
            return by_port.or(self.captured.as_ref())?.names(ip);
        }
        by_port.or(self.any_port.as_ref())?.names(ip)
    }

    /// A chain stands under each combination of its addresses, names and protocols.
    fn insert(&mut self, matches: &ir::FilterChainMatch, at: u32) {
        let addresses = match matches.destination_port {
            Some(port) => self.ports.entry(port).or_default(),
            None if matches.captured => self.captured.get_or_insert_default(),
            None => self.any_port.get_or_insert_default(),
        };
        if matches.destinations.is_empty() {
            insert_names(addresses.any.get_or_insert_default(), matches, at);
        }
        for network in &matches.destinations {
            insert_names(addresses.network(*network), matches, at);
        }
    }
}

fn insert_names(names: &mut HostMap<Transports>, matches: &ir::FilterChainMatch, at: u32) {
    let any = [HostPattern::Any];
    let patterns = if matches.server_names.is_empty() { &any[..] } else { &matches.server_names };
    for pattern in patterns {
        let transports = names.entry(pattern, Transports::default);
        let protocols = match matches.transport {
            Some(Transport::Tls) => &mut transports.tls,
            Some(Transport::RawBuffer) => &mut transports.raw,
            None => &mut transports.any,
        };
        let protocols = protocols.get_or_insert_default();
        if matches.application_protocols.is_empty() {
            protocols.any.get_or_insert(at);
        }
        for protocol in &matches.application_protocols {
            protocols.offered[*protocol as usize].get_or_insert(at);
        }
    }
}

impl Addresses {
    fn network(&mut self, network: IpNet) -> &mut HostMap<Transports> {
        let network = network.trunc();
        let length = network.prefix_len();
        if let Err(place) = self.lengths.binary_search_by(|known| length.cmp(known)) {
            self.lengths.insert(place, length);
        }
        self.networks.entry(network).or_default()
    }

    fn names(&self, ip: Option<IpAddr>) -> Option<&HostMap<Transports>> {
        let by_network = ip.and_then(|ip| {
            let network = |&length| Some(IpNet::new(ip, length).ok()?.trunc());
            self.lengths.iter().filter_map(network).find_map(|network| self.networks.get(&network))
        });
        by_network.or(self.any.as_ref())
    }
}

impl Transports {
    fn protocols(&self, transport: Transport) -> Option<&Protocols> {
        let specific = match transport {
            Transport::Tls => &self.tls,
            Transport::RawBuffer => &self.raw,
        };
        specific.as_ref().or(self.any.as_ref())
    }

    fn inspection(&self) -> Inspection {
        let mut groups = [&self.tls, &self.raw, &self.any].into_iter().flatten();
        if groups.any(|protocols| protocols.offered.iter().any(Option::is_some)) {
            Inspection::ApplicationProtocol
        } else if self.tls.is_some() || self.raw.is_some() {
            Inspection::Transport
        } else {
            Inspection::None
        }
    }
}

impl Protocols {
    fn position(&self, offers: &[ApplicationProtocol]) -> Option<u32> {
        offers.iter().find_map(|offer| self.offered[*offer as usize]).or(self.any)
    }
}

mod explain;
pub use explain::difference;

#[cfg(test)]
#[path = "filter_chain/tests.rs"]
mod tests;

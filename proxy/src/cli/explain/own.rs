//! Whether what is forwarded would arrive at the proxy itself: at its admin server, or at a listener once more.
//!
//! In:  the outcome, which destination an address was meant for.   Out: a refusal in its place, or a note.
//! Invariants: the answer is that of the code that the proxy asks. Names are not looked up: where one could be this machine, that is said.
//! Not here: where admin is by `--admin`, which files do not know.

use super::{
    connection,
    outcome::{Destination, Outcome},
    request::Request,
};
use crate::{cli::client::Client, error::ProxyError, exchange::Own};
use sidle_model::ir::{Direction, Discovery, Endpoint, EndpointAddress, Ir, Listener};
use sidle_routing::host::split_host_port;
use sidle_telemetry::ResponseFlags;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A request that came in somewhere.
pub struct Asked<'a> {
    pub ir: &'a Ir,
    pub listener: &'a Listener,
    pub request: &'a Request,
    pub client: &'a Client,
}

impl Asked<'_> {
    /// Refuses it in `outcome` if it goes nowhere else; notes what holds for a share, or if a name is this machine's.
    pub fn keep_from_own(&self, outcome: &mut Outcome, notes: &mut Vec<String>) {
        let (destinations, authority) = match &*outcome {
            Outcome::Forward(forwarded) => (&forwarded.destinations, &forwarded.authority),
            Outcome::Tcp { destinations } => (destinations, &self.request.authority),
            _ => return,
        };
        let rewritten = *authority != self.request.authority;
        let mut refused = Vec::new();
        for destination in destinations {
            let own = destination.authority.as_ref().filter(|_| !rewritten);
            match self.judged(destination, own.unwrap_or(authority)) {
                Judged::Elsewhere => {}
                Judged::Perhaps(error) => notes.push(format!(
                    "names are not looked up: if {} is this machine, {}",
                    split_host_port(own.unwrap_or(authority)).0,
                    told(&error)
                )),
                Judged::Here(error) => refused.push((destination, error)),
            }
        }
        if refused.len() < destinations.len() {
            let of_a_share = |(to, error): &(&Destination, ProxyError)| {
                format!("{:.0} % to {}: {}", to.percent, to.cluster, told(error))
            };
            notes.extend(refused.iter().map(of_a_share));
        } else if let Some((_, error)) = refused.first() {
            let (status, reason) = (error.status().as_u16(), told(error));
            *outcome = Outcome::Refused { status, reason };
        }
    }

    fn judged(&self, destination: &Destination, authority: &str) -> Judged {
        let cluster = self.ir.clusters.iter().find(|cluster| *cluster.name == *destination.cluster);
        let Some(cluster) = cluster else { return Judged::Elsewhere };
        match &cluster.discovery {
            Discovery::Static(endpoints) if self.listener.direction == Direction::Inbound => {
                self.endpoints(endpoints)
            }
            Discovery::OriginalDestination => {
                match connection::destination(self.listener, self.request, self.client.port) {
                    // Of others the port alone is known.
                    Some(meant) if self.request.is_connection() && self.request.has_address() => {
                        let refused = self.own().keep_from_meant(meant).err();
                        refused.map_or(Judged::Elsewhere, Judged::Here)
                    }
                    Some(_) => Judged::Elsewhere,
                    None => self.named(authority),
                }
            }
            Discovery::DynamicForwardProxy => self.named(authority),
            _ => Judged::Elsewhere,
        }
    }

    fn endpoints(&self, endpoints: &[Endpoint]) -> Judged {
        let sockets = endpoints.iter().map(|endpoint| match endpoint.address {
            EndpointAddress::Socket(address) => self.own().keep_from_endpoint(address).err(),
            EndpointAddress::Name(..) | EndpointAddress::Unix(_) => None,
        });
        let refused: Option<Vec<_>> = sockets.collect();
        refused.and_then(|all| all.into_iter().next()).map_or(Judged::Elsewhere, Judged::Here)
    }

    fn named(&self, authority: &str) -> Judged {
        let (host, port) = split_host_port(authority);
        let secure = self.request.is_tls() || self.request.method == "CONNECT";
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let judged = |ip: IpAddr| self.own().keep_from_named(SocketAddr::new(ip, port)).err();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => judged(ip).map_or(Judged::Elsewhere, Judged::Here),
            Err(_) => judged(Ipv4Addr::LOCALHOST.into()).map_or(Judged::Elsewhere, Judged::Perhaps),
        }
    }

    fn own(&self) -> Own<'_> {
        let admin = Some(self.ir.settings.admin);
        Own { ir: self.ir, admin, direction: self.listener.direction, here: None }
    }
}

/// What is known of where a destination is.
enum Judged {
    Elsewhere,
    /// If its name is one of this machine.
    Perhaps(ProxyError),
    Here(ProxyError),
}

/// `destination is this proxy's admin server (flag NR, destination_is_admin)`.
fn told(error: &ProxyError) -> String {
    match error.flags() {
        ResponseFlags::NONE => format!("{error} ({})", error.details()),
        flags => format!("{error} (flag {flags}, {})", error.details()),
    }
}

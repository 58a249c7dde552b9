//! From a cluster to an endpoint.

use super::Exchange;
use crate::{
    codec::{Authority, RequestHead, Scheme},
    config::Snapshot,
    error::ProxyError,
    listener::Connection,
    upstream::Cluster,
    worker::Held,
};
use sidle_balance::{Endpoint, EndpointAddr, PickContext};
use sidle_model::ir;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

/// What is known of where a client wants to go.
pub struct Wish<'a> {
    /// The request's authority.
    pub authority: Option<&'a str>,
    /// Where the authority names no port.
    pub default_port: u16,
    /// For consistent hashing.
    pub hash: Option<u64>,
    /// Endpoints that were tried, if those are to be avoided.
    pub tried: &'a [Arc<Endpoint>],
    /// Endpoints that were tried, if their priorities are to be left.
    pub leave: &'a [Arc<Endpoint>],
}

impl<'a> Wish<'a> {
    /// Of a request.
    pub fn of(head: &'a RequestHead, hash: Option<u64>, tried: &'a [Arc<Endpoint>]) -> Self {
        let port = if head.is_connect() { Scheme::Https.default_port() } else { head.scheme.default_port() };
        let authority = head.authority.as_ref().map(Authority::as_str);
        Wish { authority, default_port: port, hash, tried, leave: &[] }
    }
}

impl Exchange {
    pub(super) async fn pick(
        &self,
        cluster: &Cluster,
        wish: &Wish<'_>,
    ) -> Result<Held<Endpoint>, ProxyError> {
        pick(&self.connection, &self.record.snapshot, cluster, wish).await
    }
}

/// Chooses an endpoint of `cluster`.
///
/// # Errors
/// Why there is none.
pub async fn pick(
    connection: &Connection,
    snapshot: &Snapshot,
    cluster: &Cluster,
    wish: &Wish<'_>,
) -> Result<Held<Endpoint>, ProxyError> {
    match &cluster.config.discovery {
        ir::Discovery::Static(_) => balance(connection, snapshot, cluster, wish),
        ir::Discovery::StrictDns(_) | ir::Discovery::LogicalDns(_) => {
            if !cluster.is_resolved() {
                let limit = cluster.config.connect_timeout;
                tokio::time::timeout(limit, cluster.resolved()).await.map_err(|_| ProxyError::DnsFailure)?;
            }
            balance(connection, snapshot, cluster, wish)
        }
        ir::Discovery::OriginalDestination => {
            let address = match connection.original_destination() {
                Some(address) if leads_back(connection, snapshot, address) => return Err(ProxyError::Loop),
                Some(address) => address,
                None => named(connection, snapshot, wish).await?,
            };
            named_endpoint(connection, cluster, address)
        }
        ir::Discovery::DynamicForwardProxy => {
            let address = named(connection, snapshot, wish).await?;
            named_endpoint(connection, cluster, address)
        }
        ir::Discovery::None if *cluster.config.name == *ir::BLACK_HOLE_CLUSTER => Err(ProxyError::BlackHole),
        ir::Discovery::None => Err(ProxyError::NoCluster),
    }
}

fn balance(
    connection: &Connection,
    snapshot: &Snapshot,
    cluster: &Cluster,
    wish: &Wish<'_>,
) -> Result<Held<Endpoint>, ProxyError> {
    let mut random = || connection.worker.random();
    let Wish { hash, tried, leave, .. } = *wish;
    let mut context = PickContext { hash, random: &mut random, now: &Instant::now, tried, leave };
    let endpoints = cluster.endpoints.load();
    let endpoint = endpoints.pick(&mut context).ok_or(ProxyError::NoHealthyUpstream)?;
    // Whoever writes a Service does not thereby open admin to strangers, nor make one request as many as there are connections.
    if connection.direction == ir::Direction::Inbound
        && let EndpointAddr::Socket(address) = endpoint.address
    {
        keep_from_admin(connection, address)?;
        keep_from_own(connection, snapshot, address)?;
    }
    Ok(connection.worker.hold_endpoint(endpoint))
}

fn named_endpoint(
    connection: &Connection,
    cluster: &Cluster,
    address: SocketAddr,
) -> Result<Held<Endpoint>, ProxyError> {
    keep_from_admin(connection, address)?;
    let endpoint = connection.worker.named_endpoint(cluster, address.into());
    endpoint.map(Held::new).ok_or(ProxyError::NoHealthyUpstream)
}

/// The address that the authority names; never one of our own listeners.
async fn named(
    connection: &Connection,
    snapshot: &Snapshot,
    wish: &Wish<'_>,
) -> Result<SocketAddr, ProxyError> {
    let authority = wish.authority.ok_or(ProxyError::NoHealthyUpstream)?;
    let (host, port) = sidle_routing::host::split_host_port(authority);
    let port = port.unwrap_or(wish.default_port);
    let addresses = connection.worker.shared.dns.resolve(host).await?;
    let ip = *addresses.first().ok_or(ProxyError::DnsFailure)?;
    let address = SocketAddr::new(ip, port);
    let mut own = snapshot.ir.listeners.iter().map(|listener| &listener.address);
    if own.any(|own| reaches(address, own)) { Err(ProxyError::Loop) } else { Ok(address) }
}

/// Whether what was meant for `address` would come to this proxy again. What came in from outside was for this machine, whichever of
/// its addresses that is.
fn leads_back(connection: &Connection, snapshot: &Snapshot, address: SocketAddr) -> bool {
    let inbound = connection.direction == ir::Direction::Inbound;
    snapshot.ir.listeners.iter().filter(|listener| listener.direction != ir::Direction::Gateway).any(|own| {
        let port = match own.address {
            ir::ListenAddress::Socket(own) => own.port(),
            ir::ListenAddress::Unix(_) => return false,
        };
        reaches(address, &own.address) || (inbound && port == address.port())
    })
}

/// Refuses an `address` behind an inbound listener at which this proxy listens itself. A gateway's may be the port of its Service.
fn keep_from_own(
    connection: &Connection,
    snapshot: &Snapshot,
    address: SocketAddr,
) -> Result<(), ProxyError> {
    let here = connection.own_address();
    let mut own =
        snapshot.ir.listeners.iter().filter(|listener| listener.direction != ir::Direction::Gateway);
    let comes_again = own.any(|own| match own.address {
        ir::ListenAddress::Socket(own) => arrives(address, own, here),
        ir::ListenAddress::Unix(_) => false,
    });
    if comes_again { Err(ProxyError::Loop) } else { Ok(()) }
}

/// Refuses an `address` that a client chose, or that is behind an inbound listener, if it is admin's.
///
/// Admin believes everybody on this machine, and what the proxy sends comes from there.
fn keep_from_admin(connection: &Connection, address: SocketAddr) -> Result<(), ProxyError> {
    let Some(admin) = connection.worker.shared.admin.get().filter(|admin| admin.port() == address.port())
    else {
        return Ok(());
    };
    // What came in from outside was for this machine, whichever of its addresses that is.
    let inbound =
        connection.direction == ir::Direction::Inbound && admin.ip().to_canonical().is_unspecified();
    if inbound || arrives(address, *admin, connection.own_address()) {
        Err(ProxyError::Admin)
    } else {
        Ok(())
    }
}

/// Whether a connection to `address` arrives at who listens at `own`; `here`: an address of this machine. Other programs may have its
/// port at other addresses, of loopback too.
fn arrives(address: SocketAddr, own: SocketAddr, here: Option<IpAddr>) -> bool {
    if address.port() != own.port() {
        return false;
    }
    let (ip, own) = (address.ip().to_canonical(), own.ip().to_canonical());
    match own.is_unspecified() {
        true => ip.is_loopback() || ip.is_unspecified() || here.is_some_and(|here| here.to_canonical() == ip),
        false => ip == own || (ip.is_unspecified() && own.is_loopback()),
    }
}

/// Whether a connection to `address` arrives at the listener at `own`.
fn reaches(address: SocketAddr, own: &ir::ListenAddress) -> bool {
    let ip = address.ip().to_canonical();
    let local = ip.is_loopback() || ip.is_unspecified(); // connecting to 0.0.0.0 reaches loopback
    match own {
        ir::ListenAddress::Socket(own) => {
            let any = own.ip().is_unspecified() || own.ip().is_loopback();
            own.port() == address.port() && (own.ip().to_canonical() == ip || (any && local))
        }
        ir::ListenAddress::Unix(_) => false,
    }
}

/// The text of an endpoint's address without its port, for SNI where nothing better is known.
pub fn host_of(authority: Option<&Authority>, address: &EndpointAddr) -> String {
    match (authority, address) {
        (Some(authority), _) => sidle_routing::host::split_host_port(authority.as_str()).0.to_owned(),
        (None, EndpointAddr::Socket(socket)) => socket.ip().to_string(),
        (None, EndpointAddr::Unix(_)) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_back_here() {
        let reached = |own: &str, address: &str| {
            reaches(address.parse().unwrap(), &ir::ListenAddress::Socket(own.parse().unwrap()))
        };
        for (own, address, expected) in [
            ("127.0.0.1:15001", "127.0.0.1:15001", true),
            ("127.0.0.1:15001", "127.0.0.1:15002", false),
            ("127.0.0.1:15001", "0.0.0.0:15001", true),
            ("127.0.0.1:15001", "[::ffff:127.0.0.1]:15001", true),
            ("127.0.0.1:15001", "10.0.0.1:15001", false),
            ("0.0.0.0:15006", "127.0.0.5:15006", true),
            ("0.0.0.0:15006", "[::]:15006", true),
            ("[::]:15006", "[::1]:15006", true),
            ("10.0.0.7:80", "10.0.0.7:80", true),
            ("10.0.0.7:80", "[::ffff:10.0.0.7]:80", true),
            ("10.0.0.7:80", "127.0.0.1:80", false),
            ("10.0.0.7:80", "10.0.0.8:80", false),
        ] {
            assert_eq!(reached(own, address), expected, "{address} at {own}");
        }
        for (admin, address, expected) in [
            ("127.0.0.1:15000", "127.0.0.1:15000", true),
            ("127.0.0.1:15000", "127.0.0.1:15001", false),
            ("127.0.0.1:15000", "0.0.0.0:15000", true),
            ("127.0.0.1:15000", "[::ffff:127.0.0.1]:15000", true),
            ("127.0.0.1:15000", "127.0.0.5:15000", false),
            ("127.0.0.1:15000", "10.0.0.7:15000", false),
            ("[::ffff:127.0.0.1]:15000", "127.0.0.1:15000", true),
            ("0.0.0.0:15000", "127.0.0.5:15000", true),
            ("0.0.0.0:15000", "10.0.0.7:15000", true),
            ("0.0.0.0:15000", "10.0.0.8:15000", false),
            ("[::]:15000", "[::1]:15000", true),
            ("[::ffff:0.0.0.0]:15000", "127.0.0.1:15000", true),
            ("10.0.0.7:15000", "10.0.0.7:15000", true),
            ("10.0.0.7:15000", "127.0.0.1:15000", false),
        ] {
            let here = Some("10.0.0.7".parse().unwrap());
            let reached = arrives(address.parse().unwrap(), admin.parse().unwrap(), here);
            assert_eq!(reached, expected, "{address} with admin at {admin}");
        }
        let unix = ir::ListenAddress::Unix("/run/x".into());
        assert!(!reaches("127.0.0.1:80".parse().unwrap(), &unix));
    }
}

//! From a cluster to an endpoint.

use super::{Exchange, own::Own};
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
use std::{net::SocketAddr, sync::Arc, time::Instant};

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
                Some(address) => own(connection, snapshot).keep_from_meant(address)?,
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
    if connection.direction == ir::Direction::Inbound
        && let EndpointAddr::Socket(address) = endpoint.address
    {
        own(connection, snapshot).keep_from_endpoint(address)?;
    }
    Ok(connection.worker.hold_endpoint(endpoint))
}

fn named_endpoint(
    connection: &Connection,
    cluster: &Cluster,
    address: SocketAddr,
) -> Result<Held<Endpoint>, ProxyError> {
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
    own(connection, snapshot).keep_from_named(address)
}

/// Where this proxy itself listens, for what came on `connection`.
fn own<'a>(connection: &Connection, snapshot: &'a Snapshot) -> Own<'a> {
    Own {
        ir: &snapshot.ir,
        admin: connection.worker.shared.admin.get().copied(),
        direction: connection.direction,
        here: connection.own_address(),
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

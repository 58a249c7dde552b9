//! Connection pools of one worker: one for each endpoint and way to connect to it.
//!
//! In:  an [`Endpoint`] chosen by the balancer.   Out: a leased connection, ready to send.
//! Invariants: an HTTP/1 connection has one owner; an HTTP/2 connection never exceeds its peer's stream limit nor the
//! cluster's; a pool whose endpoint left the configuration keeps no idle connection.
//! Not here: choosing endpoints (`sidle-balance`), retrying (`exchange::attempt`).
//! Read: `mod.rs` (checkout) -> `http1.rs` -> `http2.rs`.

mod http1;
mod http2;

pub use http1::Http1Lease;
pub use http2::Http2Lease;

use super::{Cluster, Connector, Target, Via};
use crate::error::ProxyError;
use foldhash::{HashMap, HashMapExt};
use sidle_balance::{ActiveConnection, Endpoint, EndpointState, Permit};
use sidle_identity::Peer;
use sidle_model::ir::Limits;
use sidle_telemetry::{ClusterMetrics, Overflow};
use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How often idle connections are looked at while there are any.
const SWEEP: Duration = Duration::from_secs(15);

/// All pools of one worker.
#[derive(Default)]
pub struct Pools {
    pools: RefCell<HashMap<Key, Rc<Pool>>>,
}

/// The connector; the state that stands for an endpoint over reloads; whether it takes mTLS; the server name, where requests name
/// it; where its connections come from. A pool holds the state weakly, so its address cannot come to mean another endpoint.
type Key = (u64, *const EndpointState, bool, Box<str>, Option<Via>);

/// Pools for names that came from requests, before those that nobody uses are dropped: clients choose the names.
const MAX_NAMED: usize = 1_000;

impl Pools {
    /// No pools.
    pub fn new() -> Self {
        Pools { pools: RefCell::new(HashMap::new()) }
    }

    /// The pool of an endpoint. Where the cluster lets the request's `host` name the server, a connection serves that name
    /// alone: it is the one whose certificate was checked.
    pub fn pool(
        &self,
        cluster: &Cluster,
        endpoint: &Arc<Endpoint>,
        host: &str,
        via: Option<Via>,
    ) -> Rc<Pool> {
        let named = cluster.connector.takes_name_of_request();
        let name = if named { host } else { "" };
        let key = (cluster.connector.id, Arc::as_ptr(&endpoint.state), endpoint.mtls, name.into(), via);
        let mut pools = self.pools.borrow_mut();
        let of_client = |via: Option<Via>| matches!(via, Some(Via::Client { .. }));
        if (named || of_client(via)) && pools.len() >= MAX_NAMED && !pools.contains_key(&key) {
            let lasts = |name: &str, via: Option<Via>| name.is_empty() && !of_client(via);
            pools.retain(|(.., name, via), pool| lasts(name, *via) || pool.is_in_use());
        }
        pools.entry(key).or_insert_with(|| Rc::new(Pool::new(cluster, endpoint, via))).clone()
    }

    /// Lets go of what no configuration refers to any more. `is_live` tells by connector.
    pub fn retain(&self, is_live: impl Fn(u64) -> bool) {
        self.pools.borrow_mut().retain(|(connector, ..), pool| {
            let keep = is_live(*connector) && !pool.is_deserted();
            if !keep {
                pool.retire();
            }
            keep
        });
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.pools.borrow().values().map(|pool| pool.http1.borrow().len()).sum()
    }
}

/// Connections to one endpoint.
pub struct Pool {
    connector: Arc<Connector>,
    via: Option<Via>,
    endpoint_state: Weak<EndpointState>,
    http1: RefCell<Vec<http1::Idle>>,
    http2: RefCell<Vec<Rc<http2::Shared>>>,
    /// Open connections, of either kind.
    open: Cell<u32>,
    /// Whether an HTTP/2 connection is being made; others wait for it.
    connecting: Cell<bool>,
    retired: Cell<bool>,
    sweeping: Cell<bool>,
    /// An HTTP/2 connection was made, or could not be.
    connected: Notify,
    /// Failed attempts to make an HTTP/2 connection, and why the last one did.
    failures: RefCell<(u64, Option<ProxyError>)>,
    /// A connection came free, or was closed: everyone in line looks again.
    freed: Notify,
}

/// What is known about one connection; lives until it is closed.
pub struct ConnectionInfo {
    /// This side.
    pub local: Option<SocketAddr>,
    /// Who the other side proved to be.
    pub identity: Option<Arc<Peer>>,
    /// Since when.
    pub opened: Instant,
    requests: Cell<u32>,
    pool: std::rc::Weak<Pool>,
    metrics: Option<Arc<ClusterMetrics>>,
    _active: ActiveConnection,
    _permit: Option<Permit>,
}

impl Drop for ConnectionInfo {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_closed();
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.open.set(pool.open.get() - 1);
            pool.freed.notify_waiters();
        }
    }
}

/// A request that waits for a connection.
struct Waiting<'a> {
    metrics: &'a ClusterMetrics,
    _permit: Permit,
}

impl<'a> Waiting<'a> {
    fn begin(cluster: &'a Cluster) -> Result<Self, ProxyError> {
        let Some(permit) = cluster.usage.try_acquire_pending(&cluster.config.limits) else {
            cluster.metrics.overflowed(Overflow::Pending);
            return Err(ProxyError::Overflow);
        };
        cluster.metrics.pending_started();
        Ok(Waiting { metrics: &cluster.metrics, _permit: permit })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.metrics.pending_ended();
    }
}

/// What a checkout needs to know.
#[derive(Clone, Copy)]
pub struct Checkout<'a> {
    /// Whose limits apply.
    pub cluster: &'a Cluster,
    /// Where to.
    pub endpoint: &'a Arc<Endpoint>,
    /// The request's host, for SNI.
    pub host: &'a str,
    /// Whether a connection that may have gone stale will not do: the last one had.
    pub fresh: bool,
    /// What the endpoint may take: time, and frames that carry nothing.
    pub limits: &'a Limits,
}

impl Pool {
    fn new(cluster: &Cluster, endpoint: &Arc<Endpoint>, via: Option<Via>) -> Self {
        Pool {
            connector: cluster.connector.clone(),
            via,
            endpoint_state: Arc::downgrade(&endpoint.state),
            http1: RefCell::default(),
            http2: RefCell::default(),
            open: Cell::new(0),
            connecting: Cell::new(false),
            retired: Cell::new(false),
            sweeping: Cell::new(false),
            connected: Notify::new(),
            failures: RefCell::default(),
            freed: Notify::new(),
        }
    }

    /// Opens a connection, or waits in line for one to come free: `None` then, and the pool is to be looked at again.
    ///
    /// A worker without any connection to the endpoint may always open one, as in Envoy: connections of other workers
    /// can never come free for it.
    async fn open(
        self: &Rc<Self>,
        checkout: Checkout<'_>,
        target: Target,
    ) -> Result<Option<(crate::codec::Stream, Rc<ConnectionInfo>)>, ProxyError> {
        let Checkout { cluster, endpoint, host, .. } = checkout;
        let permit = cluster.usage.try_acquire_connection(&cluster.config.limits);
        if permit.is_none() && self.open.get() > 0 {
            let _place = Waiting::begin(cluster)?;
            // An idle connection will not do; without it there is room.
            if checkout.fresh && self.http1.borrow_mut().pop().is_some() {
                return Ok(None);
            }
            self.freed.notified().await;
            return Ok(None);
        }
        self.open.set(self.open.get() + 1);
        // From here on the info's drop gives back what was taken, whatever happens.
        let active = ActiveConnection::open(endpoint.clone());
        let mut info = ConnectionInfo {
            local: None,
            identity: None,
            opened: Instant::now(),
            requests: Cell::new(0),
            pool: Rc::downgrade(self),
            metrics: None,
            _active: active,
            _permit: permit,
        };
        match self.connector.connect(endpoint, host, target, self.via).await {
            Ok(stream) => {
                info.local = stream.local_addr();
                info.identity = self.connector.identity(endpoint, &stream);
                info.opened = Instant::now();
                cluster.metrics.connection_opened();
                info.metrics = Some(cluster.metrics.clone());
                Ok(Some((stream, Rc::new(info))))
            }
            Err(error) => {
                endpoint.state.record_connect_failure();
                cluster.metrics.connect_failed();
                Err(error)
            }
        }
    }

    /// Whether a connection may carry another request.
    fn is_usable(&self, info: &ConnectionInfo) -> bool {
        let max = self.connector.max_requests;
        (max == 0 || info.requests.get() < max)
            && self.connector.max_age.is_none_or(|age| info.opened.elapsed() < age)
            && !self.retired.get()
    }

    fn retire(&self) {
        self.retired.set(true);
        self.http1.borrow_mut().clear();
        self.http2.borrow_mut().clear();
        self.freed.notify_waiters();
    }

    /// Closes idle connections in time. Runs only while there are any.
    fn sweep_later(self: &Rc<Self>) {
        let Some(timeout) = self.connector.idle_timeout else { return };
        if self.sweeping.replace(true) {
            return;
        }
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            while !pool.retired.get() && pool.has_idle() {
                tokio::time::sleep(timeout.min(SWEEP)).await;
                let expired = |since: Instant| since.elapsed() >= timeout;
                pool.http1.borrow_mut().retain(|idle| !expired(idle.since) && !idle.is_closed());
                pool.http2.borrow_mut().retain(|shared| !shared.idle_since().is_some_and(expired));
                if pool.is_deserted() {
                    pool.retire();
                }
            }
            pool.sweeping.set(false);
        });
    }

    /// Whether it has connections, or somebody holds it to make one.
    fn is_in_use(self: &Rc<Self>) -> bool {
        self.open.get() > 0 || Rc::strong_count(self) > 1
    }

    /// Whether the endpoint has left its cluster.
    fn is_deserted(&self) -> bool {
        self.endpoint_state.upgrade().is_none_or(|state| state.has_left())
    }

    fn has_idle(&self) -> bool {
        !self.http1.borrow().is_empty() || !self.http2.borrow().is_empty()
    }
}

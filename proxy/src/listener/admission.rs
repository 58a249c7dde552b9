//! Whether a connection that was accepted may stay.
//!
//! In:  a connection and its origin.   Out: [`Open`], which counts it until it ends, or the limit that keeps it out.
//! Invariants: who is kept out learns it at once, by an orderly end and not by a reset, for as long as he does not go on sending.

use super::sources::Source;
use crate::{
    codec::{Stream, patience},
    overload::Pressure,
    worker::Worker,
};
use sidle_model::ir::Direction;
use sidle_telemetry::{Doorkeeper, ListenerMetrics};
use std::{
    io::Read,
    net::{IpAddr, Shutdown, SocketAddr},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// An open connection; counted.
pub(super) struct Open {
    pub(super) metrics: Arc<ListenerMetrics>,
    worker: Rc<Worker>,
    inbound: bool,
    /// Counts its client, once he is known.
    pub(super) source: Option<Source>,
}

impl Open {
    /// Counts a connection from `peer`, unless it is one too many. Behind a load balancer that speaks the PROXY protocol, `peer`
    /// is not the client, who is counted when he is known.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        listener: &str,
        metrics: &Arc<ListenerMetrics>,
        peer: Option<SocketAddr>,
    ) -> Result<Self, Doorkeeper> {
        if worker.shared.overload.pressure() == Pressure::Everything {
            return Err(Doorkeeper::Memory);
        }
        if is_full(worker) {
            return Err(Doorkeeper::Connections);
        }
        if !worker.shared.reserve.fill() {
            return Err(Doorkeeper::Descriptors); // its own was one of the reserve's
        }
        let snapshot = worker.snapshot();
        let plan = snapshot.listeners.get(listener).map(|plan| &plan.config);
        let client = peer.filter(|_| plan.is_none_or(|plan| !plan.proxy_protocol));
        let source = client.map(|client| source(worker, client.ip())).transpose()?;
        let inbound = plan.is_some_and(|plan| plan.direction != Direction::Outbound);
        worker.shared.activity.connections.fetch_add(1, Relaxed);
        if inbound {
            worker.shared.activity.inbound_connections.fetch_add(1, Relaxed);
        }
        metrics.connection_opened();
        Ok(Open { worker: worker.clone(), inbound, metrics: metrics.clone(), source })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.shared.activity.connections.fetch_sub(1, Relaxed);
        if self.inbound {
            self.worker.shared.activity.inbound_connections.fetch_sub(1, Relaxed);
        }
        self.metrics.connection_closed();
    }
}

/// Lets somebody in. If he is one too many of all, those go first who only wait for their clients to close.
pub(super) async fn admit<T>(admit: impl Fn() -> Result<T, Doorkeeper>) -> Result<T, Doorkeeper> {
    match admit() {
        Err(Doorkeeper::Connections | Doorkeeper::Descriptors) if patience::end(patience::For::Close) => {
            tokio::task::yield_now().await;
            admit()
        }
        admitted => admitted,
    }
}

/// One more connection of an address, unless it is one too many.
pub(super) fn source(worker: &Worker, address: IpAddr) -> Result<Source, Doorkeeper> {
    let limit = worker.snapshot().ir.settings.limits.max_connections_per_source;
    worker.shared.sources.admit(address, limit).ok_or(Doorkeeper::Source)
}

/// Whether the process has as many connections as it may.
fn is_full(worker: &Worker) -> bool {
    let limit = worker.snapshot().ir.settings.limits.max_connections;
    let limit = limit.map_or(worker.shared.max_connections, |limit| limit as usize);
    worker.shared.activity.connections.load(Relaxed) >= limit
}

/// The most that is read of a connection that is to be closed.
const SCRAPS: usize = 16 << 10;

/// Closes a connection so that the client sees its end: bytes that nobody has read would make it a reset.
pub(super) fn turn_away(stream: &mut Stream) {
    stream.take_leave();
    let Some(tcp) = stream.tcp() else { return };
    let socket = socket2::SockRef::from(&tcp);
    // A client that is gone needs no telling.
    let _ = socket.shutdown(Shutdown::Write);
    let mut scraps = [0; 2048];
    let mut left = SCRAPS;
    while left > 0
        && let Ok(read @ 1..) = (&*socket).read(&mut scraps)
    {
        left = left.saturating_sub(read);
    }
}

//! One downstream connection.

mod standing;

use super::{
    Drain,
    inspect::{First, Seen},
};
use crate::{
    codec::{Authority, Scheme},
    config::{Chain, Filter, HttpPlan, ListenerPlan, Snapshot},
    exchange::{Downstream, address_text, client_cert},
    overload::Pressure,
    upstream::Via,
    worker::{Held, Worker},
};
use http::HeaderValue;
use sidle_model::ir::{ApplicationProtocol, Direction, HttpOptions, Limits, ServerTls};
use sidle_telemetry::Http2Flood;
use std::{
    borrow::Cow,
    cell::{Cell, OnceCell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// A name with its port; what is longer is not remembered.
const LONGEST_HOST: usize = 255 + 6;
/// Where a connection came from, and where it meant to go.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The client; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The other end of the socket: the client, or a load balancer that says who he is.
    pub direct: Option<SocketAddr>,
    /// The original destination; the listener's own address if the connection was not redirected.
    pub local: Option<SocketAddr>,
    /// Whether it was.
    pub redirected: bool,
}

/// Why requests under way end, other than that their client went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client broke the protocol.
    Protocol,
    /// The client sent too much of what costs it nothing.
    Flood(Http2Flood),
    /// The client took nothing for too long.
    Idle,
}

/// One downstream connection.
pub struct Connection {
    /// Whose it is.
    pub worker: Rc<Worker>,
    /// Outbound, inbound or gateway.
    pub direction: Direction,
    /// Who is at its ends, for logs and for where it may go.
    pub downstream: Rc<Downstream>,
    /// Whether a rule has brought it here from where it meant to go.
    redirected: bool,
    /// Whether the application is shown the address of its client.
    transparent: bool,
    first: First,
    /// How its TLS was terminated.
    tls: Option<Arc<ServerTls>>,
    /// Whether the configuration of this number would take it no more.
    outdated: Cell<(u64, bool)>,
    listener: Arc<str>,
    chain: Arc<str>,
    drain: Rc<Drain>,
    limits: Arc<Limits>,
    preserve_header_case: bool,
    options: Arc<HttpOptions>,
    /// The plan of the last request's snapshot.
    plan: RefCell<(u64, Option<Held<HttpPlan>>)>,
    active: Cell<usize>,
    last_active: Cell<Instant>,
    /// When its client is to come again, on another connection.
    until: Option<Instant>,
    fault: Cell<Option<Fault>>,
    /// The element of `x-forwarded-client-cert`.
    client_cert: OnceCell<Option<Box<HeaderValue>>>, // few have one
    /// The client's address, for headers.
    peer_text: OnceCell<Option<HeaderValue>>,
    /// Whom its first request was for.
    host: OnceCell<Authority>,
}

/// When a connection that begins now has reached an age: a tenth sooner or later, so that those that began together do not end so.
fn until(age: Duration) -> Instant {
    Instant::now() + age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// How long a connection must have been idle before draining closes it: a client that is about to send another request has
/// by then done so, and was told to close.
pub(super) const IDLE_BEFORE_CLOSE: Duration = Duration::from_millis(1000);

impl Connection {
    pub(super) fn new(
        worker: Rc<Worker>,
        snapshot: &Snapshot,
        drain: Rc<Drain>,
        chain: &Chain,
        plan: &ListenerPlan,
        origin: Origin,
        seen: Seen,
    ) -> Self {
        let http = match &chain.filter {
            Filter::Http(http) => Some(http.clone()),
            Filter::Tcp(_) => None,
        };
        let mut first = seen.first;
        if first.offers.is_empty() && !first.tls && http.is_some() {
            // Nobody had to look before.
            first.offers = Cow::Borrowed(match seen.http2 {
                Some(true) => &[ApplicationProtocol::Http2],
                _ => &[ApplicationProtocol::Http1],
            });
        }
        let downstream = Downstream {
            id: worker.shared.activity.connection_id(),
            peer: origin.peer,
            direct: origin.direct,
            local: origin.local,
            server_name: seen.server_name,
            tls_version: seen.tls_version,
            identity: seen.identity,
            own: seen.own,
        };
        Connection {
            direction: plan.config.direction,
            downstream: Rc::new(downstream),
            redirected: origin.redirected,
            transparent: snapshot.ir.settings.transparent,
            first,
            tls: chain.tls.as_ref().map(|(tls, _)| tls.clone()),
            outdated: Cell::new((snapshot.generation, false)),
            listener: plan.config.name.clone(),
            chain: chain.name.clone(),
            drain,
            until: snapshot.ir.settings.limits.max_connection_duration.map(until),
            limits: snapshot.ir.settings.limits.clone(),
            preserve_header_case: http.as_ref().is_some_and(|plan| plan.preserve_header_case),
            options: http.as_ref().map(|plan| plan.options.clone()).unwrap_or_default(),
            plan: RefCell::new((snapshot.generation, http.map(|plan| worker.hold_plan(snapshot, &plan)))),
            active: Cell::new(0),
            last_active: Cell::new(Instant::now()),
            fault: Cell::new(None),
            client_cert: OnceCell::new(),
            peer_text: OnceCell::new(),
            host: OnceCell::new(),
            worker,
        }
    }

    /// The plan for a request that arrives now. A listener or chain that has left the configuration serves its last plan
    /// until its connections have ended.
    pub fn http_plan(&self, snapshot: &Snapshot) -> Option<Held<HttpPlan>> {
        let mut plan = self.plan.borrow_mut();
        if plan.0 != snapshot.generation {
            plan.0 = snapshot.generation;
            let listener = snapshot.listeners.get(&self.listener);
            let chain = listener.and_then(|l| l.chains.chains().find(|chain| chain.name == self.chain));
            if let Some(Filter::Http(http)) = chain.map(|chain| &chain.filter) {
                plan.1 = Some(self.worker.hold_plan(snapshot, http));
            }
        }
        plan.1.clone()
    }

    /// What one client may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The client, for logs.
    pub fn peer(&self) -> impl std::fmt::Display {
        match self.downstream.peer {
            Some(peer) => peer.to_string(),
            None => "unix".to_owned(),
        }
    }

    /// What `x-forwarded-client-cert` says of the client, if it showed a certificate.
    pub fn client_cert(&self) -> Option<&HeaderValue> {
        let element = || {
            let Downstream { identity, own, .. } = &*self.downstream;
            let whole = self.direction == Direction::Gateway;
            client_cert::element(identity.as_ref()?, own.as_ref(), whole).map(Box::new)
        };
        self.client_cert.get_or_init(element).as_deref()
    }

    /// The client's address without its port, for headers.
    pub fn peer_text(&self) -> Option<&HeaderValue> {
        self.peer_text.get_or_init(|| address_text(self.downstream.peer?)).as_ref()
    }

    /// [`Authority::new`]. Most requests of a connection are for the same host, which is then looked at once.
    pub fn authority(&self, host: &HeaderValue) -> Option<Authority> {
        match self.host.get() {
            Some(known) if known.is(host) => Some(known.clone()),
            None if host.len() <= LONGEST_HOST => {
                let authority = Authority::new(host.clone())?;
                // A copy: this one lies among all that was read with it.
                Some(self.host.get_or_init(|| self.worker.hosts.kept(&authority)).clone())
            }
            _ => Authority::new(host.clone()),
        }
    }

    /// Where a redirected connection meant to go.
    pub fn original_destination(&self) -> Option<SocketAddr> {
        self.downstream.local.filter(|_| self.redirected)
    }

    /// An address of this machine: the one that the client connected to, unless it meant another.
    pub fn own_address(&self) -> Option<IpAddr> {
        self.downstream.local.filter(|_| !self.redirected).map(|local| local.ip())
    }

    /// Where connections to the application come from on its behalf.
    pub fn via(&self) -> Option<Via> {
        let meant = self.original_destination().filter(|_| self.direction == Direction::Inbound)?;
        match self.downstream.peer.filter(|_| self.transparent) {
            Some(peer) => Some(Via::Client { address: peer.ip(), to: meant.ip() }),
            None => Some(Via::Proxy { v6: meant.is_ipv6() }),
        }
    }

    /// The listener's own port, or the one that a redirected connection meant.
    pub fn port(&self) -> u16 {
        self.downstream.local.map_or(0, |local| local.port())
    }

    /// The scheme of requests that do not name one.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// What is taken from the client, and how.
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// Whether HTTP/1 header names keep their case.
    pub fn preserve_header_case(&self) -> bool {
        self.preserve_header_case
    }

    /// Whether clients are to be sent elsewhere, or to come again: the listener ends, memory is short, the connection is old, or a new
    /// one would be taken otherwise.
    pub fn is_draining(&self) -> bool {
        self.is_over()
            || self.worker.shared.overload.pressure() >= Pressure::Connections
            || self.worker.see_snapshot(|snapshot| self.is_outdated(snapshot))
    }

    /// How often it was told to look whether it is draining; see [`Drain::times_told`].
    pub fn times_told(&self) -> u32 {
        self.drain.times_told()
    }

    /// Whether they are to be, whatever the worker may tell them: the listener ends, or the connection is old.
    pub fn is_over(&self) -> bool {
        self.drain.has_begun() || self.until.is_some_and(|until| until <= Instant::now())
    }

    /// Waits until they are.
    pub async fn draining(&self) {
        // One thread: between the check and the first poll nobody is told.
        while !self.is_draining() {
            let told = self.drain.told();
            match self.until {
                None => told.await,
                // In a box: most connections have no such time, nor the room for it.
                Some(until) => drop(Box::pin(tokio::time::timeout_at(until, told)).await),
            }
        }
    }

    /// Waits until they are, and this connection has been idle for a while since.
    pub async fn drained(&self) {
        self.draining().await;
        let begun = Instant::now();
        loop {
            let idle_since = self.last_active.get().max(begun);
            if self.active.get() == 0 && idle_since.elapsed() >= IDLE_BEFORE_CLOSE {
                return;
            }
            let wait = if self.active.get() == 0 {
                idle_since + IDLE_BEFORE_CLOSE
            } else {
                Instant::now() + IDLE_BEFORE_CLOSE
            };
            Box::pin(tokio::time::sleep_until(wait)).await; // it is not for this that all have room
        }
    }

    /// When the last request ended; `None` while one is under way.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.active.get() == 0).then(|| self.last_active.get())
    }

    /// Counts a request for as long as the guard lives.
    pub fn begin_request(self: &Rc<Self>) -> ActiveRequest {
        self.active.set(self.active.get() + 1);
        self.worker.under_way.begin();
        ActiveRequest { connection: self.clone(), ended: None }
    }

    /// Why a request that is dropped now ends, if not because its client went away.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// All requests end for `fault`.
    pub fn end_for(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// What is dropped while the guard lives ends for `fault`, unless all do for another.
    pub fn while_ending_for(&self, fault: Fault) -> Ending<'_> {
        let before = self.fault.get();
        self.fault.set(before.or(Some(fault)));
        Ending(self, before)
    }

    /// Counts a connection that ended for what its client sent too much of, or never to its end.
    pub fn count_flood(&self, flood: Http2Flood) {
        let metrics = self.worker.shared.telemetry.listener_metrics(&self.listener);
        metrics.protocol_error();
        metrics.http2_flood(flood);
    }

    /// Counts streams that were refused, because the client had as many as it may.
    pub fn count_refused_streams(&self, streams: u32) {
        self.worker.shared.telemetry.listener_metrics(&self.listener).http2_streams_refused(streams);
    }

    /// Counts a connection that ended by an error of the client's.
    pub fn count_protocol_error(&self) {
        self.worker.shared.telemetry.listener_metrics(&self.listener).protocol_error();
    }
}

/// While it lives, requests end for a fault; see [`Connection::while_ending_for`].
pub struct Ending<'a>(&'a Connection, Option<Fault>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.fault.set(self.1);
    }
}

/// A request, or a TCP connection, that is under way.
pub struct ActiveRequest {
    connection: Rc<Connection>,
    ended: Option<Instant>,
}

impl ActiveRequest {
    /// It ended at this time, which need not be asked for again.
    pub fn end_at(&mut self, ended: Instant) {
        self.ended = Some(ended);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let connection = &*self.connection;
        connection.active.set(connection.active.get() - 1);
        connection.last_active.set(self.ended.unwrap_or_else(Instant::now));
        connection.worker.under_way.end();
    }
}

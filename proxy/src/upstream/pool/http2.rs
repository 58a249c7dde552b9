//! HTTP/2 connections: many streams, shared by all requests of the worker to the endpoint.

use super::{Checkout, ConnectionInfo, Pool, Target, Waiting};
use crate::{
    codec::h2::{
        known,
        wire::{self, Event, Patience, Wire},
    },
    error::ProxyError,
};
use sidle_http2::{
    Code,
    connection::{Allowance, Config, Connection, End, Opener},
};
use sidle_model::ir::Limits;
use std::{cell::Cell, future::poll_fn, rc::Rc};
use tokio::time::Instant;

/// Windows of the proxy as a client, as the limits table has them.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const MAX_HEADER_LIST: u32 = 64 << 10;
/// Until the peer's SETTINGS come (RFC 9113 section 6.5.2 recommends at least 100).
const INITIAL_MAX_STREAMS: u32 = 100;

/// A connection that several requests share.
pub(super) struct Shared {
    opener: Opener,
    info: Rc<ConnectionInfo>,
    streams: Cell<u32>,
    /// GOAWAY came, or the connection ended.
    closed: Cell<bool>,
    idle_since: Cell<Option<Instant>>,
}

impl Shared {
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle_since.get().filter(|_| self.streams.get() == 0)
    }

    fn has_room(&self, limit: u32) -> bool {
        let peer = self.opener.max_streams();
        !self.closed.get()
            && self.opener.is_open()
            && self.opener.has_room() // streams that nobody holds any more may still be open
            && self.streams.get() < limit.min(peer)
    }
}

/// One stream's place on a connection; given back when dropped.
pub struct Http2Lease {
    shared: Rc<Shared>,
    pool: Rc<Pool>,
    /// Whether the connection carried requests before this one.
    pub reused: bool,
}

impl Http2Lease {
    /// Opens streams.
    pub fn opener(&self) -> &Opener {
        &self.shared.opener
    }

    /// Whether the connection carries more streams than the endpoint wants, which it may say after they were opened.
    pub fn exceeds_limit(&self) -> bool {
        self.shared.streams.get() > self.shared.opener.max_streams()
    }

    /// About the connection.
    pub fn info(&self) -> &Rc<ConnectionInfo> {
        &self.shared.info
    }

    /// Takes the connection out of use: it failed, or said GOAWAY. Its other streams may end.
    pub fn retire(&self) {
        self.shared.closed.set(true);
        self.pool.http2.borrow_mut().retain(|shared| !Rc::ptr_eq(shared, &self.shared));
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        let streams = self.shared.streams.get() - 1;
        self.shared.streams.set(streams);
        if streams == 0 {
            if self.pool.is_usable(&self.shared.info) {
                self.shared.idle_since.set(Some(Instant::now()));
                self.pool.sweep_later();
            } else {
                self.retire();
            }
        }
        self.pool.freed.notify_waiters();
    }
}

impl Pool {
    /// A place on an HTTP/2 connection: the first with room, or a new one.
    ///
    /// # Errors
    /// As [`super::super::Connector::connect`], or [`ProxyError::Overflow`].
    pub async fn http2(self: &Rc<Self>, checkout: Checkout<'_>) -> Result<Http2Lease, ProxyError> {
        loop {
            if let Some(lease) = self.shared_http2() {
                return Ok(lease);
            }
            if self.connecting.get() {
                // One connection serves many: whoever comes while it is made waits for it.
                let _place = Waiting::begin(checkout.cluster)?;
                let attempt = self.failures.borrow().0;
                self.connected.notified().await;
                if let (failed, Some(error)) = &*self.failures.borrow()
                    && *failed != attempt
                {
                    return Err(error.clone()); // the connection that all waited for could not be made
                }
                continue;
            }
            let connecting = Connecting::begin(self);
            let made = match self.open(checkout, Target::Http2).await {
                Ok(None) => continue,
                Ok(Some((stream, info))) => Ok(self.share(stream, info, checkout.limits)),
                Err(error) => Err(error),
            };
            return match made {
                Ok(shared) => Ok(self.lease(shared)),
                Err(error) => Err(connecting.fail(error)),
            };
        }
    }

    fn shared_http2(self: &Rc<Self>) -> Option<Http2Lease> {
        let limit = self.connector.max_streams;
        let http2 = self.http2.borrow();
        let shared = http2.iter().find(|shared| shared.has_room(limit) && self.is_usable(&shared.info))?;
        Some(self.lease(shared.clone()))
    }

    fn lease(self: &Rc<Self>, shared: Rc<Shared>) -> Http2Lease {
        let before = shared.info.requests.get();
        shared.info.requests.set(before + 1);
        shared.streams.set(shared.streams.get() + 1);
        shared.idle_since.set(None);
        Http2Lease { shared, pool: self.clone(), reused: before > 0 }
    }

    fn share(
        self: &Rc<Self>,
        stream: crate::codec::Stream,
        info: Rc<ConnectionInfo>,
        limits: &Limits,
    ) -> Rc<Shared> {
        let engine = Connection::client(Config {
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            max_streams: INITIAL_MAX_STREAMS,
            max_list: MAX_HEADER_LIST,
            allowance: allowance(limits),
            host: wire::HOST,
        });
        let shared = Rc::new(Shared {
            opener: engine.opener(),
            info: info.clone(),
            streams: Cell::new(0),
            closed: Cell::new(false),
            idle_since: Cell::new(Some(Instant::now())),
        });
        self.http2.borrow_mut().push(shared.clone());
        let mut wire = Wire::of_server(stream, engine, patience(limits));
        // The connection ends when nobody can open streams on it any more.
        let (pool, driven) = (Rc::downgrade(self), Rc::downgrade(&shared));
        tokio::task::spawn_local(async move {
            drive(&mut wire).await;
            if let (Some(pool), Some(shared)) = (pool.upgrade(), driven.upgrade()) {
                shared.closed.set(true);
                pool.http2.borrow_mut().retain(|other| !Rc::ptr_eq(other, &shared));
            }
            wire.close(true).await;
            drop(info);
        });
        shared
    }
}

/// Moves a connection's bytes until it has ended.
async fn drive(wire: &mut Wire) {
    loop {
        let event = poll_fn(|cx| wire.poll(cx)).await;
        let end = wire.connection.ended();
        match event {
            Event::Received if end.is_none() => continue,
            Event::Received => wire.say_goodbye(Code::NO_ERROR).await, // it has its reason already
            Event::Stalled => wire.say_goodbye(Code::ENHANCE_YOUR_CALM).await,
            Event::Ended => {}
        }
        let flood = match end {
            Some(End::Flood(flood)) => Some(known(flood).as_str()),
            _ => None,
        };
        return tracing::debug!(?event, ?end, flood, "upstream HTTP/2 connection ended");
    }
}

/// What an endpoint may send. It may reset as many streams as it likes: that is its own answer to each.
fn allowance(limits: &Limits) -> Allowance {
    Allowance { resets: None, control: limits.http2_max_control_frames_per_second }
}

/// How long an endpoint may take.
fn patience(limits: &Limits) -> Patience {
    let write = Some(limits.stream_idle_timeout).filter(|limit| !limit.is_zero());
    Patience { frame: Some(limits.request_headers_timeout), write }
}

/// Marks that a connection is being made, for as long as it is.
struct Connecting<'a>(&'a Rc<Pool>);

impl<'a> Connecting<'a> {
    fn begin(pool: &'a Rc<Pool>) -> Self {
        pool.connecting.set(true);
        Connecting(pool)
    }
}

impl Connecting<'_> {
    /// Tells those who wait, too.
    fn fail(self, error: ProxyError) -> ProxyError {
        let mut failures = self.0.failures.borrow_mut();
        *failures = (failures.0 + 1, Some(error.clone()));
        error
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.connected.notify_waiters();
    }
}

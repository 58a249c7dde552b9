//! HTTP/2 connections: many streams, shared by all requests of the worker to the endpoint.

use super::{Checkout, ConnectionInfo, Pool, Target, Waiting};
use crate::{
    codec::h2::{
        gather::gathered,
        guard::{Allowance, Guarded, Patience},
    },
    error::ProxyError,
};
use bytes::Bytes;
use h2::client::SendRequest;
use sidle_model::ir::Limits;
use sidle_telemetry::Http2Flood;
use std::{cell::Cell, rc::Rc};
use tokio::time::Instant;

/// Windows of the proxy as a client, as the limits table has them.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const MAX_HEADER_LIST: u32 = 64 << 10;
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Until the peer's SETTINGS come (RFC 9113 section 6.5.2 recommends at least 100).
const INITIAL_MAX_STREAMS: usize = 100;

/// A connection that several requests share.
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
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
        let peer = u32::try_from(self.sender.current_max_send_streams()).unwrap_or(u32::MAX);
        !self.closed.get() && self.streams.get() < limit.min(peer)
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
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.shared.sender.clone()
    }

    /// Whether the connection carries more streams than the endpoint wants, which it may say after they were opened.
    pub fn exceeds_limit(&self) -> bool {
        self.shared.streams.get() as usize > self.shared.sender.current_max_send_streams()
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
                Ok(Some((stream, info))) => self.share(stream, info, checkout.limits).await,
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

    async fn share(
        self: &Rc<Self>,
        stream: crate::codec::Stream,
        info: Rc<ConnectionInfo>,
        limits: &Limits,
    ) -> Result<Rc<Shared>, ProxyError> {
        let (guarded, watch) = Guarded::server(stream, allowance(limits), patience(limits));
        let (stream, out) = gathered(guarded);
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .initial_max_send_streams(INITIAL_MAX_STREAMS)
            .handshake::<_, Bytes>(stream);
        let (sender, driver) =
            out.drive(handshake).await.map_err(|_| ProxyError::ConnectionTermination(false))?;
        let shared = Rc::new(Shared {
            sender,
            info: info.clone(),
            streams: Cell::new(0),
            closed: Cell::new(false),
            idle_since: Cell::new(Some(Instant::now())),
        });
        self.http2.borrow_mut().push(shared.clone());
        // The task must not hold the sender: the connection ends when nobody can send on it any more.
        let (pool, driven) = (Rc::downgrade(self), Rc::downgrade(&shared));
        tokio::task::spawn_local(async move {
            if let Err(error) = out.drive(driver).await {
                let flood = watch.flood().map(Http2Flood::as_str);
                tracing::debug!(%error, flood, "upstream HTTP/2 connection ended");
            }
            if let (Some(pool), Some(shared)) = (pool.upgrade(), driven.upgrade()) {
                shared.closed.set(true);
                pool.http2.borrow_mut().retain(|other| !Rc::ptr_eq(other, &shared));
            }
            drop(info);
        });
        Ok(shared)
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

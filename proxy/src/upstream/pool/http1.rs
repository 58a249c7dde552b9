//! HTTP/1.1 connections: one request at a time, then back to the pool.

use super::{Checkout, ConnectionInfo, Pool, Target};
use crate::{codec::h1::client::Client, error::ProxyError};
use std::rc::Rc;
use tokio::time::Instant;

/// A connection that waits for a request.
pub(super) struct Idle {
    client: Client,
    info: Rc<ConnectionInfo>,
    pub(super) since: Instant,
}

impl Idle {
    pub(super) fn is_closed(&self) -> bool {
        !self.client.is_open()
    }
}

/// A connection with one owner. Dropped, it closes; [`Http1Lease::give_back`] returns it to the pool.
pub struct Http1Lease {
    /// Sends one request.
    pub client: Client,
    /// About the connection.
    pub info: Rc<ConnectionInfo>,
    /// Whether it carried requests before this one.
    pub reused: bool,
    pool: Rc<Pool>,
}

impl Http1Lease {
    /// To be called when the response has been read to its end, which is `now`.
    pub fn give_back(self, now: Instant) {
        let Http1Lease { client, info, pool, .. } = self;
        if client.is_reusable() && pool.is_usable(&info) {
            pool.http1.borrow_mut().push(Idle { client, info, since: now });
            pool.freed.notify_waiters();
            pool.sweep_later();
        }
    }
}

impl Pool {
    /// An HTTP/1.1 connection: the one used last, or a new one.
    ///
    /// # Errors
    /// As [`super::super::Connector::connect`], or [`ProxyError::Overflow`].
    pub async fn http1(self: &Rc<Self>, checkout: Checkout<'_>) -> Result<Http1Lease, ProxyError> {
        loop {
            if let Some(lease) = self.idle_http1(&checkout) {
                return Ok(lease);
            }
            let Some((stream, info)) = self.open(checkout, Target::Http1).await? else { continue };
            info.requests.set(1);
            return Ok(Http1Lease { client: Client::new(stream), info, reused: false, pool: self.clone() });
        }
    }

    /// The one used last, if there is any that will do.
    pub fn idle_http1(self: &Rc<Self>, checkout: &Checkout<'_>) -> Option<Http1Lease> {
        if checkout.fresh {
            return None;
        }
        loop {
            let Idle { client, info, .. } = self.http1.borrow_mut().pop()?;
            if client.is_open() && self.is_usable(&info) {
                info.requests.set(info.requests.get() + 1);
                return Some(Http1Lease { client, info, reused: true, pool: self.clone() });
            }
        }
    }
}

//! HTTP/1.1 connections: one request at a time, then back to the pool.

use super::{Checkout, ConnectionInfo, Pool, Target};
use crate::{codec::Body, error::ProxyError};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

/// hyper's read and write buffers of one connection.
const BUFFER_BYTES: usize = 64 << 10;

/// A connection that waits for a request.
pub(super) struct Idle {
    sender: http1::SendRequest<Body>,
    info: Rc<ConnectionInfo>,
    pub(super) since: Instant,
}

impl Idle {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A connection with one owner. Dropped, it closes; [`Http1Lease::give_back`] returns it to the pool.
pub struct Http1Lease {
    /// Sends one request.
    pub sender: http1::SendRequest<Body>,
    /// About the connection.
    pub info: Rc<ConnectionInfo>,
    /// Whether it carried requests before this one.
    pub reused: bool,
    pool: Rc<Pool>,
}

impl Http1Lease {
    /// To be called when the response has been read to its end.
    pub fn give_back(self) {
        let Http1Lease { sender, info, pool, .. } = self;
        if sender.is_closed() || !pool.is_usable(&info) {
            return;
        }
        if sender.is_ready() {
            return pool.park(sender, info);
        }
        // An early response: the request is still being sent.
        tokio::task::spawn_local(async move {
            let mut sender = sender;
            if sender.ready().await.is_ok() && pool.is_usable(&info) {
                pool.park(sender, info);
            }
        });
    }
}

impl Pool {
    fn park(self: &Rc<Self>, sender: http1::SendRequest<Body>, info: Rc<ConnectionInfo>) {
        self.http1.borrow_mut().push(Idle { sender, info, since: Instant::now() });
        self.freed.notify_waiters();
        self.sweep_later();
    }

    /// An HTTP/1.1 connection: the one used last, or a new one.
    ///
    /// # Errors
    /// As [`super::super::Connector::connect`], or [`ProxyError::Overflow`].
    pub async fn http1(self: &Rc<Self>, checkout: Checkout<'_>) -> Result<Http1Lease, ProxyError> {
        loop {
            if !checkout.fresh
                && let Some(lease) = self.idle_http1()
            {
                return Ok(lease);
            }
            let Some((stream, info)) = self.open(checkout, Target::Http1).await? else { continue };
            let handshake = http1::Builder::new()
                .max_buf_size(BUFFER_BYTES)
                .preserve_header_case(checkout.preserve_case)
                .handshake(TokioIo::new(stream));
            let (sender, driver) = handshake.await.map_err(|_| ProxyError::ConnectionTermination(false))?;
            let held = info.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = driver.with_upgrades().await {
                    tracing::debug!(%error, "upstream HTTP/1 connection ended");
                }
                drop(held);
            });
            info.requests.set(1);
            return Ok(Http1Lease { sender, info, reused: false, pool: self.clone() });
        }
    }

    fn idle_http1(self: &Rc<Self>) -> Option<Http1Lease> {
        let mut idle = self.http1.borrow_mut();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            match idle[at].sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) if self.is_usable(&idle[at].info) => {
                    let Idle { sender, info, .. } = idle.remove(at);
                    info.requests.set(info.requests.get() + 1);
                    return Some(Http1Lease { sender, info, reused: true, pool: self.clone() });
                }
                // Still reading or writing the last exchange's end: of no use now, perhaps later.
                Poll::Pending => {}
                Poll::Ready(_) => {
                    idle.remove(at);
                }
            }
        }
        None
    }
}

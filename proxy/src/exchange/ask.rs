//! Questions to a cluster on behalf of a request or a connection: an authoriser's opinion, for instance.
//!
//! In:  a head and bytes.   Out: the head of the answer, then its body, or why there is none.
//! Invariants: of an answer's body at most [`MAX_ANSWER`] bytes are kept; the cluster's limits and figures hold, and its endpoints are
//! balanced as ever; what a connection did not answer because it was closing is asked again, once.
//! Not here: deadlines (the caller's), what is asked.

use super::{
    Exchange, TcpExchange,
    attempt::CountedRequest,
    destination::{self, Wish},
    seen, send,
};
use crate::{
    codec::{Body, RequestHead, ResponseHead},
    config::Snapshot,
    error::ProxyError,
    listener::Connection,
    upstream::Cluster,
    worker::Held,
};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use sidle_balance::{ActiveRequest, Endpoint, Outcome, Permit, RequestResult, Seen};
use sidle_telemetry::Overflow;
use std::{future::poll_fn, pin::Pin, sync::Arc};
use tokio::time::Instant;

/// More is no answer to a question.
const MAX_ANSWER: usize = 256 << 10;

/// An answer whose head has come.
pub struct Reply {
    /// Status and headers.
    pub head: ResponseHead,
    body: Body,
    lease: send::Lease,
    _counted: CountedRequest,
    _active: ActiveRequest<Held<Endpoint>>,
    _permit: Permit,
}

/// On whose behalf a question is asked.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    connection: &'a Connection,
    snapshot: &'a Snapshot,
}

impl Exchange {
    /// Asks on behalf of this request.
    pub fn asker(&self) -> Asker<'_> {
        Asker { connection: &self.connection, snapshot: &self.record.snapshot }
    }
}

impl TcpExchange {
    /// Asks on behalf of this connection.
    pub fn asker(&self) -> Asker<'_> {
        Asker { connection: &self.connection, snapshot: &self.record.snapshot }
    }
}

impl Asker<'_> {
    /// Asks an endpoint of `cluster`, and waits for the head of its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask(
        &self,
        cluster: &Arc<Cluster>,
        head: &RequestHead,
        body: &Bytes,
    ) -> Result<Reply, ProxyError> {
        let wish = Wish::of(head, None, &[]);
        let endpoint = destination::pick(self.connection, self.snapshot, cluster, &wish).await?;
        let Some(permit) = cluster.usage.try_acquire_request(&cluster.config.limits) else {
            cluster.metrics.overflowed(Overflow::Requests);
            return Err(ProxyError::Overflow);
        };
        let held = self.connection.worker.hold_cluster(self.snapshot, cluster);
        let counted = CountedRequest::begin(held);
        let active = ActiveRequest::start(endpoint.clone());
        let mut fresh = false;
        let sent = loop {
            let to = send::To { connection: self.connection, cluster, endpoint: endpoint.shared(), fresh };
            let failure = match send::send(to, head, Body::from(body.clone())).await {
                Ok(sent) => break sent,
                Err(failure) => failure,
            };
            // A question changes nothing, so that it may be asked twice.
            if fresh || !(failure.reused || failure.outcome == Outcome::RefusedStream) {
                endpoint.state.record(RequestResult::Error);
                if failure.outcome != Outcome::Overflow {
                    cluster.report(&endpoint, Seen::Failure);
                }
                return Err(failure.error);
            }
            fresh = true;
        };
        let bad = sent.head.status.is_server_error();
        endpoint.state.record(if bad { RequestResult::Error } else { RequestResult::Success });
        let send::Sent { head: answered, body, lease, .. } = *sent;
        cluster.report(&endpoint, seen::of_head(&answered, head.is_grpc()));
        Ok(Reply { head: answered, body, lease, _counted: counted, _active: active, _permit: permit })
    }
}

impl Reply {
    /// Reads its body into `bytes`, where what has come can be seen at any time; gives what came after it. `None`: it broke off, or
    /// there is too much of it.
    pub async fn read(mut self, bytes: &mut BytesMut) -> Option<HeaderMap> {
        let mut trailers = HeaderMap::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
            match frame.ok()?.into_data() {
                Ok(data) if bytes.len() + data.len() > MAX_ANSWER => return None,
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        self.lease.give_back(Instant::now());
        Some(trailers)
    }
}

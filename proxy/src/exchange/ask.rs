//! Questions to a cluster on behalf of a request: an authoriser's opinion, for instance.
//!
//! In:  a head and bytes.   Out: the whole answer, or why there is none.
//! Invariants: an answer holds at most [`MAX_ANSWER`] bytes; the cluster's limits hold, and its endpoints are balanced as ever; a
//! pooled connection that turns out to be closed is replaced, once.
//! Not here: deadlines (the caller's), what is asked.

use super::{Exchange, destination::Wish, send};
use crate::{
    codec::{Body, RequestHead, ResponseHead},
    error::ProxyError,
    upstream::Cluster,
};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use sidle_balance::Outcome;
use std::{future::poll_fn, pin::Pin, sync::Arc};

/// More is no answer to a question.
const MAX_ANSWER: usize = 64 << 10;

/// The answer to a question.
pub struct Reply {
    /// Status and headers.
    pub head: ResponseHead,
    /// All of it.
    pub body: Bytes,
    /// What came after it.
    pub trailers: HeaderMap,
}

impl Exchange {
    /// Asks an endpoint of `cluster`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(
        &self,
        cluster: &Arc<Cluster>,
        head: &RequestHead,
        body: &Bytes,
    ) -> Result<Reply, ProxyError> {
        let wish = Wish::of(head, None, &[]);
        let endpoint = self.pick(cluster, &wish).await?;
        let limits = &cluster.config.limits;
        let _permit = cluster.usage.try_acquire_request(limits).ok_or(ProxyError::Overflow)?;
        let mut fresh = false;
        let sent = loop {
            let to = send::To { connection: &self.connection, cluster, endpoint: &endpoint, fresh };
            match send::send(to, head, Body::from(body.clone())).await {
                Ok(sent) => break sent,
                Err(failure)
                    if failure.reused && !fresh && failure.outcome == Outcome::ResetBeforeRequest =>
                {
                    fresh = true;
                }
                Err(failure) => return Err(failure.error),
            }
        };
        let send::Sent { head, mut body, lease, .. } = sent;
        let (body, trailers) = read(&mut body).await?;
        lease.give_back();
        Ok(Reply { head, body, trailers })
    }
}

async fn read(body: &mut Body) -> Result<(Bytes, HeaderMap), ProxyError> {
    let (mut bytes, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame.map_err(|_| ProxyError::ConnectionTermination(true))?.into_data() {
            Ok(data) if bytes.len() + data.len() > MAX_ANSWER => return Err(ProxyError::UpstreamProtocol),
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((bytes.freeze(), trailers))
}

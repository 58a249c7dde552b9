//! Services that decide in the proxy's place: what asking them has in common.
//!
//! In:  a question, and until when it has to be answered.   Out: the answer, or why there is none.
//! Not here: what is asked, and what becomes of the answer (`ext_authz`, `rate_limit`).

#[cfg(feature = "grpc-clients")]
pub mod grpc;

use crate::{
    codec::RequestHead,
    error::ProxyError,
    exchange::{Asker, Reply},
    upstream::Cluster,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// The service did not answer, or says itself that it failed.
    #[error("{0}")]
    Failed(ProxyError),
    /// It answered, and that cannot be understood.
    #[error("its answer cannot be understood")]
    Unclear,
}

/// The head of the answer to a question.
pub async fn reply(
    asker: Asker<'_>,
    cluster: &Arc<Cluster>,
    question: &RequestHead,
    body: &Bytes,
    deadline: Instant,
) -> Result<Reply, Silence> {
    match timeout_at(deadline, asker.ask(cluster, question, body)).await {
        Ok(reply) => reply.map_err(Silence::Failed),
        Err(_) => Err(Silence::Failed(ProxyError::ResponseTimeout)),
    }
}

//! How many requests a workload has at once, where a ConcurrencyPolicy says that this is found out.
//!
//! Invariants: one permit for a request, however many tries it takes; a health check is never turned away, so that a workload that has
//! enough to do is not taken for one that is ill; only what the workload answered whole, or was too slow to answer, tells of its latency,
//! which ends with the head of its answer: how fast a client reads is not the workload's.
//! Not here: the limit (`sidle_balance`).

use super::Exchange;
use crate::{codec::RequestHead, error::ProxyError, upstream::Cluster};
use sidle_balance::ConcurrencyLimiter;
use std::{sync::Arc, time::Instant};

/// Health checks of gRPC, whoever asks.
const GRPC_HEALTH: [&str; 3] =
    ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch"];

impl Exchange {
    /// Counts the request as one that the cluster has under way.
    ///
    /// # Errors
    /// It has as many as it takes.
    pub(super) fn take_permit(
        &mut self,
        cluster: &Arc<Cluster>,
        limiter: &Arc<ConcurrencyLimiter>,
        head: &RequestHead,
    ) -> Result<(), ProxyError> {
        if is_health_check(cluster, head) {
            return Ok(());
        }
        match limiter.admit(Instant::now(), self.random()) {
            Some(permit) => {
                self.permit = Some(permit);
                Ok(())
            }
            None => Err(ProxyError::ConcurrencyLimit),
        }
    }

    /// The answer is whole.
    pub(super) fn return_permit(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.answered(self.record.response_began.unwrap_or_else(Instant::now), self.random());
        }
    }

    /// What became of the request says nothing of the workload's latency, or takes none of its strength any more.
    pub(super) fn drop_permit(&mut self) {
        self.permit = None;
    }

    /// There is no answer, or not all of it, for this reason.
    pub(super) fn fail_permit(&mut self, slow: bool) {
        let Some(permit) = self.permit.take().filter(|_| slow) else { return };
        permit.answered(Instant::now(), self.random());
    }
}

fn is_health_check(cluster: &Cluster, head: &RequestHead) -> bool {
    let path = head.target.path();
    let policy = cluster.config.adaptive_concurrency.as_ref();
    GRPC_HEALTH.contains(&path)
        || policy.is_some_and(|policy| policy.health_check_paths.iter().any(|known| known == path))
}

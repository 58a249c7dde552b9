//! Faults in an upstream's place: of each try, so that retries, timeouts and ejection meet them.
//!
//! Not here: faults before a route's first try (`policy`), those of connections of bytes (`tcp`).

use super::{
    Exchange,
    send::{self, Failure, To, Tried},
};
use crate::{
    codec::{Body, RequestHead},
    error::ProxyError,
    upstream::Cluster,
};
use http::StatusCode;
use sidle_balance::Outcome;
use sidle_model::ir::FaultAbort;
use sidle_telemetry::ResponseFlags;
use std::time::Duration;

/// What happens to one try.
#[derive(Default)]
pub struct UpstreamFault {
    delay: Option<Duration>,
    abort: Option<FaultAbort>,
}

impl Exchange {
    /// What FaultPolicies have in store for the next try.
    pub(super) fn upstream_fault(&mut self, cluster: &Cluster) -> UpstreamFault {
        let faults = cluster.config.faults.as_ref().and_then(|faults| faults.http.as_ref());
        let Some(faults) = faults else { return UpstreamFault::default() };
        let delay = faults.delay.filter(|(_, percent)| percent.hit(self.random())).map(|(delay, _)| delay);
        let abort = faults.abort.filter(|(_, percent)| percent.hit(self.random())).map(|(abort, _)| abort);
        if delay.is_some() {
            self.record.flags |= ResponseFlags::DI;
        }
        UpstreamFault { delay, abort }
    }
}

impl UpstreamFault {
    /// [`send::send`], after what happens here.
    ///
    /// # Errors
    /// As there, and an abort.
    pub async fn send(self, to: To<'_>, head: &RequestHead, body: Body) -> Tried {
        if let Some(delay) = self.delay {
            Box::pin(tokio::time::sleep(delay)).await; // rare: its room would be every request's
        }
        match self.abort {
            None => send::send(to, head, body).await,
            Some(abort) => Err(aborted(abort)),
        }
    }
}

/// What an upstream would have said that answers as an injected fault does.
fn aborted(abort: FaultAbort) -> Box<Failure> {
    let (error, status, grpc_status) = match abort {
        FaultAbort::Http(status) => (ProxyError::FaultAbort(status), status, None),
        FaultAbort::Grpc(status) => (ProxyError::FaultGrpc(status), StatusCode::OK, Some(status)),
    };
    let outcome = Outcome::Response { status, grpc_status, ratelimited: false };
    Box::new(Failure { error, outcome, reused: false })
}

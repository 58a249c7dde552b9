//! What a try says of its endpoint's health.
//!
//! Source: how Envoy's router reports to outlier detection.

use super::{Exchange, reply, send::Tried};
use crate::{codec::ResponseHead, upstream::Cluster};
use sidle_balance::{Endpoint, Outcome, RequestResult, Seen};
use sidle_telemetry::grpc;
use std::time::Duration;

impl Exchange {
    /// Notes what came of a try, in the endpoint's figures and for outlier detection; that it took too long is noted there already.
    pub(super) fn report(&self, cluster: &Cluster, endpoint: &Endpoint, result: &Tried) {
        let Some(seen) = self.seen(result) else { return };
        let well = matches!(result, Ok(sent) if !sent.head.status.is_server_error());
        endpoint.state.record(if well { RequestResult::Success } else { RequestResult::Error });
        cluster.report(endpoint, seen);
    }

    /// Notes how long an endpoint took for a try, if it had a part in it.
    pub(super) fn report_time(&self, cluster: &Cluster, endpoint: &Endpoint, took: Duration, result: &Tried) {
        if self.seen(result).is_some() {
            let status = result.as_ref().ok().map(|sent| status_of(&sent.head, self.record.grpc));
            cluster.report_time(endpoint, took, status);
        }
    }

    /// What a try says of its endpoint; `None`: nothing, or it was the client's doing.
    fn seen(&self, result: &Tried) -> Option<Seen> {
        let is_clients = result.is_err() && self.request_body.failed().is_some();
        if is_clients { None } else { of_try(result, self.record.grpc) }
    }

    /// Notes that the route's timeout ran out while an endpoint had a try.
    pub(super) fn unanswered(&mut self) {
        if let (true, Some((cluster, Some(endpoint)))) = (self.awaiting, &self.destination)
            && self.request_body.failed().is_none()
        {
            endpoint.state.record(RequestResult::Timeout);
            cluster.report(endpoint, Seen::Failure);
        }
    }
}

/// Of a try; `None`: the endpoint had no part in it.
pub(super) fn of_try(result: &Tried, grpc: bool) -> Option<Seen> {
    match result {
        Ok(sent) => Some(of_head(&sent.head, grpc)),
        Err(failure) => match failure.outcome {
            Outcome::Overflow => None,
            // An injected fault is what its endpoint would have answered.
            Outcome::Response { status, grpc_status, .. } => {
                let status = grpc_status.filter(|_| grpc).map_or(status.as_u16(), grpc::http_status_of);
                Some(Seen::Status(status))
            }
            _ => Some(Seen::Failure),
        },
    }
}

/// Of an answer. One to gRPC that ends with its head tells its status there; a status in trailers comes too late, as in Envoy.
pub(super) fn of_head(head: &ResponseHead, grpc: bool) -> Seen {
    Seen::Status(status_of(head, grpc))
}

/// The status of an answer, or the one that its status of gRPC stands for.
fn status_of(head: &ResponseHead, grpc: bool) -> u16 {
    let status = grpc.then(|| reply::grpc_status(head.headers.get(&reply::GRPC_STATUS))).flatten();
    status.map_or(head.status.as_u16(), grpc::http_status_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, StatusCode};

    #[test]
    fn a_status_of_grpc_counts_for_grpc_alone() {
        let mut head = ResponseHead::new(StatusCode::OK);
        assert_eq!(of_head(&head, true), Seen::Status(200), "it is still to come");
        head.headers.insert(reply::GRPC_STATUS, HeaderValue::from_static("14"));
        assert_eq!((of_head(&head, true), of_head(&head, false)), (Seen::Status(503), Seen::Status(200)));
        head.headers.insert(reply::GRPC_STATUS, HeaderValue::from_static("5"));
        assert_eq!(of_head(&head, true), Seen::Status(404), "an answer like any other");
    }
}

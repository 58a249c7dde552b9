//! What a try says of its endpoint's health.
//!
//! Source: how Envoy's router reports to outlier detection.

use super::{
    reply,
    send::{Failure, Sent},
};
use crate::codec::ResponseHead;
use sidle_balance::{Outcome, Seen};
use sidle_telemetry::grpc;

/// Of a try; `None`: the endpoint had no part in it.
pub(super) fn of_try(result: &Result<Sent, Failure>, grpc: bool) -> Option<Seen> {
    match result {
        Ok(sent) => Some(of_head(&sent.head, grpc)),
        Err(failure) if failure.outcome == Outcome::Overflow => None,
        // An injected fault is what its endpoint would have answered.
        Err(Failure { outcome: Outcome::Response { status, grpc_status, .. }, .. }) => {
            let status = grpc_status.filter(|_| grpc).map_or(status.as_u16(), grpc::http_status_of);
            Some(Seen::Status(status))
        }
        Err(_) => Some(Seen::Failure),
    }
}

/// Of an answer. One to gRPC that ends with its head tells its status there; a status in trailers comes too late, as in Envoy.
pub(super) fn of_head(head: &ResponseHead, grpc: bool) -> Seen {
    Seen::Status(status_of(head, grpc))
}

/// The status of an answer, or the one that its status of gRPC stands for.
pub(super) fn status_of(head: &ResponseHead, grpc: bool) -> u16 {
    let status = grpc.then(|| reply::grpc_status(&head.headers)).flatten();
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

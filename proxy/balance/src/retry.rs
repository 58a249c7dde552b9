//! Whether the outcome of a try calls for another.
//!
//! In:  the conditions of a policy, and an outcome.   Out: yes or no.
//! Invariants: the meaning of each condition is Envoy's (`retry_state_impl.cc`).
//! Not here: how many retries are left, whether the body can be sent again, permits (`limits`), waiting (`back_off`).

use http::StatusCode;
use sidle_model::ir::RetryOn;

/// How a try ended, as far as it matters for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Response headers came.
    Response {
        /// Their status.
        status: StatusCode,
        /// `grpc-status` in the headers (a trailers-only response); trailers are not waited for.
        grpc_status: Option<u8>,
        /// Whether they hold `x-envoy-ratelimited`.
        ratelimited: bool,
    },
    /// No connection could be made, TLS included.
    ConnectFailure,
    /// The connection or stream ended before anything of the request was sent on it.
    ResetBeforeRequest,
    /// It ended later, without a response.
    Reset,
    /// HTTP/2 REFUSED_STREAM: the peer did nothing with the request.
    RefusedStream,
    /// No response headers within the time for one try. Counts as a reset.
    PerTryTimeout,
    /// The cluster is at a limit. Never tried again: that would add to the load.
    Overflow,
}

impl Outcome {
    /// Whether the endpoint cannot have acted on the request, so that any request may be sent again.
    pub fn is_untouched(self) -> bool {
        matches!(self, Outcome::ConnectFailure | Outcome::ResetBeforeRequest | Outcome::RefusedStream)
    }
}

/// Whether the conditions call for another try.
pub fn should_retry(on: &RetryOn, outcome: Outcome) -> bool {
    // What becomes a 5xx for the client counts as one.
    let any_reset = on.reset || on.server_error || on.gateway_error;
    match outcome {
        Outcome::Response { ratelimited: true, .. } => on.envoy_ratelimited,
        Outcome::Response { status, grpc_status, .. } => {
            matches_status(on, status) || grpc_status.is_some_and(|code| on.grpc_statuses.contains(&code))
        }
        Outcome::ConnectFailure => any_reset || on.connect_failure || on.reset_before_request,
        Outcome::ResetBeforeRequest => any_reset || on.reset_before_request,
        Outcome::RefusedStream => any_reset || on.refused_stream,
        Outcome::Reset | Outcome::PerTryTimeout => any_reset,
        Outcome::Overflow => false,
    }
}

fn matches_status(on: &RetryOn, status: StatusCode) -> bool {
    (on.server_error && status.is_server_error())
        || (on.gateway_error && matches!(status.as_u16(), 502..=504))
        || (on.retriable_4xx && status == StatusCode::CONFLICT)
        || on.status_codes.contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16) -> Outcome {
        let status = StatusCode::from_u16(status).expect("a status");
        Outcome::Response { status, grpc_status: None, ratelimited: false }
    }

    fn grpc(code: u8) -> Outcome {
        Outcome::Response { status: StatusCode::OK, grpc_status: Some(code), ratelimited: false }
    }

    /// All outcomes, in one order, and which of them a policy retries.
    fn retried(on: RetryOn) -> Vec<Outcome> {
        let limited = Outcome::Response {
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: None,
            ratelimited: true,
        };
        let responses = [200, 409, 429, 500, 502, 503, 504, 505].map(response);
        let resets = [
            Outcome::ConnectFailure,
            Outcome::ResetBeforeRequest,
            Outcome::Reset,
            Outcome::RefusedStream,
            Outcome::PerTryTimeout,
            Outcome::Overflow,
        ];
        let all = responses.into_iter().chain([grpc(0), grpc(1), grpc(14), limited]).chain(resets);
        all.filter(|&outcome| should_retry(&on, outcome)).collect()
    }

    #[test]
    fn each_condition_means_what_envoys_means() {
        use Outcome::*;
        let resets = [ConnectFailure, ResetBeforeRequest, Reset, RefusedStream, PerTryTimeout];
        let table = [
            (RetryOn::default(), vec![]),
            (
                RetryOn { server_error: true, ..Default::default() },
                [&[500, 502, 503, 504, 505].map(response)[..], &resets].concat(),
            ),
            (
                RetryOn { gateway_error: true, ..Default::default() },
                [&[502, 503, 504].map(response)[..], &resets].concat(),
            ),
            (RetryOn { reset: true, ..Default::default() }, resets.to_vec()),
            (
                RetryOn { reset_before_request: true, ..Default::default() },
                vec![ConnectFailure, ResetBeforeRequest],
            ),
            (RetryOn { connect_failure: true, ..Default::default() }, vec![ConnectFailure]),
            (RetryOn { refused_stream: true, ..Default::default() }, vec![RefusedStream]),
            (RetryOn { retriable_4xx: true, ..Default::default() }, vec![response(409)]),
            (
                RetryOn { status_codes: vec![StatusCode::TOO_MANY_REQUESTS], ..Default::default() },
                vec![response(429)],
            ),
            (RetryOn { grpc_statuses: vec![14, 1], ..Default::default() }, vec![grpc(1), grpc(14)]),
        ];
        for (on, expected) in table {
            assert_eq!(retried(on.clone()), expected, "{on:?}");
        }
    }

    #[test]
    fn a_rate_limited_response_needs_its_own_condition() {
        let limited =
            Outcome::Response { status: StatusCode::BAD_GATEWAY, grpc_status: Some(14), ratelimited: true };
        let mut on = RetryOn {
            server_error: true,
            gateway_error: true,
            grpc_statuses: vec![14],
            ..Default::default()
        };
        assert!(!should_retry(&on, limited));
        on.envoy_ratelimited = true;
        assert!(should_retry(&on, limited));
    }
}

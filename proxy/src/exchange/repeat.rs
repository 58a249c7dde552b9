//! What may be sent again.
//!
//! Invariant: a request that may have been acted on is sent again only if its method is idempotent or the upstream's own answer
//! asks for it.

use super::send::Failure;
use crate::{codec::RequestHead, error::ProxyError};
use http::{HeaderName, Method};
use sidle_balance::Outcome;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a pooled connection was closed as the request was sent on it, and the request can simply go again.
pub(super) fn is_stale(failure: &Failure, head: &RequestHead) -> bool {
    match failure.outcome {
        Outcome::ResetBeforeRequest => failure.reused,
        // Nobody looked at it, and that connection takes no other: it said GOAWAY, or has all the streams it wants.
        Outcome::RefusedStream => failure.error == ProxyError::ConnectionTermination(false),
        Outcome::Reset => {
            failure.reused && failure.error == ProxyError::ConnectionTermination(true) && is_idempotent(head)
        }
        _ => false,
    }
}

/// Whether a request may be sent again although the endpoint may have acted on it.
pub(super) fn may_repeat(outcome: Outcome, head: &RequestHead) -> bool {
    match outcome {
        // The endpoint said itself that it did not do it, and the policy lists what it said.
        Outcome::Response { .. } => true,
        outcome if outcome.is_untouched() => true,
        _ => is_idempotent(head),
    }
}

/// Whether it may be done twice.
pub(super) fn is_idempotent(head: &RequestHead) -> bool {
    let method = &head.method;
    method.is_idempotent() || *method == Method::CONNECT || head.headers.contains_key(IDEMPOTENCY_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Scheme;
    use http::{HeaderValue, Version, uri::PathAndQuery};
    use sidle_fields::Fields;

    fn head(method: Method) -> RequestHead {
        RequestHead {
            method,
            target: PathAndQuery::from_static("/"),
            scheme: Scheme::Http,
            authority: None,
            version: Version::HTTP_11,
            headers: Fields::new(),
            upgrade: None,
            original_case: Default::default(),
            interim: None,
        }
    }

    #[test]
    fn what_an_endpoint_may_have_done_is_not_done_twice() {
        let keyed = {
            let mut keyed = head(Method::POST);
            keyed.headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("1"));
            keyed
        };
        for (outcome, post_too) in
            [(Outcome::Reset, false), (Outcome::PerTryTimeout, false), (Outcome::ConnectFailure, true)]
        {
            assert_eq!(may_repeat(outcome, &head(Method::POST)), post_too, "{outcome:?}");
            assert!(may_repeat(outcome, &keyed) && may_repeat(outcome, &head(Method::GET)), "{outcome:?}");
        }
    }

    #[test]
    fn a_connection_that_had_ended_already_is_no_failure() {
        let failure = |outcome, sent, reused| Failure {
            error: ProxyError::ConnectionTermination(sent),
            outcome,
            reused,
        };
        assert!(is_stale(&failure(Outcome::ResetBeforeRequest, false, true), &head(Method::POST)));
        assert!(
            !is_stale(&failure(Outcome::ResetBeforeRequest, false, false), &head(Method::POST)),
            "it was new"
        );
        assert!(is_stale(&failure(Outcome::Reset, true, true), &head(Method::GET)));
        assert!(
            !is_stale(&failure(Outcome::Reset, true, true), &head(Method::POST)),
            "it may have been acted on"
        );
    }
}

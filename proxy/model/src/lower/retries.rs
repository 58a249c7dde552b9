//! Retry policies (R8).
//!
//! In:  `retries` of a rule, or the default policy of the mesh.   Out: [`RetryPolicy`].
//! Not here: trying again.

use crate::{
    ir::{RetryOn, RetryPolicy},
    istio::HttpRetry,
};
use http::StatusCode;
use std::time::Duration;

const DEFAULT_CONDITIONS: &str = "connect-failure,refused-stream,unavailable,cancelled";

/// What holds for a route without `retries`, unless the mesh says otherwise.
pub(super) fn built_in() -> RetryPolicy {
    RetryPolicy {
        attempts: 2,
        per_try_timeout: None,
        on: conditions(DEFAULT_CONDITIONS),
        back_off: Duration::from_millis(25),
        avoid_previous_hosts: true,
        remote_localities: false,
    }
}

/// What holds at the application's own side: only what surely did not reach it.
pub(super) fn inbound() -> RetryPolicy {
    RetryPolicy { on: conditions("reset-before-request"), avoid_previous_hosts: false, ..built_in() }
}

/// `None`: no retries, as `attempts: 0` and `retries: {}` ask for.
pub(super) fn lower(retries: &HttpRetry) -> Option<RetryPolicy> {
    let built_in = built_in();
    (retries.attempts > 0).then(|| RetryPolicy {
        attempts: retries.attempts,
        per_try_timeout: retries
            .per_try_timeout
            .map(|timeout| timeout.0)
            .filter(|timeout| !timeout.is_zero()),
        on: retries.retry_on.as_deref().map_or_else(|| built_in.on.clone(), conditions),
        back_off: retries
            .backoff
            .map(|base| base.0)
            .filter(|base| !base.is_zero())
            .unwrap_or(built_in.back_off),
        avoid_previous_hosts: retries.retry_ignore_previous_hosts.unwrap_or(built_in.avoid_previous_hosts),
        remote_localities: retries.retry_remote_localities.unwrap_or_default(),
    })
}

/// Comma-separated conditions and status codes; what is unknown is for `check` to tell.
fn conditions(text: &str) -> RetryOn {
    let mut on = RetryOn::default();
    for condition in text.split(',').map(str::trim) {
        match condition {
            "5xx" => on.server_error = true,
            "gateway-error" => on.gateway_error = true,
            "reset" => on.reset = true,
            "reset-before-request" => on.reset_before_request = true,
            "connect-failure" => on.connect_failure = true,
            "retriable-4xx" => on.retriable_4xx = true,
            "refused-stream" => on.refused_stream = true,
            "envoy-ratelimited" => on.envoy_ratelimited = true,
            "cancelled" => on.grpc_statuses.push(1),
            "deadline-exceeded" => on.grpc_statuses.push(4),
            "resource-exhausted" => on.grpc_statuses.push(8),
            "internal" => on.grpc_statuses.push(13),
            "unavailable" => on.grpc_statuses.push(14),
            number => {
                on.status_codes.extend(number.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()))
            }
        }
    }
    on.grpc_statuses.sort_unstable();
    on.grpc_statuses.dedup();
    on.status_codes.sort_unstable();
    on.status_codes.dedup();
    on
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r8_absent_fields_are_the_defaults_and_zero_attempts_disable() {
        assert_eq!(lower(&HttpRetry::default()), None);
        assert_eq!(lower(&HttpRetry { attempts: 2, ..Default::default() }), Some(built_in()));
        assert_eq!(built_in().on.grpc_statuses, [1, 14]);
        assert!(built_in().on.connect_failure && built_in().on.refused_stream && !built_in().on.server_error);
    }

    #[test]
    fn r8_status_codes_may_be_mixed_in() {
        let on = conditions("5xx, 503,409,gateway-error,http3-post-connect-failure,503");
        assert!(on.server_error && on.gateway_error && !on.reset);
        assert_eq!(on.status_codes, [409, 503]);
    }
}

//! What a client may ask for with `x-envoy-retry-on` and its kin.
//!
//! In:  a route's policy and request headers.   Out: the policy of this request.
//! Invariants: conditions add up, numbers replace; words that are not known are passed over. Source: Envoy's router.
//! Not here: removing the headers from the request, which the caller does in any case.

use http::StatusCode;
use sidle_model::ir::{RetryOn, RetryPolicy};
use std::{borrow::Cow, time::Duration};

/// The headers of a request that speak about retries.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryHeaders<'a> {
    /// `x-envoy-retry-on`.
    pub retry_on: Option<&'a str>,
    /// `x-envoy-retry-grpc-on`.
    pub retry_grpc_on: Option<&'a str>,
    /// `x-envoy-retriable-status-codes`; counts where `retriable-status-codes` is a condition.
    pub retriable_status_codes: Option<&'a str>,
    /// `x-envoy-max-retries`.
    pub max_retries: Option<&'a str>,
    /// `x-envoy-upstream-rq-per-try-timeout-ms`.
    pub per_try_timeout_ms: Option<&'a str>,
}

impl RetryHeaders<'_> {
    /// The policy of this request; `None`: no retries. Costs nothing when no header is there.
    pub fn merge<'p>(&self, policy: Option<&'p RetryPolicy>) -> Option<Cow<'p, RetryPolicy>> {
        let asks = self.retry_on.is_some() || self.retry_grpc_on.is_some();
        let changes = self.max_retries.is_some()
            || self.retriable_status_codes.is_some()
            || self.per_try_timeout_ms.is_some();
        if !asks && (policy.is_none() || !changes) {
            return policy.map(Cow::Borrowed);
        }
        let mut merged = policy.cloned().unwrap_or_else(without_policy);
        let mut by_status = !merged.on.status_codes.is_empty();
        words(self.retry_on).for_each(|word| by_status |= add_condition(&mut merged.on, word));
        words(self.retry_grpc_on).for_each(|word| add_grpc_condition(&mut merged.on, word));
        if by_status {
            let codes = words(self.retriable_status_codes).filter_map(|code| code.parse::<StatusCode>().ok());
            merged.on.status_codes.extend(codes);
        }
        if let Some(attempts) = number(self.max_retries) {
            merged.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        }
        if let Some(milliseconds) = number(self.per_try_timeout_ms) {
            merged.per_try_timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds));
        }
        (merged.attempts > 0 && merged.on != RetryOn::default()).then_some(Cow::Owned(merged))
    }
}

/// What a request starts from whose route has no policy: one retry, Envoy's default.
fn without_policy() -> RetryPolicy {
    RetryPolicy {
        attempts: 1,
        per_try_timeout: None,
        on: RetryOn::default(),
        back_off: Duration::from_millis(25),
        avoid_previous_hosts: false,
        remote_localities: false,
    }
}

fn words(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.trim().parse().ok()
}

/// Returns whether status codes given by number count.
fn add_condition(on: &mut RetryOn, word: &str) -> bool {
    match word {
        "5xx" => on.server_error = true,
        "gateway-error" => on.gateway_error = true,
        "reset" => on.reset = true,
        "reset-before-request" => on.reset_before_request = true,
        "connect-failure" => on.connect_failure = true,
        "retriable-4xx" => on.retriable_4xx = true,
        "refused-stream" => on.refused_stream = true,
        "envoy-ratelimited" => on.envoy_ratelimited = true,
        "retriable-status-codes" => return true,
        _ => {}
    }
    false
}

fn add_grpc_condition(on: &mut RetryOn, word: &str) {
    let code = match word {
        "cancelled" => 1,
        "deadline-exceeded" => 4,
        "resource-exhausted" => 8,
        "internal" => 13,
        "unavailable" => 14,
        _ => return,
    };
    if !on.grpc_statuses.contains(&code) {
        on.grpc_statuses.push(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        let on = RetryOn { connect_failure: true, grpc_statuses: vec![14], ..Default::default() };
        RetryPolicy { attempts: 2, on, ..without_policy() }
    }

    #[test]
    fn without_headers_the_policy_is_borrowed() {
        let policy = policy();
        assert!(matches!(RetryHeaders::default().merge(Some(&policy)), Some(Cow::Borrowed(_))));
        assert!(RetryHeaders::default().merge(None).is_none());
        let numbers = RetryHeaders { max_retries: Some("9"), ..Default::default() };
        assert!(numbers.merge(None).is_none(), "a number alone is no condition");
    }

    #[test]
    fn conditions_add_up() {
        let headers = RetryHeaders {
            retry_on: Some(
                "5xx, gateway-error,reset ,reset-before-request,retriable-4xx,refused-stream,envoy-ratelimited,x",
            ),
            retry_grpc_on: Some("cancelled,deadline-exceeded,resource-exhausted,internal,unavailable,x"),
            ..Default::default()
        };
        let policy = policy();
        let merged = headers.merge(Some(&policy)).expect("a policy");
        let expected = RetryOn {
            server_error: true,
            gateway_error: true,
            reset: true,
            reset_before_request: true,
            connect_failure: true,
            retriable_4xx: true,
            refused_stream: true,
            envoy_ratelimited: true,
            status_codes: vec![],
            grpc_statuses: vec![14, 1, 4, 8, 13],
        };
        assert_eq!((merged.on.clone(), merged.attempts), (expected, 2));
    }

    #[test]
    fn numbers_replace() {
        let headers =
            RetryHeaders { max_retries: Some("7"), per_try_timeout_ms: Some("250"), ..Default::default() };
        let policy = policy();
        let merged = headers.merge(Some(&policy)).expect("a policy");
        assert_eq!((merged.attempts, merged.per_try_timeout), (7, Some(Duration::from_millis(250))));
        let none = RetryHeaders { max_retries: Some("0"), ..Default::default() };
        assert!(none.merge(Some(&policy)).is_none());
        let junk = RetryHeaders { max_retries: Some("many"), ..Default::default() };
        assert_eq!(junk.merge(Some(&policy)).expect("a policy").attempts, 2);
    }

    #[test]
    fn a_request_can_ask_without_a_policy() {
        let headers = RetryHeaders { retry_on: Some("connect-failure"), ..Default::default() };
        let merged = headers.merge(None).expect("a policy");
        assert_eq!((merged.attempts, merged.on.connect_failure), (1, true));
        let junk = RetryHeaders { retry_on: Some("whenever"), ..Default::default() };
        assert!(junk.merge(None).is_none());
    }

    #[test]
    fn status_codes_need_their_condition() {
        let codes = RetryHeaders { retriable_status_codes: Some("418, 9999,x,503"), ..Default::default() };
        let policy = policy();
        let merged = codes.merge(Some(&policy)).expect("a policy");
        assert!(merged.on.status_codes.is_empty());
        let both = RetryHeaders { retry_on: Some("retriable-status-codes"), ..codes };
        let merged = both.merge(None).expect("a policy");
        assert_eq!(merged.on.status_codes, [StatusCode::IM_A_TEAPOT, StatusCode::SERVICE_UNAVAILABLE]);
    }
}

//! Retries.

use crate::value::{Object, duration, extension};
use serde_json::{Value, json};
use sidle_model::ir::{RetryOn, RetryPolicy};

/// How often a host that was tried is put back before it is taken all the same.
const HOST_PICKS: u32 = 5;

/// A `RetryPolicy`.
pub(crate) fn retry_policy(policy: &RetryPolicy) -> Value {
    let predicates = match policy.avoid_previous_hosts {
        true => vec![extension(
            "envoy.retry_host_predicates.previous_hosts",
            Object::typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
        )],
        false => Vec::new(),
    };
    let priority = policy.remote_localities.then(|| {
        extension(
            "envoy.retry_priorities.previous_priorities",
            Object::typed("extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig")
                .with("update_frequency", 2),
        )
    });
    Object::new()
        .with("retry_on", conditions(&policy.on))
        .with("num_retries", policy.attempts)
        .with_some("per_try_timeout", policy.per_try_timeout.map(duration))
        .with_list(
            "retriable_status_codes",
            policy.on.status_codes.iter().map(|status| status.as_u16().into()).collect(),
        )
        .with(
            "retry_back_off",
            json!({"base_interval": duration(policy.back_off), "max_interval": duration(policy.back_off * 10)}),
        )
        .with_some("host_selection_retry_max_attempts", policy.avoid_previous_hosts.then_some(HOST_PICKS))
        .with_list("retry_host_predicate", predicates)
        .with_some("retry_priority", priority)
        .into()
}

fn conditions(on: &RetryOn) -> String {
    let named = [
        (on.server_error, "5xx"),
        (on.gateway_error, "gateway-error"),
        (on.reset, "reset"),
        (on.reset_before_request, "reset-before-request"),
        (on.connect_failure, "connect-failure"),
        (on.retriable_4xx, "retriable-4xx"),
        (on.refused_stream, "refused-stream"),
        (on.envoy_ratelimited, "envoy-ratelimited"),
        (!on.status_codes.is_empty(), "retriable-status-codes"),
    ];
    let named = named.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name);
    named.chain(on.grpc_statuses.iter().filter_map(|status| grpc_name(*status))).collect::<Vec<_>>().join(",")
}

/// Envoy's name of a retriable `grpc-status`.
fn grpc_name(status: u8) -> Option<&'static str> {
    Some(match status {
        1 => "cancelled",
        4 => "deadline-exceeded",
        8 => "resource-exhausted",
        13 => "internal",
        14 => "unavailable",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn istios_default() {
        let on = RetryOn {
            connect_failure: true,
            refused_stream: true,
            grpc_statuses: vec![14, 1],
            ..Default::default()
        };
        let policy = RetryPolicy {
            attempts: 2,
            per_try_timeout: None,
            on,
            back_off: Duration::from_millis(25),
            avoid_previous_hosts: true,
            remote_localities: false,
        };
        assert_eq!(
            retry_policy(&policy),
            json!({
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled",
                "num_retries": 2,
                "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
                "host_selection_retry_max_attempts": 5,
                "retry_host_predicate": [{
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    },
                }],
            })
        );
    }

    #[test]
    fn statuses_need_their_condition() {
        let on =
            RetryOn { server_error: true, status_codes: vec![StatusCode::CONFLICT], ..Default::default() };
        assert_eq!(conditions(&on), "5xx,retriable-status-codes");
    }
}

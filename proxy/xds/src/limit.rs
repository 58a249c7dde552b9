//! Circuit breakers and outlier detection.

use crate::value::{Object, duration};
use serde_json::{Value, json};
use sidle_model::ir::{ClusterLimits, OutlierDetection};

/// `CircuitBreakers` with one threshold for every priority that is used.
pub(crate) fn circuit_breakers(limits: &ClusterLimits) -> Value {
    let budget = limits.retry_budget.map(|budget| {
        json!({"budget_percent": {"value": budget.percent}, "min_retry_concurrency": budget.min_concurrency})
    });
    let threshold = Object::new()
        .with("max_connections", limits.max_connections)
        .with("max_pending_requests", limits.max_pending_requests)
        .with("max_requests", limits.max_requests)
        .with("max_retries", limits.max_retries)
        .with_some("retry_budget", budget)
        .with("track_remaining", true);
    json!({"thresholds": [Value::from(threshold)]})
}

/// `OutlierDetection`. One endpoint may always be ejected, whatever the percentage. Envoy's detectors are on unless told otherwise, Istio's are off: each is enforced or not by name.
pub(crate) fn outlier_detection(detection: &OutlierDetection) -> Value {
    let enforced = |detector: Option<u32>| if detector.is_some() { 100 } else { 0 };
    let split = detection.split_external_local_origin_errors;
    let local = split.then_some(detection.consecutive_local_origin_failures);
    Object::new()
        .with_some("consecutive_5xx", detection.consecutive_5xx)
        .with("enforcing_consecutive_5xx", enforced(detection.consecutive_5xx))
        .with_some("consecutive_gateway_failure", detection.consecutive_gateway_errors)
        .with("enforcing_consecutive_gateway_failure", enforced(detection.consecutive_gateway_errors))
        .with_true("split_external_local_origin_errors", split)
        .with_some("consecutive_local_origin_failure", local.flatten())
        .with_some("enforcing_consecutive_local_origin_failure", local.map(enforced))
        .merge(rates(detection))
        .with("interval", duration(detection.interval))
        .with("base_ejection_time", duration(detection.base_ejection_time))
        .with("max_ejection_percent", detection.max_ejection_percent)
        .with("always_eject_one_host", true)
        .into()
}

/// Detectors of shares, which Envoy has on and Istio off.
fn rates(detection: &OutlierDetection) -> Object {
    let OutlierDetection { success_rate, failure_percentage, .. } = detection;
    let enforced = |detector: bool| if detector { 100 } else { 0 };
    let mut rates = Object::new()
        .with("enforcing_success_rate", enforced(success_rate.is_some()))
        .with("enforcing_failure_percentage", enforced(failure_percentage.is_some()));
    if let Some(rate) = success_rate {
        rates = rates
            .with("success_rate_minimum_hosts", rate.minimum_hosts)
            .with("success_rate_request_volume", rate.request_volume)
            .with("success_rate_stdev_factor", rate.stdev_factor);
    }
    if let Some(percentage) = failure_percentage {
        rates = rates
            .with("failure_percentage_threshold", percentage.threshold)
            .with("failure_percentage_minimum_hosts", percentage.minimum_hosts)
            .with("failure_percentage_request_volume", percentage.request_volume);
    }
    rates
}

/// Which responses count against an endpoint, where it is not every 5xx.
pub(crate) fn error_matcher(detection: &OutlierDetection) -> Option<Value> {
    let codes: Vec<String> = detection.error_codes.iter().map(u16::to_string).collect();
    let status = json!({"name": ":status", "string_match": {"safe_regex": {"regex": codes.join("|")}}});
    (!codes.is_empty())
        .then(|| json!({"error_matcher": {"http_response_headers_match": {"headers": [status]}}}))
}
